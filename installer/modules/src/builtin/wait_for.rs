//! `wait_for`: until a port answers, a file is there, or a pattern appears.
use std::io::Read;
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use agent_protocol::task::TaskResult;
use regex::Regex;

use crate::args::Args;
use crate::context::{Context, Fault, With, changed};
use crate::spec::{Arg, Effect, Kind, Module};
use crate::text::lines::pattern;

pub const WAIT_FOR: Module = Module::new(
    "wait_for",
    "Wait for a port, a file or a time",
    Effect::Reads,
    ARGS,
    run,
)
.exclusive(&[&["port", "path"]]);

const ARGS: &[Arg] = &[
    Arg::new("host", Kind::Text, "address to connect to").default("127.0.0.1"),
    Arg::new("port", Kind::Int, "TCP port"),
    Arg::new("path", Kind::Path, "file to wait for"),
    Arg::new("state", Kind::Text, "what is waited for")
        .choices(&["started", "present", "stopped", "absent", "drained"])
        .default("started"),
    Arg::new(
        "search_regex",
        Kind::Text,
        "pattern that the file, or what the port sends, must hold",
    ),
    Arg::new("timeout", Kind::Int, "seconds").default("300"),
    Arg::new("delay", Kind::Int, "seconds before the first try").default("0"),
    Arg::new("sleep", Kind::Int, "seconds between tries").default("1"),
    Arg::new("connect_timeout", Kind::Int, "seconds for one connection").default("5"),
    Arg::new("msg", Kind::Text, "what to say when the time is over"),
    Arg::new(
        "exclude_hosts",
        Kind::List,
        "drained: addresses whose connections do not count",
    ),
    Arg::new(
        "active_connection_states",
        Kind::List,
        "drained: states of connections that count",
    )
    .default("ESTABLISHED,FIN_WAIT1,FIN_WAIT2,SYN_RECV,SYN_SENT,TIME_WAIT"),
];

/// The first tries come faster than the user's `sleep`: what is there soon is not waited for long.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const BANNER_BYTES_MAX: u64 = 64 << 10;

fn run(context: &mut Context<'_>, args: &Args) -> Result<TaskResult, Fault> {
    let seconds =
        |name: &str| Duration::from_secs(args.int(name).unwrap_or(0).clamp(0, 86_400) as u64);
    let started = Instant::now();
    let search = args
        .text("search_regex")
        .map(pattern)
        .transpose()
        .map_err(Fault::new)?;
    let wanted = matches!(args.need("state"), "started" | "present");
    if context.check {
        return Ok(TaskResult {
            skipped: true,
            msg: "nothing is waited for in check mode".into(),
            ..changed(false)
        });
    }
    context.sleep(seconds("delay"))?;
    let mut pause = FIRST_PAUSE;
    loop {
        let mut found = Matches::default();
        let there = match (args.int("port"), args.text("path")) {
            (Some(port), _) if args.need("state") == "drained" => {
                connections(context, args, port)? > 0
            }
            (Some(port), _) => answers(
                args.need("host"),
                port,
                seconds("connect_timeout").max(Duration::from_secs(1)),
                search.as_ref(),
                &mut found,
            )?,
            (None, Some(path)) => holds(context, path, search.as_ref(), &mut found),
            // Neither: a pause of `timeout` seconds, as in Ansible.
            (None, None) => started.elapsed() >= seconds("timeout"),
        };
        if there == wanted {
            let result = changed(false)
                .with("elapsed", started.elapsed().as_secs())
                .with("state", args.need("state"))
                .with("search_regex", args.text("search_regex"))
                .with("match_groups", found.groups)
                .with("match_groupdict", found.named)
                .with("path", args.text("path"));
            return Ok(match args.int("port") {
                Some(port) => result.with("port", port),
                None => result,
            });
        }
        if started.elapsed() >= seconds("timeout")
            && (args.int("port").is_some() || args.text("path").is_some())
        {
            let what = match (args.int("port"), args.text("path")) {
                (Some(port), _) => format!("{}:{port}", args.need("host")),
                (_, path) => path.unwrap_or_default().to_owned(),
            };
            let verb = if wanted {
                "waiting for"
            } else {
                "waiting for the end of"
            };
            let msg = args
                .text("msg")
                .map_or_else(|| format!("Timeout when {verb} {what}"), str::to_owned);
            return Err(Fault::WithData {
                msg,
                data: [("elapsed".to_owned(), started.elapsed().as_secs().into())]
                    .into_iter()
                    .collect(),
            });
        }
        context.sleep(pause)?;
        pause = (pause * 2).min(seconds("sleep").max(FIRST_PAUSE));
    }
}

