//! The Lambda function behind the state machine `sweep`.

use groundcrew::{Aws, Result};
use lambda_runtime::{Error, LambdaEvent, run, service_fn, tracing};
use serde_json::Value;
use sweep::{Step, Surroundings};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    tracing::init_default_subscriber();
    let aws = &Aws::load().await;
    let surroundings = &Surroundings::from_env();
    run(service_fn(|event: LambdaEvent<Value>| async move {
        Step::parse(event.payload)?.handle(aws, surroundings).await
    }))
    .await
}
