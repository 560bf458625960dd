//! `mysql_query`: statements of the user's own on MariaDB.
use agent_protocol::task::TaskResult;
use serde_json::{Map, Value};

use super::mysql::{LOGIN, client, given, text};
use crate::args::Args;
use crate::context::{Context, Fault, With, changed};
use crate::spec::{Arg, Effect, Kind, Module};
use crate::text::xml_rows::{Row, result_sets};

pub const MYSQL_QUERY: Module = Module::new(
    "mysql_query",
    "Run statements on the database server",
    Effect::Once,
    ARGS,
    run,
)
.shares(LOGIN)
.exclusive(&[&["positional_args", "named_args"]]);

const ARGS: &[Arg] = &[
    Arg::new("query", Kind::Any, "one statement, or a list of them").required(),
    Arg::new(
        "positional_args",
        Kind::Any,
        "list of values that take the places of %s",
    ),
    Arg::new(
        "named_args",
        Kind::Map,
        "values that take the places of %(name)s",
    ),
    Arg::new("login_db", Kind::Text, "database the statements are about"),
    Arg::new(
        "single_transaction",
        Kind::Flag,
        "all statements take effect, or none",
    )
    .default("false"),
];

/// What a statement does, as far as its first word tells.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Deed {
    Reads,
    /// Counts the rows that it changes.
    Rows,
    /// Changes the shape of things, with a note if that was not needed.
    Shape,
    /// `SET`, `CALL` and the like: never reported as a change.
    Other,
}

fn run(context: &mut Context<'_>, args: &Args) -> Result<TaskResult, Fault> {
    let statements = statements(args).map_err(Fault::new)?;
    let executed: Vec<Value> = statements.iter().map(|s| s.as_str().into()).collect();
    let deeds: Vec<Deed> = statements.iter().map(|statement| deed(statement)).collect();
    if context.check && deeds.iter().any(|deed| *deed != Deed::Reads) {
        // What a statement would do is only known by doing it.
        return Ok(TaskResult {
            msg: "the statements are not tried in check mode".into(),
            ..changed(
                deeds
                    .iter()
                    .any(|deed| matches!(deed, Deed::Rows | Deed::Shape)),
            )
            .with("executed_queries", executed)
            .with("query_result", Value::Array(Vec::new()))
            .with("rowcount", Value::Array(Vec::new()))
        });
    }
    let mut sql = String::new();
    let single = args.flag("single_transaction");
    if single {
        sql.push_str("START TRANSACTION;\n");
    }
    for statement in &statements {
        sql.push_str(statement);
        sql.push_str(";\nSELECT 'wright' AS after_a_statement, ROW_COUNT() AS n;\nSHOW WARNINGS;\nSELECT 'wright' AS after_warnings;\n");
    }
    if single {
        sql.push_str("COMMIT;\n");
    }
    let mut options = vec!["--xml"];
    let database = given(args, "login_db").map(|name| format!("--database={name}"));
    options.extend(database.as_deref());
    let output = client(context, args, "mariadb", &options, &sql)?;
    let answers = result_sets(&output)
        .and_then(|sets| answers(sets, statements.len()))
        .ok_or_else(|| Fault::new("the answer is longer than 2 MiB: ask for fewer rows"))?;
    let mut done = false;
    let (mut results, mut counts) = (Vec::new(), Vec::new());
    for ((statement, deed), answer) in statements.iter().zip(&deeds).zip(answers) {
        done |= match deed {
            Deed::Rows => answer.changed_rows > 0,
            Deed::Shape => !answer.noted,
            Deed::Reads | Deed::Other => false,
        };
        counts.push(Value::from(if answer.rows.is_empty() {
            answer.changed_rows.max(0)
        } else {
            answer.rows.len() as i64
        }));
        let kinds = if answer.rows.is_empty() || *deed != Deed::Reads {
            Vec::new()
        } else {
            numeric_columns(context, args, database.as_deref(), statement)?
        };
        let rows = answer.rows.into_iter().map(|row| object(row, &kinds));
        results.push(Value::Array(rows.collect()));
    }
    Ok(changed(done)
        .with("executed_queries", executed)
        .with("query_result", results)
        .with("rowcount", counts))
}

