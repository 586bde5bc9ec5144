//! The promise P19 over the deployed template: what somebody has changed of a stack is reported, what opens it to others every day
//! and the rest once, and `provision` puts it right, which needs no more than the name of the stack. IAM is enforced.

use crate::stage::{Stage, assert_succeeded, play_alone, spec};
use groundcrew::Memory;
use groundcrew::memory::LastSpec;
use groundcrew::stack::Tags;
use serde_json::json;

const OPEN: &str = "URGENT, it is open to others: ";

/// What a sweep of the stack says, one line each; of a look by hand, too.
async fn swept(stage: &Stage, dry_run: bool) -> Vec<String> {
    let end = stage
        .sweep(&json!({"stack": "drifted-dev", "dry_run": dry_run}))
        .await;
    assert_succeeded(&end);
    let summary = end.output["summary"].as_str().expect("a text");
    summary.lines().map(str::to_owned).collect()
}

/// How many of the lines say each of these.
fn counts<const N: usize>(lines: &[String], what: [&str; N]) -> [usize; N] {
    what.map(|what| lines.iter().filter(|line| line.contains(what)).count())
}

#[test]
fn p19_what_somebody_has_changed_of_a_stack_is_told_once_and_what_opens_it_to_others_every_day() {
    play_alone(&[], |stage| async move {
        let given = spec("drifted");
        assert_succeeded(&stage.provision(&given).await);
        let aws = stage.local.aws();
        stage.local.everybody_has_heard().await.expect("heard");
        stage.local.clear_calls().await.expect("cleared");
        assert_eq!(swept(stage, false).await, ["everything is as it should be"]);
        let calls = stage.local.calls().await.expect("listed");
        let compared = calls
            .iter()
            .filter(|it| it.principal.contains("CompareFunction"));
        let (count, writes) = (
            compared.clone().count(),
            compared.filter(|it| it.writes()).count(),
        );
        println!("to compare a stack takes {count} calls");
        assert!(
            (10..60).contains(&count) && writes == 0,
            "{count} calls, {writes} write"
        );

        // Somebody scales up, opens the database to everybody, and takes the boundary off a role.
        let modify = aws.rds().modify_db_instance();
        let modify = modify
            .db_instance_identifier("drifted-dev")
            .apply_immediately(true);
        let modify = modify
            .db_instance_class("db.t4g.large")
            .publicly_accessible(true);
        modify.send().await.expect("changed by hand");
        stage.database_is("drifted-dev", Some("available")).await;
        let groups = aws
            .ec2()
            .describe_security_groups()
            .send()
            .await
            .expect("groups");
        let mut groups = groups.security_groups().iter();
        let group = groups.find(|it| it.group_name() == Some("drifted-dev-database"));
        let group = group.and_then(|it| it.group_id()).expect("a group");
        let open = aws.ec2().authorize_security_group_ingress().group_id(group);
        let open = open.ip_protocol("tcp").from_port(5432).to_port(5432);
        open.cidr_ip("0.0.0.0/0")
            .send()
            .await
            .expect("opened by hand");
        let role = format!("drifted-dev-instance-{}", aws.account.region);
        let unbound = aws
            .iam()
            .delete_role_permissions_boundary()
            .role_name(&role);
        unbound.send().await.expect("unbound by hand");
        let beside = json!({"Version": "2012-10-17", "Statement": [
            {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"},
        ]});
        let beside = beside.to_string();
        let put = aws
            .iam()
            .put_role_policy()
            .role_name(&role)
            .policy_name("theirs");
        put.policy_document(beside)
            .send()
            .await
            .expect("given by hand");

        let again = json!({"stack": "drifted-dev"});
        let command = r#"--input '{"stack":"drifted-dev"}'"#;
        let said = [
            "public true → false",
            "that is no tcp 5432 from 0.0.0.0/0",
            "boundary none → ",
            "class db.t4g.large → db.t4g.micro",
            "theirs",
        ];
        let lines = swept(stage, false).await;
        assert_eq!(counts(&lines, said), [1; 5], "{lines:?}");
        assert_eq!(counts(&lines, [OPEN, command]), [3, 4], "{lines:?}");
        // The next day what is open is told once more, and whoever looks by hand is told of all.
        let lines = swept(stage, false).await;
        assert_eq!(counts(&lines, said), [1, 1, 1, 0, 0], "{lines:?}");
        assert_eq!(counts(&lines, [OPEN, command]), [3, 3], "{lines:?}");
        let lines = swept(stage, true).await;
        assert_eq!(counts(&lines, said), [1; 5], "{lines:?}");
        // Another change is news.
        let modify = aws.rds().modify_db_instance();
        let modify = modify
            .db_instance_identifier("drifted-dev")
            .apply_immediately(true);
        modify
            .backup_retention_period(1)
            .send()
            .await
            .expect("changed by hand");
        stage.database_is("drifted-dev", Some("available")).await;
        let lines = swept(stage, false).await;
        assert_eq!(
            counts(&lines, ["backup days 1 → 7", "class db.t4g.large"]),
            [1, 1],
            "{lines:?}"
        );

        // A sweep has changed nothing of it, and neither has a plan.
        let plan = stage
            .provision_without_image(&json!({"stack": "drifted-dev", "dry_run": true}))
            .await;
        assert_succeeded(&plan);
        let planned = plan.output["plan"]["database"]["changes"].to_string();
        assert!(planned.contains("class db.t4g.large"), "{planned}");
        assert_eq!(swept(stage, false).await.len(), lines.len() - 1);

        // The command of the message puts it right, but for what somebody has put beside it.
        assert_succeeded(&stage.provision_without_image(&again).await);
        let plan = stage
            .provision_without_image(&json!({"stack": "drifted-dev", "dry_run": true}))
            .await;
        let resources = plan.output["plan"].as_object().expect("a plan").values();
        let changes = resources.flat_map(|it| it["changes"].as_array().expect("changes"));
        let changes: Vec<_> = changes.map(ToString::to_string).collect();
        assert_eq!(counts(&changes, said), [0, 0, 0, 0, 1], "{changes:?}");
        assert_eq!(changes.len(), 1, "{changes:?}");
        let lines = swept(stage, false).await;
        assert_eq!(counts(&lines, said), [0, 0, 0, 0, 1], "{lines:?}");
        assert_eq!(swept(stage, false).await, ["everything is as it should be"]);

        // And a teardown forgets the spec.
        let remembered = async || {
            let memory = Memory::<LastSpec>::of(&stage.aws(), "drifted-dev", &Tags::new()).await;
            !memory.expect("asked").is_new()
        };
        assert!(remembered().await);
        assert_succeeded(&stage.teardown(&given).await);
        assert!(!remembered().await);
        let refused = stage.provision_without_image(&again).await;
        assert!(
            refused.message.contains("no spec is remembered"),
            "{}",
            refused.message
        );
    });
}
