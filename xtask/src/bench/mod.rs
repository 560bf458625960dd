//! `cargo xtask bench NAME`: figures, side by side with the peer where it can be installed. One file a benchmark:
//! `pub fn run(args: &[String]) -> Result<Vec<Measurement>>`, and a line in [`BENCHES`].
//!
//! It knows how figures are shown (docs/benchmarks.md); it does not know what is measured.
mod boot;
mod identity;
mod inventory;
mod plan;
mod tasks;

use anyhow::{Result, bail};
use clap::ValueEnum;
use serde_json::{Value as Json, json};
use std::fmt::Write;

#[derive(clap::Args)]
pub struct Args {
    /// The benchmark; without it they are listed
    #[arg(value_parser = BENCHES.map(|bench| bench.name))]
    name: Option<String>,
    /// Form of the output
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
    /// Arguments of the benchmark
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<String>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Output {
    Text,
    Json,
}

struct Bench {
    name: &'static str,
    about: &'static str,
    run: fn(&[String]) -> Result<Vec<Measurement>>,
}

const BENCHES: [Bench; 5] = [
    Bench {
        name: "boot",
        about: "blank emulated machines from power-on to SSH, and their image; --nodes 1,2 --cold",
        run: boot::run,
    },
    Bench {
        name: "identity",
        about: "tokens validated and made, their cost, and memory; against Keystone; --seconds 8 --connections 32 --alone",
        run: identity::run,
    },
    Bench {
        name: "inventory",
        about: "read and check the inventory of a data centre; against ansible-inventory",
        run: inventory::run,
    },
    Bench {
        name: "plan",
        about: "a plan for a thousand simulated nodes with two hundred tasks each, and what a skipped task costs",
        run: plan::run,
    },
    Bench {
        name: "tasks",
        about: "twenty tasks on twenty nodes; against ansible-core, with mitogen, and pyinfra",
        run: tasks::run,
    },
];

/// One figure of ours, and the peer's where there is one.
#[derive(Debug, Clone)]
pub struct Measurement {
    name: String,
    unit: &'static str,
    ours: f64,
    peer: Peer,
    headline: bool,
    /// More is better.
    rate: bool,
}

#[derive(Debug, Clone)]
enum Peer {
    None,
    Measured(f64),
    /// It could not be measured, and why.
    Absent(String),
}

impl Measurement {
    /// A figure where less is better: seconds, MiB.
    pub fn cost(name: impl Into<String>, ours: f64, unit: &'static str) -> Self {
        Measurement {
            name: name.into(),
            unit,
            ours,
            peer: Peer::None,
            headline: false,
            rate: false,
        }
    }

    /// A figure where more is better: answers a second.
    pub fn rate(name: impl Into<String>, ours: f64, unit: &'static str) -> Self {
        Measurement {
            rate: true,
            ..Self::cost(name, ours, unit)
        }
    }

    /// The peer's figure, or why there is none.
    pub fn against(self, peer: Result<f64>) -> Self {
        let peer = match peer {
            Ok(value) => Peer::Measured(value),
            Err(error) => Peer::Absent(format!("{error:#}")),
        };
        Measurement { peer, ..self }
    }

    /// One of the figures that the documentation quotes.
    pub fn headline(self) -> Self {
        Measurement {
            headline: true,
            ..self
        }
    }

    /// How many times better ours is.
    fn ratio(&self) -> Option<f64> {
        let Peer::Measured(peer) = self.peer else {
            return None;
        };
        match self.rate {
            true => (peer > 0.0).then(|| self.ours / peer),
            false => (self.ours > 0.0).then(|| peer / self.ours),
        }
    }

