//! `with_sequence` and `query('sequence')`: `start=1 end=4 stride=2 format=n%02d`, `count=3`, `5`, `2-10/2`, `4:host%02d`.

/// More than this are a mistake.
const COUNT_MAX: usize = 100_000;

/// The texts that a specification stands for; the error says what is wrong with it.
pub(crate) fn sequence(text: &str) -> Result<Vec<String>, String> {
    let (mut start, mut end, mut stride, mut count, mut format) =
        (1i64, None, None, None, "%d".to_owned());
    let text = text.trim();
    match shortcut(text) {
        Some((first, last, step, shape)) => {
            (start, end, stride) = (first.unwrap_or(1), Some(last), step);
            format = shape.unwrap_or(format);
        }
        None => {
            for word in text.split_whitespace() {
                let number =
                    |text: &str| number(text).ok_or_else(|| format!("`{text}` is no number"));
                match word.split_once('=') {
                    Some(("start", value)) => start = number(value)?,
                    Some(("end", value)) => end = Some(number(value)?),
                    Some(("stride", value)) => stride = Some(number(value)?),
                    Some(("count", value)) => count = Some(number(value)?),
                    Some(("format", value)) => value.clone_into(&mut format),
                    _ => {
                        return Err(format!(
                            "`{word}` is none of start, end, count, stride, format"
                        ));
                    }
                }
            }
        }
    }
    let end = match (end, count) {
        (Some(end), None) => end,
        (None, Some(0)) => return Ok(Vec::new()),
        (None, Some(count)) => {
            let steps = count.saturating_sub(1);
            start.saturating_add(steps.saturating_mul(stride.unwrap_or(1)))
        }
        (Some(_), Some(_)) => return Err("`end` and `count` exclude each other".to_owned()),
        (None, None) => return Err("`end` or `count` is needed".to_owned()),
    };
    let stride = stride.unwrap_or(1);
    if stride == 0 {
        return Err("stride is 0".to_owned());
    }
    if stride > 0 && end < start {
        return Err("to count backwards, give a negative stride".to_owned());
    }
    let mut out = Vec::new();
    let mut at = start;
    while (stride > 0 && at <= end) || (stride < 0 && at >= end) {
        if out.len() >= COUNT_MAX {
            return Err(format!("more than {COUNT_MAX} items"));
        }
        out.push(formatted(&format, at));
        match at.checked_add(stride) {
            Some(next) => at = next,
            None => break,
        }
    }
    Ok(out)
}

fn number(text: &str) -> Option<i64> {
    match text.strip_prefix("0x") {
        Some(digits) => i64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

type Shortcut = (Option<i64>, i64, Option<i64>, Option<String>);

/// `[start-]end[/stride][:format]`.
fn shortcut(text: &str) -> Option<Shortcut> {
    let (text, format) = match text.split_once(':') {
        Some((text, format)) => (text, Some(format.to_owned())),
        None => (text, None),
    };
    let (text, stride) = match text.split_once('/') {
        Some((text, stride)) => (text, Some(number(stride)?)),
        None => (text, None),
    };
    match text.split_once('-') {
        Some((first, last)) => Some((Some(number(first)?), number(last)?, stride, format)),
        None => Some((None, number(text)?, stride, format)),
    }
}

/// `%d`, `%02d`, `%x`, `%02x` inside a text.
fn formatted(format: &str, number: i64) -> String {
    let Some((head, rest)) = format.split_once('%') else {
        return format.to_owned();
    };
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    let width = digits.parse::<usize>().unwrap_or(0).min(64);
    let mut tail = rest.get(digits.len()..).unwrap_or_default().chars();
    let kind = tail.next();
    let zeros = digits.starts_with('0');
    let body = match (kind, zeros) {
        (Some('x'), true) => format!("{number:0width$x}"),
        (Some('x'), false) => format!("{number:width$x}"),
        (Some('X'), true) => format!("{number:0width$X}"),
        (Some('X'), false) => format!("{number:width$X}"),
        (Some('o'), true) => format!("{number:0width$o}"),
        (Some('o'), false) => format!("{number:width$o}"),
        (_, true) => format!("{number:0width$}"),
        (_, false) => format!("{number:width$}"),
    };
    format!("{head}{body}{}", tail.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_count_and_format() {
        for (text, expected) in [
            ("start=1 end=3", "1 2 3"),
            ("count=2 format=node-%02d", "node-01 node-02"),
            ("start=10 end=6 stride=-2", "10 8 6"),
            ("start=254 count=2 format=%04x", "00fe 00ff"),
            ("2-10/4", "2 6 10"),
            ("2:h%02d", "h01 h02"),
            ("count=0", ""),
        ] {
            assert_eq!(sequence(text).unwrap().join(" "), expected, "{text}");
        }
        for text in [
            "stride=0 end=4",
            "end=4000000",
            "start=3 end=1",
            "x",
            "",
            "format=%é count=1x",
        ] {
            assert!(sequence(text).is_err(), "{text}");
        }
    }
}
