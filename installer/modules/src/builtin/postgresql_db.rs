//! `postgresql_db`: a database of PostgreSQL.
use std::path::{Path, PathBuf};

use agent_protocol::task::TaskResult;
use serde_json::Value;

use super::mysql::given;
use super::postgresql::{self, LOGIN, first, name, query, rows, text};
use crate::args::Args;
use crate::context::{Context, Fault, With, changed};
use crate::spec::{Arg, Effect, Kind, Module};

pub const POSTGRESQL_DB: Module = Module::new(
    "postgresql_db",
    "Make, change, rename, drop, save or load a database",
    Effect::Converges,
    ARGS,
    run,
)
.shares(LOGIN)
.refuses(&[
    (
        "target_opts",
        "run pg_dump or pg_restore with the module command",
    ),
    ("dump_extra_args", "run pg_dump with the module command"),
]);

const ARGS: &[Arg] = &[
    Arg::new("name", Kind::Text, "its name")
        .aliases(&["db"])
        .required(),
    Arg::new("state", Kind::Text, "what is to be")
        .choices(&["present", "absent", "rename", "dump", "restore"])
        .default("present"),
    Arg::new("owner", Kind::Text, "role that owns it"),
    Arg::new(
        "template",
        Kind::Text,
        "database that it is a copy of at first",
    ),
    Arg::new("encoding", Kind::Text, "character set, for example UTF8"),
    Arg::new("lc_collate", Kind::Text, "order of texts"),
    Arg::new("lc_ctype", Kind::Text, "classes of characters"),
    Arg::new("icu_locale", Kind::Text, "locale of the provider icu"),
    Arg::new("locale_provider", Kind::Text, "who orders texts").choices(&["", "icu", "libc"]),
    Arg::new(
        "conn_limit",
        Kind::Int,
        "connections at once, -1 for any number",
    ),
    Arg::new("tablespace", Kind::Text, "where its tables are kept"),
    Arg::new(
        "comment",
        Kind::Text,
        "what it is for; empty takes a comment away",
    ),
    Arg::new("force", Kind::Flag, "drop it even while it is used").default("false"),
    Arg::new(
        "target",
        Kind::Text,
        "the new name, or the file to save to or load from",
    ),
    Arg::new("maintenance_db", Kind::Text, "database to connect to").default("postgres"),
];

fn run(context: &mut Context<'_>, args: &Args) -> Result<TaskResult, Fault> {
    match args.need("state") {
        "rename" => rename(context, args),
        "dump" => dump(context, args),
        "restore" => restore(context, args),
        state => present_or_absent(context, args, state == "present"),
    }
}

fn present_or_absent(
    context: &mut Context<'_>,
    args: &Args,
    present: bool,
) -> Result<TaskResult, Fault> {
    let database = args.need("name");
    let now = state(context, args, database)?;
    let statements = match (&now, present) {
        (None, true) => create(args),
        (Some(now), true) => alter(args, now).map_err(Fault::new)?,
        (Some(_), false) => {
            let force = if args.flag("force") {
                " WITH (FORCE)"
            } else {
                ""
            };
            vec![format!("DROP DATABASE {}{force}", name(database))]
        }
        (None, false) => Vec::new(),
    };
    finish(context, args, statements)
}

fn finish(
    context: &mut Context<'_>,
    args: &Args,
    statements: Vec<String>,
) -> Result<TaskResult, Fault> {
    let lines: String = statements.iter().map(|sql| format!("{sql};\n")).collect();
    if !statements.is_empty() && !context.check {
        query(context, args, args.need("maintenance_db"), &lines)?;
    }
    Ok(TaskResult {
        diff: context.diff_of(&format!("database {}", args.need("name")), "", &lines),
        ..changed(!statements.is_empty())
            .with("db", args.need("name"))
            .with("executed_commands", statements)
    })
}

/// What the server says of a database. The names of columns are those of the arguments.
fn state(context: &mut Context<'_>, args: &Args, database: &str) -> Result<Option<Value>, Fault> {
    // All columns: which there are differs from one version of the server to the next.
    let question = rows(&format!(
        "SELECT d.*, pg_get_userbyid(d.datdba) AS owner, pg_encoding_to_char(d.encoding) AS charset, \
         t.spcname AS tablespace, shobj_description(d.oid, 'pg_database') AS comment \
         FROM pg_database d JOIN pg_tablespace t ON t.oid = d.dattablespace WHERE d.datname = {}",
        text(database)
    ));
    let answers = query(context, args, args.need("maintenance_db"), &question)?;
    Ok(first(&answers, 0).cloned())
}

