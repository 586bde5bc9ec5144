//! The Lambda function behind the rules of EventBridge: it starts `deploy` for each service that an event concerns.

use groundcrew::{Aws, Result};
use lambda_runtime::{Error, LambdaEvent, run, service_fn, tracing};
use serde_json::Value;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    tracing::init_default_subscriber();
    let aws = &Aws::load().await;
    run(service_fn(|event: LambdaEvent<Value>| async move {
        trigger::handle(aws, &event.payload).await
    }))
    .await
}
