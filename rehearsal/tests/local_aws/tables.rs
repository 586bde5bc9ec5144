//! Tables of DynamoDB: conditional writes, keys of callers, and tables of stacks.

use super::models::call;
use super::stage::{Stage, eventually, play};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::put_item::builders::PutItemFluentBuilder;
use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_sdk_dynamodb::types::{
    AttributeValue, PointInTimeRecoveryStatus, ReturnValuesOnConditionCheckFailure,
};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use rehearsal::{LocalAws, Options};
use serde_json::json;
use std::fmt::Debug;

fn text(text: &str) -> AttributeValue {
    AttributeValue::S(text.into())
}

fn number(number: u64) -> AttributeValue {
    AttributeValue::N(number.to_string())
}

/// A client of the root user.
fn root(stage: &Stage) -> Client {
    Client::new(stage.local.sdk_config())
}

/// A request that creates an item, of this revision.
fn create(stage: &Stage, client: &Client, kind: &str, subject: &str) -> PutItemFluentBuilder {
    let put = client.put_item().table_name(stage.output("Memory"));
    let put = put.item("kind", text(kind)).item("subject", text(subject));
    let put = put.item("revision", number(1));
    put.condition_expression("attribute_not_exists(kind)")
        .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
}

/// A request that changes an item which has this revision.
fn change(
    stage: &Stage,
    client: &Client,
    kind: &str,
    subject: &str,
    read: u64,
) -> UpdateItemFluentBuilder {
    let update = client.update_item().table_name(stage.output("Memory"));
    update
        .key("kind", text(kind))
        .key("subject", text(subject))
        .update_expression("SET revision = :next")
        .condition_expression("revision = :read")
        .expression_attribute_values(":read", number(read))
        .expression_attribute_values(":next", number(read + 1))
        .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
}

#[test]
fn a_conditional_write_that_loses_is_refused_with_the_item_that_is_there() {
    play(async |stage| {
        let client = root(stage);
        let put = || create(stage, &client, "lost", "shop");
        put().send().await.unwrap();
        let refused = put().item("by", text("another")).send().await.unwrap_err();
        let refused = refused.into_service_error();
        let message = "The conditional request failed";
        assert_eq!(refused.message(), Some(message));
        assert!(refused.is_conditional_check_failed_exception());

        let update = change(stage, &client, "lost", "shop", 1);
        update.send().await.unwrap();
        let update = change(stage, &client, "lost", "shop", 1);
        let refused = update.send().await.unwrap_err();
        let there = match refused.into_service_error() {
            aws_sdk_dynamodb::operation::update_item::UpdateItemError::ConditionalCheckFailedException(it) => it.item,
            other => panic!("{other:?}"),
        };
        assert_eq!(there.unwrap()["revision"], number(2));

        let delete = || {
            let delete = client.delete_item().table_name(stage.output("Memory"));
            let delete = delete
                .key("kind", text("lost"))
                .key("subject", text("shop"));
            let delete = delete.condition_expression("revision = :read");
            delete.expression_attribute_values(":read", number(1))
        };
        let refused = delete().send().await.unwrap_err().into_service_error();
        let aws_sdk_dynamodb::operation::delete_item::DeleteItemError::ConditionalCheckFailedException(refused) = refused else {
            panic!("{refused:?}");
        };
        // It was not asked for.
        assert_eq!(refused.item, None);

        let get = client.get_item().table_name(stage.output("Memory"));
        let get = get.key("kind", text("lost")).key("subject", text("shop"));
        let there = get.consistent_read(true).send().await.unwrap();
        let there = there.item.unwrap();
        assert_eq!(there["revision"], number(2));
        assert!(!there.contains_key("by"));
    });
}

