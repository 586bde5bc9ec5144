//! Every request and every answer is held against AWS's own models.

use super::stage::{Stage, play};
use rehearsal::{Fault, FaultKind, LocalAws, Options};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// A request as a client sends it that checks nothing. Nobody looks at the signature of the root user.
async fn send(stage: &Stage, service: &str, line: &str, headers: &str, body: &[u8]) -> String {
    let endpoint = stage.local.endpoint();
    let host = endpoint.strip_prefix("http://").unwrap();
    let scope = format!("test/20261121/us-east-1/{service}/aws4_request");
    let head = format!(
        "{line} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\
         Authorization: AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0\r\n\r\n",
        body.len()
    );
    let mut connection = TcpStream::connect(host).await.unwrap();
    connection.write_all(head.as_bytes()).await.unwrap();
    connection.write_all(body).await.unwrap();
    let mut answer = Vec::new();
    connection.read_to_end(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

/// A call in the protocol of its service.
pub(crate) async fn call(stage: &Stage, service: &str, operation: &str, given: &Value) -> String {
    let text = given.to_string();
    match service {
        "ecr" => {
            let target = format!("AmazonEC2ContainerRegistry_V20150921.{operation}");
            let headers =
                format!("X-Amz-Target: {target}\r\nContent-Type: application/x-amz-json-1.1\r\n");
            send(stage, service, "POST /", &headers, text.as_bytes()).await
        }
        "scheduler" => {
            let line = format!("{operation} /schedules/night");
            send(stage, service, &line, "", text.as_bytes()).await
        }
        "monitoring" => {
            let line = format!("POST /service/GraniteServiceVersion20100801/operation/{operation}");
            let headers = "smithy-protocol: rpc-v2-cbor\r\nContent-Type: application/cbor\r\n";
            send(stage, service, &line, headers, &cbor(given)).await
        }
        _ => {
            let mut form = format!("Action={operation}&Version=1");
            for (name, value) in given.as_object().unwrap() {
                form += &format!("&{name}={}", value.as_str().unwrap());
            }
            let headers = "Content-Type: application/x-www-form-urlencoded\r\n";
            send(stage, service, "POST /", headers, form.as_bytes()).await
        }
    }
}

/// RFC 8949, as far as these requests need it.
fn cbor(value: &Value) -> Vec<u8> {
    let head = |major: u8, number: usize| match number {
        0..24 => vec![major << 5 | number as u8],
        _ => [&[major << 5 | 25][..], &(number as u16).to_be_bytes()].concat(),
    };
    let text = |text: &str| [head(3, text.len()), text.into()].concat();
    match value {
        Value::Number(number) => head(0, number.as_u64().unwrap() as usize),
        Value::String(string) => text(string),
        Value::Array(items) => {
            let items = items.iter().map(cbor);
            [head(4, items.len())]
                .into_iter()
                .chain(items)
                .flatten()
                .collect()
        }
        Value::Object(members) => {
            let pairs = members
                .iter()
                .map(|(key, value)| [text(key), cbor(value)].concat());
            [head(5, members.len())]
                .into_iter()
                .chain(pairs)
                .flatten()
                .collect()
        }
        _ => unreachable!("no request here has a {value}"),
    }
}

/// `Name.1=a&Name.2=a` and so on.
fn numbered(name: &str, count: usize) -> Value {
    (1..=count)
        .map(|number| (format!("{name}.{number}"), json!("a")))
        .collect()
}

#[test]
fn a_request_that_keeps_to_the_model_passes_in_every_protocol() {
    play(async |stage| {
        for (service, operation) in [
            ("ecr", "DescribeRepositories"),
            ("iam", "ListPolicies"),
            ("ec2", "DescribeVpcs"),
            ("monitoring", "DescribeAlarms"),
        ] {
            let answer = call(stage, service, operation, &json!({})).await;
            assert!(answer.starts_with("HTTP/1.1 200"), "{service}: {answer}");
        }
        let answer = call(stage, "scheduler", "GET", &json!({})).await;
        assert!(answer.contains("ResourceNotFoundException"), "{answer}");
    });
}

#[test]
fn a_request_that_the_model_refuses_is_refused_in_every_protocol() {
    let long = "a".repeat(600);
    let many = vec!["a"; 1001];
    let schedule = |member: &str, value: Value| {
        let mut given = json!({
            "ScheduleExpression": "rate(1 day)",
            "FlexibleTimeWindow": {"Mode": "OFF"},
            "Target": {"Arn": "arn:aws:sqs:us-east-1:1:a", "RoleArn": "arn:aws:iam::123456789012:role/a"},
        });
        given[member] = value;
        given
    };
    let target = |member: &str, value: Value| {
        let target = schedule("", Value::Null)["Target"].take();
        let mut given = schedule("Target", target);
        given.as_object_mut().unwrap().remove("");
        given["Target"][member] = value;
        given
    };
    let alarm = |member: &str, value: &str| json!({"EvaluationPeriods": 1, "ComparisonOperator": "LessThanThreshold", member: value});
    let placed = json!({"TaskDefinitionArn": "a", "PlacementConstraints": vec![json!({}); 11]});
    #[rustfmt::skip]
    let cases = [
        // awsJson1_1
        ("ecr", "CreateRepository", json!({}), "InvalidParameterException", "'repositoryName' failed to satisfy constraint: 'Member must not be null"),
        ("ecr", "CreateRepository", json!({"repositoryName": "ab", "name": "ab"}), "InvalidParameterException", "name: CreateRepositoryRequest has no such member"),
        ("ecr", "CreateRepository", json!({"repositoryName": long}), "InvalidParameterException", "length less than or equal to 256"),
        ("ecr", "CreateRepository", json!({"repositoryName": "No Name"}), "InvalidParameterException", "regular expression pattern"),
        ("ecr", "CreateRepository", json!({"repositoryName": "ab", "imageTagMutability": "MAYBE"}), "InvalidParameterException", "enum value set: [MUTABLE, "),
        ("ecr", "DescribeRepositories", json!({"maxResults": 1001}), "InvalidParameterException", "value less than or equal to 1000"),
        ("ecr", "DescribeRepositories", json!({"maxResults": "ten"}), "SerializationException", "maxResults: the value is not an integer"),
        ("ecr", "DescribeRepositories", json!({"repositoryNames": many}), "InvalidParameterException", "length less than or equal to 100"),
        // restJson1
        ("scheduler", "POST", schedule("Target", Value::Null), "ValidationException", "Value null at 'target'"),
        ("scheduler", "POST", schedule("Zone", json!("UTC")), "ValidationException", "Zone: CreateScheduleInput has no such member"),
        ("scheduler", "POST", schedule("Description", json!(long)), "ValidationException", "length less than or equal to 512"),
        ("scheduler", "POST", schedule("GroupName", json!("a b")), "ValidationException", "Value 'a b' at 'groupName' failed to satisfy constraint: Member must satisfy regular expression pattern"),
        ("scheduler", "POST", schedule("State", json!("ON")), "ValidationException", "enum value set: [ENABLED, DISABLED]"),
        ("scheduler", "POST", target("RetryPolicy", json!({"MaximumRetryAttempts": 186})), "ValidationException", "'186' at 'target.retryPolicy.maximumRetryAttempts'"),
        ("scheduler", "POST", schedule("Description", json!(5)), "SerializationException", "Description: the value is not a string"),
        ("scheduler", "POST", target("EcsParameters", placed), "ValidationException", "'target.ecsParameters.placementConstraints'"),
        // awsQuery
        ("iam", "CreateRole", json!({"RoleName": "a"}), "ValidationError", "Value null at 'assumeRolePolicyDocument' failed to satisfy constraint: Member must not be null"),
        ("iam", "GetRole", json!({"RoleName": "a", "Role": "a"}), "ValidationError", "Role: GetRoleRequest has no such member"),
        ("iam", "GetRole", json!({"RoleName": long}), "ValidationError", "at 'roleName' failed to satisfy constraint: Member must have length less than or equal to 64"),
        ("iam", "GetRole", json!({"RoleName": "a:b"}), "ValidationError", "regular expression pattern"),
        ("iam", "ListPolicies", json!({"Scope": "Mine"}), "ValidationError", "enum value set: [All, AWS, Local]"),
        ("iam", "ListPolicies", json!({"MaxItems": "0"}), "ValidationError", "value greater than or equal to 1"),
        ("iam", "ListPolicies", json!({"MaxItems": "ten"}), "MalformedInput", "MaxItems: the value is not an integer"),
        ("iam", "UntagRole", { let mut tags = numbered("TagKeys.member", 51); tags["RoleName"] = json!("a"); tags }, "ValidationError", "'tagKeys' failed to satisfy constraint: Member must have length less than or equal to 50"),
        ("rds", "CreateDBInstance", json!({"Engine": "postgres"}), "MissingParameter", "The request must contain the parameter DBInstanceIdentifier"),
        // ec2Query
        ("ec2", "CreateSubnet", json!({}), "MissingParameter", "The request must contain the parameter VpcId"),
        ("ec2", "DescribeVpcs", json!({"MaxResult": "5"}), "UnknownParameter", "MaxResult is not recognized"),
        ("ec2", "DescribeLaunchTemplates", json!({"LaunchTemplateName.1": long}), "InvalidParameterValue", "length less than or equal to 128"),
        ("ec2", "DescribeLaunchTemplates", json!({"LaunchTemplateName.1": "a:b"}), "InvalidParameterValue", "regular expression pattern"),
        ("ec2", "CreateVpc", json!({"InstanceTenancy": "mine"}), "InvalidParameterValue", "Value (mine) for parameter InstanceTenancy is invalid"),
        ("ec2", "DescribeVpcs", json!({"MaxResults": "4"}), "InvalidParameterValue", "Value (4) for parameter MaxResults is invalid"),
        ("ec2", "DescribeVpcs", json!({"MaxResults": "ten"}), "InvalidParameterValue", "MaxResults: the value is not an integer"),
        ("ec2", "DescribeImageReferences", numbered("ImageId", 11), "InvalidParameterValue", "length less than or equal to 10"),
        // rpcv2Cbor
        ("monitoring", "PutMetricAlarm", alarm("Namespace", "a"), "ValidationError", "Value null at 'alarmName'"),
        ("monitoring", "DescribeAlarms", json!({"AlarmName": "a"}), "ValidationError", "AlarmName: DescribeAlarmsInput has no such member"),
        ("monitoring", "DescribeAlarms", json!({"AlarmNamePrefix": long}), "ValidationError", "length less than or equal to 255"),
        ("monitoring", "PutMetricAlarm", { let mut it = alarm("Namespace", ":a"); it["AlarmName"] = json!("a"); it }, "ValidationError", "regular expression pattern: [^:].*"),
        ("monitoring", "DescribeAlarms", json!({"StateValue": "RED"}), "ValidationError", "enum value set: [OK, "),
        ("monitoring", "DescribeAlarms", json!({"MaxRecords": 101}), "ValidationError", "value less than or equal to 100"),
        ("monitoring", "DescribeAlarms", json!({"MaxRecords": "ten"}), "ValidationError", "MaxRecords: the value is not an integer"),
        ("monitoring", "DescribeAlarms", json!({"AlarmNames": many}), "ValidationError", "length less than or equal to 100"),
    ];
    play(async |stage| {
        for (service, operation, given, code, says) in &cases {
            let answer = call(stage, service, operation, given).await;
            let what = format!("{service} {operation} {given:.200}: {answer}");
            assert!(answer.starts_with("HTTP/1.1 400"), "{what}");
            assert!(answer.contains(code) && answer.contains(says), "{what}");
        }
    });
}

/// From then on nothing else is answered: whatever is tested on this local AWS fails, and says so.
#[tokio::test]
async fn an_answer_that_aws_does_not_send_is_reported_to_whoever_asks_anything() {
    let prepared = rehearsal::prepare().await.unwrap();
    for (fails, says) in [
        (
            false,
            "rds:DescribeDBInstances: Foreign: DBInstanceMessage has no such member",
        ),
        (
            true,
            "rds:DescribeDBInstances: Foreign: the operation declares no such error",
        ),
    ] {
        let local = LocalAws::start(&prepared, Options::default())
            .await
            .unwrap();
        let spoiled = Fault {
            service: "rds".into(),
            operation: "DescribeDBInstances".into(),
            kind: FaultKind::Foreign,
            times: 1,
            seconds: 0.0,
        };
        let describe = async || {
            let described = local.aws().rds().describe_db_instances();
            let described = described.set_db_instance_identifier(fails.then(|| "none".into()));
            described.send().await.map_err(|error| format!("{error:?}"))
        };
        assert_eq!(describe().await.is_err(), fails);
        assert!(local.calls().await.is_ok());
        local.add_fault(&spoiled).await.unwrap();
        assert!(describe().await.unwrap_err().contains(says));
        assert!(local.calls().await.unwrap_err().to_string().contains(says));
        let other = local.aws().sns().list_topics().send().await;
        assert!(format!("{other:?}").contains(says));
    }
}
