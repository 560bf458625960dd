//! Variables: layers in Ansible's order of precedence, and what one task of one node sees of them.
//!
//! ```text
//! role defaults < inventory < facts < play vars < role vars < block vars < task vars
//!               < set_fact, register < role and include parameters < extra vars < loop variable < special variables
//! ```
//!
//! A variable whose value holds `{{ }}` is rendered when it is asked for, by the same engine, with the variables of
//! the task that asks. This file knows neither tasks nor nodes, only names and values.
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use indexmap::IndexMap;
use minijinja::value::{Enumerator, Object, ObjectExt, Serde};
use minijinja::{Error, ErrorKind, Value};
use serde_json::{Map, Value as Json};

use crate::template::{TemplateError, Templates, has_template};

/// One variable's value as it was written.
#[derive(Debug)]
enum Var {
    /// Holds no template: turned into a template value once, when first asked for.
    Plain(Json, OnceLock<Value>),
    Templated(Json),
    /// Ready made, for example `hostvars`.
    Ready(Value),
}

impl Var {
    fn of(value: Json) -> Self {
        match templated(&value) {
            true => Var::Templated(value),
            false => Var::Plain(value, OnceLock::new()),
        }
    }
}

/// Variables from one source. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Layer {
    vars: Arc<IndexMap<String, Var>>,
    over: Option<Arc<Layer>>,
}

impl Layer {
    pub fn new(vars: &Map<String, Json>) -> Self {
        Layer::from_pairs(
            vars.iter()
                .map(|(name, value)| (name.clone(), value.clone())),
        )
    }

    pub fn from_pairs(pairs: impl IntoIterator<Item = (String, Json)>) -> Self {
        let vars = pairs
            .into_iter()
            .map(|(name, value)| (name, Var::of(value)));
        Layer {
            vars: Arc::new(vars.collect()),
            over: None,
        }
    }

    /// Values that come from outside (results, facts): `{{` in them is text, never a template.
    pub fn literal(pairs: impl IntoIterator<Item = (String, Json)>) -> Self {
        let vars = pairs
            .into_iter()
            .map(|(name, value)| (name, Var::Plain(value, OnceLock::new())));
        Layer {
            vars: Arc::new(vars.collect()),
            over: None,
        }
    }

    pub fn ready(pairs: impl IntoIterator<Item = (&'static str, Value)>) -> Self {
        let vars = pairs
            .into_iter()
            .map(|(name, value)| (name.to_owned(), Var::Ready(value)));
        Layer {
            vars: Arc::new(vars.collect()),
            over: None,
        }
    }

    /// This layer with another one below it.
    #[must_use]
    pub fn over(self, under: Layer) -> Self {
        Layer {
            over: Some(Arc::new(under)),
            ..self
        }
    }

    fn get(&self, name: &str) -> Option<&Var> {
        self.vars
            .get(name)
            .or_else(|| self.over.as_ref().and_then(|under| under.get(name)))
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self
            .over
            .as_ref()
            .map(|under| under.names())
            .unwrap_or_default();
        names.extend(self.vars.keys().cloned());
        names
    }

    fn is_empty(&self) -> bool {
        self.vars.is_empty() && self.over.is_none()
    }
}

/// Variables that many nodes have alike, kept once for all of them. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct SharedVars {
    vars: Arc<Map<String, Json>>,
    layer: Layer,
}

impl SharedVars {
    pub fn new(vars: Map<String, Json>) -> Self {
        SharedVars {
            layer: Layer::new(&vars),
            vars: Arc::new(vars),
        }
    }

    /// A variable as it was written.
    pub fn get(&self, name: &str) -> Option<&Json> {
        self.vars.get(name)
    }

    /// A node's own variables, with these where it has none. What is a map in both has the entries of both, the node's first.
    pub fn below(&self, own: &Map<String, Json>) -> Layer {
        let vars = own.iter().map(|(name, value)| {
            let shared = self.vars.get(name).and_then(Json::as_object);
            let var = match (value, shared, self.layer.get(name)) {
                (Json::Object(own), Some(_), Some(Var::Plain(shared, made)))
                    if !templated(value) =>
                {
                    Var::Ready(Value::from_object(Joined {
                        own: Value::from(Serde(own)),
                        shared: made.get_or_init(|| Value::from(Serde(shared))).clone(),
                    }))
                }
                // Templates see the whole.
                (Json::Object(own), Some(shared), _) => {
                    let mut both = shared.clone();
                    both.extend(own.clone());
                    Var::Templated(Json::Object(both))
                }
                _ => Var::of(value.clone()),
            };
            (name.clone(), var)
        });
        let own = Layer {
            vars: Arc::new(vars.collect()),
            over: None,
        };
        own.over(self.layer.clone())
    }
}

