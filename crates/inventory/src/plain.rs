//! Inventories of Ansible as they are: one or several files in YAML or INI form, folders of them, `group_vars/` and
//! `host_vars/` beside them and beside the playbook.
//!
//! Unlike [`crate::load`] this asks for no networks, no roles and no machines: it gives every host its groups and its
//! variables. Inventory scripts and plug-ins are refused: nothing is executed here.

use crate::assemble::{merge_files, parse};
use crate::files::{Reader, TextFile};
use crate::hosts_file::HostsFile;
use crate::ini;
use crate::vars::{self, VarsFolders};
use diagnostics::{Diagnostic, Diagnostics};
use indexmap::IndexMap;
use serde_json::{Map as JsonMap, Value as Json};
use std::path::{Path, PathBuf};

/// Opens a text that Ansible Vault has sealed; the error says why it cannot.
pub type Unseal<'a> = dyn Fn(&str) -> Result<String, String> + 'a;

/// What reading an inventory may use.
#[derive(Default)]
pub struct PlainOptions<'a> {
    /// Folder whose `group_vars/` and `host_vars/` win over those of the inventory.
    pub playbook_folder: Option<&'a Path>,
    /// Opens a text that begins with `$ANSIBLE_VAULT`; without it such a file is a fault.
    pub unseal: Option<&'a Unseal<'a>>,
}

