//! Tokens: how many a second are validated and made, what each costs, and the memory of it. Our identity and Keystone with its
//! own set-up (uwsgi, memcached), one after the other on the same MariaDB, with two workers each and asked by the same client.
//!
//! CPU time is what to compare where others use the machine, too.
mod load;
mod servers;

use super::Measurement;
use crate::{cargo, python};
use anyhow::{Context, Result, anyhow};
use clap::Parser;
use load::{Load, Measured, Request};
use servers::{Database, Served};
use std::time::{Duration, Instant};

/// Keystone and what it runs in, pinned.
const PEER: &str = "xtask/src/bench/identity/requirements.txt";
/// Rounds of bcrypt, as both have them by default.
const ROUNDS: u32 = 12;
const PASSWORD: &str = "of-the-benchmark";

#[derive(Parser)]
#[command(name = "cargo xtask bench identity", no_binary_name = true)]
struct Args {
    /// How long each load lasts
    #[arg(long, default_value_t = 8)]
    seconds: u64,
    /// Connections that ask at the same time
    #[arg(long, default_value_t = 32)]
    connections: usize,
    /// Without Keystone
    #[arg(long)]
    alone: bool,
}

/// What one of the two did.
struct Figures {
    validations: Measured,
    /// By one connection.
    single: Measured,
    issues: Measured,
    /// MiB, of all processes of the service.
    memory: f64,
}

pub fn run(args: &[String]) -> Result<Vec<Measurement>> {
    let args = Args::try_parse_from(args).map_err(|error| anyhow!("{error}"))?;
    cargo::cargo(&["build", "--quiet", "--workspace", "--bin", "wright"])?;
    let database = Database::start()?;
    let ours = measure(&args, || Served::ours(&database)).context("our identity")?;
    let peer = match args.alone {
        true => Err("left out by --alone".to_owned()),
        false => python::environment("bench-identity", PEER)
            .and_then(|programs| measure(&args, || Served::keystone(&database, &programs)))
            .map_err(|error| format!("{error:#}")),
    };
    // What two processors can do at best: each token wants one password looked at.
    let hashes = 2.0 / hash_seconds()?;
    let share = |figures: &Figures| 100.0 * figures.issues.rate / hashes;
    let theirs = |figure: &dyn Fn(&Figures) -> f64| match &peer {
        Ok(figures) => Ok(figure(figures)),
        Err(why) => Err(anyhow!("{why}")),
    };
    let cost = |name: &str, unit, figure: &dyn Fn(&Figures) -> f64| {
        Measurement::cost(name, figure(&ours), unit).against(theirs(figure))
    };
    let rate = |name: &str, unit, figure: &dyn Fn(&Figures) -> f64| {
        Measurement::rate(name, figure(&ours), unit).against(theirs(figure))
    };
    Ok(vec![
        rate("validations", "/s", &|f| f.validations.rate).headline(),
        cost("validation, CPU", "ms", &|f| f.validations.cpu_ms).headline(),
        cost("validation, CPU of the database", "ms", &|f| {
            f.validations.database_ms
        }),
        cost("validation, median", "ms", &|f| f.validations.median_ms),
        cost("validation, slowest of 100", "ms", &|f| {
            f.validations.slow_ms
        }),
        rate("validations, one connection", "/s", &|f| f.single.rate),
        rate("tokens made", "/s", &|f| f.issues.rate),
        rate("tokens made, of what bcrypt allows", "%", &share),
        cost("token, CPU", "ms", &|f| f.issues.cpu_ms),
        cost("memory (PSS)", "MiB", &|f| f.memory),
    ])
}

fn measure<'a>(args: &Args, start: impl FnOnce() -> Result<Served<'a>>) -> Result<Figures> {
    let served = start()?;
    let user = served.user(PASSWORD)?;
    let (token, subject) = (
        served.token(&user, PASSWORD)?,
        served.token(&user, PASSWORD)?,
    );
    let validate = Request::get("/v3/auth/tokens")
        .header("X-Auth-Token", &token)
        .header("X-Subject-Token", &subject);
    let login = Request::post("/v3/auth/tokens", &servers::login(&user, PASSWORD));
    let load = |connections, seconds| Load {
        connections,
        time: Duration::from_secs(seconds),
    };
    // Both have what they keep ready by then.
    served.measure(&load(args.connections, 2), &validate, 200)?;
    Ok(Figures {
        validations: served.measure(&load(args.connections, args.seconds), &validate, 200)?,
        single: served.measure(&load(1, args.seconds), &validate, 200)?,
        issues: served.measure(&load(8, args.seconds), &login, 201)?,
        memory: served.memory()?,
    })
}

/// What looking at one password costs on one processor.
fn hash_seconds() -> Result<f64> {
    let hash = bcrypt::hash(PASSWORD, ROUNDS)?;
    let begun = Instant::now();
    let times = 5;
    for _ in 0..times {
        anyhow::ensure!(
            bcrypt::verify(PASSWORD, &hash)?,
            "a password does not fit its own hash"
        );
    }
    Ok(begun.elapsed().as_secs_f64() / f64::from(times))
}
