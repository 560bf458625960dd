//! Real databases for tests: MariaDB and PostgreSQL as child processes in a temporary folder.
//!
//! [`each`] runs one closure on SQLite and on every server whose programs are installed, and
//! prints why it leaves one out. Servers listen on loopback ports of the kernel's choice and end
//! with the test.

use crate::store;
use sea_orm::{ConnectionTrait, DatabaseConnection};
use sea_orm_migration::MigratorTrait;
use std::{
    future::Future,
    io,
    net::TcpListener,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

/// A running server; it is killed when dropped.
pub struct Server {
    child: Option<Child>,
    _folder: tempfile::TempDir,
    /// URL of an empty database.
    pub url: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Runs `test` on SQLite, MariaDB and PostgreSQL, one after the other.
pub async fn each<F, Fut>(test: F)
where
    F: Fn(DatabaseConnection) -> Fut,
    Fut: Future<Output = ()>,
{
    for name in ["SQLite", "MariaDB", "PostgreSQL"] {
        let started = match name {
            "MariaDB" => mariadb(),
            "PostgreSQL" => postgresql(),
            _ => sqlite(),
        };
        match started {
            Ok(server) => {
                eprintln!("on {name}");
                let db = store::connect(&server.url)
                    .await
                    .expect("a test's database can be reached");
                test(db.clone()).await;
                let _ = db.close().await;
            }
            Err(reason) => eprintln!("skipped on {name}: {reason}"),
        }
    }
}

/// Migrations as a start that was killed, or several controllers at once, make them: run side by side, and again as
/// if none of them had been written down. Panics where one cannot go on.
pub async fn migrate_again<M: MigratorTrait>(db: &DatabaseConnection) {
    let (one, two, three) = tokio::join!(
        store::migrate::<M>(db),
        store::migrate::<M>(db),
        store::migrate::<M>(db)
    );
    one.and(two)
        .and(three)
        .expect("migrations that run side by side");
    db.execute_unprepared("DELETE FROM seaql_migrations")
        .await
        .expect("what was written down can be forgotten");
    store::migrate::<M>(db)
        .await
        .expect("migrations that find their own tables");
}

fn folder() -> Result<tempfile::TempDir, String> {
    let folder = tempfile::Builder::new()
        .prefix("stackwright-db-")
        .tempdir()
        .map_err(|e| e.to_string())?;
    // A server that runs as another user must be able to enter.
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755))
        .map_err(|e| e.to_string())?;
    Ok(folder)
}

fn sqlite() -> Result<Server, String> {
    let folder = folder()?;
    let url = format!("sqlite://{}/test.db", folder.path().display());
    Ok(Server {
        child: None,
        _folder: folder,
        url,
    })
}

/// Starts MariaDB with an empty database `test`.
pub fn mariadb() -> Result<Server, String> {
    mariadb_with(&[])
}

/// The same with further arguments.
pub fn mariadb_with(arguments: &[String]) -> Result<Server, String> {
    let install = find(&["mariadb-install-db", "mysql_install_db"])?;
    let daemon = find(&["mariadbd", "mysqld"])?;
    let folder = folder()?;
    let data = folder.path().join("data");
    // Each server clears its folder of temporary tables when it starts: in a shared one, the others' too.
    let temporary = format!("--tmpdir={}", folder.path().display());
    let owner = current_user();
    quiet(
        Command::new(install)
            .arg("--no-defaults")
            .arg(format!("--datadir={}", data.display()))
            .arg(&temporary)
            .args(["--auth-root-authentication-method=normal", "--skip-test-db"])
            .arg(format!("--user={owner}")),
    )?;
    let port = free_port()?;
    // The database is made by the server itself before it accepts anybody.
    let init = folder.path().join("init.sql");
    std::fs::write(
        &init,
        "CREATE DATABASE test CHARACTER SET utf8mb4;\nCREATE USER test@'127.0.0.1' IDENTIFIED BY 'test';\nGRANT ALL ON test.* TO test@'127.0.0.1';\n",
    )
    .map_err(|e| e.to_string())?;
    let child = Command::new(daemon)
        .arg("--no-defaults")
        .arg(format!("--datadir={}", data.display()))
        .arg(&temporary)
        .arg(format!("--socket={}", folder.path().join("s").display()))
        .arg(format!(
            "--pid-file={}",
            folder.path().join("pid").display()
        ))
        .arg(format!("--port={port}"))
        .arg(format!("--user={owner}"))
        .arg(format!("--init-file={}", init.display()))
        .args([
            "--bind-address=127.0.0.1",
            "--skip-name-resolve",
            "--innodb-flush-log-at-trx-commit=1",
        ])
        .args(["--innodb-buffer-pool-size=32M", "--skip-log-bin"])
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(log(folder.path())?)
        .spawn()
        .map_err(|e| e.to_string())?;
    Ok(Server {
        child: Some(child),
        _folder: folder,
        url: format!("mysql://test:test@127.0.0.1:{port}/test"),
    })
}

