//! Mode, owner and group of files; names are looked up in the files below the root.
//!
//! The agent is a static binary: the C library's name services are not asked, `/etc/passwd` is read.
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use agent_protocol::task::TaskResult;

use crate::args::Args;
use crate::context::{Context, Fault, With};

/// The wished attributes of one file; `None` leaves what is.
#[derive(Debug, Clone, Default)]
pub struct Attributes {
    mode: Option<String>,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
}

impl Attributes {
    /// Of a file that a module itself decides on.
    pub fn new(mode: Option<&str>, uid: Option<u32>, gid: Option<u32>) -> Self {
        Attributes {
            mode: mode.map(str::to_owned),
            uid,
            gid,
        }
    }

    /// From the common arguments `mode`, `owner` and `group`.
    pub fn of(context: &Context<'_>, args: &Args) -> Result<Self, Fault> {
        let id = |argument: &str, file: &str| -> Result<Option<u32>, Fault> {
            let Some(name) = args.text(argument) else {
                return Ok(None);
            };
            if let Ok(number) = name.parse() {
                return Ok(Some(number));
            }
            let table = fs::read_to_string(context.path(file))
                .map_err(Fault::io(format!("read {file}")))?;
            match id_of(&table, name) {
                Some(id) => Ok(Some(id)),
                // In check mode an earlier task may be about to make it.
                None if context.check => Ok(None),
                None => Err(Fault::new(format!(
                    "there is no {argument} `{name}` in {file}"
                ))),
            }
        };
        Ok(Attributes {
            mode: args.text("mode").map(str::to_owned),
            uid: id("owner", "/etc/passwd")?,
            gid: id("group", "/etc/group")?,
        })
    }

    /// The same with this mode if none was wished.
    pub fn or_mode(mut self, mode: &str) -> Self {
        self.mode.get_or_insert_with(|| mode.to_owned());
        self
    }

    /// The mode that a file with `current` bits is to have.
    pub fn mode(&self, current: u32, is_folder: bool) -> u32 {
        self.mode
            .as_deref()
            .and_then(|text| parse_mode(text, current, is_folder))
            .unwrap_or(current)
    }

    pub fn has_mode(&self) -> bool {
        self.mode.is_some()
    }

    /// Owner, group and mode at `path` as lines of a diff; empty where nothing is.
    pub fn picture(&self, path: &Path) -> String {
        self.lines(path, false)
    }

    /// The same as it is wished to be.
    pub fn wished(&self, path: &Path) -> String {
        self.lines(path, true)
    }

    fn lines(&self, path: &Path, wished: bool) -> String {
        let Ok(now) = fs::metadata(path) else {
            return String::new();
        };
        let current = now.mode() & 0o7777;
        let (uid, gid, mode) = match wished {
            false => (now.uid(), now.gid(), current),
            true => (
                self.uid.unwrap_or(now.uid()),
                self.gid.unwrap_or(now.gid()),
                self.mode(current, now.is_dir()),
            ),
        };
        format!("owner: {uid}\ngroup: {gid}\nmode: {mode:04o}\n")
    }

    /// Owner and group of a link itself; links have no mode.
    pub fn apply_to_link(&self, context: &Context<'_>, path: &Path) -> Result<bool, Fault> {
        let Ok(now) = fs::symlink_metadata(path) else {
            return Ok(context.check);
        };
        let owner = self.uid.filter(|uid| *uid != now.uid());
        let group = self.gid.filter(|gid| *gid != now.gid());
        let differs = owner.is_some() || group.is_some();
        if differs && !context.check {
            std::os::unix::fs::lchown(path, owner, group)
                .map_err(Fault::io(format!("change the owner of {}", path.display())))?;
        }
        Ok(differs)
    }

    /// Sets what differs at `path`; returns whether anything did. Links are followed.
    pub fn apply(&self, context: &Context<'_>, path: &Path) -> Result<bool, Fault> {
        let Ok(now) = fs::metadata(path) else {
            return if context.check {
                Ok(true)
            } else {
                Err(Fault::new(format!("{} is not there", path.display())))
            };
        };
        let current = now.mode() & 0o7777;
        let mode = self.mode(current, now.is_dir());
        let owner = self.uid.filter(|uid| *uid != now.uid());
        let group = self.gid.filter(|gid| *gid != now.gid());
        let differs = owner.is_some() || group.is_some() || mode != current;
        if !differs || context.check {
            return Ok(differs);
        }
        if owner.is_some() || group.is_some() {
            std::os::unix::fs::chown(path, owner, group)
                .map_err(Fault::io(format!("change the owner of {}", path.display())))?;
        }
        // Last, because chown clears the set-user-id bits.
        if mode != current || self.has_mode() {
            fs::set_permissions(path, fs::Permissions::from_mode(mode))
                .map_err(Fault::io(format!("change the mode of {}", path.display())))?;
        }
        Ok(true)
    }
}

