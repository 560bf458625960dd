//! Reading an inventory's folder into memory: the only file access of this crate.

use diagnostics::{Diagnostic, Diagnostics};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// A text and the name that messages call it by.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TextFile {
    pub name: String,
    pub text: String,
}

/// A file of variables and the group or host that they are for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VarsFile {
    pub owner: String,
    pub file: TextFile,
}

/// All files of an inventory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Files {
    pub hosts: Option<TextFile>,
    pub networks: Option<TextFile>,
    /// In the order in which they are merged.
    pub group_vars: Vec<VarsFile>,
    /// In the order in which they are merged.
    pub host_vars: Vec<VarsFile>,
}

/// A larger file is certainly not what was meant.
const MAX_BYTES: u64 = 16 << 20;

impl Files {
    pub(crate) fn read(dir: &Path) -> (Self, Diagnostics) {
        let mut reader = Reader::default();
        let mut files = Self::default();
        if !dir.is_dir() {
            reader.diags.push(missing(dir));
            return (files, reader.diags);
        }
        files.hosts = reader.main(dir, "hosts");
        files.networks = reader.main(dir, "networks");
        files.group_vars = reader.vars(&dir.join("group_vars"));
        files.host_vars = reader.vars(&dir.join("host_vars"));
        (files, reader.diags)
    }
}

fn missing(dir: &Path) -> Diagnostic {
    let diagnostic = Diagnostic::error(format!("there is no inventory folder `{}`", dir.display()))
        .expected("a folder with `hosts.yml` and `networks.yml`");
    // Who misspells an environment wants to know which there are.
    let near: Vec<String> = dir
        .parent()
        .and_then(|parent| fs::read_dir(parent).ok())
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.path().join("hosts.yml").is_file())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    let wanted = dir.file_name().unwrap_or_default().to_string_lossy();
    diagnostic.suggest(&wanted, near.iter().map(String::as_str))
}

#[derive(Default)]
pub(crate) struct Reader<'a> {
    pub diags: Diagnostics,
    /// Opens texts that Ansible Vault has sealed.
    pub unseal: Option<&'a crate::plain::Unseal<'a>>,
}

impl Reader<'_> {
    /// `<stem>.yml` or `<stem>.yaml`.
    fn main(&mut self, dir: &Path, stem: &str) -> Option<TextFile> {
        let names = ["yml", "yaml"].map(|extension| dir.join(format!("{stem}.{extension}")));
        if let [first, second] = &names
            && first.exists()
            && second.exists()
        {
            self.diags.push(Diagnostic::error(format!(
                "both `{}` and `{}` exist",
                first.display(),
                second.display()
            )));
        }
        match names.iter().find(|path| path.exists()) {
            Some(path) => self.text(path),
            None => {
                self.diags.push(
                    Diagnostic::error(format!("`{}` is missing", names[0].display()))
                        .hint("`inventories/lab` is a complete example"),
                );
                None
            }
        }
    }

    /// Files of a `group_vars` or `host_vars` folder: `NAME`, `NAME.yml`, `.yaml` or `.json`, or all
    /// files of a folder `NAME`, in order of their names.
    pub fn vars(&mut self, dir: &Path) -> Vec<VarsFile> {
        let mut found: Vec<VarsFile> = Vec::new();
        let mut seen: Vec<(String, PathBuf)> = Vec::new();
        for path in self.entries(dir) {
            let Some(name) = path.file_name().map(|n| n.to_string_lossy().into_owned()) else {
                continue;
            };
            let owner = [".yml", ".yaml", ".json"]
                .iter()
                .find_map(|extension| name.strip_suffix(extension))
                .unwrap_or(&name)
                .to_owned();
            if let Some((_, first)) = seen.iter().find(|(other, _)| *other == owner) {
                self.diags.push(
                    Diagnostic::error(format!(
                        "both `{}` and `{}` hold variables of `{owner}`",
                        first.display(),
                        path.display()
                    ))
                    .hint("Ansible would read only one of them: join them, or use a folder"),
                );
                continue;
            }
            seen.push((owner.clone(), path.clone()));
            let mut texts = Vec::new();
            if path.is_dir() {
                self.below(&path, &mut texts, 0);
            } else {
                texts.extend(self.text(&path));
            }
            found.extend(texts.into_iter().map(|file| VarsFile {
                owner: owner.clone(),
                file,
            }));
        }
        found
    }

    fn below(&mut self, dir: &Path, texts: &mut Vec<TextFile>, depth: usize) {
        if depth > 10 {
            self.diags.push(Diagnostic::error(format!(
                "`{}` is too deep; is a link going round in a circle?",
                dir.display()
            )));
            return;
        }
        for path in self.entries(dir) {
            if path.is_dir() {
                self.below(&path, texts, depth + 1);
            } else {
                texts.extend(self.text(&path));
            }
        }
    }

    /// What is in a folder by name, without hidden and backup files; nothing if there is no folder.
    pub fn entries(&mut self, dir: &Path) -> Vec<PathBuf> {
        let listing = match fs::read_dir(dir) {
            Ok(listing) => listing,
            Err(cause) if cause.kind() == ErrorKind::NotFound => return Vec::new(),
            Err(cause) => {
                self.unreadable(dir, &cause.to_string());
                return Vec::new();
            }
        };
        let mut paths: Vec<PathBuf> = listing
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                !name.starts_with('.') && !name.ends_with('~')
            })
            .collect();
        paths.sort();
        paths
    }

    pub fn text(&mut self, path: &Path) -> Option<TextFile> {
        let size = fs::metadata(path).map(|meta| meta.len()).unwrap_or(0);
        if size > MAX_BYTES {
            self.unreadable(path, "it is larger than 16 MiB");
            return None;
        }
        match fs::read(path).map(String::from_utf8) {
            Ok(Ok(text)) => Some(TextFile {
                name: path.display().to_string(),
                text: self.unsealed(path, text)?,
            }),
            Ok(Err(_)) => {
                self.unreadable(path, "it is not UTF-8 text");
                None
            }
            Err(cause) => {
                self.unreadable(path, &cause.to_string());
                None
            }
        }
    }

    fn unsealed(&mut self, path: &Path, text: String) -> Option<String> {
        if !text.starts_with("$ANSIBLE_VAULT") {
            return Some(text);
        }
        let opened = match self.unseal {
            Some(unseal) => unseal(&text),
            None => Err("it is sealed by Ansible Vault".to_owned()),
        };
        opened.map_err(|why| self.unreadable(path, &why)).ok()
    }

    fn unreadable(&mut self, path: &Path, why: &str) {
        self.diags.push(Diagnostic::error(format!(
            "cannot read `{}`: {why}",
            path.display()
        )));
    }
}
