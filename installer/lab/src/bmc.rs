//! BMCs of the machines: one `ipmi_sim` (OpenIPMI) each, whose chassis control calls `wright` back. Texts and the
//! reading of its calls are pure; starting it is the only effect here.
use std::{
    fs::{self, OpenOptions},
    os::unix::{
        fs::{OpenOptionsExt, PermissionsExt},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::Stdio,
};

use crate::{
    error::{At, LabError},
    machine::Power,
    network,
    process::Record,
    spec::Bmc,
};

/// IPMI 1.5 passwords have at most 16 bytes (IPMI 2.0 specification, table 22-30).
const PASSWORD_BYTES: usize = 16;
/// One management controller with a chassis; nothing else is asked of it.
const CONTROLLER: &str = "mc_setbmc 0x20\nmc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02 persist_sdr\nsel_enable 0x20 1000 0x0a\nmc_enable 0x20\n";

/// The part of a longer secret that a BMC takes as its password.
pub fn bmc_password(secret: &str) -> &str {
    secret.get(..PASSWORD_BYTES).unwrap_or(secret)
}

/// What a BMC asks of its machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Request {
    /// Names to answer, of `power` and `boot`.
    Get(Vec<String>),
    /// What to do, in this order.
    Set(Vec<Power>),
}

impl Request {
    /// Reads what ipmi_sim calls its script with, behind the controller's address: `get power` or
    /// `set power 1 boot pxe` (ipmi_lan(5), `chassis_control`).
    pub fn parse(words: &[String]) -> Result<Self, LabError> {
        let unknown = || LabError::BmcRequest(words.join(" "));
        let (verb, rest) = words.split_first().ok_or_else(unknown)?;
        match verb.as_str() {
            "get" => Ok(Self::Get(rest.to_vec())),
            "set" => {
                let mut powers = Vec::new();
                for pair in rest.chunks(2) {
                    match pair {
                        [name, value] if name == "power" => {
                            powers.push(if value == "1" { Power::On } else { Power::Off })
                        }
                        [name, _] if name == "reset" => powers.push(Power::Reset),
                        // A machine boots its disk, and the network while that is blank: there is nothing to set.
                        [name, _] if ["boot", "identify"].contains(&name.as_str()) => {}
                        [name, _] if name == "shutdown" => powers.push(Power::Off),
                        _ => return Err(unknown()),
                    }
                }
                Ok(Self::Set(powers))
            }
            _ => Err(unknown()),
        }
    }
}

/// The answer to [`Request::Get`].
pub(crate) fn answer(names: &[String], is_on: bool) -> String {
    let line = |name: &String| match name.as_str() {
        "power" => format!("power:{}\n", u8::from(is_on)),
        "boot" => "boot:none\n".to_owned(),
        other => format!("{other}:0\n"),
    };
    names.iter().map(line).collect()
}

/// Where a BMC's files lie, and what it calls.
pub(crate) struct Simulator<'a> {
    pub env: &'a str,
    pub machine: &'a str,
    pub bmc: &'a Bmc,
    pub password: &'a str,
    /// Program and arguments; the request is added.
    pub callback: &'a [String],
    pub folder: PathBuf,
}

impl Simulator<'_> {
    pub fn record(&self) -> Option<Record> {
        Record::running(&self.record_file())
    }

    fn record_file(&self) -> PathBuf {
        self.folder.join("bmc.json")
    }

    /// Starts it unless it runs.
    ///
    /// # Errors
    /// When files cannot be written or the program cannot be started.
    pub fn start(&self) -> Result<(), LabError> {
        if self.record().is_some() {
            return Ok(());
        }
        let state = self.folder.join("bmc-state");
        fs::create_dir_all(&state).at("make", &state)?;
        fs::set_permissions(&self.folder, fs::Permissions::from_mode(0o700))
            .at("set the mode of", &self.folder)?;
        let (config, commands) = (self.folder.join("bmc.conf"), self.folder.join("bmc.emu"));
        write_private(&config, &self.config())?;
        write_private(&commands, CONTROLLER)?;
        let log = self.folder.join("bmc.log");
        let output = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(&log)
            .at("open", &log)?;
        let mut command = network::inside(self.env, "ipmi_sim");
        command
            .arg("-c")
            .arg(&config)
            .arg("-f")
            .arg(&commands)
            .arg("-s")
            .arg(&state)
            .arg("-n");
        // Its own group: Ctrl-C at the terminal is not meant for it.
        command
            .process_group(0)
            .stdin(Stdio::null())
            .stderr(output.try_clone().at("open", &log)?)
            .stdout(output);
        let child = command.spawn().at("run", Path::new("ipmi_sim"))?;
        let record = i32::try_from(child.id()).ok().and_then(Record::of);
        let ended = || LabError::Start {
            machine: format!("BMC of {}", self.machine),
            said: "it ended at once".into(),
        };
        record.ok_or_else(ended)?.save(&self.record_file())
    }

    /// ipmi_lan(5).
    fn config(&self) -> String {
        let callback: Vec<String> = self
            .callback
            .iter()
            .map(|word| word.replace('"', ""))
            .collect();
        format!(
            "name \"{name}\"\nset_working_mc 0x20\n startlan 1\n  addr {address} {port}\n  priv_limit admin\n  \
             allowed_auths_callback none md5\n  allowed_auths_user md5\n  allowed_auths_operator md5\n  \
             allowed_auths_admin md5\n  guid {guid}\n endlan\n chassis_control \"{callback}\"\n \
             user 1 false \"\" \"\" user 10 none\n user 2 true \"{user}\" \"{password}\" admin 10 md5\n",
            name = self.machine,
            address = self.bmc.address,
            port = self.bmc.port,
            guid = guid(self.machine),
            callback = callback.join(" "),
            user = self.bmc.user,
            password = self.password,
        )
    }
}

/// 32 hex digits that are the machine's own.
fn guid(machine: &str) -> String {
    use sha2::{Digest, Sha256};
    let mut text = hex::encode(Sha256::digest(machine));
    text.truncate(32);
    text
}

fn write_private(path: &Path, text: &str) -> Result<(), LabError> {
    use std::io::Write;
    let file = OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .mode(0o600)
        .open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes()))
        .at("write", path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn requests_are_read() {
        assert_eq!(
            Request::parse(&words("get power boot")).unwrap(),
            Request::Get(words("power boot"))
        );
        assert_eq!(
            Request::parse(&words("set power 1")).unwrap(),
            Request::Set(vec![Power::On])
        );
        assert_eq!(
            Request::parse(&words("set boot pxe reset 1")).unwrap(),
            Request::Set(vec![Power::Reset])
        );
        for bad in ["", "set power", "stop", "set fan 3"] {
            assert!(Request::parse(&words(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn answers_have_a_line_each() {
        assert_eq!(answer(&words("power boot"), true), "power:1\nboot:none\n");
    }

    #[test]
    fn the_configuration_names_address_user_and_callback() {
        let bmc = Bmc {
            address: [10, 20, 5, 11].into(),
            port: 623,
            user: "admin".into(),
        };
        let simulator = Simulator {
            env: "lab",
            machine: "node-1",
            bmc: &bmc,
            password: "a-password",
            callback: &[
                "/bin/wright".into(),
                "lab".into(),
                "bmc".into(),
                "node-1".into(),
            ],
            folder: PathBuf::new(),
        };
        insta::assert_snapshot!(simulator.config());
    }
}
