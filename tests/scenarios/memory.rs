//! What groundcrew remembers is its own: people and tools that change tags of a service do not change it.

use crate::scenarios::deployments::{redeployed, updated};
use crate::stage::{Service, Stage, eventually, play, play_alone};
use apprunner_emulator::ServiceStatus;
use aws_sdk_sfn::types::LogLevel;
use groundcrew::memory::{Deployments, Parking, Remembered, Uses, Watched};
use groundcrew::{Aws, Memory};
use serde_json::json;
use std::collections::BTreeSet;

const IDENTITY: [&str; 3] = [
    "groundcrew:app",
    "groundcrew:environment",
    "groundcrew:managed",
];

#[test]
fn o16_a_bad_image_stays_rejected_and_a_hold_holds_when_somebody_wipes_the_tags_of_a_service() {
    play(|stage| async move {
        let app = Service::given(stage, "wiped")
            .follows("semver:1")
            .create()
            .await;
        let good = app.push("1.1.0").await;
        app.hear(1).await;
        app.next("UPDATE_SERVICE", json!("fails"));
        let bad = app.push("1.2.0").await;
        app.hear(2).await;
        app.quiet().await;
        assert_eq!(app.runs(), good);
        app.keeps_only(&IDENTITY).await;
        let end = stage.deploy(&json!({"service": "wiped"})).await;
        assert_eq!(end.output["outcome"], "Nothing", "{}", end.output);
        let reason = end.output["reason"].as_str().unwrap_or_default();
        assert!(reason.contains("1.2.0, was rejected"), "{reason}");
        // The rule is known, too: a push is deployed, and the image before is a way back.
        let newer = app.push("1.3.0").await;
        app.has_come_to_run(&newer).await;
        app.quiet().await;
        assert!(app.memory().await.is_bad(&bad));

        let held = stage
            .deploy(&json!({"service": "wiped", "hold": true}))
            .await;
        assert!(held.succeeded, "{}", held.message);
        app.keeps_only(&IDENTITY).await;
        app.push("1.4.0").await;
        app.quiet().await;
        assert_eq!(app.runs(), newer);
        let back = stage
            .deploy(&json!({"service": "wiped", "hold": false}))
            .await;
        assert!(back.succeeded, "{}", back.message);
        assert_ne!(app.runs(), newer);
    });
}

#[test]
fn o16_what_an_older_groundcrew_has_left_in_tags_is_taken_over_once_and_not_read_afterwards() {
    play(|stage| async move {
        let app = Service::given(stage, "taken-over")
            .follows("semver:1")
            .create()
            .await;
        let held = stage.local.push_image("taken-over", "1.1.0", "amd64").await;
        let rejected = held.expect("pushed");
        app.set_tag("groundcrew:rejected-image", &rejected).await;
        app.quiet().await;
        let end = stage.deploy(&json!({"service": "taken-over"})).await;
        assert_eq!(end.output["outcome"], "Nothing", "{}", end.output);
        assert!(!app.memory().await.is_new());
        let newer = app.push("1.2.0").await;
        app.has_come_to_run(&newer).await;
        app.quiet().await;
        let memory = app.memory().await;
        assert!(!memory.is_new() && memory.is_bad(&rejected), "{memory:?}");
        // What somebody writes into a tag from now on is not what is remembered.
        app.set_tag("groundcrew:rejected-image", &newer).await;
        let newest = app.push("1.3.0").await;
        app.has_come_to_run(&newest).await;
        app.quiet().await;
        assert!(!app.memory().await.is_bad(&newer));
        // And the tags say what the table says, for an older groundcrew.
        let tag = app.tag("groundcrew:rejected-image");
        assert_eq!(tag, Some(rejected));
    });
}

#[test]
fn o16_what_is_in_tags_alone_is_found_by_a_sweep_and_outlives_them_from_then_on() {
    play_alone(&[], |stage| async move {
        let given = Service::given(stage, "early-dev").of_stack("early", "dev");
        let app = given.follows("semver:1").create().await;
        app.quiet().await;
        stage.local.lose_events(true).await.expect("lost");
        let rejected = app.push("1.1.0").await;
        stage.local.lose_events(false).await.expect("heard again");
        app.set_tag("groundcrew:rejected-image", &rejected).await;
        assert!(app.memory().await.is_new());
        let sweep = json!({"stack": "early-dev"});
        let end = stage.sweep(&sweep).await;
        let summary = end.output["summary"].as_str().unwrap_or_default();
        assert!(summary.contains("in its tags alone"), "{summary}");
        app.quiet().await;
        let memory = app.memory().await;
        assert!(!memory.is_new() && memory.is_bad(&rejected), "{memory:?}");
        let end = stage.sweep(&sweep).await;
        assert_eq!(end.output["found"], 0, "{}", end.output);
        app.keeps_only(&[&IDENTITY[..], &["groundcrew:image-tag"]].concat())
            .await;
        let before = app.runs();
        stage.deploy(&json!({"service": "early-dev"})).await;
        assert_eq!(app.runs(), before);
    });
}

