//! A real OpenSSH server on loopback, with keys of its own, and the real `wright-agent` where it has been built.
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use task_engine::journal::Journal;
use task_engine::link::Transport;
use task_engine::parse::Catalogue;
use task_engine::vars::SharedVars;
use task_engine::{Event, HostSpec, Mode, RunReport, RunSpec, Ssh};
use tokio::sync::mpsc;

/// The server, its folder and its key; both end with it.
struct Server {
    child: Child,
    folder: tempfile::TempDir,
    port: u16,
    user: String,
    host_key: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        // The agent's daemon outlives its connections on purpose.
        if let Ok(entries) = std::fs::read_dir("/proc") {
            for entry in entries.flatten() {
                let arguments = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
                let arguments = String::from_utf8_lossy(&arguments).into_owned();
                if arguments.contains("serve")
                    && arguments.contains(&*self.folder.path().to_string_lossy())
                {
                    let _ = Command::new("kill").arg(entry.file_name()).status();
                }
            }
        }
    }
}

fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {output:?}"
    );
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn server() -> Option<Server> {
    let sshd = Path::new("/usr/sbin/sshd");
    if !sshd.exists() {
        println!(
            "skipped: `{}` is missing (Debian package openssh-server)",
            sshd.display()
        );
        return None;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    for key in ["host", "other", "client"] {
        output(
            "ssh-keygen",
            &["-q", "-t", "ed25519", "-N", "", "-f", &path(key)],
        );
    }
    std::fs::copy(path("client.pub"), path("authorized")).unwrap();
    let user = output("id", &["-un"]);
    if user == "root" {
        // The server's own folder for the unprivileged half of it.
        let _ = std::fs::create_dir_all("/run/sshd");
    }
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let config = format!(
        "ListenAddress 127.0.0.1:{port}\nHostKey {}\nAuthorizedKeysFile {}\nStrictModes no\nUsePAM no\n\
         PasswordAuthentication no\nPermitRootLogin prohibit-password\nPidFile none\nUseDNS no\n",
        path("host"),
        path("authorized")
    );
    std::fs::write(path("sshd_config"), config).unwrap();
    let log = std::fs::File::create(path("sshd.log")).unwrap();
    let child = Command::new(sshd)
        .args(["-D", "-e", "-f", &path("sshd_config")])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap();
    let since = Instant::now();
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(
            since.elapsed() < Duration::from_secs(60),
            "sshd does not answer"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    let host_key = std::fs::read_to_string(path("host.pub")).unwrap();
    Some(Server {
        child,
        folder,
        port,
        user,
        host_key,
    })
}

/// The agent of this build: named by `WRIGHT_AGENT`, or beside the test's own binary.
fn agent() -> Option<PathBuf> {
    let named = std::env::var_os("WRIGHT_AGENT").map(PathBuf::from);
    let beside = std::env::current_exe()
        .ok()
        .and_then(|exe| Some(exe.parent()?.parent()?.join("wright-agent")));
    let works = |path: &PathBuf| {
        let said = Command::new(path).arg("--version").output();
        said.is_ok_and(|said| said.stdout.starts_with(b"wright-agent "))
    };
    let found = named.into_iter().chain(beside).find(works);
    if found.is_none() {
        println!(
            "skipped: `wright-agent` has not been built (cargo build -p agent), and WRIGHT_AGENT names none"
        );
    }
    found
}

impl Server {
    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_string_lossy().into_owned()
    }

    fn host(&self, host_key: &str) -> HostSpec {
        HostSpec {
            name: "node-1".to_owned(),
            address: "127.0.0.1".to_owned(),
            port: self.port,
            user: self.user.clone(),
            host_key: host_key.to_owned(),
            groups: vec!["controller".to_owned()],
            vars: serde_json::Map::from_iter([("root".to_owned(), self.path("node").into())]),
            shared: SharedVars::default(),
        }
    }

    fn transport(&self, agent: Option<&Path>) -> Ssh {
        let path = self.path("wright-agent");
        Ssh::new(Path::new(&self.path("client")), agent)
            .unwrap()
            .with_agent_at(
                &path,
                &format!("{path} attach --root {}", self.path("agent")),
            )
    }

    async fn run(&self, run: &str, transport: Ssh) -> (RunReport, Vec<Event>) {
        self.run_as(run, transport, Mode::Apply).await
    }

    async fn run_as(&self, run: &str, transport: Ssh, mode: Mode) -> (RunReport, Vec<Event>) {
        let spec = RunSpec {
            mode,
            diff: true,
            ..RunSpec::new(
                run,
                self.folder.path().join("site.yml"),
                vec![self.host(&self.host_key)],
                Arc::new(transport),
                Arc::<task_engine::journal::MemoryJournal>::default() as Arc<dyn Journal>,
            )
        };
        let playbook = task_engine::parse::playbook(&spec.playbook, &[], &Catalogue::of_modules())
            .unwrap_or_else(|faults| panic!("{faults}"));
        let (tell, mut told) = mpsc::channel(64);
        let reading = tokio::spawn(async move {
            let mut events = Vec::new();
            while let Some(event) = told.recv().await {
                events.push(event);
            }
            events
        });
        let report = task_engine::run_parsed(spec, playbook, tell).await.unwrap();
        (report, reading.await.unwrap())
    }
}

const SITE: &str = "
- hosts: all
  tasks:
    - name: Folder
      file: {path: \"{{ root }}\", state: directory}
    - name: File
      template: {src: greeting.j2, dest: \"{{ root }}/greeting\", mode: '0640'}
      notify: note
    - name: Line
      lineinfile: {path: \"{{ root }}/greeting\", line: and more}
    - name: Read
      command: cat {{ root }}/greeting
      register: read
      changed_when: false
    - name: Check
      assert: {that: [\"'Hello' in read.stdout\", \"'more' in read.stdout\"]}
  handlers:
    - name: note
      shell: echo noted >> {{ root }}/notes
";

#[tokio::test(flavor = "multi_thread")]
async fn another_host_key_is_refused_at_once() {
    let Some(server) = server() else { return };
    let other = std::fs::read_to_string(server.path("other.pub")).unwrap();
    let transport = server.transport(None);
    let error = transport
        .reach(&server.host(&other))
        .await
        .err()
        .unwrap()
        .to_string();
    assert!(error.contains("another SSH host key"), "{error}");
    let error = transport
        .reach(&server.host(""))
        .await
        .err()
        .unwrap()
        .to_string();
    assert!(error.contains("is not known"), "{error}");
    std::fs::write(server.path("authorized"), "").unwrap();
    let error = transport
        .reach(&server.host(&server.host_key))
        .await
        .err()
        .unwrap()
        .to_string();
    assert!(error.contains("does not accept our key"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_run_through_the_real_agent_and_a_second_run_changes_nothing() {
    let (Some(server), Some(agent)) = (server(), agent()) else {
        return;
    };
    crate::world::write(server.folder.path(), "site.yml", SITE);
    // The last line is the next task's business, so the template has it too.
    crate::world::write(
        server.folder.path(),
        "greeting.j2",
        "Hello {{ inventory_hostname }}\nand more\n",
    );

    let (report, _) = server.run("first", server.transport(Some(&agent))).await;
    assert!(report.is_success(), "{report:#?}");
    assert!(report.changed() >= 2, "{report:#?}");
    let greeting = std::fs::read_to_string(server.path("node/greeting")).unwrap();
    assert_eq!(greeting, "Hello node-1\nand more\n");

    // There was no agent: looking for it, pushing it and attaching to it took one login.
    let log = std::fs::read_to_string(server.path("sshd.log")).unwrap();
    assert_eq!(log.matches("Accepted publickey").count(), 1, "{log}");

    let before = std::fs::metadata(server.path("wright-agent"))
        .unwrap()
        .modified()
        .unwrap();
    let (report, events) = server.run("second", server.transport(Some(&agent))).await;
    assert!(
        report.is_success() && report.changed() == 0,
        "{}",
        crate::world::text(&report, &events)
    );
    let after = std::fs::metadata(server.path("wright-agent"))
        .unwrap()
        .modified()
        .unwrap();
    assert_eq!(before, after, "the agent was pushed again");
    assert_eq!(
        std::fs::read_to_string(server.path("node/notes")).unwrap(),
        "noted\n"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_fetched_whole_and_once() {
    let (Some(server), Some(agent)) = (server(), agent()) else {
        return;
    };
    let site = "
- hosts: all
  gather_facts: false
  tasks:
    - fetch: {src: \"{{ root }}-large\", dest: fetched}
      register: large
    - fetch: {src: \"{{ root }}-large\", dest: flat, flat: true}
    - fetch: {src: /nowhere, dest: fetched, fail_on_missing: false}
    - assert: {that: [\"large.dest is search('node-1')\", \"large.checksum | length == 40\"]}
";
    crate::world::write(server.folder.path(), "site.yml", site);
    // Three pieces, the last of them short, and no text.
    let content: Vec<u8> = (0..9_000_000u32).map(|n| (n % 251) as u8).collect();
    std::fs::write(server.path("node-large"), &content).unwrap();

    let checked = server.run_as("check", server.transport(Some(&agent)), Mode::Check);
    assert_eq!(checked.await.0.changed(), 2);
    assert!(!Path::new(&server.path("flat")).exists());

    let (report, events) = server.run("first", server.transport(Some(&agent))).await;
    assert!(
        report.is_success() && report.changed() == 2,
        "{}",
        crate::world::text(&report, &events)
    );
    let fetched = format!(
        "{}/node-1{}",
        server.path("fetched"),
        server.path("node-large")
    );
    for path in [fetched, server.path("flat")] {
        assert!(std::fs::read(&path).unwrap() == content, "{path}");
    }
    let (report, _) = server.run("second", server.transport(Some(&agent))).await;
    assert!(report.is_success() && report.changed() == 0, "{report:#?}");
    std::fs::remove_file(server.path("node-large")).unwrap();
    let (report, _) = server.run("gone", server.transport(Some(&agent))).await;
    assert!(
        report.failures[0].msg.contains("does not exist"),
        "{report:#?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_connection_is_resumed_and_the_task_runs_once() {
    let (Some(server), Some(agent)) = (server(), agent()) else {
        return;
    };
    let site = "
- hosts: all
  gather_facts: false
  tasks:
    - name: Slow
      shell: echo begun >> {{ root }}-log; while [ -e {{ root }}-log ] && [ ! -e {{ root }}-go ]; do sleep 0.1; done; echo ended >> {{ root }}-log
";
    crate::world::write(server.folder.path(), "site.yml", site);
    let log = server.path("node-log");
    let running = server.run("cut", server.transport(Some(&agent)));
    let cutting = async {
        let since = Instant::now();
        while !Path::new(&log).exists() {
            assert!(
                since.elapsed() < Duration::from_secs(120),
                "the task does not begin"
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        // Each connection is a child of the server.
        let children = output(
            "ps",
            &["-o", "pid=", "--ppid", &server.child.id().to_string()],
        );
        for pid in children.split_whitespace() {
            let _ = Command::new("kill").args(["-9", pid]).status();
        }
        std::fs::write(server.path("node-go"), "").unwrap();
    };
    let ((report, events), ()) = tokio::join!(running, cutting);
    assert!(report.is_success(), "{report:#?}");
    assert_eq!(std::fs::read_to_string(&log).unwrap(), "begun\nended\n");
    let waited = events
        .iter()
        .any(|event| matches!(event, Event::NodeWaiting { .. }));
    assert!(waited, "the connection was not cut");
}
