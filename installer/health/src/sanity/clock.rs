//! A node's clock is near the clock of its source.
use crate::{Check, Cloud, Seen};
use async_trait::async_trait;

/// Tokens, leases and Galera all stand this much; more is a fault.
const OFFSET_SECONDS_MAX: f64 = 1.0;

pub struct Clock {
    pub node: String,
}

const COMMAND: &[&str] = &["chronyc", "-c", "tracking"];
const CONTAINER: &[&str] = &["systemd-detect-virt", "--container"];

#[async_trait]
impl Check for Clock {
    fn name(&self) -> String {
        format!("{} clock", self.node)
    }

    fn tries(&self) -> String {
        format!("`{}` on {}", COMMAND.join(" "), self.node)
    }

    fn next_step(&self) -> String {
        format!("run `chronyc sources` on {}", self.node)
    }

    async fn run(&self, cloud: &Cloud) -> Result<Seen, String> {
        let (code, out) = cloud.shell.run(&self.node, COMMAND).await?;
        if code != 0 {
            let (_, kind) = cloud.shell.run(&self.node, CONTAINER).await?;
            if kind.trim() == "systemd-nspawn" {
                return Ok(Seen::Well("a container has its host's clock".to_owned()));
            }
            return Err(format!(
                "`{}` ended with {code}: chronyd does not answer",
                COMMAND.join(" ")
            ));
        }
        let offset = offset_seconds(&out).ok_or_else(|| format!("cannot read `{}`", out.trim()))?;
        if offset.abs() > OFFSET_SECONDS_MAX {
            return Err(format!("the clock is {offset:.3} s off"));
        }
        Ok(Seen::Well(format!(
            "the clock is {offset:.6} s off its source"
        )))
    }
}

/// Field 5 of `chronyc -c tracking` is the system time's offset, in seconds.
fn offset_seconds(line: &str) -> Option<f64> {
    line.trim().split(',').nth(4)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::cloud_saying;

    #[tokio::test]
    async fn a_clock_far_off_is_a_fault() {
        let check = Clock {
            node: "node-1".into(),
        };
        let line = |offset: &str| {
            format!("7F7F0101,,10,1700000000.1,{offset},0.0,0.0,0.0,0,0,0,0,0,Normal\n")
        };
        assert!(
            check
                .run(&cloud_saying(0, &line("-0.000123")))
                .await
                .is_ok()
        );
        assert_eq!(
            check.run(&cloud_saying(0, &line("7.5"))).await.err(),
            Some("the clock is 7.500 s off".into())
        );
        assert!(check.run(&cloud_saying(1, "")).await.is_err());
    }
}