/// Adds Ansible's fields of a file that is there: owner, mode, size and what it is.
pub fn with_file(context: &Context<'_>, result: TaskResult, path: &Path) -> TaskResult {
    let Ok(found) = fs::symlink_metadata(path) else {
        return result;
    };
    let name = |file: &str, id: u32| {
        fs::read_to_string(context.path(file))
            .ok()
            .and_then(|table| name_of(&table, id).map(str::to_owned))
            .unwrap_or_else(|| id.to_string())
    };
    let state = if found.is_dir() {
        "directory"
    } else if found.is_symlink() {
        "link"
    } else if found.nlink() > 1 {
        "hard"
    } else {
        "file"
    };
    result
        .with("mode", format!("{:04o}", found.mode() & 0o7777))
        .with("uid", found.uid())
        .with("gid", found.gid())
        .with("owner", name("/etc/passwd", found.uid()))
        .with("group", name("/etc/group", found.gid()))
        .with("size", found.len())
        .with("state", state)
}

/// The third field of the line of `name` in the text of `/etc/passwd` or `/etc/group`.
pub fn id_of(table: &str, name: &str) -> Option<u32> {
    table
        .lines()
        .map(|line| line.split(':'))
        .find_map(|mut fields| {
            (fields.next() == Some(name))
                .then(|| fields.nth(1))
                .flatten()
        })
        .and_then(|id| id.parse().ok())
}

/// What `/etc/passwd` says of one account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    pub uid: u32,
    pub gid: u32,
    pub home: String,
    pub shell: String,
}

/// The account of that name in the text of `/etc/passwd`.
pub fn account_of(table: &str, name: &str) -> Option<Account> {
    let fields = table
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .find(|fields| fields[0] == name && fields.len() >= 7)?;
    Some(Account {
        uid: fields[2].parse().ok()?,
        gid: fields[3].parse().ok()?,
        home: fields[5].to_owned(),
        shell: fields[6].to_owned(),
    })
}

/// The first field of the line whose third is `id`.
pub fn name_of(table: &str, id: u32) -> Option<&str> {
    table.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(id)).then_some(name)
    })
}

/// Octal digits or chmod's symbolic words, applied to `current`. `None` if it is neither.
pub fn parse_mode(text: &str, current: u32, is_folder: bool) -> Option<u32> {
    let digits = text.strip_prefix("0o").unwrap_or(text);
    if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return u32::from_str_radix(digits, 8)
            .ok()
            .filter(|mode| *mode <= 0o7777);
    }
    text.split(',')
        .try_fold(current, |mode, clause| symbolic(clause, mode, is_folder))
}

/// One clause such as `u=rw`, `go-w`, `a+X`.
fn symbolic(clause: &str, mode: u32, is_folder: bool) -> Option<u32> {
    let at = clause.find(['+', '-', '='])?;
    let (who, rest) = clause.split_at(at);
    let operator = rest.chars().next()?;
    // Which of the three digits are meant: bit 6 user, bit 3 group, bit 0 others.
    let mut shifts = Vec::new();
    for letter in who.chars() {
        match letter {
            'u' => shifts.push(6),
            'g' => shifts.push(3),
            'o' => shifts.push(0),
            'a' => shifts.extend([6, 3, 0]),
            _ => return None,
        }
    }
    if shifts.is_empty() {
        shifts.extend([6, 3, 0]);
    }
    let mut bits = 0;
    let mut touched = 0;
    for shift in shifts {
        touched |= 0o7 << shift;
        for letter in rest[1..].chars() {
            bits |= match letter {
                'r' => 0o4 << shift,
                'w' => 0o2 << shift,
                'x' => 0o1 << shift,
                'X' if is_folder || mode & 0o111 != 0 => 0o1 << shift,
                'X' => 0,
                's' if shift == 6 => 0o4000,
                's' if shift == 3 => 0o2000,
                's' => 0,
                't' => 0o1000,
                _ => return None,
            };
        }
    }
    Some(match operator {
        '+' => mode | bits,
        '-' => mode & !bits,
        _ => (mode & !touched) | bits,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn modes_as_chmod_reads_them() {
        let cases = [
            ("0644", 0, false, Some(0o644)),
            ("0o600", 0, false, Some(0o600)),
            ("1777", 0, false, Some(0o1777)),
            ("u=rw,g=r,o=", 0o777, false, Some(0o640)),
            ("go-w", 0o666, false, Some(0o644)),
            ("+x", 0o644, false, Some(0o755)),
            ("a+X", 0o644, false, Some(0o644)),
            ("a+X", 0o644, true, Some(0o755)),
            ("u+s", 0o755, false, Some(0o4755)),
            ("0888", 0, false, None),
            ("z=r", 0, false, None),
            ("", 0, false, None),
        ];
        for (text, current, folder, expected) in cases {
            assert_eq!(parse_mode(text, current, folder), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_mode_text_is_read_or_refused(text in "[ugoa+=,rwxXst0-9-]{0,12}", current in 0u32..0o10000) {
            if let Some(mode) = parse_mode(&text, current, false) {
                prop_assert!(mode <= 0o7777);
            }
        }
    }

    #[test]
    fn ids_are_read_from_the_tables() {
        let table = "root:x:0:0::/root:/bin/sh\nbroken\nlibvirt-qemu:x:64055:108::/:/bin/false\n";
        assert_eq!(id_of(table, "libvirt-qemu"), Some(64055));
        assert_eq!(id_of(table, "nobody"), None);
        assert_eq!(name_of(table, 64055), Some("libvirt-qemu"));
    }
}
