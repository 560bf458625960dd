//! Ansible's host ranges: `node-[1:3]`, `rack[01:20]-a`, `db-[a:c]`, `n[1:9:2]`, several in one name.

/// More hosts than this are a typing error.
const MAX_HOSTS: usize = 10_000;

/// All names that a pattern stands for; one without brackets stands for itself. The error says what
/// is wrong, in words that follow "the range".
pub(crate) fn expand(pattern: &str) -> Result<Vec<String>, String> {
    if pattern.len() > 255 {
        return Err("is longer than any host name".into());
    }
    let Some((before, rest)) = pattern.split_once('[') else {
        return if pattern.contains(']') {
            Err("has a `]` without a `[`".into())
        } else {
            Ok(vec![pattern.to_owned()])
        };
    };
    let Some((range, after)) = rest.split_once(']') else {
        return Err("has no closing `]`".into());
    };
    let tails = expand(after)?;
    let middles = steps(range)?;
    if middles.len().saturating_mul(tails.len()) > MAX_HOSTS {
        return Err(format!("stands for more than {MAX_HOSTS} hosts"));
    }
    Ok(middles
        .iter()
        .flat_map(|middle| {
            tails
                .iter()
                .map(move |tail| format!("{before}{middle}{tail}"))
        })
        .collect())
}

fn steps(range: &str) -> Result<Vec<String>, String> {
    let form = || format!("`[{range}]` is not of the form `[first:last]` or `[first:last:step]`");
    let parts: Vec<&str> = range.split(':').collect();
    let (first, last, step) = match parts[..] {
        [first, last] => (first, last, 1),
        [first, last, step] => (first, last, step.parse::<usize>().map_err(|_| form())?),
        _ => return Err(form()),
    };
    if step == 0 {
        return Err(format!("`[{range}]` has a step of 0"));
    }
    let backwards = || format!("`[{range}]` ends before it begins");
    if let (Some(a), Some(b)) = (letter(first), letter(last)) {
        if a > b {
            return Err(backwards());
        }
        return Ok((a..=b)
            .step_by(step)
            .map(|byte| char::from(byte).to_string())
            .collect());
    }
    let number = |text: &str| {
        text.bytes()
            .all(|b| b.is_ascii_digit())
            .then(|| text.parse::<usize>().ok())
            .flatten()
            .ok_or_else(form)
    };
    // An empty beginning means 0, as in Ansible.
    let from = if first.is_empty() { 0 } else { number(first)? };
    let to = number(last)?;
    if from > to {
        return Err(backwards());
    }
    if (to - from) / step >= MAX_HOSTS {
        return Err(format!("stands for more than {MAX_HOSTS} hosts"));
    }
    let width = if first.len() > 1 && first.starts_with('0') {
        if first.len() != last.len() {
            return Err(format!(
                "`[{range}]` begins with a leading zero, so both ends need as many digits"
            ));
        }
        first.len()
    } else {
        0
    };
    Ok((from..=to)
        .step_by(step)
        .map(|n| format!("{n:0width$}"))
        .collect())
}

fn letter(text: &str) -> Option<u8> {
    match text.as_bytes() {
        [byte] if byte.is_ascii_lowercase() || byte.is_ascii_uppercase() => Some(*byte),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::expand;

    #[test]
    fn patterns_stand_for_names() {
        for (pattern, names) in [
            ("node-1", "node-1"),
            ("node-[1:3]", "node-1 node-2 node-3"),
            ("r[08:10]", "r08 r09 r10"),
            ("[a:c]x", "ax bx cx"),
            ("n[1:9:4]", "n1 n5 n9"),
            ("n[:1]", "n0 n1"),
            ("a[1:2]b[x:y]", "a1bx a1by a2bx a2by"),
        ] {
            assert_eq!(
                expand(pattern).expect("valid").join(" "),
                names,
                "{pattern}"
            );
        }
    }

    #[test]
    fn wrong_patterns_are_refused() {
        for pattern in [
            "n[1:3",
            "n]",
            "n[]",
            "n[1]",
            "n[3:1]",
            "n[c:a]",
            "n[a:3]",
            "n[1:3:0]",
            "n[1:3:x]",
            "n[01:100]",
            "n[0:99999999]",
            "n[1:9999]m[1:9999]",
            "n[1:99999999999999999999999]",
        ] {
            assert!(expand(pattern).is_err(), "{pattern}");
        }
    }
}
