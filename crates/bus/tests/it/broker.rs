//! A RabbitMQ server in a temporary folder, on loopback, that speaks TLS only.

use std::{
    net::TcpListener,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

pub struct Broker {
    child: Child,
    _mapper: Mapper,
    _folder: tempfile::TempDir,
    pub url: String,
    /// PEM of what signed its certificate.
    pub ca: String,
}

impl Drop for Broker {
    fn drop(&mut self) {
        // The server is the head of a group of its own: the shell script, the Erlang machine, its helpers.
        let _ = Command::new("kill")
            .arg("-KILL")
            .arg("--")
            .arg(format!("-{}", self.child.id()))
            .status();
        let _ = self.child.wait();
    }
}

/// Erlang's port mapper: ours, because one that the server starts by itself outlives it.
struct Mapper(Child);

impl Drop for Mapper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

const SERVER: &str = "/usr/lib/rabbitmq/bin/rabbitmq-server";

impl Broker {
    pub async fn start() -> Result<Broker, String> {
        if !Path::new(SERVER).exists() {
            return Err(format!(
                "{SERVER} is not installed (package rabbitmq-server)"
            ));
        }
        let folder = tempfile::Builder::new()
            .prefix("stackwright-rabbit-")
            .tempdir()
            .map_err(|e| e.to_string())?;
        let at = |name: &str| folder.path().join(name);
        let port = || -> std::io::Result<u16> {
            Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
        };
        let (amqp, dist, epmd) = (
            port().map_err(|e| e.to_string())?,
            port().map_err(|e| e.to_string())?,
            port().map_err(|e| e.to_string())?,
        );
        let write =
            |name: &str, text: &str| std::fs::write(at(name), text).map_err(|e| e.to_string());
        let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()])
            .map_err(|e| e.to_string())?;
        let ca = made.cert.pem();
        write("node.pem", &ca)?;
        write("node.key", &made.signing_key.serialize_pem())?;
        write(
            "rabbitmq.conf",
            &format!(
                "listeners.tcp = none\nlisteners.ssl.1 = 127.0.0.1:{amqp}\n\
                 ssl_options.certfile = {}\nssl_options.keyfile = {}\nssl_options.verify = verify_none\n",
                at("node.pem").display(),
                at("node.key").display()
            ),
        )?;
        write("plugins", "[].\n")?;
        write("env", "")?;
        write(".erlang.cookie", "STACKWRIGHTTEST")?;
        std::fs::set_permissions(at(".erlang.cookie"), std::fs::Permissions::from_mode(0o400))
            .map_err(|e| e.to_string())?;
        let mapper = Command::new("epmd")
            .args(["-port", &epmd.to_string(), "-address", "127.0.0.1"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|e| format!("epmd: {e}"))?;
        let mapper = Mapper(mapper);
        // The server would start one that outlives it if this one did not listen yet.
        let started = Instant::now();
        while tokio::net::TcpStream::connect(("127.0.0.1", epmd))
            .await
            .is_err()
        {
            assert!(
                started.elapsed() < Duration::from_secs(120),
                "epmd does not listen"
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let log = std::fs::File::create(at("out")).map_err(|e| e.to_string())?;
        let child = Command::new(SERVER)
            .env_clear()
            .env(
                "PATH",
                "/usr/lib/rabbitmq/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            )
            .env("LANG", "C.UTF-8")
            .env("HOME", folder.path())
            .env(
                "RABBITMQ_NODENAME",
                format!("test{}@localhost", std::process::id()),
            )
            .env("RABBITMQ_DIST_PORT", dist.to_string())
            .env("ERL_EPMD_PORT", epmd.to_string())
            .env("ERL_EPMD_ADDRESS", "127.0.0.1")
            .env("RABBITMQ_MNESIA_BASE", at("mnesia"))
            .env("RABBITMQ_LOG_BASE", at("log"))
            .env("RABBITMQ_CONFIG_FILE", at("rabbitmq.conf"))
            .env("RABBITMQ_ENABLED_PLUGINS_FILE", at("plugins"))
            .env("RABBITMQ_CONF_ENV_FILE", at("env"))
            .env("RABBITMQ_PID_FILE", at("pid"))
            .env(
                "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS",
                "+S 1:1 +sbwt none +A 4",
            )
            .stdin(Stdio::null())
            .stdout(log.try_clone().map_err(|e| e.to_string())?)
            .stderr(log)
            .process_group(0)
            .spawn()
            .map_err(|e| e.to_string())?;
        let mut broker = Broker {
            child,
            _mapper: mapper,
            _folder: folder,
            ca,
            url: format!("amqps://guest:guest@127.0.0.1:{amqp}/%2f"),
        };
        // Slow on a loaded machine; it is given up when the process ends or after ten minutes.
        let started = Instant::now();
        loop {
            if tokio::net::TcpStream::connect(("127.0.0.1", amqp))
                .await
                .is_ok()
            {
                return Ok(broker);
            }
            if let Ok(Some(status)) = broker.child.try_wait() {
                let out =
                    std::fs::read_to_string(broker._folder.path().join("out")).unwrap_or_default();
                panic!("RabbitMQ ended with {status}: {out}");
            }
            assert!(
                started.elapsed() < Duration::from_secs(600),
                "RabbitMQ does not listen after ten minutes"
            );
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}
