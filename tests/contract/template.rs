use crate::asl::machines;
use crate::documents::{self, files, text};
use deploy::Request;
use regex_lite::Regex;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// What the function that deletes may change all the same.
const CHANGED_BY_DELETION: [(&str, &str); 10] = [
    (
        "apprunner:DisassociateCustomDomain",
        "AWS asks for it when a service is deleted",
    ),
    (
        "cloudwatch:TagResource",
        "a dashboard of groundcrew 0.1 has no tag, without which it cannot be deleted",
    ),
    (
        "iam:DetachRolePolicy",
        "a policy that somebody attached goes with the role",
    ),
    (
        "logs:PutRetentionPolicy",
        "the logs of a service that failed are kept for a while",
    ),
    (
        "logs:TagResource",
        "a group that outlives its service is marked as removed",
    ),
    (
        "rds:AddTagsToResource",
        "the final snapshot takes the tags of its instance, and a database that is started is not to be parked",
    ),
    (
        "rds:CreateDBSnapshot",
        "the final snapshot of a database that goes",
    ),
    (
        "rds:ModifyDBInstance",
        "deletion protection is turned off first",
    ),
    (
        "rds:StartDBInstance",
        "a stopped database is started for its final snapshot",
    ),
    (
        "secretsmanager:TagResource",
        "a secret that waits for its deletion is nobody's",
    ),
];

struct Template(Value);

/// One statement of a policy.
struct Statement<'a> {
    /// The resource of the template that has it.
    of: &'a str,
    actions: Vec<&'a str>,
    resources: Vec<&'a Value>,
    condition: &'a Value,
}

impl Template {
    fn read() -> Self {
        Self(documents::yaml("template.yaml"))
    }

    fn section(&self, name: &str) -> &Map<String, Value> {
        self.0[name].as_object().expect("a section of the template")
    }

    fn resources<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = (&'a str, &'a Value)> {
        let resources = self.section("Resources").iter();
        let of_kind = resources.filter(move |(_, resource)| resource["Type"] == kind);
        of_kind.map(|(name, resource)| (name.as_str(), &resource["Properties"]))
    }

    fn functions(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.resources("AWS::Serverless::Function")
    }

    /// A property of a function; where it has none, that of all functions.
    fn of_function<'a>(&'a self, function: &'a Value, property: &str) -> &'a Value {
        match &function[property] {
            Value::Null => &self.0["Globals"]["Function"][property],
            own => own,
        }
    }

    /// The function that a managed policy is attached to; everything else is its own.
    fn owner<'a>(&'a self, name: &'a str) -> &'a str {
        let mut functions = self.functions();
        let attached = functions.find(|(_, function)| {
            list(&function["Policies"])
                .iter()
                .any(|policy| policy["Ref"] == name)
        });
        attached.map_or(name, |(function, _)| function)
    }

    fn statements(&self) -> Vec<Statement<'_>> {
        let mut statements = Vec::new();
        for (name, resource) in self.section("Resources") {
            let properties = &resource["Properties"];
            let of = self.owner(name);
            let policies = list(&properties["Policies"]);
            for policy in policies.into_iter().chain([&properties["PolicyDocument"]]) {
                for statement in list(&policy["Statement"]) {
                    assert_eq!(statement["Effect"], "Allow", "{name}");
                    statements.push(Statement {
                        of,
                        actions: strings(&statement["Action"]),
                        resources: list(&statement["Resource"]),
                        condition: &statement["Condition"],
                    });
                }
            }
        }
        statements
    }

    fn actions(&self, of: &str) -> BTreeSet<&str> {
        let statements = self.statements().into_iter();
        let own = statements.filter(|statement| statement.of == of);
        own.flat_map(|statement| statement.actions).collect()
    }
}

/// One or many, as CloudFormation and IAM take them.
fn list(value: &Value) -> Vec<&Value> {
    match value {
        Value::Null => Vec::new(),
        Value::Array(items) => items.iter().collect(),
        one => vec![one],
    }
}

fn strings(value: &Value) -> Vec<&str> {
    let items = list(value).into_iter();
    items.map(|item| item.as_str().expect("a text")).collect()
}