#[test]
fn of_many_that_change_the_same_revision_one_wins() {
    play(async |stage| {
        let client = root(stage);
        let put = create(stage, &client, "raced", "shop");
        put.send().await.unwrap();
        let mut runners = tokio::task::JoinSet::new();
        for _ in 0..20 {
            runners.spawn(change(stage, &client, "raced", "shop", 1).send());
        }
        let ends = runners.join_all().await;
        assert_eq!(ends.iter().filter(|end| end.is_ok()).count(), 1);
        for refused in ends.into_iter().filter_map(Result::err) {
            let refused = refused.into_service_error();
            assert!(refused.is_conditional_check_failed_exception());
        }
    });
}

/// Whether a call was allowed; if not, the refusal names the table.
fn is_allowed<T, E>(end: Result<T, SdkError<E, HttpResponse>>, table: &str) -> bool
where
    E: ProvideErrorMetadata + Debug,
{
    let Err(error) = end else { return true };
    assert_eq!(error.code(), Some("AccessDeniedException"), "{error:?}");
    let says = format!("on resource: {table} ");
    assert!(error.message().unwrap().contains(&says), "{error:?}");
    assert_eq!(error.raw_response().unwrap().status().as_u16(), 400);
    false
}

/// "You must use the ForAllValues modifier", and it holds where the key is absent: a scan has none.
#[test]
fn a_caller_that_is_held_to_a_kind_by_leading_keys_reads_and_writes_no_other() {
    play(async |stage| {
        let (table, arn) = (stage.output("Memory"), stage.output("MemoryArn"));
        for kind in ["own", "foreign"] {
            let put = create(stage, &root(stage), kind, "shop");
            put.send().await.unwrap();
        }
        let client = Client::new(&stage.user("held").await);
        let hold = async |actions: &[&str], to: &[&str], resource: &str| {
            let policy = json!({"Version": "2012-10-17", "Statement": [{
                "Effect": "Allow", "Action": actions, "Resource": resource,
                "Condition": {"ForAllValues:StringEquals": {"dynamodb:LeadingKeys": to}},
            }]});
            let iam = stage.local.aws().iam();
            let put = iam.put_user_policy().user_name("held").policy_name("held");
            let put = put.policy_document(policy.to_string()).send().await;
            put.unwrap();
        };
        let key = |kind: &str| {
            let subject = ("subject".to_owned(), text("shop"));
            Some([("kind".to_owned(), text(kind)), subject].into())
        };
        // Which of the calls are allowed on an item of this kind.
        let allowed = async |kind: &str| {
            let get = client.get_item().table_name(table).set_key(key(kind));
            let query = client.query().table_name(table);
            let query = query
                .key_condition_expression("#k = :kind and begins_with(subject, :s)")
                .expression_attribute_names("#k", "kind")
                .expression_attribute_values(":s", text("s"))
                .expression_attribute_values(":kind", text(kind));
            let put = client.put_item().table_name(table).set_item(key(kind));
            let update = client.update_item().table_name(table).set_key(key(kind));
            let update = update
                .update_expression("SET seen = :s")
                .expression_attribute_values(":s", text("s"));
            let delete = client.delete_item().table_name(table).set_key(key(kind));
            [
                is_allowed(get.send().await, arn),
                is_allowed(query.send().await, arn),
                is_allowed(put.send().await, arn),
                is_allowed(update.send().await, arn),
                is_allowed(delete.send().await, arn),
            ]
        };
        let all = [
            "dynamodb:GetItem",
            "dynamodb:Query",
            "dynamodb:PutItem",
            "dynamodb:UpdateItem",
            "dynamodb:DeleteItem",
        ];
        hold(&all, &["own", "third"], arn).await;
        assert_eq!(allowed("own").await, [true; 5]);
        assert_eq!(allowed("foreign").await, [false; 5]);
        hold(&all[..2], &["own"], arn).await;
        assert_eq!(allowed("own").await, [true, true, false, false, false]);
        hold(&all, &["own"], &format!("{arn}-another")).await;
        assert_eq!(allowed("own").await, [false; 5]);

        let scan = async || is_allowed(client.scan().table_name(table).send().await, arn);
        assert!(!scan().await);
        hold(&["dynamodb:Scan"], &["own"], arn).await;
        assert!(scan().await);
    });
}

