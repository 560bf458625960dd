//! `mysql_db`: a database of MariaDB.
use agent_protocol::task::TaskResult;

use super::mysql::{self, LOGIN, query};
use crate::args::Args;
use crate::context::{Context, Fault, With, changed};
use crate::spec::{Arg, Effect, Kind, Module};

pub const MYSQL_DB: Module = Module::new(
    "mysql_db",
    "Make or drop databases",
    Effect::Converges,
    ARGS,
    run,
)
.shares(LOGIN)
.refuses(&[
    ("target", DUMPS),
    ("single_transaction", DUMPS),
    ("quick", DUMPS),
    ("ignore_tables", DUMPS),
    ("hex_blob", DUMPS),
    ("master_data", DUMPS),
    ("skip_lock_tables", DUMPS),
    ("dump_extra_args", DUMPS),
]);

const DUMPS: &str = "databases are saved and loaded by `mariadb-dump` and `mariadb` with the modules command and shell";

const ARGS: &[Arg] = &[
    Arg::new("name", Kind::List, "the databases")
        .aliases(&["db"])
        .required(),
    Arg::new("state", Kind::Text, "whether they are to be there")
        .choices(&["present", "absent"])
        .default("present"),
    Arg::new("encoding", Kind::Text, "character set"),
    Arg::new("collation", Kind::Text, "order of texts"),
];

fn run(context: &mut Context<'_>, args: &Args) -> Result<TaskResult, Fault> {
    let names = args.list("name").unwrap_or_default();
    let present = args.need("state") == "present";
    let word = |name: &str| match mysql::given(args, name) {
        Some(value) if !value.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') => {
            Err(Fault::new(format!("{name} `{value}` is no word")))
        }
        value => Ok(value),
    };
    let (encoding, collation) = (word("encoding")?, word("collation")?);
    let rows = query(
        context,
        args,
        "SELECT schema_name FROM information_schema.schemata;",
    )?;
    let there = |name: &str| {
        rows.iter()
            .any(|row| row.first().is_some_and(|database| database == name))
    };
    let todo: Vec<&str> = names
        .iter()
        .copied()
        .filter(|name| there(name) != present)
        .collect();
    let statements: String = todo
        .iter()
        .map(|name| match present {
            false => format!("DROP DATABASE {};\n", mysql::name(name)),
            true => {
                let set = encoding
                    .map(|set| format!(" CHARACTER SET {set}"))
                    .unwrap_or_default();
                let order = collation
                    .map(|order| format!(" COLLATE {order}"))
                    .unwrap_or_default();
                format!(
                    "CREATE DATABASE IF NOT EXISTS {}{set}{order};\n",
                    mysql::name(name)
                )
            }
        })
        .collect();
    if !todo.is_empty() && !context.check {
        query(context, args, &statements)?;
    }
    Ok(TaskResult {
        diff: context.diff_of("databases", "", &statements),
        ..changed(!todo.is_empty())
            .with("db", names.join(" "))
            .with("db_list", names)
            .with("executed_commands", statements.lines().collect::<Vec<_>>())
    })
}