/// Two maps as one; what both have, the first one's.
#[derive(Debug)]
struct Joined {
    own: Value,
    shared: Value,
}

impl Object for Joined {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let maps = [&self.own, &self.shared].into_iter();
        let mut values = maps.filter_map(|map| map.get_item(key).ok());
        values.find(|value| !value.is_undefined())
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        let keys = |map: &Value| map.try_iter().into_iter().flatten().collect::<Vec<_>>();
        let mut all = keys(&self.own);
        let others = keys(&self.shared).into_iter();
        all.extend(others.filter(|key| self.own.get_item(key).is_ok_and(|own| own.is_undefined())));
        Enumerator::Values(all)
    }
}

/// Variables that grow while a node is worked on: facts, or registered results. Later entries win.
#[derive(Debug, Default)]
pub struct Growing {
    layers: Vec<Layer>,
    /// Names whose value is not known before a task has run, with that task.
    unknown: HashMap<String, String>,
}

impl Growing {
    pub fn set(&mut self, pairs: impl IntoIterator<Item = (String, Json)>) {
        let pairs: Vec<_> = pairs.into_iter().collect();
        for (name, _) in &pairs {
            self.unknown.remove(name);
        }
        self.layers.push(Layer::literal(pairs));
        // A look-up walks the layers: keep their number small by folding all into one now and then.
        if self.layers.len() > 16 {
            let mut all = IndexMap::new();
            for layer in self.layers.drain(..) {
                for (name, var) in layer.vars.iter() {
                    if let Var::Plain(value, _) = var {
                        all.insert(name.clone(), value.clone());
                    }
                }
            }
            self.layers.push(Layer::literal(all));
        }
    }

    pub fn set_unknown(&mut self, name: &str, task: &str) {
        self.unknown.insert(name.to_owned(), task.to_owned());
    }

    /// The layers as they are now, lowest first, and the unknown names.
    pub fn now(&self) -> (Vec<Layer>, HashMap<String, String>) {
        (self.layers.clone(), self.unknown.clone())
    }
}

/// Everything that one evaluation can see.
pub struct Scope {
    templates: Arc<Templates>,
    /// Lowest precedence first.
    layers: Vec<Layer>,
    unknown: HashMap<String, String>,
    me: OnceLock<Value>,
}

impl Scope {
    pub fn new(
        templates: Arc<Templates>,
        layers: Vec<Layer>,
        unknown: HashMap<String, String>,
    ) -> Arc<Self> {
        let layers = layers
            .into_iter()
            .filter(|layer| !layer.is_empty())
            .collect();
        Arc::new(Scope {
            templates,
            layers,
            unknown,
            me: OnceLock::new(),
        })
    }

    /// The same with one layer more on top.
    pub fn with(&self, layer: Layer) -> Arc<Self> {
        let mut layers = self.layers.clone();
        layers.push(layer);
        Scope::new(self.templates.clone(), layers, self.unknown.clone())
    }

    /// The value of a variable with all templates in it rendered.
    pub fn get(self: &Arc<Self>, name: &str) -> Option<Result<Json, TemplateError>> {
        match self.find(name)? {
            Var::Plain(value, _) => Some(Ok(value.clone())),
            Var::Templated(raw) => Some(self.templates.value(raw, self)),
            Var::Ready(value) => {
                Some(
                    serde_json::to_value(value).map_err(|error| TemplateError::Failed {
                        message: error.to_string(),
                        place: format!("variable `{name}`"),
                    }),
                )
            }
        }
    }

    /// This scope as the root of a template's variables.
    pub(crate) fn as_value(self: &Arc<Self>) -> Value {
        Value::from_object(Root(self.clone()))
    }

    pub(crate) fn forget_unknown(&self) {
        if depth() == 0 {
            TOUCHED.set(None);
        }
    }

    /// The task that an unknown variable waits for, when the last evaluation asked for one.
    pub(crate) fn unknown_touched(&self) -> Option<String> {
        TOUCHED.with_borrow(Clone::clone)
    }

