//! Names where APIs want ids: templates may give either.
use super::ResourceError;
use openstack_client::Client;
use serde_json::Value;

/// The id of a network API object (`networks`, `subnets`, ...) that a template names by id or name.
pub async fn neutron(
    client: &Client,
    collection: &str,
    name: &str,
) -> Result<String, ResourceError> {
    let path = format!("/v2.0/{collection}/{}", segment(name)?);
    match client.get("network", &path).await {
        Ok(_) => return Ok(name.to_owned()),
        Err(error) if error.status().is_some_and(|status| status.as_u16() == 404) => {}
        Err(error) => return Err(error.into()),
    }
    let path = format!("/v2.0/{collection}");
    let answer: Value = client
        .request(http::Method::GET, "network", &path)
        .query("name", name)
        .query("fields", "id")
        .fetch()
        .await?;
    only(answer.get(collection.replace('-', "_")), collection, name)
}

/// The id of an image that a template names by id or name.
pub async fn image(client: &Client, name: &str) -> Result<String, ResourceError> {
    match client
        .get("image", &format!("/v2/images/{}", segment(name)?))
        .await
    {
        Ok(_) => return Ok(name.to_owned()),
        Err(error)
            if error
                .status()
                .is_some_and(|status| [400, 404].contains(&status.as_u16())) => {}
        Err(error) => return Err(error.into()),
    }
    let answer: Value = client
        .request(http::Method::GET, "image", "/v2/images")
        .query("name", name)
        .fetch()
        .await?;
    only(answer.get("images"), "images", name)
}

/// The id of a flavor that a template names by id or name.
pub async fn flavor(client: &Client, name: &str) -> Result<String, ResourceError> {
    let answer = client.get("compute", "/flavors").await?;
    let flavors = answer
        .get("flavors")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    if flavors.iter().any(|flavor| flavor["id"] == name) {
        return Ok(name.to_owned());
    }
    let named: Vec<Value> = flavors
        .into_iter()
        .filter(|flavor| flavor["name"] == name)
        .collect();
    only(Some(&Value::Array(named)), "flavors", name)
}

fn only(found: Option<&Value>, what: &str, name: &str) -> Result<String, ResourceError> {
    let what = what.trim_end_matches('s');
    match found.and_then(Value::as_array).map(Vec::as_slice) {
        Some([one]) => match one["id"].as_str() {
            Some(id) => Ok(id.to_owned()),
            None => Err(ResourceError::Failed(format!(
                "the {what} ({name}) has no id"
            ))),
        },
        Some([]) | None => Err(ResourceError::Failed(format!(
            "The {what} ({name}) could not be found."
        ))),
        Some(_) => Err(ResourceError::Failed(format!(
            "Multiple {what}s found with name {name}: give its id"
        ))),
    }
}

/// A name that can stand in a path.
fn segment(name: &str) -> Result<String, ResourceError> {
    if name.is_empty() || name.contains(['/', '?', '#', '%']) || name.chars().any(char::is_control)
    {
        return Err(ResourceError::Failed(format!(
            "\"{name}\" is neither a name nor an id"
        )));
    }
    Ok(name.replace(' ', "%20"))
}
