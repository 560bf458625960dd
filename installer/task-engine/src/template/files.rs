//! Lookups that read files of the deployment host: `file`, `template`, `first_found`, `fileglob`, `csvfile`, `ini`,
//! `password`. Where they look is where Ansible looks: the role's folder of that kind, the role, the playbook's.
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use minijinja::value::Kwargs;
use minijinja::{Error, State, Value};

use super::text::bad;

/// A larger file is no value of a variable.
const BYTES_MAX: u64 = 16 << 20;

/// Where Ansible would look: the role's folder for this kind, the role, the playbook's folders.
pub(super) fn find(state: &State, name: &str, folder: &str) -> Result<PathBuf, Error> {
    places(state, name, folder)
        .into_iter()
        .find(|path| path.exists())
        .ok_or_else(|| {
            bad(format!(
                "`{name}` was not found in `{folder}` of the role or the playbook"
            ))
        })
}

fn places(state: &State, name: &str, folder: &str) -> Vec<PathBuf> {
    if let (Some(rest), Some(home)) = (name.strip_prefix("~/"), std::env::home_dir()) {
        return vec![home.join(rest)];
    }
    if Path::new(name).is_absolute() {
        return vec![PathBuf::from(name)];
    }
    let mut out = Vec::new();
    for base in ["role_path", "playbook_dir"] {
        let Some(base) = state.lookup(base) else {
            continue;
        };
        let base = PathBuf::from(base.to_string());
        out.push(base.join(folder).join(name));
        if base.join("tasks").is_dir() {
            out.push(base.join("tasks").join(name));
        }
        out.push(base.join(name));
    }
    out
}

fn read(path: &Path) -> Result<String, Error> {
    let failed = |why: String| bad(format!("`{}` cannot be read: {why}", path.display()));
    let about = std::fs::metadata(path).map_err(|error| failed(error.to_string()))?;
    if about.len() > BYTES_MAX {
        return Err(failed(format!("it is larger than {} MiB", BYTES_MAX >> 20)));
    }
    let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
    match text.starts_with(crate::vault::MARK) {
        true => Err(failed(
            "it is sealed by Ansible Vault; load it as variables".to_owned(),
        )),
        false => Ok(text),
    }
}

pub(super) fn file(state: &State, name: &str, options: &Kwargs) -> Result<Value, Error> {
    let text = read(&find(state, name, "files")?)?;
    let mut text = text.as_str();
    if options.get::<Option<bool>>("rstrip")?.unwrap_or(true) {
        text = text.trim_end();
    }
    if options.get::<Option<bool>>("lstrip")?.unwrap_or(false) {
        text = text.trim_start();
    }
    Ok(Value::from(text))
}

/// Renders another template with the same variables, and those of `template_vars`.
pub(super) fn template(state: &State, name: &str, options: &Kwargs) -> Result<Value, Error> {
    let path = find(state, name, "templates")?;
    let source = read(&path)?;
    let variables = state.lookup("vars").unwrap_or_default();
    let variables = match options.get::<Option<Value>>("template_vars")? {
        Some(more) => minijinja::context! { ..more, ..variables },
        None => variables,
    };
    let _convert = options.get::<Option<bool>>("convert_data")?;
    let text = state
        .env()
        .render_named_str(&path.to_string_lossy(), &source, variables)?;
    // As ansible-core 2.19: the file's last line end is no part of the value.
    let text = text.strip_suffix('\n').unwrap_or(&text);
    Ok(Value::from(text))
}

