//! `openssl_privatekey`: a private key in a file of mode 0600, kept as long as it fits.
use agent_protocol::task::TaskResult;

use super::mysql::given;
use super::openssl::{
    BACKEND, BACKUP, FORCE, PATH, RETURN_CONTENT, STATE, fingerprints, keep, openssl, read, remove,
    succeeded, write,
};
use crate::args::Args;
use crate::attributes::Attributes;
use crate::context::{Context, Fault, With};
use crate::spec::{Arg, Effect, Kind, Module};
use crate::text::openssl_text::{Key, key, pem};

pub const OPENSSL_PRIVATEKEY: Module = Module::new(
    "openssl_privatekey",
    "Make a private key",
    Effect::Converges,
    ARGS,
    run,
)
.file_args()
.secret_if("return_content");

const ARGS: &[Arg] = &[
    PATH,
    STATE,
    FORCE,
    Arg::new("size", Kind::Int, "bits of an RSA or DSA key").default("4096"),
    Arg::new("type", Kind::Text, "algorithm")
        .choices(&["RSA", "DSA", "ECC", "Ed25519", "Ed448", "X25519", "X448"])
        .default("RSA"),
    Arg::new("curve", Kind::Text, "curve of an ECC key").choices(&[
        "secp224r1",
        "secp256k1",
        "secp256r1",
        "secp384r1",
        "secp521r1",
        "secp192r1",
        "brainpoolP256r1",
        "brainpoolP384r1",
        "brainpoolP512r1",
        "sect163k1",
        "sect163r2",
        "sect233k1",
        "sect233r1",
        "sect283k1",
        "sect283r1",
        "sect409k1",
        "sect409r1",
        "sect571k1",
        "sect571r1",
    ]),
    Arg::new("passphrase", Kind::Text, "what opens the file"),
    Arg::new("cipher", Kind::Text, "how a passphrase closes it").default("auto"),
    Arg::new("format", Kind::Text, "how it is written")
        .choices(&["pkcs1", "pkcs8", "auto", "auto_ignore"])
        .default("auto_ignore"),
    Arg::new(
        "format_mismatch",
        Kind::Text,
        "what becomes of a key of another format",
    )
    .choices(&["regenerate", "convert"])
    .default("regenerate"),
    Arg::new("regenerate", Kind::Text, "when a new key is made")
        .choices(&[
            "never",
            "fail",
            "partial_idempotence",
            "full_idempotence",
            "always",
        ])
        .default("full_idempotence"),
    BACKUP,
    RETURN_CONTENT,
    BACKEND,
];

/// What is to become of the file.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Verdict {
    Keep,
    Convert,
    Make,
}

fn run(context: &mut Context<'_>, args: &Args) -> Result<TaskResult, Fault> {
    if args.need("state") == "absent" {
        return remove(context, args);
    }
    let kind = args.need("type");
    if kind == "ECC" && args.text("curve").is_none() {
        return Err(Fault::new("type=ECC needs curve, for example secp384r1"));
    }
    let attributes = Attributes::of(context, args)?.or_mode("0600");
    let path = args.need("path");
    let old = read(context, path)?;
    let (now, verdict) = match &old {
        None => (None, Verdict::Make),
        Some(text) => {
            let now = look(context, args, text)?;
            let verdict =
                judge(args, text, now.as_ref().map(|(key, _)| key)).map_err(Fault::new)?;
            (now, verdict)
        }
    };
    let mut public = now.as_ref().map(|(_, public)| public.clone());
    let mut content = old;
    let mut result = match verdict {
        Verdict::Keep => keep(context, args, &attributes)?,
        _ if context.check => crate::context::changed(true),
        verdict => {
            let made = if verdict == Verdict::Make {
                generate(context, args)?
            } else {
                let (text, secret) = (content.unwrap_or_default(), passphrase(args));
                let words = ["pkey", "-passin", "env:WRIGHT_PASS"];
                let output = openssl(
                    context,
                    &words,
                    Some(text.into()),
                    &[("WRIGHT_PASS", secret)],
                )?;
                succeeded(&words, output)?
            };
            let text = encode(context, args, &made)?;
            public = look(context, args, &text)?.map(|(_, public)| public);
            let result = write(context, args, &text, attributes)?;
            content = Some(text);
            result
        }
    };
    let before = now
        .as_ref()
        .map(|(key, public)| describe(key, Some(public)))
        .unwrap_or_default();
    let wished = Key {
        kind: KINDS
            .iter()
            .copied()
            .find(|known| *known == kind)
            .unwrap_or("RSA"),
        bits: args.int("size").unwrap_or(4096),
        curve: args
            .text("curve")
            .filter(|_| kind == "ECC")
            .map(|curve| openssl_curve(curve).to_owned()),
    };
    let after = match (&now, &verdict) {
        (Some((key, public)), Verdict::Keep | Verdict::Convert) => {
            describe(key, Some(public))
                + if verdict == Verdict::Convert {
                    "in another format\n"
                } else {
                    ""
                }
        }
        _ => describe(&wished, public.as_ref().filter(|_| !context.check)),
    };
    result.diff = context.diff_of(path, &before, &after);
    if let Some(public) = &public
        && (verdict != Verdict::Make || !context.check)
    {
        result = result.with("fingerprint", fingerprints(public));
    }
    if args.flag("return_content")
        && let Some(content) = content.filter(|_| verdict == Verdict::Keep || !context.check)
    {
        result = result.with("privatekey", content);
    }
    if let Some(curve) = args.text("curve").filter(|_| kind == "ECC") {
        result = result.with("curve", curve);
    }
    Ok(result
        .with("filename", path)
        .with("type", kind)
        .with("size", args.int("size").unwrap_or(4096)))
}

