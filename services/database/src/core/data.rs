//! How far a node's data are: what Galera's files and `mariadbd --wsrep-recover` say, parsed. Takes text and gives
//! values; does not read files, and does not know what is done with a position.

use serde::{Deserialize, Serialize};
use std::fmt;
use uuid::Uuid;

/// A point in a cluster's history: transaction number `seqno` of the history `uuid`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// The history: a new one begins when a cluster is made.
    pub uuid: Uuid,
    /// The last transaction that the node has; -1: none.
    pub seqno: i64,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.uuid, self.seqno)
    }
}

/// What the data of a node are worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Data {
    /// No history: a fresh installation.
    Fresh,
    /// Galera itself has disowned them: a state transfer or a schema change was cut off, or the node was found to
    /// differ from the others. They may look whole to InnoDB, so the position that it names (here, for the operator)
    /// must not count.
    Incomplete(Option<Position>),
    /// Whole up to here.
    At(Position),
}

impl Data {
    /// The position, where there is one.
    pub fn position(&self) -> Option<Position> {
        match self {
            Data::At(position) => Some(*position),
            Data::Fresh | Data::Incomplete(_) => None,
        }
    }
}

impl fmt::Display for Data {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Data::Fresh => f.write_str("no data yet"),
            Data::Incomplete(None) => f.write_str("incomplete data"),
            Data::Incomplete(Some(position)) => write!(f, "incomplete data, perhaps of {position}"),
            Data::At(position) => position.fmt(f),
        }
    }
}

/// `grastate.dat`, Galera's saved state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grastate {
    /// The history; nil: Galera has disowned the data, or there never were any.
    pub uuid: Uuid,
    /// -1 while the server runs and after a crash.
    pub seqno: i64,
    /// Whether this node left a cluster as its last member.
    pub safe_to_bootstrap: bool,
}

/// Text that is not what Galera writes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}, line {line}: `{found}` where {expected} was expected")]
pub struct ParseError {
    /// The file's name.
    pub file: &'static str,
    /// Line, from 1; one beyond the last when something is missing.
    pub line: usize,
    /// What stands there, cut to 80 characters.
    pub found: String,
    /// What should.
    pub expected: &'static str,
}

fn fault(file: &'static str, line: usize, found: &str, expected: &'static str) -> ParseError {
    let found = found.chars().take(80).collect();
    ParseError {
        file,
        line,
        found,
        expected,
    }
}

impl Grastate {
    /// What an empty file means: Galera makes it so before a node's first state transfer.
    pub const DISOWNED: Self = Self {
        uuid: Uuid::nil(),
        seqno: -1,
        safe_to_bootstrap: false,
    };

    /// Reads the text of a `grastate.dat`. A file without `safe_to_bootstrap` (before Galera 3.19) says "not safe".
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        const FILE: &str = "grastate.dat";
        if text.trim().is_empty() {
            return Ok(Self::DISOWNED);
        }
        let (mut uuid, mut seqno, mut safe_to_bootstrap) = (None, None, false);
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let at = |expected| fault(FILE, number + 1, line, expected);
            let (key, value) = line.split_once(':').ok_or_else(|| at("`key: value`"))?;
            let value = value.trim();
            match key.trim() {
                "uuid" => uuid = Some(Uuid::try_parse(value).map_err(|_| at("a UUID"))?),
                "seqno" => seqno = Some(value.parse().map_err(|_| at("a number"))?),
                "safe_to_bootstrap" => {
                    safe_to_bootstrap = match value {
                        "0" => false,
                        "1" => true,
                        _ => return Err(at("0 or 1")),
                    }
                }
                // `version`, `cert_index`, and what later versions add.
                _ => {}
            }
        }
        let end = || text.lines().count() + 1;
        Ok(Self {
            uuid: uuid.ok_or_else(|| fault(FILE, end(), "end of file", "`uuid`"))?,
            seqno: seqno.ok_or_else(|| fault(FILE, end(), "end of file", "`seqno`"))?,
            safe_to_bootstrap,
        })
    }

    /// The same file with `safe_to_bootstrap: 1`; all other lines stay as they are.
    pub fn made_safe(text: &str) -> String {
        const KEY: &str = "safe_to_bootstrap";
        let is_ours = |line: &str| line.split(':').next().is_some_and(|key| key.trim() == KEY);
        let mut out: String = text
            .lines()
            .filter(|line| !is_ours(line))
            .map(|line| format!("{line}\n"))
            .collect();
        out.push_str("safe_to_bootstrap: 1\n");
        out
    }
}

