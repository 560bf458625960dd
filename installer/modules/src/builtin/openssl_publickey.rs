//! `openssl_publickey`: the public half of a private key, in a file of its own.
use agent_protocol::task::TaskResult;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::openssl::{
    BACKEND, BACKUP, FORCE, PATH, PrivateKey, RETURN_CONTENT, STATE, Scratch, fingerprints, read,
    remove, write,
};
use crate::args::Args;
use crate::attributes::Attributes;
use crate::context::{Context, Fault, With, changed};
use crate::spec::{Arg, Effect, Kind, Module};

pub const OPENSSL_PUBLICKEY: Module = Module::new(
    "openssl_publickey",
    "Write the public half of a private key",
    Effect::Converges,
    ARGS,
    run,
)
.file_args()
.exclusive(&[&["privatekey_path", "privatekey_content"]]);

const ARGS: &[Arg] = &[
    PATH,
    STATE,
    FORCE,
    Arg::new("format", Kind::Text, "how it is written")
        .choices(&["PEM", "OpenSSH"])
        .default("PEM"),
    Arg::new("privatekey_path", Kind::Path, "the private key"),
    Arg::new("privatekey_content", Kind::Text, "the private key itself"),
    Arg::new("privatekey_passphrase", Kind::Text, "what opens it"),
    BACKUP,
    RETURN_CONTENT,
    BACKEND,
];

/// How the structure around an Ed25519 key begins.
const ED25519: &[u8] = &[
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];

fn run(context: &mut Context<'_>, args: &Args) -> Result<TaskResult, Fault> {
    if args.need("state") == "absent" {
        return remove(context, args);
    }
    let key = PrivateKey::of(args, "").ok_or_else(|| {
        Fault::new("privatekey_path or privatekey_content is required with state=present")
    })?;
    let path = args.need("path");
    if context.check && key.is_missing(context) {
        return Ok(TaskResult {
            msg: "the private key is not there yet".into(),
            ..changed(true).with("filename", path)
        });
    }
    let public = key.public(context)?;
    let text = match args.need("format") {
        "PEM" => public.clone(),
        _ => openssh(context, &public)?,
    };
    let attributes = Attributes::of(context, args)?;
    let old = read(context, path)?;
    let mut result = write(context, args, &text, attributes)?;
    if args.flag("force") && !result.changed {
        result.changed = true;
    }
    result.diff = context.diff_of(path, &old.unwrap_or_default(), &text);
    if args.flag("return_content") {
        result = result.with("publickey", text);
    }
    if let Some(private) = args.text("privatekey_path") {
        result = result.with("privatekey", private);
    }
    Ok(result
        .with("filename", path)
        .with("format", args.need("format"))
        .with("fingerprint", fingerprints(&public)))
}

/// One line for `authorized_keys`.
fn openssh(context: &mut Context<'_>, public: &str) -> Result<String, Fault> {
    let body: String = public
        .lines()
        .filter(|line| !line.starts_with("-----"))
        .collect();
    if let Ok(der) = STANDARD.decode(body)
        && let Some(point) = der.strip_prefix(ED25519)
    {
        // The one kind that ssh-keygen does not read.
        let mut blob = vec![0, 0, 0, 11];
        blob.extend(b"ssh-ed25519");
        blob.extend([0, 0, 0, 32]);
        blob.extend(point);
        return Ok(format!("ssh-ed25519 {}\n", STANDARD.encode(blob)));
    }
    let scratch = Scratch::new()?;
    let file = scratch.file("public.pem", public)?;
    context.must(&["ssh-keygen", "-i", "-m", "PKCS8", "-f", &file])
}
