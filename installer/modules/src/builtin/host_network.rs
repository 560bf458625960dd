//! `host_network`: the node's cards, bonds, VLANs and addresses, as units of systemd-networkd; taken back unless the
//! deployment host is reached over them.
//!
//! Before anything is changed, the old files are kept and a timer is set that puts them back without this program.
//! Only a network that was proved good takes that away again. So whoever dies in between, this program, the connection
//! or the whole node, the network that worked comes back. Not known here: what the files should say.
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use agent_protocol::task::TaskResult;
use serde::{Deserialize, Serialize};

use crate::args::Args;
use crate::attributes::Attributes;
use crate::context::{Context, Fault, With, changed};
use crate::spec::{Arg, Effect, Kind, Module};
use crate::text::networkd::{self, Change, FOLDER, Files, KEPT, OURS, UNIT};
use crate::write::{Wish, place};

pub const HOST_NETWORK: Module = Module::new(
    "host_network",
    "Set the node's cards, bonds, VLANs and addresses; take them back unless the deployment host is reached",
    Effect::Converges,
    ARGS,
    run,
);

const ARGS: &[Arg] = &[
    Arg::new(
        "files",
        Kind::Any,
        "all units of systemd-networkd that the node is to have: a list of `{path, content}`; others that begin with the \
         same line are removed",
    )
    .required(),
    Arg::new("host", Kind::Text, "address that has to be reached, by TCP").required(),
    Arg::new("port", Kind::Int, "its port").required(),
    Arg::new(
        "timeout",
        Kind::Int,
        "seconds in which it has to be reached, else the old network comes back",
    )
    .default("30"),
    Arg::new(
        "tries",
        Kind::Int,
        "how often in a row it has to be reached",
    )
    .default("3"),
    Arg::new("sleep", Kind::Int, "seconds between two tries").default("1"),
];

/// The timer's lead on this program, which puts the network back itself while it lives.
const TIMER_LATER: Duration = Duration::from_secs(60);
/// Nothing is confirmed so shortly before the timer's time.
const TIMER_NEAR: Duration = Duration::from_secs(15);
/// For one connection.
const CONNECT: Duration = Duration::from_secs(3);
/// For putting things back, whatever the task's own time.
const ROLLBACK: Duration = Duration::from_secs(45);
const FILES_MAX: usize = 1000;

/// The mark of a change that is not confirmed: how to go back.
#[derive(Debug, Serialize, Deserialize)]
struct Pending {
    before: BTreeMap<String, Option<String>>,
    /// Devices to remove, so that networkd makes them as they were.
    devices: Vec<String>,
}

fn run(context: &mut Context<'_>, args: &Args) -> Result<TaskResult, Fault> {
    let wished = wished(args)?;
    let goal = Goal::of(args)?;
    let mut notes: Vec<String> = Vec::new();
    let mut put_back = false;
    if let Some(pending) = pending(context)? {
        put_back = true;
        if !context.check {
            roll_back(context, &pending)?;
        }
        notes.push("an earlier change was never confirmed: the network before it is back".into());
    }
    let now = units(context)?;
    let change = networkd::change(&now, &wished);
    let mut result = changed(put_back || !change.is_empty());
    result.diff = context.diff_of(
        FOLDER,
        &Change::text(&change.before),
        &Change::text(&change.after),
    );
    let renamed: Vec<String> = change.renamed().into_iter().map(str::to_owned).collect();
    if !renamed.is_empty() {
        notes.push(format!(
            "cards get their names at the next start: {}",
            renamed.join(", ")
        ));
    }
    result.msg = notes.join("; ");
    let result = result.with("renamed", renamed);
    if context.check || change.is_empty() {
        return Ok(result);
    }
    // A goal that cannot be reached proves nothing, and would take back every network.
    goal.once().map_err(|why| {
        Fault::new(format!(
            "{goal} is not reached over the present network ({why}): nothing was changed"
        ))
    })?;
    let pending = Pending {
        before: change.before.clone(),
        devices: change.new_devices(),
    };
    let armed = arm(context, &change, &pending, goal.timeout + TIMER_LATER)?;
    let tried = apply(context, &change)
        .and_then(|()| goal.prove(context))
        .and_then(|()| still_there(context, &wished));
    let late = armed.elapsed() + TIMER_NEAR >= goal.timeout + TIMER_LATER;
    match tried {
        Ok(()) if !late => {
            confirm(context)?;
            Ok(result)
        }
        tried => {
            let why = tried.map_or_else(|fault| fault.to_string(), |()| "it took too long".into());
            let back = roll_back(context, &pending);
            let now = match back {
                Err(fault) => format!("putting the old network back failed, too: {fault}"),
                Ok(()) => match undisturbed(context, |context| goal.prove(context)) {
                    Ok(()) => format!("the old network is back, and {goal} is reached"),
                    Err(fault) => format!("the old network is back, but {fault}"),
                },
            };
            Err(Fault::new(format!("with the new network, {why}; {now}")))
        }
    }
}

