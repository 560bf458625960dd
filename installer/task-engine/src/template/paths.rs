//! Filters and tests on paths: texts, but for the tests that ask this machine (`is file`, `is directory`, ...), as in
//! Ansible where they ask the control node.
use std::path::{Component, Path, PathBuf};

use minijinja::{Environment, Error, Value};

pub(super) fn register(env: &mut Environment<'static>) {
    env.add_filter("basename", |path: String| {
        path.rsplit('/').next().unwrap_or_default().to_owned()
    });
    env.add_filter("dirname", |path: String| match path.rsplit_once('/') {
        Some((folder, _)) if folder.trim_end_matches('/').is_empty() => "/".to_owned(),
        Some((folder, _)) => folder.trim_end_matches('/').to_owned(),
        None => String::new(),
    });
    env.add_filter("win_basename", |path: String| {
        path.rsplit(['/', '\\'])
            .next()
            .unwrap_or_default()
            .to_owned()
    });
    env.add_filter("win_dirname", |path: String| {
        path.rsplit_once(['/', '\\'])
            .map(|(folder, _)| folder.to_owned())
            .unwrap_or_default()
    });
    env.add_filter("splitext", splitext);
    env.add_filter("path_join", path_join);
    env.add_filter("expanduser", |path: String| {
        let rest = path.strip_prefix('~').unwrap_or("x");
        match std::env::home_dir() {
            Some(home) if rest.is_empty() || rest.starts_with('/') => {
                format!("{}{rest}", home.display())
            }
            _ => path,
        }
    });
    env.add_filter("expandvars", expand);
    env.add_filter("realpath", |path: String| {
        let absolute = std::path::absolute(&path).unwrap_or_else(|_| PathBuf::from(&path));
        let real = absolute.canonicalize();
        real.map_or_else(
            |_| normal(&absolute.to_string_lossy()),
            |real| real.to_string_lossy().into_owned(),
        )
    });
    env.add_filter("normpath", |path: String| normal(&path));
    env.add_filter("relpath", |path: String, from: Option<String>| {
        relative(&path, from.as_deref())
    });
    env.add_filter("commonpath", commonpath);
    env.add_test("abs", |path: String| path.starts_with('/'));
    env.add_test("is_abs", |path: String| path.starts_with('/'));
    for name in ["file", "is_file"] {
        env.add_test(name, |path: String| Path::new(&path).is_file());
    }
    for name in ["directory", "is_dir"] {
        env.add_test(name, |path: String| Path::new(&path).is_dir());
    }
    for name in ["link", "is_link"] {
        env.add_test(name, |path: String| Path::new(&path).is_symlink());
    }
    env.add_test("exists", |path: String| Path::new(&path).exists());
    env.add_test("link_exists", |path: String| {
        Path::new(&path).symlink_metadata().is_ok()
    });
    env.add_test("mount", |path: String| is_mount(Path::new(&path)));
}

fn is_mount(path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let (Ok(own), Ok(parent)) = (path.metadata(), path.join("..").metadata()) else {
        return false;
    };
    own.dev() != parent.dev() || own.ino() == parent.ino()
}

fn splitext(path: String) -> Vec<String> {
    let from = path.rfind('/').map_or(0, |at| at + 1);
    let name = &path[from..];
    let dots = name.len() - name.trim_start_matches('.').len();
    match name.rfind('.') {
        Some(dot) if dot > 0 && dot >= dots => {
            vec![path[..from + dot].to_owned(), path[from + dot..].to_owned()]
        }
        _ => vec![path, String::new()],
    }
}

fn path_join(parts: Value) -> Result<String, Error> {
    if parts.as_str().is_some() {
        return Ok(parts.to_string());
    }
    let mut out = PathBuf::new();
    for part in parts.try_iter()? {
        out.push(part.to_string());
    }
    Ok(out.to_string_lossy().into_owned())
}

/// Without `.`, `..` and double slashes, by its text alone.
fn normal(path: &str) -> String {
    let mut out: Vec<String> = Vec::new();
    let absolute = path.starts_with('/');
    for part in Path::new(path).components() {
        match part {
            Component::ParentDir => match out.last().map(String::as_str) {
                Some("..") | None if !absolute => out.push("..".to_owned()),
                _ => {
                    out.pop();
                }
            },
            Component::Normal(name) => out.push(name.to_string_lossy().into_owned()),
            _ => {}
        }
    }
    match (absolute, out.is_empty()) {
        (true, _) => format!("/{}", out.join("/")),
        (false, true) => ".".to_owned(),
        (false, false) => out.join("/"),
    }
}

fn relative(path: &str, from: Option<&str>) -> String {
    let whole = |path: &str| {
        let absolute = std::path::absolute(path).unwrap_or_else(|_| PathBuf::from(path));
        let text = normal(&absolute.to_string_lossy());
        text.split('/')
            .filter(|part| !part.is_empty())
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let (path, from) = (whole(path), whole(from.unwrap_or(".")));
    let same = path.iter().zip(&from).take_while(|(a, b)| a == b).count();
    let mut out: Vec<&str> = vec![".."; from.len() - same];
    out.extend(path[same..].iter().map(String::as_str));
    match out.is_empty() {
        true => ".".to_owned(),
        false => out.join("/"),
    }
}

fn commonpath(paths: Value) -> Result<String, Error> {
    let mut common: Option<PathBuf> = None;
    for path in paths.try_iter()? {
        let path = PathBuf::from(path.to_string());
        common = Some(match common {
            None => path,
            Some(before) => before
                .components()
                .zip(path.components())
                .take_while(|(a, b)| a == b)
                .map(|(part, _)| part)
                .collect(),
        });
    }
    Ok(common.unwrap_or_default().to_string_lossy().into_owned())
}

/// `$NAME` and `${NAME}` of this machine's environment; what is not set stays.
fn expand(text: String) -> String {
    let mut out = String::new();
    let mut rest = text.as_str();
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        let (name, whole, tail) = match after
            .strip_prefix('{')
            .and_then(|inner| inner.split_once('}'))
        {
            Some((name, tail)) => (name, format!("${{{name}}}"), tail),
            None => {
                let end = after
                    .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
                    .unwrap_or(after.len());
                (&after[..end], format!("${}", &after[..end]), &after[end..])
            }
        };
        match std::env::var(name) {
            Ok(value) if !name.is_empty() => out.push_str(&value),
            _ => out.push_str(&whole),
        }
        rest = tail;
    }
    out.push_str(rest);
    out
}
