//! The operators' session with the official clients, unchanged, against the API on loopback. `OPENSTACK_CLIENTS` names
//! the folder with `nova` and `openstack` (the `bin` of a virtual environment); without it the test says so.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use axum::Router;

use crate::world::{self, IMAGE, NETWORK, World};

struct Clients {
    folder: PathBuf,
    url: String,
}

impl Clients {
    fn run(&self, line: &str) -> String {
        let mut words = line.split_whitespace();
        let program = words.next().unwrap_or_default();
        let mut command = Command::new(self.folder.join(program));
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", "/nonexistent")
            .env("OS_AUTH_TYPE", "admin_token")
            .env("OS_ENDPOINT", &self.url)
            .env("OS_TOKEN", "admin");
        if program == "nova" {
            // It insists on both, and uses neither.
            command
                .env("OS_PROJECT_NAME", "p1")
                .env("OS_AUTH_URL", &self.url);
        }
        let output = command.args(words).output().expect("the client starts");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success(),
            "{line}: {text}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        text
    }

    /// Runs a command until its answer has a word; each run takes seconds, so the limit is generous.
    fn until(&self, line: &str, word: &str) -> String {
        let started = Instant::now();
        loop {
            let text = self.run(line);
            if text.contains(word) {
                return text;
            }
            assert!(
                started.elapsed() < Duration::from_secs(180),
                "{line}: no `{word}` in {text}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_with_the_official_clients() {
    let Some(folder) = std::env::var_os("OPENSTACK_CLIENTS")
        .filter(|path| !path.is_empty())
        .map(PathBuf::from)
    else {
        return println!("skipped: OPENSTACK_CLIENTS names no folder with the official clients");
    };
    let world = World::new(0).await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a free port");
    let url = format!("http://{}/v2.1", listener.local_addr().expect("an address"));
    // With a bare token every service has the same URL: the client looks for the image below it, too.
    let router = Router::new()
        .nest("/v2.1/v2", world::image_v2())
        .fallback_service(world.router.clone());
    let server = tokio::spawn(async move { axum::serve(listener, router).await });
    let clients = Clients { folder, url };
    tokio::task::spawn_blocking(move || session(&clients))
        .await
        .expect("the session");
    server.abort();
    world.stop().await;
}

fn session(clients: &Clients) {
    let services = clients.run("nova service-list");
    assert!(
        services.contains("nova-scheduler")
            && services.contains("nova-compute")
            && !services.contains("| down"),
        "{services}"
    );
    clients.run("nova flavor-create test501 501 512 1 2");
    assert!(clients.run("nova flavor-list").contains("test501"));
    clients.run(&format!(
        "nova boot --image {IMAGE} --flavor test501 --nic net-id={NETWORK} testvm01"
    ));
    clients.until("nova list --all-tenant", "ACTIVE");
    assert!(
        clients
            .run("nova list --all-tenant --host node-1.domain.tld")
            .contains("testvm01")
    );
    assert!(
        !clients
            .run("nova list --all-tenant --host node-4.domain.tld")
            .contains("testvm01")
    );
    let shown = clients.run("nova show testvm01");
    assert!(
        shown.contains("node-1.domain.tld") && shown.contains("private network"),
        "{shown}"
    );
    clients.run(&format!("nova boot --image {IMAGE} --flavor 501 --nic net-id={NETWORK} --availability-zone nova:node-1.domain.tld testvm02"));
    clients.until("nova show testvm02", "ACTIVE");
    clients.run("nova stop testvm01");
    clients.until("nova show testvm01", "SHUTOFF");
    clients.run("nova start testvm01");
    clients.until("nova show testvm01", "ACTIVE");
    assert!(
        clients
            .run("nova hypervisor-list")
            .contains("node-1.domain.tld")
    );
    assert!(
        clients
            .run("openstack compute service list")
            .contains("nova-conductor")
    );
    assert!(
        clients
            .run("openstack hypervisor list")
            .contains("node-1.domain.tld")
    );
    assert!(
        clients
            .run("openstack availability zone list --compute")
            .contains("nova")
    );
    clients.run("openstack keypair create k1");
    assert!(clients.run("openstack keypair list").contains("k1"));
    clients.run("nova delete testvm01");
    clients.run("nova delete testvm02");
    let started = Instant::now();
    while clients.run("nova list --all-tenant").contains("testvm") {
        assert!(
            started.elapsed() < Duration::from_secs(180),
            "the servers are still there"
        );
    }
}
