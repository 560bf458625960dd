//! Lists as Neutron's clients ask for them: filters, order, pages, chosen fields. Works on resources as they look on
//! the wire, so every attribute that is shown can be filtered and sorted by.

use std::cmp::Ordering;

use serde_json::{Map, Value};
use service_kit::page::next_link;
use service_kit::{ApiError, Page, Query};

/// Query parameters that are no filters.
const RESERVED: [&str; 6] = [
    "fields",
    "limit",
    "marker",
    "page_reverse",
    "sort_key",
    "sort_dir",
];
const LONGEST_PAGE: usize = 1000;

/// `{"<plural>": [...], "<plural>_links": [...]}`; `url` is the list's own.
pub fn list(
    plural: &str,
    mut items: Vec<Value>,
    query: &Query,
    url: &str,
) -> Result<Value, ApiError> {
    items.retain(|item| matches_all(item, query));
    sort(&mut items, query)?;
    let reverse = query.flag("page_reverse").unwrap_or(false);
    if reverse {
        items.reverse();
    }
    let page = Page::from_query(query, LONGEST_PAGE)?;
    let (mut items, more) = page.cut(items, |item| item["id"].as_str().unwrap_or_default())?;
    if reverse {
        items.reverse();
    }
    let last = items
        .last()
        .and_then(|item| item["id"].as_str())
        .map(str::to_owned);
    let items: Vec<Value> = items.into_iter().map(|item| fields(item, query)).collect();
    let mut body = Map::from_iter([(plural.to_owned(), Value::Array(items))]);
    if let (true, Some(last)) = (more && !reverse, last) {
        body.insert(format!("{plural}_links"), next_link(url, query, &last));
    }
    Ok(Value::Object(body))
}

/// The attributes that `fields` names; all, when it names none.
pub fn fields(item: Value, query: &Query) -> Value {
    let wanted: Vec<&str> = query
        .all("fields")
        .filter(|name| !name.is_empty())
        .collect();
    match item {
        Value::Object(mut map) if !wanted.is_empty() => {
            map.retain(|name, _| wanted.contains(&name.as_str()));
            Value::Object(map)
        }
        other => other,
    }
}

fn matches_all(item: &Value, query: &Query) -> bool {
    let filters = query
        .0
        .iter()
        .map(|(name, _)| name.as_str())
        .filter(|name| !RESERVED.contains(name));
    filters.into_iter().all(|name| {
        // Values of one name are alternatives. Names that the resource lacks filter nothing, as upstream.
        let attribute = if name == "fixed_ips" {
            item.get(name)
        } else {
            item.get(name).or_else(|| tag_filter(item, name))
        };
        attribute.is_none_or(|attribute| {
            tags_match(name, attribute, query)
                .unwrap_or_else(|| query.all(name).any(|wanted| matches(attribute, wanted)))
        })
    })
}

fn tag_filter<'a>(item: &'a Value, name: &str) -> Option<&'a Value> {
    ["tags-any", "not-tags", "not-tags-any"]
        .contains(&name)
        .then(|| &item["tags"])
}

/// `tags=a,b` means both, `tags-any` one of them, `not-…` the contrary.
fn tags_match(name: &str, attribute: &Value, query: &Query) -> Option<bool> {
    let wanted = || {
        query.all(name).flat_map(|text| text.split(',')).map(|tag| {
            attribute
                .as_array()
                .is_some_and(|tags| tags.iter().any(|held| held == tag))
        })
    };
    match name {
        "tags" => Some(wanted().all(|held| held)),
        "tags-any" => Some(wanted().any(|held| held)),
        "not-tags" => Some(!wanted().all(|held| held)),
        "not-tags-any" => Some(!wanted().any(|held| held)),
        _ => None,
    }
}

