//! Types that need no service: `OS::Heat::None`, `RandomString`, `Value`, `TestResource`, `SoftwareConfig`.
use super::{Cloud, Kind, Property, ResourceError, ResourceType};
use async_trait::async_trait;
use rand::Rng;
use serde_json::{Map, Value, json};

pub fn types() -> Vec<Box<dyn ResourceType>> {
    vec![
        Box::new(NoResource),
        Box::new(RandomString),
        Box::new(HeatValue),
        Box::new(TestResource),
        Box::new(SoftwareConfig),
    ]
}

/// `OS::Heat::None`: takes any property and makes nothing.
struct NoResource;

#[async_trait]
impl ResourceType for NoResource {
    fn name(&self) -> &'static str {
        "OS::Heat::None"
    }
    fn takes_any_property(&self) -> bool {
        true
    }
    fn properties(&self) -> &'static [Property] {
        &[]
    }
    fn attribute_names(&self) -> &'static [&'static str] {
        &[]
    }
    async fn create(&self, cloud: &Cloud, _: &Map<String, Value>) -> Result<String, ResourceError> {
        Ok(cloud.physical_name.clone())
    }
    async fn delete(&self, _: &Cloud, _: &str) -> Result<(), ResourceError> {
        Ok(())
    }
    async fn attributes(
        &self,
        _: &Cloud,
        _: &str,
        _: &Map<String, Value>,
    ) -> Result<Map<String, Value>, ResourceError> {
        Ok(Map::new())
    }
}

/// `OS::Heat::RandomString`: the string is the physical id, so that it is stored once and never changes.
struct RandomString;

/// Longest string that Heat makes.
const RANDOM_LENGTH_MAX: i64 = 512;

#[async_trait]
impl ResourceType for RandomString {
    fn name(&self) -> &'static str {
        "OS::Heat::RandomString"
    }
    fn properties(&self) -> &'static [Property] {
        const ALL: &[Property] = &[
            Property::new(
                "length",
                Kind::Integer,
                "Length of the string, 1 to 512; 32 unless given",
            ),
            Property::new(
                "character_classes",
                Kind::List,
                "Classes of characters, each with the least number of them",
            ),
            Property::new(
                "character_sequences",
                Kind::List,
                "Sequences of characters, each with the least number of them",
            ),
            Property::new("salt", Kind::String, "A changed salt makes a new string"),
        ];
        ALL
    }
    fn attribute_names(&self) -> &'static [&'static str] {
        &["value", "show"]
    }
    async fn create(
        &self,
        _: &Cloud,
        properties: &Map<String, Value>,
    ) -> Result<String, ResourceError> {
        random_string(properties, &mut rand::rng()).map_err(ResourceError::Failed)
    }
    async fn delete(&self, _: &Cloud, _: &str) -> Result<(), ResourceError> {
        Ok(())
    }
    async fn attributes(
        &self,
        _: &Cloud,
        id: &str,
        _: &Map<String, Value>,
    ) -> Result<Map<String, Value>, ResourceError> {
        Ok(Map::from_iter([("value".to_owned(), json!(id))]))
    }
}

fn class(name: &str) -> Option<String> {
    let lower: String = ('a'..='z').collect();
    let upper: String = ('A'..='Z').collect();
    let digits: String = ('0'..='9').collect();
    Some(match name {
        "lettersdigits" => upper + &lower + &digits,
        "letters" => upper + &lower,
        "lowercase" => lower,
        "uppercase" => upper,
        "digits" => digits,
        "hexdigits" => digits + "abcdefABCDEF",
        "octdigits" => "01234567".to_owned(),
        "punctuation" => "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~".to_owned(),
        "whitespace" => " \t\n\r\u{b}\u{c}".to_owned(),
        _ => return None,
    })
}

