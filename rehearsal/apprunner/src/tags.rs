//! Tags of services, configurations and connectors.

use serde_json::{Value, json};

use crate::refusal::Refusal;
use crate::states::Call;
use crate::world::{Emulation, Tags, World};

/// Tags per resource, as everywhere in AWS.
const TAGS: usize = 50;

impl Emulation {
    pub(crate) fn tag_resource(&self, request: &Value) -> Result<Value, Refusal> {
        let world = &mut *self.world();
        let tags = self.tags_to_change(world, arn_of(request))?;
        *tags = of_request(request, tags)?;
        Ok(json!({}))
    }

    pub(crate) fn untag_resource(&self, request: &Value) -> Result<Value, Refusal> {
        let world = &mut *self.world();
        let tags = self.tags_to_change(world, arn_of(request))?;
        for key in request["TagKeys"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
        {
            tags.remove(key);
        }
        Ok(json!({}))
    }

    pub(crate) fn list_tags_for_resource(&self, request: &Value) -> Result<Value, Refusal> {
        let world = &mut *self.world();
        let tags = tags_of(world, arn_of(request))?;
        let list: Vec<Value> = tags
            .iter()
            .map(|(key, value)| json!({"Key": key, "Value": value}))
            .collect();
        Ok(json!({"Tags": list}))
    }

    /// The tags of everything that exists, for the Resource Groups Tagging API.
    pub(crate) fn tagged_resources(&self) -> Value {
        let world = self.world();
        let services = world.living().map(|it| (&it.arn, &it.tags));
        let scalings = world.auto_scaling.active().map(|it| (&it.arn, &it.tags));
        let tracings = world.observability.active().map(|it| (&it.arn, &it.tags));
        let connectors = world.connectors.active().map(|it| (&it.arn, &it.tags));
        let resources: Vec<Value> = services
            .chain(scalings)
            .chain(tracings)
            .chain(connectors)
            .map(|(arn, tags)| json!({"arn": arn, "tags": tags}))
            .collect();
        json!({"resources": resources})
    }

    fn tags_to_change<'w>(&self, world: &'w mut World, arn: &str) -> Result<&'w mut Tags, Refusal> {
        if world.living().any(|service| service.arn == arn) {
            return Ok(&mut self.service_for(world, arn, Call::Tag)?.tags);
        }
        tags_of(world, arn)
    }
}

/// The tags that a request leaves on a resource which has `before`.
pub(crate) fn of_request(request: &Value, before: &Tags) -> Result<Tags, Refusal> {
    let mut tags = before.clone();
    for tag in request["Tags"].as_array().into_iter().flatten() {
        let Some(key) = tag["Key"].as_str() else {
            return Err(Refusal::invalid_request("A tag must have a Key."));
        };
        tags.insert(
            key.to_owned(),
            tag["Value"].as_str().unwrap_or_default().to_owned(),
        );
    }
    if tags.len() > TAGS {
        return Err(Refusal::invalid_request(format!(
            "A resource can have at most {TAGS} tags."
        )));
    }
    Ok(tags)
}

fn tags_of<'w>(world: &'w mut World, arn: &str) -> Result<&'w mut Tags, Refusal> {
    let World {
        services,
        auto_scaling,
        observability,
        connectors,
        ..
    } = world;
    let services = services
        .iter_mut()
        .filter(|service| service.deleted_at.is_none());
    let mut tags = services
        .map(|service| (&service.arn, &mut service.tags))
        .chain(
            auto_scaling
                .all
                .iter_mut()
                .filter(|found| found.is_active())
                .map(|found| (&found.arn, &mut found.tags)),
        )
        .chain(
            observability
                .all
                .iter_mut()
                .filter(|found| found.is_active())
                .map(|found| (&found.arn, &mut found.tags)),
        )
        .chain(
            connectors
                .all
                .iter_mut()
                .filter(|found| found.is_active())
                .map(|found| (&found.arn, &mut found.tags)),
        );
    tags.find(|(known, _)| *known == arn)
        .map(|(_, tags)| tags)
        .ok_or_else(|| Refusal::not_found("Resource", arn))
}

fn arn_of(request: &Value) -> &str {
    request["ResourceArn"].as_str().unwrap_or_default()
}
