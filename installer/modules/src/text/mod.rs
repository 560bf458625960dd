//! Edits of text, as functions from text to text: no files, no context.
pub mod block;
pub mod crontab;
pub mod dpkg;
pub mod git;
pub mod glob;
pub mod ini;
pub mod lines;
pub mod lvm;
pub mod openpgp;
pub mod sources;
pub mod ssh;
pub mod time;