fn random_string(properties: &Map<String, Value>, rng: &mut impl Rng) -> Result<String, String> {
    let length = properties
        .get("length")
        .and_then(Value::as_i64)
        .unwrap_or(32);
    if !(1..=RANDOM_LENGTH_MAX).contains(&length) {
        return Err(format!(
            "Property error: length: {length} is out of range (min: 1, max: {RANDOM_LENGTH_MAX})"
        ));
    }
    let length = usize::try_from(length).unwrap_or(32);
    let mut sets: Vec<(Vec<char>, usize)> = Vec::new();
    for (key, of) in [
        ("character_classes", "class"),
        ("character_sequences", "sequence"),
    ] {
        for entry in properties
            .get(key)
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            let given = entry
                .get(of)
                .and_then(Value::as_str)
                .unwrap_or("lettersdigits");
            let characters = if of == "class" {
                class(given).ok_or_else(|| format!("there is no class of characters `{given}`"))?
            } else {
                given.to_owned()
            };
            if characters.is_empty() {
                return Err("a sequence of characters is empty".to_owned());
            }
            let least = entry.get("min").and_then(Value::as_u64).unwrap_or(1);
            sets.push((
                characters.chars().collect(),
                usize::try_from(least).unwrap_or(usize::MAX),
            ));
        }
    }
    if sets.is_empty() {
        sets.push((
            class("lettersdigits").unwrap_or_default().chars().collect(),
            1,
        ));
    }
    let least: usize = sets
        .iter()
        .map(|(_, least)| *least)
        .fold(0, usize::saturating_add);
    if least > length {
        return Err("Length property cannot be smaller than combined character class and character sequence minimums".to_owned());
    }
    let mut pick = |set: &[char]| set[rng.random_range(0..set.len())];
    let mut out: Vec<char> = sets
        .iter()
        .flat_map(|(set, least)| (0..*least).map(|_| pick(set)).collect::<Vec<_>>())
        .collect();
    let all: Vec<char> = sets
        .iter()
        .flat_map(|(set, _)| set.iter().copied())
        .collect();
    while out.len() < length {
        out.push(pick(&all));
    }
    for last in (1..out.len()).rev() {
        out.swap(last, rng.random_range(0..=last));
    }
    Ok(out.into_iter().collect())
}

/// `OS::Heat::Value`: gives back its property, as its type.
struct HeatValue;

#[async_trait]
impl ResourceType for HeatValue {
    fn name(&self) -> &'static str {
        "OS::Heat::Value"
    }
    fn properties(&self) -> &'static [Property] {
        // `value` takes anything; its kind is checked by `type`, so it is not coerced here.
        const ALL: &[Property] = &[
            Property::new(
                "type",
                Kind::String,
                "string, number, comma_delimited_list, json or boolean",
            )
            .in_place(),
            Property::new("value", Kind::Any, "The value")
                .required()
                .in_place(),
        ];
        ALL
    }
    fn attribute_names(&self) -> &'static [&'static str] {
        &["value"]
    }
    async fn create(
        &self,
        cloud: &Cloud,
        properties: &Map<String, Value>,
    ) -> Result<String, ResourceError> {
        value_of(properties)?;
        Ok(cloud.physical_name.clone())
    }
    async fn delete(&self, _: &Cloud, _: &str) -> Result<(), ResourceError> {
        Ok(())
    }
    async fn attributes(
        &self,
        _: &Cloud,
        _: &str,
        properties: &Map<String, Value>,
    ) -> Result<Map<String, Value>, ResourceError> {
        Ok(Map::from_iter([(
            "value".to_owned(),
            value_of(properties)?,
        )]))
    }
}

fn value_of(properties: &Map<String, Value>) -> Result<Value, ResourceError> {
    let value = properties.get("value").cloned().unwrap_or(Value::Null);
    let Some(kind) = properties.get("type").and_then(Value::as_str) else {
        return Ok(value);
    };
    let Some(kind) = hot::ParameterType::named(kind) else {
        return Err(ResourceError::Failed(format!("there is no type `{kind}`")));
    };
    hot::Parameter::of(kind)
        .coerce(&value)
        .map_err(ResourceError::Failed)
}

/// `OS::Heat::TestResource`: waits as long as it is told, fails when it is told to.
struct TestResource;