/// The statements with their arguments in place.
fn statements(args: &Args) -> Result<Vec<String>, String> {
    let queries = match args.value("query") {
        Some(Value::String(one)) => vec![one.clone()],
        Some(Value::Array(many)) if many.iter().all(Value::is_string) => many
            .iter()
            .filter_map(|query| query.as_str().map(str::to_owned))
            .collect(),
        _ => return Err("query must be a text or a list of texts".into()),
    };
    let positional = match args.value("positional_args") {
        None => None,
        Some(Value::Array(list)) => Some(list.clone()),
        Some(Value::String(text)) => Some(text.split(',').map(|part| part.trim().into()).collect()),
        Some(_) => return Err("positional_args must be a list".into()),
    };
    queries
        .iter()
        .map(|query| {
            let query = query.trim().trim_end_matches(';');
            if query.is_empty() {
                return Err("query has an empty statement".to_owned());
            }
            match (&positional, args.map("named_args")) {
                (None, None) => Ok(query.to_owned()),
                (list, named) => fill(query, list.as_deref().unwrap_or_default(), named),
            }
        })
        .collect()
}

/// Puts values in the places of `%s` and `%(name)s`; `%%` is a percent sign.
fn fill(query: &str, list: &[Value], named: Option<&Map<String, Value>>) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = query;
    let mut list = list.iter();
    while let Some((before, after)) = rest.split_once('%') {
        out.push_str(before);
        if let Some(after) = after.strip_prefix('%') {
            out.push('%');
            rest = after;
        } else if let (Some(after), None) = (after.strip_prefix('s'), named) {
            let value = list
                .next()
                .ok_or("query has more %s than there are positional_args")?;
            out.push_str(&literal(value)?);
            rest = after;
        } else if let (Some((name, after)), Some(named)) = (
            after.strip_prefix('(').and_then(|r| r.split_once(")s")),
            named,
        ) {
            let value = named
                .get(name)
                .ok_or_else(|| format!("named_args lacks `{name}`"))?;
            out.push_str(&literal(value)?);
            rest = after;
        } else {
            return Err(format!(
                "query: with arguments a percent sign is written %%, and a place is {}",
                if named.is_some() { "%(name)s" } else { "%s" }
            ));
        }
    }
    if list.next().is_some() {
        return Err("query has fewer %s than there are positional_args".into());
    }
    out.push_str(rest);
    Ok(out)
}

fn literal(value: &Value) -> Result<String, String> {
    Ok(match value {
        Value::Null => "NULL".into(),
        Value::Bool(flag) => if *flag { "true" } else { "false" }.into(),
        Value::Number(number) => number.to_string(),
        Value::String(value) => text(value),
        Value::Array(values) if !values.is_empty() => {
            let values: Result<Vec<_>, _> = values.iter().map(literal).collect();
            format!("({})", values?.join(","))
        }
        _ => return Err("an argument of a query is a text, a number or a list of them".into()),
    })
}

fn deed(statement: &str) -> Deed {
    let word: String = statement
        .trim_start_matches(|c: char| c.is_whitespace() || c == '(')
        .chars()
        .take_while(char::is_ascii_alphabetic)
        .collect();
    match word.to_ascii_uppercase().as_str() {
        "SELECT" | "SHOW" | "DESCRIBE" | "DESC" | "EXPLAIN" => Deed::Reads,
        "INSERT" | "UPDATE" | "DELETE" | "REPLACE" => Deed::Rows,
        "CREATE" | "DROP" | "ALTER" | "RENAME" | "TRUNCATE" => Deed::Shape,
        _ => Deed::Other,
    }
}

struct Answer {
    rows: Vec<Row>,
    changed_rows: i64,
    noted: bool,
}

