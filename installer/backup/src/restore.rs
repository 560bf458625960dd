//! Bringing a backup back: the whole server onto all controllers, or one database.
//!
//! Everything that can fail for the backup's sake is done before anything is stopped: files are read and compared, the
//! server is made ready beside the running one. What was there before is set aside, never removed.
//!
//! Who begins is left to the guards of the database (docs/database.md). A copy by `mariabackup` has no position of its
//! own, so to them every node is a fresh one, and of fresh nodes the first by name begins: that is the one that gets the
//! data. The cluster's history is a new one then, for which no old data can be taken.
use crate::create::{ASK, READ, STREAM, place, tables_of};
use crate::manifest::{Manifest, Part};
use crate::nodes::{self, Work};
use crate::shelf::Shelf;
use crate::verify::room;
use crate::{BackupError, Nodes, Tell, pack, tables};
use serde::Serialize;
use std::path::Path;
use std::time::Duration;

/// For stopping and starting services, and for servers that take a copy of everything.
const CHANGE: Duration = Duration::from_secs(900);

/// Where to.
pub struct Target<'a> {
    /// All controllers.
    pub controllers: &'a [String],
    /// Bundled services that run on each of them, as their units are named.
    pub services: &'a [&'a str],
    /// Image data too.
    pub images: bool,
    /// Ending of the name under which old data are set aside.
    pub stamp: &'a str,
}

#[derive(Debug, Serialize)]
pub struct Restored {
    pub id: String,
    /// Tables that are as in the backup, to the last row.
    pub same: usize,
    pub faults: Vec<String>,
    /// Where the old data are now.
    pub aside: Vec<String>,
}

/// Whether a backup can be restored here at all; with its files read. Changes nothing.
///
/// # Errors
/// It is not whole, or not of this environment, or for another server; or a controller is silent, whose old data would come back one day.
pub fn check(
    shelf: &Shelf,
    nodes: &dyn Nodes,
    target: &Target,
    id: &str,
) -> Result<Manifest, BackupError> {
    let manifest = shelf.open(id)?;
    let work = Work {
        doing: "asking for the database's version",
        script: "mariadbd --version",
        args: &[],
        limit: ASK,
    };
    for said in nodes::everywhere(nodes, target.controllers, work, &|_| ())? {
        if !same_series(&manifest.server, &said) {
            return Err(BackupError::Refused(format!(
                "backup `{id}` is of the server {}, and the controllers have another series: {}. \
                 `--service` restores single databases from their dumps",
                manifest.server,
                said.trim()
            )));
        }
    }
    shelf.check(&manifest)?;
    Ok(manifest)
}

/// Whether `Ver 10.11.19-MariaDB ...` is of the series of `10.11.4-MariaDB...`.
fn same_series(backup: &str, said: &str) -> bool {
    let series = |version: &str| version.split('.').take(2).collect::<Vec<_>>().join(".");
    let found = said
        .split_whitespace()
        .skip_while(|word| *word != "Ver")
        .nth(1);
    found.is_some_and(|found| series(found) == series(backup))
}

/// Restores the whole database on all controllers.
///
/// # Errors
/// Any step fails; the message says how far it came.
pub fn whole(
    shelf: &Shelf,
    nodes: &dyn Nodes,
    target: &Target,
    manifest: &Manifest,
    tell: Tell,
) -> Result<Restored, BackupError> {
    let folder = shelf.folder(&manifest.id);
    let physical = part(manifest, manifest.physical(), "database")?;
    let mut names = target.controllers.to_vec();
    names.sort();
    let (first, _) = first(&names)?;

    tell(&format!(
        "making the database ready on {first}, beside the running one"
    ));
    let bytes = room(manifest).to_string();
    let stage = Work {
        doing: "making the backup ready",
        script: include_str!("scripts/stage.sh"),
        args: &[&bytes],
        limit: STREAM,
    };
    nodes::push(nodes, first, stage, |sink| {
        pack::unpack(&folder, physical, sink)
    })?;

    exchange(nodes, target, manifest, &folder, &names, tell).map_err(|error| {
        BackupError::Refused(format!(
            "{error}\nThe cloud stands still now. Mend the cause and start this restore again; the way back by hand is in \
             docs/backup.md. The old data are in /var/lib/mysql.before-restore-{}, where that exists",
            target.stamp
        ))
    })
}

