//! Filters on lists and mappings.
use minijinja::value::{Kwargs, Rest, Serde, ValueKind};
use minijinja::{Environment, Error, Value};
use serde_json::{Map, Value as Json};

use super::text::{bad, json};

pub(super) fn register(env: &mut Environment<'static>) {
    env.add_filter("combine", combine);
    env.add_filter("dict2items", dict2items);
    env.add_filter("items2dict", items2dict);
    env.add_filter("difference", |one: Value, other: Value| {
        set(&one, |value| !has(&other, value))
    });
    env.add_filter("intersect", |one: Value, other: Value| {
        set(&one, |value| has(&other, value))
    });
    env.add_filter("union", |one: Value, other: Value| {
        let both: Vec<Value> = one.try_iter()?.chain(other.try_iter()?).collect();
        set(&Value::from(both), |_| true)
    });
    env.add_filter("symmetric_difference", |one: Value, other: Value| {
        let mut out = list(&set(&one, |value| !has(&other, value))?)?;
        out.extend(list(&set(&other, |value| !has(&one, value))?)?);
        Ok::<_, Error>(Value::from(out))
    });
    env.add_filter("flatten", flatten);
    env.add_filter("zip_longest", zip_longest);
    env.add_filter("extract", extract);
    env.add_filter("subelements", subelements);
    env.add_filter("product", product);
    env.add_filter("permutations", |values: Value, size: Option<usize>| {
        chosen(values, size, true)
    });
    env.add_filter("combinations", |values: Value, size: usize| {
        chosen(values, Some(size), false)
    });
}

fn list(value: &Value) -> Result<Vec<Value>, Error> {
    Ok(value.try_iter()?.collect())
}

fn has(values: &Value, wanted: &Value) -> bool {
    values
        .try_iter()
        .is_ok_and(|mut values| values.any(|value| value == *wanted))
}

/// Items that `keep` holds for, each once, in the order of the first list.
fn set(values: &Value, keep: impl Fn(&Value) -> bool) -> Result<Value, Error> {
    let mut out: Vec<Value> = Vec::new();
    for value in values.try_iter()? {
        if keep(&value) && !out.contains(&value) {
            out.push(value);
        }
    }
    Ok(Value::from(out))
}

/// `a | combine(b, c, recursive=true, list_merge='append')`.
fn combine(first: Value, others: Rest<Value>, options: Kwargs) -> Result<Value, Error> {
    let recursive = options.get::<Option<bool>>("recursive")?.unwrap_or(false);
    let lists = options
        .get::<Option<String>>("list_merge")?
        .unwrap_or_else(|| "replace".to_owned());
    options.assert_all_used()?;
    let mut out = Map::new();
    for value in std::iter::once(&first).chain(others.iter()) {
        // A list of mappings stands for its mappings.
        let parts = if value.kind() == ValueKind::Seq {
            list(value)?
        } else {
            vec![value.clone()]
        };
        for part in parts {
            let Json::Object(map) = json(&part)? else {
                return Err(bad(format!(
                    "combine takes mappings, not a {}",
                    part.kind()
                )));
            };
            merge(&mut out, map, recursive, &lists)?;
        }
    }
    Ok(Value::from(Serde(Json::Object(out))))
}

fn merge(
    into: &mut Map<String, Json>,
    from: Map<String, Json>,
    recursive: bool,
    lists: &str,
) -> Result<(), Error> {
    for (key, value) in from {
        match (into.get_mut(&key), value) {
            (Some(Json::Object(old)), Json::Object(new)) if recursive => {
                merge(old, new, recursive, lists)?
            }
            (Some(Json::Array(old)), Json::Array(new)) if lists != "replace" => match lists {
                "append" => old.extend(new),
                "prepend" => {
                    old.splice(0..0, new);
                }
                "append_rp" => {
                    old.retain(|item| !new.contains(item));
                    old.extend(new);
                }
                "prepend_rp" => {
                    old.retain(|item| !new.contains(item));
                    old.splice(0..0, new);
                }
                "keep" => {}
                other => return Err(bad(format!("unknown list_merge `{other}`"))),
            },
            (_, value) => {
                into.insert(key, value);
            }
        }
    }
    Ok(())
}

fn dict2items(map: Value, options: Kwargs) -> Result<Value, Error> {
    if map.kind() != ValueKind::Map {
        return Err(bad(format!(
            "dict2items takes a mapping, not a {}",
            map.kind()
        )));
    }
    let key_name = options
        .get::<Option<String>>("key_name")?
        .unwrap_or_else(|| "key".to_owned());
    let value_name = options
        .get::<Option<String>>("value_name")?
        .unwrap_or_else(|| "value".to_owned());
    let mut out = Vec::new();
    for key in map.try_iter()? {
        let value = map.get_item(&key)?;
        out.push(Value::from_pairs([
            (key_name.clone(), key),
            (value_name.clone(), value),
        ]));
    }
    Ok(Value::from(out))
}

fn items2dict(items: Value, options: Kwargs) -> Result<Value, Error> {
    let key_name = options
        .get::<Option<String>>("key_name")?
        .unwrap_or_else(|| "key".to_owned());
    let value_name = options
        .get::<Option<String>>("value_name")?
        .unwrap_or_else(|| "value".to_owned());
    let mut out = Vec::new();
    for item in items.try_iter()? {
        let (key, value) = (item.get_attr(&key_name)?, item.get_attr(&value_name)?);
        if key.is_undefined() || value.is_undefined() {
            return Err(bad(format!(
                "items2dict: an item has no `{key_name}` or no `{value_name}`"
            )));
        }
        out.push((key, value));
    }
    Ok(Value::from_pairs(out))
}