/// What `mariadbd --wsrep-recover` found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recovered {
    /// InnoDB's own record of the last transaction.
    At(Position),
    /// InnoDB knows of no history.
    Nothing,
}

/// Reads the log of `mariadbd --wsrep-recover`: the last line `WSREP: Recovered position: UUID:SEQNO[,DOMAIN-SERVER-SEQ]`.
/// `None`: there is no such line, so nothing is known (LP#1821173 took this for "no data").
pub fn recovered(log: &str) -> Option<Recovered> {
    const MARK: &str = "WSREP: Recovered position:";
    let line = log.lines().rfind(|line| line.contains(MARK))?;
    let value = line.split_once(MARK)?.1.trim();
    let value = value.split([',', ' ']).next()?;
    let (uuid, seqno) = value.rsplit_once(':')?;
    let position = Position {
        uuid: Uuid::try_parse(uuid).ok()?,
        seqno: seqno.parse().ok()?,
    };
    Some(if position.uuid.is_nil() {
        Recovered::Nothing
    } else {
        Recovered::At(position)
    })
}

/// What the files alone say, before anything is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FromFiles {
    /// It is known.
    Known(Data),
    /// `mariadbd --wsrep-recover` must be asked.
    AskServer,
}

/// Reads the folder's state from `grastate.dat` (`None`: there is no such file) and from whether InnoDB's system
/// tablespace is there. The seqno of a clean stop is believed; after a crash InnoDB must be asked.
pub fn from_files(grastate: Option<Grastate>, has_tablespace: bool) -> FromFiles {
    match grastate {
        Some(Grastate { uuid, seqno, .. }) if !uuid.is_nil() && seqno >= 0 => {
            FromFiles::Known(Data::At(Position { uuid, seqno }))
        }
        None if !has_tablespace => FromFiles::Known(Data::Fresh),
        // A joiner whose transfer was cut off before the first file came, or that never got as far as asking for one.
        Some(grastate) if grastate.uuid.is_nil() && !has_tablespace => {
            FromFiles::Known(Data::Fresh)
        }
        _ => FromFiles::AskServer,
    }
}