fn create(args: &Args) -> Vec<String> {
    let database = name(args.need("name"));
    let mut sql = format!("CREATE DATABASE {database}");
    for (argument, word) in [
        ("owner", "OWNER"),
        ("template", "TEMPLATE"),
        ("tablespace", "TABLESPACE"),
    ] {
        if let Some(value) = given(args, argument) {
            sql.push_str(&format!(" {word} {}", name(value)));
        }
    }
    for (argument, word) in [
        ("encoding", "ENCODING"),
        ("lc_collate", "LC_COLLATE"),
        ("lc_ctype", "LC_CTYPE"),
        ("icu_locale", "ICU_LOCALE"),
    ] {
        if let Some(value) = given(args, argument) {
            sql.push_str(&format!(" {word} {}", text(value)));
        }
    }
    if let Some(provider) = given(args, "locale_provider") {
        sql.push_str(&format!(" LOCALE_PROVIDER {provider}"));
    }
    if let Some(limit) = args.int("conn_limit") {
        sql.push_str(&format!(" CONNECTION LIMIT {limit}"));
    }
    let mut out = vec![sql];
    if let Some(comment) = given(args, "comment") {
        out.push(format!(
            "COMMENT ON DATABASE {database} IS {}",
            text(comment)
        ));
    }
    out
}

/// The statements that change what can be changed of a database that is there.
fn alter(args: &Args, now: &Value) -> Result<Vec<String>, String> {
    let database = name(args.need("name"));
    let is = |column: &str, wanted: &str| now[column].as_str().unwrap_or_default() == wanted;
    let provider = |wanted: &str| {
        now["datlocprovider"]
            .as_str()
            .is_none_or(|is| wanted.starts_with(is))
    };
    let plain = |encoding: &str| {
        let letters = encoding.chars().filter(char::is_ascii_alphanumeric);
        letters.collect::<String>().to_ascii_uppercase()
    };
    for (argument, fits) in [
        (
            "encoding",
            given(args, "encoding").is_none_or(|wanted| {
                plain(now["charset"].as_str().unwrap_or_default()) == plain(wanted)
            }),
        ),
        (
            "lc_collate",
            given(args, "lc_collate").is_none_or(|wanted| is("datcollate", wanted)),
        ),
        (
            "lc_ctype",
            given(args, "lc_ctype").is_none_or(|wanted| is("datctype", wanted)),
        ),
        (
            "icu_locale",
            given(args, "icu_locale")
                .is_none_or(|wanted| is("daticulocale", wanted) || is("datlocale", wanted)),
        ),
        (
            "locale_provider",
            given(args, "locale_provider").is_none_or(provider),
        ),
    ] {
        if !fits {
            return Err(format!(
                "the {argument} of a database cannot be changed; drop {database} first, or leave {argument} as it is"
            ));
        }
    }
    let mut out = Vec::new();
    if let Some(owner) = given(args, "owner").filter(|owner| !is("owner", owner)) {
        out.push(format!(
            "ALTER DATABASE {database} OWNER TO {}",
            name(owner)
        ));
    }
    if let Some(limit) = args
        .int("conn_limit")
        .filter(|limit| now["datconnlimit"] != *limit)
    {
        out.push(format!(
            "ALTER DATABASE {database} CONNECTION LIMIT {limit}"
        ));
    }
    if let Some(place) = given(args, "tablespace").filter(|place| !is("tablespace", place)) {
        out.push(format!(
            "ALTER DATABASE {database} SET TABLESPACE {}",
            name(place)
        ));
    }
    if let Some(comment) = args
        .text("comment")
        .filter(|comment| !is("comment", comment))
    {
        out.push(format!(
            "COMMENT ON DATABASE {database} IS {}",
            text(comment)
        ));
    }
    Ok(out)
}

fn target(args: &Args) -> Result<&str, Fault> {
    given(args, "target").ok_or_else(|| {
        Fault::new(format!(
            "target is required with state={}",
            args.need("state")
        ))
    })
}

fn rename(context: &mut Context<'_>, args: &Args) -> Result<TaskResult, Fault> {
    let (from, to) = (args.need("name"), target(args)?);
    let old = state(context, args, from)?.is_some();
    let new = state(context, args, to)?.is_some();
    match (old, new) {
        (true, true) if from != to => Err(Fault::new(format!(
            "both {from} and {to} are there: drop the one that is not needed"
        ))),
        (true, false) => {
            let sql = format!("ALTER DATABASE {} RENAME TO {}", name(from), name(to));
            finish(context, args, vec![sql])
        }
        (false, false) if !context.check => Err(Fault::new(format!("there is no database {from}"))),
        (false, false) => finish(context, args, vec![format!("-- {from} is not there yet")]),
        _ => finish(context, args, Vec::new()),
    }
}

