//! What somebody has changed by hand of the members that a resource is created with: a plan names it, `provision` puts it right or
//! says why it stays, and of what it puts right nothing differs afterwards.

use crate::crashes::{PATIENCE, pause};
use crate::stage::{Stage, play_fast};
use aws_sdk_apprunner::types::{
    AuthenticationConfiguration, EgressConfiguration, EgressType, HealthCheckConfiguration,
    ImageConfiguration, IpAddressType, ServiceObservabilityConfiguration,
};
use groundcrew::memory::LastSpec;
use groundcrew::spec::Apply;
use groundcrew::stack::Tags;
use groundcrew::{Error, Memory, Run, Spec};
use provision::Resource;
use serde_json::json;
use std::sync::atomic::{AtomicU32, Ordering};

/// What is changed by hand, and what becomes of it.
struct Hand {
    resource: Resource,
    /// What the plan calls it.
    member: &'static str,
    stays: bool,
}

struct Scene {
    stage: Stage,
    spec: Spec,
    /// How many there were.
    executions: AtomicU32,
}

impl Scene {
    async fn set(stage: Stage) -> Self {
        let spec = json!({
            "app": "drifts",
            "environment": "dev",
            "service": {"xray": true, "secrets": {"PASSWORD": "database:password"}, "variables": {"LEVEL": "info"}},
            "database": {"read_replica": true},
        });
        let spec = Spec::parse(&spec).expect("a good spec");
        let executions = AtomicU32::new(0);
        let scene = Self {
            stage,
            spec,
            executions,
        };
        for resource in [
            Resource::Network,
            Resource::Registry,
            Resource::Credentials,
            Resource::Database,
            Resource::Configuration,
            Resource::Roles,
            Resource::Service,
        ] {
            scene.ensure(resource).await;
            if resource == Resource::Registry {
                let local = &scene.stage.local;
                let repository = scene.spec.repository();
                let pushed = local.push_image(&repository, "latest", "amd64");
                pushed.await.expect("pushed");
            }
        }
        scene
    }

    /// Ensures a resource until it is ready. Answers what was changed or left, one line each, in the first pass.
    async fn ensure(&self, resource: Resource) -> Vec<String> {
        let mut said = None;
        let execution = format!(
            "provision-{}",
            self.executions.fetch_add(1, Ordering::Relaxed)
        );
        for n in 0..PATIENCE {
            let mut run = Run::acting(&execution);
            let ensured = resource.ensure(self.stage.local.aws(), &self.spec, &mut run);
            let ensured = ensured.await;
            let changes = run.changes().to_vec();
            said = said.or(Some(changes).filter(|it| !it.is_empty() || n > 0));
            match ensured {
                Ok(()) => return said.unwrap_or_default(),
                Err(Error::NotReady(_) | Error::Busy { .. }) => pause().await,
                Err(error) => panic!("{resource:?}: {error}"),
            }
        }
        panic!("{resource:?} is not ready")
    }

    async fn plan(&self, resource: Resource) -> Vec<String> {
        let mut run = Run::deciding("planning");
        let ensured = resource.ensure(self.stage.local.aws(), &self.spec, &mut run);
        ensured.await.expect("a plan");
        run.changes().to_vec()
    }

    /// Holds the plan and the execution to what is to become of a change that was made by hand.
    async fn holds(&self, hand: Hand) {
        let Hand {
            resource,
            member,
            stays,
        } = hand;
        let named = |lines: &[String]| lines.iter().any(|line| line.contains(member));
        let planned = self.plan(resource).await;
        assert!(named(&planned), "the plan names no {member}: {planned:?}");
        let done = self.ensure(resource).await;
        assert!(named(&done), "the execution names no {member}: {done:?}");
        let after = self.plan(resource).await;
        assert_eq!(named(&after), stays, "{member}, afterwards: {after:?}");
        assert!(stays || after.is_empty(), "{member}, afterwards: {after:?}");
    }
}

const fn put_right(resource: Resource, member: &'static str) -> Hand {
    Hand {
        resource,
        member,
        stays: false,
    }
}

