//! What `cargo test -- --show-output` prints, made readable: the output of tests that passed is left out, except
//! where one says that it skipped something, and the counts of all binaries are summed up.
//! It takes lines and gives lines; it starts nothing.
use std::fmt;

/// How the line begins with which a test says that it could not try something, and why.
const SKIPPED: &str = "skipped";

#[derive(Default)]
pub struct TestOutput {
    passed: u64,
    failed: u64,
    ignored: u64,
    skipped: Vec<String>,
    /// Set between `successes:` and the next section: the test whose output it is.
    success: Option<String>,
}

impl TestOutput {
    /// Takes a line in; whether it is to be shown.
    pub fn show(&mut self, line: &str) -> bool {
        if let Some(result) = line.strip_prefix("test result: ") {
            self.success = None;
            self.count(result);
            return true;
        }
        if line == "failures:" {
            self.success = None;
        }
        if line == "successes:" {
            self.success = Some(String::new());
        }
        let Some(test) = &mut self.success else {
            return true;
        };
        if let Some(name) = line
            .strip_prefix("---- ")
            .and_then(|rest| rest.strip_suffix(" stdout ----"))
        {
            *test = name.to_owned();
        } else if line.trim_start().starts_with(SKIPPED) {
            self.skipped.push(format!("{test}: {}", line.trim()));
        }
        false
    }

    /// `ok. 12 passed; 0 failed; 1 ignored; 0 measured; ...`
    fn count(&mut self, result: &str) {
        for part in result.split([';', '.']) {
            let mut words = part.split_whitespace();
            let (Some(number), Some(what)) = (words.next(), words.next()) else {
                continue;
            };
            let Ok(number) = number.parse::<u64>() else {
                continue;
            };
            match what {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                "ignored" => self.ignored += number,
                _ => {}
            }
        }
    }

    /// What tests said they skipped, each with the test's name.
    pub fn skipped(&self) -> &[String] {
        &self.skipped
    }
}

impl fmt::Display for TestOutput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (passed, failed, ignored) = (self.passed, self.failed, self.ignored);
        let skipped = self.skipped.len();
        write!(
            f,
            "{passed} passed; {failed} failed; {ignored} ignored; {skipped} skipped"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRINTED: &str = "
running 3 tests
test a ... ok
test b ... ok
test c ... FAILED

successes:

---- a stdout ----
on SQLite
skipped on MariaDB: `mariadbd` is not installed


successes:
    a
    b

failures:

---- c stdout ----
skipped lunch

failures:
    c

test result: FAILED. 2 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s

running 1 test
test d ... ok

successes:

successes:
    d

test result: ok. 1 passed; 0 failed; 2 ignored; 0 measured; 0 filtered out; finished in 0.00s
";

    #[test]
    fn counts_are_summed_and_successes_hidden_but_for_what_they_skipped() {
        let mut output = TestOutput::default();
        let shown: Vec<&str> = PRINTED.lines().filter(|line| output.show(line)).collect();
        assert_eq!(
            output.to_string(),
            "3 passed; 1 failed; 2 ignored; 1 skipped"
        );
        assert_eq!(
            output.skipped(),
            ["a: skipped on MariaDB: `mariadbd` is not installed"]
        );
        assert!(shown.contains(&"skipped lunch") && shown.contains(&"test d ... ok"));
        assert!(!shown.contains(&"on SQLite") && !shown.contains(&"    d"));
    }
}