const KINDS: &[&str] = &["RSA", "DSA", "ECC", "Ed25519", "Ed448", "X25519", "X448"];

fn describe(key: &Key, public: Option<&String>) -> String {
    let length = match (&key.curve, key.kind) {
        (Some(curve), _) => format!(" on {curve}"),
        (None, "RSA" | "DSA") => format!(" of {} bits", key.bits),
        _ => String::new(),
    };
    let fingerprint = public
        .and_then(|public| {
            fingerprints(public)["sha256"]
                .as_str()
                .map(|hex| format!("sha256 {hex}\n"))
        })
        .unwrap_or_else(|| "a new key\n".into());
    format!("{}{length}\n{fingerprint}", key.kind)
}

fn passphrase(args: &Args) -> &str {
    given(args, "passphrase").unwrap_or_default()
}

/// Kind and public half of a key that the passphrase opens; `None` if it does not.
fn look(
    context: &mut Context<'_>,
    args: &Args,
    text: &str,
) -> Result<Option<(Key, String)>, Fault> {
    let words = ["pkey", "-pubout", "-text_pub", "-passin", "env:WRIGHT_PASS"];
    let stdin = Some(text.as_bytes().to_vec());
    let output = openssl(context, &words, stdin, &[("WRIGHT_PASS", passphrase(args))])?;
    Ok(key(&output.stdout).zip(pem(&output.stdout, "PUBLIC KEY")))
}

/// Ansible's rules of when a key that is there stays.
fn judge(args: &Args, text: &str, now: Option<&Key>) -> Result<Verdict, String> {
    let rule = args.need("regenerate");
    if args.flag("force") || rule == "always" {
        return Ok(Verdict::Make);
    }
    let path = args.need("path");
    let closed = text.contains("ENCRYPTED");
    let Some(now) = now.filter(|_| closed || passphrase(args).is_empty()) else {
        return match rule {
            "full_idempotence" => Ok(Verdict::Make),
            _ => Err(format!(
                "the key in {path} cannot be read with this passphrase; to have a new one set regenerate: full_idempotence"
            )),
        };
    };
    let kind = args.need("type");
    let fits = now.kind == kind
        && (!["RSA", "DSA"].contains(&kind) || args.int("size") == Some(now.bits))
        && (kind != "ECC" || now.curve.as_deref() == args.text("curve").map(openssl_curve));
    let has = if text.contains("BEGIN PRIVATE KEY") || text.contains("BEGIN ENCRYPTED PRIVATE KEY")
    {
        "pkcs8"
    } else {
        "pkcs1"
    };
    let formatted = args.need("format") == "auto_ignore" || has == format(args);
    match (fits && formatted, rule) {
        (true, _) | (_, "never") => Ok(Verdict::Keep),
        (_, "fail") => Err(format!(
            "the key in {path} is {}, not what was asked for; to have a new one set regenerate: full_idempotence",
            now.kind
        )),
        _ if fits && args.need("format_mismatch") == "convert" => Ok(Verdict::Convert),
        _ => Ok(Verdict::Make),
    }
}

/// `pkcs1` for keys that have such a format, unless the task says otherwise.
fn format(args: &Args) -> &str {
    match args.need("format") {
        "auto" | "auto_ignore" if ["RSA", "DSA", "ECC"].contains(&args.need("type")) => "pkcs1",
        "auto" | "auto_ignore" => "pkcs8",
        format => format,
    }
}

