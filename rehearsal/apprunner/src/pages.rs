//! Lists that are handed out page by page.

use serde_json::{Value, json};

use crate::refusal::Refusal;

/// Answers `items` under the name `list`, from where `NextToken` of the request points, at most `MaxResults` of them.
/// A page never holds more than `largest`, the maximum of `MaxResults` in the service model: the model's text promises
/// everything at once when MaxResults is absent, but a client that relies on that cannot read a long list.
pub(crate) fn page(
    list: &str,
    items: Vec<Value>,
    request: &Value,
    largest: usize,
) -> Result<Value, Refusal> {
    let start = match request["NextToken"].as_str() {
        None => 0,
        Some(token) => usize::from_str_radix(token, 16)
            .ok()
            .filter(|start| *start < items.len())
            .ok_or_else(|| Refusal::invalid_request("NextToken is not valid."))?,
    };
    let size = request["MaxResults"]
        .as_u64()
        .map_or(largest, |size| largest.min(size as usize));
    let total = items.len();
    let page: Vec<Value> = items.into_iter().skip(start).take(size).collect();
    let mut answer = json!({ list: page });
    if start + size < total {
        answer["NextToken"] = json!(format!("{:08x}", start + size));
    }
    Ok(answer)
}