    /// Whether the name stands for anything.
    pub fn knows(&self, name: &str) -> bool {
        self.find(name).is_some() || self.unknown.contains_key(name)
    }

    fn find(&self, name: &str) -> Option<&Var> {
        self.layers.iter().rev().find_map(|layer| layer.get(name))
    }

    fn lookup(self: &Arc<Self>, name: &str) -> Option<Value> {
        if let Some(task) = self.unknown.get(name) {
            TOUCHED.set(Some(task.clone()));
            return Some(
                Error::new(
                    ErrorKind::InvalidOperation,
                    format!("`{name}` is not known yet"),
                )
                .into(),
            );
        }
        match self.find(name)? {
            Var::Plain(json, value) => Some(value.get_or_init(|| Value::from(Serde(json))).clone()),
            Var::Ready(value) => Some(value.clone()),
            Var::Templated(raw) => Some(self.resolve(name, raw)),
        }
    }

    fn resolve(self: &Arc<Self>, name: &str, raw: &Json) -> Value {
        let _frame = match Frame::enter(name) {
            Ok(frame) => frame,
            Err(error) => return error.into(),
        };
        match self.templates.value(raw, self) {
            Ok(value) => Value::from(Serde(value)),
            Err(TemplateError::Undefined { what, place }) => {
                let cause = Error::new(
                    ErrorKind::UndefinedError,
                    format!("{what} in variable `{name}` ({place})"),
                );
                cause.into()
            }
            Err(error) => Error::new(
                ErrorKind::InvalidOperation,
                format!("variable `{name}`: {error}"),
            )
            .into(),
        }
    }
}

fn templated(value: &Json) -> bool {
    match value {
        Json::String(text) => has_template(text),
        Json::Array(items) => items.iter().any(templated),
        Json::Object(map) => map
            .iter()
            .any(|(key, value)| has_template(key) || templated(value)),
        _ => false,
    }
}

thread_local! {
    /// Names of the variables that are being rendered on this thread, outermost first.
    static RENDERING: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
    /// The task that an unknown variable waits for, once the evaluation on this thread has come across one, in
    /// whichever scope: `hostvars` leads into those of other nodes.
    static TOUCHED: RefCell<Option<String>> = const { RefCell::new(None) };
}

fn depth() -> usize {
    RENDERING.with_borrow(Vec::len)
}

/// Deep enough for real roles, shallow enough for the stack.
const DEPTH_MAX: usize = 24;

struct Frame;

impl Frame {
    fn enter(name: &str) -> Result<Self, Error> {
        RENDERING.with_borrow_mut(|stack| {
            // The same name can be on the way twice for two nodes (`hostvars`), but hardly four times.
            if stack.iter().filter(|other| *other == name).count() >= 4 || stack.len() >= DEPTH_MAX
            {
                let mut path: Vec<&str> = stack
                    .iter()
                    .map(String::as_str)
                    .skip_while(|other| *other != name)
                    .collect();
                path.dedup();
                path.truncate(4);
                path.push(name);
                let message = format!("variables refer to each other: {}", path.join(" → "));
                return Err(Error::new(ErrorKind::InvalidOperation, message));
            }
            stack.push(name.to_owned());
            Ok(Frame)
        })
    }
}

impl Drop for Frame {
    fn drop(&mut self) {
        RENDERING.with_borrow_mut(|stack| {
            stack.pop();
        });
    }
}

impl std::fmt::Debug for Scope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Values can be secrets.
        write!(f, "Scope({} layers)", self.layers.len())
    }
}

/// The root object that templates look variables up in.
#[derive(Debug)]
struct Root(Arc<Scope>);

impl Object for Root {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.get_value_by_str(key.as_str()?)
    }

    fn get_value_by_str(self: &Arc<Self>, key: &str) -> Option<Value> {
        if key == "vars" && self.0.find(key).is_none() {
            return Some(
                self.0
                    .me
                    .get_or_init(|| Value::from_dyn_object(self.clone()))
                    .clone(),
            );
        }
        self.0.lookup(key)
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        self.mapped_enumerator(|root| {
            let mut names: Vec<String> = root.0.layers.iter().flat_map(Layer::names).collect();
            names.sort();
            names.dedup();
            Box::new(names.into_iter().map(Value::from))
        })
    }
}

/// `hostvars`: the variables of every node by its name, looked up when they are asked for.
pub struct HostVars<F> {
    pub names: Vec<String>,
    pub scope: F,
}

