//! A HOT template as values: sections, parameters, resources, outputs, with every fault told at once.
use crate::{
    expr::{Expr, ExprKind, FUNCTION_NAMES, Function},
    parameters::{Constraint, Parameter, ParameterType, Rule},
    version::{VERSION_NAMES, Version},
};
use diagnostics::Diagnostics;
use indexmap::IndexMap;
use serde_json::Value;
use yaml_source::{Fault, Map, Node, Span, Value as Yaml};

/// A template that has been read and checked in itself.
#[derive(Debug, Clone)]
pub struct Template {
    pub version: Version,
    /// The version as it was written.
    pub version_name: String,
    pub description: Option<String>,
    pub parameters: IndexMap<String, Parameter>,
    pub parameter_groups: Vec<ParameterGroup>,
    pub conditions: IndexMap<String, Expr>,
    pub resources: IndexMap<String, Resource>,
    pub outputs: IndexMap<String, Output>,
}

#[derive(Debug, Clone)]
pub struct ParameterGroup {
    pub label: Option<String>,
    pub description: Option<String>,
    pub parameters: Vec<String>,
}

/// A resource as declared.
#[derive(Debug, Clone)]
pub struct Resource {
    pub span: Span,
    pub type_name: String,
    pub type_span: Span,
    /// A map of expressions.
    pub properties: Expr,
    pub metadata: Expr,
    pub depends_on: Vec<(String, Span)>,
    pub deletion_policy: DeletionPolicy,
    pub update_policy: Option<Expr>,
    pub condition: Option<Expr>,
    pub external_id: Option<Expr>,
    pub description: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DeletionPolicy {
    #[default]
    Delete,
    Retain,
    Snapshot,
}

#[derive(Debug, Clone)]
pub struct Output {
    pub description: Option<String>,
    pub value: Expr,
    pub condition: Option<Expr>,
}

const SECTIONS: &[&str] = &[
    "heat_template_version",
    "description",
    "parameter_groups",
    "parameters",
    "resources",
    "outputs",
    "conditions",
];
const PARAMETER_KEYS: &[&str] = &[
    "type",
    "label",
    "description",
    "default",
    "hidden",
    "constraints",
    "immutable",
    "tags",
];
const RESOURCE_KEYS: &[&str] = &[
    "type",
    "properties",
    "metadata",
    "depends_on",
    "deletion_policy",
    "update_policy",
    "description",
    "external_id",
    "condition",
];
const OUTPUT_KEYS: &[&str] = &["description", "value", "condition"];

/// Names that a template may use as parameters without declaring them.
pub const PSEUDO_PARAMETERS: &[&str] = &[
    "OS::stack_id",
    "OS::stack_name",
    "OS::project_id",
    "OS::region",
];

/// Reads a template and checks everything that can be checked without parameters and services.
///
/// # Errors
/// Every fault of the file, each with its place.
pub fn parse(file_name: &str, text: &str) -> Result<Template, Diagnostics> {
    let document = yaml_source::parse(file_name, text)?;
    let mut reader = Reader {
        version: Version::V2013_05_23,
        diags: Diagnostics::new(),
    };
    let template = reader.template(&document.root);
    if let Some(template) = &template {
        crate::check::references(template, &mut reader.diags);
    }
    match template {
        Some(template) => reader.diags.into_result(template),
        None => Err(reader.diags),
    }
}

struct Reader {
    version: Version,
    diags: Diagnostics,
}

impl Reader {
    fn template(&mut self, root: &Node) -> Option<Template> {
        let map = root.as_map("the template", &mut self.diags)?;
        let version_name = match map.get("heat_template_version") {
            Some(node) => node.as_text("`heat_template_version`", &mut self.diags)?,
            None => {
                let fault = root.error("Template format version not found");
                self.diags.push(
                    fault.hint("begin the template with `heat_template_version: 2018-08-31`"),
                );
                return None;
            }
        };
        let Some(version) = Version::named(&version_name) else {
            let at = map.get("heat_template_version").unwrap_or(root);
            let known: Vec<&str> = VERSION_NAMES.iter().map(|(name, _)| *name).collect();
            self.diags.push(
                at.error(format!("there is no template version `{version_name}`"))
                    .expected(format!("one of {}", known.join(", ")))
                    .suggest(&version_name, known.iter().copied()),
            );
            return None;
        };
        self.version = version;
        map.check_keys("the template", SECTIONS, &mut self.diags);
        if !version.has_conditions()
            && let Some((key, _)) = map.get_entry("conditions")
        {
            self.diags.push(
                key.error(format!("version {version_name} has no `conditions`"))
                    .expected("heat_template_version 2016-10-14 or later"),
            );
        }
        Some(Template {
            version,
            version_name,
            description: self.optional_text(map, "description"),
            parameters: self.section(map, "parameters", Self::parameter),
            parameter_groups: self.parameter_groups(map),
            conditions: self.section(map, "conditions", |reader, _, _, node| {
                Some(reader.expr(node))
            }),
            resources: self.section(map, "resources", Self::resource),
            outputs: self.section(map, "outputs", Self::output),
        })
    }

