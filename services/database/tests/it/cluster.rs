//! Three real MariaDB servers under three real guards, each pair in a network namespace of its own: made, hurt, looked
//! at, removed. The guards are this test's binary again (`real::guard_process`); there is no systemd here, so they
//! start servers as processes (`[process]`).

use database::Config;
use database::peers::Peers;
use database::sql::{Connection, Row};
use database::state::{Phase, State};
use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub const NODES: [&str; 3] = ["a", "b", "c"];
const GALERA: &str = "/usr/lib/galera/libgalera_smm.so";
/// Names the configuration file to the guard's process.
pub const CONFIG: &str = "DATABASE_TEST_GUARD_CONFIG";

/// Why the test cannot run here.
pub fn missing() -> Option<String> {
    if !nix::unistd::geteuid().is_root() {
        return Some("it needs root, for network namespaces".to_owned());
    }
    let programs = [
        "/usr/sbin/mariadbd",
        "/usr/bin/mariadb-install-db",
        "/usr/bin/rsync",
        GALERA,
    ];
    programs
        .iter()
        .find(|path| !Path::new(path).exists())
        .map(|path| format!("`{path}` is not installed (packages mariadb-server, galera-4, rsync)"))
}

fn sh(words: &str) {
    let mut parts = words.split_whitespace();
    let status = Command::new(parts.next().expect("a program"))
        .args(parts)
        .stdout(Stdio::null())
        .status()
        .expect("it can be run");
    assert!(status.success(), "`{words}`: {status}");
}

pub struct Cluster {
    folder: tempfile::TempDir,
    prefix: String,
    guards: [Option<Child>; 3],
    began: Instant,
}

