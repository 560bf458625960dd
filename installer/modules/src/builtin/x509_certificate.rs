//! `x509_certificate`: a certificate signed by its own key or by a CA of one's own, renewed when it no longer fits.
use std::time::{SystemTime, UNIX_EPOCH};

use agent_protocol::task::TaskResult;

use super::mysql::given;
use super::openssl::{
    BACKEND, BACKUP, FORCE, PATH, PrivateKey, RETURN_CONTENT, STATE, Scratch, content, digest,
    keep, openssl, read, read_paper, remove, write,
};
use crate::args::Args;
use crate::attributes::Attributes;
use crate::context::{Context, Fault, With, changed};
use crate::spec::{Arg, Effect, Kind, Module};
use crate::text::asn1_time;
use crate::text::openssl_text::{Paper, pem};

pub const X509_CERTIFICATE: Module = Module::new(
    "x509_certificate",
    "Make a certificate",
    Effect::Converges,
    ARGS,
    run,
)
.file_args()
.exclusive(&[
    &["csr_path", "csr_content"],
    &["privatekey_path", "privatekey_content"],
    &["ownca_path", "ownca_content"],
    &["ownca_privatekey_path", "ownca_privatekey_content"],
]);

const IDENTIFIER: &[&str] = &["create_if_not_provided", "always_create", "never_create"];

const ARGS: &[Arg] = &[
    PATH,
    STATE,
    FORCE,
    Arg::new("provider", Kind::Text, "who signs").choices(&["selfsigned", "ownca"]),
    Arg::new("csr_path", Kind::Path, "the request"),
    Arg::new("csr_content", Kind::Text, "the request itself"),
    Arg::new("privatekey_path", Kind::Path, "the private key"),
    Arg::new("privatekey_content", Kind::Text, "the private key itself"),
    Arg::new("privatekey_passphrase", Kind::Text, "what opens it"),
    Arg::new(
        "ignore_timestamps",
        Kind::Flag,
        "other dates than the wished ones are no reason for a new one; an end that has come is",
    )
    .default("true"),
    Arg::new("selfsigned_version", Kind::Int, "3, there is no other").default("3"),
    Arg::new("selfsigned_digest", Kind::Text, "digest of the signature").default("sha256"),
    Arg::new("selfsigned_not_before", Kind::Text, "when it begins")
        .aliases(&["selfsigned_notBefore"])
        .default("+0s"),
    Arg::new("selfsigned_not_after", Kind::Text, "when it ends")
        .aliases(&["selfsigned_notAfter"])
        .default("+3650d"),
    Arg::new(
        "selfsigned_create_subject_key_identifier",
        Kind::Text,
        "whether it has its key's identifier",
    )
    .choices(IDENTIFIER)
    .default("create_if_not_provided"),
    Arg::new("ownca_path", Kind::Path, "the CA's certificate"),
    Arg::new("ownca_content", Kind::Text, "the CA's certificate itself"),
    Arg::new("ownca_privatekey_path", Kind::Path, "the CA's private key"),
    Arg::new(
        "ownca_privatekey_content",
        Kind::Text,
        "the CA's private key itself",
    ),
    Arg::new("ownca_privatekey_passphrase", Kind::Text, "what opens it"),
    Arg::new("ownca_version", Kind::Int, "3, there is no other").default("3"),
    Arg::new("ownca_digest", Kind::Text, "digest of the signature").default("sha256"),
    Arg::new("ownca_not_before", Kind::Text, "when it begins").default("+0s"),
    Arg::new("ownca_not_after", Kind::Text, "when it ends").default("+3650d"),
    Arg::new(
        "ownca_create_subject_key_identifier",
        Kind::Text,
        "whether it has its key's identifier",
    )
    .choices(IDENTIFIER)
    .default("create_if_not_provided"),
    Arg::new(
        "ownca_create_authority_key_identifier",
        Kind::Flag,
        "whether it has the CA's key's identifier",
    )
    .default("true"),
    BACKUP,
    RETURN_CONTENT,
    BACKEND,
];

