//! The execution of `deploy` that an event starts for a service.

use crate::event::Cause;
use groundcrew::arn::ServiceArn;
use groundcrew::execution::{self, Start};
use groundcrew::secrets::hexadecimal;
use groundcrew::{Aws, Result};
use jiff::Timestamp;
use serde_json::{Value, json};

/// Starts `deploy` for a service. The name is that of the event, so that an event that comes twice starts one execution: AWS
/// keeps the name for 90 days.
///
/// # Errors
/// Those of `states:StartExecution`.
pub(crate) async fn start(
    aws: &Aws,
    service: &ServiceArn,
    cause: &Cause,
    time: Timestamp,
) -> Result<Start> {
    let machine = &aws.account.deploy_state_machine;
    let (name, input) = (name(service, cause, time), input(service, cause, time));
    execution::start(aws, machine, &name, &input).await
}

/// What `deploy` is started with: the service, and for people the cause in as many characters as it takes. Repositories, tags
/// and secrets may have longer names together.
pub fn input(service: &ServiceArn, cause: &Cause, time: Timestamp) -> Value {
    let mut text = cause.to_string();
    if let Some((end, _)) = text.char_indices().nth(LONGEST_CAUSE) {
        text.truncate(end);
        text.pop();
        text.push('…');
    }
    let mut input = json!({"service": service.as_str(), "cause": text});
    match cause {
        Cause::ImagePushed { tag, digest, .. } => {
            input["pushed"] = json!({"digest": digest, "tag": tag, "at": time});
        }
        Cause::SecretMoved { arn, version_id } => {
            let version = version_id.clone().unwrap_or_else(|| time.to_string());
            input["rotated"] = json!({"secret": arn.as_str(), "version": version});
        }
        Cause::ServiceRunning { .. } => {}
    }
    input
}

/// A contract test holds it to what `deploy` takes.
const LONGEST_CAUSE: usize = 256;

/// `{service}-{hash of service, cause and time}`: at most 80 characters, of those that Step Functions and its logs allow.
fn name(service: &ServiceArn, cause: &Cause, time: Timestamp) -> String {
    let event = [service.to_string(), cause.key(), time.to_string()].join("\n");
    let hash = hexadecimal(&event, 8);
    let service: String = service.name().chars().take(63).collect();
    format!("{service}-{hash}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use groundcrew::arn::SecretArn;

    fn service(name: &str) -> ServiceArn {
        let arn = format!("arn:aws:apprunner:us-east-1:123456789012:service/{name}/8fe1e103");
        ServiceArn::parse(&arn).expect("a service")
    }

    fn rotation(version_id: Option<&str>) -> Cause {
        let arn = "arn:aws:secretsmanager:us-east-1:123456789012:secret:shop-a1B2c3";
        Cause::SecretMoved {
            arn: SecretArn::parse(arn).expect("a secret"),
            version_id: version_id.map(str::to_owned),
        }
    }

    #[test]
    fn the_same_event_has_the_same_name_and_any_other_another() {
        let at = |seconds| Timestamp::from_second(seconds).expect("a time");
        let first = name(&service("shop-dev"), &rotation(Some("1")), at(0));
        assert_eq!(
            first,
            name(&service("shop-dev"), &rotation(Some("1")), at(0))
        );
        assert_ne!(
            first,
            name(&service("shop-dev"), &rotation(Some("1")), at(1))
        );
        assert_ne!(
            first,
            name(&service("shop-dev"), &rotation(Some("2")), at(0))
        );
        assert_ne!(first, name(&service("shop-dev"), &rotation(None), at(0)));
        let again = Cause::ServiceRunning {
            service_arn: service("shop-dev"),
        };
        assert_ne!(first, name(&service("shop-dev"), &again, at(0)));
        assert_ne!(
            first[9..],
            name(&service("blog-dev"), &rotation(Some("1")), at(0))[9..]
        );
    }

    #[test]
    fn a_cause_with_long_names_is_cut_to_what_deploy_takes() {
        let moved = |length: usize| {
            let name = "é".repeat(length);
            let arn = format!("arn:aws:secretsmanager:us-east-1:123456789012:secret:{name}");
            let arn = SecretArn::parse(&arn).expect("a secret");
            let cause = Cause::SecretMoved {
                arn,
                version_id: None,
            };
            input(&service("shop-dev"), &cause, Timestamp::UNIX_EPOCH)["cause"]
                .as_str()
                .expect("a text")
                .to_owned()
        };
        let words = "rotation of the secret ".len();
        assert!(!moved(256 - words).ends_with('…'));
        let cut = moved(257 - words);
        assert_eq!(cut.chars().count(), 256);
        assert!(cut.starts_with("rotation of the secret é") && cut.ends_with("é…"));
    }

    #[test]
    fn a_name_is_one_that_step_functions_takes() {
        for service_name in ["shop", &"A_b-9".repeat(8), &"x".repeat(200)] {
            let name = name(
                &service(service_name),
                &rotation(None),
                Timestamp::UNIX_EPOCH,
            );
            let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
            assert!(name.len() <= 80 && name.bytes().all(allowed), "{name}");
            assert!(name.starts_with(&service_name[..4]), "{name}");
        }
    }
}
