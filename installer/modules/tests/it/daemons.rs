//! MariaDB, PostgreSQL and RabbitMQ as child processes in temporary folders. Each ends when it is dropped.
//!
//! They are reached by sockets in their folders, or on loopback ports of the kernel's choice.
use std::fs::{self, File, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A process group that is killed when dropped.
pub struct Group(Child);

impl Drop for Group {
    fn drop(&mut self) {
        let group = nix::unistd::Pid::from_raw(self.0.id() as i32);
        let _ = nix::sys::signal::killpg(group, nix::sys::signal::Signal::SIGKILL);
        let _ = self.0.wait();
    }
}

/// A running server and its folder.
pub struct Server {
    /// In the order in which they end.
    processes: Vec<Group>,
    pub folder: tempfile::TempDir,
    pub port: u16,
}

impl Server {
    fn new(name: &str) -> Result<Server, String> {
        let folder = tempfile::Builder::new()
            .prefix(&format!("stackwright-{name}-"))
            .tempdir()
            .map_err(say("make a folder"))?;
        // A server that runs as another user must be able to enter.
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755))
            .map_err(say("open the folder"))?;
        Ok(Server {
            processes: Vec::new(),
            folder,
            port: port()?,
        })
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn spawn(&mut self, command: &mut Command) -> Result<(), String> {
        let log = File::create(self.path("log")).map_err(say("make the log"))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone().map_err(say("share the log"))?)
            .stderr(log)
            .process_group(0)
            .spawn()
            .map_err(say("start the server"))?;
        self.processes.insert(0, Group(child));
        Ok(())
    }

    /// Waits until `ready` says so; given up when the process ends, or after ten minutes on a loaded machine.
    fn wait(&mut self, ready: impl Fn(&Server) -> bool) {
        let started = Instant::now();
        while !ready(self) {
            if let Ok(Some(status)) = self.processes[0].0.try_wait() {
                let log = fs::read_to_string(self.path("log")).unwrap_or_default();
                panic!("the server ended with {status}: {log}");
            }
            assert!(
                started.elapsed() < Duration::from_secs(600),
                "the server is not ready after ten minutes"
            );
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

/// MariaDB; root may enter by the socket `s` without a password.
pub fn mariadb() -> Result<Server, String> {
    let install = find("mariadb-install-db")?;
    let daemon = find("mariadbd")?;
    let mut server = Server::new("mariadb")?;
    let user = format!(
        "--user={}",
        if nix::unistd::getuid().is_root() {
            "root"
        } else {
            "nobody"
        }
    );
    let option = |name: &str, value: &Path| format!("--{name}={}", value.display());
    let (data, temporary) = (
        option("datadir", &server.path("data")),
        option("tmpdir", server.folder.path()),
    );
    quiet(
        Command::new(install)
            .args(["--no-defaults", &data, &temporary, &user])
            .args(["--auth-root-authentication-method=normal", "--skip-test-db"]),
    )?;
    let socket = server.path("s");
    let mut command = Command::new(daemon);
    command
        .args(["--no-defaults", &data, &temporary, &user])
        .args([
            option("socket", &socket),
            option("pid-file", &server.path("pid")),
        ])
        .args([format!("--port={}", server.port)])
        .args([
            "--bind-address=127.0.0.1",
            "--skip-name-resolve",
            "--skip-log-bin",
        ])
        .args([
            "--innodb-buffer-pool-size=16M",
            "--innodb-flush-log-at-trx-commit=0",
        ]);
    server.spawn(&mut command)?;
    server.wait(|_| std::os::unix::net::UnixStream::connect(&socket).is_ok());
    Ok(server)
}

/// PostgreSQL; `admin` with the password `geheim` may do all.
pub fn postgresql() -> Result<Server, String> {
    let folder = fs::read_dir("/usr/lib/postgresql")
        .map_err(|_| "PostgreSQL is not installed (package postgresql)".to_owned())?
        .filter_map(|entry| Some(entry.ok()?.path().join("bin")))
        .filter(|path| path.join("initdb").is_file())
        .max()
        .ok_or("PostgreSQL's `initdb` is not installed (package postgresql)")?;
    let mut server = Server::new("postgresql")?;
    let data = server.path("data");
    fs::create_dir(&data).map_err(say("make the data folder"))?;
    fs::write(server.path("password"), "geheim\n").map_err(say("write the password"))?;
    let user = if nix::unistd::getuid().is_root() {
        let user = nix::unistd::User::from_name("postgres")
            .ok()
            .flatten()
            .ok_or("PostgreSQL refuses root, and there is no user `postgres`")?;
        std::os::unix::fs::chown(&data, Some(user.uid.as_raw()), Some(user.gid.as_raw()))
            .map_err(say("give the data folder away"))?;
        Some(user)
    } else {
        None
    };
    let here = server.folder.path().to_owned();
    let as_user = |program: &str| {
        let mut command = Command::new(folder.join(program));
        command.current_dir(&here);
        if let Some(user) = &user {
            command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
        }
        command
    };
    quiet(as_user("initdb").arg("-D").arg(&data).args([
        "-U",
        "admin",
        "--auth=scram-sha-256",
        "--pwfile=password",
        "-E",
        "UTF8",
        "--locale=C.UTF-8",
        "--no-sync",
    ]))?;
    let port = server.port.to_string();
    let mut command = as_user("postgres");
    command.arg("-D").arg(&data).args([
        "-p",
        &port,
        "-h",
        "127.0.0.1",
        "-k",
        "",
        "-c",
        "fsync=off",
        "-c",
        "log_statement=all",
    ]);
    server.spawn(&mut command)?;
    let ready = format!("--port={port}");
    server.wait(|_| {
        let probe = Command::new(folder.join("pg_isready"))
            .args(["--host=127.0.0.1", &ready, "--quiet"])
            .status();
        probe.is_ok_and(|status| status.success())
    });
    Ok(server)
}

/// RabbitMQ with the environment that its tools need to find it.
pub fn rabbitmq() -> Result<(Server, Vec<(String, String)>), String> {
    const FOLDER: &str = "/usr/lib/rabbitmq/bin";
    let program = Path::new(FOLDER).join("rabbitmq-server");
    if !program.exists() {
        return Err("RabbitMQ is not installed (package rabbitmq-server)".into());
    }
    let mut server = Server::new("rabbitmq")?;
    let (dist, mapper) = (port()?.to_string(), port()?.to_string());
    let write =
        |name: &str, text: &str| fs::write(server.path(name), text).map_err(say("write a file"));
    write(
        "rabbitmq.conf",
        &format!("listeners.tcp.1 = 127.0.0.1:{}\n", server.port),
    )?;
    write("enabled_plugins", "[].\n")?;
    write("env", "")?;
    write(".erlang.cookie", "STACKWRIGHTTEST")?;
    fs::set_permissions(server.path(".erlang.cookie"), Permissions::from_mode(0o400))
        .map_err(say("close the cookie"))?;
    let at = |name: &str| server.path(name).display().to_string();
    // The tools' own folder: Debian's wrappers in /usr/sbin would become another user.
    let environment = [
        ("PATH", format!("{FOLDER}:/usr/sbin:/usr/bin:/sbin:/bin")),
        ("LANG", "C.UTF-8".into()),
        ("HOME", server.folder.path().display().to_string()),
        (
            "RABBITMQ_NODENAME",
            format!("modules{}@localhost", std::process::id()),
        ),
        ("ERL_EPMD_PORT", mapper.clone()),
        ("ERL_EPMD_ADDRESS", "127.0.0.1".into()),
        ("RABBITMQ_CONF_ENV_FILE", at("env")),
        ("RABBITMQ_ENABLED_PLUGINS_FILE", at("enabled_plugins")),
        ("RABBITMQ_MNESIA_BASE", at("mnesia")),
        ("RABBITMQ_LOG_BASE", at("logs")),
        ("RABBITMQ_CONFIG_FILE", at("rabbitmq.conf")),
        ("RABBITMQ_PID_FILE", at("pid")),
    ]
    .map(|(name, value)| (name.to_owned(), value));
    // Erlang's port mapper, ours: one that the server starts by itself outlives it.
    server.spawn(Command::new("epmd").args(["-port", &mapper, "-address", "127.0.0.1"]))?;
    let open = |port: u16| std::net::TcpStream::connect(("127.0.0.1", port)).is_ok();
    let mapper: u16 = mapper.parse().map_err(|_| "no port".to_owned())?;
    server.wait(|_| open(mapper));
    let mut command = Command::new(program);
    command
        .env_clear()
        .envs(environment.clone())
        .env("RABBITMQ_DIST_PORT", dist)
        .env(
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS",
            "+S 1:1 +sbwt none +A 4",
        );
    server.spawn(&mut command)?;
    server.wait(|server| open(server.port));
    Ok((server, environment.to_vec()))
}

fn find(name: &str) -> Result<PathBuf, String> {
    ["/usr/sbin", "/usr/bin"]
        .iter()
        .map(|folder| Path::new(folder).join(name))
        .find(|path| path.is_file())
        .ok_or_else(|| format!("`{name}` is not installed"))
}

fn quiet(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(say("run an installer"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!(
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    ))
}

fn port() -> Result<u16, String> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).map_err(say("take a port"))?;
    Ok(listener.local_addr().map_err(say("take a port"))?.port())
}

fn say(what: &str) -> impl FnOnce(std::io::Error) -> String {
    let what = what.to_owned();
    move |error| format!("{what}: {error}")
}