#[test]
fn every_substitution_is_used_and_every_one_used_is_there() {
    let template = Template::read();
    let used = Regex::new(r"\$\{([A-Za-z]+)\}").unwrap();
    for machine in machines::all() {
        let uri = format!("statemachine/{}.asl.yaml", machine.name);
        let (_, properties) = template
            .resources("AWS::Serverless::StateMachine")
            .find(|(_, properties)| properties["DefinitionUri"] == uri)
            .unwrap_or_else(|| panic!("{uri} is not deployed"));
        let given: BTreeSet<_> = properties["DefinitionSubstitutions"]
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        let used: BTreeSet<_> = used
            .captures_iter(&machine.text)
            .map(|found| found.get(1).unwrap().as_str())
            .collect();
        assert_eq!(given, used, "{uri}");
    }
}

#[test]
fn every_state_machine_of_the_folder_is_looked_at() {
    let known = machines::all().map(|machine| format!("{}.asl.yaml", machine.name));
    assert_eq!(files("statemachine"), known);
}

/// What Step Functions asks of a machine's role for a task, by its developer guide, "Integrating services".
fn asked_for(resource: &str) -> &'static [&'static str] {
    match resource {
        "arn:aws:states:::lambda:invoke" => &["lambda:InvokeFunction"],
        "arn:aws:states:::sns:publish" => &["sns:Publish"],
        "arn:aws:states:::states:startExecution.sync"
        | "arn:aws:states:::states:startExecution.sync:2" => &[
            "events:DescribeRule",
            "events:PutRule",
            "events:PutTargets",
            "states:DescribeExecution",
            "states:StartExecution",
            "states:StopExecution",
        ],
        resource => panic!("what does {resource} ask for?"),
    }
}

#[test]
fn each_state_machine_may_do_what_its_tasks_ask_for_and_nothing_else() {
    let template = Template::read();
    for machine in machines::all() {
        let uri = format!("statemachine/{}.asl.yaml", machine.name);
        let mut deployed = template.resources("AWS::Serverless::StateMachine");
        let found = deployed.find(|(_, properties)| properties["DefinitionUri"] == uri);
        let (name, _) = found.unwrap_or_else(|| panic!("{uri} is not deployed"));
        let mut granted = template.actions(name);
        granted.retain(|action| !action.starts_with("logs:"));
        let tasks = machine.tasks().into_iter();
        let asked: BTreeSet<_> = tasks
            .flat_map(|task| asked_for(task.value["Resource"].as_str().unwrap()))
            .copied()
            .collect();
        assert_eq!(granted, asked, "{name}");
    }
}

#[test]
fn every_function_logs_to_a_group_that_forgets() {
    let template = Template::read();
    for (name, function) in template.functions() {
        let group = function["LoggingConfig"]["LogGroup"]["Ref"].as_str();
        let group = group.unwrap_or_else(|| panic!("{name} has no log group"));
        let (_, group) = template
            .resources("AWS::Logs::LogGroup")
            .find(|(name, _)| *name == group)
            .unwrap_or_else(|| panic!("{name} logs to {group}, which does not exist"));
        assert_eq!(
            group["RetentionInDays"]["Ref"], "LogRetentionDays",
            "{name}"
        );
    }
}

#[test]
fn every_log_group_forgets() {
    for (name, group) in Template::read().resources("AWS::Logs::LogGroup") {
        assert!(!group["RetentionInDays"].is_null(), "{name}");
    }
}

#[test]
fn every_function_is_traced_and_loses_nothing() {
    let template = Template::read();
    for (name, function) in template.functions() {
        assert_eq!(
            template.of_function(function, "Tracing"),
            "Active",
            "{name}"
        );
        let letters = &template.of_function(function, "DeadLetterQueue")["TargetArn"];
        assert_eq!(letters["Fn::GetAtt"], "DeadLetters.Arn", "{name}");
        let logs = &template.0["Globals"]["Function"]["LoggingConfig"];
        assert_eq!(logs["LogFormat"], "JSON", "{name}");
    }
}

#[test]
fn every_state_machine_is_traced_and_logs_its_failures() {
    for (name, machine) in Template::read().resources("AWS::Serverless::StateMachine") {
        assert_eq!(machine["Tracing"]["Enabled"], true, "{name}");
        assert_eq!(machine["Logging"]["Level"], "ERROR", "{name}");
        assert!(
            !list(&machine["Logging"]["Destinations"]).is_empty(),
            "{name}"
        );
    }
}