    /// A section of named entries, each read by `read`.
    fn section<T>(
        &mut self,
        map: &Map,
        name: &str,
        read: impl Fn(&mut Self, &str, &Span, &Node) -> Option<T>,
    ) -> IndexMap<String, T> {
        let mut out = IndexMap::new();
        let Some(node) = map.get(name).filter(|node| !node.is_null()) else {
            return out;
        };
        let Some(entries) = node.as_map(&format!("`{name}`"), &mut self.diags) else {
            return out;
        };
        for (key, value) in entries {
            if let Some(read) = read(self, &key.text, &key.span, value) {
                out.insert(key.text.clone(), read);
            }
        }
        out
    }

    fn optional_text(&mut self, map: &Map, key: &str) -> Option<String> {
        let node = map.get(key).filter(|node| !node.is_null())?;
        node.as_text(&format!("`{key}`"), &mut self.diags)
    }

    fn optional_bool(&mut self, map: &Map, key: &str) -> bool {
        map.get(key).is_some_and(
            |node| match node.str().map(str::to_ascii_lowercase).as_deref() {
                Some("true") => true,
                Some("false") => false,
                _ => node
                    .as_bool(&format!("`{key}`"), &mut self.diags)
                    .unwrap_or(false),
            },
        )
    }

    fn parameter(&mut self, name: &str, span: &Span, node: &Node) -> Option<Parameter> {
        let what = format!("parameter `{name}`");
        let map = node.as_map(&what, &mut self.diags)?;
        map.check_keys(&what, PARAMETER_KEYS, &mut self.diags);
        let kind_node = map.required("type", &what, span, &mut self.diags)?;
        let kind_name = kind_node.as_str(&format!("the type of {what}"), &mut self.diags)?;
        let Some(kind) = ParameterType::named(kind_name) else {
            let known: Vec<&str> = ParameterType::NAMES.iter().map(|(name, _)| *name).collect();
            self.diags.push(
                kind_node
                    .error(format!("there is no parameter type `{kind_name}`"))
                    .expected(format!("one of {}", known.join(", ")))
                    .suggest(&kind_name.to_ascii_lowercase(), known.iter().copied()),
            );
            return None;
        };
        let mut parameter = Parameter {
            kind,
            label: self.optional_text(map, "label"),
            description: self.optional_text(map, "description"),
            default: None,
            hidden: self.optional_bool(map, "hidden"),
            immutable: self.optional_bool(map, "immutable"),
            tags: Vec::new(),
            constraints: Vec::new(),
        };
        if let Some(tags) = map.get("tags") {
            for tag in tags.as_seq("`tags`", &mut self.diags).unwrap_or_default() {
                parameter.tags.extend(tag.as_text("a tag", &mut self.diags));
            }
        }
        if let Some(constraints) = map.get("constraints").filter(|node| !node.is_null()) {
            let list = constraints.as_seq(&format!("`constraints` of {what}"), &mut self.diags);
            for constraint in list.unwrap_or_default() {
                parameter.constraints.extend(self.constraint(constraint));
            }
        }
        if let Some(default) = map.get("default") {
            match parameter.coerce(&default.to_json()) {
                Ok(value) => {
                    for broken in parameter.violations(&value) {
                        self.diags
                            .push(default.error(format!("the default of {what}: {broken}")));
                    }
                    parameter.default = Some(value);
                }
                Err(wrong) => self
                    .diags
                    .push(default.error(format!("the default of {what}: {wrong}"))),
            }
        }
        Some(parameter)
    }