/// Parts the result sets at the marks that were asked for behind each statement.
fn answers(sets: Vec<Vec<Row>>, count: usize) -> Option<Vec<Answer>> {
    let mut answers = Vec::new();
    let mut sets = sets.into_iter().peekable();
    for _ in 0..count {
        let mut rows = Vec::new();
        let changed_rows = loop {
            let set = sets.next()?;
            match set.first().map(Vec::as_slice) {
                Some([(mark, Some(own)), (_, Some(n))])
                    if mark == "after_a_statement" && own == "wright" =>
                {
                    break n.parse().ok()?;
                }
                // A procedure may answer more than once: the first answer counts.
                _ if rows.is_empty() => rows = set,
                _ => {}
            }
        };
        let mut noted = false;
        loop {
            let set = sets.next()?;
            if set
                .first()
                .and_then(|row| row.first())
                .is_some_and(|(mark, _)| mark == "after_warnings")
            {
                break;
            }
            noted |= set.iter().any(|row| {
                row.first()
                    .is_some_and(|(_, level)| level.as_deref() == Some("Note"))
            });
        }
        answers.push(Answer {
            rows,
            changed_rows,
            noted,
        });
    }
    Some(answers)
}

/// Whether each column is a number. The client tells in words only, so it is asked for no rows of the same.
fn numeric_columns(
    context: &mut Context<'_>,
    args: &Args,
    database: Option<&str>,
    statement: &str,
) -> Result<Vec<bool>, Fault> {
    if !statement.to_ascii_uppercase().starts_with("SELECT") {
        return Ok(Vec::new());
    }
    let mut options = vec!["--table", "--column-type-info"];
    options.extend(database);
    let sql = format!("SELECT * FROM ({statement}) the_same LIMIT 0;\n");
    match client(context, args, "mariadb", &options, &sql) {
        Ok(output) => Ok(output
            .lines()
            .filter_map(|line| line.strip_prefix("Type:"))
            .map(|kind| {
                matches!(
                    kind.trim(),
                    "TINY" | "SHORT" | "LONG" | "LONGLONG" | "INT24" | "YEAR" | "FLOAT" | "DOUBLE"
                )
            })
            .collect()),
        Err(fault @ (Fault::Cancelled | Fault::TimedOut)) => Err(fault),
        // Not every statement can stand in another one, for example two columns of one name: texts then.
        Err(_) => Ok(Vec::new()),
    }
}

fn object(row: Row, numeric: &[bool]) -> Value {
    let width = row.len();
    let field = |(index, (name, value)): (usize, (String, Option<String>))| {
        let value = match value {
            None => Value::Null,
            Some(text) if numeric.len() == width && numeric[index] => {
                serde_json::from_str(&text).unwrap_or(Value::String(text))
            }
            Some(text) => Value::String(text),
        };
        (name, value)
    };
    Value::Object(row.into_iter().enumerate().map(field).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn arguments_take_their_places() {
        let list = [json!(1), json!("a'b\\"), json!(null), json!([1, "x"])];
        assert_eq!(
            fill("SELECT %s, %s, %s, 5 %% 2 WHERE a IN %s", &list, None).unwrap(),
            r"SELECT 1, 'a''b\\', NULL, 5 % 2 WHERE a IN (1,'x')"
        );
        let named = json!({"a": true, "b": 2.5});
        let named = named.as_object();
        assert_eq!(fill("%(b)s %(a)s", &[], named).unwrap(), "2.5 true");
        for query in ["%s %s", "%d", "%(a)s", "x"] {
            assert!(fill(query, &list[..1], None).is_err(), "{query}");
        }
        assert!(fill("%(c)s", &[], named).is_err() && fill("%s", &[], named).is_err());
    }

    #[test]
    fn the_first_word_tells_what_a_statement_does() {
        for (statement, expected) in [
            ("select 1", Deed::Reads),
            (" (SELECT 1) UNION SELECT 2", Deed::Reads),
            ("INSERT INTO a VALUES (1)", Deed::Rows),
            ("create table a (b int)", Deed::Shape),
            ("SET @a = 1", Deed::Other),
        ] {
            assert_eq!(deed(statement), expected, "{statement}");
        }
    }

    proptest! {
        #[test]
        fn a_text_argument_stays_within_its_quotes(value in "[a'\\\\%\"; -]{0,12}") {
            let filled = fill("%s", &[json!(value)], None).unwrap();
            let inside = filled.strip_prefix('\'').and_then(|f| f.strip_suffix('\'')).unwrap();
            prop_assert!(!inside.replace("\\\\", "").replace("''", "").contains(['\'', '\\']));
        }
    }
}