/// From the moment on in which the cloud stands still.
fn exchange(
    nodes: &dyn Nodes,
    target: &Target,
    manifest: &Manifest,
    folder: &Path,
    names: &[String],
    tell: Tell,
) -> Result<Restored, BackupError> {
    let (first, others) = first(names)?;
    tell("stopping the services and the database on all controllers");
    let stop = Work {
        doing: "stopping the services and the database",
        script: include_str!("scripts/stop.sh"),
        args: target.services,
        limit: CHANGE,
    };
    nodes::everywhere(nodes, names, stop, &|_| ())?;

    tell("setting the old data aside");
    let aside = format!("before-restore-{}", target.stamp);
    let (restored, joins) = (["restored", &*aside], ["joins", &*aside]);
    let swap = |args| Work {
        doing: "setting the old data aside",
        script: include_str!("scripts/swap.sh"),
        args,
        limit: CHANGE,
    };
    nodes::run(nodes, first, swap(&restored))?;
    nodes::everywhere(nodes, others, swap(&joins), &|_| ())?;

    tell(&format!(
        "starting the database: {first} begins, the others take its data"
    ));
    let start = Work {
        doing: "starting the database",
        script: include_str!("scripts/start-database.sh"),
        args: &[],
        limit: READ,
    };
    nodes::everywhere(nodes, names, start, &|node| {
        tell(&format!("{node} is in the cluster"))
    })?;

    tell("comparing every table with the backup");
    // On the last one, which took its data from the others: what it has, all have.
    let last = names.last().unwrap_or(first);
    let (same, faults) = tables::compare(&manifest.tables, &tables_of(nodes, last)?);

    if target.images {
        let images = part(manifest, manifest.images(), "images")?;
        for node in names {
            tell(&format!("giving {node} the images"));
            let work = Work {
                doing: "giving the images back",
                script: "tar --skip-old-files -C /var/lib/wright/image -xpf -",
                args: &[],
                limit: STREAM,
            };
            nodes::push(nodes, node, work, |sink| pack::unpack(folder, images, sink))?;
        }
    }
    tell("starting the services");
    services(nodes, names, "start", target.services)?;
    Ok(Restored {
        id: manifest.id.clone(),
        same,
        faults,
        aside: names
            .iter()
            .map(|node| format!("{node}:/var/lib/mysql.{aside}"))
            .collect(),
    })
}

/// Restores one database from its dump.
///
/// # Errors
/// Any step fails; until the exchange, which is one step, the service's data are what they were.
pub fn service(
    shelf: &Shelf,
    nodes: &dyn Nodes,
    target: &Target,
    manifest: &Manifest,
    service: &str,
    tell: Tell,
) -> Result<Restored, BackupError> {
    let database = service.replace('-', "_");
    let dump = manifest.dump(&database).ok_or_else(|| {
        let known: Vec<&str> = manifest.dumps().collect();
        BackupError::Refused(format!(
            "backup `{}` has no dump of `{database}`; it has {}",
            manifest.id,
            known.join(", ")
        ))
    })?;
    let folder = shelf.folder(&manifest.id);
    pack::check(&manifest.id, &folder, dump)?;
    let mut node = None;
    for name in target.controllers {
        // The first whole one is the one that is written to, if all is well; all others follow it in any case.
        if node.is_none() && place(nodes, name).is_ok_and(|place| place.is_whole()) {
            node = Some(name);
        }
    }
    let node = node.ok_or_else(|| {
        BackupError::Refused(
            "no controller has a database that is whole: `wright status`".to_owned(),
        )
    })?;
    tell(&format!("loading the dump on {node}, beside the database"));
    let load = Work {
        doing: "loading the dump",
        script: include_str!("scripts/load.sh"),
        args: &[&database],
        limit: STREAM,
    };
    nodes::push(nodes, node, load, |sink| pack::unpack(&folder, dump, sink))?;
    tell(&format!("stopping {service} on all controllers"));
    services(nodes, target.controllers, "stop", &[service])?;
    let exchange = Work {
        doing: "exchanging the tables",
        script: include_str!("scripts/exchange.sh"),
        args: &[&database],
        limit: CHANGE,
    };
    let exchanged = nodes::run(nodes, node, exchange);
    let compared = exchanged.and_then(|_| {
        let mut wanted = manifest.tables.clone();
        wanted.retain(|name, _| name.starts_with(&format!("{database}.")));
        Ok(tables::compare(&wanted, &tables_of(nodes, node)?))
    });
    tell(&format!("starting {service}"));
    services(nodes, target.controllers, "start", &[service])?;
    let (same, faults) = compared?;
    Ok(Restored {
        id: manifest.id.clone(),
        same,
        faults,
        aside: vec![format!("the database `{database}__before`")],
    })
}

fn first(names: &[String]) -> Result<(&String, &[String]), BackupError> {
    names
        .split_first()
        .ok_or_else(|| BackupError::Refused("there is no controller".to_owned()))
}

fn services(
    nodes: &dyn Nodes,
    names: &[String],
    verb: &str,
    services: &[&str],
) -> Result<(), BackupError> {
    let args: Vec<&str> = [verb].into_iter().chain(services.iter().copied()).collect();
    let work = Work {
        doing: "starting and stopping services",
        script: include_str!("scripts/services.sh"),
        args: &args,
        limit: CHANGE,
    };
    // The first one alone: a service of a newer version brings an older database up to date when it starts, and several
    // that do so at once get into each other's way.
    let (first, others) = first(names)?;
    nodes::run(nodes, first, work)?;
    nodes::everywhere(nodes, others, work, &|_| ()).map(drop)
}

fn part<'a>(
    manifest: &Manifest,
    part: Option<&'a Part>,
    what: &str,
) -> Result<&'a Part, BackupError> {
    part.ok_or_else(|| BackupError::Refused(format!("backup `{}` holds no {what}", manifest.id)))
}

#[cfg(test)]
mod tests {
    use super::same_series;

    #[test]
    fn series_of_servers() {
        let said =
            "mariadbd  Ver 10.11.19-MariaDB-0+deb12u1 for debian-linux-gnu on x86_64 (Debian 12)";
        assert!(same_series("10.11.4-MariaDB-1~deb12u1", said));
        assert!(!same_series("11.4.2-MariaDB", said));
        assert!(!same_series("10.11.4-MariaDB", "not found"));
    }
}
