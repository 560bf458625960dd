//! The binary as users meet it: exit status, stdout and stderr of whole commands.

mod check;
mod command_line;
mod node;
mod run;
