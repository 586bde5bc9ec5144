//! What holds for any input.

#![expect(clippy::unwrap_used, reason = "so a test fails")]

use apprunner_emulator::ServiceModel;
use groundcrew::{Error, Removal, Spec, Stack, Watch, stack};
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::string::string_regex;
use provision::Step;
use regex_lite::Regex;
use serde_json::{Map, Value, json};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{LazyLock, Mutex};
use tokio::runtime::Runtime;

fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(cases(512))]

    #[test]
    fn any_json_is_a_value_or_a_named_error(input in json_of(any::<String>())) {
        let _ = serde_json::from_value::<Step>(input.clone());
        refusal(Spec::parse(&input));
        refusal(Removal::parse(&input));
    }

    #[test]
    fn any_step_is_a_value_or_an_error(input in step()) {
        let _ = serde_json::from_value::<Step>(input);
    }

    #[test]
    fn a_spec_with_anything_in_one_place_is_a_value_or_a_named_error(input in mutated(spec(), any::<String>())) {
        refusal(Spec::parse(&input));
    }

    #[test]
    fn a_removal_with_anything_in_one_place_is_a_value_or_a_named_error(input in mutated(removal(), any::<String>())) {
        refusal(Removal::parse(&input));
    }

    #[test]
    fn a_spec_that_the_schema_and_the_rules_allow_is_accepted(input in spec()) {
        prop_assert!(SPEC.accepts(&input), "the generator and the independent checker disagree");
        let parsed = Spec::parse(&input);
        prop_assert!(parsed.is_ok(), "{}", parsed.unwrap_err());
        // What a state machine passes on is the spec with all its defaults; it means the same.
        let parsed = parsed.unwrap();
        prop_assert_eq!(Spec::parse(&json!(parsed)).ok(), Some(parsed));
    }

    #[test]
    fn the_checker_and_an_independent_one_agree_on_a_spec(input in mutated(spec(), printable())) {
        let ours = refusal(Spec::parse(&input));
        if SPEC.accepts(&input) {
            prop_assert!(serde_json::from_value::<Spec>(input).is_ok());
            let refused: Vec<_> = ours.iter().filter(|field| !has_rules(field)).collect();
            prop_assert!(refused.is_empty(), "only we refuse {refused:?}");
        } else {
            prop_assert!(!ours.is_empty(), "only we accept");
            prop_assert!(!is_left_to_serde(&input, &ours), "the checker leaves it to serde");
        }
    }

    #[test]
    fn the_checker_and_an_independent_one_agree_on_a_removal(input in mutated(removal(), printable())) {
        let ours = refusal(Removal::parse(&input));
        if REMOVAL.accepts(&input) {
            prop_assert!(serde_json::from_value::<Removal>(input).is_ok());
            prop_assert!(ours.iter().all(|field| field == "app"), "only we refuse {ours:?}");
        } else {
            prop_assert!(!ours.is_empty(), "only we accept");
            prop_assert!(!is_left_to_serde(&input, &ours), "the checker leaves it to serde");
        }
    }

    #[test]
    fn any_valid_spec_derives_names_that_aws_accepts(app in app(), environment in "[a-z][a-z0-9]{0,7}", tag in tag()) {
        let input = json!({"app": app, "environment": environment, "image": {"tag": tag}});
        let spec = Spec::parse(&input);
        prop_assume!(spec.is_ok());
        let spec = spec.unwrap();
        for (what, name, pattern) in names(&spec) {
            let pattern = Regex::new(&format!("^(?:{pattern})$")).unwrap();
            prop_assert!(pattern.is_match(&name), "{what}: AWS does not accept {name}");
        }
        prop_assert!(!RESERVED.contains(&spec.stack().database_name().as_str()));
        for group in ["connector", "database"] {
            prop_assert!(!spec.stack().part(group).starts_with("sg-"), "EC2 keeps sg- for itself");
        }
    }
}

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn any_valid_spec_asks_app_runner_for_what_its_model_takes(input in spec()) {
        let spec = Spec::parse(&input).unwrap();
        for (operation, request) in requests(&spec) {
            let refusal = MODEL.refusal(operation, &request);
            prop_assert_eq!(refusal, None, "{}: {}", operation, request);
        }
    }
}

