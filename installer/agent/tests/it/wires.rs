//! Wires of network namespaces: nodes with three cards each on bridges, faults put in by hand, and strangers. All names
//! begin with `vn` and this process's id, and all of it goes when the value is dropped.
use std::net::{Ipv4Addr, UdpSocket};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use wiring::{Link, Network, Node, Plan};

pub const CARDS: [&str; 3] = ["eth0", "eth1", "eth2"];

/// Networks on the three cards: `pxe` and `storage` without tags, `mgmt` and `app` on one trunk.
pub fn plan(nodes: usize) -> Plan {
    let network = |name: &str| Network {
        name: name.into(),
        is_boot: name == "pxe",
        own_dhcp: vec![Ipv4Addr::new(10, 0, 0, 1)],
        own_vrrp: vec![51],
        vips: if name == "storage" {
            vec![Ipv4Addr::new(10, 3, 0, 5)]
        } else {
            Vec::new()
        },
    };
    let link = |nic: &str, network: usize, vlan, mtu, node: usize| Link {
        nic: nic.into(),
        bond: None,
        network,
        vlan,
        mtu,
        address: Some(address(network, node)),
        gateway: (network == 3).then_some(Ipv4Addr::new(10, 3, 0, 1)),
    };
    let node = |node: usize| Node {
        name: format!("node-{node}"),
        links: vec![
            link("eth0", 0, None, 1500, node),
            link("eth1", 1, Some(101), 1500, node),
            link("eth1", 2, Some(102), 1500, node),
            link("eth2", 3, None, 3000, node),
        ],
        ..Node::default()
    };
    Plan {
        networks: ["pxe", "mgmt", "app", "storage"].map(network).into(),
        nodes: (1..=nodes).map(node).collect(),
    }
}

pub fn address(network: usize, node: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, network as u8, 0, node as u8 + 10)
}

pub struct Wires {
    prefix: String,
    namespaces: Vec<String>,
    strangers: Vec<(Arc<AtomicBool>, JoinHandle<()>)>,
}

impl Wires {
    /// `None`, with a word why, where this cannot be tested.
    pub fn new(nodes: usize, name: &str) -> Option<Self> {
        if !nix::unistd::geteuid().is_root() {
            println!("skipped: network namespaces need root");
            return None;
        }
        let mut wires = Wires {
            prefix: format!("vn{}{name}", std::process::id()),
            namespaces: Vec::new(),
            strangers: Vec::new(),
        };
        let switch = wires.add("sw");
        let bridges: String = ["br0", "br1", "br2"]
            .map(|bridge| format!("link add {bridge} type bridge\nlink set {bridge} mtu 9000 up\n"))
            .concat();
        batch(&switch, &bridges);
        for node in 1..=nodes {
            let namespace = wires.add(&format!("n{node}"));
            let mut words = String::new();
            for (number, card) in CARDS.iter().enumerate() {
                // The cards stay down: the agent is to bring them up for its time.
                words += &format!(
                    "link add p{node}-{number} mtu 3000 type veth peer name {card} mtu 3000 netns {namespace}\n\
                     link set p{node}-{number} master br{number} up\n"
                );
            }
            batch(&switch, &words);
        }
        Some(wires)
    }

    pub fn name_of(&self, name: &str) -> String {
        format!("{}-{name}", self.prefix)
    }

    fn add(&mut self, name: &str) -> String {
        let name = self.name_of(name);
        ip(&["netns", "add", &name]);
        self.namespaces.push(name.clone());
        name
    }

    /// Changes the switch, in words of `ip`, one command a line.
    pub fn switch(&self, words: &str) {
        batch(&self.name_of("sw"), words);
    }

    /// Drops a tag on the switch port of a node's card; whether that can be done here.
    pub fn drop_tag(&self, node: usize, card: usize, tag: u16) -> bool {
        for way in ["-i", "-o"] {
            let words =
                format!("-A FORWARD -p 802_1Q {way} p{node}-{card} --vlan-id {tag} -j DROP");
            let mut ebtables = Command::new("ip");
            ebtables.args(["netns", "exec", &self.name_of("sw"), "ebtables"]);
            if !ebtables
                .args(words.split(' '))
                .status()
                .is_ok_and(|status| status.success())
            {
                println!("skipped in part: no ebtables to drop a tag with");
                return false;
            }
        }
        true
    }

