//! The `wright-agent` that nodes run: the ramdisk has no libraries, so only a static build will do. Beside a
//! `wright` that cargo built lies a dynamic one for tests, which no node can run.
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// The agent's name.
const NAME: &str = "wright-agent";
/// From the folder of a `wright` that cargo built to where `cargo xtask` builds the static agent.
const BUILT: &str = "../../agent/x86_64-unknown-linux-gnu/agent/wright-agent";

/// The ELF header with all that is looked at, and room for any sane number of program headers.
const LOOKED_AT: u64 = 64 << 10;
const MAGIC: &[u8] = b"\x7fELF";
/// 64 bits, little endian.
const CLASS: &[u8] = &[2, 1];
const MACHINE_X86_64: u64 = 62;
/// The program header that names the dynamic linker (System V ABI, "Program Loading").
const PT_INTERP: u64 = 3;

/// Why there is no agent to put on nodes.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    #[error("there is no agent at {}", list(.0))]
    Absent(Vec<PathBuf>),
    #[error("the agent {path} cannot be read: {source}")]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("the agent {path} runs on no node: {reason}")]
    Unfit { path: PathBuf, reason: String },
}

fn list(paths: &[PathBuf]) -> String {
    let shown: Vec<String> = paths
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    shown.join(", nor at ")
}

/// The static agent: `named` if a name is given, else the first fit one of those that belong to `program`.
///
/// # Errors
/// When none is there, or none can run on a node; then what is wrong with the nearest.
pub fn find(named: Option<PathBuf>, program: &Path) -> Result<PathBuf, AgentError> {
    let candidates = match named {
        Some(path) => vec![path],
        None => {
            let folder = program.parent().unwrap_or(Path::new("."));
            vec![folder.join(NAME), folder.join(BUILT)]
        }
    };
    let mut nearest = None;
    for path in &candidates {
        if !path.is_file() {
            continue;
        }
        match check(path) {
            Ok(()) => return Ok(path.clone()),
            Err(error) => nearest = nearest.or(Some(error)),
        }
    }
    Err(nearest.unwrap_or(AgentError::Absent(candidates)))
}

fn check(path: &Path) -> Result<(), AgentError> {
    let mut start = Vec::new();
    File::open(path)
        .and_then(|file| file.take(LOOKED_AT).read_to_end(&mut start))
        .map_err(|source| AgentError::Read {
            path: path.to_owned(),
            source,
        })?;
    unfit(&start).map_or(Ok(()), |reason| {
        Err(AgentError::Unfit {
            path: path.to_owned(),
            reason,
        })
    })
}

/// Why a program that begins with these bytes does not run on a node without libraries; `None` if it does.
fn unfit(start: &[u8]) -> Option<String> {
    let number = |at: usize, length: usize| {
        let bytes = start.get(at..at.checked_add(length)?)?;
        Some(
            bytes
                .iter()
                .rev()
                .fold(0, |sum, byte| (sum << 8) | u64::from(*byte)),
        )
    };
    let program = || {
        if !start.starts_with(MAGIC)
            || start.get(4..6)? != CLASS
            || number(18, 2)? != MACHINE_X86_64
        {
            return Some("it is no program for x86-64".to_owned());
        }
        let (table, size, count) = (number(32, 8)?, number(54, 2)?, number(56, 2)?);
        for index in 0..count {
            let header = usize::try_from(table.checked_add(index * size)?).ok()?;
            if number(header, 4)? == PT_INTERP {
                let at = usize::try_from(number(header.checked_add(8)?, 8)?).ok()?;
                let path = start.get(at..)?.split(|byte| *byte == 0).next()?;
                let linker = String::from_utf8_lossy(path.get(..path.len().min(100))?);
                return Some(format!(
                    "it is linked dynamically (it asks for {linker}), and nodes boot without libraries"
                ));
            }
        }
        Some(String::new())
    };
    match program() {
        None => Some("its header is damaged".to_owned()),
        Some(reason) if reason.is_empty() => None,
        Some(reason) => Some(reason),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use proptest::prelude::*;

    use super::*;

    /// A program with one program header of this kind.
    fn elf(kind: u8) -> Vec<u8> {
        let mut bytes = vec![0; 64 + 56];
        bytes[..4].copy_from_slice(MAGIC);
        bytes[4..6].copy_from_slice(CLASS);
        (bytes[18], bytes[32], bytes[54], bytes[56]) = (62, 64, 56, 1);
        (bytes[64], bytes[72]) = (kind, 120);
        bytes.extend(b"/lib64/ld-linux-x86-64.so.2\0");
        bytes
    }

    #[test]
    fn the_static_agent_is_taken_and_the_dynamic_one_beside_is_not() {
        let scratch = tempfile::tempdir().unwrap();
        let program = scratch.path().join("target/debug/wright");
        let beside = program.with_file_name(NAME);
        let built = scratch
            .path()
            .join("agent/x86_64-unknown-linux-gnu/agent/wright-agent");
        for path in [&beside, &built] {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
        }
        let told = find(None, &program).unwrap_err().to_string();
        assert!(
            told.starts_with("there is no agent at ") && told.contains("nor at"),
            "{told}"
        );

        fs::write(&beside, elf(3)).unwrap();
        let told = find(None, &program).unwrap_err().to_string();
        assert!(
            told.ends_with("it is linked dynamically (it asks for /lib64/ld-linux-x86-64.so.2), and nodes boot without libraries"),
            "{told}"
        );
        fs::write(&built, elf(1)).unwrap();
        let found = find(None, &program).unwrap().canonicalize().unwrap();
        assert_eq!(found, built.canonicalize().unwrap());
        assert!(
            find(Some(beside.clone()), &program).is_err(),
            "what is named is not replaced"
        );
        fs::write(&beside, elf(1)).unwrap();
        assert_eq!(find(None, &program).unwrap(), beside);
        fs::write(&beside, "#!/bin/sh\n").unwrap();
        let told = find(Some(beside), &program).unwrap_err().to_string();
        assert!(told.ends_with("it is no program for x86-64"), "{told}");
    }

    #[test]
    fn this_test_itself_is_dynamic() {
        let own = std::env::current_exe().unwrap();
        assert!(
            check(&own)
                .unwrap_err()
                .to_string()
                .contains("linked dynamically")
        );
    }

    proptest! {
        #[test]
        fn no_file_makes_it_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..300), is_elf in any::<bool>()) {
            if is_elf && bytes.len() > 20 {
                bytes[..4].copy_from_slice(MAGIC);
                bytes[4..6].copy_from_slice(CLASS);
                (bytes[18], bytes[19]) = (62, 0);
            }
            let _ = unfit(&bytes);
        }
    }
}
