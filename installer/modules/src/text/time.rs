//! Points in time as text, in UTC. The clock is the caller's.
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Year, month, day of a day counted from 1970-01-01, in the Gregorian calendar.
pub fn date_of(day: i64) -> (i64, u32, u32) {
    // Years begin in March here, so that the leap day is the last one.
    let shifted = day + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let date = (of_year - (153 * shifted_month + 2) / 5 + 1) as u32;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    } as u32;
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, date)
}

/// `2026-01-31 23:59:59.123456`.
pub fn stamp(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let seconds = since.as_secs() as i64;
    let (year, month, date) = date_of(seconds.div_euclid(86_400));
    let rest = seconds.rem_euclid(86_400);
    format!(
        "{year:04}-{month:02}-{date:02} {:02}:{:02}:{:02}.{:06}",
        rest / 3600,
        rest / 60 % 60,
        rest % 60,
        since.subsec_micros()
    )
}

/// `0:01:02.000345`, as Python prints a duration.
pub fn span(duration: Duration) -> String {
    let seconds = duration.as_secs();
    format!(
        "{}:{:02}:{:02}.{:06}",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60,
        duration.subsec_micros()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_have_their_dates() {
        for (day, date) in [
            (0, (1970, 1, 1)),
            (59, (1970, 3, 1)),
            (-1, (1969, 12, 31)),
            (11_016, (2000, 2, 29)),
            (20_516, (2026, 3, 4)),
        ] {
            assert_eq!(date_of(day), date, "{day}");
        }
        let time = UNIX_EPOCH + Duration::new(951_868_799, 1000);
        assert_eq!(stamp(time), "2000-02-29 23:59:59.000001");
        assert_eq!(span(Duration::from_millis(3_662_005)), "1:01:02.005000");
    }
}