    fn constraint(&mut self, node: &Node) -> Option<Constraint> {
        const RULES: &[&str] = &[
            "length",
            "range",
            "modulo",
            "allowed_values",
            "allowed_pattern",
            "custom_constraint",
        ];
        let map = node.as_map("a constraint", &mut self.diags)?;
        let mut known = RULES.to_vec();
        known.push("description");
        map.check_keys("a constraint", &known, &mut self.diags);
        let description = self.optional_text(map, "description");
        let (key, value) = map
            .iter()
            .find(|(key, _)| RULES.contains(&key.text.as_str()))
            .or_else(|| {
                self.diags.push(
                    node.error("a constraint without a rule")
                        .expected(format!("one of {}", RULES.join(", "))),
                );
                None
            })?;
        let json = value.to_json();
        let whole = |name: &str| {
            json.get(name)
                .and_then(|v| v.as_i64().or_else(|| v.as_str()?.parse().ok()))
        };
        let float = |name: &str| {
            json.get(name)
                .and_then(|v| v.as_f64().or_else(|| v.as_str()?.parse().ok()))
        };
        let rule = match key.text.as_str() {
            "length" => Rule::Length {
                min: whole("min").and_then(|n| u64::try_from(n).ok()),
                max: whole("max").and_then(|n| u64::try_from(n).ok()),
            },
            "range" => Rule::Range {
                min: float("min"),
                max: float("max"),
            },
            "modulo" => match (whole("step"), whole("offset")) {
                (Some(step), Some(offset)) if step != 0 && offset.abs() < step.abs() => {
                    Rule::Modulo { step, offset }
                }
                _ => {
                    self.diags
                        .push(value.error("`modulo` takes a `step` and a smaller `offset`"));
                    return None;
                }
            },
            "allowed_values" => match value.as_seq("`allowed_values`", &mut self.diags) {
                Some(items) => Rule::AllowedValues(items.iter().map(Node::to_json).collect()),
                None => return None,
            },
            "allowed_pattern" => {
                let pattern = value.as_text("`allowed_pattern`", &mut self.diags)?;
                if let Err(error) = regex::Regex::new(&pattern) {
                    self.diags.push(
                        value.error(format!("the pattern is not a regular expression: {error}")),
                    );
                    return None;
                }
                Rule::AllowedPattern(pattern)
            }
            _ => Rule::Custom(value.as_text("`custom_constraint`", &mut self.diags)?),
        };
        Some(Constraint { rule, description })
    }

    fn parameter_groups(&mut self, map: &Map) -> Vec<ParameterGroup> {
        let Some(node) = map.get("parameter_groups").filter(|node| !node.is_null()) else {
            return Vec::new();
        };
        let declared = map.get("parameters").and_then(Node::map);
        let mut out: Vec<ParameterGroup> = Vec::new();
        for group in node
            .as_seq("`parameter_groups`", &mut self.diags)
            .unwrap_or_default()
        {
            let Some(entries) = group.as_map("a parameter group", &mut self.diags) else {
                continue;
            };
            entries.check_keys(
                "a parameter group",
                &["label", "description", "parameters"],
                &mut self.diags,
            );
            let mut parameters = Vec::new();
            if let Some(list) = entries.required(
                "parameters",
                "a parameter group",
                &group.span,
                &mut self.diags,
            ) {
                for name in list
                    .as_seq("`parameters` of a group", &mut self.diags)
                    .unwrap_or_default()
                {
                    let Some(text) = name.as_str("a parameter's name", &mut self.diags) else {
                        continue;
                    };
                    if !declared.is_some_and(|declared| declared.contains_key(text)) {
                        let fault = name.error(format!("there is no parameter `{text}`"));
                        let known = declared
                            .into_iter()
                            .flat_map(Map::keys)
                            .map(|key| key.text.as_str());
                        self.diags.push(fault.suggest(text, known));
                    } else if parameters
                        .iter()
                        .chain(out.iter().flat_map(|g| &g.parameters))
                        .any(|p| p == text)
                    {
                        self.diags
                            .push(name.error(format!("`{text}` is in a group already")));
                    }
                    parameters.push(text.to_owned());
                }
            }
            out.push(ParameterGroup {
                label: self.optional_text(entries, "label"),
                description: self.optional_text(entries, "description"),
                parameters,
            });
        }
        out
    }

