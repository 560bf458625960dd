//! HTTP and TFTP over the loopback interface of a namespace: who gets what, and what is refused.
use std::io::{Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use boot::{BootServer, Mac};

use crate::namespace::{MAC, Recorder, TOKEN, config, in_namespace, ip, runtime};

/// Status line and body of a GET whose connection comes from `from`.
fn get(from: &str, path: &str) -> (String, Vec<u8>) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let from: std::net::SocketAddr = format!("{from}:0").parse().unwrap();
    let to: std::net::SocketAddr = "127.0.0.1:7080".parse().unwrap();
    socket.bind(&from.into()).unwrap();
    socket.connect(&to.into()).unwrap();
    let mut stream: TcpStream = socket.into();
    stream
        .set_read_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let end = answer
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .unwrap();
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    (head, answer[end + 4..].to_vec())
}

/// Reads a file as UEFI's firmware does: asks for its size, ends that with an error, and begins again.
fn tftp_all(file: &str) -> Vec<u8> {
    let socket = || {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket
            .set_read_timeout(Some(Duration::from_secs(60)))
            .unwrap();
        socket
    };
    let request = |options: &[u8]| [b"\0\x01", file.as_bytes(), b"\0octet\0", options].concat();
    let mut packet = [0; 2000];
    let first = socket();
    first
        .send_to(&request(b"tsize\x000\0"), "127.0.0.1:69")
        .unwrap();
    let (length, from) = first.recv_from(&mut packet).unwrap();
    let size = String::from_utf8_lossy(&packet[8..length - 1]).into_owned();
    first
        .send_to(b"\0\x05\0\x08User aborted the transfer\0", from)
        .unwrap();

    let second = socket();
    second
        .send_to(
            &request(b"blksize\x001468\0windowsize\x004\0"),
            "127.0.0.1:69",
        )
        .unwrap();
    let mut content = Vec::new();
    let mut next: u16 = 0;
    loop {
        let (length, from) = second.recv_from(&mut packet).unwrap();
        if packet[1] == 3 {
            assert_eq!(packet[2..4], next.to_be_bytes());
            content.extend(&packet[4..length]);
        }
        let is_last = packet[1] == 3 && length < 4 + 1468;
        // Every fourth block and the last are acknowledged.
        if next.is_multiple_of(4) || is_last {
            let ack = [[0, 4], next.to_be_bytes()].concat();
            second.send_to(&ack, from).unwrap();
        }
        if is_last {
            break;
        }
        next += 1;
    }
    assert_eq!(size, content.len().to_string());
    content
}

/// The first answer to a TFTP read request.
fn tftp(file: &str) -> Vec<u8> {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    let request = [b"\0\x01", file.as_bytes(), b"\0octet\0"].concat();
    socket.send_to(&request, "127.0.0.1:69").unwrap();
    let mut answer = [0; 600];
    let length = socket.recv(&mut answer).unwrap();
    answer[..length].to_vec()
}

