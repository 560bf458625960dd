//! `openssl_csr`: a request for a certificate, made anew when it no longer says what it should.
use agent_protocol::task::TaskResult;
use serde_json::{Map, Value};

use super::mysql::given;
use super::openssl::{
    BACKEND, BACKUP, FORCE, PATH, PrivateKey, RETURN_CONTENT, STATE, Scratch, digest, keep, read,
    read_paper, remove, write,
};
use crate::args::Args;
use crate::attributes::Attributes;
use crate::context::{Context, Fault, With, changed};
use crate::spec::{Arg, Effect, Kind, Module};
use crate::text::openssl_conf::{self, Request};

pub const OPENSSL_CSR: Module = Module::new(
    "openssl_csr",
    "Make a request for a certificate",
    Effect::Converges,
    ARGS,
    run,
)
.file_args()
.exclusive(&[
    &["privatekey_path", "privatekey_content"],
    &["subject", "subject_ordered"],
])
.refuses(&[
    ("authority_cert_issuer", ISSUER),
    ("authority_cert_serial_number", ISSUER),
]);

const ISSUER: &str = "the issuer is put into the certificate by x509_certificate";

const ARGS: &[Arg] = &[
    PATH,
    STATE,
    FORCE,
    Arg::new("digest", Kind::Text, "digest of the signature").default("sha256"),
    Arg::new("privatekey_path", Kind::Path, "the private key"),
    Arg::new("privatekey_content", Kind::Text, "the private key itself"),
    Arg::new("privatekey_passphrase", Kind::Text, "what opens it"),
    Arg::new("version", Kind::Int, "1, there is no other").default("1"),
    Arg::new("subject", Kind::Map, "more fields of the name"),
    Arg::new(
        "subject_ordered",
        Kind::Any,
        "list of fields of the name, in this order",
    ),
    Arg::new("country_name", Kind::Text, "C of the name").aliases(&["C", "countryName"]),
    Arg::new("state_or_province_name", Kind::Text, "ST of the name")
        .aliases(&["ST", "stateOrProvinceName"]),
    Arg::new("locality_name", Kind::Text, "L of the name").aliases(&["L", "localityName"]),
    Arg::new("organization_name", Kind::Text, "O of the name").aliases(&["O", "organizationName"]),
    Arg::new("organizational_unit_name", Kind::Text, "OU of the name")
        .aliases(&["OU", "organizationalUnitName"]),
    Arg::new("common_name", Kind::Text, "CN of the name").aliases(&["CN", "commonName"]),
    Arg::new("email_address", Kind::Text, "address in the name").aliases(&["E", "emailAddress"]),
    Arg::new(
        "subject_alt_name",
        Kind::List,
        "other names, each with DNS:, IP:, email:, URI: or RID: before it",
    )
    .aliases(&["subjectAltName"]),
    Arg::new(
        "subject_alt_name_critical",
        Kind::Flag,
        "whoever does not know other names must refuse",
    )
    .aliases(&["subjectAltName_critical"])
    .default("false"),
    Arg::new(
        "use_common_name_for_san",
        Kind::Flag,
        "without other names the common name is one",
    )
    .aliases(&["useCommonNameForSAN"])
    .default("true"),
    Arg::new("key_usage", Kind::List, "what the key may do").aliases(&["keyUsage"]),
    Arg::new("key_usage_critical", Kind::Flag, "the same must be known")
        .aliases(&["keyUsage_critical"])
        .default("false"),
    Arg::new(
        "extended_key_usage",
        Kind::List,
        "what the certificate is for",
    )
    .aliases(&["extKeyUsage", "extendedKeyUsage"]),
    Arg::new(
        "extended_key_usage_critical",
        Kind::Flag,
        "the same must be known",
    )
    .aliases(&["extKeyUsage_critical", "extendedKeyUsage_critical"])
    .default("false"),
    Arg::new(
        "basic_constraints",
        Kind::List,
        "for example CA:TRUE and pathlen:0",
    )
    .aliases(&["basicConstraints"]),
    Arg::new(
        "basic_constraints_critical",
        Kind::Flag,
        "the same must be known",
    )
    .aliases(&["basicConstraints_critical"])
    .default("false"),
    Arg::new(
        "ocsp_must_staple",
        Kind::Flag,
        "servers must prove that it is not revoked",
    )
    .aliases(&["ocspMustStaple"])
    .default("false"),
    Arg::new(
        "ocsp_must_staple_critical",
        Kind::Flag,
        "the same must be known",
    )
    .aliases(&["ocspMustStaple_critical"])
    .default("false"),
    Arg::new(
        "name_constraints_permitted",
        Kind::List,
        "names that a CA may vouch for",
    ),
    Arg::new(
        "name_constraints_excluded",
        Kind::List,
        "names that a CA may not vouch for",
    ),
    Arg::new(
        "name_constraints_critical",
        Kind::Flag,
        "the same must be known",
    )
    .default("false"),
    Arg::new(
        "create_subject_key_identifier",
        Kind::Flag,
        "the key's identifier is made of the key",
    )
    .default("false"),
    Arg::new(
        "subject_key_identifier",
        Kind::Text,
        "the key's identifier, 00:11:...",
    ),
    Arg::new(
        "authority_key_identifier",
        Kind::Text,
        "the issuer's key's identifier, 00:11:...",
    ),
    Arg::new(
        "crl_distribution_points",
        Kind::Any,
        "list of full_name and reasons",
    ),
    BACKUP,
    RETURN_CONTENT,
    BACKEND,
];

