//! A package that comes as a file or from an address of its own.
use std::fs;
use std::path::PathBuf;

use crate::args::Args;
use crate::context::{Context, Fault};
use crate::http;
use crate::text::dpkg::Packages;

const DEB_BYTES_MAX: u64 = 1 << 30;

/// A package's file; one that was fetched goes with this value.
pub struct Deb {
    pub path: PathBuf,
    fetched: bool,
}

impl Drop for Deb {
    fn drop(&mut self) {
        if self.fetched {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// The package's file on the node, if what is in it is not installed yet.
pub fn fetch_deb(
    context: &mut Context<'_>,
    args: &Args,
    deb: &str,
    packages: &Packages<'_>,
) -> Result<Option<Deb>, Fault> {
    let file = match deb.starts_with("http://") || deb.starts_with("https://") {
        true => {
            let folder = context.path("/tmp");
            // apt knows a package's file by the end of its name; nobody else can write one of ours.
            let path = folder.join(format!("wright-{}.deb", std::process::id()));
            let io = || Fault::io("write the package");
            let _ = fs::remove_file(&path);
            let mut file = fs::OpenOptions::new()
                .write(true)
                .create_new(true)
                .open(&path)
                .map_err(io())?;
            let fetched = Deb {
                path,
                fetched: true,
            };
            http::fetch_into(context, args, deb, &mut file, DEB_BYTES_MAX)?;
            fetched
        }
        false => Deb {
            path: context.path(deb),
            fetched: false,
        },
    };
    if !file.path.exists() && context.check {
        // An earlier task may be about to put it there.
        return Ok(Some(file));
    }
    let path = file.path.display().to_string();
    let fields = context.must(&[
        "dpkg-deb",
        "--field",
        &path,
        "Package",
        "Version",
        "Architecture",
    ])?;
    let field = |name: &str| {
        fields
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
            .unwrap_or_default()
    };
    let now = packages
        .version(&format!("{}:{}", field("Package"), field("Architecture")))
        .or_else(|| packages.version(field("Package")));
    Ok((now != Some(field("Version"))).then_some(file))
}