/// A function has time to answer before its state gives up on it.
#[test]
fn a_state_waits_longer_than_its_function_may_take() {
    let template = Template::read();
    for (name, function) in template.functions() {
        let function_takes = template.of_function(function, "Timeout").as_u64();
        for machine in machines::all() {
            for state in machine.steps() {
                if state.function() == Some(name) {
                    let state_waits = state.value["TimeoutSeconds"].as_u64();
                    assert!(
                        state_waits > function_takes,
                        "{}: {}",
                        machine.name,
                        state.name
                    );
                }
            }
        }
    }
}

#[test]
fn every_alarm_tells_somebody() {
    let template = Template::read();
    for (name, alarm) in template.resources("AWS::CloudWatch::Alarm") {
        assert_eq!(
            strings_of_refs(&alarm["AlarmActions"]),
            ["Notifications"],
            "{name}"
        );
        // Of all the others silence means that nothing has happened.
        let silence = match name {
            "SweepMissedAlarm" => "breaching",
            _ => "notBreaching",
        };
        assert_eq!(alarm["TreatMissingData"], silence, "{name}");
    }
}

/// Those of `deploy`, `park` and `sweep` tell by themselves how they ended, and a rule tells of the ends that they do not.
#[test]
fn every_state_machine_has_alarms_on_the_ends_that_nobody_is_told_of_otherwise() {
    let template = Template::read();
    for (name, _) in template.resources("AWS::Serverless::StateMachine") {
        let expected = match name {
            "DeployStateMachine" | "ParkStateMachine" => vec![],
            "SweepStateMachine" => vec!["ExecutionsStarted"],
            _ => vec!["ExecutionsFailed", "ExecutionsTimedOut"],
        };
        let alarms = template.resources("AWS::CloudWatch::Alarm");
        let of_machine = alarms.filter(|(_, alarm)| alarm["Dimensions"][0]["Value"]["Ref"] == name);
        let watched: BTreeSet<_> = of_machine
            .map(|(_, alarm)| alarm["MetricName"].as_str().unwrap())
            .collect();
        assert_eq!(watched, BTreeSet::from_iter(expected), "{name}");
    }
}

/// A policy replaces the one that a topic has by default, which lets the account and its alarms tell. The actions are those of the
/// default (SNS guide, "Cases for Amazon SNS access control"; aws-cloudformation-resource-providers-sns, `getDefaultPolicy`).
#[test]
fn the_policy_of_the_topic_lets_the_rule_tell_and_takes_nothing_from_the_account_and_its_alarms() {
    let template = Template::read();
    let policy = &template.section("Resources")["NotificationsPolicy"]["Properties"];
    assert_eq!(strings_of_refs(&policy["Topics"]), ["Notifications"]);
    let statements = list(&policy["PolicyDocument"]["Statement"]);
    let of = |principal: &Value| {
        let mut found = statements.iter().filter(|it| it["Principal"] == *principal);
        found
            .next()
            .unwrap_or_else(|| panic!("nothing for {principal}"))
    };
    let account =
        of(&json!({"AWS": {"Fn::Sub": "arn:${AWS::Partition}:iam::${AWS::AccountId}:root"}}));
    let actions = list(&account["Action"]).into_iter();
    let actions: BTreeSet<_> = actions.map(|action| action.as_str().unwrap()).collect();
    let default = [
        "sns:AddPermission",
        "sns:DeleteTopic",
        "sns:GetTopicAttributes",
        "sns:ListSubscriptionsByTopic",
        "sns:Publish",
        "sns:RemovePermission",
        "sns:SetTopicAttributes",
        "sns:Subscribe",
    ];
    assert_eq!(actions, BTreeSet::from(default));
    for service in ["cloudwatch.amazonaws.com", "events.amazonaws.com"] {
        let statement = of(&json!({"Service": service}));
        assert_eq!(statement["Action"], "sns:Publish");
        assert!(
            statement["Condition"].is_object(),
            "{service}: of any account"
        );
    }
    assert_eq!(statements.len(), 3);
}

/// An alarm on how many there are tells of the first one alone.
#[test]
fn the_dead_letter_alarm_counts_what_comes_in_and_waits_for_data_that_come_late() {
    let template = Template::read();
    let alarm = &template.section("Resources")["DeadLettersAlarm"]["Properties"];
    assert_eq!(alarm["MetricName"], "NumberOfMessagesSent");
    assert_eq!(alarm["DatapointsToAlarm"], 1);
    let number = |name: &str| alarm[name].as_u64().unwrap();
    let window = number("Period") * number("EvaluationPeriods");
    assert!(window > 15 * 60, "{window} s");
}