    fn resource(&mut self, name: &str, span: &Span, node: &Node) -> Option<Resource> {
        let what = format!("resource `{name}`");
        let map = node.as_map(&what, &mut self.diags)?;
        map.check_keys(&what, RESOURCE_KEYS, &mut self.diags);
        let type_node = map.required("type", &what, span, &mut self.diags)?;
        let type_name = type_node
            .as_str(&format!("the type of {what}"), &mut self.diags)?
            .to_owned();
        let section =
            |reader: &mut Self, key: &str| match map.get(key).filter(|node| !node.is_null()) {
                Some(node) => {
                    if node.map().is_none() {
                        node.as_map(&format!("`{key}` of {what}"), &mut reader.diags);
                    }
                    reader.expr(node)
                }
                None => Expr {
                    span: span.clone(),
                    kind: ExprKind::Map(Vec::new()),
                },
            };
        let properties = section(self, "properties");
        let metadata = section(self, "metadata");
        let deletion_policy = match map.get("deletion_policy") {
            None => DeletionPolicy::Delete,
            Some(node) => match node.str().map(str::to_ascii_lowercase).as_deref() {
                Some("delete") => DeletionPolicy::Delete,
                Some("retain") => DeletionPolicy::Retain,
                Some("snapshot") => DeletionPolicy::Snapshot,
                _ => {
                    self.diags.push(
                        node.error(format!("`deletion_policy` of {what}"))
                            .expected("Delete, Retain or Snapshot"),
                    );
                    DeletionPolicy::Delete
                }
            },
        };
        let mut depends_on = Vec::new();
        if let Some(node) = map.get("depends_on").filter(|node| !node.is_null()) {
            let list = node.seq().unwrap_or(std::slice::from_ref(node));
            for name in list {
                if let Some(text) = name.as_str(&format!("`depends_on` of {what}"), &mut self.diags)
                {
                    depends_on.push((text.to_owned(), name.span.clone()));
                }
            }
        }
        let optional = |reader: &mut Self, key: &str| map.get(key).map(|node| reader.expr(node));
        Some(Resource {
            span: span.clone(),
            type_name,
            type_span: type_node.span.clone(),
            properties,
            metadata,
            depends_on,
            deletion_policy,
            update_policy: optional(self, "update_policy"),
            condition: optional(self, "condition"),
            external_id: optional(self, "external_id"),
            description: self.optional_text(map, "description"),
        })
    }

    fn output(&mut self, name: &str, span: &Span, node: &Node) -> Option<Output> {
        let what = format!("output `{name}`");
        let map = node.as_map(&what, &mut self.diags)?;
        map.check_keys(&what, OUTPUT_KEYS, &mut self.diags);
        let value = map.required("value", &what, span, &mut self.diags)?;
        Some(Output {
            description: self.optional_text(map, "description"),
            value: self.expr(value),
            condition: map.get("condition").map(|node| self.expr(node)),
        })
    }

    /// A value: a map with one key that is a function's name is a call of it.
    fn expr(&mut self, node: &Node) -> Expr {
        let kind = match &node.value {
            Yaml::Seq(items) => ExprKind::List(items.iter().map(|item| self.expr(item)).collect()),
            Yaml::Map(map) => {
                if let Some(call) = self.call(map) {
                    return Expr {
                        span: node.span.clone(),
                        kind: call,
                    };
                }
                ExprKind::Map(
                    map.iter()
                        .map(|(key, value)| (key.text.clone(), self.expr(value)))
                        .collect(),
                )
            }
            Yaml::Tagged(tag, _) => {
                self.diags
                    .push(node.error(format!("templates have no tag `{tag}`")));
                ExprKind::Literal(Value::Null)
            }
            _ => ExprKind::Literal(node.to_json()),
        };
        Expr {
            span: node.span.clone(),
            kind,
        }
    }

    fn call(&mut self, map: &Map) -> Option<ExprKind> {
        let (key, args) = map.iter().next().filter(|_| map.len() == 1)?;
        let Some(function) = Function::named(&key.text) else {
            if key.text.starts_with("Fn::") || key.text == "Ref" || key.text == "yaql" {
                self.diags.push(
                    key.error(format!("the function `{}` is not supported", key.text))
                        .expected(format!("one of {}", names_in(self.version).join(", "))),
                );
            }
            return None;
        };
        if !self.version.knows(function) {
            let since = VERSION_NAMES
                .iter()
                .find(|(_, v)| *v == crate::version::since(function));
            self.diags.push(
                key.error(format!(
                    "this template version has no function `{}`",
                    key.text
                ))
                .expected(format!(
                    "heat_template_version {} or later",
                    since.map_or("", |(name, _)| name)
                )),
            );
        }
        let args = self.expr(args);
        if let Err(shape) = crate::check::shape(function, &args, self.version) {
            self.diags.push(
                args.span
                    .error(format!("wrong arguments of `{}`", key.text))
                    .expected(shape),
            );
        }
        Some(ExprKind::Call(function, Box::new(args)))
    }
}

fn names_in(version: Version) -> Vec<&'static str> {
    FUNCTION_NAMES
        .iter()
        .filter(|(_, function)| version.knows(*function))
        .map(|(name, _)| *name)
        .collect()
}
