//! A port answers: asked from here, or on its node where the node lets only others of the cloud in.
use crate::{Check, Cloud, Seen};
use async_trait::async_trait;
use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};
use tokio::{net::TcpStream, time::timeout};

/// Longest wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);

pub struct Port {
    what: String,
    address: SocketAddr,
    /// Who asks, if not this host.
    on: Option<String>,
}

impl Port {
    pub fn new(what: String, address: IpAddr, port: u16) -> Self {
        Port {
            what,
            address: SocketAddr::new(address, port),
            on: None,
        }
    }

    /// Asked on this node.
    pub fn on(mut self, node: &str) -> Self {
        self.on = Some(node.to_owned());
        self
    }
}

#[async_trait]
impl Check for Port {
    fn name(&self) -> String {
        format!("{} port", self.what)
    }

    fn tries(&self) -> String {
        match &self.on {
            Some(node) => format!("connect to {} on {node}", self.address),
            None => format!("connect to {}", self.address),
        }
    }

    fn next_step(&self) -> String {
        "see that the service's unit runs and that nothing filters the port".to_owned()
    }

    async fn run(&self, cloud: &Cloud) -> Result<Seen, String> {
        if let Some(node) = &self.on {
            let connect = format!(
                "exec 3<>/dev/tcp/{}/{}",
                self.address.ip(),
                self.address.port()
            );
            let within = CONNECT_TIMEOUT.as_secs().to_string();
            let command = ["timeout", &within, "bash", "-c", &connect];
            return match cloud.shell.run(node, &command).await? {
                (0, _) => Ok(Seen::Well(format!("{} answers", self.address))),
                _ => Err(format!("{} does not answer on {node}", self.address)),
            };
        }
        match timeout(CONNECT_TIMEOUT, TcpStream::connect(self.address)).await {
            Ok(Ok(_)) => Ok(Seen::Well(format!("{} answers", self.address))),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("no answer within {} s", CONNECT_TIMEOUT.as_secs())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::empty_cloud;

    #[tokio::test]
    async fn an_open_port_is_well_and_a_closed_one_is_not() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let check = Port::new("test".into(), address.ip(), address.port());
        assert!(check.run(&empty_cloud()).await.is_ok());
        drop(listener);
        assert!(check.run(&empty_cloud()).await.is_err());
    }
}
