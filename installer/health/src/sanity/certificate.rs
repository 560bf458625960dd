//! A node's certificate is not about to end. That APIs show it is seen by every check that calls one.
use crate::{Check, Cloud, Seen};
use async_trait::async_trait;

/// A deployment renews it months before: one with less was forgotten.
pub const DAYS: u32 = 30;

pub struct Certificate {
    pub node: String,
}

const FILE: &str = "/etc/wright/tls/node.pem";

#[async_trait]
impl Check for Certificate {
    fn name(&self) -> String {
        format!("{} certificate", self.node)
    }

    fn tries(&self) -> String {
        format!("`openssl x509 -checkend` for {FILE} on {}", self.node)
    }

    fn next_step(&self) -> String {
        "run `wright deploy`: it renews certificates".to_owned()
    }

    async fn run(&self, cloud: &Cloud) -> Result<Seen, String> {
        let seconds = (DAYS * 24 * 3600).to_string();
        let command = [
            "openssl",
            "x509",
            "-in",
            FILE,
            "-noout",
            "-enddate",
            "-checkend",
            &seconds,
        ];
        let (code, out) = cloud.shell.run(&self.node, &command).await?;
        let end = out
            .lines()
            .find_map(|line| line.strip_prefix("notAfter="))
            .ok_or_else(|| format!("{FILE} cannot be read as a certificate"))?;
        match code {
            0 => Ok(Seen::Well(format!("it is good until {end}"))),
            _ => Err(format!("it ends within {DAYS} days: {end}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::cloud_saying;

    #[tokio::test]
    async fn one_that_ends_soon_is_a_fault() {
        let check = Certificate {
            node: "node-1".into(),
        };
        let said = "notAfter=Dec 29 12:00:00 2027 GMT\nCertificate will not expire\n";
        assert!(check.run(&cloud_saying(0, said)).await.is_ok());
        let said = "notAfter=Dec  9 12:00:00 2026 GMT\nCertificate will expire\n";
        insta::assert_snapshot!(
            check.run(&cloud_saying(1, said)).await.err().unwrap(),
            @"it ends within 30 days: Dec  9 12:00:00 2026 GMT"
        );
        assert!(check.run(&cloud_saying(1, "")).await.is_err());
    }
}
