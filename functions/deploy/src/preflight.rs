//! What keeps an image from being deployed, found out before App Runner is asked to change anything.

use groundcrew::image::{self, PLATFORM};
use groundcrew::policy::{Policy, Severity, WithoutScan};
use groundcrew::reference::Repository;
use groundcrew::tag_rule::Candidate;
use groundcrew::{Aws, Error, Result};
use jiff::Timestamp;

/// How many seconds after its push the scan of an image is waited for; those of `statemachine/deploy.asl.yaml` are more.
const SCAN_SECONDS: i64 = 600;

/// Why the image must not be deployed, or nothing.
///
/// # Errors
/// `NotReady` while a scan is running, otherwise those of ECR.
pub(crate) async fn objection(
    aws: &Aws,
    repository: &Repository,
    candidate: &Candidate,
    policy: &Policy,
) -> Result<Option<String>> {
    let digest = &candidate.digest;
    let variants = match image::variants(aws, repository, digest).await {
        Ok(variants) => variants,
        Err(Error::Failed(sentence)) => return Ok(Some(sentence)),
        Err(error) => return Err(error),
    };
    let Some(runs) = variants.iter().find(|variant| variant.platform == PLATFORM) else {
        return Ok(Some(format!(
            "it is built for {}, and App Runner runs {PLATFORM} only: build it with --platform {PLATFORM}",
            image::platforms(&variants)
        )));
    };
    if policy.refuse_findings.is_none() {
        return Ok(None);
    }
    // ECR scans images and no index of them.
    let scan = scan(aws, repository, &runs.digest).await?;
    let overdue = Timestamp::now().as_second() - candidate.at > SCAN_SECONDS;
    if scan == Scan::Running && !overdue {
        return Err(Error::NotReady(format!(
            "the scan of {repository}@{digest}"
        )));
    }
    Ok(gate(policy, &scan))
}

/// What ECR found in an image.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Scan {
    /// It is not finished.
    Running,
    /// There is none, or it failed, or this kind of image cannot be scanned.
    None(String),
    /// The number of findings of each severity. ECR leaves out a severity without findings.
    Done(Vec<(String, i32)>),
}

/// Whether the findings forbid the deployment, as a sentence.
pub(crate) fn gate(policy: &Policy, scan: &Scan) -> Option<String> {
    let least = policy.refuse_findings?;
    let counts = match scan {
        Scan::Done(counts) => counts,
        Scan::None(_) | Scan::Running if policy.without_scan == WithoutScan::Deploy => return None,
        Scan::None(reason) => {
            return Some(format!(
                "it has no scan result ({reason}), and the policy of the service asks for one"
            ));
        }
        Scan::Running => {
            return Some("its scan did not end, and the policy of the service asks for one".into());
        }
    };
    let severe: Vec<_> = counts
        .iter()
        .filter(|(name, count)| {
            *count > 0 && Severity::of(name).is_some_and(|severity| severity >= least)
        })
        .map(|(name, count)| format!("{count} {name}"))
        .collect();
    (!severe.is_empty()).then(|| {
        format!(
            "its scan found {}, and the policy of the service refuses {} and above",
            severe.join(", "),
            least.name()
        )
    })
}

/// What ECR knows, from basic scanning and from enhanced scanning alike.
async fn scan(aws: &Aws, repository: &Repository, digest: &str) -> Result<Scan> {
    let found = aws
        .ecr_in(&repository.region)
        .describe_image_scan_findings()
        .registry_id(&repository.account)
        .repository_name(&repository.name)
        .image_id(
            aws_sdk_ecr::types::ImageIdentifier::builder()
                .image_digest(digest)
                .build(),
        )
        .max_results(1) // the counts are of all findings; the findings themselves are of no interest here
        .send()
        .await
        .map_err(Error::aws("ecr:DescribeImageScanFindings"));
    let found = match found {
        Ok(found) => found,
        Err(Error::Aws { code, .. }) if code == "ScanNotFoundException" => {
            return Ok(Scan::None("it was never scanned".into()));
        }
        Err(error) => return Err(error),
    };
    let status = found.image_scan_status().and_then(|status| status.status());
    Ok(match status.map(|status| status.as_str()) {
        Some("COMPLETE" | "ACTIVE") => {
            let counts = found
                .image_scan_findings()
                .and_then(|findings| findings.finding_severity_counts());
            let counts = counts.into_iter().flatten();
            let mut counts: Vec<_> = counts
                .map(|(severity, count)| (severity.as_str().to_owned(), *count))
                .collect();
            counts.sort();
            Scan::Done(counts)
        }
        Some("IN_PROGRESS" | "PENDING") => Scan::Running,
        Some(other) => Scan::None(other.to_owned()),
        None => Scan::None("ECR says nothing of it".into()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(least: impl Into<Option<Severity>>, without_scan: WithoutScan) -> Policy {
        Policy {
            refuse_findings: least.into(),
            without_scan,
            ..Policy::default()
        }
    }

    fn done(counts: &[(&str, i32)]) -> Scan {
        let counts = counts
            .iter()
            .map(|(name, count)| ((*name).to_owned(), *count));
        Scan::Done(counts.collect())
    }

    #[test]
    fn findings_of_the_severity_and_above_refuse_an_image_and_lesser_ones_do_not() {
        let policy = policy(Severity::High, WithoutScan::Deploy);
        for refused in [&[("HIGH", 1)], &[("CRITICAL", 2)]] {
            assert!(gate(&policy, &done(refused)).is_some(), "{refused:?}");
        }
        for allowed in [
            &[("MEDIUM", 9)],
            &[("UNDEFINED", 9)],
            &[("INFORMATIONAL", 9)],
        ] {
            assert_eq!(gate(&policy, &done(allowed)), None);
        }
    }

    #[test]
    fn a_severity_that_is_missing_has_no_findings() {
        let policy = policy(Severity::Low, WithoutScan::Refuse);
        assert_eq!(gate(&policy, &done(&[])), None);
        assert_eq!(gate(&policy, &done(&[("HIGH", 0), ("TOTAL", 3)])), None);
    }

    #[test]
    fn an_image_without_a_scan_is_a_matter_of_the_policy() {
        for scan in [Scan::None("UNSUPPORTED_IMAGE".into()), Scan::Running] {
            assert_eq!(
                gate(&policy(Severity::High, WithoutScan::Deploy), &scan),
                None
            );
            assert!(gate(&policy(Severity::High, WithoutScan::Refuse), &scan).is_some());
            assert_eq!(gate(&policy(None, WithoutScan::Refuse), &scan), None);
        }
    }
}
