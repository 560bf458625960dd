//! The binary as users meet it: exit status, stdout and stderr of whole commands.

#![allow(clippy::unwrap_used, clippy::panic)]

mod bad_input;
mod check;
mod command_line;
mod machines;
mod node;
mod policy;
mod run;
mod verify_network;