/// What a spec says in requests to App Runner, as `provision` makes them.
fn requests(spec: &Spec) -> [(&'static str, Value); 3] {
    let (name, service) = (spec.stack().name(), &spec.service);
    let registry = "123456789012.dkr.ecr.us-east-1.amazonaws.com";
    let digest = "0a".repeat(32);
    let [(alarms, watched), (topic, told)] = Watch::of(spec).tags();
    let create = json!({
        "ServiceName": name,
        "SourceConfiguration": {"ImageRepository": {
            "ImageIdentifier": format!("{registry}/{}@sha256:{digest}", spec.repository()),
            "ImageRepositoryType": "ECR",
            "ImageConfiguration": {
                "Port": service.port.to_string(),
                "RuntimeEnvironmentVariables": service.variables,
                "RuntimeEnvironmentSecrets": service.secrets,
            },
        }},
        "InstanceConfiguration": {"Cpu": service.cpu.to_string(), "Memory": service.memory.to_string()},
        "HealthCheckConfiguration": {
            "Protocol": "HTTP",
            "Path": service.health_check.path,
            "Interval": service.health_check.interval,
            "Timeout": service.health_check.timeout,
            "HealthyThreshold": service.health_check.healthy_threshold,
            "UnhealthyThreshold": service.health_check.unhealthy_threshold,
        },
        "Tags": [
            {"Key": stack::TAG_IMAGE_TAG, "Value": spec.image.tag},
            {"Key": stack::TAG_POLICY, "Value": spec.deploy.to_string()},
            {"Key": alarms, "Value": watched},
            {"Key": topic, "Value": told},
        ],
    });
    let scaling = json!({
        "AutoScalingConfigurationName": name,
        "MinSize": service.scaling.min_size,
        "MaxSize": service.scaling.max_size,
        "MaxConcurrency": service.scaling.max_concurrency,
    });
    let connector = json!({"VpcConnectorName": name, "Subnets": spec.network.subnet_ids});
    [
        ("CreateService", create),
        ("CreateAutoScalingConfiguration", scaling),
        ("CreateVpcConnector", connector),
    ]
}

/// App Runner's own model.
pub(crate) static MODEL: LazyLock<ServiceModel> = LazyLock::new(|| {
    let prepared = Runtime::new().unwrap().block_on(rehearsal::prepare());
    ServiceModel::read(&prepared.unwrap().apprunner_model).unwrap()
});

/// The fields that are refused; an error of another kind, or one without a word, is a bug.
fn refusal<T>(parsed: groundcrew::Result<T>) -> Vec<String> {
    match parsed {
        Ok(_) => Vec::new(),
        Err(Error::Invalid(mistakes)) => {
            assert!(!mistakes.is_empty());
            mistakes
                .into_iter()
                .map(|mistake| {
                    assert!(!mistake.allowed.is_empty(), "{mistake}");
                    mistake.field
                })
                .collect()
        }
        Err(error) => panic!("{error:?}"),
    }
}

/// Whether the schema found nothing and serde did, which stops at the first mistake and names no field.
fn is_left_to_serde(input: &Value, refused: &[String]) -> bool {
    let members = input.as_object();
    let has_nameless = |members: &Map<_, _>| members.contains_key(""); // its path is empty, too
    members.is_some_and(|members| !has_nameless(members)) && refused.iter().any(String::is_empty)
}

/// Fields on which a rule between fields may have something to say, which no schema knows.
fn has_rules(field: &str) -> bool {
    let named = [
        "app",
        "alarms.email",
        "database.backup_days",
        "network.cidr",
        "network.subnet_ids",
        "network.vpc_id",
        "network.zones",
        "service.memory",
        "service.scaling.max_size",
    ];
    named.contains(&field) || field.starts_with("service.secrets.")
}

// The independent checker -------------------------------------------------------------------------------------------------

static SPEC: LazyLock<Judge> = LazyLock::new(|| Judge::of(&Spec::schema()));
static REMOVAL: LazyLock<Judge> = LazyLock::new(|| Judge::of(&Removal::schema()));

/// Python's jsonschema, which the local AWS brings along. The Rust crates of that kind turn on features of num-traits
/// and idna, for which cargo would compile the whole AWS SDK again.
struct Judge(Mutex<(Child, ChildStdin, BufReader<ChildStdout>)>);

const PROGRAM: &str = "
import json, sys
from jsonschema import Draft202012Validator
schema = json.loads(sys.stdin.readline())
Draft202012Validator.check_schema(schema)
validator = Draft202012Validator(schema)
for line in sys.stdin:
    print(json.dumps(validator.is_valid(json.loads(line))), flush=True)
";

impl Judge {
    fn of(schema: &Value) -> Self {
        let runtime = Runtime::new().unwrap();
        let prepared = runtime.block_on(rehearsal::prepare()).unwrap();
        let mut python = Command::new(prepared.python)
            .args(["-c", PROGRAM])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = python.stdin.take().unwrap();
        let output = BufReader::new(python.stdout.take().unwrap());
        writeln!(input, "{schema}").unwrap();
        Self(Mutex::new((python, input, output)))
    }

    fn accepts(&self, value: &Value) -> bool {
        let mut guard = self
            .0
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        let (_, input, output) = &mut *guard;
        writeln!(input, "{value}").unwrap();
        let mut answer = String::new();
        output.read_line(&mut answer).unwrap();
        serde_json::from_str(&answer).expect("true or false")
    }
}

// Inputs ------------------------------------------------------------------------------------------------------------------

/// Any JSON. Without floats that are whole numbers: JSON Schema takes 1.0 for an integer, and serde does not.
fn json_of<S: Strategy<Value = String> + Clone + 'static>(text: S) -> BoxedStrategy<Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (-1000i64..100_000).prop_map(Value::from),
        (-1000i64..1000).prop_map(|n| Value::from(n as f64 + 0.5)),
        text.clone().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 5, move |inner| {
        let name = prop_oneof![field_name(), text.clone()];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map(name, inner, 0..5)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
    .boxed()
}

fn printable() -> impl Strategy<Value = String> + Clone + 'static {
    "\\PC{0,12}"
}