const SUBJECT_KEY: &str = "X509v3 Subject Key Identifier";
const AUTHORITY_KEY: &str = "X509v3 Authority Key Identifier";

/// All that decides what the certificate is to be.
struct Wish<'a> {
    own_ca: bool,
    request: String,
    wanted: Paper,
    /// The CA's certificate and what it says.
    ca: Option<(String, Paper)>,
    signer: PrivateKey<'a>,
    not_before: i64,
    not_after: i64,
    subject_key: &'a str,
    authority_key: bool,
}

fn run(context: &mut Context<'_>, args: &Args) -> Result<TaskResult, Fault> {
    if args.need("state") == "absent" {
        return remove(context, args);
    }
    let path = args.need("path");
    let wish = match wish(context, args)? {
        Ok(wish) => wish,
        // An earlier task may be about to make the keys or the request.
        Err(missing) if context.check => {
            return Ok(TaskResult {
                msg: format!("{missing} is not there yet"),
                ..changed(true).with("filename", path)
            });
        }
        Err(missing) => return Err(Fault::new(format!("{missing} is not there"))),
    };
    let old = read(context, path)?;
    let before = old
        .as_ref()
        .and_then(|text| read_paper(context, "x509", text).ok());
    context.go_on()?;
    let reason = match (&old, &before) {
        _ if args.flag("force") => Some("force is set".to_owned()),
        (None, _) => Some("it is not there".into()),
        (Some(_), None) => Some("it cannot be read".into()),
        (Some(text), Some(now)) => misfit(context, args, &wish, text, now)?,
    };
    let attributes = Attributes::of(context, args)?;
    let mut made = None;
    let mut result = match &reason {
        None => keep(context, args, &attributes)?,
        Some(_) if context.check => changed(true),
        Some(_) => {
            let text = issue(context, args, &wish)?;
            let result = write(context, args, &text, attributes)?;
            made = Some(text);
            result
        }
    };
    result.diff = context.diff_of(
        path,
        &before.as_ref().map(shown).unwrap_or_default(),
        &match (&reason, &before) {
            (None, Some(before)) => shown(before),
            _ => shown(&wish.outcome()),
        },
    );
    if let Some(reason) = reason {
        result.msg = format!("a new certificate: {reason}");
    }
    if args.flag("return_content")
        && let Some(content) = made.or(old.filter(|_| !result.changed))
    {
        result = result.with("certificate", content);
    }
    for name in ["csr", "privatekey"] {
        if let Some(file) = args.text(&format!("{name}_path")) {
            result = result.with(name, file);
        }
    }
    Ok(result.with("filename", path))
}