/// pg_dump's format and compressing program by the name of a file.
fn format_of(target: &str) -> (&'static str, Option<&'static str>) {
    let (name, packer) = match target.rsplit_once('.') {
        Some((name, "gz")) => (name, Some("gzip")),
        Some((name, "bz2")) => (name, Some("bzip2")),
        Some((name, "xz")) => (name, Some("xz")),
        _ => (target, None),
    };
    let format = match name.rsplit_once('.') {
        Some((_, "tar")) => "tar",
        Some((_, "pgc")) => "custom",
        Some((_, "dir")) => "directory",
        _ => "plain",
    };
    (format, packer)
}

fn dump(context: &mut Context<'_>, args: &Args) -> Result<TaskResult, Fault> {
    let target = target(args)?;
    let (format, packer) = format_of(target);
    let path = context.path(target);
    if !context.check {
        let beside = path.with_extension("wright-dump");
        let (file, kind) = (
            format!("--file={}", beside.display()),
            format!("--format={format}"),
        );
        let argv = vec!["pg_dump", "--no-password", &kind, &file];
        let made = postgresql::run(context, args, args.need("name"), argv, None);
        let packed = made.and_then(|_| pack(context, packer, &beside));
        if packed.is_err() {
            let _ = std::fs::remove_file(&beside);
        }
        std::fs::rename(packed?, &path).map_err(Fault::io(format!("put {target} in place")))?;
    }
    Ok(TaskResult {
        diff: context.diff_of(target, "", &format!("the database {}\n", args.need("name"))),
        ..changed(true)
            .with("db", args.need("name"))
            .with("target", target)
    })
}

/// Compresses a file with the program that its format wants; gives the path of what came of it.
fn pack(context: &mut Context<'_>, packer: Option<&str>, path: &Path) -> Result<PathBuf, Fault> {
    let Some(packer) = packer else {
        return Ok(path.to_owned());
    };
    context.must(&[packer, "--force", &path.display().to_string()])?;
    Ok(packed(path, packer))
}

/// The name that a compressing program gives to what it made of `path`.
fn packed(path: &Path, packer: &str) -> PathBuf {
    let suffix = match packer {
        "gzip" => "gz",
        "bzip2" => "bz2",
        _ => "xz",
    };
    PathBuf::from(format!("{}.{suffix}", path.display()))
}

fn restore(context: &mut Context<'_>, args: &Args) -> Result<TaskResult, Fault> {
    let target = target(args)?;
    let (format, packer) = format_of(target);
    let path = context.path(target);
    let there = path.exists();
    if !there && !context.check {
        return Err(Fault::new(format!("{target} is not there")));
    }
    if !context.check {
        let mut plain = path.clone();
        if let Some(packer) = packer {
            plain = PathBuf::from(format!("{}.wright-plain", path.display()));
            let copy = packed(&plain, packer);
            std::fs::copy(&path, &copy).map_err(Fault::io("copy the file to unpack it"))?;
            context.must(&[
                packer,
                "--decompress",
                "--force",
                &copy.display().to_string(),
            ])?;
        }
        let file = plain.display().to_string();
        let argv = if format == "plain" {
            vec![
                "psql",
                "--no-psqlrc",
                "--no-password",
                "--quiet",
                "--output=/dev/null",
                "--set=ON_ERROR_STOP=1",
                "--set=VERBOSITY=terse",
                "--file",
                &file,
            ]
        } else {
            vec![
                "pg_restore",
                "--no-password",
                "--exit-on-error",
                "--dbname",
                args.need("name"),
                &file,
            ]
        };
        let loaded = postgresql::run(context, args, args.need("name"), argv, None);
        if packer.is_some() {
            let _ = std::fs::remove_file(&plain);
        }
        loaded?;
    }
    Ok(TaskResult {
        diff: context.diff_of(
            &format!("database {}", args.need("name")),
            "",
            &format!("what is in {target}\n"),
        ),
        ..changed(true)
            .with("db", args.need("name"))
            .with("target", target)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builtin::testing::Bench;
    use serde_json::json;

    #[test]
    fn a_files_name_tells_its_format() {
        for (target, expected) in [
            ("/b/a.sql", ("plain", None)),
            ("/b/a.sql.gz", ("plain", Some("gzip"))),
            ("/b/a.tar.xz", ("tar", Some("xz"))),
            ("/b/a.pgc", ("custom", None)),
            ("/b/a.dir", ("directory", None)),
        ] {
            assert_eq!(format_of(target), expected, "{target}");
        }
    }

    #[test]
    fn what_is_not_supported_is_named() {
        let bench = Bench::new();
        let said = bench
            .run("postgresql_db", json!({"name": "a", "target_opts": "-n b"}))
            .msg;
        assert!(said.contains("pg_dump or pg_restore"), "{said}");
        let said = bench
            .run("postgresql_db", json!({"name": "a", "state": "rename"}))
            .msg;
        assert_eq!(said, "target is required with state=rename");
    }
}
