//! The Lambda function behind the rule for App Runner's operations: it keeps the alarms of a service in line with it.

use groundcrew::environment::variable;
use groundcrew::{Aws, Result, log};
use lambda_runtime::{Error, LambdaEvent, run, service_fn};
use serde_json::Value;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    log::write_json();
    let aws = &Aws::load();
    let notifications = &variable("NOTIFICATIONS");
    run(service_fn(|event: LambdaEvent<Value>| async move {
        alarms::handle(aws, &event.payload, notifications).await
    }))
    .await
}