fn matches(attribute: &Value, wanted: &str) -> bool {
    match attribute {
        Value::String(text) => text == wanted,
        Value::Bool(flag) => matches!(wanted.to_ascii_lowercase().as_str(), "true" | "1") == *flag,
        Value::Number(number) => number.to_string() == wanted,
        Value::Null => wanted.is_empty() || wanted == "None" || wanted == "null",
        Value::Array(members) => match wanted.split_once('=') {
            // `fixed_ips=ip_address=10.0.0.3`
            Some(("ip_address_substr", part)) => members.iter().any(|member| {
                member["ip_address"]
                    .as_str()
                    .is_some_and(|ip| ip.contains(part))
            }),
            Some((key, value)) => members
                .iter()
                .any(|member| member.get(key).is_some_and(|held| matches(held, value))),
            None => members.iter().any(|member| matches(member, wanted)),
        },
        Value::Object(_) => false,
    }
}

fn sort(items: &mut [Value], query: &Query) -> Result<(), ApiError> {
    let keys: Vec<&str> = query.all("sort_key").collect();
    let directions: Vec<&str> = query.all("sort_dir").collect();
    if let Some(wrong) = directions
        .iter()
        .find(|direction| !["asc", "desc"].contains(direction))
    {
        return Err(ApiError::bad_request(
            "HTTPBadRequest",
            format!("Invalid input for sort_dir: `{wrong}` is neither asc nor desc."),
        ));
    }
    if let Some(first) = items.first()
        && let Some(wrong) = keys.iter().find(|key| first.get(**key).is_none())
    {
        return Err(ApiError::bad_request(
            "HTTPBadRequest",
            format!("'{wrong}' is not an attribute to sort by."),
        ));
    }
    items.sort_by(|one, other| {
        for (position, key) in keys.iter().enumerate() {
            let order = compare(&one[*key], &other[*key]);
            let order = if directions.get(position) == Some(&"desc") {
                order.reverse()
            } else {
                order
            };
            if order != Ordering::Equal {
                return order;
            }
        }
        Ordering::Equal
    });
    Ok(())
}

fn compare(one: &Value, other: &Value) -> Ordering {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => one.as_i64().cmp(&other.as_i64()),
        (Value::String(one), Value::String(other)) => one.cmp(other),
        _ => one.to_string().cmp(&other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn ids(text: &str) -> String {
        let items = vec![
            json!({"id": "a", "name": "x", "up": true, "n": 2, "tags": ["t"], "fixed_ips": [{"ip_address": "10.0.0.3"}]}),
            json!({"id": "b", "name": "y", "up": false, "n": 10, "tags": [], "fixed_ips": []}),
            json!({"id": "c", "name": "x", "up": true, "n": 1, "tags": ["t", "u"], "fixed_ips": []}),
        ];
        let query = Query(
            text.split('&')
                .filter_map(|pair| pair.split_once('='))
                .map(|(key, value)| (key.into(), value.into()))
                .collect(),
        );
        let body = list("ports", items, &query, "http://h/v2.0/ports").unwrap();
        let found: Vec<&str> = body["ports"]
            .as_array()
            .unwrap()
            .iter()
            .map(|item| item["id"].as_str().unwrap())
            .collect();
        format!(
            "{}{}",
            found.join(""),
            if body.get("ports_links").is_some() {
                "+"
            } else {
                ""
            }
        )
    }

    #[test]
    fn filters_order_and_pages() {
        for (query, expected) in [
            ("", "abc"),
            ("name=x", "ac"),
            ("name=x&up=False", ""),
            ("id=a&id=b", "ab"),
            ("fixed_ips=ip_address=10.0.0.3", "a"),
            ("unknown=1", "abc"),
            ("tags=t,u", "c"),
            ("tags-any=t,u", "ac"),
            ("sort_key=n&sort_dir=desc", "bac"),
            ("limit=2", "ab+"),
            ("limit=2&marker=b", "c"),
            ("limit=1&marker=c&page_reverse=True", "b"),
        ] {
            assert_eq!(ids(query), expected, "{query}");
        }
    }
}