#[test]
fn a_query_finds_one_kind_page_by_page_in_the_order_of_its_subjects() {
    play(async |stage| {
        let client = root(stage);
        for subject in ["c", "a", "b"] {
            let put = create(stage, &client, "paged", subject);
            put.send().await.unwrap();
        }
        let put = create(stage, &client, "paged-not", "d");
        put.send().await.unwrap();
        let query = client.query().table_name(stage.output("Memory"));
        let query = query.key_condition_expression("kind = :kind").limit(2);
        let query = query.expression_attribute_values(":kind", text("paged"));
        let pages = query.consistent_read(true).into_paginator();
        let found = pages.items().send().try_collect().await.unwrap();
        let subjects = found.iter().map(|item| item["subject"].clone());
        assert_eq!(subjects.collect::<Vec<_>>(), ["a", "b", "c"].map(text));
    });
}

#[test]
fn what_dynamodb_does_not_take_is_refused() {
    let long = "x".repeat(400 * 1024);
    play(async |stage| {
        let client = root(stage);
        let put = || create(stage, &client, "bad", "shop");
        let bare = || client.put_item().table_name(stage.output("Memory"));
        for (put, says) in [
            // "status" is a reserved word, "kind", "subject" and "revision" are none.
            (
                put().condition_expression("status = kind"),
                "Attribute name is a reserved keyword; reserved keyword: status",
            ),
            (
                put().item("long", text(&long)),
                "Item size has exceeded the maximum allowed size",
            ),
            (
                bare().item("kind", text("bad")),
                "Missing the key subject in the item",
            ),
            (
                put().item("subject", number(1)),
                "Type mismatch for key subject expected: S actual: N",
            ),
            (
                put().item("subject", text("")),
                "The AttributeValue for a key attribute cannot contain an empty string value. Key: subject",
            ),
            (
                put().item("n", AttributeValue::N("1".repeat(39))),
                "Attempting to store more than 38 significant digits in a Number",
            ),
            (
                put().expression_attribute_values(":unused", number(1)),
                "Value provided in ExpressionAttributeValues unused in expressions: keys: {:unused}",
            ),
        ] {
            let refused = put.send().await.unwrap_err();
            assert_eq!(refused.code(), Some("ValidationException"), "{refused:?}");
            let message = refused.message().unwrap();
            assert!(message.contains(says), "{message}");
        }
        let get = client.get_item().table_name("none").key("kind", text("a"));
        let missing = get.send().await.unwrap_err().into_service_error();
        assert!(missing.is_resource_not_found_exception(), "{missing:?}");
    });
}

/// On a local AWS of its own, where no other test meets what is armed.
#[tokio::test]
async fn a_call_that_dynamodb_throttles_or_cannot_serve_is_refused_in_its_words() {
    let prepared = rehearsal::prepare().await.unwrap();
    let local = LocalAws::start(&prepared, Options::default());
    let local = local.await.unwrap();
    let config = aws_sdk_dynamodb::config::Builder::from(local.sdk_config());
    let client = Client::from_conf(config.retry_config(RetryConfig::disabled()).build());
    for refusal in ["throttled", "throughput", "account-limit", "failed"] {
        let armed = local.refuse(&format!("dynamodb-{refusal}"), 1).await;
        armed.unwrap();
    }
    let get = client.get_item().table_name("none").key("kind", text("a"));
    let got = get.send().await.unwrap_err().into_service_error();
    assert!(got.is_throttling_exception(), "{got:?}");
    let put = client.put_item().table_name("none").item("kind", text("a"));
    let put = put.send().await.unwrap_err().into_service_error();
    assert!(
        put.is_provisioned_throughput_exceeded_exception(),
        "{put:?}"
    );
    let query = client.query().table_name("none").send().await;
    let queried = query.unwrap_err().into_service_error();
    assert!(queried.is_request_limit_exceeded(), "{queried:?}");
    let delete = client.delete_item().table_name("none");
    let delete = delete.key("kind", text("a")).send().await;
    let deleted = delete.unwrap_err().into_service_error();
    assert!(deleted.is_internal_server_error(), "{deleted:?}");
    // Each was armed once.
    assert_eq!(local.faults_to_come().await.unwrap(), [""; 0]);
}

