//! What the checks found, as values and as text.
use serde::Serialize;
use std::fmt;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    Passed,
    Failed,
    Skipped,
}

/// One check's end.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Finding {
    /// `sanity` or `smoke`.
    pub group: &'static str,
    pub name: String,
    pub status: Status,
    pub tried: String,
    pub saw: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_step: Option<String>,
    pub seconds: f64,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    pub findings: Vec<Finding>,
}

impl Report {
    /// No check failed.
    pub fn is_well(&self) -> bool {
        self.findings
            .iter()
            .all(|finding| finding.status != Status::Failed)
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self.status {
            Status::Passed => "ok",
            Status::Failed => "FAILED",
            Status::Skipped => "skipped",
        };
        write!(f, "{word:<8}{:<7}{}: {}", self.group, self.name, self.saw)?;
        if self.status == Status::Failed {
            write!(f, "\n               tried: {}", self.tried)?;
        }
        if let Some(next) = &self.next_step {
            write!(f, "\n               next:  {next}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_says_what_was_tried_seen_and_what_to_do() {
        let finding = Finding {
            group: "sanity",
            name: "node-1 database port".into(),
            status: Status::Failed,
            tried: "connect to 10.20.1.11:3306".into(),
            saw: "connection refused".into(),
            next_step: Some("read `journalctl -u mariadb` on node-1".into()),
            seconds: 0.1,
        };
        insta::assert_snapshot!(finding.to_string(), @r"
        FAILED  sanity node-1 database port: connection refused
                       tried: connect to 10.20.1.11:3306
                       next:  read `journalctl -u mariadb` on node-1
        ");
        assert!(
            !Report {
                findings: vec![finding]
            }
            .is_well()
        );
    }
}
