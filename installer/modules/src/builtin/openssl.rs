//! What the modules for keys and certificates share: calls of the `openssl` command, files that come and go.
//!
//! Passphrases go by the environment and keys given as text by standard input: a program's arguments can be
//! read by every user of the node.
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use agent_protocol::task::TaskResult;
use base64::Engine;
use serde_json::{Map, Value};
use sha1::Sha1;
use sha2::{Digest, Sha224, Sha256, Sha384, Sha512};

use super::mysql::given;
use crate::args::Args;
use crate::attributes::Attributes;
use crate::context::{Context, Fault, With, changed};
use crate::process::{Output, Start};
use crate::spec::{Arg, Kind};
use crate::text::openssl_text::{Paper, paper, pem};
use crate::write::{Wish, place};

pub const STATE: Arg = Arg::new("state", Kind::Text, "whether the file is to be there")
    .choices(&["present", "absent"])
    .default("present");
pub const PATH: Arg = Arg::new("path", Kind::Path, "the file").required();
pub const FORCE: Arg =
    Arg::new("force", Kind::Flag, "make it anew whatever is there").default("false");
pub const BACKUP: Arg =
    Arg::new("backup", Kind::Flag, "keep the old file under another name").default("false");
pub const RETURN_CONTENT: Arg = Arg::new(
    "return_content",
    Kind::Flag,
    "give the file's text in the result",
)
.default("false");
pub const BACKEND: Arg = Arg::new(
    "select_crypto_backend",
    Kind::Text,
    "accepted for compatibility: the command openssl does the work",
)
.choices(&["auto", "cryptography", "openssl"])
.default("auto");

/// Where a private key comes from, and the passphrase that opens it.
pub struct PrivateKey<'a> {
    path: Option<&'a str>,
    content: Option<&'a str>,
    passphrase: &'a str,
}

impl<'a> PrivateKey<'a> {
    /// From the arguments `PREFIXprivatekey_path`, `_content` and `_passphrase`.
    pub fn of(args: &'a Args, prefix: &str) -> Option<PrivateKey<'a>> {
        let get = |what: &str| given(args, &format!("{prefix}privatekey_{what}"));
        let key = PrivateKey {
            path: get("path"),
            content: get("content"),
            passphrase: get("passphrase").unwrap_or_default(),
        };
        (key.path.is_some() || key.content.is_some()).then_some(key)
    }

    /// Whether it is not there: an earlier task may be about to make it.
    pub fn is_missing(&self, context: &Context<'_>) -> bool {
        self.content.is_none() && self.path.is_some_and(|path| !context.path(path).exists())
    }

    /// Runs `openssl` with this key in the option `option`.
    pub fn run(
        &self,
        context: &mut Context<'_>,
        words: &[&str],
        option: &str,
    ) -> Result<String, Fault> {
        let file = match self.path {
            Some(path) => context.path(path).display().to_string(),
            None => "/dev/stdin".to_owned(),
        };
        let mut words = words.to_vec();
        words.extend(["-passin", "env:WRIGHT_PASS", option, &file]);
        let stdin = self.content.map(|content| content.as_bytes().to_vec());
        let output = openssl(context, &words, stdin, &[("WRIGHT_PASS", self.passphrase)])?;
        succeeded(&words, output)
    }

    /// Its public half, as PEM.
    pub fn public(&self, context: &mut Context<'_>) -> Result<String, Fault> {
        let text = self.run(context, &["pkey", "-pubout"], "-in")?;
        pem(&text, "PUBLIC KEY").ok_or_else(|| Fault::new("openssl gave no public key"))
    }
}

/// Runs `openssl` to its end, whatever its exit status.
pub fn openssl(
    context: &mut Context<'_>,
    words: &[&str],
    stdin: Option<Vec<u8>>,
    secrets: &[(&str, &str)],
) -> Result<Output, Fault> {
    let environment = context.environment.clone();
    let secrets = secrets
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    context.environment.extend(secrets);
    let output = context.start(Start {
        argv: [&["openssl"], words].concat(),
        stdin: Some(stdin.unwrap_or_default()),
        ..Start::default()
    });
    context.environment = environment;
    output
}

/// The output of a call that had to succeed. What it wrote may be a key: only its complaint is told.
pub fn succeeded(words: &[&str], output: Output) -> Result<String, Fault> {
    if output.rc == 0 {
        return Ok(output.stdout);
    }
    Err(Fault::new(format!(
        "openssl {} failed: {}",
        words.first().unwrap_or(&""),
        complaint(&output.stderr)
    )))
}

/// The lines that say what is wrong, without the addresses of the program's own source.
fn complaint(stderr: &str) -> String {
    let lines: Vec<&str> = stderr
        .lines()
        .filter(|line| !line.starts_with("Using configuration"))
        .map(|line| match line.splitn(6, ':').collect::<Vec<_>>()[..] {
            [_, "error", _, _, _, reason] => reason.split(":../").next().unwrap_or(reason),
            _ => line,
        })
        .collect();
    lines.join("; ")
}

/// A request or certificate in a file or a text; the word is openssl's command for it.
pub fn read_paper(context: &mut Context<'_>, command: &str, text: &str) -> Result<Paper, Fault> {
    let mut words = vec![
        command,
        "-noout",
        "-text",
        "-pubkey",
        "-nameopt",
        "oneline,-esc_msb",
    ];
    if command == "x509" {
        words.extend(["-dates", "-dateopt", "iso_8601"]);
    }
    let output = openssl(context, &words, Some(text.as_bytes().to_vec()), &[])?;
    Ok(paper(&succeeded(&words, output)?))
}

/// The text of `NAME_path` or `NAME_content`; `None` if neither is given or the file is not there.
pub fn content(context: &Context<'_>, args: &Args, name: &str) -> Result<Option<String>, Fault> {
    if let Some(content) = given(args, &format!("{name}_content")) {
        return Ok(Some(content.to_owned()));
    }
    match given(args, &format!("{name}_path")) {
        Some(path) => read(context, path),
        None => Ok(None),
    }
}

/// A file's text; `None` if it is not there. What is no text is read as far as it goes.
pub fn read(context: &Context<'_>, path: &str) -> Result<Option<String>, Fault> {
    match fs::read(context.path(path)) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Fault::Io {
            what: format!("read {path}"),
            source,
        }),
    }
}