impl<F> std::fmt::Debug for HostVars<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "hostvars of {} nodes", self.names.len())
    }
}

impl<F: Fn(&str) -> Option<Arc<Scope>> + Send + Sync + 'static> Object for HostVars<F> {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        (self.scope)(key.as_str()?).map(|scope| scope.as_value())
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        self.mapped_enumerator(|all| Box::new(all.names.iter().map(Value::from)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn layer(json: Json) -> Layer {
        Layer::new(json.as_object().unwrap())
    }

    fn scope(layers: Vec<Layer>) -> Arc<Scope> {
        Scope::new(Arc::new(Templates::default()), layers, HashMap::new())
    }

    #[test]
    fn the_higher_layer_wins_and_variables_refer_to_variables() {
        let scope = scope(vec![
            layer(json!({"port": 80, "url": "http://{{ host }}:{{ port }}/", "host": "a"})),
            layer(json!({"port": 8080})),
        ]);
        assert_eq!(scope.get("url").unwrap().unwrap(), json!("http://a:8080/"));
        let inner = scope.with(layer(json!({"host": "b"})));
        assert_eq!(inner.get("url").unwrap().unwrap(), json!("http://b:8080/"));
    }

    #[test]
    fn what_nodes_share_is_seen_as_their_own() {
        let Json::Object(shared) = json!({
            "cloud": {"nodes": {"a": 1, "b": 2}, "name": "c", "rank": 0}, "port": 80, "site": {"url": "http://{{ host }}/"},
        }) else {
            unreachable!()
        };
        let Json::Object(own) = json!({"cloud": {"rank": 7, "tls": {"key": "k"}}, "host": "h", "site": {"dns": "{{ host }}.net"}})
        else {
            unreachable!()
        };
        let scope = scope(vec![SharedVars::new(shared).below(&own)]);
        let templates = Templates::default();
        for (text, expected) in [
            (
                "{{ cloud.rank }} {{ cloud.nodes.b }} {{ cloud['name'] }} {{ cloud.tls.key }} {{ port }}",
                "7 2 c k 80",
            ),
            (
                "{{ cloud.other is defined }} {{ cloud.keys() | sort | join(' ') }}",
                "False name nodes rank tls",
            ),
            (
                "{{ cloud | length }} {% for name, rank in cloud.nodes.items() %}{{ name }}{{ rank }}{% endfor %}",
                "4 a1b2",
            ),
            ("{{ site.url }} {{ site.dns }}", "http://h/ h.net"),
        ] {
            let rendered = templates.value(&json!(text), &scope).unwrap();
            assert_eq!(rendered, json!(expected));
        }
        assert_eq!(
            scope.get("cloud").unwrap().unwrap(),
            json!({"rank": 7, "tls": {"key": "k"}, "nodes": {"a": 1, "b": 2}, "name": "c"})
        );
    }

    #[test]
    fn variables_that_refer_to_each_other_are_named() {
        let scope = scope(vec![layer(json!({"a": "{{ b }}", "b": "{{ a }}"}))]);
        let error = scope.get("a").unwrap().unwrap_err().to_string();
        assert!(
            error.contains("variables refer to each other: b → a → b"),
            "{error}"
        );
    }

    #[test]
    fn what_a_node_says_is_text_and_never_a_template() {
        let mut results = Growing::default();
        results.set([("result".to_owned(), json!({"stdout": "{{ secret }}"}))]);
        let (mut layers, unknown) = results.now();
        layers.push(layer(
            json!({"secret": "x", "shown": "{{ result.stdout }}"}),
        ));
        let scope = Scope::new(Arc::new(Templates::default()), layers, unknown);
        assert_eq!(scope.get("shown").unwrap().unwrap(), json!("{{ secret }}"));
    }

    #[test]
    fn what_is_unknown_names_the_task_it_waits_for() {
        let mut results = Growing::default();
        results.set_unknown("result", "Read the version");
        let (layers, unknown) = results.now();
        let templates = Arc::new(Templates::default());
        let scope = Scope::new(templates.clone(), layers, unknown);
        for source in [
            "result.stdout == '1'",
            "result is defined",
            "(result | default('x')) == 'x'",
        ] {
            let error = templates.condition(source, &scope).unwrap_err();
            assert_eq!(
                error,
                TemplateError::Unknown {
                    task: "Read the version".to_owned()
                },
                "{source}"
            );
        }
        assert!(templates.condition("1 == 1", &scope).unwrap());
    }
}