#[test]
fn a_table_of_a_stack_is_as_its_template_says_and_goes_with_the_stack() {
    play(async |stage| {
        let client = root(stage);
        let definition = |name: &str| json!({"AttributeName": name, "AttributeType": "S"});
        let template = |defined: &[&str], recoverable: bool| {
            let defined: Vec<_> = defined.iter().map(|name| definition(name)).collect();
            let table = json!({
                "BillingMode": "PAY_PER_REQUEST",
                "AttributeDefinitions": defined,
                "KeySchema": [{"AttributeName": "kind", "KeyType": "HASH"}],
                "PointInTimeRecoverySpecification": {"PointInTimeRecoveryEnabled": recoverable},
            });
            let resources = json!({"Table": {"Type": "AWS::DynamoDB::Table", "Properties": table}});
            json!({"Resources": resources}).to_string()
        };
        let form = async |operation: &str, template: Option<String>| {
            let mut given = json!({"StackName": "tabled"});
            if let Some(template) = template {
                given["TemplateBody"] = json!(template);
            }
            let answer = call(stage, "cloudformation", operation, &given).await;
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
            answer
        };
        let becomes = async |status: &str| {
            let told = format!("<StackStatus>{status}</StackStatus>");
            eventually(async || {
                form("DescribeStacks", None)
                    .await
                    .contains(&told)
                    .then_some(())
            })
            .await;
        };
        let recovery = async |table: &str| {
            let describe = client.describe_continuous_backups().table_name(table);
            let described = describe.send().await.unwrap();
            let described = described.continuous_backups_description.unwrap();
            let described = described.point_in_time_recovery_description.unwrap();
            described.point_in_time_recovery_status.unwrap()
        };

        form("CreateStack", Some(template(&["kind"], true))).await;
        becomes("CREATE_COMPLETE").await;
        let tables = client
            .list_tables()
            .send()
            .await
            .unwrap()
            .table_names
            .unwrap();
        let table = tables
            .iter()
            .find(|name| name.starts_with("tabled-Table-"))
            .unwrap();
        let described = client
            .describe_table()
            .table_name(table)
            .send()
            .await
            .unwrap()
            .table
            .unwrap();
        let billing = described
            .billing_mode_summary
            .unwrap()
            .billing_mode
            .unwrap();
        assert_eq!(billing.as_str(), "PAY_PER_REQUEST");
        assert_eq!(
            described
                .provisioned_throughput
                .unwrap()
                .write_capacity_units,
            Some(0)
        );
        assert_eq!(recovery(table).await, PointInTimeRecoveryStatus::Enabled);

        form("UpdateStack", Some(template(&["kind"], false))).await;
        becomes("UPDATE_COMPLETE").await;
        assert_eq!(recovery(table).await, PointInTimeRecoveryStatus::Disabled);

        form("DeleteStack", None).await;
        eventually(async || {
            let gone = client.describe_table().table_name(table).send().await;
            gone.is_err_and(|it| it.into_service_error().is_resource_not_found_exception())
                .then_some(())
        })
        .await;

        // A key without a definition: DynamoDB refuses the table, and CloudFormation its stack.
        form("CreateStack", Some(template(&["kind", "subject"], true))).await;
        becomes("ROLLBACK_COMPLETE").await;
    });
}