#[test]
fn each_machine_gets_its_own_and_strangers_nothing() {
    in_namespace(|| {
        if !std::path::Path::new(boot::server::DEBIAN_LOADERS).exists() {
            println!("skipped: the Debian package 'ipxe' is missing");
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let recorder = Arc::new(Recorder::new());
        let runtime = runtime();
        let config = config("lo", "127.0.0.1", "127.0.0.11", folder);
        let server = runtime.block_on(async {
            BootServer::start(config.clone(), recorder.clone(), axum::Router::new())
        });
        let server = server.unwrap();
        // A second one finds the port taken and says so; SO_REUSEADDR lets DHCP's be shared, not HTTP's.
        let second = runtime
            .block_on(async { BootServer::start(config, recorder.clone(), axum::Router::new()) });
        let told = second.err().unwrap().to_string();
        assert!(
            told.contains("HTTP on lo (127.0.0.1:7080)") && told.contains("ss -lnp"),
            "{told}"
        );

        let asking = std::thread::scope(|scope| {
            let asking = scope.spawn(|| {
                let (own, other) = ("127.0.0.11", "127.0.0.12");
                let (head, script) = get(own, &format!("/boot/{MAC}"));
                assert!(head.starts_with("HTTP/1.1 200"), "{head}");
                assert!(String::from_utf8(script).unwrap().starts_with("#!ipxe\n"));
                assert!(
                    get(other, &format!("/boot/{MAC}"))
                        .0
                        .starts_with("HTTP/1.1 403")
                );
                assert!(
                    get(own, "/boot/52:54:00:aa:00:02")
                        .0
                        .starts_with("HTTP/1.1 403")
                );
                assert!(get(own, "/boot/nonsense").0.starts_with("HTTP/1.1 404"));

                let token = format!("/boot/{MAC}/token");
                assert!(get(other, &token).0.starts_with("HTTP/1.1 403"));
                let (_, archive) = get(own, &token);
                assert!(
                    archive
                        .windows(TOKEN.len())
                        .any(|part| part == TOKEN.as_bytes())
                );
                assert!(
                    get(own, &token).0.starts_with("HTTP/1.1 403"),
                    "a second time"
                );

                let (head, kernel) = get(other, "/boot/kernel");
                assert!(
                    head.to_lowercase().contains("content-length: 6000"),
                    "{head}"
                );
                assert_eq!(kernel, "kernel".repeat(1000).as_bytes());
                assert_eq!(get(own, "/images/base").1, "image".repeat(1000).as_bytes());
                for missing in [
                    "/images/other",
                    "/files/gone",
                    "/images/..%2Fkernel",
                    "/boot/loader/snponly.efi",
                ] {
                    assert!(get(own, missing).0.starts_with("HTTP/1.1 404"), "{missing}");
                }
                let loaders = std::path::Path::new(boot::server::DEBIAN_LOADERS);
                let efi = std::fs::read(loaders.join("ipxe.efi")).unwrap();
                assert_eq!(get(own, "/boot/loader/ipxe.efi").1, efi);
                assert_eq!(tftp_all("ipxe.efi"), efi);
                let bios = std::fs::read(loaders.join("undionly.kpxe")).unwrap();
                assert_eq!(tftp("/undionly.kpxe")[4..], bios[..512]);
                for outside in ["../kernel", "/etc/passwd", "spool"] {
                    assert_eq!(tftp(outside)[..2], [0, 5], "{outside} must be an error");
                }
            });
            runtime.block_on(async {
                while !asking.is_finished() {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            });
            asking.join()
        });
        runtime.block_on(server.stop());
        if let Err(panic) = asking {
            std::panic::resume_unwind(panic);
        }
        let machine: Mac = MAC.parse().unwrap();
        let seen = recorder.seen.lock().unwrap();
        assert!(
            seen.iter()
                .all(|seen| matches!(seen, boot::Observed::Http { mac, .. } if *mac == machine))
        );
        ip("link set lo down");
    });
}

#[test]
fn what_cannot_start_says_why() {
    in_namespace(|| {
        let folder = tempfile::tempdir().unwrap();
        let start = |interface: &str, server: &str| {
            let config = config(interface, server, "127.0.0.11", folder.path());
            let recorder = Arc::new(Recorder::new());
            let started = runtime()
                .block_on(async { BootServer::start(config, recorder, axum::Router::new()) });
            started.err().unwrap().to_string()
        };
        assert_eq!(
            start("nope", "127.0.0.1"),
            "network interface nope does not exist here"
        );
        let taken = UdpSocket::bind("127.0.0.1:69").unwrap();
        assert_eq!(
            start("lo", "127.0.0.1"),
            "TFTP on lo (127.0.0.1:69): Address already in use (os error 98); another server holds that port: 'ss -lnp' shows which"
        );
        drop(taken);
        let told = start("lo", "10.20.0.1");
        assert!(
            told.contains("the interface does not have this address"),
            "{told}"
        );
    });
}