/// A name that means something in some input.
fn field_name() -> impl Strategy<Value = String> {
    fn names(schema: &Value, found: &mut Vec<String>) {
        if let Some(properties) = schema["properties"].as_object() {
            found.extend(properties.keys().cloned());
        }
        for inner in schema["$defs"]
            .as_object()
            .into_iter()
            .flat_map(Map::values)
        {
            names(inner, found);
        }
    }
    let mut found: Vec<_> = [
        "action",
        "resource",
        "execution",
        "entered",
        "attempt",
        "failure",
        "spec",
        "removal",
    ]
    .map(str::to_owned)
    .into();
    names(&Spec::schema(), &mut found);
    names(&Removal::schema(), &mut found);
    select(found)
}

/// What resembles the input of the function.
fn step() -> impl Strategy<Value = Value> {
    let action = select(vec![
        "check-spec",
        "plan",
        "ensure",
        "await-image",
        "wake",
        "check-health",
        "check-removal",
        "destroy",
        "prune",
        "remaining",
        "other",
    ]);
    let resource = select(vec!["network", "database", "other"]);
    let fields = json_of(any::<String>());
    (action, resource, spec(), removal(), fields).prop_map(|(action, resource, spec, removal, fields)| {
        let mut step = json!({
            "action": action, "resource": resource, "spec": spec, "removal": removal, "execution": "run-1",
            "entered": "2026-11-21T01:02:03Z", "attempt": 1, "waits": [],
        });
        if let Value::Object(fields) = fields {
            step.as_object_mut().unwrap().extend(fields);
        }
        step
    })
}

fn spec() -> impl Strategy<Value = Value> + Clone {
    let schema = Spec::schema();
    allowed_by(&schema, &schema).prop_map(follow_the_rules)
}

fn removal() -> impl Strategy<Value = Value> + Clone {
    let schema = Removal::schema();
    allowed_by(&schema, &schema)
}

/// Values that a schema of ours allows.
fn allowed_by(root: &Value, schema: &Value) -> BoxedStrategy<Value> {
    if let Some(reference) = schema["$ref"].as_str() {
        return allowed_by(
            root,
            root.pointer(reference.trim_start_matches('#')).unwrap(),
        );
    }
    if let Some(choices) = schema["oneOf"].as_array() {
        let all: Vec<_> = choices
            .iter()
            .map(|choice| choice["const"].clone())
            .collect();
        return select(all).boxed();
    }
    if let Some(values) = schema["enum"].as_array() {
        return select(values.clone()).boxed();
    }
    let types = match &schema["type"] {
        Value::Array(types) => types.clone(),
        one => vec![one.clone()],
    };
    let any_of: Vec<_> = types
        .iter()
        .map(|name| of_type(root, schema, name.as_str().unwrap()))
        .collect();
    proptest::strategy::Union::new(any_of).boxed()
}

