//! wip
pub mod parse;
pub mod template;
pub mod vars;
