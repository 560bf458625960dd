//! One controller's connection: frames in, a queue, a worker that runs one task after another, frames out.
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use agent_protocol::PROTOCOL;
use agent_protocol::frame::{FrameError, decode, encode};
use agent_protocol::task::{FromAgent, Task, TaskId, TaskResult, ToAgent};

use super::registry::{Decision, Registry};
use super::runner;

/// Tasks of one connection that may wait; a controller that sends more is held back by the socket.
const QUEUE_MAX: usize = 1024;
/// Messages that may wait for a slow controller; then the worker waits, and output is dropped.
const ANSWERS_MAX: usize = 256;
const READ_BYTES: usize = 64 << 10;

#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    #[error("the connection broke")]
    Io(#[from] io::Error),
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("the controller speaks protocol {0}, this agent {PROTOCOL}")]
    Protocol(u32),
    #[error("the controller sent a task before it said hello")]
    NoHello,
}

/// What is common to the reader and the worker of one connection.
struct Shared {
    /// The controller is gone: what is queued is not begun.
    closed: AtomicBool,
    /// Queued tasks that were cancelled before they began.
    cancelled: Mutex<Vec<TaskId>>,
}

/// Serves one connection until the controller hangs up. The task that runs then goes on in its thread.
pub fn serve(
    stream: UnixStream,
    registry: &Arc<Registry>,
    hello: FromAgent,
) -> Result<(), ConnectionError> {
    let (answers, to_write) = mpsc::sync_channel(ANSWERS_MAX);
    let (tasks, queue) = mpsc::sync_channel(QUEUE_MAX);
    let shared = Arc::new(Shared {
        closed: AtomicBool::new(false),
        cancelled: Mutex::default(),
    });
    let out = stream.try_clone()?;
    thread::spawn(move || write(out, &to_write));
    let _ = answers.send(hello);
    let worker = {
        let (registry, shared, answers) = (registry.clone(), shared.clone(), answers.clone());
        move || work(&queue, &registry, &shared, &answers)
    };
    thread::spawn(worker);
    let result = read(stream, registry, &shared, &tasks);
    shared.closed.store(true, Ordering::Relaxed);
    result
}

fn read(
    mut stream: UnixStream,
    registry: &Registry,
    shared: &Shared,
    tasks: &SyncSender<Task>,
) -> Result<(), ConnectionError> {
    let mut buffer = Vec::new();
    let mut piece = vec![0; READ_BYTES];
    let mut greeted = false;
    loop {
        while let Some(message) = decode::<ToAgent>(&mut buffer)? {
            match message {
                ToAgent::Hello {
                    protocol: PROTOCOL, ..
                } => greeted = true,
                ToAgent::Hello { protocol, .. } => return Err(ConnectionError::Protocol(protocol)),
                _ if !greeted => return Err(ConnectionError::NoHello),
                ToAgent::Task(task) => {
                    if tasks.send(*task).is_err() {
                        return Ok(());
                    }
                }
                ToAgent::Cancel { id } => {
                    if !registry.cancel(&id) {
                        let mut cancelled = shared
                            .cancelled
                            .lock()
                            .unwrap_or_else(PoisonError::into_inner);
                        // Only what can still be in the queue matters.
                        if cancelled.len() >= QUEUE_MAX {
                            cancelled.remove(0);
                        }
                        cancelled.push(id);
                    }
                }
            }
        }
        match stream.read(&mut piece)? {
            0 => return Ok(()),
            length => buffer.extend_from_slice(&piece[..length]),
        }
    }
}

/// Runs the queue's tasks in order.
fn work(
    queue: &Receiver<Task>,
    registry: &Registry,
    shared: &Shared,
    answers: &SyncSender<FromAgent>,
) {
    for task in queue {
        if shared.closed.load(Ordering::Relaxed) {
            return;
        }
        let _ = answers.send(answer(&task, registry, shared, answers));
    }
}

fn answer(
    task: &Task,
    registry: &Registry,
    shared: &Shared,
    answers: &SyncSender<FromAgent>,
) -> FromAgent {
    let id = &task.id;
    let failed = |msg: String| FromAgent::Done {
        id: id.clone(),
        result: TaskResult {
            failed: true,
            msg,
            ..TaskResult::default()
        },
    };
    {
        let mut cancelled = shared
            .cancelled
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(index) = cancelled.iter().position(|cancelled| cancelled == id) {
            cancelled.remove(index);
            return failed("the task was cancelled before it began".into());
        }
    }
    let (running, after_interruption) = match registry.begin(task, answers) {
        Ok(Decision::Answer(answer)) => return answer,
        Ok(Decision::Run {
            running,
            after_interruption,
        }) => (running, after_interruption),
        // Without a record nothing is begun: a repeated start could not be told from a first one.
        Err(error) => return failed(format!("{error}: {}", error_cause(&error))),
    };
    let mut result = runner::run(task, &running.cancel, &mut |text| running.output(id, text));
    let reads = modules::effect(task) == modules::Effect::Reads;
    if after_interruption && !reads && !task.check && !result.failed {
        // The interrupted run may have changed what this one found in place: its handlers must not be lost.
        result.changed = true;
    }
    if let Err(error) = registry.end(task, &result) {
        eprintln!("wright-agent: {error}: {}", error_cause(&error));
    }
    FromAgent::Done {
        id: id.clone(),
        result,
    }
}

fn error_cause(error: &dyn std::error::Error) -> String {
    error.source().map(ToString::to_string).unwrap_or_default()
}

/// Writes answers until the last sender is gone or the controller is.
fn write(mut out: UnixStream, messages: &Receiver<FromAgent>) {
    for message in messages {
        let bytes = match encode(&message) {
            Ok(bytes) => bytes,
            Err(error) => match too_long(message, &error) {
                Some(bytes) => bytes,
                None => continue,
            },
        };
        if out.write_all(&bytes).is_err() {
            return;
        }
    }
}

/// A result that does not fit into a frame is told as a failure, or the controller would wait for ever.
fn too_long(message: FromAgent, error: &FrameError) -> Option<Vec<u8>> {
    let FromAgent::Done { id, result } = message else {
        return None;
    };
    let result = TaskResult {
        changed: result.changed,
        failed: true,
        msg: format!("the task ended, but its result cannot be sent: {error}"),
        ..TaskResult::default()
    };
    encode(&FromAgent::Done { id, result }).ok()
}
