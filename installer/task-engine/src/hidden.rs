//! Values that nobody is to read: what the engine tells, writes and saves goes through here first.
//!
//! It knows texts, not where they come from. What it hides is the value as it stands; a value that a task has encoded or
//! cut into pieces is another text. Values of fewer than [`SHORTEST`] characters are not hidden, since they would be
//! found in everything.
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::{PoisonError, RwLock};

use agent_protocol::task::{Diff, TaskResult};
use regex::Regex;
use serde_json::Value as Json;

use crate::event::{Event, Failure, Status};

/// What stands in the place of a hidden value.
pub const MASK: &str = "********";

/// The shortest text that is hidden.
pub const SHORTEST: usize = 6;

/// The values of one run that are hidden. Empty, it costs nothing.
#[derive(Default)]
pub struct Hidden {
    known: RwLock<Known>,
}

#[derive(Default)]
struct Known {
    texts: BTreeSet<String>,
    pattern: Option<Regex>,
}

impl std::fmt::Debug for Hidden {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hidden")
    }
}

impl Hidden {
    pub fn new<T: AsRef<str>>(texts: impl IntoIterator<Item = T>) -> Self {
        let hidden = Hidden::default();
        hidden.add(texts);
        hidden
    }

    /// Hides further texts from now on; of a text of several lines each longer line, too, since outputs are also
    /// given line by line.
    pub fn add<T: AsRef<str>>(&self, texts: impl IntoIterator<Item = T>) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let before = known.texts.len();
        for text in texts {
            let text = text.as_ref().trim();
            known.texts.insert(text.to_owned());
            if text.contains('\n') {
                known.texts.extend(
                    text.lines()
                        .filter(|line| line.len() >= 16)
                        .map(str::to_owned),
                );
            }
        }
        known.texts.retain(|text| text.chars().count() >= SHORTEST);
        if known.texts.len() == before {
            return;
        }
        // The longest first: of two values of which one begins with the other, the whole one is hidden.
        let mut longest: Vec<&String> = known.texts.iter().collect();
        longest.sort_by_key(|text| std::cmp::Reverse(text.len()));
        let words: Vec<String> = longest.iter().map(|text| regex::escape(text)).collect();
        let pattern = regex::RegexBuilder::new(&words.join("|"))
            .size_limit(256 << 20)
            .build();
        known.pattern = pattern.ok();
    }

    /// All strings among a value: what a secret of the inventory or of a vault can be made of.
    pub fn add_all(&self, value: &Json) {
        let mut texts = Vec::new();
        strings(value, &mut texts);
        self.add(texts);
    }

    pub fn is_empty(&self) -> bool {
        self.read().texts.is_empty()
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Known> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn text<'a>(&self, text: &'a str) -> Cow<'a, str> {
        match &self.read().pattern {
            Some(pattern) => pattern.replace_all(text, MASK),
            None => Cow::Borrowed(text),
        }
    }

    fn in_place(&self, text: &mut String) -> bool {
        let Cow::Owned(masked) = self.text(text) else {
            return false;
        };
        *text = masked;
        true
    }

    /// Hides in a value, keys included; true when something was.
    pub fn json(&self, value: &mut Json) -> bool {
        match value {
            Json::String(text) => self.in_place(text),
            Json::Array(items) => items
                .iter_mut()
                .fold(false, |any, item| self.json(item) | any),
            Json::Object(map) => {
                let keys: Vec<String> = map
                    .keys()
                    .filter(|key| matches!(self.text(key), Cow::Owned(_)))
                    .cloned()
                    .collect();
                let mut any = !keys.is_empty();
                for key in keys {
                    if let Some(value) = map.remove(&key) {
                        map.insert(self.text(&key).into_owned(), value);
                    }
                }
                for value in map.values_mut() {
                    any |= self.json(value);
                }
                any
            }
            _ => false,
        }
    }

    /// Hides in a result; true when something was, so that the result is no longer what the task gave.
    pub fn result(&self, result: &mut TaskResult) -> bool {
        if self.is_empty() {
            return false;
        }
        let mut any = self.in_place(&mut result.msg);
        any |= self.diffs(&mut result.diff);
        for value in result.data.values_mut() {
            any |= self.json(value);
        }
        any
    }

    fn diffs(&self, diffs: &mut [Diff]) -> bool {
        let mut any = false;
        for diff in diffs {
            any |= self.in_place(&mut diff.header);
            any |= self.in_place(&mut diff.before);
            any |= self.in_place(&mut diff.after);
        }
        any
    }

    pub fn failure(&self, failure: &mut Failure) {
        self.in_place(&mut failure.task);
        self.in_place(&mut failure.msg);
    }

    /// Hides in everything that an event shows.
    pub fn event(&self, event: &mut Event) {
        if self.is_empty() {
            return;
        }
        match event {
            Event::TaskDone(done) => {
                self.in_place(&mut done.task);
                self.in_place(&mut done.msg);
                if let Some(item) = &mut done.item {
                    self.in_place(item);
                }
                if let Status::Unknown { until, reason } = &mut done.status {
                    self.in_place(until);
                    self.in_place(reason);
                }
                self.diffs(&mut done.diff);
            }
            Event::TaskStarted { task, .. } => drop(self.in_place(task)),
            Event::Output { task, text, .. } => {
                self.in_place(task);
                self.in_place(text);
            }
            Event::NodeFailed { task, msg, .. } => {
                self.in_place(task);
                self.in_place(msg);
            }
            Event::NodeWaiting { reason, .. } => drop(self.in_place(reason)),
            Event::RunDone(report) => {
                report
                    .failures
                    .iter_mut()
                    .for_each(|failure| self.failure(failure));
            }
            Event::RunStarted { .. }
            | Event::NodeConnected { .. }
            | Event::RoleStarted { .. }
            | Event::RoleDone { .. }
            | Event::NotRun { .. } => {}
        }
    }
}

fn strings<'a>(value: &'a Json, out: &mut Vec<&'a str>) {
    match value {
        Json::String(text) => out.push(text),
        Json::Array(items) => items.iter().for_each(|item| strings(item, out)),
        Json::Object(map) => map.values().for_each(|item| strings(item, out)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn secrets_are_masked_wherever_they_stand() {
        let hidden = Hidden::new([
            "hunter22",
            "hunter22-longer",
            "short",
            "BEGIN\nabcdefghijklmnopq\nEND",
        ]);
        assert_eq!(
            hidden.text("a hunter22-longer b hunter22 short"),
            format!("a {MASK} b {MASK} short")
        );
        let mut value = json!({"hunter22": ["x hunter22"], "lines": ["abcdefghijklmnopq"], "n": 1});
        assert!(hidden.json(&mut value));
        assert_eq!(
            value,
            json!({MASK: [format!("x {MASK}")], "lines": [MASK], "n": 1})
        );
        let mut untouched = json!({"a": "b"});
        assert!(!hidden.json(&mut untouched));
    }

    proptest! {
        #[test]
        fn no_value_survives(texts in prop::collection::vec("[ -~]{6,20}", 1..6), around in "[a-z ]{0,10}") {
            let hidden = Hidden::new(&texts);
            for text in &texts {
                let text = text.trim();
                if text.len() < SHORTEST || MASK.contains(text) {
                    continue;
                }
                let masked = hidden.text(&format!("{around}{text}{around}")).into_owned();
                prop_assert!(!masked.contains(text) , "{masked}");
            }
        }
    }
}
