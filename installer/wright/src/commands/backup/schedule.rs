//! `wright backup schedule`: a timer of systemd on the deployment host. It survives restarts, catches up what was missed
//! while the host was off, and its failures are units that failed, which every monitoring sees.
use crate::args::backup::ScheduleArgs;
use crate::error::CommandError;
use crate::printer::Printer;
use crate::settings::Settings;
use anyhow::Context;
use diagnostics::ExitStatus;
use serde::Serialize;
use std::fmt::{self, Display, Formatter};
use std::path::{Path, PathBuf};
use std::process::Command;

const UNITS: &str = "/etc/systemd/system";

pub fn run(
    args: &ScheduleArgs,
    settings: &Settings,
    printer: &Printer,
) -> Result<ExitStatus, CommandError> {
    let name = format!("wright-backup-{}", settings.env);
    let file = |kind: &str| Path::new(UNITS).join(format!("{name}.{kind}"));
    if args.off {
        // One that is not there is off already.
        let _ = systemctl(&["disable", "--now", &format!("{name}.timer")]);
        for kind in ["timer", "service"] {
            match std::fs::remove_file(file(kind)) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(CommandError::failed(format!(
                        "{}: {error}",
                        file(kind).display()
                    )));
                }
                _ => {}
            }
        }
        systemctl(&["daemon-reload"])?;
        printer.say("no more backups are made by themselves");
        return Ok(ExitStatus::Done);
    }
    let absolute = |path: &Path| -> Result<PathBuf, CommandError> {
        Ok(std::path::absolute(path).context("this folder has no path")?)
    };
    let program = std::env::current_exe().context("this program has no path")?;
    let units = Units {
        service: service(
            args,
            settings,
            &program,
            &absolute(&settings.inventory_dir)?,
            &absolute(&settings.state_dir)?,
        )?,
        timer: timer(args, settings),
    };
    if args.print {
        printer.data(&units)?;
        return Ok(ExitStatus::Done);
    }
    for (kind, text) in [("service", &units.service), ("timer", &units.timer)] {
        state::folder::replace_file(&file(kind), text.as_bytes()).map_err(|error| {
            CommandError::failed(format!("{}: {error}", file(kind).display()))
                .hint("this needs root's rights and systemd; `--print` only shows the units")
        })?;
    }
    systemctl(&["daemon-reload"])?;
    systemctl(&["enable", "--now", &format!("{name}.timer")])?;
    printer.say(&format!(
        "a backup is made at `{}`, and {} stay; `systemctl list-timers {name}.timer` shows when, `journalctl -u {name}` how it went",
        args.at, args.keep
    ));
    Ok(ExitStatus::Done)
}

#[derive(Serialize)]
struct Units {
    service: String,
    timer: String,
}

impl Display for Units {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n{}", self.service, self.timer)
    }
}

fn service(
    args: &ScheduleArgs,
    settings: &Settings,
    program: &Path,
    inventory: &Path,
    state: &Path,
) -> Result<String, CommandError> {
    let images = if args.images { " --images" } else { "" };
    Ok(format!(
        "# Written by wright\n[Unit]\nDescription=Stackwright backup of {env}\nWants=network-online.target\nAfter=network-online.target\n\n\
         [Service]\nType=oneshot\nNice=10\nUMask=0077\n\
         ExecStart={} --env {env} --inventory {} --state-dir {} backup create --verify --keep {}{images}\n",
        word(program)?,
        word(inventory)?,
        word(state)?,
        args.keep,
        env = settings.env
    ))
}

fn timer(args: &ScheduleArgs, settings: &Settings) -> String {
    // A line break in it would be a setting of its own.
    let at = args.at.replace(['\n', '\r'], " ");
    format!(
        "# Written by wright\n[Unit]\nDescription=Stackwright backups of {}\n\n\
         [Timer]\nOnCalendar={at}\nPersistent=true\nRandomizedDelaySec=300\n\n[Install]\nWantedBy=timers.target\n",
        settings.env
    )
}

/// A path as one word of `ExecStart=` (man systemd.service, "Command lines").
fn word(path: &Path) -> Result<String, CommandError> {
    let text = path
        .to_str()
        .filter(|text| !text.chars().any(char::is_control));
    let text = text.ok_or_else(|| {
        CommandError::failed(format!("`{}` cannot stand in a unit", path.display()))
    })?;
    let escaped = text
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('%', "%%")
        .replace('$', "$$");
    Ok(format!("\"{escaped}\""))
}

fn systemctl(args: &[&str]) -> Result<(), CommandError> {
    let output = Command::new("systemctl").args(args).output();
    let output =
        output.map_err(|error| CommandError::failed(format!("cannot run `systemctl`: {error}")))?;
    if output.status.success() {
        return Ok(());
    }
    Err(CommandError::failed(format!(
        "`systemctl {}`: {}",
        args.join(" "),
        String::from_utf8_lossy(&output.stderr).trim()
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::printer::Output;

    #[test]
    fn the_units() {
        let settings = Settings {
            env: "lab".into(),
            inventory_dir: "inventories/lab".into(),
            state_dir: "/var/lib/wright/lab".into(),
            state_dir_given: false,
            cache_dir: "/var/cache/wright".into(),
            output: Output::Text,
            yes: false,
        };
        let args = ScheduleArgs {
            at: "daily".into(),
            keep: 7,
            images: true,
            print: true,
            off: false,
        };
        let service = service(
            &args,
            &settings,
            Path::new("/usr/local/bin/wright"),
            Path::new("/srv/my \"clouds\" 5%"),
            Path::new("/var/lib/wright/lab"),
        )
        .unwrap();
        insta::assert_snapshot!(Units {
            service,
            timer: timer(&args, &settings)
        });
    }
}