/// The first file that exists of all names, in all paths.
pub(super) fn first_found(
    state: &State,
    terms: &[Value],
    options: &Kwargs,
) -> Result<Vec<Value>, Error> {
    let mut skip = options.get::<Option<bool>>("skip")?.unwrap_or(false);
    let mut all: Vec<(Vec<String>, Vec<String>)> = Vec::new();
    let (files, paths) = (
        options.get::<Option<Value>>("files")?,
        options.get::<Option<Value>>("paths")?,
    );
    if let Some(files) = files {
        all.push((words(&files)?, words(&paths.clone().unwrap_or_default())?));
    }
    let mut waiting: Vec<Value> = terms.iter().rev().cloned().collect();
    while let Some(term) = waiting.pop() {
        if term.as_str().is_some() {
            all.push((
                vec![term.to_string()],
                words(&paths.clone().unwrap_or_default())?,
            ));
        } else if term.kind() == minijinja::value::ValueKind::Map {
            let part = |name: &str| term.get_attr(name).unwrap_or_default();
            skip |= part("skip").is_true();
            all.push((words(&part("files"))?, words(&part("paths"))?));
        } else {
            let mut inner: Vec<Value> = term.try_iter()?.collect();
            inner.reverse();
            waiting.extend(inner);
        }
    }
    let mut tried = Vec::new();
    for (files, paths) in &all {
        let names: Vec<String> = match paths.is_empty() {
            true => files.clone(),
            false => paths
                .iter()
                .flat_map(|path| files.iter().map(move |file| join(path, file)))
                .collect(),
        };
        for name in names {
            for folder in ["files", "templates", "vars", "tasks"] {
                if let Ok(path) = find(state, &name, folder) {
                    return Ok(vec![Value::from(path.to_string_lossy())]);
                }
            }
            tried.push(name);
        }
    }
    match skip {
        true => Ok(Vec::new()),
        false => Err(bad(format!(
            "first_found: none of these exists: {}",
            tried.join(", ")
        ))),
    }
}

fn join(path: &str, file: &str) -> String {
    match file.starts_with('/') {
        true => file.to_owned(),
        false => format!("{}/{file}", path.trim_end_matches('/')),
    }
}

/// A list of texts, or one text with commas or semicolons.
fn words(value: &Value) -> Result<Vec<String>, Error> {
    if value.is_undefined() || value.is_none() {
        return Ok(Vec::new());
    }
    match value.as_str() {
        Some(text) => Ok(text
            .split([',', ';'])
            .map(str::trim)
            .filter(|word| !word.is_empty())
            .map(str::to_owned)
            .collect()),
        None => Ok(value.try_iter()?.map(|word| word.to_string()).collect()),
    }
}

/// Files that a pattern names: `*`, `?`, `[...]` in its last part.
pub(super) fn fileglob(state: &State, pattern: &str) -> Result<Vec<Value>, Error> {
    let (folder, last) = match pattern.rsplit_once('/') {
        Some((folder, last)) => (if folder.is_empty() { "/" } else { folder }, last),
        None => (".", pattern),
    };
    let Ok(folder) = find(state, folder, "files") else {
        return Ok(Vec::new());
    };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let hidden = name.starts_with('.') && !last.starts_with('.');
        if !hidden && entry.path().is_file() && matches(last, &name) {
            found.push(entry.path().to_string_lossy().into_owned());
        }
    }
    // The order of a folder is chance; every run is to be the same.
    found.sort();
    Ok(found.into_iter().map(Value::from).collect())
}

fn matches(pattern: &str, name: &str) -> bool {
    let mut letters = pattern.chars();
    let Some(first) = letters.next() else {
        return name.is_empty();
    };
    let rest = letters.as_str();
    let mut tail = name.chars();
    match first {
        '*' => {
            matches(rest, name)
                || name
                    .char_indices()
                    .any(|(at, c)| matches(rest, &name[at + c.len_utf8()..]))
        }
        '?' => tail.next().is_some() && matches(rest, tail.as_str()),
        '[' if rest.contains(']') => {
            let (set, after) = rest.split_once(']').unwrap_or((rest, ""));
            let (set, negated) = match set.strip_prefix(['!', '^']) {
                Some(set) => (set, true),
                None => (set, false),
            };
            let Some(c) = tail.next() else { return false };
            let set: Vec<char> = set.chars().collect();
            let mut inside = false;
            let mut at = 0;
            while at < set.len() {
                if at + 2 < set.len() && set[at + 1] == '-' {
                    inside |= (set[at]..=set[at + 2]).contains(&c);
                    at += 3;
                } else {
                    inside |= set[at] == c;
                    at += 1;
                }
            }
            inside != negated && matches(after, tail.as_str())
        }
        c => tail.next() == Some(c) && matches(rest, tail.as_str()),
    }
}