#[test]
fn p19_what_somebody_has_changed_of_a_database_is_named_and_put_right() {
    play_fast(async |stage| {
        let scene = Scene::set(stage).await;
        let rds = scene.stage.local.aws().rds();
        assert_eq!(scene.plan(Resource::Database).await, [""; 0]);
        let ec2 = scene.stage.local.aws().ec2();
        let groups = ec2.describe_security_groups().send().await.expect("groups");
        let other = groups.security_groups().iter();
        let mut other = other.filter(|it| it.group_name() == Some("drifts-dev-connector"));
        let other = other.next().and_then(|it| it.group_id()).expect("a group");
        let modify = |name: &str| {
            rds.modify_db_instance()
                .db_instance_identifier(name)
                .apply_immediately(true)
        };
        let of = |name| modify(name);
        let database = "drifts-dev";
        let changes = [
            (
                "automatic minor versions",
                of(database).auto_minor_version_upgrade(false),
            ),
            (
                "extended support",
                of(database).engine_lifecycle_support("open-source-rds-extended-support"),
            ),
            ("class", of(database).db_instance_class("db.t4g.large")),
            ("Multi-AZ", of(database).multi_az(true)),
            ("public", of(database).publicly_accessible(true)),
            ("backup days", of(database).backup_retention_period(1)),
            (
                "deletion protection",
                of(database).deletion_protection(true),
            ),
            (
                "tags of snapshots",
                of(database).copy_tags_to_snapshot(false),
            ),
            (
                "security groups",
                of(database).vpc_security_group_ids(other),
            ),
            ("port", of(database).db_port_number(6543)),
            (
                "replica drifts-dev-replica: public",
                of("drifts-dev-replica").publicly_accessible(true),
            ),
            (
                "tags of snapshots",
                of("drifts-dev-replica").copy_tags_to_snapshot(false),
            ),
            (
                "security groups",
                of("drifts-dev-replica").vpc_security_group_ids(other),
            ),
        ];
        let count = changes.len();
        for (member, change) in changes {
            change.send().await.expect(member);
            scene.ready(database).await;
            scene.ready("drifts-dev-replica").await;
            scene.holds(put_right(Resource::Database, member)).await;
        }
        // What RDS changes of no living database stays, and is named.
        of(database)
            .storage_type("gp2")
            .send()
            .await
            .expect("another type");
        scene.ready(database).await;
        let stays = Hand {
            stays: true,
            ..put_right(Resource::Database, "storage type")
        };
        scene.holds(stays).await;
        // What RDS does not take back is refused, with what the spec may say.
        of(database)
            .allocated_storage(30)
            .send()
            .await
            .expect("more storage");
        scene.ready(database).await;
        let mut run = Run::deciding("planning");
        let refused = Resource::Database.ensure(scene.stage.local.aws(), &scene.spec, &mut run);
        let refused = refused.await.expect_err("refused").to_string();
        assert!(
            refused.contains("database.storage_gib: 20 is refused; allowed: 30"),
            "{refused}"
        );
        println!("{count} members of a database are put right, 1 stays and is named, 1 is refused");
    });
}