fn answers(
    host: &str,
    port: i64,
    patience: Duration,
    search: Option<&Regex>,
    found: &mut Matches,
) -> Result<bool, Fault> {
    let port = u16::try_from(port).map_err(|_| Fault::new(format!("{port} is not a port")))?;
    // A name that does not resolve yet may do so later.
    let Ok(addresses) = (host, port).to_socket_addrs() else {
        return Ok(false);
    };
    for address in addresses {
        let Ok(stream) = TcpStream::connect_timeout(&address, patience) else {
            continue;
        };
        let Some(search) = search else {
            return Ok(true);
        };
        let _ = stream.set_read_timeout(Some(patience));
        let mut said = Vec::new();
        let _ = stream.take(BANNER_BYTES_MAX).read_to_end(&mut said);
        if found.take(search, &String::from_utf8_lossy(&said)) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// What the groups of the pattern matched.
#[derive(Default)]
struct Matches {
    groups: Vec<String>,
    named: serde_json::Map<String, serde_json::Value>,
}

impl Matches {
    /// Whether the pattern matches; then its groups are kept.
    fn take(&mut self, pattern: &Regex, text: &str) -> bool {
        let Some(captures) = pattern.captures(text) else {
            return false;
        };
        let text =
            |group: Option<regex::Match<'_>>| group.map_or("", |group| group.as_str()).to_owned();
        self.groups = captures.iter().skip(1).map(text).collect();
        for name in pattern.capture_names().flatten() {
            self.named
                .insert(name.to_owned(), text(captures.name(name)).into());
        }
        true
    }
}

/// How many connections to the port there are, in the states that count.
fn connections(context: &Context<'_>, args: &Args, port: i64) -> Result<usize, Fault> {
    // The kernel's numbers of the states.
    const STATES: [&str; 11] = [
        "ESTABLISHED",
        "SYN_SENT",
        "SYN_RECV",
        "FIN_WAIT1",
        "FIN_WAIT2",
        "TIME_WAIT",
        "CLOSE",
        "CLOSE_WAIT",
        "LAST_ACK",
        "LISTEN",
        "CLOSING",
    ];
    let mut counted = Vec::new();
    for state in args.list("active_connection_states").unwrap_or_default() {
        let number = STATES.iter().position(|known| *known == state);
        let number = number
            .ok_or_else(|| Fault::new(format!("unknown active_connection_state ({state})")))?;
        counted.push(number as u64 + 1);
    }
    let excluded = args.list("exclude_hosts").unwrap_or_default();
    let mut count = 0;
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        let text = std::fs::read_to_string(context.path(table)).unwrap_or_default();
        for line in text.lines().skip(1) {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let [_, local, remote, state, ..] = fields.as_slice() else {
                continue;
            };
            let number = |text: &str| u64::from_str_radix(text, 16).ok();
            let own_port = local.rsplit(':').next().and_then(number);
            let other = remote.split(':').next().and_then(address);
            let spared = other.is_some_and(|other| excluded.contains(&other.as_str()));
            let counts = number(state).is_some_and(|state| counted.contains(&state));
            if own_port == u64::try_from(port).ok() && counts && !spared {
                count += 1;
            }
        }
    }
    Ok(count)
}

/// An address as the kernel prints it: words in the machine's byte order.
fn address(text: &str) -> Option<String> {
    let word = |at: usize| -> Option<[u8; 4]> {
        let digits = text.get(at..at + 8)?;
        Some(u32::from_str_radix(digits, 16).ok()?.to_ne_bytes())
    };
    if text.len() == 8 {
        return Some(std::net::Ipv4Addr::from(word(0)?).to_string());
    }
    let mut bytes = [0; 16];
    for part in 0..4 {
        bytes[part * 4..part * 4 + 4].copy_from_slice(&word(part * 8)?);
    }
    let six = std::net::Ipv6Addr::from(bytes);
    Some(
        six.to_ipv4_mapped()
            .map_or_else(|| six.to_string(), |four| four.to_string()),
    )
}

fn holds(context: &Context<'_>, path: &str, search: Option<&Regex>, found: &mut Matches) -> bool {
    let path = context.path(path);
    match search {
        None => path.exists(),
        Some(search) => std::fs::read(path)
            .is_ok_and(|bytes| found.take(search, &String::from_utf8_lossy(&bytes))),
    }
}

#[cfg(test)]
mod tests {
    use crate::builtin::testing::Bench;
    use serde_json::json;

    #[test]
    fn ports_and_files_are_waited_for() {
        let bench = Bench::new();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        assert!(
            !bench
                .run("wait_for", json!({"port": port, "timeout": 60}))
                .failed
        );
        drop(listener);
        assert!(
            !bench
                .run(
                    "wait_for",
                    json!({"port": port, "state": "stopped", "timeout": 60})
                )
                .failed
        );
        let late = bench.run("wait_for", json!({"port": port, "timeout": 0}));
        assert_eq!(
            (late.failed, late.msg),
            (true, format!("Timeout when waiting for 127.0.0.1:{port}"))
        );
        bench.write("/log", "one\nready to serve\n");
        assert!(
            !bench
                .run(
                    "wait_for",
                    json!({"path": "/log", "search_regex": "^ready"})
                )
                .failed
        );
        assert!(
            bench
                .run(
                    "wait_for",
                    json!({"path": "/log", "search_regex": "^serve", "timeout": 0, "msg": "no"})
                )
                .msg
                == "no"
        );
        assert!(
            !bench
                .run("wait_for", json!({"path": "/gone", "state": "absent"}))
                .failed
        );
        let groups = bench.run(
            "wait_for",
            json!({"path": "/log", "search_regex": "^(\\w+) to (?P<verb>\\w+)"}),
        );
        assert_eq!(groups.data["match_groups"], json!(["ready", "serve"]));
        assert_eq!(groups.data["match_groupdict"], json!({"verb": "serve"}));
        let table = "  sl  local_address rem_address   st\n   0: 0100007F:1F90 0A00000A:C001 01 0\n   1: 0100007F:1F90 00000000:0000 0A 0\n";
        bench.write("/proc/net/tcp", table);
        let drained = |more: serde_json::Value| {
            let mut args = json!({"port": 8080, "state": "drained", "timeout": 0});
            args.as_object_mut()
                .unwrap()
                .extend(more.as_object().unwrap().clone());
            bench.run("wait_for", args).failed
        };
        assert!(drained(json!({})));
        assert!(!drained(json!({"exclude_hosts": "10.0.0.10"})));
        assert!(!drained(json!({"port": 8081})));
        assert!(drained(
            json!({"port": 8081, "active_connection_states": "OPEN"})
        ));
    }
}