/// Gathers what the arguments point to; the inner error names what is not there.
fn wish<'a>(context: &mut Context<'_>, args: &'a Args) -> Result<Result<Wish<'a>, String>, Fault> {
    let provider = args.text("provider").ok_or_else(|| {
        Fault::new("provider is required with state=present: selfsigned or ownca")
    })?;
    let own_ca = provider == "ownca";
    if args.int(&format!("{provider}_version")) != Some(3) {
        return Err(Fault::new(format!(
            "{provider}_version must be 3: there is no other"
        )));
    }
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs() as i64);
    let time = |end: &str| {
        let name = format!("{provider}_not_{end}");
        let text = args.need(&name);
        asn1_time::parse(text, now).ok_or_else(|| {
            Fault::new(format!(
                "{name}: `{text}` is neither +TIME (such as +52w3d) nor YYYYMMDDHHMMSSZ"
            ))
        })
    };
    let (not_before, not_after) = (time("before")?, time("after")?);
    let key = PrivateKey::of(args, "");
    let has_request = given(args, "csr_path").is_some() || given(args, "csr_content").is_some();
    let signer = if own_ca {
        if !has_request {
            return Err(Fault::new("provider=ownca needs csr_path or csr_content"));
        }
        PrivateKey::of(args, "ownca_").ok_or_else(|| {
            Fault::new("provider=ownca needs ownca_privatekey_path or ownca_privatekey_content")
        })?
    } else {
        PrivateKey::of(args, "").ok_or_else(|| {
            Fault::new("provider=selfsigned needs privatekey_path or privatekey_content")
        })?
    };
    if signer.is_missing(context) || key.as_ref().is_some_and(|key| key.is_missing(context)) {
        return Ok(Err("the private key".into()));
    }
    let request = match content(context, args, "csr")? {
        Some(text) => text,
        None if has_request => return Ok(Err("the request".into())),
        // A name is not needed for a key to vouch for itself.
        None => {
            let scratch = Scratch::new()?;
            let conf = scratch.file(
                "request.cnf",
                "[req]\nprompt = no\ndistinguished_name = subject\n[subject]\n",
            )?;
            signer.run(
                context,
                &["req", "-new", "-batch", "-subj", "/", "-config", &conf],
                "-key",
            )?
        }
    };
    let ca = if own_ca {
        match content(context, args, "ownca")? {
            Some(text) => {
                let paper = read_paper(context, "x509", &text)?;
                Some((text, paper))
            }
            None if given(args, "ownca_path").is_some() => {
                return Ok(Err("the CA's certificate".into()));
            }
            None => {
                return Err(Fault::new(
                    "provider=ownca needs ownca_path or ownca_content",
                ));
            }
        }
    } else {
        None
    };
    let wanted = read_paper(context, "req", &request)?;
    let wish = Wish {
        own_ca,
        request,
        wanted,
        ca,
        signer,
        not_before,
        not_after,
        subject_key: args.need(&format!("{provider}_create_subject_key_identifier")),
        authority_key: own_ca && args.flag("ownca_create_authority_key_identifier"),
    };
    if let Some(key) = key {
        let public = key.public(context)?;
        if public != wish.wanted.public_key {
            return Err(Fault::new("the private key is not that of the request"));
        }
    }
    Ok(Ok(wish))
}

/// Why the certificate that is there does not do, if so.
fn misfit(
    context: &mut Context<'_>,
    args: &Args,
    wish: &Wish<'_>,
    text: &str,
    now: &Paper,
) -> Result<Option<String>, Fault> {
    let today = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs() as i64);
    let issuer = wish
        .ca
        .as_ref()
        .map_or(&wish.wanted.subject, |(_, ca)| &ca.subject);
    let plain = |paper: &Paper| {
        let mut extensions = paper.extensions.clone();
        extensions
            .retain(|name, _| !name.starts_with(SUBJECT_KEY) && !name.starts_with(AUTHORITY_KEY));
        extensions
    };
    let reason = if now.public_key != wish.wanted.public_key {
        "the key is another one"
    } else if now.subject != wish.wanted.subject {
        "the subject is another one"
    } else if now.issuer != *issuer {
        "the issuer is another one"
    } else if plain(now) != plain(&wish.wanted) || !wish.identifiers_fit(now) {
        "the extensions are others"
    } else if !args.flag("ignore_timestamps")
        && (now.not_before != Some(wish.not_before) || now.not_after != Some(wish.not_after))
    {
        "the dates are others"
    } else if now
        .not_after
        .is_some_and(|end| end <= today && end < wish.not_after)
    {
        "it has ended"
    } else if let Some((ca, _)) = &wish.ca {
        let scratch = Scratch::new()?;
        let (ca, own) = (scratch.file("ca.pem", ca)?, scratch.file("own.pem", text)?);
        let words = [
            "verify",
            "-no_check_time",
            "-partial_chain",
            "-trusted",
            &ca,
            &own,
        ];
        let output = openssl(context, &words, None, &[])?;
        // 7: the signature is not that of the CA's key. What else may be said of it is not for us to judge.
        if !output.stderr.contains("error 7 at") {
            return Ok(None);
        }
        "the issuer's key is another one"
    } else {
        return Ok(None);
    };
    Ok(Some(reason.into()))
}