/// The files that are to be there, by name.
fn wished(args: &Args) -> Result<Files, Fault> {
    let list = args.value("files").and_then(|value| value.as_array());
    let list = list.ok_or_else(|| Fault::new("files is no list of {path, content}"))?;
    if list.is_empty() || list.len() > FILES_MAX {
        return Err(Fault::new(format!(
            "files has {} entries, expected 1 to {FILES_MAX}",
            list.len()
        )));
    }
    let mut files = Files::new();
    let mut wrong = Vec::new();
    for (index, entry) in list.iter().enumerate() {
        let text = |key: &str| entry.get(key).and_then(|value| value.as_str());
        let (Some(path), Some(content)) = (text("path"), text("content")) else {
            wrong.push(format!("entry {index} lacks path or content"));
            continue;
        };
        let name = path.strip_prefix(FOLDER).and_then(|p| p.strip_prefix('/'));
        match name.filter(|name| networkd::is_unit_name(name)) {
            None => wrong.push(format!(
                "{path} is no .link, .netdev or .network file in {FOLDER}"
            )),
            Some(_) if content.lines().next() != Some(OURS) => {
                wrong.push(format!("{path} does not begin with the line `{OURS}`"));
            }
            Some(name) => {
                if files.insert(name.to_owned(), content.to_owned()).is_some() {
                    wrong.push(format!("{path} is there twice"));
                }
            }
        }
    }
    if wrong.is_empty() {
        Ok(files)
    } else {
        Err(Fault::new(format!("files: {}", wrong.join("; "))))
    }
}

/// The units that are there now. What is no text is not ours.
fn units(context: &Context<'_>) -> Result<Files, Fault> {
    let folder = context.path(FOLDER);
    let entries = match fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Files::new()),
        Err(error) => return Err(Fault::io(format!("list {FOLDER}"))(error)),
    };
    let mut files = Files::new();
    for entry in entries {
        let entry = entry.map_err(Fault::io(format!("list {FOLDER}")))?;
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        if networkd::is_unit_name(&name)
            && let Ok(content) = fs::read_to_string(entry.path())
        {
            files.insert(name, content);
        }
    }
    Ok(files)
}

/// What the new network is measured by.
struct Goal {
    address: SocketAddr,
    timeout: Duration,
    tries: u32,
    sleep: Duration,
}

impl std::fmt::Display for Goal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.address.fmt(f)
    }
}

impl Goal {
    fn of(args: &Args) -> Result<Self, Fault> {
        let number = |name: &str, most: i64| {
            let number = args.int(name).unwrap_or(0).clamp(0, most);
            u32::try_from(number).unwrap_or(0)
        };
        let (host, port) = (args.need("host"), args.int("port").unwrap_or(0));
        let address = host.parse().map_err(|_| {
            Fault::new(format!(
                "host is `{host}`; expected an address, for names need a network to be found"
            ))
        })?;
        let port = u16::try_from(port)
            .ok()
            .filter(|port| *port > 0)
            .ok_or_else(|| Fault::new(format!("{port} is not a port")))?;
        Ok(Self {
            address: SocketAddr::new(address, port),
            timeout: Duration::from_secs(number("timeout", 600).max(1).into()),
            tries: number("tries", 100).max(1),
            sleep: Duration::from_secs(number("sleep", 60).into()),
        })
    }

