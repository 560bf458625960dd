//! Arguments of `wright-agent`; the work is done in the library.
use std::process::ExitCode;

const USAGE: &str = "usage: wright-agent COMMAND

  serve      run the daemon that executes tasks
  attach     join standard input and output to the daemon, starting it when needed
  probe      tell what is heard on the wires while all nodes send
  hardware   print the hardware report as JSON
  seed ROOT  make the system below ROOT the node that the orders on standard input say; prints its SSH host key
  --version  print the version";

fn main() -> ExitCode {
    if std::process::id() == 1 {
        return agent::ramdisk::main();
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["serve"] => report(agent::serve::daemon::run(&agent::serve::Paths::default())),
        ["attach"] => report(agent::serve::attach::run(&agent::serve::Paths::default())),
        ["serve", "--root", folder] => report(agent::serve::daemon::run(
            &agent::serve::Paths::below(folder),
        )),
        ["attach", "--root", folder] => report(agent::serve::attach::run(
            &agent::serve::Paths::below(folder),
        )),
        ["probe"] => report(agent::probe::run()),
        // Not for people: the daemon calls itself to run a task as another user.
        ["run-task"] => report(agent::serve::child::main()),
        ["seed", root] => report(agent::ramdisk::seed::run(root.as_ref())),
        ["hardware"] => {
            let report = agent::hardware::read("/".as_ref(), "");
            match serde_json::to_string_pretty(&report) {
                Ok(text) => println!("{text}"),
                Err(error) => eprintln!("wright-agent: {error}"),
            }
            ExitCode::SUCCESS
        }
        ["--version"] => {
            println!("wright-agent {}", env!("CARGO_PKG_VERSION"));
            ExitCode::SUCCESS
        }
        _ => {
            eprintln!("{USAGE}");
            ExitCode::FAILURE
        }
    }
}

fn report<E: std::error::Error>(result: Result<(), E>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("wright-agent: {error}");
            let mut cause = error.source();
            while let Some(error) = cause {
                eprintln!("  because: {error}");
                cause = error.source();
            }
            ExitCode::FAILURE
        }
    }
}