    /// A machine that is not of the plan, on this bridge with these addresses; `work` is done there until the end.
    pub fn stranger(
        &mut self,
        name: &str,
        bridge: usize,
        addresses: &[Ipv4Addr],
        work: impl Fn() + Send + 'static,
    ) {
        let namespace = self.add(name);
        self.switch(&format!(
            "link add {name} mtu 3000 type veth peer name eth0 mtu 3000 netns {namespace}\nlink set {name} master br{bridge} up"
        ));
        let of: String = addresses
            .iter()
            .map(|address| format!("address add {address}/24 dev eth0\n"))
            .collect();
        batch(
            &namespace,
            &format!("link set eth0 up\n{of}route add default dev eth0\n"),
        );
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, path) = (stop.clone(), format!("/run/netns/{namespace}"));
        let thread = std::thread::spawn(move || {
            let file = std::fs::File::open(path).unwrap();
            nix::sched::setns(file, nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
            while !stopped.load(Ordering::Relaxed) {
                work();
            }
        });
        self.strangers.push((stop, thread));
    }
}

impl Drop for Wires {
    fn drop(&mut self) {
        for (stop, thread) in self.strangers.drain(..) {
            stop.store(true, Ordering::Relaxed);
            let _ = thread.join();
        }
        for namespace in &self.namespaces {
            let _ = Command::new("ip")
                .args(["netns", "delete", namespace])
                .status();
        }
    }
}

fn ip(words: &[&str]) {
    assert!(
        Command::new("ip").args(words).status().unwrap().success(),
        "ip {words:?}"
    );
}

/// Many commands of `ip` in one process.
fn batch(namespace: &str, words: &str) {
    use std::io::Write;
    let mut command = Command::new("ip");
    command
        .args(["-n", namespace, "-batch", "-"])
        .stdin(std::process::Stdio::piped());
    let mut child = command.spawn().unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(words.as_bytes())
        .unwrap();
    assert!(child.wait().unwrap().success(), "{words}");
}

/// Is up, and does nothing of its own.
pub fn idle() {
    std::thread::sleep(Duration::from_millis(20));
}

/// Offers an address to whoever asks.
pub fn serve_dhcp(server: Ipv4Addr) -> impl Fn() + Send + 'static {
    move || {
        let socket = UdpSocket::bind("0.0.0.0:67").unwrap();
        socket.set_broadcast(true).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_millis(200)))
            .unwrap();
        let mut message = [0; 1500];
        let Ok((length, _)) = socket.recv_from(&mut message) else {
            return;
        };
        let mut offer = message[..length.min(240)].to_vec();
        offer[0] = 2;
        offer[16..20].copy_from_slice(&[10, 0, 0, 222]);
        offer.extend([53, 1, 2, 54, 4]);
        offer.extend(server.octets());
        offer.push(255);
        let _ = socket.send_to(&offer, "255.255.255.255:68");
    }
}

/// Sends a frame `times` times on `eth0` of the namespace that the thread is in.
pub fn send_frame(frame: &[u8], times: usize) {
    // SAFETY: the address is a whole sockaddr_ll, pointers and lengths are those of values that outlive the calls, and
    // the descriptor is this function's own.
    unsafe {
        let fd = libc::socket(libc::AF_PACKET, libc::SOCK_RAW, 0);
        assert!(fd >= 0);
        let mut to: libc::sockaddr_ll = std::mem::zeroed();
        to.sll_family = libc::AF_PACKET as u16;
        to.sll_ifindex = libc::if_nametoindex(c"eth0".as_ptr()) as i32;
        for _ in 0..times {
            // A full queue is what a flood makes.
            libc::sendto(
                fd,
                frame.as_ptr().cast(),
                frame.len(),
                libc::MSG_DONTWAIT,
                (&raw const to).cast(),
                size_of::<libc::sockaddr_ll>() as u32,
            );
        }
        libc::close(fd);
    }
}

/// VRRP version 3 from this address.
pub fn advertisement(router_id: u8, from: Ipv4Addr) -> Vec<u8> {
    let mut packet = vec![0x45, 0, 0, 32, 0, 0, 0, 0, 255, 112, 0, 0];
    packet.extend(from.octets());
    packet.extend([224, 0, 0, 18]);
    // A bridge may look at the check sum (RFC 1071).
    let words = packet
        .chunks(2)
        .map(|two| u32::from(two[0]) << 8 | u32::from(two[1]));
    let sum: u32 = words.sum();
    let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet.extend([0x31, router_id, 100, 1, 0, 100, 0, 0, 10, 0, 0, 99]);
    let mut frame = vec![1, 0, 0x5e, 0, 0, 18, 0, 0, 0x5e, 0, 1, router_id, 8, 0];
    frame.extend(packet);
    frame.resize(60, 0);
    frame
}