#[test]
fn o16_thresholds_that_somebody_removes_still_count_and_the_sweep_names_them() {
    play_alone(&[], |stage| async move {
        let given = Service::given(stage, "untuned-dev").of_stack("untuned", "dev");
        let app = given.create().await;
        app.has_alarms(6).await;
        app.quiet().await;
        let cpu = async || {
            let alarms = app.alarms().await;
            let mut alarms = alarms.iter();
            let it = alarms.find(|it| it.alarm_name() == Some("untuned-dev-cpu-groundcrew"));
            let it = it.expect("an alarm of the processor");
            (it.threshold(), it.actions_enabled())
        };
        app.set_tag("groundcrew:alarms", "cpu=42").await;
        app.pause_by_hand().await;
        let silent = async || (cpu().await == (Some(42.0), Some(false))).then_some(());
        eventually("it is silent, and watches for 42 percent", silent).await;
        let copied = async || app.memory_of::<Watched>().await.thresholds.clone();
        assert_eq!(eventually("there is a copy", copied).await, "cpu=42");
        app.keeps_only(&IDENTITY).await;
        app.resume_by_hand().await;
        let tells = async || (cpu().await.1 == Some(true)).then_some(());
        eventually("it tells again", tells).await;
        assert_eq!(cpu().await.0, Some(42.0));
        app.quiet().await;
        let end = stage.sweep(&json!({"stack": "untuned-dev"})).await;
        let summary = end.output["summary"].as_str().unwrap_or_default();
        assert!(summary.contains("groundcrew:alarms=cpu=42"), "{summary}");
        assert_eq!(cpu().await.0, Some(42.0));
        // A person's newer word counts, and is what is remembered from then on.
        app.set_tag("groundcrew:alarms", "cpu=43").await;
        app.pause_by_hand().await;
        let newer = async || (copied().await.as_deref() == Some("cpu=43")).then_some(());
        eventually("the copy is newer", newer).await;
    });
}

#[test]
fn o4_executions_that_look_at_the_same_moment_deploy_once_and_record_it_once() {
    play(|stage| async move {
        let arn = stage.secret("together").await;
        let app = Service::given(stage, "together")
            .reads("PASSWORD", &arn)
            .create()
            .await;
        let before = app.operations().len();
        stage
            .deploy(&json!({"service": "together", "hold": true}))
            .await;
        app.push("latest").await;
        app.quiet().await;
        let freed = json!({"service": "together", "hold": false});
        let (one, other) = tokio::join!(stage.deploy(&freed), stage.deploy(&freed));
        assert!(
            one.succeeded && other.succeeded,
            "{} {}",
            one.message,
            other.message
        );
        assert_eq!(app.operations()[before..], [updated()]);
        let memory = app.memory().await;
        assert_eq!(memory.claim, None);
        let releases = memory.releases.iter().filter(|it| !it.of_secrets);
        assert_eq!(releases.count(), 1, "{memory:?}");
    });
}

#[test]
fn o15_what_a_service_uses_is_noted_whenever_it_changes_and_the_sweep_corrects_a_lie() {
    play_alone(&[], |stage| async move {
        let first = stage.secret("noted-first").await;
        let given = Service::given(stage, "noted-dev").of_stack("noted", "dev");
        let app = given.reads("PASSWORD", &first).create().await;
        app.quiet().await;
        let uses = async || app.memory_of::<Uses>().await;
        let noted = uses().await;
        let repository = noted.repository.clone().unwrap_or_default();
        assert!(repository.ends_with("/noted-dev"), "{noted:?}");
        assert_eq!(noted.secrets, BTreeSet::from([first]));
        // Somebody has it read another secret, while it is held.
        stage
            .deploy(&json!({"service": "noted-dev", "hold": true}))
            .await;
        let second = stage.secret("noted-second").await;
        app.update_by_hand(|source| {
            let image = source.image_repository.as_mut().expect("an image");
            let configuration = image.image_configuration.as_mut().expect("a configuration");
            let secrets = [("PASSWORD".to_owned(), second.clone())];
            configuration.runtime_environment_secrets = Some(secrets.into());
        })
        .await;
        let changed = async || uses().await.secrets.contains(&second).then_some(());
        eventually("the other secret is noted", changed).await;
        app.quiet().await;
        let mut lie = uses().await;
        let (truth, wrong) = ((*lie).clone(), Uses::default());
        lie.write(&stage.aws(), wrong).await.expect("written");
        let end = stage.sweep(&json!({"stack": "noted-dev"})).await;
        let summary = end.output["summary"].as_str().unwrap_or_default();
        assert!(
            summary.contains("what it no longer uses: done"),
            "{summary}"
        );
        assert_eq!(*uses().await, truth);
    });
}

