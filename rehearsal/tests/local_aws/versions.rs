//! Lambda: a published version keeps its code and its environment when the function is replaced.

use rehearsal::{End, LocalAws, Options, Outputs};
use serde_json::json;
use std::fs;
use std::path::PathBuf;
use tokio::runtime::Runtime;

/// A function that says a word of its code and a word of its environment; and two machines that wait, and then call the version
/// of it that they were made for. The versions of the second are deleted when another takes their place.
const TEMPLATE: &str = r#"
Transform: AWS::Serverless-2016-10-31
Globals:
  Function:
    Runtime: python3.12
    Handler: index.handler
    Timeout: 30
    AutoPublishAlias: live
    AutoPublishAliasAllProperties: true
    Environment: {Variables: {WORD: WORD}}
Resources:
  Kept:
    Type: AWS::Serverless::Function
    Properties:
      InlineCode: &code |
        import os

        def handler(event, context):
            return ["WORD", os.environ["WORD"]]
  Gone:
    Type: AWS::Serverless::Function
    Properties:
      InlineCode: *code
      VersionDeletionPolicy: Delete
  CallKept: &machine
    Type: AWS::Serverless::StateMachine
    Properties:
      Definition: &definition
        StartAt: Wait
        States:
          Wait: {Type: Wait, SecondsPath: $.seconds, Next: Call}
          Call:
            Type: Task
            Resource: arn:aws:states:::lambda:invoke
            Parameters: {FunctionName: "${Function}"}
            OutputPath: $.Payload
            End: true
      DefinitionSubstitutions: {Function: !Ref Kept.Version}
      Policies: &policies
        - Version: "2012-10-17"
          Statement:
            - Effect: Allow
              Action: lambda:InvokeFunction
              Resource: [!GetAtt Kept.Arn, !Sub "${Kept.Arn}:*", !Sub "${Gone.Arn}:*"]
  CallGone:
    Type: AWS::Serverless::StateMachine
    Properties:
      Definition: *definition
      DefinitionSubstitutions: {Function: !Ref Gone.Version}
      Policies: *policies
  CallUnqualified:
    Type: AWS::Serverless::StateMachine
    Properties:
      Definition: *definition
      DefinitionSubstitutions: {Function: !GetAtt Kept.Arn}
      Policies: *policies
Outputs:
  CallKept: {Value: !Ref CallKept}
  CallGone: {Value: !Ref CallGone}
  CallUnqualified: {Value: !Ref CallUnqualified}
"#;

async fn deploy(local: &LocalAws, word: &str) -> Outputs {
    let folder = local.folder().join(word);
    fs::create_dir_all(&folder).unwrap();
    let template: PathBuf = folder.join("template.yaml");
    let text = TEMPLATE.replace("WORD: WORD", &format!("WORD: {word}"));
    fs::write(
        &template,
        text.replace("\"WORD\",", &format!("\"{word}\",")),
    )
    .unwrap();
    local.deploy(&template, &folder, &[]).await.unwrap()
}

async fn call(local: &LocalAws, machine: &str, name: &str, seconds: u32) -> rehearsal::Execution {
    let input = json!({"seconds": seconds});
    local.start_execution(machine, name, &input).await.unwrap()
}

async fn end(execution: rehearsal::Execution) -> End {
    execution.end().await.unwrap()
}

/// "A function version includes … the function code and all associated dependencies …, all the function settings, including the
/// environment variables" (<https://docs.aws.amazon.com/lambda/latest/dg/configuration-versions.html>).
#[test]
fn a_version_keeps_its_code_and_its_environment_until_it_is_deleted() {
    Runtime::new().unwrap().block_on(async {
        let prepared = rehearsal::prepare().await.unwrap();
        let options = Options::default();
        let local = LocalAws::start(&prepared, options).await.unwrap();
        let first = deploy(&local, "one").await;
        let long = 3000;
        let kept = call(&local, first.get("CallKept").unwrap(), "kept", long).await;
        let gone = call(&local, first.get("CallGone").unwrap(), "gone", long).await;
        let second = deploy(&local, "two").await;
        for (machine, said) in [("CallKept", "two"), ("CallUnqualified", "two")] {
            let now = call(&local, second.get(machine).unwrap(), "now", 0).await;
            assert_eq!(end(now).await.output, json!([said, said]), "{machine}");
        }
        assert_eq!(end(kept).await.output, json!(["one", "one"]));
        let gone = end(gone).await;
        assert_eq!(gone.error, "Lambda.ResourceNotFoundException", "{gone:?}");

        // The first code again: another version of the same.
        let third = deploy(&local, "one").await;
        let again = call(&local, third.get("CallKept").unwrap(), "again", 0).await;
        assert_eq!(end(again).await.output, json!(["one", "one"]));
        local.delete().await.unwrap();
    });
}
