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
        .choices(&["started", "present", "stopped", "absent"])
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
        let there = match (args.int("port"), args.text("path")) {
            (Some(port), _) => answers(
                args.need("host"),
                port,
                seconds("connect_timeout").max(Duration::from_secs(1)),
                search.as_ref(),
            )?,
            (None, Some(path)) => holds(context, path, search.as_ref()),
            // Neither: a pause of `timeout` seconds, as in Ansible.
            (None, None) => started.elapsed() >= seconds("timeout"),
        };
        if there == wanted {
            let result = changed(false)
                .with("elapsed", started.elapsed().as_secs())
                .with("state", args.need("state"));
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
        if search.is_match(&String::from_utf8_lossy(&said)) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn holds(context: &Context<'_>, path: &str, search: Option<&Regex>) -> bool {
    let path = context.path(path);
    match search {
        None => path.exists(),
        Some(search) => {
            std::fs::read(path).is_ok_and(|bytes| search.is_match(&String::from_utf8_lossy(&bytes)))
        }
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
    }
}
