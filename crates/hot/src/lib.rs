//! HOT, the language of stack templates: read, check, give parameters, resolve functions, order resources.
//!
//! ```text
//! text ─ parse ─► Template ─ bind (parameters) ─► Bound ─ graph ─► order of resources
//!                                                   └──── resolve (with a Scope) ─► values
//! ```
//!
//! A pure library: no I/O, no services. What a resource type's properties mean, and what its attributes are,
//! is the orchestration service's matter; it gives its knowledge of a running stack as a [`Scope`].
//! Reference: "Heat Orchestration Template (HOT) specification".
mod bind;
mod check;
mod expr;
mod parameters;
mod resolve;
mod template;
mod version;

pub use bind::{BindError, Bound, Pseudo, Static, bind};
pub use expr::{Expr, ExprKind, FUNCTION_NAMES, Function};
pub use parameters::{Constraint, Parameter, ParameterType, Rule};
pub use resolve::{ResolveError, Scope, resolve, resolve_condition, resolve_value};
pub use template::{
    DeletionPolicy, Output, PSEUDO_PARAMETERS, ParameterGroup, Resource, Template, parse,
};
pub use version::{VERSION_NAMES, Version, since};

#[cfg(test)]
mod tests;
