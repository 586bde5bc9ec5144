//! Why an operation fails, and what App Runner writes of it into the service's event log: no call of its API tells.

use std::fmt;

use crate::configuration::Configuration;

/// Why an operation fails.
#[derive(Clone, Debug)]
pub(crate) enum Cause {
    /// Somebody arranged it; it looks as if the application were not well.
    Arranged,
    NoSuchImage(String),
    NoImageForAmd64(String),
    /// What the role of the instances did not get.
    Unreadable(String),
    Subnet(String),
    /// The surroundings did not answer.
    Unknown(String),
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Arranged => write!(f, "It was arranged to fail."),
            Self::NoSuchImage(image) => write!(f, "{image} does not exist."),
            Self::NoImageForAmd64(image) => write!(f, "{image} has no image for amd64."),
            Self::Unreadable(why) | Self::Subnet(why) | Self::Unknown(why) => f.write_str(why),
        }
    }
}

impl Cause {
    /// The lines of the log stream `deployment/{id of the operation}`.
    pub(crate) fn deployment_log(&self) -> Vec<String> {
        let pulled = "Successfully pulled your application image from ECR.";
        // aws/apprunner-roadmap#127 and #46
        let lines: &[_] = match self {
            Self::NoSuchImage(_) => &[
                "Starting to pull your application image.",
                "Failed to pull your application image. Be sure you configure your service with a valid access role to your ECR repository.",
            ],
            _ => &[pulled, "Failed to deploy your application image."],
        };
        prefixed(lines)
    }

    /// The lines of the log stream `events` from the beginning of the operation to its failure.
    pub(crate) fn event_log(&self, configuration: &Configuration, id: &str) -> Vec<String> {
        let of_operation = |reason: &str| {
            let id = id.replace('-', "");
            format!("Deployment with ID : {id} failed. Failure reason : {reason}.")
        };
        // aws/apprunner-roadmap#210, and captures of 2024 and 2025 in public repositories
        let check = match configuration.health_protocol() {
            "HTTP" => format!(
                "protocol `HTTP`[Path: '{}'], [Port: '{}'].",
                configuration.health_path(),
                configuration.port()
            ),
            protocol => format!("protocol `{protocol}` [Port: '{}'].", configuration.port()),
        };
        let performing = format!("Performing health check on {check}");
        let failed = format!(
            "Health check failed on {check} Check your configured port number. For more information, read the application logs."
        );
        let provisioning =
            "Provisioning instances and deploying image for publicly accessible service.";
        let started = "Service status is set to OPERATION_IN_PROGRESS.";
        match self {
            Self::Arranged => {
                let end = of_operation("Health check failed");
                prefixed(&[started, provisioning, &performing, &failed, &end])
            }
            Self::NoImageForAmd64(_) => {
                let stopped = "Your application stopped or failed to start. See logs for more information.  Container exit code: 1";
                let end = of_operation("Health check failed");
                prefixed(&[started, provisioning, &performing, stopped, &failed, &end])
            }
            Self::NoSuchImage(_) => {
                let end = of_operation("Failed to copy the image from ECR");
                prefixed(&[started, &end])
            }
            // Assumption event-log
            Self::Unreadable(_) | Self::Subnet(_) | Self::Unknown(_) => {
                prefixed(&[started, "Deployment failed. For details, see service logs."])
            }
        }
    }
}

fn prefixed(lines: &[&str]) -> Vec<String> {
    let lines = lines.iter();
    lines.map(|line| format!("[AppRunner] {line}")).collect()
}