impl Wish<'_> {
    fn identifiers_fit(&self, now: &Paper) -> bool {
        let asked = self.wanted.extension(SUBJECT_KEY);
        let has = now.extension(SUBJECT_KEY);
        let subject = match self.subject_key {
            "always_create" => has.is_some(),
            "never_create" => has == asked,
            _ => asked.map_or(has.is_some(), |asked| has == Some(asked)),
        };
        let has = now.extension(AUTHORITY_KEY);
        let authority = match &self.ca {
            Some((_, ca)) if self.authority_key => {
                let key = ca.extension(SUBJECT_KEY);
                has.is_some_and(|has| key.is_none_or(|key| has.contains(key)))
            }
            _ => has == self.wanted.extension(AUTHORITY_KEY),
        };
        subject && authority
    }

    /// What the certificate will say.
    fn outcome(&self) -> Paper {
        Paper {
            issuer: self
                .ca
                .as_ref()
                .map_or(&self.wanted.subject, |(_, ca)| &ca.subject)
                .clone(),
            not_before: Some(self.not_before),
            not_after: Some(self.not_after),
            ..self.wanted.clone()
        }
    }

    /// The configuration of `openssl ca`, which alone takes exact dates.
    fn conf(&self, folder: &str) -> String {
        // What the request says replaces what is here, unless the identifier is to be ours.
        let copy = match (self.subject_key, self.wanted.extension(SUBJECT_KEY)) {
            ("always_create", Some(_)) => "copy",
            _ if self.authority_key && self.wanted.extension(AUTHORITY_KEY).is_some() => "copy",
            _ => "copyall",
        };
        let subject = match (self.subject_key, self.wanted.extension(SUBJECT_KEY)) {
            ("always_create", _) | ("create_if_not_provided", None) => {
                "subjectKeyIdentifier = hash\n"
            }
            // With `copy` what is not here comes from the request.
            (_, Some(_)) => "",
            _ => "subjectKeyIdentifier = none\n",
        };
        let authority = match (self.authority_key, self.wanted.extension(AUTHORITY_KEY)) {
            (true, _) => "authorityKeyIdentifier = keyid:always\n",
            (false, Some(_)) => "",
            (false, None) => "authorityKeyIdentifier = none\n",
        };
        format!(
            "[ca]\ndefault_ca = own\n[own]\ndatabase = {folder}/index\nnew_certs_dir = {folder}\nrand_serial = yes\n\
             unique_subject = no\npolicy = any\nx509_extensions = extensions\ncopy_extensions = {copy}\n\
             email_in_dn = yes\n[any]\n[extensions]\n{subject}{authority}"
        )
    }
}

/// Has the certificate signed; gives it as PEM.
fn issue(context: &mut Context<'_>, args: &Args, wish: &Wish<'_>) -> Result<String, Fault> {
    let scratch = Scratch::new()?;
    let folder = scratch.path().display().to_string();
    scratch.file("index", "")?;
    let conf = scratch.file("ca.cnf", &wish.conf(&folder))?;
    let request = scratch.file("request.pem", &wish.request)?;
    let digest = digest(
        args,
        if wish.own_ca {
            "ownca_digest"
        } else {
            "selfsigned_digest"
        },
    )?;
    let (start, end) = (
        asn1_time::show(wish.not_before),
        asn1_time::show(wish.not_after),
    );
    let mut words = vec![
        "ca",
        "-batch",
        "-notext",
        "-preserveDN",
        "-utf8",
        "-config",
        &conf,
        "-in",
        &request,
    ];
    words.extend(["-md", digest, "-startdate", &start, "-enddate", &end]);
    let ca;
    match &wish.ca {
        Some((text, _)) => {
            ca = scratch.file("ca.pem", text)?;
            words.extend(["-cert", &ca]);
        }
        None => words.push("-selfsign"),
    }
    let text = wish.signer.run(context, &words, "-keyfile")?;
    pem(&text, "CERTIFICATE").ok_or_else(|| Fault::new("openssl gave no certificate"))
}

fn shown(paper: &Paper) -> String {
    let time = |time: Option<i64>| time.map(asn1_time::show).unwrap_or_default();
    format!(
        "{}Valid: {} to {}\n",
        paper.shown(),
        time(paper.not_before),
        time(paper.not_after)
    )
}