    fn once(&self) -> io::Result<()> {
        TcpStream::connect_timeout(&self.address, CONNECT.min(self.timeout)).map(drop)
    }

    /// Reached several times in a row, for networkd goes on after it has answered.
    fn prove(&self, context: &Context<'_>) -> Result<(), Fault> {
        let began = Instant::now();
        let mut reached = 0;
        let mut last = None;
        while reached < self.tries {
            context.sleep(self.sleep)?;
            match self.once() {
                Ok(()) => reached += 1,
                Err(error) => (reached, last) = (0, Some(error)),
            }
            if reached < self.tries && began.elapsed() >= self.timeout {
                let why = last.map_or_else(
                    || "it was reached, but not often enough".to_owned(),
                    |error| error.to_string(),
                );
                return Err(Fault::new(format!(
                    "{self} was not reached {} times in a row within {} s ({why})",
                    self.tries,
                    self.timeout.as_secs()
                )));
            }
        }
        Ok(())
    }
}

/// Keeps the way back and sets the timer. Gives the moment from which that counts.
fn arm(
    context: &mut Context<'_>,
    change: &Change,
    pending: &Pending,
    delay: Duration,
) -> Result<Instant, Fault> {
    let old = context.path(&format!("{KEPT}/old"));
    // Left by a change that was confirmed or taken back.
    let _ = fs::remove_dir_all(&old);
    fs::create_dir_all(&old).map_err(Fault::io(format!("make {KEPT}/old")))?;
    for (name, content) in &change.before {
        if let Some(content) = content {
            write(context, &format!("{KEPT}/old/{name}"), content)?;
        }
    }
    let units = "/etc/systemd/system";
    write(
        context,
        &format!("{units}/{UNIT}.service"),
        &networkd::rollback_service(change),
    )?;
    write(
        context,
        &format!("{units}/{UNIT}.timer"),
        &networkd::rollback_timer(delay.as_secs()),
    )?;
    let text = serde_json::to_string(pending)
        .map_err(|error| Fault::new(format!("the way back cannot be written: {error}")))?;
    write(context, &format!("{KEPT}/pending.json"), &text)?;
    let began = Instant::now();
    let timer = format!("{UNIT}.timer");
    let service = format!("{UNIT}.service");
    // `enable` lets systemd read the new units, too.
    let armed = context
        .must(&["systemctl", "enable", &service])
        .and_then(|_| context.must(&["systemctl", "daemon-reload"]))
        .and_then(|_| context.must(&["systemctl", "restart", &timer]));
    if let Err(fault) = armed {
        // Nothing was changed yet.
        let _ = undisturbed(context, confirm);
        return Err(fault);
    }
    Ok(began)
}

fn apply(context: &mut Context<'_>, change: &Change) -> Result<(), Fault> {
    put(context, &change.after)?;
    let outdated = change.outdated_devices();
    take_effect(context, &outdated)
}

/// What was proved must be what was wished, and not what somebody put back meanwhile.
fn still_there(context: &Context<'_>, wished: &Files) -> Result<(), Fault> {
    let differs = networkd::change(&units(context)?, wished);
    if pending(context)?.is_some() && differs.is_empty() {
        return Ok(());
    }
    Err(Fault::new(format!(
        "somebody else changed the files in {FOLDER} meanwhile"
    )))
}

fn put(context: &mut Context<'_>, files: &BTreeMap<String, Option<String>>) -> Result<(), Fault> {
    for (name, content) in files {
        let path = format!("{FOLDER}/{name}");
        match content {
            Some(content) => write(context, &path, content)?,
            None => match fs::remove_file(context.path(&path)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(Fault::io(format!("remove {path}"))(error));
                }
                _ => {}
            },
        }
    }
    sync(context, FOLDER)
}

