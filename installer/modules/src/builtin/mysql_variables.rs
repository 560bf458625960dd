//! `mysql_variables`: a global variable of the running MariaDB.
use agent_protocol::task::TaskResult;

use super::mysql::{self, LOGIN, query, text};
use crate::args::Args;
use crate::context::{Context, Fault, With, changed};
use crate::spec::{Arg, Effect, Kind, Module};

pub const MYSQL_VARIABLES: Module = Module::new(
    "mysql_variables",
    "Read or set a global variable of the database server",
    Effect::Converges,
    ARGS,
    run,
)
.shares(LOGIN);

const ARGS: &[Arg] = &[
    Arg::new("variable", Kind::Text, "its name").required(),
    Arg::new(
        "value",
        Kind::Text,
        "what it is to be; without it the variable is read",
    ),
    Arg::new(
        "mode",
        Kind::Text,
        "global: until the server restarts; what is to last belongs into its option files",
    )
    .choices(&["global"])
    .default("global"),
];

fn run(context: &mut Context<'_>, args: &Args) -> Result<TaskResult, Fault> {
    let variable = args.need("variable");
    let is_name = |part: &str| {
        !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    if !variable.split('.').all(is_name) {
        return Err(Fault::new(format!("`{variable}` is no name of a variable")));
    }
    let plain = variable.rsplit('.').next().unwrap_or(variable);
    let rows = query(
        context,
        args,
        &format!(
            "SHOW GLOBAL VARIABLES WHERE Variable_name = {};\n",
            text(plain)
        ),
    )?;
    let Some(now) = rows.first().and_then(|row| row.get(1)) else {
        return Err(Fault::new(format!("Variable not available '{variable}'")));
    };
    let Some(wanted) = args.text("value") else {
        return Ok(TaskResult {
            msg: now.clone(),
            ..changed(false)
        });
    };
    if Typed::of(now) == Typed::of(wanted) {
        return Ok(TaskResult {
            msg: "Variable is already set to requested value.".into(),
            ..changed(false)
        });
    }
    let quoted: Vec<String> = variable.split('.').map(mysql::name).collect();
    let literal = match Typed::of(wanted) {
        Typed::Number(number) => number,
        _ => text(wanted),
    };
    let statement = format!("SET GLOBAL {} = {literal}", quoted.join("."));
    if !context.check {
        query(context, args, &format!("{statement};\n"))?;
    }
    Ok(TaskResult {
        msg: format!("Variable change succeeded prev_value={now}"),
        diff: context.diff_of(variable, &format!("{now}\n"), &format!("{wanted}\n")),
        ..changed(true)
            .with("prev_value", now.clone())
            .with("queries", vec![statement])
    })
}

/// What two spellings of one value have in common.
#[derive(Debug, PartialEq)]
enum Typed {
    Number(String),
    Text(String),
}

impl Typed {
    fn of(text: &str) -> Typed {
        match text.to_ascii_uppercase().as_str() {
            "ON" | "TRUE" => return Typed::Number("1".into()),
            "OFF" | "FALSE" => return Typed::Number("0".into()),
            _ => {}
        }
        // The server prints six digits behind the point where fewer were asked for.
        match (text.parse::<i128>(), text.parse::<f64>()) {
            (Ok(number), _) => Typed::Number(number.to_string()),
            (_, Ok(number)) if number.is_finite() => Typed::Number(number.to_string()),
            _ => Typed::Text(text.to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builtin::testing::Bench;
    use serde_json::json;

    #[test]
    fn spellings_of_one_value_are_the_same() {
        for (a, b) in [
            ("ON", "1"),
            ("off", "False"),
            ("10.000000", "10"),
            ("007", "7"),
        ] {
            assert_eq!(Typed::of(a), Typed::of(b), "{a} {b}");
        }
        assert_ne!(Typed::of("ON"), Typed::of("ONCE"));
        assert_ne!(Typed::of("inf"), Typed::of("nan"));
    }

    #[test]
    fn what_is_no_variable_is_refused() {
        let bench = Bench::new();
        for variable in ["a b", "", "a.", "x; DROP DATABASE y"] {
            let result = bench.run("mysql_variables", json!({"variable": variable}));
            assert!(
                result.failed && result.msg.contains("is no name"),
                "{result:?}"
            );
        }
        let result = bench.run(
            "mysql_variables",
            json!({"variable": "a", "mode": "persist"}),
        );
        assert!(
            result.msg.contains("must be one of: global"),
            "{}",
            result.msg
        );
    }
}
