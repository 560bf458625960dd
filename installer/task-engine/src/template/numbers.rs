//! Filters on numbers and sizes, and on points in time.
use std::hash::{DefaultHasher, Hash, Hasher};

use minijinja::value::{Kwargs, ValueKind};
use minijinja::{Environment, Error, Value};

use super::text::bad;

pub(super) fn register(env: &mut Environment<'static>) {
    env.add_filter("log", |value: f64, base: Option<f64>| match base {
        Some(10.0) => value.log10(),
        Some(2.0) => value.log2(),
        Some(base) => value.ln() / base.ln(),
        None => value.ln(),
    });
    env.add_filter("pow", |value: f64, power: f64| whole(value.powf(power)));
    env.add_filter("root", |value: f64, base: Option<f64>| match base {
        None | Some(2.0) => value.sqrt(),
        Some(base) => value.powf(1.0 / base),
    });
    env.add_filter("human_readable", human_readable);
    env.add_filter("human_to_bytes", human_to_bytes);
    env.add_filter("random", random);
    env.add_filter("shuffle", shuffle);
    env.add_filter("strftime", strftime);
    env.add_filter("random_mac", |_: Value, _options: Kwargs| {
        Err::<Value, _>(bad(
            "random_mac is not supported: it would be a change in every run",
        ))
    });
}

/// A number that stays whole where it is.
fn whole(value: f64) -> Value {
    match value.fract() == 0.0 && value.abs() < 1e15 {
        true => Value::from(value as i64),
        false => Value::from(value),
    }
}

const UNITS: &[(&str, u32)] = &[
    ("Y", 80),
    ("Z", 70),
    ("E", 60),
    ("P", 50),
    ("T", 40),
    ("G", 30),
    ("M", 20),
    ("K", 10),
    ("", 0),
];

fn size_of(power: u32) -> f64 {
    2f64.powi(i32::try_from(power).unwrap_or(0))
}

/// `1536000 | human_readable(isbits=true, unit='K')`.
fn human_readable(
    size: Value,
    isbits: Option<bool>,
    unit: Option<String>,
    options: Kwargs,
) -> Result<String, Error> {
    let size = number(&size)?;
    let bits = isbits.or(options.get("isbits")?).unwrap_or(false);
    let unit = unit.or(options.get("unit")?);
    let (letter, power) = UNITS
        .iter()
        .find(|(letter, power)| match &unit {
            Some(unit) => unit.eq_ignore_ascii_case(letter),
            None => size.abs() >= size_of(*power),
        })
        .copied()
        .unwrap_or(("", 0));
    let base = match (bits, letter) {
        (false, "") => "Bytes",
        (true, "") => "bits",
        (false, _) => "B",
        (true, _) => "b",
    };
    Ok(format!("{:.2} {letter}{base}", size / size_of(power)))
}

fn number(value: &Value) -> Result<f64, Error> {
    match value.kind() {
        ValueKind::String => value.to_string().trim().parse().ok(),
        _ => f64::try_from(value.clone()).ok(),
    }
    .ok_or_else(|| bad(format!("`{value}` is no number")))
}

/// `'1.5G' | human_to_bytes(default_unit='M', isbits=true)`.
fn human_to_bytes(
    size: Value,
    default_unit: Option<String>,
    isbits: Option<bool>,
    options: Kwargs,
) -> Result<i64, Error> {
    let text = size.to_string();
    let text = text.trim();
    let unit = default_unit.or(options.get("default_unit")?);
    let bits = isbits.or(options.get("isbits")?).unwrap_or(false);
    let end = text
        .find(|c: char| !(c.is_ascii_digit() || c == '.'))
        .unwrap_or(text.len());
    let (digits, word) = text.split_at(end);
    let amount: f64 = digits
        .parse()
        .map_err(|_| bad(format!("`{text}` is no size")))?;
    let word = match word.trim() {
        "" => unit.unwrap_or_default(),
        word => word.to_owned(),
    };
    let first = word.get(..1).unwrap_or_default().to_ascii_uppercase();
    let lower = word.to_ascii_lowercase();
    let base = match bits {
        true => ["b", "bit", "bits"],
        false => ["b", "byte", "bytes"],
    };
    let power = UNITS
        .iter()
        .find(|(letter, _)| *letter == first)
        .map(|(_, power)| *power);
    let known = |rest: &str| rest.is_empty() || base.contains(&rest);
    let power = match power {
        _ if lower.is_empty() || base.contains(&lower.as_str()) => 0,
        Some(power) if known(lower.get(1..).unwrap_or_default()) => power,
        _ => {
            return Err(bad(format!(
                "`{text}` is no size: the unit `{word}` is unknown"
            )));
        }
    };
    Ok((amount * size_of(power)).round() as i64)
}

