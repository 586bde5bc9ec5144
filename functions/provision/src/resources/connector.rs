//! VPC connectors, and what App Runner says when it makes none.

use aws_sdk_apprunner::types::{Tag, VpcConnector, VpcConnectorStatus};
use groundcrew::{Aws, Error, Result, pages};

/// The active connector of this name.
pub(crate) async fn find(aws: &Aws, name: &str) -> Result<Option<VpcConnector>> {
    let mut all = all(aws).await?.into_iter();
    Ok(all.find(|it| it.vpc_connector_name() == Some(name)))
}

/// All connectors that are not deleted, whoever owns them.
pub(crate) async fn all(aws: &Aws) -> Result<Vec<VpcConnector>> {
    let mut found = pages::all(async |token| {
        let page = aws.apprunner().list_vpc_connectors().set_next_token(token);
        let page = page.send().await;
        let page = page.map_err(Error::aws("apprunner:ListVpcConnectors"))?;
        Ok((page.vpc_connectors, page.next_token))
    })
    .await?;
    found.retain(|connector| connector.status() == Some(&VpcConnectorStatus::Active));
    Ok(found)
}

pub(super) async fn create(
    aws: &Aws,
    name: &str,
    subnet_ids: &[String],
    group_id: &str,
    tags: Vec<Tag>,
) -> Result<()> {
    aws.apprunner()
        .create_vpc_connector()
        .vpc_connector_name(name)
        .set_subnets(Some(subnet_ids.to_vec()))
        .security_groups(group_id)
        .set_tags(Some(tags))
        .send()
        .await
        .map_err(Error::aws("apprunner:CreateVpcConnector"))?;
    Ok(())
}

/// Which of the subnets App Runner refuses for the zone that they are in. It has no error code of its own for that: `The
/// Availability Zones associated with the following subnet(s) don't support App Runner services: subnet-…(use1-az3)` (six public
/// projects, of which three look for the subnets in it).
pub(super) fn refused(refusal: &Error, subnet_ids: &[String]) -> Vec<String> {
    let Error::Aws { reason, .. } = refusal else {
        return Vec::new();
    };
    if !reason.contains("support App Runner services") {
        return Vec::new();
    }
    let words = || reason.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
    let mut refused = subnet_ids.to_vec();
    refused.retain(|id| words().any(|word| word == id));
    refused
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_subnets_that_app_runner_refuses_are_read_out_of_its_sentence() {
        let ids = ["subnet-0a1b2c3d", "subnet-0a1b2c3d4e5f60718", "subnet-1"].map(str::to_owned);
        let refused = |reason: &str| {
            let refusal = Error::Aws {
                call: "apprunner:CreateVpcConnector",
                code: "InvalidRequestException".into(),
                reason: reason.into(),
            };
            refused(&refusal, &ids)
        };
        let text = "The Availability Zones associated with the following subnet(s) don't support App Runner services:";
        assert_eq!(
            refused(&format!("{text} subnet-0a1b2c3d4e5f60718(use1-az3)")),
            ids[1..2]
        );
        for separator in [", ", ",", " ", "; "] {
            let both = ["subnet-0a1b2c3d(use1-az3)", "subnet-1(use1-az6)"].join(separator);
            let both = refused(&format!("{text} {both}"));
            assert_eq!(both, [ids[0].clone(), ids[2].clone()], "{separator:?}");
        }
        // Not about zones, or about none of ours: nothing to try again.
        assert!(refused("The subnet ID 'subnet-1' does not exist.").is_empty());
        assert!(refused(&format!("{text} subnet-2(use1-az3)")).is_empty());
    }
}