fn of_type(root: &Value, schema: &Value, name: &str) -> BoxedStrategy<Value> {
    match name {
        "null" => Just(Value::Null).boxed(),
        "boolean" => any::<bool>().prop_map(Value::from).boxed(),
        "integer" => {
            let limits = (
                schema["minimum"].as_i64().unwrap(),
                schema["maximum"].as_i64().unwrap(),
            );
            // The limits themselves, so that a nudge goes beyond them.
            prop_oneof![Just(limits.0), Just(limits.1), limits.0..=limits.1]
                .prop_map(Value::from)
                .boxed()
        }
        "string" => text(schema).prop_map(Value::from).boxed(),
        "array" => {
            let item = allowed_by(root, &schema["items"]);
            prop::collection::vec(item, 0..4)
                .prop_map(Value::from)
                .boxed()
        }
        "object" if schema["properties"].is_object() => object(root, schema),
        "object" => {
            let (name, value) = (
                text(&schema["propertyNames"]),
                allowed_by(root, &schema["additionalProperties"]),
            );
            prop::collection::btree_map(name, value, 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect()))
                .boxed()
        }
        name => panic!("a schema of ours has the type {name}"),
    }
}

fn object(root: &Value, schema: &Value) -> BoxedStrategy<Value> {
    let properties = schema["properties"].as_object().unwrap();
    let required = schema["required"].as_array().cloned().unwrap_or_default();
    let members: Vec<_> = properties
        .iter()
        .map(|(name, property)| {
            let is_required = required.iter().any(|required| required == name);
            let (name, value) = (name.clone(), allowed_by(root, property));
            let value = if is_required {
                value.prop_map(Some).boxed()
            } else {
                prop::option::weighted(0.4, value).boxed()
            };
            value.prop_map(move |value| Some((name.clone(), value?)))
        })
        .collect();
    members
        .prop_map(|members| Value::Object(members.into_iter().flatten().collect()))
        .boxed()
}

fn text(schema: &Value) -> BoxedStrategy<String> {
    let pattern = schema["pattern"]
        .as_str()
        .map_or("\\PC*", |pattern| pattern.trim_start_matches('^'));
    let pattern = pattern.strip_suffix('$').unwrap_or(pattern);
    let refused = schema["not"]["pattern"]
        .as_str()
        .map(|pattern| Regex::new(pattern).unwrap());
    let size = |name: &str| schema[name].as_u64().map(|size| size as usize);
    let (least, most) = (
        size("minLength").unwrap_or(0),
        size("maxLength").unwrap_or(usize::MAX),
    );
    string_regex(&shortened(pattern))
        .unwrap()
        .prop_filter("length", move |text| {
            (least..=most).contains(&text.chars().count())
        })
        .prop_filter("not", move |text| {
            refused
                .as_ref()
                .is_none_or(|refused| !refused.is_match(text))
        })
        .boxed()
}

/// The same pattern with few repetitions, so that what comes out is short.
fn shortened(pattern: &str) -> String {
    let mut short = String::new();
    let (mut in_class, mut escaped) = (false, false);
    for character in pattern.chars() {
        match character {
            '*' if !in_class && !escaped => short += "{0,4}",
            '+' if !in_class && !escaped => short += "{1,4}",
            _ => short.push(character),
        }
        match character {
            '[' if !escaped => in_class = true,
            ']' if !escaped => in_class = false,
            _ => {}
        }
        escaped = character == '\\' && !escaped;
    }
    short
}

