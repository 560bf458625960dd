//! The values of a template before they are resolved: literals, lists, maps, function calls.
//! Knows the shape of each function's arguments; resolving is `resolve.rs`.
use serde_json::Value;
use yaml_source::Span;

/// A value of a template, with the place where it was written.
#[derive(Debug, Clone)]
pub struct Expr {
    pub span: Span,
    pub kind: ExprKind,
}

#[derive(Debug, Clone)]
pub enum ExprKind {
    /// A scalar.
    Literal(Value),
    List(Vec<Expr>),
    Map(Vec<(String, Expr)>),
    Call(Function, Box<Expr>),
}

/// The functions of HOT.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Function {
    GetParam,
    GetResource,
    GetAttr,
    GetFile,
    StrReplace,
    StrReplaceStrict,
    StrReplaceVstrict,
    StrSplit,
    ListJoin,
    ListConcat,
    ListConcatUnique,
    MapMerge,
    MapReplace,
    Repeat,
    Digest,
    Filter,
    MakeUrl,
    If,
    Equals,
    Not,
    And,
    Or,
    Contains,
    ResourceFacade,
}

/// Each function with the name that templates give it.
pub const FUNCTION_NAMES: &[(&str, Function)] = &[
    ("get_param", Function::GetParam),
    ("get_resource", Function::GetResource),
    ("get_attr", Function::GetAttr),
    ("get_file", Function::GetFile),
    ("str_replace", Function::StrReplace),
    ("str_replace_strict", Function::StrReplaceStrict),
    ("str_replace_vstrict", Function::StrReplaceVstrict),
    ("str_split", Function::StrSplit),
    ("list_join", Function::ListJoin),
    ("list_concat", Function::ListConcat),
    ("list_concat_unique", Function::ListConcatUnique),
    ("map_merge", Function::MapMerge),
    ("map_replace", Function::MapReplace),
    ("repeat", Function::Repeat),
    ("digest", Function::Digest),
    ("filter", Function::Filter),
    ("make_url", Function::MakeUrl),
    ("if", Function::If),
    ("equals", Function::Equals),
    ("not", Function::Not),
    ("and", Function::And),
    ("or", Function::Or),
    ("contains", Function::Contains),
    ("resource_facade", Function::ResourceFacade),
];

impl Function {
    pub fn named(name: &str) -> Option<Function> {
        FUNCTION_NAMES
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, function)| *function)
    }

    pub fn name(self) -> &'static str {
        FUNCTION_NAMES
            .iter()
            .find(|(_, function)| *function == self)
            .map_or("", |(name, _)| name)
    }
}

impl Expr {
    /// The text of a literal string.
    pub fn as_str(&self) -> Option<&str> {
        match &self.kind {
            ExprKind::Literal(Value::String(text)) => Some(text),
            _ => None,
        }
    }

    /// The entries of a list.
    pub fn as_list(&self) -> Option<&[Expr]> {
        match &self.kind {
            ExprKind::List(items) => Some(items),
            _ => None,
        }
    }

    /// The entry of a map.
    pub fn get(&self, key: &str) -> Option<&Expr> {
        match &self.kind {
            ExprKind::Map(entries) => entries
                .iter()
                .find(|(name, _)| name == key)
                .map(|(_, value)| value),
            _ => None,
        }
    }

    /// Calls `visit` for this value and every value inside it, outermost first.
    pub fn walk<'a>(&'a self, visit: &mut dyn FnMut(&'a Expr)) {
        visit(self);
        match &self.kind {
            ExprKind::Literal(_) => {}
            ExprKind::List(items) => items.iter().for_each(|item| item.walk(visit)),
            ExprKind::Map(entries) => entries.iter().for_each(|(_, value)| value.walk(visit)),
            ExprKind::Call(_, args) => args.walk(visit),
        }
    }

    /// For `get_resource` and `get_attr`: the resource that the call names.
    pub fn referenced_resource(&self) -> Option<&str> {
        match &self.kind {
            ExprKind::Call(Function::GetResource, args) => args.as_str(),
            ExprKind::Call(Function::GetAttr, args) => args.as_list()?.first()?.as_str(),
            _ => None,
        }
    }
}
