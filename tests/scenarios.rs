//! The promises of the product, played over the deployed template with IAM enforced.

use serde_json::json;
use tests::{play, spec};

#[test]
fn a_stack_is_built_from_nothing_and_answers_before_anybody_is_told_so() {
    play(|stage| async move {
        let spec = spec("fresh");
        let push = async {
            loop {
                if stage.local.push_image("fresh-dev", "latest", "amd64").await.is_ok() {
                    break;
                }
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        };
        let (end, ()) = tokio::join!(stage.provision(&spec), push);
        for happening in &end.happenings {
            println!("{}", format!("{happening:?}").chars().take(600).collect::<String>());
        }
        assert!(end.succeeded, "{}: {}", end.error, end.message);
        assert_eq!(end.output["health"]["status"], json!(200));
    });
}
