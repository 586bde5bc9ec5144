//! The Lambda function behind the rules of EventBridge: it starts `deploy` for each service that an event concerns.

use groundcrew::{Aws, Result, log};
use lambda_runtime::{Error, LambdaEvent, run, service_fn};
use serde_json::Value;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    log::write_json();
    let aws = &Aws::load();
    run(service_fn(|event: LambdaEvent<Value>| async move {
        trigger::handle(aws, &event.payload).await
    }))
    .await
}
