//! Running tasks on an installed node: what goes through `wright-agent attach`.
//!
//! The controller sends [`ToAgent`], the agent answers with [`FromAgent`]. A dropped connection
//! loses nothing: after [`ToAgent::Hello`] the controller sends its unfinished tasks again, and the
//! agent answers from its journal for those that it has finished, or was interrupted in.
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// `<run>/<node>/<task>/<item>`: the same id is never run twice unless its module is idempotent.
pub type TaskId = String;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ToAgent {
    Hello {
        protocol: u32,
        run: String,
        node: String,
    },
    Task(Box<Task>),
    /// Stop a running task; it ends with a failed result.
    Cancel {
        id: TaskId,
    },
}

/// One call of one module, all arguments resolved, for this node alone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Task {
    pub id: TaskId,
    /// Module name without collection prefix, for example `copy`.
    pub module: String,
    pub args: Map<String, Value>,
    /// Say what would change and change nothing.
    #[serde(default)]
    pub check: bool,
    /// Give before and after texts of what changes.
    #[serde(default)]
    pub diff: bool,
    /// Run as this user.
    #[serde(default)]
    pub become_user: Option<String>,
    #[serde(default)]
    pub environment: Map<String, Value>,
    /// Neither the journal nor the output may hold arguments or results.
    #[serde(default)]
    pub no_log: bool,
    pub timeout_seconds: u32,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum FromAgent {
    /// First message of a connection. `agent_sha256` is that of the running binary.
    Hello {
        protocol: u32,
        agent_sha256: String,
        boot_id: String,
    },
    /// A piece of a long task's output, for the live line.
    Output {
        id: TaskId,
        text: String,
    },
    Done {
        id: TaskId,
        result: TaskResult,
    },
    /// The journal has a start of this task and no end, and its module is not idempotent.
    Interrupted {
        id: TaskId,
    },
}

/// What a module gives back; `data` holds its own fields (`rc`, `stdout`, `stat`, ...), as in Ansible.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct TaskResult {
    #[serde(default)]
    pub changed: bool,
    #[serde(default)]
    pub failed: bool,
    #[serde(default)]
    pub skipped: bool,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub msg: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub diff: Vec<Diff>,
    #[serde(flatten)]
    pub data: Map<String, Value>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Diff {
    /// What changes, for example a path.
    pub header: String,
    pub before: String,
    pub after: String,
}
