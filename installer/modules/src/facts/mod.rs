//! Facts of a node for `setup`, by Ansible's names: read from `/proc`, `/sys` and `/etc`, without Python.
//! What needs a program of its own (only `date`, and scripts of `facts.d`) is asked for once.
pub mod hardware;
pub mod local;
pub mod software;

use crate::context::Context;

/// A file's text; empty if it is not there.
fn read(context: &Context<'_>, path: &str) -> String {
    std::fs::read(context.path(path))
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .unwrap_or_default()
}

/// A file's only line.
fn line(context: &Context<'_>, path: &str) -> String {
    read(context, path).trim().to_owned()
}

/// Names in a folder, in order; none if it is not there.
fn names(context: &Context<'_>, path: &str) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(context.path(path))
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    names.sort();
    names
}