/// The numbers that a seed stands for: the same in every run.
struct Seeded(u64);

impl Seeded {
    fn new(seed: &Value) -> Self {
        let mut hasher = DefaultHasher::new();
        seed.to_string().hash(&mut hasher);
        Seeded(hasher.finish() | 1)
    }

    /// Below `limit`, which is not 0.
    fn below(&mut self, limit: u64) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }
}

fn unseeded(what: &str) -> Error {
    bad(format!(
        "`{what}` without `seed` gives another value each time, so every run would change something"
    ))
    .with_source(bad(format!("write `{what}(seed=inventory_hostname)`")))
}

/// `59 | random(seed=inventory_hostname)`, or one of a list. A list of one needs no seed.
fn random(
    end: Value,
    start: Option<i64>,
    step: Option<i64>,
    options: Kwargs,
) -> Result<Value, Error> {
    let start = start.or(options.get("start")?);
    let step = step.or(options.get("step")?).unwrap_or(1);
    let seed = options.get::<Option<Value>>("seed")?;
    if let Some(end) = end.as_i64() {
        let start = start.unwrap_or(0);
        if step <= 0 || end <= start {
            return Err(bad("random: the range is empty"));
        }
        let count = (end.saturating_sub(start) as u64).div_ceil(step as u64);
        let seed = seed.ok_or_else(|| unseeded("random"))?;
        let at = Seeded::new(&seed).below(count);
        return Ok(Value::from(start + step.saturating_mul(at as i64)));
    }
    let items: Vec<Value> = end.try_iter()?.collect();
    match (items.len(), seed) {
        (0, _) => Err(bad("random: the list is empty")),
        (1, _) => Ok(items[0].clone()),
        (count, Some(seed)) => Ok(items[Seeded::new(&seed).below(count as u64) as usize].clone()),
        (_, None) => Err(unseeded("random")),
    }
}

fn shuffle(list: Value, options: Kwargs) -> Result<Value, Error> {
    let mut items: Vec<Value> = list.try_iter()?.collect();
    let seed = options
        .get::<Option<Value>>("seed")?
        .ok_or_else(|| unseeded("shuffle"))?;
    let mut numbers = Seeded::new(&seed);
    for at in (1..items.len()).rev() {
        items.swap(at, numbers.below(at as u64 + 1) as usize);
    }
    Ok(Value::from(items))
}

/// `'%Y-%m-%d' | strftime(epoch, utc=true)`. Without a point in time it would give another text each time.
fn strftime(format: String, second: Option<Value>, options: Kwargs) -> Result<String, Error> {
    use chrono::TimeZone;
    let second = second.or(options.get("second")?);
    let utc = options.get::<Option<bool>>("utc")?.unwrap_or(false);
    let Some(second) = second.filter(|second| !second.is_none()) else {
        return Err(bad(
            "`strftime` without a time gives another text each time; write `strftime(ansible_date_time.epoch)`",
        ));
    };
    let second = number(&second)? as i64;
    let items: Vec<_> = chrono::format::StrftimeItems::new(&format).collect();
    if items.contains(&chrono::format::Item::Error) {
        return Err(bad(format!("`{format}` is no format of a time")));
    }
    let text = match utc {
        true => chrono::Utc
            .timestamp_opt(second, 0)
            .single()
            .map(|time| time.format_with_items(items.iter()).to_string()),
        false => chrono::Local
            .timestamp_opt(second, 0)
            .single()
            .map(|time| time.format_with_items(items.iter()).to_string()),
    };
    text.ok_or_else(|| bad("the time is out of range"))
}
