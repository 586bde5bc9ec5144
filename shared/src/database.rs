//! The database of a stack, as RDS knows it.

use crate::stack::Tags;
use crate::{Aws, Error, Result};
use aws_sdk_rds::types::{DbInstance, Tag};

/// The instance of that name, whoever owns it.
///
/// # Errors
/// Those of `rds:DescribeDBInstances`.
pub async fn find(aws: &Aws, name: &str) -> Result<Option<DbInstance>> {
    match aws
        .rds()
        .describe_db_instances()
        .db_instance_identifier(name)
        .send()
        .await
    {
        Ok(found) => Ok(found.db_instances.unwrap_or_default().into_iter().next()),
        // Of a name that no instance can have, that of a service with an underscore for instance, RDS says the latter.
        Err(error)
            if error.as_service_error().is_some_and(|error| {
                use aws_smithy_types::error::metadata::ProvideErrorMetadata as _;
                error.is_db_instance_not_found_fault()
                    || error.code() == Some("InvalidParameterValue")
            }) =>
        {
            Ok(None)
        }
        Err(error) => Err(Error::aws("rds:DescribeDBInstances")(error)),
    }
}

/// The tags of an instance, or of another resource of RDS.
pub fn tags(found: &[Tag]) -> Tags {
    found
        .iter()
        .filter_map(|tag| Some((tag.key.clone()?, tag.value.clone()?)))
        .collect()
}
