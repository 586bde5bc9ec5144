use super::Spec;
use crate::Error;
use serde_json::{Value, json};

/// A small spec with some of its fields changed, added or (null) left out.
fn spec(changes: &Value) -> Value {
    let mut spec = json!({"app": "shop", "environment": "dev"});
    merge(&mut spec, changes);
    spec
}

fn merge(into: &mut Value, changes: &Value) {
    let Value::Object(changes) = changes else {
        *into = changes.clone();
        return;
    };
    for (name, change) in changes {
        if change.is_null() {
            into.as_object_mut().unwrap().remove(name);
        } else if into[name].is_object() {
            merge(&mut into[name], change);
        } else {
            into[name] = change.clone();
        }
    }
}

/// The fields that are refused, or none.
fn refused(spec: &Value) -> Vec<String> {
    match Spec::parse(spec) {
        Ok(_) => Vec::new(),
        Err(Error::Invalid(mistakes)) => {
            mistakes.into_iter().map(|mistake| mistake.field).collect()
        }
        Err(error) => panic!("{spec} is refused with {error:?}"),
    }
}

#[test]
fn each_mistake_is_refused_at_its_field() {
    #[rustfmt::skip]
    let mistakes = [
        // what is asked for                                                        which field is refused
        (json!({"app": null}),                                                      "app"),
        (json!({"app": "s", "environment": "d"}),                                   "app"), // too short together
        (json!({"app": "a-very-long-name-for-an-app", "environment": "staging"}),   "app"), // too long together
        (json!({"app": "Shop"}),                                                    "app"),
        (json!({"app": "9shop"}),                                                   "app"),
        (json!({"app": "shop-"}),                                                   "app"),
        (json!({"app": "shop--eu"}),                                                "app"), // RDS
        (json!({"app": "sg-tool"}),                                                 "app"), // EC2
        (json!({"app": "sg"}),                                                      "app"),
        (json!({"environment": "dev-1"}),                                           "environment"),
        (json!({"environment": 1}),                                                 "environment"),
        (json!({"envirnoment": "dev"}),                                             "envirnoment"),
        (json!({"on_failure": "retry"}),                                            "on_failure"),
        (json!({"dry_run": "yes"}),                                                 "dry_run"),
        (json!({"log_retention_days": 31}),                                         "log_retention_days"),
        (json!({"image": "shop:latest"}),                                           "image"),
        (json!({"image": {"repository": "Shop"}}),                                  "image.repository"),
        (json!({"image": {"repository": "123456789012.dkr.ecr.eu-west-1.amazonaws.com/shop"}}), "image.repository"),
        (json!({"image": {"repository": "arn:aws:ecr:eu-west-1:123456789012:repository/shop"}}), "image.repository"),
        (json!({"image": {"tag": "release/1"}}),                                    "image.tag"),
        (json!({"image": {"tag": "sha256:0123"}}),                                  "image.tag"),
        (json!({"image": {"tag": "semver:1.2.3"}}),                                 "image.tag"),
        (json!({"image": {"tag": ""}}),                                             "image.tag"),
        (json!({"image": {"keep": 0}}),                                             "image.keep"),
        (json!({"image": {"wait_minutes": 1441}}),                                  "image.wait_minutes"),
        (json!({"service": {"cpu": 300}}),                                          "service.cpu"),
        (json!({"service": {"cpu": 1024, "memory": 512}}),                          "service.memory"),
        (json!({"service": {"cpu": 512, "memory": 2048}}),                          "service.memory"),
        (json!({"service": {"cpu": 4096, "memory": 6144}}),                         "service.memory"),
        (json!({"service": {"memory": 2000}}),                                      "service.memory"),
        (json!({"service": {"port": "8080"}}),                                      "service.port"),
        (json!({"service": {"port": 0}}),                                           "service.port"),
        (json!({"service": {"port": 65536}}),                                       "service.port"),
        (json!({"service": {"health_check": {"path": "health"}}}),                  "service.health_check.path"),
        (json!({"service": {"health_check": {"interval": 0}}}),                     "service.health_check.interval"),
        (json!({"service": {"health_check": {"interval": 21}}}),                    "service.health_check.interval"),
        (json!({"service": {"health_check": {"timeout": 21}}}),                     "service.health_check.timeout"),
        (json!({"service": {"health_check": {"healthy_threshold": 0}}}),            "service.health_check.healthy_threshold"),
        (json!({"service": {"health_check": {"unhealthy_threshold": 21}}}),         "service.health_check.unhealthy_threshold"),
        (json!({"service": {"scaling": {"min_size": 0}}}),                          "service.scaling.min_size"),
        (json!({"service": {"scaling": {"min_size": 4, "max_size": 3}}}),           "service.scaling.max_size"),
        (json!({"service": {"scaling": {"max_concurrency": 201}}}),                 "service.scaling.max_concurrency"),
        (json!({"service": {"variables": {"PORT": "80"}}}),                         "service.variables.PORT"),
        (json!({"service": {"variables": {"AWSAPPRUNNER_X": "1"}}}),                "service.variables.AWSAPPRUNNER_X"),
        (json!({"service": {"variables": {"LOG-LEVEL": "info"}}}),                  "service.variables.LOG-LEVEL"),
        (json!({"service": {"variables": {"WORKERS": 4}}}),                         "service.variables.WORKERS"),
        (json!({"service": {"variables": {"KEY": "-----BEGIN\n"}}}),                "service.variables.KEY"),
        (json!({"service": {"variables": {"KEY": "a\r"}}}),                         "service.variables.KEY"),
        (json!({"service": {"variables": {"KEY": "a\u{85}b"}}}),                    "service.variables.KEY"),
        (json!({"service": {"variables": {"KEY": "a\u{2028}b"}}}),                  "service.variables.KEY"),
        (json!({"service": {"variables": {"KEY": "a\u{2029}b"}}}),                  "service.variables.KEY"),
        (json!({"service": {"variables": {"KEY": "a\u{0}b"}}}),                     "service.variables.KEY"),
        (json!({"service": {"secrets": {"PORT": "database:port"}}}),                "service.secrets.PORT"),
        (json!({"service": {"secrets": {"KEY": "database:hostname"}}}),             "service.secrets.KEY"),
        (json!({"service": {"secrets": {"KEY": "hunter2"}}}),                       "service.secrets.KEY"),
        (json!({"service": {"variables": {"KEY": "a"}, "secrets": {"KEY": "database:host"}}}), "service.secrets.KEY"),
        (json!({"database": {"major_version": 13}}),                                "database.major_version"),
        (json!({"database": {"instance_class": "t4g.micro"}}),                      "database.instance_class"),
        (json!({"database": {"storage_gib": 10}}),                                  "database.storage_gib"),
        (json!({"database": {"backup_days": 36}}),                                  "database.backup_days"),
        (json!({"database": {"backup_days": 0, "read_replica": true}}),             "database.backup_days"),
        (json!({"network": {"cidr": "10.0.0.0"}}),                                  "network.cidr"),
        (json!({"network": {"cidr": "10.0.0.1/16"}}),                               "network.cidr"), // inside a range
        (json!({"network": {"cidr": "10.0.0.0/25"}}),                               "network.cidr"), // too small
        (json!({"network": {"cidr": "10.0.0.0/15"}}),                               "network.cidr"), // too large
        (json!({"network": {"cidr": "10.0.0.999/16"}}),                             "network.cidr"),
        (json!({"network": {"vpc_id": "vpc-1234abcd"}}),                            "network.subnet_ids"),
        (json!({"network": {"vpc_id": "vpc-1234abcd", "subnet_ids": ["subnet-1234abcd"]}}), "network.subnet_ids"),
        (json!({"network": {"subnet_ids": ["subnet-1234abcd", "subnet-5678abcd"]}}), "network.vpc_id"),
        (json!({"network": {"vpc_id": "shop", "subnet_ids": ["subnet-1234abcd", "subnet-5678abcd"]}}), "network.vpc_id"),
        (json!({"network": {"vpc_id": "vpc-1234abcd", "subnet_ids": ["subnet-1234abcd", "subnet-5678abcd", "private"]}}), "network.subnet_ids[2]"),
        (json!({"network": {"cidr": "10.0.0.0/16", "vpc_id": "vpc-1234abcd", "subnet_ids": ["subnet-1234abcd", "subnet-5678abcd"]}}), "network.cidr"),
        (json!({"network": {"zones": ["use1-az1", "us-east-1b"]}}),                 "network.zones[1]"), // a name
        (json!({"network": {"zones": ["use1-az1"]}}),                               "network.zones"),
        (json!({"network": {"zones": ["use1-az1", "use1-az1"]}}),                   "network.zones"),
        (json!({"network": {"zones": ["use1-az1", "use1-az3"]}}),                   "network.zones"), // App Runner
        (json!({"network": {"vpc_id": "vpc-1234abcd", "subnet_ids": ["subnet-1234abcd", "subnet-5678abcd"], "zones": ["use1-az1", "use1-az4"]}}), "network.zones"),
        (json!({"alarms": {"cpu_percent": 101}}),                                   "alarms.cpu_percent"),
        (json!({"alarms": {"email": "on call"}}),                                   "alarms.email"),
        (json!({"alarms": {"topic_arn": "alarms"}}),                                "alarms.topic_arn"),
        (json!({"alarms": {"email": "a@example.com", "topic_arn": "arn:aws:sns:eu-west-1:123456789012:ours"}}), "alarms.email"),
    ];
    for (changes, field) in mistakes {
        assert_eq!(refused(&spec(&changes)), [field], "{changes}");
    }
}