#[test]
fn p19_a_class_that_somebody_has_changed_waits_for_the_maintenance_window_unless_the_spec_changes_it_or_asks_for_now()
 {
    play_fast(async |stage| {
        let mut scene = Scene::set(stage).await;
        let database = "drifts-dev";
        let described = async |scene: &Scene| {
            let rds = scene.stage.local.aws().rds();
            let described = rds.describe_db_instances().db_instance_identifier(database);
            let described = described.send().await.expect("described");
            let instance = described
                .db_instances()
                .first()
                .expect("it is there")
                .clone();
            let pending = instance.pending_modified_values();
            let pending = pending
                .and_then(|it| it.db_instance_class())
                .map(str::to_owned);
            (
                instance.db_instance_class().expect("a class").to_owned(),
                pending,
            )
        };
        let by_hand = async |scene: &Scene, class: Option<&str>, public: Option<bool>| {
            let rds = scene.stage.local.aws().rds();
            let modify = rds.modify_db_instance().db_instance_identifier(database);
            let modify = modify.set_db_instance_class(class.map(str::to_owned));
            let modify = modify.set_publicly_accessible(public);
            modify
                .apply_immediately(class.is_some())
                .send()
                .await
                .expect("changed by hand");
            scene.ready(database).await;
        };
        let [micro, large] = ["db.t4g.micro", "db.t4g.large"].map(str::to_owned);
        let waits = (large.clone(), Some(micro.clone()));

        // At first no spec is remembered, and what differs is changed at once.
        by_hand(&scene, Some(&large), None).await;
        scene.ensure(Resource::Database).await;
        assert_eq!(described(&scene).await, (micro.clone(), None));

        scene.remember().await;
        by_hand(&scene, Some(&large), None).await;
        let window = "in its maintenance window";
        let planned = scene.plan(Resource::Database).await;
        assert!(
            planned.len() == 1 && planned[0].contains(window),
            "{planned:?}"
        );
        let done = scene.ensure(Resource::Database).await;
        assert!(done[0].contains(window), "{done:?}");
        assert_eq!(described(&scene).await, waits);
        assert_eq!(scene.plan(Resource::Database).await, [""; 0]);
        // What is put right beside it does not bring it forward.
        by_hand(&scene, None, Some(true)).await;
        let done = scene.ensure(Resource::Database).await;
        assert!(done[0].contains("public true → false"), "{done:?}");
        assert_eq!(described(&scene).await, waits);

        scene.spec.apply = Apply::Now;
        let planned = scene.plan(Resource::Database).await;
        assert!(
            planned.len() == 1 && !planned[0].contains(window),
            "{planned:?}"
        );
        scene.ensure(Resource::Database).await;
        assert_eq!(described(&scene).await, (micro.clone(), None));

        // What the spec itself changes is changed at once.
        scene.spec.apply = Apply::Window;
        scene.spec.database.instance_class = "db.t4g.small".into();
        let planned = scene.plan(Resource::Database).await;
        assert!(
            planned.len() == 1 && !planned[0].contains(window),
            "{planned:?}"
        );
        scene.ensure(Resource::Database).await;
        assert_eq!(described(&scene).await, ("db.t4g.small".into(), None));
    });
}

#[test]
fn p19_a_stack_that_an_execution_is_at_work_on_is_compared_later_and_one_without_a_spec_never() {
    play_fast(async |stage| {
        let scene = Scene::set(stage).await;
        let local = &scene.stage.local;
        let definition = json!({"StartAt": "Wait", "States": {
            "Wait": {"Type": "Wait", "Seconds": 90_000_000, "End": true},
        }});
        let machine = scene.stage.machine("provision", &definition).await;
        let stack = json!({"app": "drifts", "environment": "dev"});
        let compare = json!({"action": "compare", "stacks": [stack], "machines": [machine]});
        let drifts = async || {
            let step = provision::Step::parse(compare.clone()).expect("a step");
            let answer = step.handle(local.aws(), "").await.expect("compared");
            answer["drifts"].as_array().expect("a list").clone()
        };
        scene.unbind().await;
        assert_eq!(drifts().await, [json!(null); 0]);
        scene.remember().await;
        let found = drifts().await;
        assert_eq!(found.len(), 1);
        let urgent = found[0]["urgent"][0].as_str().unwrap_or_default();
        assert!(urgent.contains("boundary none → "), "{found:?}");
        for (name, input, expected) in [
            ("plan", json!({"stack": "drifts-dev", "dry_run": true}), 1),
            ("other", json!({"app": "drifts", "environment": "test"}), 1),
            ("again", json!({"stack": "drifts-dev"}), 0),
        ] {
            let started = local.start_execution(&machine, name, &input).await;
            started.expect("started");
            assert_eq!(drifts().await.len(), expected, "{name}");
        }
    });
}

impl Scene {
    /// Takes the boundary off a role, by hand.
    async fn unbind(&self) {
        let aws = self.stage.local.aws();
        let role = format!("drifts-dev-instance-{}", aws.account.region);
        let unbound = aws.iam().delete_role_permissions_boundary();
        unbound.role_name(role).send().await.expect("unbound");
    }