fn strings_of_refs(value: &Value) -> Vec<&str> {
    let refs = list(value).into_iter();
    refs.map(|item| item["Ref"].as_str().expect("a reference"))
        .collect()
}

#[test]
fn every_action_is_spelt_out() {
    for statement in Template::read().statements() {
        for action in &statement.actions {
            let is_one = !action.contains('*') && action.contains(':');
            assert!(is_one, "{} allows {action}", statement.of);
        }
    }
}

/// By AWS's own data.
/// AWS's data know a dataset for it, and do not say of which calls.
const ON_A_DATASET: &str = "cloudwatch:GetMetricData";

#[test]
fn only_what_knows_no_resources_is_allowed_on_all_of_them() {
    let data = documents::json("rehearsal/local_aws/authorization.json");
    for statement in Template::read().statements() {
        for action in &statement.actions {
            let (service, operation) = action.split_once(':').unwrap();
            let known = &data["services"][service]["actions"][operation]["types"];
            let types = known
                .as_object()
                .unwrap_or_else(|| panic!("AWS's data know no {action}"));
            let on_everything = statement.resources.iter().any(|resource| *resource == "*");
            assert_eq!(
                types.is_empty() || *action == ON_A_DATASET,
                on_everything,
                "{}: {action}",
                statement.of
            );
            assert!(!statement.resources.is_empty(), "{}", statement.of);
        }
    }
}