fn run(context: &mut Context<'_>, args: &Args) -> Result<TaskResult, Fault> {
    if args.need("state") == "absent" {
        return remove(context, args);
    }
    if args.int("version") != Some(1) {
        return Err(Fault::new("version must be 1: there is no other"));
    }
    let key = PrivateKey::of(args, "").ok_or_else(|| {
        Fault::new("privatekey_path or privatekey_content is required with state=present")
    })?;
    let path = args.need("path");
    let request = request(args).map_err(Fault::new)?;
    let conf = openssl_conf::conf(&request).map_err(Fault::new)?;
    let digest = format!("-{}", digest(args, "digest")?);
    if context.check && key.is_missing(context) {
        return Ok(TaskResult {
            msg: "the private key is not there yet".into(),
            ..told(changed(true), args, &request)
        });
    }
    let wanted = {
        let scratch = Scratch::new()?;
        let conf = scratch.file("request.cnf", &conf)?;
        let words = ["req", "-new", "-batch", "-utf8", "-config", &conf, &digest];
        key.run(context, &words, "-key")?
    };
    let after = read_paper(context, "req", &wanted)?;
    let old = read(context, path)?;
    // What cannot be read is no request that fits.
    let before = old
        .as_ref()
        .and_then(|text| read_paper(context, "req", text).ok());
    context.go_on()?;
    let attributes = Attributes::of(context, args)?;
    let fits = before.as_ref() == Some(&after) && !args.flag("force");
    let mut result = if fits {
        keep(context, args, &attributes)?
    } else {
        write(context, args, &wanted, attributes)?
    };
    result.changed |= !fits;
    let shown = before.map(|before| before.shown()).unwrap_or_default();
    result.diff = context.diff_of(path, &shown, &after.shown());
    if args.flag("return_content") {
        let content = if fits {
            old.unwrap_or_default()
        } else {
            wanted
        };
        result = result.with("csr", content);
    }
    Ok(told(result, args, &request))
}

fn told(mut result: TaskResult, args: &Args, request: &Request) -> TaskResult {
    if let Some(private) = args.text("privatekey_path") {
        result = result.with("privatekey", private);
    }
    let list = |name: &str| args.list(name).map_or(Value::Null, Value::from);
    let subject: Vec<Value> = request
        .subject
        .iter()
        .map(|(field, value)| vec![field.as_str(), value.as_str()].into())
        .collect();
    result
        .with("filename", args.need("path"))
        .with("subject", subject)
        .with("subjectAltName", request.names.clone())
        .with("keyUsage", list("key_usage"))
        .with("extendedKeyUsage", list("extended_key_usage"))
        .with("basicConstraints", list("basic_constraints"))
        .with("ocsp_must_staple", args.flag("ocsp_must_staple"))
        .with(
            "name_constraints_permitted",
            list("name_constraints_permitted"),
        )
        .with(
            "name_constraints_excluded",
            list("name_constraints_excluded"),
        )
}

