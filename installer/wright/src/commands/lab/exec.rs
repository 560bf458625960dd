//! `wright lab exec`: a program of this host on the lab's wires. It takes this process's place.
use crate::error::CommandError;
use crate::settings::Settings;
use diagnostics::ExitStatus;
use std::os::unix::process::CommandExt;
use std::path::Path;

pub fn run(command: &[String], settings: &Settings) -> Result<ExitStatus, CommandError> {
    let (program, args) = command
        .split_first()
        .ok_or_else(|| CommandError::failed("no command was given"))?;
    let namespace = lab::namespace(&settings.env);
    if !Path::new("/run/netns").join(&namespace).exists() {
        return Err(
            CommandError::failed(format!("the lab of `{}` is not up", settings.env)).hint(format!(
                "`wright -e {env} lab up` makes it, on one machine `wright -e {env} up`",
                env = settings.env
            )),
        );
    }
    let error = lab::inside(&settings.env, program).args(args).exec();
    Err(CommandError::failed(format!(
        "cannot run `{program}`: {error}"
    )))
}