#[test]
fn what_lies_just_within_the_limits_is_accepted() {
    #[rustfmt::skip]
    let accepted = [
        json!({}),
        json!({"app": "ab", "environment": "d"}),
        json!({"app": "a-very-long-name-for-an", "environment": "environm"}),
        json!({"app": "sgtool"}),
        json!({"app": "user"}),
        json!({"image": {"repository": "team/shop", "tag": "prefix:release-", "keep": 1000, "wait_minutes": 0}}),
        json!({"image": {"tag": "semver:1.4"}}),
        json!({"service": {"cpu": 256, "memory": 1024, "port": 65535}}),
        json!({"service": {"cpu": 4096, "memory": 12288}}),
        json!({"service": {"health_check": {"path": "/", "interval": 1, "timeout": 20, "healthy_threshold": 20}}}),
        json!({"service": {"scaling": {"min_size": 25, "max_size": 25, "max_concurrency": 200}}}),
        json!({"service": {"variables": {"PORTAL": "", "_": "1"}}}),
        json!({"service": {"secrets": {"KEY": "arn:aws:secretsmanager:eu-west-1:123456789012:secret:shop/key-AbCdEf:key::"}}}),
        json!({"service": {"variables": {"KEY": "tab\tand \u{b} and é"}}}),
        json!({"service": {"secrets": {"KEY": "arn:aws:secretsmanager:eu-west-1:123456789012:secret:rds!db-3c0b1a2d-AbCdEf:password::"}}}),
        json!({"service": {"secrets": {"KEY": "arn:aws:ssm:eu-west-1:123456789012:parameter/shop/key"}}}),
        json!({"database": {"backup_days": 0}}),
        json!({"database": {"backup_days": 1, "read_replica": true, "deletion_protection": false}}),
        json!({"network": {"cidr": "192.168.0.0/24"}}),
        json!({"network": {"zones": ["apne1-az4", "apne1-az1"]}}),
        json!({"network": {"vpc_id": "vpc-1234abcd", "subnet_ids": ["subnet-1234abcd", "subnet-5678abcd"]}}),
        json!({"alarms": {"email": "on-call+shop@example.co.uk"}}),
    ];
    for changes in accepted {
        assert_eq!(refused(&spec(&changes)), [""; 0], "{changes}");
    }
}