    fn to_json(&self) -> Json {
        let peer = match self.peer {
            Peer::Measured(value) => json!(value),
            Peer::None | Peer::Absent(_) => Json::Null,
        };
        json!({
            "name": self.name,
            "ours": self.ours,
            "peer": peer,
            "unit": self.unit,
            "ratio": self.ratio(),
            "headline": self.headline,
        })
    }
}

/// Runs the benchmark that `args` names and prints its figures; without a name, what there is.
pub fn run(args: &Args) -> Result<()> {
    let Some(name) = &args.name else {
        for bench in &BENCHES {
            println!("{:<14} {}", bench.name, bench.about);
        }
        return Ok(());
    };
    let Some(bench) = BENCHES.iter().find(|bench| bench.name == name) else {
        bail!("there is no benchmark `{name}`");
    };
    let results = (bench.run)(&args.args)?;
    for (name, why) in absent(&results) {
        eprintln!("no peer for {name}: {why}");
    }
    match args.output {
        Output::Text => print!("{}", table(&results)),
        Output::Json => println!(
            "{:#}",
            json!({"results": results.iter().map(Measurement::to_json).collect::<Vec<_>>()})
        ),
    }
    Ok(())
}

/// The measurements whose peer is missing, with the reason.
fn absent(results: &[Measurement]) -> impl Iterator<Item = (&str, &str)> {
    results.iter().filter_map(|one| match &one.peer {
        Peer::Absent(why) => Some((one.name.as_str(), why.as_str())),
        Peer::None | Peer::Measured(_) => None,
    })
}

fn table(results: &[Measurement]) -> String {
    let width = results.iter().map(|one| one.name.len()).max().unwrap_or(0);
    let mut out = format!(
        "{:width$} {:>10} {:>10} {:<10} {:>9}\n",
        "", "ours", "peer", "unit", "better"
    );
    for one in results {
        let peer = match one.peer {
            Peer::Measured(value) => figure(value),
            Peer::None | Peer::Absent(_) => "-".to_owned(),
        };
        let ratio = one.ratio().map(|ratio| format!("{} x", figure(ratio)));
        let _ = writeln!(
            out,
            "{:width$} {:>10} {peer:>10} {:<10} {:>9}{}",
            one.name,
            figure(one.ours),
            one.unit,
            ratio.unwrap_or_else(|| "-".to_owned()),
            if one.headline { " *" } else { "" },
        );
    }
    out
}

/// Three digits that count.
fn figure(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some() -> Vec<Measurement> {
        vec![
            Measurement::cost("first run", 2.0, "s")
                .against(Ok(90.0))
                .headline(),
            Measurement::cost("later run", 5.0, "s").against(Ok(20.0)),
            Measurement::cost("memory", 12.5, "MiB").against(Err(anyhow::anyhow!("not there"))),
            Measurement::cost("nothing", 0.0, "s").against(Ok(1.0)),
        ]
    }

    #[test]
    fn a_ratio_says_how_many_times_better_ours_is() {
        let ratios: Vec<_> = some().iter().map(Measurement::ratio).collect();
        assert_eq!(ratios, [Some(45.0), Some(4.0), None, None]);
        let rate = Measurement::rate("answers", 300.0, "/s").against(Ok(100.0));
        assert_eq!(rate.ratio(), Some(3.0));
    }

    #[test]
    fn the_table_has_a_line_for_each_and_missing_peers_have_a_reason() {
        let results = some();
        let table = table(&results);
        assert_eq!(table.lines().count(), 5);
        assert!(
            table.contains("first run       2.00       90.0 s             45.0 x *"),
            "{table}"
        );
        assert_eq!(
            absent(&results).collect::<Vec<_>>(),
            [("memory", "not there")]
        );
    }

    #[test]
    fn programs_get_null_for_a_missing_peer() {
        let json = some()[2].to_json();
        assert_eq!(
            json,
            json!({"name": "memory", "ours": 12.5, "peer": null, "unit": "MiB", "ratio": null, "headline": false})
        );
    }

    #[test]
    fn the_form_of_the_output_may_stand_before_the_benchmarks_own_arguments() {
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            args: Args,
        }
        let line: Line =
            clap::Parser::parse_from(["x", "inventory", "--output", "json", "--nodes", "3"]);
        assert!(matches!(line.args.output, Output::Json));
        assert_eq!(line.args.args, ["--nodes", "3"]);
    }
}
