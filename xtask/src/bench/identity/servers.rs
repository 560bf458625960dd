//! What is asked: MariaDB, our identity on it, and Keystone on it, as processes in a temporary folder on ports of the kernel's choice.
//! All end with their values.
use super::load::{self, Load, Measured, Request};
use crate::cargo;
use anyhow::{Context, Result, bail};
use serde_json::{Value as Json, json};
use std::{
    fs,
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// For a start, on a machine that does other things too.
const PATIENCE: Duration = Duration::from_secs(180);
const ADMIN: &str = "of-the-administrator";
const WORKERS: &str = "2";

/// A process and what it started; ended with the value.
struct Process {
    child: Child,
}

impl Process {
    fn start(command: &mut Command, log: &Path) -> Result<Self> {
        let log = fs::File::create(log)?;
        let shown = command.get_program().to_string_lossy().into_owned();
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot run `{shown}`"))?;
        Ok(Process { child })
    }

    /// It and its children.
    fn all(&self) -> Vec<u32> {
        let own = self.child.id();
        let text =
            fs::read_to_string(format!("/proc/{own}/task/{own}/children")).unwrap_or_default();
        let children = text.split_whitespace().filter_map(|word| word.parse().ok());
        std::iter::once(own).chain(children).collect()
    }

    /// Seconds of CPU so far.
    fn cpu(&self) -> f64 {
        let ticks = |pid: &u32| -> Option<f64> {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            let (_, rest) = stat.rsplit_once(')')?;
            let field = |at: usize| rest.split_whitespace().nth(at)?.parse::<f64>().ok();
            Some(field(11)? + field(12)?)
        };
        self.all().iter().filter_map(ticks).sum::<f64>() / 100.0
    }

    /// MiB, pages that several share counted once.
    fn memory(&self) -> f64 {
        let own = |pid: &u32| {
            let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
            let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
            line.trim().trim_end_matches(" kB").parse::<f64>().ok()
        };
        self.all().iter().filter_map(own).sum::<f64>() / 1024.0
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(None)) {
            return;
        }
        let id = self.child.id().to_string();
        let _ = Command::new("kill").arg(&id).status();
        for _ in 0..100 {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            thread::sleep(Duration::from_millis(100));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A folder that goes with the value.
struct Folder(PathBuf);

impl Folder {
    fn make() -> Result<Self> {
        let path =
            std::env::temp_dir().join(format!("wright-bench-identity-{}", std::process::id()));
        fs::create_dir_all(&path)?;
        Ok(Folder(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

fn wait_for(port: u16, process: &mut Process, log: &Path) -> Result<()> {
    let begun = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        if let Some(status) = process.child.try_wait()? {
            bail!("ended with {status}: {}", tail(log));
        }
        if begun.elapsed() > PATIENCE {
            bail!("no answer on port {port}: {}", tail(log));
        }
        thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

fn tail(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().rev().take(12).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("\n")
}

/// MariaDB with its defaults, but for what is not looked at here.
pub struct Database {
    process: Process,
    port: u16,
    socket: PathBuf,
    folder: Folder,
}

impl Database {
    pub fn start() -> Result<Self> {
        let folder = Folder::make()?;
        let data = folder.0.join("mysql");
        let root = text(&data);
        // It runs as whoever runs this.
        let own = ["--no-defaults".to_owned(), format!("--datadir={root}")];
        let log = folder.0.join("mariadb.log");
        let install = Command::new("mariadb-install-db")
            .args(&own)
            .args([
                "--user=root",
                "--auth-root-authentication-method=normal",
                "--skip-test-db",
            ])
            .stdout(fs::File::create(&log)?)
            .status();
        if !install
            .context("cannot run `mariadb-install-db`")?
            .success()
        {
            bail!("mariadb-install-db: {}", tail(&log));
        }
        let (port, socket) = (free_port()?, folder.0.join("mysql.sock"));
        let mut process = Process::start(
            Command::new("mariadbd")
                .args(&own)
                .args([
                    "--user=root",
                    "--bind-address=127.0.0.1",
                    "--max-connections=500",
                    "--skip-log-bin",
                ])
                .arg("--innodb-buffer-pool-size=256M")
                .arg(format!("--socket={}", text(&socket)))
                .arg(format!("--port={port}"))
                .arg(format!("--pid-file={root}/pid")),
            &log,
        )?;
        wait_for(port, &mut process, &log)?;
        Ok(Database {
            process,
            port,
            socket,
            folder,
        })
    }

    /// An empty database with a user of the same name.
    fn make(&self, name: &str) -> Result<()> {
        let statements = format!(
            "create database {name} character set utf8mb4; \
             create user {name}@'127.0.0.1' identified by '{name}'; grant all on {name}.* to {name}@'127.0.0.1';"
        );
        cargo::check(
            Command::new("mariadb")
                .args(["--no-defaults", "-u", "root", "-S"])
                .arg(&self.socket)
                .args(["-e", &statements]),
        )
    }
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// The body of a log in, for the project `admin`.
pub fn login(user: &str, password: &str) -> String {
    let domain = json!({"id": "default"});
    json!({"auth": {
        "identity": {"methods": ["password"], "password": {"user": {"name": user, "domain": domain, "password": password}}},
        "scope": {"project": {"name": "admin", "domain": domain}},
    }})
    .to_string()
}

/// An identity service that runs.
pub struct Served<'a> {
    service: Process,
    /// What it has beside itself, such as memcached.
    _around: Vec<Process>,
    address: SocketAddr,
    database: &'a Database,
}

impl<'a> Served<'a> {
    /// `wright serve identity`.
    pub fn ours(database: &'a Database) -> Result<Self> {
        database.make("identity")?;
        let (port, folder) = (free_port()?, &database.folder.0);
        let file = folder.join("identity.toml");
        let settings = format!(
            "[service]\nlisten = \"127.0.0.1:{port}\"\npublic_url = \"http://127.0.0.1:{port}\"\ndata_dir = \"{data}\"\n\
             [service.database]\nurl = \"mysql://identity:identity@127.0.0.1:{database_port}/identity\"\n\
             [service.identity]\nauth_url = \"http://127.0.0.1:{port}/v3\"\nusername = \"keystone\"\npassword = \"x\"\n\
             [bootstrap]\nadmin_password = \"{ADMIN}\"\n\
             [[bootstrap.services]]\ntype = \"identity\"\nname = \"keystone\"\nuser = \"keystone\"\npassword = \"x\"\n\
             public_url = \"http://127.0.0.1:{port}/v3\"\n",
            data = text(&folder.join("identity")),
            database_port = database.port,
        );
        fs::write(&file, settings)?;
        let log = folder.join("identity.log");
        let mut service = Process::start(
            Command::new(cargo::wright())
                .args(["serve", "identity", "--config"])
                .arg(&file)
                .env("TOKIO_WORKER_THREADS", WORKERS),
            &log,
        )?;
        wait_for(port, &mut service, &log)?;
        Ok(Served {
            service,
            _around: Vec::new(),
            address: ([127, 0, 0, 1], port).into(),
            database,
        })
    }

    /// Keystone in uwsgi, with memcached.
    pub fn keystone(database: &'a Database, programs: &Path) -> Result<Self> {
        database.make("keystone")?;
        let folder = database.folder.0.join("keystone");
        fs::create_dir_all(&folder)?;
        let (port, cache) = (free_port()?, free_port()?);
        let log = folder.join("memcached.log");
        let mut memcached = Process::start(
            Command::new("memcached").args([
                "-u",
                "root",
                "-l",
                "127.0.0.1",
                "-m",
                "64",
                "-p",
                &cache.to_string(),
            ]),
            &log,
        )
        .context("Debian's package `memcached` has it")?;
        wait_for(cache, &mut memcached, &log)?;
        let settings = folder.join("keystone.conf");
        let root = text(&folder);
        fs::write(
            &settings,
            format!(
                "[DEFAULT]\nuse_stderr = true\n[database]\n\
                 connection = mysql+pymysql://keystone:keystone@127.0.0.1:{}/keystone\n\
                 [fernet_tokens]\nkey_repository = {root}/fernet\n[credential]\nkey_repository = {root}/credential\n\
                 [identity]\npassword_hash_algorithm = bcrypt\npassword_hash_rounds = {}\n\
                 [cache]\nenabled = true\nbackend = dogpile.cache.memcached\nmemcache_servers = 127.0.0.1:{cache}\n",
                database.port,
                super::ROUNDS,
            ),
        )?;
        for keys in ["fernet", "credential"] {
            let folder = folder.join(keys);
            fs::create_dir_all(&folder)?;
            use std::os::unix::fs::PermissionsExt;
            fs::set_permissions(&folder, fs::Permissions::from_mode(0o700))?;
        }
        let url = format!("http://127.0.0.1:{port}/v3");
        let log = folder.join("manage.log");
        let user = ["--keystone-user", "root", "--keystone-group", "root"];
        let url = url.as_str();
        let bootstrap = [
            "--bootstrap-password",
            ADMIN,
            "--bootstrap-region-id",
            "RegionOne",
            "--bootstrap-public-url",
            url,
            "--bootstrap-internal-url",
            url,
            "--bootstrap-admin-url",
            url,
        ];
        for (verb, arguments) in [
            ("db_sync", &[][..]),
            ("fernet_setup", &user[..]),
            ("credential_setup", &user[..]),
            ("bootstrap", &bootstrap[..]),
        ] {
            let out = fs::File::create(&log)?;
            let status = Command::new(programs.join("keystone-manage"))
                .arg(format!("--config-file={}", text(&settings)))
                .arg(verb)
                .args(arguments)
                .stdout(out.try_clone()?)
                .stderr(out)
                .status()
                .context("cannot run `keystone-manage`")?;
            if !status.success() {
                bail!("keystone-manage {verb}: {}", tail(&log));
            }
        }
        let application = folder.join("application.py");
        fs::write(
            &application,
            "from keystone.server.wsgi import initialize_public_application\napplication = initialize_public_application()\n",
        )?;
        let log = folder.join("keystone.log");
        let mut service = Process::start(
            Command::new(programs.join("uwsgi"))
                .args([
                    "--master",
                    "--lazy-apps",
                    "--need-app",
                    "--enable-threads",
                    "--thunder-lock",
                    "--die-on-term",
                ])
                .args([
                    "--disable-logging",
                    "--buffer-size",
                    "65535",
                    "--processes",
                    WORKERS,
                    "--threads",
                    "1",
                ])
                .args([
                    "--add-header",
                    "Connection: close",
                    "--http-socket",
                    &format!("127.0.0.1:{port}"),
                ])
                .arg("--wsgi-file")
                .arg(&application)
                .env("OS_KEYSTONE_CONFIG_FILES", &settings),
            &log,
        )?;
        wait_for(port, &mut service, &log)?;
        Ok(Served {
            service,
            _around: vec![memcached],
            address: ([127, 0, 0, 1], port).into(),
            database,
        })
    }

    /// A token for the project `admin`.
    pub fn token(&self, user: &str, password: &str) -> Result<String> {
        let answer = load::once(
            self.address,
            &Request::post("/v3/auth/tokens", &login(user, password)),
        )?;
        let token = answer.header("x-subject-token").map(str::to_owned);
        token.with_context(|| {
            format!(
                "no token: {} {}",
                answer.status,
                String::from_utf8_lossy(&answer.body)
            )
        })
    }

    /// Makes a user who is an administrator in the project `admin`; the name.
    pub fn user(&self, password: &str) -> Result<String> {
        let token = self.token("admin", ADMIN)?;
        let ask = |request: Request| -> Result<Json> {
            let answer = load::once(self.address, &request.header("X-Auth-Token", &token))?;
            if answer.status >= 300 {
                bail!(
                    "{}: {}",
                    answer.status,
                    String::from_utf8_lossy(&answer.body)
                );
            }
            Ok(serde_json::from_slice(&answer.body).unwrap_or_default())
        };
        let id = |found: &Json, way: &str| -> Result<String> {
            let id = found.pointer(way).and_then(Json::as_str);
            id.map(str::to_owned)
                .with_context(|| format!("no {way} in {found}"))
        };
        let name = "bench";
        let body = json!({"user": {"name": name, "domain_id": "default", "password": password}});
        let user = id(
            &ask(Request::post("/v3/users", &body.to_string()))?,
            "/user/id",
        )?;
        let project = id(
            &ask(Request::get("/v3/projects?name=admin"))?,
            "/projects/0/id",
        )?;
        let role = id(&ask(Request::get("/v3/roles?name=admin"))?, "/roles/0/id")?;
        ask(Request::put(&format!(
            "/v3/projects/{project}/users/{user}/roles/{role}"
        )))?;
        Ok(name.to_owned())
    }

    /// What a load costs.
    pub fn measure(&self, load: &Load, request: &Request, status: u16) -> Result<Measured> {
        let (cpu, database) = (self.service.cpu(), self.database.process.cpu());
        let (mut took, seconds) = load::run(self.address, load, request, status)?;
        took.sort_by(f64::total_cmp);
        let count = took.len() as f64;
        let at = |share: f64| took[((count - 1.0) * share) as usize] * 1000.0;
        Ok(Measured {
            rate: count / seconds,
            cpu_ms: (self.service.cpu() - cpu) * 1000.0 / count,
            database_ms: (self.database.process.cpu() - database) * 1000.0 / count,
            median_ms: at(0.5),
            slow_ms: at(0.99),
        })
    }

    /// MiB of all its processes.
    pub fn memory(&self) -> Result<f64> {
        let memory = self.service.memory();
        anyhow::ensure!(memory > 0.0, "the memory of the service cannot be read");
        Ok(memory)
    }
}