/// The arguments as a request.
fn request(args: &Args) -> Result<Request, String> {
    let mut subject: Vec<(String, String)> = [
        ("country_name", "C"),
        ("state_or_province_name", "ST"),
        ("locality_name", "L"),
        ("organization_name", "O"),
        ("organizational_unit_name", "OU"),
        ("common_name", "CN"),
        ("email_address", "emailAddress"),
    ]
    .into_iter()
    .filter_map(|(name, field)| Some((field.to_owned(), given(args, name)?.to_owned())))
    .collect();
    if let Some(ordered) = args.value("subject_ordered") {
        if !subject.is_empty() {
            return Err(
                "subject_ordered holds the whole name: no other field of it may be given".into(),
            );
        }
        for entry in ordered.as_array().ok_or("subject_ordered must be a list")? {
            let map = entry.as_object().filter(|map| map.len() == 1);
            fields(
                map.ok_or("subject_ordered must be a list of single fields")?,
                &mut subject,
            )?;
        }
    }
    if let Some(map) = args.map("subject") {
        fields(map, &mut subject)?;
    }
    let list = |name: &str| -> Vec<String> {
        let list = args.list(name).unwrap_or_default();
        list.into_iter().map(str::to_owned).collect()
    };
    let mut names = list("subject_alt_name");
    let common = subject
        .iter()
        .find(|(field, _)| ["CN", "commonName"].contains(&field.as_str()));
    if let Some((_, common)) = common
        && names.is_empty()
        && args.flag("use_common_name_for_san")
    {
        names.push(format!("DNS:{common}"));
    }
    let point = |point: &Value| -> Result<openssl_conf::Point, String> {
        let map = point
            .as_object()
            .ok_or("crl_distribution_points must be a list of mappings")?;
        let texts = |name: &str| -> Vec<String> {
            match map.get(name) {
                Some(Value::String(text)) => vec![text.clone()],
                Some(Value::Array(list)) => list
                    .iter()
                    .filter_map(|v| v.as_str().map(str::to_owned))
                    .collect(),
                _ => Vec::new(),
            }
        };
        match map
            .keys()
            .find(|key| !["full_name", "reasons"].contains(&key.as_str()))
        {
            Some(key) => Err(format!(
                "crl_distribution_points does not support {key}: give full_name and reasons"
            )),
            None => Ok(openssl_conf::Point {
                names: texts("full_name"),
                reasons: texts("reasons"),
            }),
        }
    };
    let points = match args.value("crl_distribution_points") {
        None => Vec::new(),
        Some(list) => list
            .as_array()
            .ok_or("crl_distribution_points must be a list")?
            .iter()
            .map(point)
            .collect::<Result<_, _>>()?,
    };
    Ok(Request {
        subject,
        names,
        names_critical: args.flag("subject_alt_name_critical"),
        usage: list("key_usage"),
        usage_critical: args.flag("key_usage_critical"),
        extended: list("extended_key_usage"),
        extended_critical: args.flag("extended_key_usage_critical"),
        basic: list("basic_constraints"),
        basic_critical: args.flag("basic_constraints_critical"),
        must_staple: args.flag("ocsp_must_staple"),
        must_staple_critical: args.flag("ocsp_must_staple_critical"),
        permitted: list("name_constraints_permitted"),
        excluded: list("name_constraints_excluded"),
        constraints_critical: args.flag("name_constraints_critical"),
        key_identifier: if args.flag("create_subject_key_identifier") {
            Some("hash".into())
        } else {
            given(args, "subject_key_identifier").map(str::to_owned)
        },
        authority: given(args, "authority_key_identifier").map(str::to_owned),
        points,
    })
}

/// Fields of a name; a list gives a field several times.
fn fields(map: &Map<String, Value>, out: &mut Vec<(String, String)>) -> Result<(), String> {
    for (field, value) in map {
        let values = match value {
            Value::Array(list) => list.clone(),
            one => vec![one.clone()],
        };
        for value in values {
            match value {
                Value::String(text) => out.push((field.clone(), text)),
                Value::Number(number) => out.push((field.clone(), number.to_string())),
                _ => return Err(format!("subject: {field} must be a text")),
            }
        }
    }
    Ok(())
}
