//! The Lambda function behind the state machine `park`.

use groundcrew::{Aws, Result, log};
use lambda_runtime::{Error, LambdaEvent, run, service_fn};
use park::{Step, Surroundings};
use serde_json::Value;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    log::write_json();
    let aws = &Aws::load();
    run(service_fn(|event: LambdaEvent<Value>| async move {
        let surroundings = &Surroundings::of(&event.payload);
        Step::parse(event.payload)?.handle(aws, surroundings).await
    }))
    .await
}
