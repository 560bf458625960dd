//! Pagination by limit and marker, with the link to the next page.
//!
//! Works on a list that is already in its order; for large tables a store reads only the
//! page, and uses [`Page`] for the parameters and [`next_link`] for the link.

use crate::{fault::ApiError, request::Query};
use serde_json::{Value, json};

/// `limit` and `marker` of a list.
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// At most so many; nothing means the service's maximum.
    pub limit: Option<usize>,
    /// Id of the last item of the page before.
    pub marker: Option<String>,
}

impl Page {
    /// Reads the parameters; `limit` is cut to `maximum`, and 0 means the maximum.
    pub fn from_query(query: &Query, maximum: usize) -> Result<Page, ApiError> {
        let limit = match query.number("limit")? {
            None | Some(0) => None,
            Some(number) => Some(usize::try_from(number).unwrap_or(maximum).min(maximum)),
        };
        Ok(Page {
            limit,
            marker: query
                .get("marker")
                .filter(|marker| !marker.is_empty())
                .map(str::to_owned),
        })
    }

    /// Cuts one page out of a list; also tells whether more follows. A marker that is not
    /// in the list is a 400, as upstream.
    pub fn cut<T>(
        &self,
        items: Vec<T>,
        id: impl Fn(&T) -> &str,
    ) -> Result<(Vec<T>, bool), ApiError> {
        let start = match &self.marker {
            None => 0,
            Some(marker) => {
                1 + items
                    .iter()
                    .position(|item| id(item) == marker)
                    .ok_or_else(|| {
                        ApiError::bad_request(
                            "HTTPBadRequest",
                            format!("marker [{marker}] not found"),
                        )
                    })?
            }
        };
        let left = items.len() - start;
        let take = self.limit.unwrap_or(left).min(left);
        Ok((
            items.into_iter().skip(start).take(take).collect(),
            take < left,
        ))
    }
}

/// The URL of the next page: the same query with another marker.
pub fn next_url(url: &str, query: &Query, last_id: &str) -> String {
    let mut pairs: Vec<String> = query
        .0
        .iter()
        .filter(|(name, _)| name != "marker")
        .map(|(name, value)| format!("{}={}", encode(name), encode(value)))
        .collect();
    pairs.push(format!("marker={}", encode(last_id)));
    format!("{url}?{}", pairs.join("&"))
}

/// `[{"rel": "next", "href": ...}]`, as nova and neutron print it.
pub fn next_link(url: &str, query: &Query, last_id: &str) -> Value {
    json!([{"rel": "next", "href": next_url(url, query, last_id)}])
}

fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(byte as char)
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_pages_until_the_end() {
        let items = || vec!["a".to_owned(), "b".to_owned(), "c".to_owned()];
        let page = |limit, marker: Option<&str>| Page {
            limit,
            marker: marker.map(str::to_owned),
        };
        assert_eq!(
            page(Some(2), None).cut(items(), |s| s).unwrap(),
            (vec!["a".into(), "b".into()], true)
        );
        assert_eq!(
            page(Some(2), Some("b")).cut(items(), |s| s).unwrap(),
            (vec!["c".into()], false)
        );
        assert_eq!(
            page(None, Some("c")).cut(items(), |s| s).unwrap(),
            (vec![], false)
        );
        assert_eq!(
            page(None, Some("x"))
                .cut(items(), |s| s)
                .unwrap_err()
                .status,
            400
        );
    }

    #[test]
    fn next_keeps_the_filters() {
        let query = Query(vec![
            ("name".into(), "a b".into()),
            ("marker".into(), "x".into()),
        ]);
        assert_eq!(
            next_url("http://h/v2.0/ports", &query, "y"),
            "http://h/v2.0/ports?name=a%20b&marker=y"
        );
    }
}
