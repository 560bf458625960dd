//! The controller as a process of its own, with a real `state.db`, killed by SIGKILL at random points: the next one goes on.
//!
//! The nodes live in the test's process and outlive every controller, as real nodes do.
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use state::{EnvironmentFolder, Store};
use task_engine::HostSpec;
use task_engine::journal::StateJournal;
use task_engine::link::{ConnectError, Reached, Transport};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;

use crate::faults::{SITE, is_whole};
use crate::sim::{Node, Random, Sim, serve};
use crate::world::{Bench, catalogue};

const FOLDER: &str = "WRIGHT_TEST_CONTROLLER";

/// Reaches the nodes in the other process.
struct Socket(std::path::PathBuf);

#[async_trait]
impl Transport for Socket {
    async fn reach(&self, host: &HostSpec) -> Result<Box<dyn Reached>, ConnectError> {
        let failed = |error: std::io::Error| ConnectError::Unreachable(error.to_string());
        let mut stream = UnixStream::connect(&self.0).await.map_err(failed)?;
        let name = format!("{}\n", host.name);
        stream.write_all(name.as_bytes()).await.map_err(failed)?;
        Ok(Node::with(Box::new(stream)))
    }
}

/// The controller: does its work only where the test below starts it as a process.
#[tokio::test]
async fn controller_process() {
    let Some(folder) = std::env::var_os(FOLDER) else {
        return;
    };
    let folder = Path::new(&folder);
    let state = EnvironmentFolder::create(folder.join("state"), "test").unwrap();
    let store = Store::open(&state).await.unwrap();
    let bench = Bench::new(3, SITE);
    let spec = task_engine::RunSpec {
        transport: Arc::new(Socket(folder.join("nodes.sock"))),
        journal: Arc::new(StateJournal::new(store)),
        playbook: folder.join("site.yml"),
        ..bench.spec()
    };
    let playbook = task_engine::parse::playbook(&spec.playbook, &[], &catalogue()).unwrap();
    let (tell, mut told) = mpsc::channel(64);
    let reading = tokio::spawn(async move { while told.recv().await.is_some() {} });
    let report = task_engine::run_parsed(spec, playbook, tell).await.unwrap();
    reading.await.unwrap();
    assert!(report.is_success(), "{report:?}");
    std::fs::write(folder.join("done"), "").unwrap();
}

fn start(folder: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "killed::controller_process", "--nocapture"])
        .env(FOLDER, folder)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_controller_that_is_killed_at_any_point_goes_on() {
    let mut kills = 0;
    for seed in 1..=6 {
        let bench = Bench::new(3, SITE).with_sim(Sim::default());
        let folder = bench.folder.path();
        let listener = UnixListener::bind(folder.join("nodes.sock")).unwrap();
        let sim = bench.sim.clone();
        let nodes = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let sim = sim.clone();
                tokio::spawn(async move {
                    let mut name = Vec::new();
                    while let Ok(byte) = stream.read_u8().await {
                        if byte == b'\n' {
                            break;
                        }
                        name.push(byte);
                    }
                    let name = String::from_utf8(name).unwrap();
                    let agent = sim.agent(&name);
                    serve(name, agent, stream, None, sim.happened.clone()).await;
                });
            }
        });
        let mut random = Random(seed);
        let happened = || bench.sim.happened.lock().unwrap().len() as u64;
        while !folder.join("done").exists() {
            let mut child = start(folder);
            // Killed by progress, not by time: after so many more things have happened on the nodes.
            let limit = happened() + random.below(14);
            let status = loop {
                if let Some(status) = child.try_wait().unwrap() {
                    break status;
                }
                if happened() >= limit && kills < 6 * seed {
                    kills += 1;
                    child.kill().unwrap();
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            };
            let killed = status.code().is_none();
            let said = std::io::read_to_string(child.stderr.take().unwrap()).unwrap();
            assert!(killed || status.success(), "seed {seed}: {said}");
        }
        is_whole(&bench, seed);
        nodes.abort();
    }
    let _ = writeln!(std::io::stderr(), "{kills} controllers were killed");
    assert!(kills > 6, "hardly anything was tested");
}
