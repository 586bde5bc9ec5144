//! What a person meant who wrote an image as Docker does, or a size as App Runner's console does.

use crate::Mistake;
use serde_json::{Value, json};

/// Adds what to write instead, where it can be told.
pub(super) fn understood(mistake: Mistake) -> Mistake {
    let Some(text) = mistake.value.as_str() else {
        return mistake;
    };
    let meant = match mistake.field.as_str() {
        "image" => Image::read(text).map(|image| image.whole()),
        "image.repository" => Image::read(text).map(|image| image.repository()),
        "image.tag" => tag(text),
        "service.cpu" | "service.memory" => units(text),
        "service.variables.PORT" => text
            .parse::<u16>()
            .ok()
            .map(|port| format!("service.port {port}")),
        _ => None,
    };
    match meant {
        Some(meant) => mistake.write(meant),
        None => mistake,
    }
}

/// `REGISTRY/NAME:TAG`, `REGISTRY/NAME@sha256:…`, each part but the name left out or not, or the ARN of a repository.
struct Image<'a> {
    name: &'a str,
    tag: Option<&'a str>,
    digest: bool,
}

impl<'a> Image<'a> {
    fn read(text: &'a str) -> Option<Self> {
        let text = text.trim();
        let text = text.split_once("://").map_or(text, |(_, rest)| rest);
        let path = match text.split_once(":repository/") {
            Some((_, path)) => path,
            None => match text.split_once('/') {
                // Docker takes what is before the first slash for a registry if it has a dot or a port.
                Some((registry, path)) if registry.contains(['.', ':']) => path,
                _ => text,
            },
        };
        let (path, digest) = match path.split_once('@') {
            Some((path, _)) => (path, true),
            None => (path, false),
        };
        let (name, tag) = match path.split_once(':') {
            Some((name, tag)) => (name, Some(tag).filter(|tag| !tag.is_empty())),
            None => (path, None),
        };
        let is_name = |byte: u8| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-/".contains(&byte)
        };
        (!name.is_empty() && name.bytes().all(is_name)).then_some(Self { name, tag, digest })
    }

    fn whole(&self) -> String {
        let mut meant = json!({"repository": self.name});
        if let Some(tag) = self.tag {
            meant["tag"] = tag.into();
        }
        meant.to_string()
    }

    fn repository(&self) -> String {
        let name = json!(self.name);
        match self.tag {
            _ if self.digest => format!("{name}, and in image.tag the tag of that image"),
            Some(tag) => format!("{name}, and in image.tag {}", json!(tag)),
            None => name.to_string(),
        }
    }
}

fn tag(text: &str) -> Option<String> {
    if text.contains("sha256:") {
        return Some(
            "the tag of that image: the service is pinned to its digest all the same".into(),
        );
    }
    if let Some(prefix) = text.strip_suffix('*').filter(|prefix| is_tag(prefix)) {
        return Some(json!(format!("prefix:{prefix}")).to_string());
    }
    let (_, tag) = text.rsplit_once(':')?;
    is_tag(tag).then(|| json!(tag).to_string())
}

fn is_tag(text: &str) -> bool {
    let is_inside = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    !text.is_empty() && !text.starts_with(['.', '-']) && text.bytes().all(is_inside)
}

/// `1 vCPU` and `2 GB`.
fn units(text: &str) -> Option<String> {
    let number = text.strip_suffix("vCPU").or(text.strip_suffix("GB"))?;
    let units = number.trim().parse::<f64>().ok()? * 1024.0;
    let is_whole = units.fract() == 0.0 && (256.0..=12288.0).contains(&units);
    is_whole.then(|| Value::from(units as u16).to_string())
}
