//! `policy-rc.d`, by which packages ask whether they may start their services.
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use crate::context::{Context, Fault};

const POLICY: &str = "/usr/sbin/policy-rc.d";

/// Keeps packages from starting their services as long as it lives.
pub struct Policy {
    path: PathBuf,
    old: Option<PathBuf>,
}

impl Policy {
    pub fn new(context: &Context<'_>, status: i64) -> Result<Self, Fault> {
        let path = context.path(POLICY);
        let io = || Fault::io(format!("write {POLICY}"));
        let mut old = None;
        if path.exists() {
            let aside = path.with_extension(format!("wright-{}", std::process::id()));
            fs::rename(&path, &aside).map_err(io())?;
            old = Some(aside);
        } else if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(io())?;
        }
        let policy = Policy { path, old };
        fs::write(&policy.path, format!("#!/bin/sh\nexit {status}\n")).map_err(io())?;
        fs::set_permissions(&policy.path, fs::Permissions::from_mode(0o755)).map_err(io())?;
        Ok(policy)
    }
}

impl Drop for Policy {
    fn drop(&mut self) {
        let _ = match &self.old {
            Some(old) => fs::rename(old, &self.path),
            None => fs::remove_file(&self.path),
        };
    }
}
