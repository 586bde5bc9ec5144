//! Lists that are handed out page by page.

use serde_json::{Value, json};

use crate::refusal::Refusal;

/// Answers `items` under the name `list`, from where `NextToken` of the request points, at most `MaxResults` of them.
/// A page never holds more than `largest`, the maximum of `MaxResults` in the service model: the model's text promises
/// everything at once when MaxResults is absent, but a client that relies on that cannot read a long list. Behind a list that
/// has become shorter meanwhile there is an empty page (Assumption page-behind-the-end).
pub(crate) fn page(
    list: &str,
    items: Vec<Value>,
    request: &Value,
    largest: usize,
) -> Result<Value, Refusal> {
    let start = match request["NextToken"].as_str() {
        None => 0,
        Some(token) => usize::from_str_radix(token, 16)
            .map_err(|_| Refusal::invalid_request("NextToken is not valid."))?,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_that_has_become_shorter_ends_with_an_empty_page() {
        let items = |count: usize| (0..count).map(|n| json!(n)).collect::<Vec<_>>();
        let first = page("Items", items(3), &json!({"MaxResults": 2}), 20).expect("a page");
        let rest = json!({"MaxResults": 2, "NextToken": first["NextToken"]});
        let page = |count| page("Items", items(count), &rest, 20).expect("a page");
        assert_eq!(page(3), json!({"Items": [2]}));
        assert_eq!(page(2), json!({"Items": []}));
    }
}
