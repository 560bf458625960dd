//! A machine as the boot server sees it: requests from its reserved address.
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use agent_protocol::enrol::{Disk, Hardware, InstallOrders, Installed, Nic, Orders};
use serde::Serialize;

pub const HOST_KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";

/// One machine of `inventories/lab`.
#[derive(Clone)]
pub struct Machine {
    pub address: &'static str,
    pub macs: Vec<String>,
    pub token: String,
}

/// Status and body.
pub type Answer = (u16, Vec<u8>);

impl Machine {
    /// The lab's node of that number.
    pub fn new(number: u8) -> Self {
        Self {
            address: ["10.20.0.11", "10.20.0.12"][usize::from(number) - 1],
            macs: (0..5)
                .map(|card| format!("52:54:00:20:{number:02x}:{card:02x}"))
                .collect(),
            token: String::new(),
        }
    }

    pub fn get(&self, path: &str) -> Answer {
        self.request(&format!("GET {path} HTTP/1.1\r\n"), b"")
    }

    pub fn post(&self, call: &str, report: &impl Serialize) -> Answer {
        let body = serde_json::to_vec(report).unwrap();
        let head = format!(
            "POST /agent/v1/{call} HTTP/1.1\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n",
            self.token,
            body.len()
        );
        self.request(&head, &body)
    }

    fn request(&self, head: &str, body: &[u8]) -> Answer {
        let socket =
            socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        let from: SocketAddr = format!("{}:0", self.address).parse().unwrap();
        let to: SocketAddr = "10.20.0.1:7080".parse().unwrap();
        socket.bind(&from.into()).unwrap();
        socket.connect(&to.into()).unwrap();
        let mut stream: TcpStream = socket.into();
        stream
            .set_read_timeout(Some(Duration::from_secs(120)))
            .unwrap();
        write!(stream, "{head}Host: x\r\nConnection: close\r\n\r\n").unwrap();
        stream.write_all(body).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let end = answer
            .windows(4)
            .position(|four| four == b"\r\n\r\n")
            .unwrap();
        let status = String::from_utf8_lossy(&answer[9..12]).parse().unwrap();
        (status, answer[end + 4..].to_vec())
    }

    pub fn script(&self) -> String {
        let (status, script) = self.get(&format!("/boot/{}", self.macs[0]));
        assert_eq!(status, 200);
        String::from_utf8(script).unwrap()
    }

    /// Asks for the token as iPXE does; the answer's status.
    pub fn fetch_token(&mut self) -> u16 {
        let (status, archive) = self.get(&format!("/boot/{}/token", self.macs[0]));
        if status == 200 {
            let text = String::from_utf8_lossy(&archive).into_owned();
            let (_, after_name) = text.split_once("etc/wright/token\0").unwrap();
            self.token = after_name.trim_start_matches('\0')[..64].to_owned();
        }
        status
    }

    /// From power-on to a ramdisk with a token.
    pub fn boot(&mut self) {
        assert!(self.script().contains("boots the installer"));
        assert_eq!(self.get("/boot/kernel").0, 200);
        assert_eq!(self.fetch_token(), 200);
        assert_eq!(self.get("/boot/ramdisk").0, 200);
    }

    pub fn hardware(&self) -> Hardware {
        Hardware {
            protocol: agent_protocol::PROTOCOL,
            boot_mac: self.macs[0].clone(),
            vendor: None,
            product: None,
            serial: None,
            uuid: None,
            firmware: "bios".into(),
            cpu_model: "emulated".into(),
            cpu_count: 2,
            memory_bytes: 1536 << 20,
            nics: self
                .macs
                .iter()
                .enumerate()
                .map(|(number, mac)| nic(number, mac))
                .collect(),
            disks: vec![Disk {
                name: "vda".into(),
                size_bytes: 10 << 30,
                rotational: false,
                serial: None,
                model: None,
            }],
            kernel: "6.1.0-56-cloud-amd64".into(),
        }
    }

    /// Reports its hardware and takes its orders.
    pub fn orders(&self) -> InstallOrders {
        let (status, body) = self.post("hardware", &self.hardware());
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
        match serde_json::from_slice(&body).unwrap() {
            Orders::Install(orders) => *orders,
            other => panic!("{other:?}"),
        }
    }

    pub fn installed(&self, orders: &InstallOrders) -> u16 {
        let report = Installed {
            ssh_host_key: format!("{HOST_KEY} root@node"),
            image_sha256: orders.image.sha256.clone(),
            seconds: 30,
        };
        self.post("installed", &report).0
    }
}

fn nic(number: usize, mac: &str) -> Nic {
    Nic {
        name: format!("eth{number}"),
        mac: mac.into(),
        carrier: true,
        ..Nic::default()
    }
}