#[test]
fn p12_a_teardown_forgets_what_was_remembered() {
    play(|stage| async move {
        let spec = crate::stage::spec("forgotten");
        crate::stage::assert_succeeded(&stage.provision(&spec).await);
        async fn kind<T: Remembered>(aws: &Aws) -> usize {
            let all = Memory::<T>::all(aws).await.expect("asked").into_iter();
            all.filter(|it| it.subject().contains("/forgotten-dev/"))
                .count()
        }
        let remembered = async || {
            let aws = &stage.aws();
            [
                kind::<Deployments>(aws).await,
                kind::<Parking>(aws).await,
                kind::<Watched>(aws).await,
                kind::<Uses>(aws).await,
            ]
        };
        let app = Service::named(stage, "forgotten-dev");
        app.push("latest").await;
        app.set_tag("groundcrew:alarms", "cpu=42").await;
        app.quiet().await;
        let mut parking = app.memory_of::<Parking>().await;
        let told = Parking {
            told_failed: Some("once".into()),
            ..Parking::default()
        };
        parking.write(&stage.aws(), told).await.expect("written");
        assert_eq!(remembered().await, [1; 4]);
        crate::stage::assert_succeeded(&stage.teardown(&spec).await);
        assert_eq!(remembered().await, [0; 4]);
    });
}

#[test]
fn o16_a_second_installation_leaves_the_services_of_the_first_alone_until_that_is_gone() {
    play_alone(&[], |stage| async move {
        let app = Service::given(stage, "kept")
            .follows("semver:1")
            .create()
            .await;
        let first = app.push("1.1.0").await;
        app.has_come_to_run(&first).await;
        app.quiet().await;
        let own = stage.output("DeployStateMachineArn").to_owned();
        assert_eq!(app.tag("groundcrew:installation"), Some(own.clone()));

        let states = stage.aws();
        let described = states
            .sfn()
            .describe_state_machine()
            .state_machine_arn(&own);
        let described = described
            .send()
            .await
            .expect("as Step Functions describes it");
        let logging = described.logging_configuration.expect("it logs");
        assert_eq!(logging.level(), Some(&LogLevel::Error));

        let other = stage.other_machine("other-deploy").await;
        app.set_tag("groundcrew:installation", &other).await;
        app.push("1.2.0").await;
        app.quiet().await;
        assert_eq!(app.runs(), first);
        let end = stage
            .deploy(&json!({"service": "kept", "to": "1.1.0"}))
            .await;
        assert!(
            end.error == "Invalid" && end.message.contains(&other),
            "{}",
            end.message
        );

        stage.delete_machine(&other).await;
        let told = app.subjects().await.len();
        let newest = app.push("1.3.0").await;
        app.has_come_to_run(&newest).await;
        let heard = app.hear(told + 1).await;
        assert!(
            heard[told].message.contains(&other),
            "{}",
            heard[told].message
        );
        app.status_is(ServiceStatus::Running).await;
        app.quiet().await;
        assert_eq!(app.tag("groundcrew:installation"), Some(own));
        // It is told once.
        app.push("1.4.0").await;
        let heard = app.hear(told + 2).await;
        assert!(
            !heard[told + 1].message.contains(&other),
            "{}",
            heard[told + 1].message
        );
    });
}

#[test]
fn o2_rotations_of_a_secret_that_may_not_be_described_are_delivered_when_events_tell_of_them() {
    play(|stage| async move {
        let arn = stage.secret("unseen").await;
        stage
            .deny("DeployFunction", "secretsmanager:DescribeSecret", &arn)
            .await;
        let app = Service::given(stage, "unseen")
            .reads("PASSWORD", &arn)
            .create()
            .await;
        let before = app.operations().len();
        for value in ["two", "three", "four"] {
            let version = stage
                .local
                .rotate_secret(&arn, value)
                .await
                .expect("rotated");
            app.eventually(|seen| seen.runs.secret_versions.get("PASSWORD") == Some(&version))
                .await;
            app.quiet().await;
        }
        // Both events of one rotation make one deployment, and a look without an event makes none.
        stage.deploy(&json!({"service": "unseen"})).await;
        assert_eq!(
            app.operations()[before..],
            [redeployed(), redeployed(), redeployed()]
        );
    });
}

impl Stage {
    /// A state machine beside those of the template.
    async fn other_machine(&self, name: &str) -> String {
        let definition = json!({"StartAt": "End", "States": {"End": {"Type": "Succeed"}}});
        self.machine(name, &definition).await
    }

    async fn delete_machine(&self, arn: &str) {
        let sfn = self.local.aws().sfn();
        let deleted = sfn
            .delete_state_machine()
            .state_machine_arn(arn)
            .send()
            .await;
        deleted.expect("deleted");
    }

    /// Denies a function an action on a resource, whatever its role allows.
    async fn deny(&self, function: &str, action: &str, resource: &str) {
        let role = self.role(function).await;
        let policy = json!({"Version": "2012-10-17", "Statement": [
            {"Effect": "Deny", "Action": action, "Resource": resource},
        ]});
        let name = format!("deny-{}", resource.rsplit(':').next().unwrap_or_default());
        let iam = self.local.aws().iam();
        let put = iam.put_role_policy().role_name(role).policy_name(name);
        let put = put.policy_document(policy.to_string()).send().await;
        put.expect("denied");
    }
}
