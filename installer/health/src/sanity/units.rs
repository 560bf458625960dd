//! No systemd unit of a node has failed.
use crate::{Check, Cloud, Seen};
use async_trait::async_trait;

pub struct Units {
    pub node: String,
}

const COMMAND: &[&str] = &[
    "systemctl",
    "list-units",
    "--state=failed",
    "--plain",
    "--no-legend",
    "--no-pager",
];

#[async_trait]
impl Check for Units {
    fn name(&self) -> String {
        format!("{} units", self.node)
    }

    fn tries(&self) -> String {
        format!("`{}` on {}", COMMAND.join(" "), self.node)
    }

    fn next_step(&self) -> String {
        format!("read `journalctl -u UNIT` on {}", self.node)
    }

    async fn run(&self, cloud: &Cloud) -> Result<Seen, String> {
        let (code, out) = cloud.shell.run(&self.node, COMMAND).await?;
        if code != 0 {
            return Err(format!("`{}` ended with {code}", COMMAND.join(" ")));
        }
        let failed: Vec<&str> = out
            .lines()
            .filter_map(|line| line.split_whitespace().next())
            .collect();
        if failed.is_empty() {
            Ok(Seen::Well("no unit has failed".to_owned()))
        } else {
            Err(format!("failed: {}", failed.join(", ")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::cloud_saying;

    #[tokio::test]
    async fn failed_units_are_named() {
        let check = Units {
            node: "node-1".into(),
        };
        assert!(check.run(&cloud_saying(0, "")).await.is_ok());
        let said = "mariadb.service loaded failed failed MariaDB\n";
        assert_eq!(
            check.run(&cloud_saying(0, said)).await.err(),
            Some("failed: mariadb.service".into())
        );
    }
}
