//! What a policy can know of a request before it is handled: the parameters of its path.

/// Name in `%(NAME)s` and the parameter of the path that it is, for each that a path has.
///
/// A parameter goes by its own name; `{id}` behind `users` is `user_id` as well, and `tenant_id` is an old name of `project_id`.
pub fn attributes(path: &'static str) -> Vec<(String, &'static str)> {
    let mut found = Vec::new();
    let mut before = "";
    for part in path.split('/') {
        let inner = part
            .strip_prefix('{')
            .and_then(|rest| rest.strip_suffix('}'));
        if let Some(parameter) = inner {
            let parameter = parameter.trim_start_matches('*');
            let mut name = parameter.to_owned();
            found.push((name.clone(), parameter));
            if name == "id" && !before.is_empty() {
                name = format!("{}_id", singular(before));
                found.push((name.clone(), parameter));
            }
            match &*name {
                "tenant_id" => found.push(("project_id".to_owned(), parameter)),
                "project_id" => found.push(("tenant_id".to_owned(), parameter)),
                _ => {}
            }
        } else {
            before = part;
        }
    }
    found
}

fn singular(plural: &str) -> String {
    match plural.strip_suffix("ies") {
        Some(stem) => format!("{stem}y"),
        None => plural.strip_suffix('s').unwrap_or(plural).to_owned(),
    }
    .replace('-', "_")
}

/// The parameters of one request.
#[derive(Debug, Default)]
pub struct Target<'a>(pub Vec<(&'a str, &'a str)>);

impl Target<'_> {
    /// The value of `%(NAME)s`.
    pub fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| *value)
    }
}
