//! What AWS refuses in its own words (`rehearsal/local_aws/refusals.json`): what passes is looked at again, what stays is told.

use crate::stage::{assert_succeeded, play_alone, play_at, spec};
use serde_json::{Value, json};

/// The ids of what is refused only for a while.
fn transient() -> Vec<String> {
    let table = rehearsal::root().join("rehearsal/local_aws/refusals.json");
    let table = std::fs::read(table).expect("the table is there");
    let table: Vec<Value> = serde_json::from_slice(&table).expect("the table can be read");
    let lines = table.iter().filter(|line| line["is"] == "transient");
    lines
        .map(|line| line["id"].as_str().expect("an id").to_owned())
        .collect()
}

/// Each of them is met by a call, in one execution that builds a stack, or in one that takes it down. Of an account where nothing was
/// built before: it has no service-linked role.
#[test]
fn a_stack_is_built_and_taken_down_although_aws_refuses_for_a_while_whatever_it_can() {
    play_at(200.0, &[], async |stage| {
        for refusal in transient() {
            stage.local.refuse(&refusal, 1).await.expect("armed");
        }
        let mut spec = spec("patient");
        spec["environment"] = json!("prod");
        spec["alarms"] = json!({"email": "on-call@example.com"});
        assert_succeeded(&stage.provision(&spec).await);
        let removal =
            json!({"app": "patient", "environment": "prod", "ignore_deletion_protection": true});
        let end = stage.remove(&removal).await;
        assert_succeeded(&end);
        assert_eq!(end.output["left"], json!([]));
        assert_eq!(stage.traces("patient-prod").await, Vec::<String>::new());
        let unmet = stage.local.faults_to_come().await.expect("listed");
        assert_eq!(unmet, Vec::<String>::new(), "no call has met these");
    });
}

#[test]
fn what_aws_refuses_for_good_ends_an_execution_with_awss_own_words_and_leaves_nothing() {
    play_alone(&[], |stage| async move {
        stage.local.refuse("ec2-vpc-quota", 1).await.expect("armed");
        let end = stage.provision_without_image(&spec("hasty")).await;
        assert_eq!(end.error, "Aws", "{}", end.message);
        let words = "ec2:CreateVpc: VpcLimitExceeded: The maximum number of VPCs has been reached.";
        assert!(end.message.contains(words), "{}", end.message);
        assert_eq!(stage.traces("hasty-dev").await, Vec::<String>::new());
    });
}