/// A host with all that the inventory says of it.
#[derive(Debug, Clone, PartialEq)]
pub struct PlainHost {
    /// All but `all`, the nearest last; `ungrouped` if there is no other.
    pub groups: Vec<String>,
    /// Merged. Tagged values are `{"!tag": value}`.
    pub vars: JsonMap<String, Json>,
    /// File and line where it stands first.
    pub place: String,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct PlainInventory {
    /// In the order in which they are written.
    pub hosts: IndexMap<String, PlainHost>,
    /// Hosts of each group, those of its child groups too; `all` and `ungrouped` are among them.
    pub groups: IndexMap<String, Vec<String>>,
    /// The first source: the folder itself, or the folder of the file.
    pub folder: Option<PathBuf>,
    pub file: Option<PathBuf>,
}

/// Names that Ansible leaves alone in a folder of inventories, too.
const IGNORED: &[&str] = &[
    ".pyc", ".pyo", ".swp", ".bak", "~", ".rpm", ".md", ".txt", ".rst", ".orig", ".cfg", ".retry",
];

/// Reads all sources (a file, a folder, or a list of hosts with commas: `a,b,`), the later over the earlier. What
/// could be understood is returned even if there are errors; it must not be acted upon then.
pub fn plain(sources: &[String], options: &PlainOptions<'_>) -> (PlainInventory, Diagnostics) {
    let mut reader = Reader {
        unseal: options.unseal,
        ..Reader::default()
    };
    let mut file = HostsFile {
        plain: true,
        ..HostsFile::default()
    };
    let mut diags = Diagnostics::new();
    let mut folders: Vec<PathBuf> = Vec::new();
    let (mut first_folder, mut first_file) = (None, None);
    for source in sources {
        let path = Path::new(source);
        if source.contains(',') && !path.exists() {
            let text = source.replace(',', "\n");
            ini::read("--inventory", &text, &mut file, &mut diags);
            continue;
        }
        if !path.exists() {
            let fault = Diagnostic::error(format!("there is no inventory `{source}`"));
            diags.push(fault.expected("a file, a folder, or names with commas: `web-1,web-2,`"));
            continue;
        }
        let folder = match path.is_dir() {
            true => path.to_path_buf(),
            false => path.parent().map(Path::to_path_buf).unwrap_or_default(),
        };
        first_folder.get_or_insert_with(|| folder.clone());
        first_file.get_or_insert_with(|| path.to_path_buf());
        let mut texts = Vec::new();
        files(path, 0, &mut reader, &mut texts);
        for text in texts {
            one(&text, &mut file, &mut diags);
        }
        if !folders.contains(&folder) {
            folders.push(folder);
        }
    }
    let mut read = |folder: &Path| VarsFolders {
        groups: merge_files(&reader.vars(&folder.join("group_vars")), &mut diags),
        hosts: merge_files(&reader.vars(&folder.join("host_vars")), &mut diags),
    };
    let mut all: Vec<VarsFolders> = folders.iter().map(|folder| read(folder)).collect();
    if let Some(folder) = options.playbook_folder
        && !folders.iter().any(|other| same(other, folder))
    {
        all.push(read(folder));
    }
    diags.extend(std::mem::take(&mut reader.diags));
    let mut inventory = finish(file, &all, &mut diags);
    inventory.folder = first_folder;
    inventory.file = first_file;
    (inventory, diags)
}

/// One inventory that is already in memory; `name` tells its form by its ending, as a file's name does.
pub fn plain_text(name: &str, text: &str) -> (PlainInventory, Diagnostics) {
    let mut diags = Diagnostics::new();
    let mut file = HostsFile {
        plain: true,
        ..HostsFile::default()
    };
    let text = TextFile {
        name: name.to_owned(),
        text: text.to_owned(),
    };
    one(&text, &mut file, &mut diags);
    let inventory = finish(file, &[], &mut diags);
    (inventory, diags)
}

fn same(one: &Path, other: &Path) -> bool {
    let whole = |path: &Path| match path.as_os_str().is_empty() {
        true => Path::new(".").canonicalize(),
        false => path.canonicalize(),
    };
    whole(one)
        .ok()
        .zip(whole(other).ok())
        .is_some_and(|(a, b)| a == b)
}

fn files(path: &Path, depth: usize, reader: &mut Reader<'_>, out: &mut Vec<TextFile>) {
    if !path.is_dir() {
        out.extend(reader.text(path));
        return;
    }
    if depth > 10 {
        reader.diags.push(Diagnostic::error(format!(
            "`{}` is too deep; is a link going round in a circle?",
            path.display()
        )));
        return;
    }
    for inner in reader.entries(path) {
        let name = inner.file_name().unwrap_or_default().to_string_lossy();
        let vars = matches!(&*name, "group_vars" | "host_vars" | "vars_plugins");
        // Networks of an environment of this product's own lie beside its `hosts.yml`.
        let own =
            matches!(&*name, "networks.yml" | "networks.yaml") && path.join("hosts.yml").exists();
        if !vars && !own && !IGNORED.iter().any(|ending| name.ends_with(ending)) {
            files(&inner, depth + 1, reader, out);
        }
    }
}

/// YAML by its ending; else what begins like YAML or JSON; else INI.
fn one(text: &TextFile, file: &mut HostsFile, diags: &mut Diagnostics) {
    if text.text.starts_with("#!") {
        diags.push(
            Diagnostic::error(format!("`{}` is an inventory script", text.name))
                .expected("an inventory in YAML or INI form")
                .hint("`ansible-inventory --list --yaml` writes down what a script gives"),
        );
        return;
    }
    let by_name = [".yml", ".yaml", ".json"]
        .iter()
        .any(|ending| text.name.ends_with(ending));
    let first = text
        .text
        .lines()
        .map(str::trim)
        .find(|line| !line.is_empty() && !line.starts_with(['#', ';']));
    let looks = first.is_some_and(|line| {
        line == "---" || line.starts_with('{') || (line.ends_with(':') && !line.contains(' '))
    });
    if !by_name && !looks {
        return ini::read(&text.name, &text.text, file, diags);
    }
    let Some(document) = parse(text, diags) else {
        return;
    };
    if let Some(plugin) = document.root.map().and_then(|map| map.get("plugin")) {
        use yaml_source::Fault;
        let fault = plugin.error("inventories made by plug-ins are not supported");
        diags.push(fault.hint("`ansible-inventory --list --yaml` writes down what one gives"));
        return;
    }
    file.read(&document.root, diags);
}

fn finish(mut file: HostsFile, folders: &[VarsFolders], diags: &mut Diagnostics) -> PlainInventory {
    file.refuse_cycles(diags);
    let own = VarsFolders::default();
    // For `ansible_group_priority` the folders count too, the last first.
    let priorities = VarsFolders {
        groups: folders
            .iter()
            .flat_map(|folder| folder.groups.clone())
            .collect(),
        ..own
    };
    let groups_of = vars::groups_of_hosts(&file, &priorities);
    let folders: Vec<&VarsFolders> = folders.iter().collect();
    let mut inventory = PlainInventory::default();
    inventory.groups.insert("all".to_owned(), Vec::new());
    inventory.groups.insert("ungrouped".to_owned(), Vec::new());
    for name in file.groups.0.keys() {
        inventory.groups.entry(name.clone()).or_default();
    }
    for (name, raw) in &file.hosts {
        let mut groups: Vec<&str> = groups_of.get(name.as_str()).cloned().unwrap_or_default();
        if groups.len() > 1 {
            groups.retain(|group| *group != "ungrouped");
        }
        if groups.is_empty() {
            groups.push("ungrouped");
        }
        for group in groups.iter().chain(&["all"]) {
            let members = inventory.groups.entry((*group).to_owned()).or_default();
            members.push(name.clone());
        }
        let merged = vars::merge(name, &groups, &file, &folders);
        inventory.hosts.insert(
            name.clone(),
            PlainHost {
                groups: groups.into_iter().map(str::to_owned).collect(),
                vars: merged.to_json(),
                place: format!("{}:{}", raw.span.file(), raw.span.line()),
            },
        );
    }
    inventory
}

#[cfg(test)]
#[path = "plain_tests.rs"]
mod tests;