impl Cluster {
    /// Namespaces, files and fresh data; nothing runs yet.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let cluster = Self {
            folder,
            prefix: format!("dbt{}", std::process::id()),
            guards: [None, None, None],
            began: Instant::now(),
        };
        // The servers run as `mysql`: rsync's daemon would not serve root's files.
        sh(&format!("chown mysql {0}", cluster.folder.path().display()));
        sh(&format!("chmod 755 {0}", cluster.folder.path().display()));
        let p = &cluster.prefix;
        sh(&format!("ip netns add {p}s"));
        sh(&format!("ip -n {p}s link add br0 type bridge"));
        sh(&format!("ip -n {p}s link set br0 up"));
        sh(&format!("ip -n {p}s addr add 10.66.0.254/24 dev br0"));
        let template = cluster.folder.path().join("template");
        sh(&format!(
            "mariadb-install-db --no-defaults --user=mysql --datadir={} --auth-root-authentication-method=socket --skip-test-db --innodb-log-file-size=8M",
            template.display()
        ));
        for (i, node) in NODES.iter().enumerate() {
            sh(&format!("ip netns add {p}{node}"));
            sh(&format!("ip -n {p}{node} link set lo up"));
            sh(&format!(
                "ip -n {p}s link add name to-{node} type veth peer name eth0 netns {p}{node}"
            ));
            sh(&format!("ip -n {p}s link set to-{node} master br0 up"));
            sh(&format!("ip -n {p}{node} link set eth0 up"));
            sh(&format!(
                "ip -n {p}{node} addr add 10.66.0.{}/24 dev eth0",
                i + 1
            ));
            let place = cluster.place(i);
            fs::create_dir_all(&place).unwrap();
            sh(&format!("chown mysql {}", place.display()));
            sh(&format!(
                "cp -a {} {}",
                template.display(),
                place.join("data").display()
            ));
            cluster.write_files(i);
        }
        cluster
    }

    fn place(&self, i: usize) -> PathBuf {
        self.folder.path().join(NODES[i])
    }

    pub fn data(&self, i: usize) -> PathBuf {
        self.place(i).join("data")
    }

    fn config_path(&self, i: usize) -> PathBuf {
        self.place(i).join("database.toml")
    }

    fn config(&self, i: usize) -> Config {
        database::config::load(&self.config_path(i)).expect("a good configuration")
    }

    fn write_files(&self, i: usize) {
        let place = self.place(i);
        let at = place.display();
        let server = format!(
            "[mariadbd]
user=mysql
datadir={at}/data
socket={at}/s.sock
pid-file={at}/mariadbd.pid
bind-address=10.66.0.{n}
skip-name-resolve
innodb_buffer_pool_size=24M
innodb_log_file_size=8M
innodb_flush_log_at_trx_commit=2
innodb_autoinc_lock_mode=2
key_buffer_size=1M
binlog_format=ROW
wsrep_on=ON
wsrep_provider={GALERA}
wsrep_cluster_name=guarded
wsrep_cluster_address=gcomm://10.66.0.1,10.66.0.2,10.66.0.3
wsrep_node_address=10.66.0.{n}
wsrep_node_name={node}
wsrep_sst_method=rsync
wsrep_provider_options=\"pc.recovery=FALSE;gcache.size=8M;evs.suspect_timeout=PT3S;evs.inactive_timeout=PT6S;evs.keepalive_period=PT0.5S;pc.wait_prim_timeout=PT15S\"
",
            n = i + 1,
            node = NODES[i],
        );
        fs::write(place.join("my.cnf"), server).unwrap();
        let guard = format!(
            "name = \"{node}\"
listen = \"10.66.0.{n}:49000\"
peer_secret = \"a secret of this test\"
data_dir = \"{at}/data\"
socket = \"{at}/s.sock\"
recover = [\"/usr/sbin/mariadbd\", \"--defaults-file={at}/my.cnf\", \"--wsrep-recover\", \"--disable-log-error\"]
[nodes]
a = \"10.66.0.1:49000\"
b = \"10.66.0.2:49000\"
c = \"10.66.0.3:49000\"
[times]
ask_operator_after = 8
settle = 10
[process]
command = [\"/usr/sbin/mariadbd\", \"--defaults-file={at}/my.cnf\"]
pid_file = \"{at}/guard.pid\"
output = \"{at}/server.log\"
",
            n = i + 1,
            node = NODES[i],
        );
        fs::write(self.config_path(i), guard).unwrap();
    }

    pub fn start_guard(&mut self, i: usize) {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.place(i).join("guard.log"))
            .unwrap();
        let child = Command::new("ip")
            .args(["netns", "exec", &format!("{}{}", self.prefix, NODES[i])])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", "real::guard_process", "--nocapture"])
            .env(CONFIG, self.config_path(i))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.guards[i] = Some(child);
    }

    /// As kill -9: `ip netns exec` has become the guard.
    pub fn kill_guard(&mut self, i: usize) {
        if let Some(mut guard) = self.guards[i].take() {
            guard.kill().unwrap();
            guard.wait().unwrap();
        }
    }

    /// Stops the guard's time, or lets it go on.
    pub fn freeze_guard(&self, i: usize, frozen: bool) {
        if let Some(guard) = &self.guards[i] {
            let signal = if frozen {
                Signal::SIGSTOP
            } else {
                Signal::SIGCONT
            };
            kill(Pid::from_raw(guard.id() as i32), signal).unwrap();
        }
    }

    fn server_pid(&self, i: usize) -> Option<Pid> {
        let text = fs::read_to_string(self.place(i).join("guard.pid")).ok()?;
        let pid: i32 = text.split_whitespace().next()?.parse().ok()?;
        let command = fs::read_to_string(format!("/proc/{pid}/cmdline")).ok()?;
        command
            .contains(&self.place(i).display().to_string())
            .then(|| Pid::from_raw(pid))
    }

    pub fn signal_server(&self, i: usize, signal: Signal) {
        if let Some(pid) = self.server_pid(i) {
            let _ = kill(pid, signal);
        }
    }

    pub fn kill_servers(&self, which: &[usize]) {
        for i in which {
            self.signal_server(*i, Signal::SIGKILL);
        }
    }

    pub fn wait_gone(&self, i: usize) {
        let until = Instant::now() + Duration::from_secs(30);
        while self.server_pid(i).is_some() {
            assert!(Instant::now() < until, "server {} does not end", NODES[i]);
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Takes the node's cable out, or puts it back.
    pub fn cable(&self, i: usize, up: bool) {
        let state = if up { "up" } else { "down" };
        sh(&format!(
            "ip -n {}s link set to-{} {state}",
            self.prefix, NODES[i]
        ));
    }

    /// Something done from the switch's namespace.
    fn at_switch<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let path = format!("/run/netns/{}s", self.prefix);
        std::thread::scope(|scope| {
            scope
                .spawn(|| {
                    setns(File::open(path).unwrap(), CloneFlags::CLONE_NEWNET).unwrap();
                    work()
                })
                .join()
                .unwrap()
        })
    }

    fn address(i: usize) -> SocketAddr {
        SocketAddr::from(([10, 66, 0, i as u8 + 1], 49000))
    }

    fn call<T: Send, F>(&self, call: impl FnOnce(Peers) -> F + Send) -> T
    where
        F: Future<Output = T>,
    {
        let peers = Peers::new(&self.config(0)).unwrap();
        self.at_switch(|| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(call(peers))
        })
    }

    pub fn state(&self, i: usize) -> Result<State, String> {
        self.call(|peers| async move { peers.state(Self::address(i)).await })
    }

    pub fn bootstrap(&self, i: usize) -> Result<(), String> {
        self.call(|peers| async move { peers.bootstrap(Self::address(i)).await })
    }

    /// As the command says that the guard names when a node's data must be set aside.
    pub fn set_data_aside(&self, i: usize) {
        let data = self.data(i);
        fs::rename(&data, data.with_extension("old")).unwrap();
        sh(&format!("install -d -o mysql -m 0755 {}", data.display()));
    }

    /// What a load balancer sees: the status line's number and the body.
    pub fn healthz(&self, i: usize) -> Option<(u16, String)> {
        self.at_switch(|| {
            let limit = Duration::from_secs(1);
            let mut stream = TcpStream::connect_timeout(&Self::address(i), limit).ok()?;
            stream.set_read_timeout(Some(limit)).ok()?;
            stream.write_all(b"GET /healthz HTTP/1.0\r\n\r\n").ok()?;
            let mut text = String::new();
            stream.read_to_string(&mut text).ok()?;
            let status = text.split(' ').nth(1)?.parse().ok()?;
            let body = text.split("\r\n\r\n").nth(1)?.trim().to_owned();
            Some((status, body))
        })
    }

    /// Waits until something holds; tells every guard's log when it never does. How long it took is printed, not held:
    /// where servers get too little of the processor, Galera needs several tries to agree on its members.
    pub fn wait(&self, what: &str, limit: u64, holds: impl Fn(&Self) -> bool) -> Duration {
        let limit = limit * 4;
        let start = Instant::now();
        loop {
            if holds(self) {
                println!(
                    "{:6.1} s  {what} ({:.1} s)",
                    self.began.elapsed().as_secs_f32(),
                    start.elapsed().as_secs_f32()
                );
                return start.elapsed();
            }
            if start.elapsed() > Duration::from_secs(limit) {
                self.tell();
                panic!("not within {limit} s: {what}");
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    pub fn wait_healthy(&self, what: &str, limit: u64) -> Duration {
        self.wait(what, limit, |c| {
            (0..3).all(|i| c.healthz(i).is_some_and(|(status, _)| status == 200))
        })
    }

    pub fn phase(&self, i: usize) -> Option<Phase> {
        self.state(i).ok().map(|state| state.phase)
    }

    fn tell(&self) {
        for (i, node) in NODES.iter().enumerate() {
            println!("--- {node}: {:?}", self.state(i));
            for (file, lines) in [("guard.log", 60), ("server.log", 120)] {
                let path = self.place(i).join(file);
                let text = fs::read(path).unwrap_or_default();
                let text = String::from_utf8_lossy(&text).into_owned();
                let all: Vec<&str> = text.lines().collect();
                println!("--- {node} {file}");
                for line in &all[all.len().saturating_sub(lines)..] {
                    println!("{line}");
                }
            }
        }
    }

    pub fn guard_log(&self, i: usize) -> String {
        fs::read_to_string(self.place(i).join("guard.log")).unwrap_or_default()
    }

    /// How often any guard has begun a cluster.
    pub fn beginnings(&self) -> Vec<usize> {
        let begun = |i: usize| {
            let log = self.guard_log(i);
            log.matches("begins the cluster").count() + log.matches("becomes Primary").count()
        };
        (0..3).map(begun).collect()
    }

    pub fn sql(&self, i: usize, statement: &str) -> Result<Vec<Row>, String> {
        let socket = self.place(i).join("s.sock");
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let limit = Duration::from_secs(10);
            let mut connection = Connection::open(&socket, "root", limit)
                .await
                .map_err(|error| error.to_string())?;
            connection
                .query(statement, limit)
                .await
                .map_err(|error| error.to_string())
        })
    }

    /// All servers hold the same rows, and as many as were written.
    pub fn same_data(&self, rows: usize) {
        for i in 0..3 {
            let count = self.sql(i, "SET SESSION wsrep_sync_wait = 1");
            assert!(count.is_ok(), "{count:?}");
        }
        let of = |i: usize| {
            let text = self.sql(
                i,
                "SELECT COUNT(*), COALESCE(BIT_XOR(CRC32(CONCAT(id, ':', v))), 0) FROM t.t",
            );
            format!("{text:?}")
        };
        let expected = format!("Some(\"{rows}\")");
        let until = Instant::now() + Duration::from_secs(10);
        loop {
            let all: Vec<String> = (0..3).map(of).collect();
            if all
                .iter()
                .all(|one| *one == all[0] && one.contains(&expected))
            {
                return;
            }
            assert!(Instant::now() < until, "{rows} rows expected: {all:#?}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for i in 0..3 {
            self.kill_guard(i);
        }
        // A guard that was killed while it started a server has left it behind.
        for _ in 0..20 {
            self.kill_servers(&[0, 1, 2]);
            if (0..3).all(|i| self.server_pid(i).is_none()) {
                break;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        for name in ["s", "a", "b", "c"] {
            let _ = Command::new("ip")
                .args(["netns", "del", &format!("{}{name}", self.prefix)])
                .status();
        }
    }
}
