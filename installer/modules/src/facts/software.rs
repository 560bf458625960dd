//! What runs on the machine: its time, names of servers, users, keys, and Python if there is one.
use serde_json::{Map, Value, json};

use super::{line, read};
use crate::attributes::account_of;
use crate::context::Context;

/// The kernel's command line: the last value of each word, and all values of those that come several times.
pub fn command_line(text: &str) -> (Value, Value) {
    let (mut last, mut all) = (Map::new(), Map::new());
    for word in shlex::split(text.trim()).unwrap_or_default() {
        let (key, value) = match word.split_once('=') {
            Some((key, value)) => (key.to_owned(), Value::from(value)),
            None => (word, true.into()),
        };
        last.insert(key.clone(), value.clone());
        match all.get_mut(&key) {
            Some(Value::Array(values)) => values.push(value),
            Some(first) => *first = json!([first.clone(), value]),
            None => drop(all.insert(key, value)),
        }
    }
    (last.into(), all.into())
}

/// From the text of `resolv.conf`.
pub fn dns(text: &str) -> Value {
    let mut out = Map::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["nameserver", address, ..] => {
                let list = out.entry("nameservers").or_insert_with(|| json!([]));
                if let Some(list) = list.as_array_mut() {
                    list.push((*address).into());
                }
            }
            ["domain", name, ..] => drop(out.insert("domain".into(), (*name).into())),
            ["search", names @ ..] => drop(out.insert("search".into(), json!(names))),
            ["sortlist", list @ ..] => drop(out.insert("sortlist".into(), json!(list))),
            ["options", options @ ..] => {
                let options: Map<String, Value> = options
                    .iter()
                    .map(|option| match option.split_once(':') {
                        Some((name, value)) => (name.to_owned(), value.into()),
                        None => ((*option).to_owned(), true.into()),
                    })
                    .collect();
                out.insert("options".into(), options.into());
            }
            _ => {}
        }
    }
    out.into()
}

/// The time, in the node's own zone, as `date` knows it.
pub fn date_time(context: &mut Context<'_>) -> Value {
    // One field a line, so that a zone's name may be anything.
    const FIELDS: [(&str, &str); 17] = [
        ("year", "%Y"),
        ("month", "%m"),
        ("day", "%d"),
        ("hour", "%H"),
        ("minute", "%M"),
        ("second", "%S"),
        ("weekday", "%A"),
        ("weekday_number", "%w"),
        ("weeknumber", "%W"),
        ("epoch", "%s"),
        ("date", "%Y-%m-%d"),
        ("time", "%H:%M:%S"),
        ("iso8601_basic", "%Y%m%dT%H%M%S%6N"),
        ("iso8601_basic_short", "%Y%m%dT%H%M%S"),
        ("tz", "%Z"),
        ("tz_offset", "%z"),
        ("epoch_int", "%s"),
    ];
    let format: Vec<&str> = FIELDS.iter().map(|(_, format)| *format).collect();
    let argument = format!("+{}", format.join("%n"));
    let mut out = Map::new();
    if let Ok(local) = context.must(&["date", &argument]) {
        for ((name, _), value) in FIELDS.iter().zip(local.lines()) {
            out.insert((*name).to_owned(), value.into());
        }
        out.insert("tz_dst".into(), out["tz"].clone());
    }
    if let Ok(utc) = context.must(&["date", "-u", "+%Y-%m-%dT%H:%M:%SZ%n%Y-%m-%dT%H:%M:%S.%6NZ"]) {
        for (name, value) in ["iso8601", "iso8601_micro"].iter().zip(utc.lines()) {
            out.insert((*name).to_owned(), value.into());
        }
    }
    out.into()
}

/// The account that the task runs as.
pub fn user(context: &Context<'_>) -> Vec<(&'static str, Value)> {
    let uid = nix::unistd::geteuid().as_raw();
    let passwd = read(context, "/etc/passwd");
    let name = crate::attributes::name_of(&passwd, uid).unwrap_or("root");
    let account = account_of(&passwd, name);
    let gecos = passwd
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .find(|fields| fields[0] == name)
        .and_then(|fields| fields.get(4).copied())
        .unwrap_or_default();
    let mut out = vec![
        ("user_id", name.into()),
        ("user_uid", uid.into()),
        ("user_gid", nix::unistd::getegid().as_raw().into()),
        ("user_gecos", gecos.into()),
        ("real_user_id", nix::unistd::getuid().as_raw().into()),
        ("effective_user_id", uid.into()),
        ("real_group_id", nix::unistd::getgid().as_raw().into()),
        ("effective_group_id", nix::unistd::getegid().as_raw().into()),
    ];
    if let Some(account) = account {
        out.push(("user_dir", account.home.into()));
        out.push(("user_shell", account.shell.into()));
    }
    out
}