    /// The spec as it is now is that which the stack was last brought in line with.
    async fn remember(&self) {
        let aws = self.stage.local.aws();
        let memory = Memory::of(aws, "drifts-dev", &Tags::new()).await;
        let mut memory: Memory<LastSpec> = memory.expect("asked");
        let last = LastSpec {
            spec: json!(self.spec),
            told: None,
        };
        memory.write(aws, last).await.expect("remembered");
    }

    async fn ready(&self, database: &str) {
        self.stage.database_is(database, Some("available")).await;
    }
}

#[test]
fn p19_what_somebody_has_changed_of_a_service_and_its_roles_is_named_and_put_right() {
    play_fast(async |stage| {
        let scene = Scene::set(stage).await;
        let aws = scene.stage.local.aws();
        assert_eq!(scene.plan(Resource::Roles).await, [""; 0]);
        assert_eq!(scene.plan(Resource::Service).await, [""; 0]);

        // The roles.
        let iam = aws.iam();
        let role = format!("drifts-dev-instance-{}", aws.account.region);
        let trust = json!({"Version": "2012-10-17", "Statement": [
            {"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"},
        ]});
        let anybody = iam.update_assume_role_policy().role_name(&role);
        anybody
            .policy_document(trust.to_string())
            .send()
            .await
            .expect("open to anybody");
        scene
            .holds(put_right(Resource::Roles, "who may assume it"))
            .await;
        let policy = json!({"Version": "2012-10-17", "Statement": [
            {"Effect": "Allow", "Action": "*", "Resource": "*"},
        ]});
        let more = iam
            .put_role_policy()
            .role_name(&role)
            .policy_name("groundcrew");
        more.policy_document(policy.to_string())
            .send()
            .await
            .expect("a policy");
        scene
            .holds(put_right(Resource::Roles, "what it may do"))
            .await;
        scene.unbind().await;
        scene
            .holds(put_right(Resource::Roles, "boundary none"))
            .await;
        let beside = iam.put_role_policy().role_name(&role).policy_name("theirs");
        beside
            .policy_document(policy.to_string())
            .send()
            .await
            .expect("a policy beside");
        let stays = Hand {
            stays: true,
            ..put_right(Resource::Roles, "theirs")
        };
        scene.holds(stays).await;

        // The service.
        let named = async || {
            let named = groundcrew::managed::named(aws, "drifts-dev").await;
            named.expect("asked").expect("it is there")
        };
        type Change = Box<dyn Fn(&mut aws_sdk_apprunner::types::SourceConfiguration)>;
        let container = |change: fn(ImageConfiguration) -> ImageConfiguration| -> Change {
            Box::new(move |source| {
                let image = source.image_repository.as_mut().expect("an image");
                let container = image.image_configuration.take().expect("a container");
                image.image_configuration = Some(change(container));
            })
        };
        let changes: Vec<(&str, Change)> = vec![
            (
                "auto-deployments",
                Box::new(|source| source.auto_deployments_enabled = Some(true)),
            ),
            (
                "port",
                container(|mut it| {
                    it.port = Some("9999".into());
                    it
                }),
            ),
            (
                "start command",
                container(|mut it| {
                    it.start_command = Some("sleep 1d".into());
                    it
                }),
            ),
            (
                "variables",
                container(|mut it| {
                    it.runtime_environment_variables = None;
                    it
                }),
            ),
            (
                "secrets",
                container(|mut it| {
                    it.runtime_environment_secrets = None;
                    it
                }),
            ),
        ];
        let mut count = changes.len();
        for (member, change) in changes {
            let service = named().await;
            let mut source = service.source_configuration.expect("a source");
            change(&mut source);
            let update = aws
                .apprunner()
                .update_service()
                .service_arn(&service.service_arn);
            update
                .source_configuration(source)
                .send()
                .await
                .expect(member);
            scene.ensured_running().await;
            scene.holds(put_right(Resource::Service, member)).await;
        }
        let update = |service: &aws_sdk_apprunner::types::Service| {
            aws.apprunner()
                .update_service()
                .service_arn(&service.service_arn)
        };
        let access = scene.role("build.apprunner.amazonaws.com").await;
        let runs_as = scene.role("tasks.apprunner.amazonaws.com").await;
        let scaling = aws.apprunner().create_auto_scaling_configuration();
        let scaling = scaling
            .auto_scaling_configuration_name("theirs")
            .max_size(2);
        let scaling = scaling.send().await.expect("a configuration");
        let scaling = scaling.auto_scaling_configuration.expect("a configuration");
        let scaling = scaling.auto_scaling_configuration_arn.expect("an ARN");
        for (member, says) in [
            ("CPU", "CPU 2048 → 1024"),
            ("memory", "memory 4096 → 2048"),
            ("instance role", "theirs-tasks → "),
            ("access role", "theirs-build → "),
            ("health check", "health check"),
            ("public", "public false → true"),
            ("VPC connector", "VPC connector none → "),
            ("IP addresses", "IP addresses DUAL_STACK → IPV4"),
            ("observability", "observability none → "),
            ("auto scaling", "/theirs/"),
        ] {
            let service = named().await;
            let update = update(&service);
            let mut instance = service.instance_configuration.expect("an instance");
            let mut source = service.source_configuration.expect("a source");
            let mut network = service.network_configuration.expect("a network");
            let update = match member {
                "CPU" | "memory" => {
                    (instance.cpu, instance.memory) = (Some("2048".into()), Some("4096".into()));
                    update.instance_configuration(instance)
                }
                "instance role" => {
                    instance.instance_role_arn = Some(runs_as.clone());
                    update.instance_configuration(instance)
                }
                "access role" => {
                    let role = AuthenticationConfiguration::builder().access_role_arn(&access);
                    source.authentication_configuration = Some(role.build());
                    update.source_configuration(source)
                }
                "health check" => update.health_check_configuration(
                    HealthCheckConfiguration::builder().path("/other").build(),
                ),
                "observability" => update.observability_configuration(
                    ServiceObservabilityConfiguration::builder().build(),
                ),
                "auto scaling" => update.auto_scaling_configuration_arn(&scaling),
                _ => {
                    let ingress = network.ingress_configuration.as_mut().expect("an ingress");
                    match member {
                        "public" => ingress.is_publicly_accessible = false,
                        "IP addresses" => network.ip_address_type = Some(IpAddressType::DualStack),
                        _ => {
                            let open =
                                EgressConfiguration::builder().egress_type(EgressType::Default);
                            network.egress_configuration = Some(open.build());
                        }
                    }
                    update.network_configuration(network)
                }
            };
            update.send().await.expect(member);
            scene.ensured_running().await;
            scene.holds(put_right(Resource::Service, says)).await;
            count += 1;
        }
        println!(
            "{count} members of a service and 3 of its roles are put right, 1 stays and is named"
        );
    });
}

