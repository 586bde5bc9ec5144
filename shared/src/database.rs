//! The database of a stack, as RDS knows it.

use crate::error::found;
use crate::stack::Tags;
use crate::{Aws, Result};
use aws_sdk_rds::types::{DbInstance, Tag};
use aws_smithy_types::error::metadata::ProvideErrorMetadata as _;

/// The instance of that name, whoever owns it.
///
/// # Errors
/// Those of `rds:DescribeDBInstances`.
pub async fn find(aws: &Aws, name: &str) -> Result<Option<DbInstance>> {
    let described = aws
        .rds()
        .describe_db_instances()
        .db_instance_identifier(name)
        .send()
        .await;
    let described = found(
        described,
        // Of a name that no instance can have, that of a service with an underscore for instance, RDS says the latter.
        |error| {
            error.is_db_instance_not_found_fault() || error.code() == Some("InvalidParameterValue")
        },
        "rds:DescribeDBInstances",
    )?;
    Ok(described.and_then(|it| it.db_instances?.into_iter().next()))
}

/// The tags of an instance, or of another resource of RDS.
pub fn tags(found: &[Tag]) -> Tags {
    found
        .iter()
        .filter_map(|tag| Some((tag.key.clone()?, tag.value.clone()?)))
        .collect()
}