/// `lookup('csvfile', 'key', file='f.csv', delimiter=',', col=1)`.
pub(super) fn csvfile(state: &State, key: &str, options: &Kwargs) -> Result<Option<Value>, Error> {
    let name = options
        .get::<Option<String>>("file")?
        .unwrap_or_else(|| "ansible.csv".to_owned());
    let text = read(&find(state, &name, "files")?)?;
    let delimiter = match options.get::<Option<String>>("delimiter")?.as_deref() {
        None | Some("TAB" | "\t") => '\t',
        Some(mark) => mark.chars().next().unwrap_or('\t'),
    };
    let number = |name: &str, otherwise: usize| -> Result<usize, Error> {
        let given = options.get::<Option<Value>>(name)?;
        match given.map(|value| value.to_string().parse()) {
            None => Ok(otherwise),
            Some(Ok(number)) => Ok(number),
            Some(Err(_)) => Err(bad(format!("csvfile: `{name}` is no number"))),
        }
    };
    let (column, key_column) = (number("col", 1)?, number("keycol", 0)?);
    for line in text.lines() {
        let cells = cells(line, delimiter);
        if cells.get(key_column).is_some_and(|cell| cell == key) {
            return match cells.get(column) {
                Some(cell) => Ok(Some(Value::from(cell.as_str()))),
                None => Err(bad(format!(
                    "csvfile: the line of `{key}` has no column {column}"
                ))),
            };
        }
    }
    options.get::<Option<Value>>("default")
}

fn cells(line: &str, delimiter: char) -> Vec<String> {
    let mut out = vec![String::new()];
    let mut quoted = false;
    let mut letters = line.chars().peekable();
    while let Some(c) = letters.next() {
        match c {
            '"' if quoted && letters.peek() == Some(&'"') => {
                letters.next();
                if let Some(cell) = out.last_mut() {
                    cell.push('"');
                }
            }
            '"' => quoted = !quoted,
            c if c == delimiter && !quoted => out.push(String::new()),
            c => {
                if let Some(cell) = out.last_mut() {
                    cell.push(c);
                }
            }
        }
    }
    out
}

/// `lookup('ini', 'key', section='s', file='f.ini', default='')`.
pub(super) fn ini(state: &State, key: &str, options: &Kwargs) -> Result<Value, Error> {
    let name = options
        .get::<Option<String>>("file")?
        .unwrap_or_else(|| "ansible.ini".to_owned());
    let text = read(&find(state, &name, "files")?)?;
    let plain = options.get::<Option<String>>("type")?.as_deref() == Some("properties");
    let wanted = match plain {
        true => String::new(),
        false => options
            .get::<Option<String>>("section")?
            .unwrap_or_else(|| "global".to_owned()),
    };
    let mut section = String::new();
    let mut found = None;
    for line in text.lines().map(str::trim) {
        if line.starts_with(['#', ';']) || line.is_empty() {
            continue;
        }
        if let Some(name) = line
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
        {
            name.clone_into(&mut section);
        } else if section == wanted
            && let Some((name, value)) = line.split_once(['=', ':'])
            && name.trim().eq_ignore_ascii_case(key)
        {
            found = Some(value.trim().to_owned());
        }
    }
    match (found, options.get::<Option<Value>>("default")?) {
        (Some(value), _) => Ok(Value::from(value)),
        (None, Some(default)) => Ok(default),
        (None, None) => Ok(Value::from("")),
    }
}

