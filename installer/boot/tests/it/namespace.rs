//! A thread in a fresh network namespace; what it starts lives there too, and the namespace ends with the last
//! of them. It has no name, so nothing of it can be left behind.
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;

use boot::dhcp::{DhcpPolicy, Reservation};
use boot::{BootChoice, BootConfig, BootPolicy, Mac, Observed};

/// Runs the test in a fresh namespace, or says why that cannot be.
pub fn in_namespace(test: impl FnOnce() + Send + 'static) {
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: network namespaces and port 67 need root");
        return;
    }
    let thread = std::thread::spawn(|| {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
        ip("link set lo up");
        test();
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// Runs `ip` with these words.
pub fn ip(words: &str) {
    let status = Command::new("ip").args(words.split(' ')).status().unwrap();
    assert!(status.success(), "ip {words}");
}

/// A runtime whose threads all are in this thread's namespace.
pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

pub const MAC: &str = "52:54:00:aa:00:01";
pub const TOKEN: &str = "one-time-token-of-node-1";

/// Serves 10.20.0.1/24 on `interface`; the machine [`MAC`] has `address`.
pub fn config(interface: &str, server: &str, address: &str, folder: &Path) -> BootConfig {
    for name in ["kernel", "ramdisk", "image"] {
        let path = folder.join(name);
        if !path.exists() {
            std::fs::write(path, name.repeat(1000)).unwrap();
        }
    }
    let machine = Reservation {
        address: address.parse().unwrap(),
        hostname: "node-1".into(),
    };
    BootConfig {
        interface: interface.into(),
        dhcp: DhcpPolicy {
            server: server.parse().unwrap(),
            http_port: 7080,
            network: ipnetwork::Ipv4Network::new(server.parse().unwrap(), 24).unwrap(),
            gateway: None,
            dns: Vec::new(),
            lease_seconds: 3600,
            reservations: HashMap::from([(MAC.parse().unwrap(), machine)]),
            pool: None,
        },
        kernel: folder.join("kernel"),
        ramdisk: folder.join("ramdisk"),
        images: BTreeMap::from([("base".into(), folder.join("image"))]),
        files: BTreeMap::from([("gone".into(), folder.join("gone"))]),
        loaders: boot::server::DEBIAN_LOADERS.into(),
    }
}

/// Lets the machine boot the ramdisk, gives its token once, and writes down what it saw.
pub struct Recorder {
    pub seen: Mutex<Vec<Observed>>,
    token: Mutex<Option<String>>,
}

impl Recorder {
    pub fn new() -> Self {
        Self {
            seen: Mutex::default(),
            token: Mutex::new(Some(TOKEN.into())),
        }
    }
}

#[async_trait::async_trait]
impl BootPolicy for Recorder {
    async fn choose(&self, _: Mac) -> BootChoice {
        let address = "10.20.0.11/24".parse().unwrap();
        BootChoice::Ramdisk {
            address,
            arguments: vec!["quiet".into()],
        }
    }

    async fn take_token(&self, _: Mac) -> Option<String> {
        self.token.lock().unwrap().take()
    }

    fn observe(&self, observed: Observed) {
        self.seen.lock().unwrap().push(observed);
    }
}
