//! Edits of text, as functions from text to text: no files, no context.
pub mod block;
pub mod glob;
pub mod ini;
pub mod lines;
