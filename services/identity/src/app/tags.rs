//! Tags of projects: what may be one, and which projects a list asks for by them. Pure.

use serde_json::Value;
use service_kit::{ApiError, Query};

/// So many a project.
pub const MOST: usize = 80;
const LONGEST: usize = 255;

/// Whether a name may be a tag: a comma parts tags in a query, and a slash parts a path.
pub fn check(name: &str) -> Result<(), ApiError> {
    if name.is_empty() || name.chars().count() > LONGEST || name.contains(['/', ',']) {
        return Err(invalid(&format!(
            "a tag has 1 to {LONGEST} characters, none of them a comma or a slash"
        )));
    }
    Ok(())
}

/// Whether a project can have so many.
pub fn check_number(number: usize) -> Result<(), ApiError> {
    if number > MOST {
        return Err(invalid(&format!("a project has at most {MOST} tags")));
    }
    Ok(())
}

/// The list of a request, in order.
pub fn parse(value: &Value) -> Result<Vec<String>, ApiError> {
    let list = value.as_array().ok_or_else(|| invalid("expected a list"))?;
    check_number(list.len())?;
    let mut tags = Vec::with_capacity(list.len());
    for item in list {
        let name = item
            .as_str()
            .ok_or_else(|| invalid("expected a list of strings"))?;
        check(name)?;
        tags.push(name.to_owned());
    }
    tags.sort();
    if tags.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(invalid("the same tag is named twice"));
    }
    Ok(tags)
}

fn invalid(reason: &str) -> ApiError {
    ApiError::bad_request(
        "BadRequest",
        format!("Invalid input for field 'tags' of project: {reason}."),
    )
}

/// `tags`, `tags-any`, `not-tags` and `not-tags-any` of a list's query; all that are given must hold.
#[derive(Debug, Default)]
pub struct Filter {
    all: Vec<String>,
    any: Vec<String>,
    not_all: Vec<String>,
    not_any: Vec<String>,
}

impl Filter {
    /// What the query asks for; a name that comes twice adds up.
    pub fn of(query: &Query) -> Self {
        let read = |name: &str| -> Vec<String> {
            query
                .all(name)
                .flat_map(|text| text.split(','))
                .filter(|tag| !tag.is_empty())
                .map(str::to_owned)
                .collect()
        };
        Filter {
            all: read("tags"),
            any: read("tags-any"),
            not_all: read("not-tags"),
            not_any: read("not-tags-any"),
        }
    }

    /// Whether a project with these tags is asked for.
    pub fn fits(&self, tags: &[String]) -> bool {
        let all = |wanted: &[String]| wanted.iter().all(|tag| tags.contains(tag));
        let any = |wanted: &[String]| wanted.iter().any(|tag| tags.contains(tag));
        all(&self.all)
            && (self.any.is_empty() || any(&self.any))
            && (self.not_all.is_empty() || !all(&self.not_all))
            && !any(&self.not_any)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn lists_of_tags_are_checked() {
        assert_eq!(parse(&json!(["b", "a b", "A"])).unwrap(), ["A", "a b", "b"]);
        let many: Vec<String> = (0..=MOST).map(|n| n.to_string()).collect();
        assert!(parse(&json!(many[..MOST])).is_ok());
        for wrong in [
            json!("a"),
            json!({"a": 1}),
            json!([1]),
            json!([""]),
            json!(["a/b"]),
            json!(["a,b"]),
            json!(["a", "a"]),
            json!(["x".repeat(LONGEST + 1)]),
            json!(many),
        ] {
            assert_eq!(parse(&wrong).unwrap_err().status, 400, "{wrong}");
        }
    }

    #[test]
    fn filters_choose() {
        let projects: [&[&str]; 4] = [&[], &["red"], &["red", "blue"], &["green"]];
        let chosen = |pairs: &[(&str, &str)]| -> Vec<usize> {
            let pairs = pairs
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            let filter = Filter::of(&Query(pairs.collect()));
            (0..projects.len())
                .filter(|at| {
                    let tags: Vec<String> =
                        projects[*at].iter().map(|tag| (*tag).to_owned()).collect();
                    filter.fits(&tags)
                })
                .collect()
        };
        assert_eq!(chosen(&[]), [0, 1, 2, 3]);
        assert_eq!(chosen(&[("tags", "red")]), [1, 2]);
        assert_eq!(chosen(&[("tags", "red,blue")]), [2]);
        assert_eq!(chosen(&[("tags", "red"), ("tags", "blue")]), [2]);
        assert_eq!(chosen(&[("tags-any", "blue,green")]), [2, 3]);
        assert_eq!(chosen(&[("not-tags", "red,blue")]), [0, 1, 3]);
        assert_eq!(chosen(&[("not-tags-any", "red,blue")]), [0, 3]);
        assert_eq!(chosen(&[("tags", "red"), ("not-tags-any", "blue")]), [1]);
        assert_eq!(chosen(&[("tags", "RED")]), [0usize; 0]);
    }
}