/// Lets networkd read its files. It takes back by itself the addresses that it gave, but only as long as it runs; so it
/// is started anew after that, where it would leave devices as they are.
fn take_effect(context: &mut Context<'_>, outdated: &[String]) -> Result<(), Fault> {
    context.must(&["networkctl", "reload"])?;
    if outdated.is_empty() {
        return Ok(());
    }
    for device in outdated {
        // One that is not there need not go.
        let _ = context.output(&["networkctl", "delete", device])?;
    }
    let restart = ["systemctl", "restart", "systemd-networkd.service"];
    context.must(&restart).map(drop)
}

fn pending(context: &Context<'_>) -> Result<Option<Pending>, Fault> {
    let path = format!("{KEPT}/pending.json");
    match fs::read(context.path(&path)) {
        Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|error| {
            Fault::new(format!(
                "{path} is not understood ({error}): it says how to put the network of an earlier change back. Look after \
                 {FOLDER} by hand, then remove it"
            ))
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Fault::io(format!("read {path}"))(error)),
    }
}

/// Puts the old files back, however little time the task has left.
fn roll_back(context: &mut Context<'_>, pending: &Pending) -> Result<(), Fault> {
    let names = pending.before.keys();
    if !names.into_iter().all(|name| networkd::is_unit_name(name)) {
        return Err(Fault::new(format!("{KEPT}/pending.json names other files")));
    }
    undisturbed(context, |context| {
        put(context, &pending.before)?;
        take_effect(context, &pending.devices)?;
        confirm(context)
    })
}

/// Takes the way back away. The mark goes first: without it the timer does nothing.
fn confirm(context: &mut Context<'_>) -> Result<(), Fault> {
    let mark = format!("{KEPT}/pending.json");
    match fs::remove_file(context.path(&mark)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(Fault::io(format!("remove {mark}"))(error));
        }
        _ => {}
    }
    sync(context, KEPT)?;
    undisturbed(context, |context| {
        let (timer, service) = (format!("{UNIT}.timer"), format!("{UNIT}.service"));
        for argv in [
            ["systemctl", "stop", &timer],
            ["systemctl", "disable", &service],
        ] {
            // Idle units do no harm; the next change writes them anew.
            let _ = context.output(&argv);
        }
        for unit in [&timer, &service] {
            let _ = fs::remove_file(context.path(&format!("/etc/systemd/system/{unit}")));
        }
        let _ = context.output(&["systemctl", "daemon-reload"]);
        let _ = fs::remove_dir_all(context.path(KEPT));
    });
    Ok(())
}

/// Does something that must be brought to its end after a cancel and a timeout, too.
fn undisturbed<T>(context: &mut Context<'_>, work: impl FnOnce(&mut Context<'_>) -> T) -> T {
    let calm = AtomicBool::new(false);
    let mut inner = Context {
        root: context.root.clone(),
        check: context.check,
        diff: context.diff,
        environment: context.environment.clone(),
        deadline: Instant::now() + ROLLBACK,
        cancel: &calm,
        output: &mut *context.output,
    };
    work(&mut inner)
}

fn write(context: &mut Context<'_>, path: &str, content: &str) -> Result<(), Fault> {
    let folder = context.path(path);
    if let Some(folder) = folder.parent() {
        fs::create_dir_all(folder).map_err(Fault::io(format!("make the folder of {path}")))?;
    }
    place(
        context,
        Wish {
            dest: path,
            content: content.as_bytes(),
            attributes: Attributes::default().or_mode("0644"),
            validate: None,
            backup: false,
        },
    )
    .map(drop)
}

/// Makes what was removed from a folder stay removed after a power cut.
fn sync(context: &Context<'_>, folder: &str) -> Result<(), Fault> {
    match File::open(context.path(folder)) {
        Ok(open) => open.sync_all().map_err(Fault::io(format!("sync {folder}"))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Fault::io(format!("sync {folder}"))(error)),
    }
}

#[cfg(test)]
mod tests;