/// Changes what a schema allows and the rules between fields do not.
fn follow_the_rules(mut spec: Value) -> Value {
    let has = |value: &Value| !value.is_null();
    if spec["app"]
        .as_str()
        .is_some_and(|app| app == "sg" || app.starts_with("sg-"))
    {
        spec["app"] = "shop".into();
    }
    if spec["app"].as_str().map_or(0, str::len) + spec["environment"].as_str().map_or(0, str::len)
        < 3
    {
        spec["app"] = "shop".into();
    }
    if let Some(service) = spec.get_mut("service") {
        let cpu = service["cpu"].as_u64().unwrap_or(1024);
        service["memory"] = (2 * cpu).into();
        if let Some(scaling) = service.get_mut("scaling") {
            let least = scaling["min_size"].as_u64().unwrap_or(1);
            let most = scaling["max_size"].as_u64().unwrap_or(5);
            scaling["max_size"] = most.max(least).into();
        }
        let variables = service
            .get("variables")
            .and_then(Value::as_object)
            .cloned()
            .unwrap_or_default();
        if let Some(secrets) = service.get_mut("secrets").and_then(Value::as_object_mut) {
            secrets.retain(|name, _| !variables.contains_key(name));
        }
    }
    if let Some(database) = spec.get_mut("database") {
        let days = database["backup_days"].as_u64().unwrap_or(7);
        database["backup_days"] = if database["read_replica"] == true {
            days.max(1)
        } else {
            days
        }
        .into();
    }
    if let Some(alarms) = spec.get_mut("alarms")
        && has(&alarms["topic_arn"])
    {
        alarms["email"] = Value::Null;
    }
    if let Some(network) = spec.get_mut("network") {
        if has(&network["vpc_id"]) {
            network["cidr"] = Value::Null;
            network["subnet_ids"] = json!(["subnet-12345678", "subnet-23456789"]);
            network["zones"] = json!([]);
        } else {
            if network["zones"][0].is_string() {
                network["zones"] = json!(["use1-az1", "use1-az4"]);
            }
            network["subnet_ids"] = json!([]);
            if has(&network["cidr"]) {
                network["cidr"] = "192.168.16.0/20".into();
            }
        }
    }
    spec
}

/// An input with one place changed: replaced by anything, nudged, left out, or with a member that nobody knows.
fn mutated<S>(valid: impl Strategy<Value = Value>, text: S) -> impl Strategy<Value = Value>
where
    S: Strategy<Value = String> + Clone + 'static,
{
    (
        valid,
        any::<Index>(),
        0..5u8,
        json_of(text.clone()),
        prop_oneof![field_name(), text],
    )
        .prop_map(|(mut input, place, how, anything, name)| {
            let places = pointers(&input);
            let pointer = &places[place.index(places.len())];
            let (parent, last) = pointer.rsplit_once('/').unwrap_or_default();
            let unescaped = last.replace("~1", "/").replace("~0", "~");
            if how == 0
                && let Some(Value::Object(members)) = input.pointer_mut(parent)
            {
                members.remove(&unescaped);
                return input;
            }
            let Some(target) = input.pointer_mut(pointer) else {
                return input;
            };
            match (how, &mut *target) {
                (1, Value::Object(members)) => drop(members.insert(name, anything)),
                (2, Value::Number(number)) => *target = (number.as_i64().unwrap_or(0) + 1).into(),
                (3, Value::Number(number)) => *target = (number.as_i64().unwrap_or(0) - 1).into(),
                (2 | 3, Value::String(text)) => text.push_str(&name),
                _ => *target = anything,
            }
            input
        })
}

/// Every place in a value, as JSON pointers.
fn pointers(value: &Value) -> Vec<String> {
    let below = |name: &str, inner: &Value| {
        let name = name.replace('~', "~0").replace('/', "~1");
        pointers(inner)
            .into_iter()
            .map(move |pointer| format!("/{name}{pointer}"))
            .collect::<Vec<_>>()
    };
    let mut all = vec![String::new()];
    match value {
        Value::Object(members) => {
            all.extend(members.iter().flat_map(|(name, inner)| below(name, inner)))
        }
        Value::Array(items) => all.extend(
            items
                .iter()
                .enumerate()
                .flat_map(|(n, inner)| below(&n.to_string(), inner)),
        ),
        _ => {}
    }
    all
}

// Names -------------------------------------------------------------------------------------------------------------------

/// Names of an app as people choose them, and words that mean something to AWS or to PostgreSQL.
fn app() -> impl Strategy<Value = String> {
    let awkward = [
        "sg",
        "sg-tool",
        "aws",
        "default",
        "rds",
        "db",
        "shop--eu",
        "shop-",
        "a-b-c-d-e-f-g",
    ];
    let reserved = RESERVED.into_iter().map(|word| word.replace('_', "-"));
    let words: Vec<_> = reserved.chain(awkward.map(str::to_owned)).collect();
    prop_oneof![1 => select(words), 3 => "[a-z](-?[a-z0-9]){0,13}"]
}

fn tag() -> impl Strategy<Value = String> {
    let schema = Spec::schema();
    text(&schema["$defs"]["Image"]["properties"]["tag"])
}

