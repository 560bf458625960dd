//! Times of certificates: `+3650d`, `20300102030405Z`, and what `openssl` prints. Pure.

const DAY: i64 = 86_400;

/// A time as Ansible takes it, in seconds since 1970: relative to `now`, or absolute.
pub fn parse(text: &str, now: i64) -> Option<i64> {
    let sign = match text.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return absolute(text),
    };
    let mut seconds: i64 = 0;
    let mut rest = &text[1..];
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let number: i64 = rest[..digits].parse().ok()?;
        let unit = match rest[digits..].chars().next() {
            Some('w') => 7 * DAY,
            Some('d') => DAY,
            Some('h') => 3600,
            Some('m') => 60,
            Some('s') => 1,
            _ => return None,
        };
        seconds = seconds.checked_add(number.checked_mul(unit)?)?;
        rest = &rest[digits + 1..];
    }
    now.checked_add(sign * seconds)
        .filter(|time| (0..253_402_300_800).contains(time))
}

/// `YYYYMMDDHHMMSSZ`, or with a year of two digits.
fn absolute(text: &str) -> Option<i64> {
    let digits = text.strip_suffix('Z')?;
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let digits = match digits.len() {
        14 => digits.to_owned(),
        12 if digits < "50" => format!("20{digits}"),
        12 => format!("19{digits}"),
        _ => return None,
    };
    let part = |from: usize, to: usize| digits[from..to].parse::<i64>().ok();
    seconds([
        part(0, 4)?,
        part(4, 6)?,
        part(6, 8)?,
        part(8, 10)?,
        part(10, 12)?,
        part(12, 14)?,
    ])
}

/// `YYYY-MM-DD HH:MM:SSZ`.
pub fn iso(text: &str) -> Option<i64> {
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    absolute(&format!("{digits}Z")).filter(|_| digits.len() == 14)
}

/// As `openssl ca` takes it.
pub fn show(time: i64) -> String {
    let (days, rest) = (time.div_euclid(DAY), time.rem_euclid(DAY));
    let (year, month, day) = super::time::date_of(days);
    format!(
        "{year:04}{month:02}{day:02}{:02}{:02}{:02}Z",
        rest / 3600,
        rest / 60 % 60,
        rest % 60
    )
}

fn seconds([year, month, day, hour, minute, second]: [i64; 6]) -> Option<i64> {
    if !(1..=12).contains(&month)
        || !(1..=31).contains(&day)
        || hour > 23
        || minute > 59
        || second > 59
    {
        return None;
    }
    let year = if month <= 2 { year - 1 } else { year };
    let months = if month > 2 { month - 3 } else { month + 9 };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * months + 2) / 5 + day
        - 1
        - 719_468;
    Some(days * DAY + hour * 3600 + minute * 60 + second)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn times_as_ansible_writes_them() {
        let now = 1_000_000_000;
        for (text, expected) in [
            ("+0s", Some(now)),
            ("+1w2d3h4m5s", Some(now + 788_645)),
            ("-1d", Some(now - DAY)),
            ("20010909014640Z", Some(now)),
            ("010909014640Z", Some(now)),
            ("+5", None),
            ("tomorrow", None),
            ("+99999999999999w", None),
            ("20011309014640Z", None),
        ] {
            assert_eq!(parse(text, now), expected, "{text}");
        }
        assert_eq!(iso("2001-09-09 01:46:40Z"), Some(now));
    }

    proptest! {
        #[test]
        fn a_time_that_is_shown_is_read_again(time in 0i64..253_402_300_800) {
            prop_assert_eq!(parse(&show(time), 0), Some(time));
        }

        #[test]
        fn no_text_panics(text in "[+-]?[0-9wdhmsZä]{0,18}") {
            let _ = parse(&text, 1_000_000_000);
        }
    }
}