fn flatten(values: Value, options: Kwargs) -> Result<Value, Error> {
    fn walk(
        values: &Value,
        levels: usize,
        skip_nulls: bool,
        out: &mut Vec<Value>,
    ) -> Result<(), Error> {
        for value in values.try_iter()? {
            match value.kind() {
                ValueKind::Seq | ValueKind::Iterable if levels > 0 => {
                    walk(&value, levels - 1, skip_nulls, out)?
                }
                ValueKind::None if skip_nulls => {}
                _ => out.push(value),
            }
        }
        Ok(())
    }
    let levels = options.get::<Option<usize>>("levels")?.unwrap_or(64);
    let skip_nulls = options.get::<Option<bool>>("skip_nulls")?.unwrap_or(true);
    let mut out = Vec::new();
    walk(&values, levels, skip_nulls, &mut out)?;
    Ok(Value::from(out))
}

fn zip_longest(first: Value, others: Rest<Value>, options: Kwargs) -> Result<Value, Error> {
    let fill = options
        .get::<Option<Value>>("fillvalue")?
        .unwrap_or(Value::from(()));
    let mut columns = vec![list(&first)?];
    for other in others.iter() {
        columns.push(list(other)?);
    }
    let rows = columns.iter().map(Vec::len).max().unwrap_or(0);
    let row = |at: usize| {
        let cells = columns
            .iter()
            .map(|column| column.get(at).unwrap_or(&fill).clone());
        Value::from(cells.collect::<Vec<_>>())
    };
    Ok(Value::from((0..rows).map(row).collect::<Vec<_>>()))
}

/// `key | extract(container, more_keys)`, mostly as `map('extract', hostvars, 'name')`.
fn extract(
    key: Value,
    container: Value,
    more: Option<Value>,
    options: Kwargs,
) -> Result<Value, Error> {
    let mut value = container.get_item(&key)?;
    let path = match more.or(options.get("morekeys")?) {
        None => Vec::new(),
        Some(path) if path.kind() == ValueKind::Seq => list(&path)?,
        Some(key) => vec![key],
    };
    for key in path {
        value = value.get_item(&key)?;
    }
    Ok(value)
}

fn subelements(items: Value, path: Value, options: Kwargs) -> Result<Value, Error> {
    let skip = options
        .get::<Option<bool>>("skip_missing")?
        .unwrap_or(false);
    let path = match path.as_str() {
        Some(path) => path.to_owned(),
        None => list(&path)?
            .iter()
            .map(Value::to_string)
            .collect::<Vec<_>>()
            .join("."),
    };
    subelements_of(&items, &path, skip).map(Value::from)
}

/// Pairs of each item and each element of the list at `path` in it. Of a mapping the values are the items.
pub(super) fn subelements_of(
    items: &Value,
    path: &str,
    skip_missing: bool,
) -> Result<Vec<Value>, Error> {
    let items = match items.kind() {
        ValueKind::Map => list(items)?
            .iter()
            .map(|key| items.get_item(key))
            .collect::<Result<_, _>>()?,
        _ => list(items)?,
    };
    let mut out = Vec::new();
    for item in items {
        let mut inner = item.clone();
        for key in path.split('.') {
            inner = inner.get_attr(key)?;
            if inner.is_undefined() {
                break;
            }
        }
        if inner.is_undefined() && skip_missing {
            continue;
        }
        if inner.is_undefined() {
            return Err(bad(format!("subelements: an item has no `{path}`")));
        }
        for element in inner.try_iter()? {
            out.push(Value::from(vec![item.clone(), element]));
        }
    }
    Ok(out)
}

/// All choices of `size` places among `count`, in order; with `ordered` each order is a choice of its own.
fn choices(count: usize, size: usize, ordered: bool) -> Result<Vec<Vec<usize>>, Error> {
    let mut rows: Vec<Vec<usize>> = vec![Vec::new()];
    for _ in 0..size {
        let mut longer = Vec::new();
        for row in &rows {
            let from = match (ordered, row.last()) {
                (false, Some(last)) => last + 1,
                _ => 0,
            };
            for at in from..count {
                if !row.contains(&at) {
                    longer.push(row.iter().copied().chain([at]).collect());
                }
            }
            if longer.len() > 100_000 {
                return Err(bad("more than 100000 combinations"));
            }
        }
        rows = longer;
    }
    Ok(rows)
}

fn chosen(values: Value, size: Option<usize>, ordered: bool) -> Result<Value, Error> {
    let items = list(&values)?;
    let size = size.unwrap_or(items.len());
    let rows = choices(items.len(), size, ordered)?;
    let row =
        |row: &Vec<usize>| Value::from(row.iter().map(|&at| items[at].clone()).collect::<Vec<_>>());
    Ok(Value::from(rows.iter().map(row).collect::<Vec<_>>()))
}

fn product(first: Value, others: Rest<Value>) -> Result<Value, Error> {
    let mut rows: Vec<Vec<Value>> = list(&first)?.into_iter().map(|value| vec![value]).collect();
    for other in others.iter() {
        let column = list(other)?;
        if rows.len().saturating_mul(column.len()) > 100_000 {
            return Err(bad("product would have more than 100000 rows"));
        }
        let extend =
            |row: &Vec<Value>, value: &Value| row.iter().cloned().chain([value.clone()]).collect();
        rows = rows
            .iter()
            .flat_map(|row| column.iter().map(move |value| extend(row, value)))
            .collect();
    }
    Ok(Value::from(
        rows.into_iter().map(Value::from).collect::<Vec<_>>(),
    ))
}