/// A new key, not yet closed by a passphrase.
fn generate(context: &mut Context<'_>, args: &Args) -> Result<String, Fault> {
    let size = args.int("size").unwrap_or(4096);
    let call = |context: &mut Context<'_>, words: &[&str], stdin: Option<Vec<u8>>| {
        let output = openssl(context, words, stdin, &[])?;
        succeeded(words, output)
    };
    match args.need("type") {
        "RSA" => {
            let bits = format!("rsa_keygen_bits:{size}");
            call(
                context,
                &["genpkey", "-quiet", "-algorithm", "RSA", "-pkeyopt", &bits],
                None,
            )
        }
        "DSA" => {
            let bits = format!("dsa_paramgen_bits:{size}");
            let words = [
                "genpkey",
                "-quiet",
                "-genparam",
                "-algorithm",
                "DSA",
                "-pkeyopt",
                &bits,
            ];
            let parameters = call(context, &words, None)?;
            call(
                context,
                &["genpkey", "-quiet", "-paramfile", "/dev/stdin"],
                Some(parameters.into()),
            )
        }
        "ECC" => {
            let curve = format!("ec_paramgen_curve:{}", openssl_curve(args.need("curve")));
            let named = "ec_param_enc:named_curve";
            let words = [
                "genpkey",
                "-quiet",
                "-algorithm",
                "EC",
                "-pkeyopt",
                &curve,
                "-pkeyopt",
                named,
            ];
            call(context, &words, None)
        }
        kind => call(
            context,
            &["genpkey", "-quiet", "-algorithm", &kind.to_uppercase()],
            None,
        ),
    }
}

/// The key in the wished format, closed by the passphrase if there is one.
fn encode(context: &mut Context<'_>, args: &Args, key: &str) -> Result<String, Fault> {
    let mut words = vec!["pkey"];
    if format(args) == "pkcs1" {
        words.push("-traditional");
    }
    let secret = passphrase(args);
    let cipher = match args.need("cipher") {
        "auto" => "-aes-256-cbc".to_owned(),
        cipher
            if cipher
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || c == '-') =>
        {
            format!("-{cipher}")
        }
        cipher => return Err(Fault::new(format!("`{cipher}` is no cipher"))),
    };
    if !secret.is_empty() {
        words.extend([cipher.as_str(), "-passout", "env:WRIGHT_PASS"]);
    }
    let output = openssl(
        context,
        &words,
        Some(key.into()),
        &[("WRIGHT_PASS", secret)],
    )?;
    succeeded(&words, output)
}

/// OpenSSL has older names for two curves.
fn openssl_curve(curve: &str) -> &str {
    match curve {
        "secp256r1" => "prime256v1",
        "secp192r1" => "prime192v1",
        curve => curve,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn verdict(more: Value, text: &str, now: Option<Key>) -> Result<Verdict, String> {
        let mut args = json!({"path": "/k"}).as_object().unwrap().clone();
        args.extend(more.as_object().unwrap().clone());
        judge(
            &OPENSSL_PRIVATEKEY.check(&args).unwrap(),
            text,
            now.as_ref(),
        )
    }

    #[test]
    fn keys_stay_by_ansibles_rules() {
        let rsa = |bits| {
            Some(Key {
                kind: "RSA",
                bits,
                curve: None,
            })
        };
        let (plain, closed) = (
            "-----BEGIN RSA PRIVATE KEY-----",
            "-----BEGIN ENCRYPTED PRIVATE KEY-----",
        );
        assert_eq!(verdict(json!({}), plain, rsa(4096)), Ok(Verdict::Keep));
        assert_eq!(
            verdict(json!({"force": true}), plain, rsa(4096)),
            Ok(Verdict::Make)
        );
        assert_eq!(verdict(json!({}), plain, rsa(2048)), Ok(Verdict::Make));
        assert_eq!(
            verdict(json!({"regenerate": "never"}), plain, rsa(2048)),
            Ok(Verdict::Keep)
        );
        assert!(verdict(json!({"regenerate": "fail"}), plain, rsa(2048)).is_err());
        assert_eq!(
            verdict(json!({"type": "Ed25519"}), plain, rsa(4096)),
            Ok(Verdict::Make)
        );
        // A key that cannot be read, or that lacks the passphrase.
        assert_eq!(verdict(json!({}), closed, None), Ok(Verdict::Make));
        assert_eq!(
            verdict(json!({"passphrase": "x"}), plain, rsa(4096)),
            Ok(Verdict::Make)
        );
        for rule in ["never", "fail", "partial_idempotence"] {
            assert!(
                verdict(
                    json!({"regenerate": rule, "passphrase": "x"}),
                    plain,
                    rsa(4096)
                )
                .is_err(),
                "{rule}"
            );
        }
        // Another format.
        assert_eq!(
            verdict(json!({"format": "pkcs8"}), plain, rsa(4096)),
            Ok(Verdict::Make)
        );
        let convert = json!({"format": "pkcs8", "format_mismatch": "convert"});
        assert_eq!(verdict(convert, plain, rsa(4096)), Ok(Verdict::Convert));
        assert_eq!(
            verdict(
                json!({"format": "auto", "passphrase": "x"}),
                closed,
                rsa(4096)
            ),
            Ok(Verdict::Make)
        );
    }
}