/// Puts both together, after [`FromFiles::AskServer`].
pub fn judge(grastate: Option<Grastate>, recovered: Recovered) -> Data {
    match (grastate, recovered) {
        // Galera writes a nil uuid before a state transfer or a schema change touches the data, and when it finds
        // the node to differ from the others. What InnoDB says then is the position of data that are not whole.
        (Some(file), Recovered::At(found)) if file.uuid != found.uuid => {
            Data::Incomplete(Some(found))
        }
        // InnoDB forgot a history that Galera's file names: files were exchanged by hand.
        (Some(file), Recovered::Nothing) if !file.uuid.is_nil() => Data::Incomplete(None),
        (_, Recovered::At(position)) => Data::At(position),
        (_, Recovered::Nothing) => Data::Fresh,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CLEAN: &str = "# GALERA saved state\nversion: 2.1\nuuid:    0dae1307-1606-11e4-aa94-5255b1455aa0\nseqno:   1234\nsafe_to_bootstrap: 0\n";
    const UUID: &str = "0dae1307-1606-11e4-aa94-5255b1455aa0";

    fn uuid() -> Uuid {
        Uuid::try_parse(UUID).unwrap()
    }

    #[test]
    fn reads_a_saved_state() {
        let state = Grastate::parse(CLEAN).unwrap();
        assert_eq!(state.uuid, uuid());
        assert_eq!((state.seqno, state.safe_to_bootstrap), (1234, false));
        let position = Position {
            uuid: uuid(),
            seqno: 1234,
        };
        assert_eq!(
            from_files(Some(state), true),
            FromFiles::Known(Data::At(position))
        );
    }

    #[test]
    fn a_wrong_line_is_told_with_its_place() {
        let error = Grastate::parse(&CLEAN.replace("1234", "12x4")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "grastate.dat, line 4: `seqno:   12x4` where a number was expected"
        );
        assert_eq!(Grastate::parse(""), Ok(Grastate::DISOWNED));
        let error = Grastate::parse("version: 2.1\n").unwrap_err();
        assert_eq!(
            error.to_string(),
            "grastate.dat, line 2: `end of file` where `uuid` was expected"
        );
    }

    #[test]
    fn is_made_safe_and_otherwise_left_alone() {
        let safe = Grastate::made_safe(CLEAN);
        assert_eq!(
            safe,
            CLEAN.replace("safe_to_bootstrap: 0", "safe_to_bootstrap: 1")
        );
        let old = CLEAN.replace("safe_to_bootstrap: 0\n", "");
        assert!(
            Grastate::parse(&Grastate::made_safe(&old))
                .unwrap()
                .safe_to_bootstrap
        );
    }

    #[test]
    fn reads_the_recovery_log() {
        let log = format!(
            "2026-11-27 [Note] WSREP: Recovered position: {UUID}:7\n[Note] WSREP: Recovered position: {UUID}:42,0-1-3\n"
        );
        let position = Position {
            uuid: uuid(),
            seqno: 42,
        };
        assert_eq!(recovered(&log), Some(Recovered::At(position)));
        let nil = "WSREP: Recovered position: 00000000-0000-0000-0000-000000000000:-1";
        assert_eq!(recovered(nil), Some(Recovered::Nothing));
        assert_eq!(recovered("[ERROR] Aborting"), None);
    }

    #[test]
    fn what_galera_disowned_is_incomplete_whatever_innodb_says() {
        let mut file = Grastate::parse(CLEAN).unwrap();
        let found = Recovered::At(Position {
            uuid: uuid(),
            seqno: 99,
        });
        file.seqno = -1;
        assert_eq!(from_files(Some(file), true), FromFiles::AskServer);
        assert!(matches!(judge(Some(file), found), Data::At(p) if p.seqno == 99));
        assert_eq!(
            judge(Some(file), Recovered::Nothing),
            Data::Incomplete(None)
        );
        file.uuid = Uuid::nil();
        assert!(matches!(
            judge(Some(file), found),
            Data::Incomplete(Some(_))
        ));
        assert_eq!(judge(Some(file), Recovered::Nothing), Data::Fresh);
        assert_eq!(from_files(None, false), FromFiles::Known(Data::Fresh));
        assert_eq!(from_files(None, true), FromFiles::AskServer);
        file.uuid = Uuid::from_u128(1);
        assert!(matches!(
            judge(Some(file), found),
            Data::Incomplete(Some(_))
        ));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,400}|([a-z_#]{0,18}:? ?[-0-9a-f]{0,40}\n){0,8}") {
            let _ = Grastate::parse(&text);
            let _ = recovered(&text);
            let safe = Grastate::made_safe(&text);
            if Grastate::parse(&text).is_ok_and(|state| state != Grastate::DISOWNED) {
                prop_assert!(Grastate::parse(&safe).unwrap().safe_to_bootstrap);
            }
        }

        #[test]
        fn what_is_written_is_read(raw in 1u128.., seqno in -1i64.., safe: bool, spaces in " {0,4}") {
            let uuid = Uuid::from_u128(raw);
            let text = format!("# GALERA saved state\nversion: 2.1\nuuid:{spaces}{uuid}\nseqno:{spaces}{seqno}\nsafe_to_bootstrap: {}\n", u8::from(safe));
            prop_assert_eq!(Grastate::parse(&text).unwrap(), Grastate { uuid, seqno, safe_to_bootstrap: safe });
            let log = format!("noise\nx [Note] WSREP: Recovered position: {uuid}:{seqno}\nnoise {seqno}\n");
            prop_assert_eq!(recovered(&log), Some(Recovered::At(Position { uuid, seqno })));
        }
    }
}
