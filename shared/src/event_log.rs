//! The event log of a service: the only place where App Runner says why an operation failed.
//!
//! The log group beside it has the output of the application and is never read.

use crate::arn::ServiceArn;
use crate::{Aws, Error, Result, log_group, pages};
use jiff::Timestamp;

/// App Runner's own lines begin with it. The output of a build, which may show anything, begins with `[Build]`.
const OWN: &str = "[AppRunner]";
/// As many characters of a line as a person reads on a phone.
const LONGEST: usize = 300;

/// What App Runner says of an operation that failed, in two lines at most; `since` is when the operation began. `None` where it
/// says nothing, or the log cannot be read: never an error, because there is a failure to tell already.
pub async fn said(aws: &Aws, service: &ServiceArn, since: Timestamp) -> Option<String> {
    match lines(aws, &log_group::events(service.name(), service.id()), since).await {
        Ok(lines) => complaint(&lines),
        Err(error) => {
            tracing::warn!(
                "the event log of service {} is not read: {error}",
                service.name()
            );
            None
        }
    }
}

/// App Runner's own lines in a log group since a moment, the oldest first.
async fn lines(aws: &Aws, group: &str, since: Timestamp) -> Result<Vec<String>> {
    let events = pages::all(async |token| {
        let events = aws.logs().filter_log_events().log_group_name(group);
        let events = events.filter_pattern(format!("\"{OWN}\""));
        let events = events.start_time(since.as_millisecond());
        let page = events.set_next_token(token).send().await;
        let page = page.map_err(Error::aws("logs:FilterLogEvents"))?;
        Ok((page.events.unwrap_or_default(), page.next_token))
    });
    let events = events.await?.into_iter();
    Ok(events.filter_map(|event| event.message).collect())
}

/// Words of a line that tells of a failure (the lines in `rehearsal/apprunner/src/cause.rs`, with their sources).
const FAILURE: [&str; 9] = [
    "fail",
    "unable",
    "invalid",
    "stopped",
    "denied",
    "error",
    "not found",
    "does not exist",
    "exceed",
];
/// Lines that tell of a failure and nothing of its cause.
const EMPTY: [&str; 3] = [
    "Service status is set to",
    "Failed to deploy your application",
    "For details, see service logs",
];
/// The end of a line that sums up what the lines before it say at more length.
const SUMMARY: &str = "Failure reason :";

/// The first two lines that tell of a cause.
fn complaint(lines: &[String]) -> Option<String> {
    let own = lines.iter().filter_map(|line| line.split_once(OWN));
    let own = own.map(|(_, text)| text.split_whitespace().collect::<Vec<_>>().join(" "));
    let tells = |line: &String| {
        let lower = line.to_lowercase();
        FAILURE.iter().any(|word| lower.contains(word)) && !EMPTY.iter().any(|it| line.contains(it))
    };
    let mut told: Vec<_> = own.filter(tells).collect();
    told.sort_by_key(|line| line.contains(SUMMARY));
    told.dedup();
    if told.first().is_some_and(|line| !line.contains(SUMMARY)) {
        told.retain(|line| !line.contains(SUMMARY));
    }
    told.truncate(2);
    let told: Vec<_> = told.iter().map(|line| short(&masked(line))).collect();
    (!told.is_empty()).then(|| told.join(" "))
}

/// Without the credentials of a URL.
fn masked(line: &str) -> String {
    let mut parts = line.split("://");
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let authority = part.split(['/', ' ']).next().unwrap_or_default();
        let rest = match authority.rsplit_once('@') {
            Some((credentials, _)) => format!("***{}", &part[credentials.len()..]),
            None => part.to_owned(),
        };
        text = format!("{text}://{rest}");
    }
    text
}

fn short(line: &str) -> String {
    match line.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(lines: &[&str]) -> Option<String> {
        let lines: Vec<_> = lines.iter().map(ToString::to_string).collect();
        complaint(&lines)
    }

    #[test]
    fn what_app_runner_says_of_a_failure_is_told_in_two_lines_without_what_tells_nothing() {
        // aws/apprunner-roadmap#210 and captures of public projects
        let health = "[AppRunner] Health check failed on protocol `HTTP`[Path: '/'], [Port: '80'].  Check your configured port number.";
        let told = of(&[
            "[AppRunner] Service status is set to OPERATION_IN_PROGRESS.",
            "[AppRunner] Performing health check on protocol `HTTP` [Path: '/'], [Port: '80'].",
            "[AppRunner] Your application stopped or failed to start. See logs for more information.  Container exit code: 1",
            health,
            "[AppRunner] Deployment with ID : e1994c26 failed. Failure reason : Health check failed.",
            "[AppRunner] Service creation failed. For details, see service logs.",
            "[AppRunner] Service status is set to CREATE_FAILED.",
        ]);
        let expected = "Your application stopped or failed to start. See logs for more information. Container exit code: 1 Health check failed on protocol `HTTP`[Path: '/'], [Port: '80']. Check your configured port number.";
        assert_eq!(told.as_deref(), Some(expected));
        // Downloaded lines carry a time.
        let pull = "04-17-2022 06:46:24 PM [AppRunner] Failed to pull your application image. Be sure you configure your service with a valid access role to your ECR repository.";
        let told = of(&[
            "04-17-2022 06:36:31 PM [AppRunner] Starting to pull your application image.",
            pull,
        ]);
        assert!(
            told.is_some_and(|told| told.starts_with("Failed to pull your application image."))
        );
    }

    #[test]
    fn a_summary_is_told_where_nothing_says_more_and_what_says_nothing_is_not() {
        let summary = "[AppRunner] Deployment with ID : 0a failed. Failure reason : Failed to copy the image from ECR.";
        let told = of(&[
            "[AppRunner] Failed to deploy your application image.",
            summary,
        ]);
        assert_eq!(told.as_deref(), summary.strip_prefix("[AppRunner] "));
        assert_eq!(
            of(&["[AppRunner] Deployment failed. For details, see service logs."]),
            None
        );
        assert_eq!(of(&[]), None);
    }

    #[test]
    fn the_output_of_a_build_is_never_told_and_credentials_of_a_url_are_masked() {
        assert_eq!(
            of(&["[Build] error: invalid password hunter2", "failed: hunter2"]),
            None
        );
        let told = of(&[
            "[AppRunner] Failed to reach https://me:hunter2@example.com/a@b and http://example.com.",
        ]);
        let expected = "Failed to reach https://***@example.com/a@b and http://example.com.";
        assert_eq!(told.as_deref(), Some(expected));
        let long = format!("[AppRunner] Failed: {}", "ü".repeat(1000));
        assert_eq!(
            of(&[&long]).map(|told| told.chars().count()),
            Some(LONGEST + 1)
        );
    }
}
