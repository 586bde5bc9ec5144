//! The Lambda function behind the state machines `provision` and `teardown`. The template deploys it twice, under two
//! roles: one may create and change, the other may delete.

use groundcrew::environment::parking;
use groundcrew::{Aws, Result, log};
use lambda_runtime::{Error, LambdaEvent, run, service_fn};
use provision::Step;
use serde_json::Value;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    log::write_json();
    let aws = &Aws::load();
    run(service_fn(|event: LambdaEvent<Value>| async move {
        let parking = &parking(&event.payload);
        Step::parse(event.payload)?.handle(aws, parking).await
    }))
    .await
}
