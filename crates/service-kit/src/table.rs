//! A service's route table without its handlers: for whatever tells or checks what a service can do.

use crate::{fault::FaultStyle, policy::Rule, version::Microversions};
use http::Method;
use serde_json::Value;

/// One row.
#[derive(Debug, Clone)]
pub struct Row {
    /// HTTP method.
    pub method: Method,
    /// Path in axum's notation: `/v2.0/networks/{id}`.
    pub path: &'static str,
    /// Name of the operation. Several rows may have one.
    pub operation: &'static str,
    /// Who may call it, unless an operator's policy says otherwise.
    pub rule: Rule,
    /// JSON schema of the request's body, where there is one.
    pub body: Option<Value>,
    /// The body is data of any length, not JSON.
    pub streaming: bool,
}

impl Row {
    /// Whether only parts of this cloud call it: no policy can change who.
    pub fn is_internal(&self) -> bool {
        self.path.split('/').any(|part| part == "internal")
    }
}

/// All rows of a service.
#[derive(Debug, Clone)]
pub struct Table {
    /// `network`
    pub service: &'static str,
    /// How its faults look.
    pub style: FaultStyle,
    /// If it has any.
    pub microversions: Option<Microversions>,
    /// In the order of the code.
    pub rows: Vec<Row>,
}

impl Table {
    /// The rows of an operation.
    pub fn operation<'a>(&'a self, operation: &'a str) -> impl Iterator<Item = &'a Row> {
        self.rows
            .iter()
            .filter(move |row| row.operation == operation)
    }
}