impl Scene {
    /// Another role for this principal, by its ARN.
    async fn role(&self, principal: &str) -> String {
        let trust = json!({"Version": "2012-10-17", "Statement": [
            {"Effect": "Allow", "Principal": {"Service": principal}, "Action": "sts:AssumeRole"},
        ]});
        let name = principal.split('.').next().unwrap_or_default();
        let role = self.stage.local.aws().iam().create_role();
        let role = role.role_name(format!("theirs-{name}"));
        let role = role.assume_role_policy_document(trust.to_string());
        let role = role.send().await.expect("a role").role.expect("a role");
        // It pulls the image and reads the secrets, or App Runner takes the update back.
        let policy = json!({"Version": "2012-10-17", "Statement": [
            {"Effect": "Allow", "Action": ["ecr:*", "secretsmanager:*"], "Resource": "*"},
        ]});
        let put = self.stage.local.aws().iam().put_role_policy();
        let put = put.role_name(role.role_name()).policy_name("theirs");
        let put = put.policy_document(policy.to_string());
        put.send().await.expect("a policy");
        role.arn
    }

    /// Waits until nobody is at work on the service.
    async fn ensured_running(&self) {
        let aws = self.stage.local.aws();
        for _ in 0..PATIENCE {
            let named = groundcrew::managed::named(aws, "drifts-dev")
                .await
                .expect("asked");
            if named.is_some_and(|it| it.status().as_str() == "RUNNING") {
                return;
            }
            pause().await;
        }
        panic!("it does not run");
    }
}
