//! What scans found.

use super::stage::{Stage, play};
use aws_sdk_ecr::operation::describe_image_scan_findings::{
    DescribeImageScanFindingsError, DescribeImageScanFindingsOutput,
};
use aws_sdk_ecr::types::{FindingSeverity, ImageIdentifier};
use rehearsal::{Scan, ScanStatus};

async fn find(
    stage: &Stage,
    digest: &str,
) -> Result<DescribeImageScanFindingsOutput, DescribeImageScanFindingsError> {
    let find = stage.local.aws().ecr().describe_image_scan_findings();
    let image = ImageIdentifier::builder().image_digest(digest).build();
    let found = find.repository_name("scanned").image_id(image).send().await;
    found.map_err(aws_sdk_ecr::error::SdkError::into_service_error)
}

#[test]
fn a_scan_finds_what_was_planted() {
    play(async |stage| {
        stage.repository("scanned").await;
        let push = stage.local.push_image("scanned", "latest", "amd64").await;
        let digest = push.unwrap();
        assert!(
            find(stage, "sha256:00")
                .await
                .unwrap_err()
                .is_image_not_found_exception()
        );
        let none = find(stage, &digest).await.unwrap_err();
        assert!(none.is_scan_not_found_exception(), "{none:?}");

        for (status, counted) in [
            (ScanStatus::InProgress, false),
            (ScanStatus::Failed, false),
            (ScanStatus::UnsupportedImage, false),
            (ScanStatus::Complete, true),
            (ScanStatus::Active, true),
        ] {
            let scan = Scan {
                repository: "scanned".into(),
                digest: digest.clone(),
                status,
                severities: [
                    ("CRITICAL".into(), 1),
                    ("HIGH".into(), 2),
                    ("LOW".into(), 0),
                ]
                .into(),
            };
            stage.local.plant_scan(&scan).await.unwrap();
            let found = find(stage, &digest).await.unwrap();
            let told = found.image_scan_status.unwrap().status.unwrap();
            assert_eq!(told.as_str(), serde_json::json!(status));
            let findings = found.image_scan_findings;
            assert_eq!(findings.is_some(), counted, "{status:?}");
            let Some(findings) = findings else { continue };
            let counts = findings.finding_severity_counts().unwrap();
            assert_eq!(counts.get(&FindingSeverity::High), Some(&2));
            assert_eq!(counts.get(&FindingSeverity::Low), None);
            let lists = (
                findings.findings().len(),
                findings.enhanced_findings().len(),
            );
            let basic = status == ScanStatus::Complete;
            assert_eq!(lists, if basic { (3, 0) } else { (0, 3) });
        }
    });
}