/// What an earlier version needed is granted until its stacks have been moved over, and no longer.
#[test]
fn what_is_there_until_a_version_goes_with_it() {
    let version = |text: &str| -> Vec<u32> {
        let parts = text.split('.');
        parts.map(|part| part.parse().unwrap()).collect()
    };
    let manifest = text("Cargo.toml");
    let now = Regex::new(r#"(?m)^version = "([0-9.]+)""#).unwrap();
    let now = version(&now.captures(&manifest).unwrap()[1]);
    let until = Regex::new(r"until ([0-9]+\.[0-9]+\.[0-9]+)").unwrap();
    let code = [
        "tests/contract/upgrades.rs",
        "shared/src/environment.rs",
        "shared/src/alarms.rs",
        "shared/src/alarms/alarm.rs",
        "shared/src/alarms/dashboard.rs",
        "shared/src/alarms/watched.rs",
    ];
    let mut found = 0;
    for file in code.iter().chain(&["template.yaml"]) {
        for end in until.captures_iter(&text(file)) {
            assert!(version(&end[1]) > now, "{file}: {}", &end[0]);
            found += 1;
        }
    }
    assert!(found > 0);
}

#[test]
fn the_list_of_exceptions_of_the_function_that_deletes_holds_no_more_than_is_used() {
    let template = Template::read();
    for (action, reason) in CHANGED_BY_DELETION {
        assert!(
            template.actions("DeleteFunction").contains(action),
            "{action} ({reason})"
        );
    }
}

#[test]
fn the_function_that_creates_cannot_delete() {
    let template = Template::read();
    for action in template.actions("CreateFunction") {
        let (_, operation) = action.split_once(':').unwrap();
        for verb in [
            "Delete",
            "Remove",
            "Terminate",
            "BatchDelete",
            "Purge",
            "Untag",
            "Detach",
            "Disassociate",
        ] {
            assert!(!operation.starts_with(verb), "{action}");
        }
    }
}

#[test]
fn the_function_that_deletes_cannot_create() {
    let template = Template::read();
    for action in template.actions("DeleteFunction") {
        let (_, operation) = action.split_once(':').unwrap();
        let is_harmless = ["Delete", "Describe", "Get", "List", "Query"]
            .iter()
            .any(|verb| operation.starts_with(verb));
        let is_known = CHANGED_BY_DELETION
            .iter()
            .any(|(known, _)| *known == action);
        assert!(is_harmless || is_known, "{action}");
    }
}

#[test]
fn the_function_that_compares_can_change_nothing() {
    let template = Template::read();
    for action in template.actions("CompareFunction") {
        let (_, operation) = action.split_once(':').unwrap();
        let mut verbs = ["Describe", "Get", "List"].iter();
        assert!(verbs.any(|verb| operation.starts_with(verb)), "{action}");
        assert_ne!(operation, "GetSecretValue");
    }
}

/// Which version of a secret is current is no reason to read its value.
#[test]
fn only_the_function_that_creates_reads_a_secret() {
    let template = Template::read();
    for (name, _) in template.functions() {
        let reads = template
            .actions(name)
            .contains("secretsmanager:GetSecretValue");
        assert!(!reads || name == "CreateFunction", "{name}");
    }
}

/// They change an item of the table that is groundcrew's own.
const REMEMBERS: [&str; 2] = ["dynamodb:DeleteItem", "dynamodb:PutItem"];

#[test]
fn the_functions_that_operate_neither_create_nor_delete() {
    let template = Template::read();
    for function in ["DeployFunction", "ParkFunction", "TriggerFunction"] {
        for action in template.actions(function) {
            if REMEMBERS.contains(&action) {
                continue;
            }
            let (_, operation) = action.split_once(':').unwrap();
            for verb in ["Create", "Delete", "Put", "Authorize", "Modify", "Remove"] {
                assert!(!operation.starts_with(verb), "{function}: {action}");
            }
        }
    }
}

/// Beyond alarms and dashboards: what costs, or holds data, is removed by `teardown` alone.
#[test]
fn the_functions_that_repair_create_and_delete_nothing_but_alarms() {
    let template = Template::read();
    for function in ["AlarmsFunction", "SweepFunction"] {
        for action in template.actions(function) {
            let (service, operation) = action.split_once(':').unwrap();
            if ["cloudwatch", "logs"].contains(&service) || REMEMBERS.contains(&action) {
                continue;
            }
            for verb in ["Create", "Delete", "Put", "Authorize", "Modify", "Remove"] {
                assert!(!operation.starts_with(verb), "{function}: {action}");
            }
        }
    }
}

/// What `park` thinks of a stack, `sweep` has to think, too, and `provision` says it.
#[test]
fn park_sweep_and_provision_know_the_same_schedule() {
    let template = Template::read();
    let parking = |function: &str| {
        let resource = &template.section("Resources")[function];
        resource["Properties"]["Environment"]["Variables"]["PARKING"].clone()
    };
    assert!(parking("ParkFunction").is_object());
    assert_eq!(parking("ParkFunction"), parking("SweepFunction"));
    assert_eq!(parking("ParkFunction"), parking("CreateFunction"));
    let machines = template.resources("AWS::Serverless::StateMachine");
    let substituted = machines.filter_map(|(name, machine)| {
        Some((name, machine["DefinitionSubstitutions"].get("Parking")?))
    });
    let substituted: Vec<_> = substituted.collect();
    assert_eq!(substituted.len(), 3);
    for (name, schedule) in substituted {
        assert_eq!(*schedule, parking("ParkFunction"), "{name}");
    }
}

/// Otherwise an upgrade gives a running execution code that its definition was not made for.
#[test]
fn each_definition_names_the_versions_of_functions_that_it_was_made_for() {
    let template = Template::read();
    let functions: BTreeMap<_, _> = template.functions().collect();
    let statements = template.statements();
    for (machine, properties) in template.resources("AWS::Serverless::StateMachine") {
        let substitutions = properties["DefinitionSubstitutions"].as_object().unwrap();
        let mut called = 0;
        for (name, value) in substitutions {
            let Some(function) = functions.get(name.as_str()) else {
                continue;
            };
            assert_eq!(value["Ref"], format!("{name}.Version"), "{machine}");
            assert!(function["AutoPublishAlias"].is_string(), "{name}");
            assert_eq!(function["AutoPublishAliasAllProperties"], true, "{name}");
            assert_eq!(function["VersionDeletionPolicy"], Value::Null, "{name}");
            let versions = format!("${{{name}.Arn}}:*");
            let mut own = statements.iter().filter(|it| it.of == machine);
            let is_allowed = own.any(|it| {
                it.actions == ["lambda:InvokeFunction"]
                    && it.resources.iter().any(|it| it["Fn::Sub"] == versions)
            });
            assert!(is_allowed, "{machine}: {versions}");
            called += 1;
        }
        assert!(called > 0, "{machine}");
    }
}

/// SAM makes no version for it (<https://github.com/aws/serverless-application-model/issues/3820>).
#[test]
fn no_published_version_goes_by_a_parameter_that_may_change_alone() {
    let template = Template::read();
    let parameters = template.section("Parameters");
    let named = Regex::new(r#""Ref":"([A-Za-z]+)"|\$\{([A-Za-z]+)\}"#).unwrap();
    for (name, function) in template.functions() {
        if function["AutoPublishAlias"].is_null() {
            continue;
        }
        for of in [&template.0["Globals"]["Function"], function] {
            let variables = of["Environment"]["Variables"].as_object();
            for (variable, value) in variables.into_iter().flatten() {
                let value = value.to_string();
                let mut names = named.captures_iter(&value);
                let goes_by = names.any(|it| {
                    let name = it.get(1).or(it.get(2)).unwrap().as_str();
                    parameters.contains_key(name)
                });
                // That one is in the definition, and here for executions of groundcrew 0.1.
                assert_eq!(goes_by, variable == "PARKING", "{name}: {variable}");
            }
        }
    }
}

#[test]
fn the_sweep_runs_daily_in_the_time_zone_of_those_who_read_of_it() {
    let template = Template::read();
    let schedule = &template.section("Resources")["SweepSchedule"]["Properties"];
    let cron = schedule["ScheduleExpression"].as_str().unwrap();
    let fields: Vec<_> = cron.trim_start_matches("cron(").split(' ').collect();
    let hour: u32 = fields[1].parse().unwrap();
    assert!(hour > 3, "clocks skip no such hour: {cron}");
    assert_eq!(fields[2..], ["*", "*", "?", "*)"], "{cron}");
    assert_eq!(
        schedule["ScheduleExpressionTimezone"]["Ref"],
        "SleepTimeZone"
    );
    let target = &schedule["Target"];
    assert_eq!(target["Arn"]["Ref"], "SweepStateMachine");
    let input = serde_json::from_str(target["Input"].as_str().unwrap()).unwrap();
    let request = sweep::Request::parse(&input).expect("a request");
    assert!(!request.dry_run && request.stack.is_none());
    let letters = &target["DeadLetterConfig"]["Arn"]["Fn::GetAtt"];
    assert_eq!(letters, "DeadLetters.Arn");
}

/// The schedule's retries end when its next look is due, and what could not be delivered is kept.
#[test]
fn the_schedule_starts_park_with_what_park_reads_and_nothing_when_nobody_sleeps() {
    let template = Template::read();
    let schedule = &template.section("Resources")["ParkSchedule"]["Properties"];
    let target = &schedule["Target"];
    assert_eq!(target["Arn"]["Ref"], "ParkStateMachine");
    let input = target["Input"].as_str().unwrap();
    let input = input.replace("<aws.scheduler.scheduled-time>", "2026-11-21T19:00:00Z");
    park::Request::parse(&serde_json::from_str(&input).unwrap()).expect("a request");
    assert_eq!(
        schedule["ScheduleExpressionTimezone"]["Ref"],
        "SleepTimeZone"
    );
    assert_eq!(target["RetryPolicy"]["MaximumEventAgeInSeconds"], 1800);
    let letters = &target["DeadLetterConfig"]["Arn"]["Fn::GetAtt"];
    assert_eq!(letters, "DeadLetters.Arn");
    for name in ["ParkSchedule", "ParkScheduleRole"] {
        let resource = &template.section("Resources")[name];
        assert_eq!(resource["Condition"], "SomebodySleeps", "{name}");
    }
}

/// Otherwise a mistake in the function, or in a tag, could pause what serves customers.
#[test]
fn nothing_is_paused_or_stopped_outside_the_environments_that_sleep() {
    for statement in Template::read().statements() {
        for action in ["apprunner:PauseService", "rds:StopDBInstance"] {
            if statement.actions.contains(&action) {
                let tag = "aws:ResourceTag/groundcrew:environment";
                let environments = &statement.condition["StringEquals"][tag];
                let of = &environments["Fn::Split"][1]["Ref"];
                assert_eq!(of, "SleepingEnvironments", "{}: {action}", statement.of);
            }
        }
    }
}

/// Otherwise a mistake in the function could take a stack from its owner, or have another image deployed.
#[test]
fn park_sets_its_own_tags_and_no_other() {
    let own = BTreeSet::from([
        groundcrew::stack::TAG_PARKED,
        groundcrew::stack::TAG_PARKING_FAILED,
        groundcrew::stack::TAG_PARKING_WISH,
        groundcrew::stack::TAG_AWAKE_UNTIL,
        groundcrew::stack::TAG_PARKED_UNTIL,
    ]);
    let says_what_is_wanted = |key: &&str| key.ends_with("-until");
    let template = Template::read();
    for (action, is_set) in [
        (
            "apprunner:TagResource",
            &(|_: &&str| true) as &dyn Fn(&&str) -> bool,
        ),
        ("rds:AddTagsToResource", &says_what_is_wanted),
    ] {
        let statements = template.statements().into_iter();
        let mut granting = statements.filter(|statement| {
            statement.of == "ParkFunction" && statement.actions.contains(&action)
        });
        let statement = granting.next().expect("it is granted");
        assert!(granting.next().is_none(), "{action} is granted once");
        let keys = &statement.condition["ForAllValues:StringEquals"]["aws:TagKeys"];
        let expected: BTreeSet<_> = own.iter().copied().filter(is_set).collect();
        assert_eq!(
            strings(keys).into_iter().collect::<BTreeSet<_>>(),
            expected,
            "{action}"
        );
    }
}

/// A plain `StringEquals` was refused in four accounts: App Runner seems not to say which service it passes a role to
/// (<https://github.com/RoboFinSystems/robosystems/pull/1279>), and the Service Authorization Reference names a service
/// that no trust policy does.
#[test]
fn roles_are_passed_to_app_runner_only_whether_or_not_it_says_that_it_is_app_runner() {
    let template = Template::read();
    let mut passing = BTreeSet::new();
    for statement in template.statements() {
        if !statement.actions.contains(&"iam:PassRole") {
            continue;
        }
        assert_eq!(statement.actions, ["iam:PassRole"]);
        let roles: Vec<_> = statement
            .resources
            .iter()
            .map(|resource| &resource["Fn::Sub"])
            .collect();
        assert_eq!(
            roles,
            ["arn:${AWS::Partition}:iam::${AWS::AccountId}:role/groundcrew/*"]
        );
        let condition = statement.condition.as_object().unwrap();
        let operators: Vec<_> = condition.keys().collect();
        assert_eq!(operators, ["StringEqualsIfExists"], "{}", statement.of);
        let services = strings(&condition["StringEqualsIfExists"]["iam:PassedToService"]);
        let documented_and_reported = [
            "apprunner.amazonaws.com",
            "build.apprunner.amazonaws.com",
            "bullet.amazonaws.com",
            "tasks.apprunner.amazonaws.com",
        ];
        assert_eq!(services, documented_and_reported, "{}", statement.of);
        assert!(passing.insert(statement.of), "{}: twice", statement.of);
    }
    let expected = ["CreateFunction", "DeployFunction", "SweepFunction"];
    assert_eq!(passing, BTreeSet::from(expected));
}

/// CloudFormation gives the boundary a new ARN when it replaces it, and the roles of living stacks keep the old one.
#[test]
fn no_role_is_made_or_given_rights_without_the_boundary_whichever_arn_it_has() {
    let mut granted = 0;
    for statement in Template::read().statements() {
        for action in ["iam:CreateRole", "iam:PutRolePolicy"] {
            if statement.actions.contains(&action) {
                let boundary = &statement.condition["ArnLike"]["iam:PermissionsBoundary"];
                let arn = boundary["Fn::Sub"].as_str().unwrap();
                assert!(
                    arn.ends_with(":policy/${AWS::StackName}-ServiceRoleBoundary-*"),
                    "{action}: {arn}"
                );
                granted += 1;
            }
        }
    }
    assert_eq!(granted, 2);
}

#[test]
fn the_functions_get_exactly_the_environment_that_they_read() {
    let read = Regex::new(r#"variable\("([A-Z_]+)"\)"#).unwrap();
    let code = text("shared/src/environment.rs");
    let mut read: BTreeSet<_> = read
        .captures_iter(&code)
        .map(|found| found.get(1).unwrap().as_str())
        .collect();
    assert!(read.remove("AWS_REGION"), "Lambda itself sets it");
    let template = Template::read();
    for (name, function) in template.functions() {
        // SAM gives a function its own beside those of all functions.
        let given = [&template.0["Globals"]["Function"], function];
        let given = given.map(|of| of["Environment"]["Variables"].as_object());
        let given = given.into_iter().flatten().flat_map(Map::keys);
        let given: BTreeSet<_> = given.map(String::as_str).collect();
        let mut read = read.clone();
        let own: &[_] = match name {
            "AlarmsFunction" => &["NOTIFICATIONS"],
            "CreateFunction" => &["PARKING"],
            "ParkFunction" => &[
                "PARKING",
                "PROVISION_STATE_MACHINE",
                "TEARDOWN_STATE_MACHINE",
            ],
            "SweepFunction" => &[
                "NOTIFICATIONS",
                "PARKING",
                "PARK_STATE_MACHINE",
                "PROVISION_STATE_MACHINE",
                "TEARDOWN_STATE_MACHINE",
            ],
            _ => &[],
        };
        let code = match name.trim_end_matches("Function") {
            "Compare" | "Create" | "Delete" => "provision".to_owned(),
            name => name.to_lowercase(),
        };
        let code = ["main", "lib"].map(|file| format!("functions/{code}/src/{file}.rs"));
        let code = code
            .iter()
            .filter(|file| rehearsal::root().join(file).exists());
        let code: String = code.map(|file| text(file)).collect();
        let code = code + &text("shared/src/environment.rs");
        for own in own {
            assert!(code.contains(&format!("(\"{own}\")")), "{name}: {own}");
        }
        read.extend(own);
        assert_eq!(given, read, "{name}");
    }
}

#[test]
fn every_parameter_is_described_and_limited() {
    for (name, parameter) in Template::read().section("Parameters") {
        assert!(parameter["Description"].is_string(), "{name}");
        let is_limited =
            !parameter["AllowedPattern"].is_null() || !parameter["AllowedValues"].is_null();
        assert!(is_limited, "{name}");
        // CloudFormation shows the pattern otherwise.
        let explained =
            parameter["AllowedPattern"].is_null() || parameter["ConstraintDescription"].is_string();
        assert!(explained, "{name}");
    }
}

/// A person starts with these.
#[test]
fn the_outputs_hold_the_command_that_starts_each_state_machine() {
    let template = Template::read();
    let outputs = template.section("Outputs");
    let commands: BTreeMap<_, _> = outputs
        .iter()
        .filter_map(|(name, output)| Some((name, output["Value"]["Fn::Sub"].as_str()?)))
        .collect();
    for (machine, _) in template.resources("AWS::Serverless::StateMachine") {
        let start = format!(
            "aws stepfunctions start-execution --state-machine-arn ${{{machine}}} --input "
        );
        let mut inputs = commands
            .values()
            .filter_map(|command| command.strip_prefix(&start));
        // A short input is in the command itself.
        let is_input = |input: &str| {
            let text = input.trim_matches('\'');
            let input: Option<Value> = serde_json::from_str(text).ok();
            let is_read = |input: &Value| match machine {
                "ParkStateMachine" => park::Request::parse(input).is_ok(),
                "SweepStateMachine" => sweep::Request::parse(input).is_ok(),
                _ => Request::parse(input).is_ok(),
            };
            text.starts_with("file://") || input.as_ref().is_some_and(is_read)
        };
        assert!(inputs.any(is_input), "{machine}");
    }
    for (name, output) in outputs {
        assert!(output["Description"].is_string(), "{name}");
    }
}

/// A metric of a name that is gone is an empty graph, and says nothing.
#[test]
fn the_dashboard_shows_every_state_machine_every_function_and_what_functions_log() {
    let template = Template::read();
    let (_, dashboard) = template
        .resources("AWS::CloudWatch::Dashboard")
        .next()
        .expect("a dashboard");
    let body = dashboard["DashboardBody"]["Fn::Sub"].as_str().unwrap();
    let named = Regex::new(r"\$\{([A-Za-z:]+)(\.[A-Za-z]+)?\}").unwrap();
    for found in named.captures_iter(body) {
        let name = found.get(1).unwrap().as_str();
        let is_known = name == "AWS::Region" || template.section("Resources").contains_key(name);
        assert!(is_known, "{name}");
    }
    let machines = template.resources("AWS::Serverless::StateMachine");
    let shown = machines.map(|(name, _)| name);
    for name in shown.chain(template.functions().map(|(name, _)| name)) {
        assert!(body.contains(&format!("${{{name}}}")), "{name}");
    }
    let parsed: Value = serde_json::from_str(body).expect("JSON");
    let fields = Regex::new(r"fields\.([a-z]+)").unwrap();
    for widget in parsed["widgets"].as_array().unwrap() {
        let query = widget["properties"]["query"].as_str().unwrap_or_default();
        let code = match query {
            query if query.contains("ParkFunctionLogs") => text("functions/park/src/plan.rs"),
            query if query.contains("SweepFunctionLogs") => text("functions/sweep/src/look.rs"),
            _ => continue,
        };
        for field in fields.captures_iter(query) {
            let field = field.get(1).unwrap().as_str();
            let is_logged = field == "message" || code.contains(&format!("{field} = "));
            assert!(is_logged, "nobody logs {field}");
        }
    }
}