#[async_trait]
impl ResourceType for TestResource {
    fn name(&self) -> &'static str {
        "OS::Heat::TestResource"
    }
    fn properties(&self) -> &'static [Property] {
        const ALL: &[Property] = &[
            Property::new("value", Kind::String, "Given back as the output").in_place(),
            Property::new("fail", Kind::Boolean, "Fail at creation or update").in_place(),
            Property::new(
                "update_replace",
                Kind::Boolean,
                "A change replaces the resource",
            ),
            Property::new(
                "update_replace_value",
                Kind::String,
                "A change replaces the resource",
            ),
            Property::new("wait_secs", Kind::Number, "Seconds that each action takes").in_place(),
        ];
        ALL
    }
    fn attribute_names(&self) -> &'static [&'static str] {
        &["output"]
    }
    async fn create(
        &self,
        cloud: &Cloud,
        properties: &Map<String, Value>,
    ) -> Result<String, ResourceError> {
        act(properties).await?;
        Ok(cloud.physical_name.clone())
    }
    async fn update(
        &self,
        _: &Cloud,
        _: &str,
        _: &Map<String, Value>,
        new: &Map<String, Value>,
    ) -> Result<(), ResourceError> {
        act(new).await
    }
    async fn delete(&self, _: &Cloud, _: &str) -> Result<(), ResourceError> {
        Ok(())
    }
    async fn attributes(
        &self,
        _: &Cloud,
        _: &str,
        properties: &Map<String, Value>,
    ) -> Result<Map<String, Value>, ResourceError> {
        let value = properties.get("value").cloned().unwrap_or(Value::Null);
        Ok(Map::from_iter([("output".to_owned(), value)]))
    }
}

async fn act(properties: &Map<String, Value>) -> Result<(), ResourceError> {
    if let Some(seconds) = properties
        .get("wait_secs")
        .and_then(Value::as_f64)
        .filter(|s| (0.0..=3600.0).contains(s))
    {
        tokio::time::sleep(std::time::Duration::from_secs_f64(seconds)).await;
    }
    match properties.get("fail") {
        Some(Value::Bool(true)) => Err(ResourceError::Failed("Test Resource failed".to_owned())),
        _ => Ok(()),
    }
}

/// `OS::Heat::SoftwareConfig`: text for `user_data`; `get_resource` gives the text itself.
struct SoftwareConfig;

#[async_trait]
impl ResourceType for SoftwareConfig {
    fn name(&self) -> &'static str {
        "OS::Heat::SoftwareConfig"
    }
    fn properties(&self) -> &'static [Property] {
        const ALL: &[Property] = &[
            Property::new(
                "group",
                Kind::String,
                "What runs the configuration; none for user data",
            ),
            Property::new("config", Kind::String, "The text"),
            Property::new("options", Kind::Map, "Options of the tool that runs it"),
        ];
        ALL
    }
    fn attribute_names(&self) -> &'static [&'static str] {
        &["config"]
    }
    async fn create(&self, cloud: &Cloud, _: &Map<String, Value>) -> Result<String, ResourceError> {
        Ok(cloud.physical_name.clone())
    }
    async fn delete(&self, _: &Cloud, _: &str) -> Result<(), ResourceError> {
        Ok(())
    }
    async fn attributes(
        &self,
        _: &Cloud,
        _: &str,
        properties: &Map<String, Value>,
    ) -> Result<Map<String, Value>, ResourceError> {
        let config = properties
            .get("config")
            .cloned()
            .unwrap_or_else(|| json!(""));
        Ok(Map::from_iter([("config".to_owned(), config)]))
    }
    fn reference(&self, id: &str, attributes: &Map<String, Value>) -> Value {
        attributes
            .get("config")
            .cloned()
            .unwrap_or_else(|| json!(id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_strings_keep_their_minimums() {
        let properties = json!({"length": 12, "character_classes": [{"class": "digits", "min": 3}, {"class": "lowercase", "min": 9}]});
        let text = random_string(properties.as_object().unwrap(), &mut rand::rng()).unwrap();
        assert_eq!(text.len(), 12);
        assert_eq!(text.chars().filter(char::is_ascii_digit).count(), 3);
        let properties = json!({"length": 2, "character_classes": [{"class": "digits", "min": 3}]});
        assert!(random_string(properties.as_object().unwrap(), &mut rand::rng()).is_err());
    }
}