/// The key words that PostgreSQL 17 reserves (its manual, appendix C), and the databases that RDS makes itself. RDS
/// refuses them as the name of a database.
#[rustfmt::skip]
const RESERVED: [&str; 91] = [
    "all", "analyse", "analyze", "and", "any", "array", "as", "asc", "asymmetric", "authorization", "binary", "both", "case",
    "cast", "check", "collate", "collation", "column", "concurrently", "constraint", "create", "cross", "current_catalog",
    "current_date", "current_role", "current_schema", "current_time", "current_timestamp", "current_user", "db", "default",
    "deferrable", "desc", "distinct", "do", "else", "end", "except", "false", "fetch", "for", "foreign", "freeze", "from",
    "full", "grant", "group", "having", "in", "initially", "inner", "intersect", "into", "join", "lateral", "leading", "left",
    "like", "limit", "localtime", "localtimestamp", "natural", "not", "null", "offset", "on", "only", "or", "order", "outer",
    "placing", "postgres", "primary", "rdsadmin", "references", "returning", "right", "select", "session_user", "similar",
    "some", "system_user", "table", "template0", "template1", "to", "union", "unique", "user", "where", "with",
];

/// What is derived from a spec, with the pattern that AWS publishes for it: in its API models, for RDS and IAM in the
/// words of the API reference.
fn names(spec: &Spec) -> Vec<(&'static str, String, &'static str)> {
    const DATABASE: &str = "[a-z](-?[a-z0-9]){0,62}";
    const TAG_VALUE: &str = "[A-Za-z0-9 _.:/=+@-]{0,256}";
    let stack: Stack = spec.stack();
    let name = stack.name();
    let mut names = vec![
        (
            "App Runner service",
            name.clone(),
            "[A-Za-z0-9][A-Za-z0-9_-]{3,39}",
        ),
        (
            "auto scaling configuration",
            name.clone(),
            "[A-Za-z0-9][A-Za-z0-9_-]{3,31}",
        ),
        (
            "observability configuration",
            name.clone(),
            "[A-Za-z0-9][A-Za-z0-9_-]{3,31}",
        ),
        (
            "VPC connector",
            name.clone(),
            "[A-Za-z0-9][A-Za-z0-9_-]{3,39}",
        ),
        ("DB instance", name.clone(), DATABASE),
        ("read replica", stack.part("replica"), DATABASE),
        (
            "final snapshot",
            format!("{name}-final-abcdefghijklmnopqrstuvwxyz"),
            "[a-z](-?[a-z0-9]){0,254}",
        ),
        (
            "DB subnet group",
            name.clone(),
            "[A-Za-z][A-Za-z0-9._ -]{0,254}",
        ),
        (
            "database",
            stack.database_name(),
            "[A-Za-z][A-Za-z0-9_]{0,62}",
        ),
        (
            "ECR repository",
            spec.repository(),
            "([a-z0-9]+([._-][a-z0-9]+)*/)*[a-z0-9]+([._-][a-z0-9]+)*",
        ),
        ("secret", stack.secret_name(), "[A-Za-z0-9/_+=.@-]{1,505}"),
        ("topic", stack.part("alarms"), "[A-Za-z0-9_-]{1,256}"),
        (
            "dashboard",
            Stack::watcher(&stack.part("ap-southeast-1")),
            "[A-Za-z0-9_-]{1,255}",
        ),
        (
            "alarm",
            Stack::watcher(&stack.part("database-free-storage")),
            "[!-~ ]{1,255}",
        ),
        ("tag", spec.image.tag.clone(), TAG_VALUE),
    ];
    for part in ["access", "instance"] {
        let name = format!("{}-ap-southeast-1", stack.part(part));
        names.push(("IAM role", name, "[A-Za-z0-9+=,.@_-]{1,64}"));
    }
    for part in ["connector", "database"] {
        names.push((
            "security group",
            stack.part(part),
            "[A-Za-z0-9 ._:/()#,@+=&;{}!$*-]{1,255}",
        ));
    }
    for (key, value) in stack.tags("run-1") {
        names.push(("tag", key, "[A-Za-z0-9 _.:/=+@-]{1,128}"));
        names.push(("tag", value, TAG_VALUE));
    }
    names.push((
        "tag",
        stack::TAG_CHANGED_BY.into(),
        "[A-Za-z0-9 _.:/=+@-]{1,128}",
    ));
    names
}