/// Writes the file and gives the result without the traces of its text that [`place`] leaves.
pub fn write(
    context: &mut Context<'_>,
    args: &Args,
    content: &str,
    attributes: Attributes,
) -> Result<TaskResult, Fault> {
    let diff = std::mem::replace(&mut context.diff, false);
    let result = place(
        context,
        Wish {
            dest: args.need("path"),
            content: content.as_bytes(),
            attributes,
            validate: None,
            backup: args.flag("backup"),
        },
    );
    context.diff = diff;
    let mut result = result?;
    result.data.remove("checksum");
    result.data.remove("dest");
    Ok(result)
}

/// Sees to mode and owner of a file that stays as it is.
pub fn keep(
    context: &Context<'_>,
    args: &Args,
    attributes: &Attributes,
) -> Result<TaskResult, Fault> {
    let path = context.path(args.need("path"));
    Ok(changed(path.exists() && attributes.apply(context, &path)?))
}

/// Removes the file.
pub fn remove(context: &mut Context<'_>, args: &Args) -> Result<TaskResult, Fault> {
    let path = context.path(args.need("path"));
    let there = path.exists();
    let mut result = changed(there).with("filename", args.need("path"));
    if there && !context.check {
        if args.flag("backup") {
            let backup = crate::write::backup(&path).map_err(Fault::io("keep a copy"))?;
            result = result.with("backup_file", backup.display().to_string());
        }
        fs::remove_file(&path).map_err(Fault::io(format!("remove {}", args.need("path"))))?;
    }
    if there {
        result.diff = context.diff_of(args.need("path"), "present\n", "absent\n");
    }
    Ok(result)
}

/// Fingerprints of a public key.
pub fn fingerprints(public: &str) -> Value {
    let body: String = public
        .lines()
        .filter(|line| !line.starts_with("-----"))
        .collect();
    let der = base64::engine::general_purpose::STANDARD
        .decode(body)
        .unwrap_or_default();
    let show = |digest: &[u8]| {
        let pairs: Vec<String> = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        Value::from(pairs.join(":"))
    };
    Value::Object(Map::from_iter([
        ("sha1".to_owned(), show(&Sha1::digest(&der))),
        ("sha224".to_owned(), show(&Sha224::digest(&der))),
        ("sha256".to_owned(), show(&Sha256::digest(&der))),
        ("sha384".to_owned(), show(&Sha384::digest(&der))),
        ("sha512".to_owned(), show(&Sha512::digest(&der))),
    ]))
}

/// A digest's name for an option.
pub fn digest<'a>(args: &'a Args, name: &str) -> Result<&'a str, Fault> {
    let digest = args.need(name);
    if digest.is_empty()
        || !digest
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '-')
    {
        return Err(Fault::new(format!("{name} `{digest}` is no digest")));
    }
    Ok(digest)
}

/// A folder for files that openssl wants as files; only we can enter, and it goes with this value.
pub struct Scratch(PathBuf);

impl Scratch {
    pub fn new() -> Result<Scratch, Fault> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "wright-openssl-{}-{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        let path = std::env::temp_dir().join(name);
        // Left over from a run that was killed. A folder of somebody else's is not taken: making ours fails.
        let _ = fs::remove_dir_all(&path);
        fs::DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .map_err(Fault::io(format!("make {}", path.display())))?;
        Ok(Scratch(path))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file and gives its path.
    pub fn file(&self, name: &str, content: &str) -> Result<String, Fault> {
        let path = self.0.join(name);
        fs::write(&path, content).map_err(Fault::io(format!("write {}", path.display())))?;
        Ok(path.display().to_string())
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