/// Starts PostgreSQL with an empty database `test`; as user `postgres` when the test is root.
pub fn postgresql() -> Result<Server, String> {
    let initdb = find_postgresql("initdb")?;
    let daemon = find_postgresql("postgres")?;
    let folder = folder()?;
    let data = folder.path().join("data");
    std::fs::create_dir(&data).map_err(|e| e.to_string())?;
    let user = if current_user() == "root" {
        let (uid, gid) = account("postgres")
            .ok_or("PostgreSQL refuses root, and there is no user `postgres`")?;
        std::os::unix::fs::chown(&data, Some(uid), Some(gid)).map_err(|e| e.to_string())?;
        Some((uid, gid))
    } else {
        None
    };
    let as_user = |program: &Path| {
        let mut command = Command::new(program);
        command.current_dir(folder.path());
        if let Some((uid, gid)) = user {
            command.uid(uid).gid(gid);
        }
        command
    };
    quiet(as_user(&initdb).arg("-D").arg(&data).args([
        "-U",
        "test",
        "-A",
        "trust",
        "-E",
        "UTF8",
        "--no-sync",
    ]))?;
    let port = free_port()?;
    let child = as_user(&daemon)
        .arg("-D")
        .arg(&data)
        .args(["-p", &port.to_string(), "-h", "127.0.0.1", "-k", ""])
        .stdout(Stdio::null())
        .stderr(log(folder.path())?)
        .spawn()
        .map_err(|e| e.to_string())?;
    // `initdb` makes a database `postgres`: empty, and good enough.
    Ok(Server {
        child: Some(child),
        _folder: folder,
        url: format!("postgres://test@127.0.0.1:{port}/postgres"),
    })
}

fn quiet(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|e| format!("{command:?}: {e}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!(
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    ))
}

fn log(folder: &Path) -> Result<std::fs::File, String> {
    std::fs::File::create(folder.join("log")).map_err(|e| e.to_string())
}

fn free_port() -> Result<u16, String> {
    let listen =
        || -> io::Result<u16> { Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port()) };
    listen().map_err(|e| e.to_string())
}

/// Finds a program in the usual folders.
pub fn find(names: &[&str]) -> Result<PathBuf, String> {
    let folders = ["/usr/sbin", "/usr/bin", "/usr/local/sbin", "/usr/local/bin"];
    names
        .iter()
        .flat_map(|name| {
            folders
                .iter()
                .map(move |folder| Path::new(folder).join(name))
        })
        .find(|path| path.is_file())
        .ok_or_else(|| format!("`{}` is not installed", names.join("` or `")))
}

fn find_postgresql(name: &str) -> Result<PathBuf, String> {
    let mut versions: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .map_err(|_| "PostgreSQL is not installed (no /usr/lib/postgresql)".to_owned())?
        .filter_map(|entry| Some(entry.ok()?.path().join("bin").join(name)))
        .filter(|path| path.is_file())
        .collect();
    versions.sort();
    versions
        .pop()
        .ok_or_else(|| format!("PostgreSQL's `{name}` is not installed"))
}

fn current_user() -> String {
    let uid = std::fs::metadata("/proc/self")
        .map(|meta| std::os::unix::fs::MetadataExt::uid(&meta))
        .unwrap_or(0);
    passwd(|fields| fields.get(2) == Some(&uid.to_string().as_str()))
        .map_or_else(|| "root".to_owned(), |(name, ..)| name)
}

fn account(name: &str) -> Option<(u32, u32)> {
    passwd(|fields| fields.first() == Some(&name)).map(|(_, uid, gid)| (uid, gid))
}

fn passwd(wanted: impl Fn(&[&str]) -> bool) -> Option<(String, u32, u32)> {
    let text = std::fs::read_to_string("/etc/passwd").ok()?;
    text.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        if !wanted(&fields) {
            return None;
        }
        Some((
            fields.first()?.to_string(),
            fields.get(2)?.parse().ok()?,
            fields.get(3)?.parse().ok()?,
        ))
    })
}