/// The public keys by which the SSH server is known.
pub fn host_keys(context: &Context<'_>) -> Vec<(String, Value)> {
    let mut out = Vec::new();
    for kind in ["dsa", "rsa", "ecdsa", "ed25519"] {
        let text = read(context, &format!("/etc/ssh/ssh_host_{kind}_key.pub"));
        if let [word, key, ..] = text.split_whitespace().collect::<Vec<_>>().as_slice() {
            out.push((format!("ssh_host_key_{kind}_public"), (*key).into()));
            out.push((
                format!("ssh_host_key_{kind}_public_keytype"),
                (*word).into(),
            ));
        }
    }
    out
}

/// The node's own Python, for roles that install packages for it. The agent needs none.
pub fn python(context: &Context<'_>) -> Option<(String, Value)> {
    let path = "/usr/bin/python3";
    let target = std::fs::read_link(context.path(path)).ok()?;
    let name = target.file_name()?.to_str()?;
    let version = name.strip_prefix("python")?.to_owned();
    let (major, minor) = version.split_once('.')?;
    let (major, minor): (u32, u32) = (major.parse().ok()?, minor.parse().ok()?);
    let about = json!({
        "executable": path, "type": "cpython", "has_sslcontext": true,
        "version": {"major": major, "minor": minor},
        "version_info": [major, minor],
    });
    Some((version, about))
}

/// As `lsb_release` would say.
pub fn lsb(os_release: &str, version: &str) -> Value {
    let field = |name: &str| {
        os_release
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
            .map(|value| value.trim_matches('"').to_owned())
            .unwrap_or_default()
    };
    let mut id = field("ID");
    if let Some(first) = id.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    json!({
        "id": id, "codename": field("VERSION_CODENAME"), "description": field("PRETTY_NAME"),
        "release": version, "major_release": version.split('.').next().unwrap_or_default(),
    })
}

/// Whether AppArmor and the FIPS mode are on.
pub fn security(context: &Context<'_>) -> Vec<(&'static str, Value)> {
    let apparmor = match context.path("/sys/kernel/security/apparmor").is_dir() {
        true => "enabled",
        false => "disabled",
    };
    vec![
        ("apparmor", json!({"status": apparmor})),
        ("selinux", json!({"status": "disabled"})),
        ("selinux_python_present", true.into()),
        (
            "fips",
            (line(context, "/proc/sys/crypto/fips_enabled") == "1").into(),
        ),
    ]
}

/// Of the last 1, 5 and 15 minutes.
pub fn load(text: &str) -> Value {
    let number = |at: usize| -> f64 {
        text.split_whitespace()
            .nth(at)
            .and_then(|word| word.parse().ok())
            .unwrap_or(0.0)
    };
    json!({"1m": number(0), "5m": number(1), "15m": number(2)})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builtin::testing::Bench;

    #[test]
    fn texts_become_facts() {
        let (last, all) = command_line(
            "BOOT_IMAGE=/vmlinuz root=UUID=1 ro console=tty0 console=ttyS0 x=\"a b\"\n",
        );
        let dns = dns(
            "# x\nnameserver 10.0.0.1\nnameserver 10.0.0.2\nsearch a b\noptions timeout:1 rotate\n",
        );
        let lsb = lsb(
            "ID=debian\nVERSION_CODENAME=bookworm\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n",
            "12.9",
        );
        insta::assert_json_snapshot!((last, all, dns, lsb, load("0.10 0.20 0.30 1/2 3\n")));
    }

    #[test]
    fn the_node_is_asked_for_time_and_python() {
        let bench = Bench::new();
        bench.write("/usr/bin/keep", "");
        std::os::unix::fs::symlink("python3.11", bench.path("/usr/bin/python3")).unwrap();
        let (time, python) = bench.context(|context| (date_time(context), python(context)));
        assert_eq!(python.unwrap().1["version"]["minor"], 11);
        let date = time["date"].as_str().unwrap();
        assert!(date.starts_with(time["year"].as_str().unwrap()), "{time}");
        assert!(time["epoch"].as_str().unwrap().parse::<u64>().is_ok());
        assert!(time["iso8601"].as_str().unwrap().ends_with('Z'));
    }
}
