//! Tables of cron: jobs marked by a line with their name, and variables.

/// What Ansible writes above a job.
pub fn mark(name: &str) -> String {
    format!("#Ansible: {name}")
}

/// The text with the marked job once, or without it.
pub fn set_job(text: &str, mark: &str, job: Option<&str>) -> String {
    let mut out = String::new();
    let mut lines = text.lines();
    let mut job = job;
    let mut add = |out: &mut String| {
        if let Some(job) = job.take() {
            out.push_str(&format!("{mark}\n{job}\n"));
        }
    };
    while let Some(line) = lines.next() {
        if line == mark {
            lines.next();
            add(&mut out);
        } else {
            out.push_str(line);
            out.push('\n');
        }
    }
    add(&mut out);
    out
}

/// Where a new variable goes; jobs below it see it.
pub enum Place<'a> {
    Top,
    After(&'a str),
    Before(&'a str),
}

/// The text with the variable set once, or without it. A place that is not there is the top.
pub fn set_variable(text: &str, name: &str, value: Option<&str>, place: &Place<'_>) -> String {
    let is = |line: &str, name: &str| {
        line.split_once('=')
            .is_some_and(|(key, _)| key.trim() == name && !line.starts_with('#'))
    };
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let wanted = value.map(|value| format!("{name}={value}"));
    let there = lines.iter().position(|line| is(line, name));
    match (wanted, there) {
        (Some(wanted), Some(at)) => {
            let same = lines[at]
                .split_once('=')
                .is_some_and(|(_, now)| Some(now.trim()) == value);
            if !same {
                lines[at] = wanted;
            }
        }
        (Some(wanted), None) => {
            let position = |other: &str| lines.iter().position(|line| is(line, other));
            let at = match place {
                Place::Top => None,
                Place::After(other) => position(other).map(|at| at + 1),
                Place::Before(other) => position(other),
            };
            lines.insert(at.unwrap_or(0), wanted);
        }
        (None, Some(_)) => lines.retain(|line| !is(line, name)),
        (None, None) => {}
    }
    let out: String = lines
        .iter()
        .flat_map(|line| [line.as_str(), "\n"])
        .collect();
    if out.strip_suffix('\n') == Some(text) {
        text.to_owned()
    } else {
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn variables_are_set_where_they_belong() {
        let text = "PATH=/bin\n# X=1\n#Ansible: a\n* * * * * x\n";
        let set = |name: &str, value, place: &Place<'_>| set_variable(text, name, value, place);
        assert!(set("X", Some("2"), &Place::Top).starts_with("X=2\nPATH"));
        assert!(set("X", Some("2"), &Place::After("PATH")).starts_with("PATH=/bin\nX=2\n"));
        assert!(set("X", Some("2"), &Place::Before("PATH")).starts_with("X=2\nPATH"));
        assert!(set("PATH", Some("/sbin"), &Place::Top).starts_with("PATH=/sbin\n# X"));
        assert!(set("PATH", None, &Place::Top).starts_with("# X"));
        assert_eq!(set("PATH", Some("/bin"), &Place::Top), text);
    }

    proptest! {
        #[test]
        fn twice_is_once(text in "(A=1\n|# B=2\n|#Ansible: j\nx\n|\n){0,6}", name in "[AB]", set: bool) {
            let value = set.then_some("3");
            let once = set_variable(&text, &name, value, &Place::After("A"));
            prop_assert_eq!(&set_variable(&once, &name, value, &Place::After("A")), &once);
            let once = set_job(&text, &mark("j"), value);
            prop_assert_eq!(&set_job(&once, &mark("j"), value), &once);
        }
    }
}
