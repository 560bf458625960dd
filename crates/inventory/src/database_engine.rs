//! Which database server the controllers run, and where that cannot be. What a server is given to do: roles.
use crate::Host;
use diagnostics::{Diagnostic, Diagnostics};
use serde::Serialize;
use yaml_source::{Fault, Span};

/// The variable that names it, the same for every controller.
const VARIABLE: &str = "database_engine";

/// The database server of the controllers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DatabaseEngine {
    /// MariaDB: alone, or with Galera on three controllers and more.
    #[default]
    Mariadb,
    /// PostgreSQL, on a single controller.
    Postgresql,
}

impl DatabaseEngine {
    pub const ALL: [Self; 2] = [Self::Mariadb, Self::Postgresql];

    /// As the inventory writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mariadb => "mariadb",
            Self::Postgresql => "postgresql",
        }
    }
}

/// What the controllers' variable says; MariaDB where it says nothing.
pub(crate) fn settle<'a>(
    controllers: impl Iterator<Item = &'a Host>,
    diags: &mut Diagnostics,
) -> DatabaseEngine {
    let mut count = 0;
    let mut first: Option<(DatabaseEngine, Option<Span>)> = None;
    for host in controllers {
        count += 1;
        let node = host.vars.get(VARIABLE).filter(|node| !node.is_null());
        let engine = match node {
            None => DatabaseEngine::default(),
            Some(node) => {
                let Some(said) = node.as_str(&format!("`{VARIABLE}`"), diags) else {
                    continue;
                };
                let names = DatabaseEngine::ALL.map(DatabaseEngine::name);
                let Some(engine) = DatabaseEngine::ALL
                    .into_iter()
                    .find(|engine| engine.name() == said)
                else {
                    diags.push(
                        node.error(format!("there is no database server `{said}` here"))
                            .expected(format!("one of `{}`", names.join("`, `")))
                            .suggest(said, names),
                    );
                    continue;
                };
                engine
            }
        };
        let span = node.map(|node| node.span.clone());
        match &first {
            None => first = Some((engine, span)),
            Some((other, at)) if *other != engine => {
                let place = span.as_ref().or(at.as_ref());
                diags.push(placed(
                    Diagnostic::error(format!(
                        "the controllers differ in `{VARIABLE}`: `{}` has {}, others {}",
                        host.name,
                        engine.name(),
                        other.name()
                    ))
                    .hint("set it for all of them, in group_vars/controller.yml"),
                    place,
                ));
            }
            Some(_) => {}
        }
    }
    let (engine, span) = first.unwrap_or_default();
    if engine == DatabaseEngine::Postgresql && count > 1 {
        diags.push(placed(
            Diagnostic::error(format!(
                "PostgreSQL runs on a single controller, and there are {count}"
            ))
            .expected("`database_engine: mariadb`, or one controller")
            .hint("on several controllers MariaDB with Galera keeps the same data on all"),
            span.as_ref(),
        ));
    }
    engine
}

fn placed(diagnostic: Diagnostic, span: Option<&Span>) -> Diagnostic {
    match span {
        Some(span) => diagnostic.at(span),
        None => diagnostic,
    }
}