/// `lookup('password', 'FILE length=20 chars=ascii_letters,digits')`: the password in the file, which is made with a
/// new one where it is missing, readable for its owner alone.
pub(super) fn password(state: &State, term: &str, options: &Kwargs) -> Result<Value, Error> {
    let mut length = options.get::<Option<usize>>("length")?.unwrap_or(20);
    let mut chars: Vec<String> = match options.get::<Option<Value>>("chars")? {
        Some(chars) => words(&chars)?,
        None => ["ascii_letters", "digits", ".,:-_"]
            .map(str::to_owned)
            .to_vec(),
    };
    let mut name = String::new();
    for word in term.split_whitespace() {
        match word.split_once('=') {
            Some(("length", value)) => {
                length = value
                    .parse()
                    .map_err(|_| bad(format!("password: `{value}` is no length")))?;
            }
            Some(("chars", value)) => chars = words(&Value::from(value))?,
            Some(("encrypt" | "ident" | "seed", _)) => {
                return Err(bad(format!(
                    "password: `{word}` is not supported; use the filter `password_hash`"
                )));
            }
            _ if name.is_empty() => word.clone_into(&mut name),
            _ => name = format!("{name} {word}"),
        }
    }
    if options
        .get::<Option<Value>>("encrypt")?
        .is_some_and(|value| value.is_true())
    {
        return Err(bad(
            "password: `encrypt` is not supported; use the filter `password_hash`",
        ));
    }
    if !(1..=1024).contains(&length) {
        return Err(bad("password: the length is not between 1 and 1024"));
    }
    let alphabet = alphabet(&chars);
    if alphabet.is_empty() {
        return Err(bad("password: there are no letters to choose from"));
    }
    let new = || -> String {
        let mut out = String::new();
        while out.chars().count() < length {
            // 122 random bits each; a byte that would favour some letters is thrown away.
            let id = uuid::Uuid::new_v4();
            for byte in [&id.as_bytes()[..6], &id.as_bytes()[10..]].concat() {
                let fair = 256 - 256 % alphabet.len();
                if usize::from(byte) < fair && out.chars().count() < length {
                    out.push(alphabet[usize::from(byte) % alphabet.len()]);
                }
            }
        }
        out
    };
    if name == "/dev/null" {
        return Err(bad(
            "password: `/dev/null` gives another password each time, so every run would change something",
        ));
    }
    let path = match places(state, &name, "files") {
        all if all.iter().any(|path| path.exists()) => find(state, &name, "files")?,
        all => all
            .into_iter()
            .next_back()
            .unwrap_or_else(|| PathBuf::from(&name)),
    };
    if !path.exists() {
        let failed =
            |error: std::io::Error| bad(format!("`{}` cannot be made: {error}", path.display()));
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(failed)?;
        }
        // Two hosts can ask at the same moment: whoever makes the file decides, the other reads it.
        let file = std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path);
        match file {
            Ok(mut file) => file
                .write_all(format!("{}\n", new()).as_bytes())
                .map_err(failed)?,
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(failed(error)),
        }
    }
    let text = read(&path)?;
    let line = text.lines().next().unwrap_or_default();
    let word = line.split(" salt=").next().unwrap_or_default();
    match word.is_empty() {
        true => Err(bad(format!("`{}` holds no password", path.display()))),
        false => Ok(Value::from(word)),
    }
}

fn alphabet(classes: &[String]) -> Vec<char> {
    let mut out: Vec<char> = Vec::new();
    for class in classes {
        match class.as_str() {
            "ascii_letters" => out.extend(('a'..='z').chain('A'..='Z')),
            "ascii_lowercase" => out.extend('a'..='z'),
            "ascii_uppercase" => out.extend('A'..='Z'),
            "digits" => out.extend('0'..='9'),
            "hexdigits" => out.extend(('0'..='9').chain('a'..='f').chain('A'..='F')),
            "octdigits" => out.extend('0'..='7'),
            "punctuation" => out.extend("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~".chars()),
            other => out.extend(other.chars()),
        }
    }
    out.sort_unstable();
    out.dedup();
    out.truncate(256);
    out
}
