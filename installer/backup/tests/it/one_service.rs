//! One service's database, dumped from a real server and brought back into it. The controllers are this machine, systemd
//! is a script that notes what it is told.
use backup::manifest::{Kind, Manifest};
use backup::nodes::{self, Work};
use backup::restore::{self, Target};
use backup::{Nodes, Shelf, pack, tables};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

struct Server {
    folder: tempfile::TempDir,
    child: Child,
}

impl Server {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a part of the trial");
        let root = folder.path();
        let run = |command: &mut Command| {
            let output = command.output().expect("a part of the trial");
            assert!(
                output.status.success(),
                "{}",
                String::from_utf8_lossy(&output.stderr)
            );
        };
        fs::set_permissions(root, fs::Permissions::from_mode(0o755)).expect("a part of the trial");
        run(Command::new("chown").arg("mysql").arg(root));
        run(Command::new("mariadb-install-db")
            .args([
                "--no-defaults",
                "--user=mysql",
                "--auth-root-authentication-method=socket",
                "--skip-test-db",
            ])
            .arg(format!("--datadir={}", root.join("data").display())));
        let child = Command::new("/usr/sbin/mariadbd")
            .args([
                "--no-defaults",
                "--user=mysql",
                "--skip-networking",
                "--innodb-buffer-pool-size=32M",
            ])
            .arg(format!("--datadir={}", root.join("data").display()))
            .arg(format!("--socket={}", root.join("s").display()))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("a part of the trial");
        let server = Server { folder, child };
        let began = Instant::now();
        while server.sql("SELECT 1").is_err() {
            assert!(
                began.elapsed() < Duration::from_secs(60),
                "the server does not start"
            );
            std::thread::sleep(Duration::from_millis(100));
        }
        let settings = format!("[client]\nsocket={}\n", server.socket().display());
        fs::write(server.folder.path().join(".my.cnf"), settings).expect("a part of the trial");
        let bin = server.folder.path().join("bin");
        fs::create_dir(&bin).expect("a part of the trial");
        let systemctl = bin.join("systemctl");
        fs::write(
            &systemctl,
            format!("#!/bin/sh\necho \"$@\" >> {}\n", server.notes().display()),
        )
        .expect("a part of the trial");
        fs::set_permissions(&systemctl, fs::Permissions::from_mode(0o755))
            .expect("a part of the trial");
        server
    }

    fn notes(&self) -> PathBuf {
        self.folder.path().join("notes")
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("s")
    }

    fn sql(&self, sql: &str) -> Result<String, String> {
        let output = Command::new("mariadb")
            .arg("--no-defaults")
            .arg(format!("--socket={}", self.socket().display()))
            .args(["-NBe", sql])
            .output()
            .expect("a part of the trial");
        match output.status.success() {
            true => Ok(String::from_utf8(output.stdout).expect("a part of the trial")),
            false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Nodes for Server {
    fn command(&self, _: &str, script: &str, args: &[&str]) -> Result<Command, String> {
        let path = std::env::var("PATH").unwrap_or_default();
        // The real socket's place is a controller's.
        let script = script.replace(
            "/run/mysqld/mysqld.sock",
            &self.socket().display().to_string(),
        );
        let args = args.iter().map(|arg| match *arg {
            "/run/mysqld/mysqld.sock" => self.socket().display().to_string(),
            other => other.to_owned(),
        });
        let mut command = Command::new("sh");
        command
            .args(["-c", &script, "sh"])
            .args(args)
            .env(
                "PATH",
                format!("{}:{path}", self.folder.path().join("bin").display()),
            )
            .env("HOME", self.folder.path());
        Ok(command)
    }
}

fn work<'a>(script: &'a str, args: &'a [&'a str]) -> Work<'a> {
    Work {
        doing: "a trial",
        script,
        args,
        limit: Duration::from_secs(60),
    }
}

#[test]
fn tables_come_back_to_the_last_row_and_the_old_ones_stay() {
    if !nix::unistd::geteuid().is_root() || !Path::new("/usr/sbin/mariadbd").exists() {
        println!("skipped: it needs root and `mariadbd`");
        return;
    }
    let server = Server::start();
    server
        .sql(
            "CREATE DATABASE network; USE network;
             CREATE TABLE networks (id INT PRIMARY KEY, name VARCHAR(40));
             CREATE TABLE subnets (id INT PRIMARY KEY, network INT NOT NULL, CONSTRAINT of_network FOREIGN KEY (network) REFERENCES networks (id));
             INSERT INTO networks VALUES (1, 'blåbær'), (2, NULL); INSERT INTO subnets VALUES (1, 2);",
        )
        .unwrap();
    let look = || {
        let said = nodes::run(
            &server,
            "node-1",
            work(
                include_str!("../../src/scripts/tables.sh"),
                &["/run/mysqld/mysqld.sock"],
            ),
        );
        tables::parse(&said.unwrap()).unwrap()
    };
    let before = look();
    assert_eq!(before["network.networks"].rows, 2);

    let shelf = Shelf::new(server.folder.path().join("backups"), "lab");
    let draft = shelf.begin("1").unwrap();
    let kind = Kind::Dump {
        database: "network".into(),
    };
    let dump = nodes::pull(
        &server,
        "node-1",
        work(include_str!("../../src/scripts/dump.sh"), &["network"]),
        |stream| pack::pack(draft.path(), "network.sql.zst", kind, stream),
    );
    let manifest = Manifest {
        format: Manifest::format(),
        id: "1".into(),
        environment: "lab".into(),
        created_at: "2026-11-27T15:00:00Z".into(),
        version: "0.1.0".into(),
        server: String::new(),
        node: "node-1".into(),
        position: None,
        parts: vec![dump.unwrap()],
        images_left_out: None,
        tables: tables::between(&before, &look()),
    };
    draft.finish(&manifest).unwrap();

    server.sql("USE network; DROP TABLE subnets; DELETE FROM networks WHERE id = 2; INSERT INTO networks VALUES (3, 'later')").unwrap();
    let controllers = ["node-1".to_owned()];
    let target = Target {
        controllers: &controllers,
        services: &["network"],
        images: false,
        stamp: "now",
    };
    for _ in 0..2 {
        let restored =
            restore::service(&shelf, &server, &target, &manifest, "network", &|_| ()).unwrap();
        assert_eq!((restored.same, restored.faults), (2, Vec::new()));
        assert_eq!(look(), before);
    }
    // The key is the restored tables' own.
    assert!(
        server
            .sql("INSERT INTO network.subnets VALUES (9, 3)")
            .is_err()
    );
    server
        .sql("INSERT INTO network.subnets VALUES (9, 1)")
        .unwrap();
    assert_eq!(
        server
            .sql("SELECT COUNT(*) FROM network__before.networks")
            .unwrap(),
        "2\n"
    );
    let notes = fs::read_to_string(server.notes()).unwrap();
    assert_eq!(
        notes,
        "stop wright-network\nstart wright-network\n".repeat(2)
    );

    let unknown = restore::service(&shelf, &server, &target, &manifest, "compute", &|_| ());
    assert_eq!(
        unknown.unwrap_err().to_string(),
        "backup `1` has no dump of `compute`; it has network"
    );
}