#[test]
fn what_a_minimal_spec_leaves_out_has_the_default_of_the_schema() {
    let parsed = json!(Spec::parse(&spec(&json!({}))).unwrap());
    let schema = Spec::schema();
    for (name, property) in schema["properties"].as_object().unwrap() {
        if !["app", "environment"].contains(&name.as_str()) {
            assert_eq!(property.get("default"), Some(&parsed[name]), "{name}");
        }
    }
}

/// What is said to write instead, at the end of the only mistake.
fn told_to_write(changes: &Value) -> String {
    let mistakes = Spec::parse(&spec(changes))
        .expect_err("refused")
        .to_string();
    let meant = mistakes
        .split_once("; write ")
        .unwrap_or_else(|| panic!("{mistakes}"));
    meant.1.to_owned()
}

#[test]
fn what_was_meant_is_said() {
    let digest = format!("sha256:{}", "0a".repeat(32));
    let registry = "123456789012.dkr.ecr.eu-west-1.amazonaws.com";
    #[rustfmt::skip]
    let meant = [
        (json!({"service": {"memory": "2048"}}),                                   "2048"),
        (json!({"service": {"memory": "2 GB"}}),                                   "2048"),
        (json!({"service": {"cpu": "0.5 vCPU", "memory": 1024}}),                  "512"),
        (json!({"service": {"port": " 8080"}}),                                    "8080"),
        (json!({"service": {"port": 8080.0}}),                                     "8080"),
        (json!({"service": {"public": "True"}}),                                   "true"),
        (json!({"service": {"variables": {"WORKERS": 4}}}),                        r#""4""#),
        (json!({"service": {"variables": {"DEBUG": true}}}),                       r#""true""#),
        (json!({"service": {"variables": {"PORT": "80"}}}),                        "service.port 80"),
        (json!({"database": {"major_version": "17"}}),                             "17"),
        (json!({"database": {"instance_class": "db.T4G.micro"}}),                  r#""db.t4g.micro""#),
        (json!({"on_failure": "Keep"}),                                            r#""keep""#),
        (json!({"deploy": {"refuse_findings": "HIGH"}}),                           r#""high""#),
        (json!({"log_retention_days": "30"}),                                      "30"),
        (json!({"app": "Shop"}),                                                   r#""shop""#),
        (json!({"network": {"vpc_id": "vpc-1234abcd", "subnet_ids": "subnet-1234abcd"}}), r#"["subnet-1234abcd"]"#),
        (json!({"image": "shop:1.2"}),                                             r#"{"repository":"shop","tag":"1.2"}"#),
        (json!({"image": {"repository": format!("{registry}/team/shop")}}),        r#""team/shop""#),
        (json!({"image": {"repository": format!("{registry}/shop:1.2")}}),         r#""shop", and in image.tag "1.2""#),
        (json!({"image": {"repository": format!("{registry}/shop@{digest}")}}),    r#""shop", and in image.tag the tag of that image"#),
        (json!({"image": {"repository": "nginx:latest"}}),                         r#""nginx", and in image.tag "latest""#),
        (json!({"image": {"repository": "arn:aws:ecr:eu-west-1:123456789012:repository/team/shop"}}), r#""team/shop""#),
        (json!({"image": {"tag": "shop:1.2"}}),                                    r#""1.2""#),
        (json!({"image": {"tag": "semver:1.2.3"}}),                                r#""1.2.3""#),
        (json!({"image": {"tag": "release-*"}}),                                   r#""prefix:release-""#),
        (json!({"image": {"tag": digest}}),                                        "the tag of that image: the service is pinned to its digest all the same"),
    ];
    for (changes, words) in meant {
        assert_eq!(told_to_write(&changes), words, "{changes}");
    }
}

#[test]
fn what_may_be_a_secret_is_never_said_back() {
    let mistaken = spec(&json!({"service": {"secrets": {"KEY": "HUNTER2"}}}));
    let mistakes = Spec::parse(&mistaken).expect_err("refused").to_string();
    assert!(!mistakes.to_lowercase().contains("hunter2"), "{mistakes}");
}

/// Every name of a field, wherever it is.
fn names(schema: &Value, found: &mut std::collections::BTreeSet<String>) {
    if let Some(members) = schema["properties"].as_object() {
        found.extend(members.keys().cloned());
    }
    let inner = schema["$defs"].as_object().into_iter().flatten();
    inner.for_each(|(_, schema)| names(schema, found));
}

#[test]
fn no_field_that_does_not_belong_hides_a_rule_that_is_broken() {
    let mut stray = std::collections::BTreeSet::new();
    names(&Spec::schema(), &mut stray);
    stray.retain(|name| Spec::schema()["properties"].get(name).is_none());
    assert!(stray.contains("cpu"));
    #[rustfmt::skip]
    let broken = [
        (json!({"app": "a-shop-for-everything-you-need"}),                          "app"),
        (json!({"service": {"cpu": 512, "memory": 4096}}),                          "service.memory"),
        (json!({"service": {"scaling": {"min_size": 3, "max_size": 2}}}),           "service.scaling.max_size"),
        (json!({"service": {"variables": {"KEY": "a"}, "secrets": {"KEY": "database:host"}}}), "service.secrets.KEY"),
        (json!({"database": {"backup_days": 0, "read_replica": true}}),             "database.backup_days"),
        (json!({"network": {"vpc_id": "vpc-1234abcd"}}),                            "network.subnet_ids"),
        (json!({"alarms": {"email": "a@example.com", "topic_arn": "arn:aws:sns:eu-west-1:123456789012:ours"}}), "alarms.email"),
    ];
    for (changes, field) in broken {
        for name in &stray {
            let mut mistaken = spec(&changes);
            mistaken[name] = json!("stray");
            let told = refused(&mistaken);
            assert_eq!(told, [name, field], "{name} hides a rule");
        }
    }
}

#[test]
fn a_rule_is_silent_about_what_rests_on_a_mistake() {
    for (changes, fields) in [
        (
            json!({"service": {"cpu": 300, "memory": 4096}}),
            vec!["service.cpu"],
        ),
        (
            json!({"environment": "Dev", "app": "a-shop-for-everything-you-need"}),
            vec!["environment"],
        ),
        (
            json!({"network": {"vpc_id": "vpc-1234abcd", "subnet_ids": ["subnet-1234abcd", "private"]}}),
            vec!["network.subnet_ids[1]"],
        ),
        (
            json!({"network": {"vpc_id": "shop", "subnet_ids": ["subnet-1234abcd", "subnet-5678abcd"]}}),
            vec!["network.vpc_id"],
        ),
    ] {
        assert_eq!(refused(&spec(&changes)), fields, "{changes}");
    }
}

/// The whole text, as the person reads it who sent the spec.
#[test]
fn all_mistakes_are_told_at_once_each_with_its_field_its_value_and_what_is_allowed() {
    let spec = json!({
        "app": "Shop_Frontend",
        "image": {"tag": "release/*", "wait_minutes": 100_000},
        "service": {
            "cpu": 1000,
            "port": "8080",
            "public": 1,
            "health_check": {"path": "health", "interval": 30, "retries": 3},
            "variables": {"PORT": "80", "WORKERS": 4},
            "secrets": {"PASSWORD": "hunter2"},
        },
        "network": {"vpc_id": "shop", "subnet_ids": ["private-a"]},
        "alarms": "default",
        "on_failure": "retry",
    });
    let Err(error) = Spec::parse(&spec) else {
        panic!("accepted")
    };
    insta::assert_snapshot!(error, @r#"
    environment: there is no value; allowed: lower-case letters and digits, beginning with a letter (16 characters at most); it is required
    alarms: "default" is refused; allowed: an object
    app: "Shop_Frontend" is refused; allowed: lower-case letters, digits and single hyphens, beginning with a letter (30 characters at most)
    image.tag: "release/*" is refused; allowed: a tag (latest), the beginning of one (prefix:release-) or a range of versions (semver:1, semver:1.4) (128 characters at most)
    image.wait_minutes: 100000 is refused; allowed: a whole number from 0 to 1440
    network.subnet_ids[0]: "private-a" is refused; allowed: the id of a subnet, subnet- and 8 to 17 hexadecimal digits
    network.vpc_id: "shop" is refused; allowed: the id of a VPC, vpc- and 8 to 17 hexadecimal digits
    on_failure: "retry" is refused; allowed: "undo" or "keep"
    service.cpu: 1000 is refused; allowed: 256, 512, 1024, 2048 or 4096
    service.health_check.interval: 30 is refused; allowed: a whole number from 1 to 20
    service.health_check.path: "health" is refused; allowed: a path that begins with /, in ASCII and without spaces
    service.health_check.retries: 3 is refused; allowed: only the fields healthy_threshold, interval, path, timeout and unhealthy_threshold
    service.port: "8080" is refused; allowed: a whole number from 1 to 65535; write 8080
    service.public: 1 is refused; allowed: true or false
    service.secrets.PASSWORD: "(not shown)" is refused; allowed: database:password (or engine, host, username, dbname, port), the ARN of a Secrets Manager secret or the ARN of an SSM parameter (2048 characters at most)
    service.variables.PORT: "80" is refused; allowed: a name of letters, digits and underscores, no digit first; AWSAPPRUNNER… are App Runner's own, and so is PORT, for which there is service.port (2048 characters at most); write service.port 80
    service.variables.WORKERS: 4 is refused; allowed: a text of one line; a secret may have several (51200 characters at most); write "4"
    "#);
}

#[test]
fn the_rules_between_fields_are_told_at_once_too() {
    let spec = json!({
        "app": "a-shop-for-everything-you-need",
        "environment": "staging",
        "service": {
            "cpu": 512,
            "memory": 4096,
            "scaling": {"min_size": 3, "max_size": 2},
            "variables": {"API_KEY": "…"},
            "secrets": {"API_KEY": "database:password"},
        },
        "database": {"backup_days": 0, "read_replica": true},
        "network": {"cidr": "10.0.0.0/28", "vpc_id": "vpc-1234abcd"},
        "alarms": {"email": "a@example.com", "topic_arn": "arn:aws:sns:eu-west-1:123456789012:ours"},
    });
    let Err(error) = Spec::parse(&spec) else {
        panic!("accepted")
    };
    insta::assert_snapshot!(error, @r#"
    app: "a-shop-for-everything-you-need" is refused; allowed: an app and an environment of 4 to 32 characters together with their hyphen, because App Runner takes no other names; "a-shop-for-everything-you-need-staging" has 38
    service.memory: 4096 is refused; allowed: 1024 with service.cpu 512
    service.scaling.max_size: 2 is refused; allowed: service.scaling.min_size, which is 3, or more
    service.secrets.API_KEY: "database:password" is refused; allowed: a name that service.variables does not hold too
    network.cidr: "10.0.0.0/28" is refused; allowed: nothing beside network.vpc_id: an existing VPC has its range
    network.cidr: "10.0.0.0/28" is refused; allowed: the first address of a range of /16 to /24, such as 10.0.0.0/16 (a smaller one has no room for three subnets)
    network.subnet_ids: [] is refused; allowed: two private subnets of network.vpc_id or more, in two availability zones
    database.backup_days: 0 is refused; allowed: 1 to 35, because database.read_replica needs automated backups
    alarms.email: "a@example.com" is refused; allowed: nothing beside alarms.topic_arn: subscribe the address to that topic yourself
    "#);
}
