//! Writes the configuration that `openssl req` makes a request from. Pure.
//!
//! Every value is quoted: none can begin a section, name a variable or include a file.
use std::net::IpAddr;

/// What a request is to say. Names have their kind before them, as in `DNS:example.org`.
#[derive(Debug, Default)]
pub struct Request {
    pub subject: Vec<(String, String)>,
    pub names: Vec<String>,
    pub names_critical: bool,
    pub usage: Vec<String>,
    pub usage_critical: bool,
    pub extended: Vec<String>,
    pub extended_critical: bool,
    pub basic: Vec<String>,
    pub basic_critical: bool,
    pub must_staple: bool,
    pub must_staple_critical: bool,
    pub permitted: Vec<String>,
    pub excluded: Vec<String>,
    pub constraints_critical: bool,
    /// `hash`, or pairs of hexadecimal digits.
    pub key_identifier: Option<String>,
    pub authority: Option<String>,
    pub points: Vec<Point>,
}

/// Where a list of revoked certificates is.
#[derive(Debug)]
pub struct Point {
    pub names: Vec<String>,
    pub reasons: Vec<String>,
}

/// The file's text, or what is wrong with the request.
pub fn conf(request: &Request) -> Result<String, String> {
    let mut extensions = String::new();
    let mut sections = String::new();
    let critical = |flag: bool| if flag { "critical," } else { "" };
    let mut add = |name: &str, flag: bool, value: &str| {
        extensions.push_str(&format!("{name} = {}{value}\n", critical(flag)));
    };
    if !request.names.is_empty() {
        add("subjectAltName", request.names_critical, "@names");
        sections.push_str("\n[names]\n");
        for (index, name) in request.names.iter().enumerate() {
            let (kind, value) = general_name(name)?;
            sections.push_str(&format!("{kind}.{index} = {}\n", quoted(value)?));
        }
    }
    if !request.usage.is_empty() {
        let usage: Result<Vec<&str>, String> =
            request.usage.iter().map(|usage| key_usage(usage)).collect();
        add("keyUsage", request.usage_critical, &usage?.join(","));
    }
    if !request.extended.is_empty() {
        let is_word = |word: &String| {
            word.chars()
                .all(|c| c.is_ascii_alphanumeric() || " .-/".contains(c))
        };
        if let Some(wrong) = request.extended.iter().find(|word| !is_word(word)) {
            return Err(format!("extended_key_usage: `{wrong}` is no purpose"));
        }
        let list: Vec<&str> = request
            .extended
            .iter()
            .map(|purpose| {
                if purpose == "any" {
                    "anyExtendedKeyUsage"
                } else {
                    purpose
                }
            })
            .collect();
        add(
            "extendedKeyUsage",
            request.extended_critical,
            &list.join(","),
        );
    }
    if !request.basic.is_empty() {
        for part in &request.basic {
            let known = match part.split_once(':') {
                Some(("CA", value)) => ["TRUE", "FALSE"].contains(&value),
                Some(("pathlen", value)) => value.parse::<u16>().is_ok(),
                _ => false,
            };
            if !known {
                return Err(format!(
                    "basic_constraints: `{part}` is none of CA:TRUE, CA:FALSE, pathlen:NUMBER"
                ));
            }
        }
        add(
            "basicConstraints",
            request.basic_critical,
            &request.basic.join(","),
        );
    }
    if request.must_staple {
        add("tlsfeature", request.must_staple_critical, "status_request");
    }
    if !request.permitted.is_empty() || !request.excluded.is_empty() {
        add(
            "nameConstraints",
            request.constraints_critical,
            "@constraints",
        );
        sections.push_str("\n[constraints]\n");
        for (verb, list) in [
            ("permitted", &request.permitted),
            ("excluded", &request.excluded),
        ] {
            for (index, name) in list.iter().enumerate() {
                let (kind, value) = general_name(name)?;
                let value = if kind == "IP" {
                    network(value)?
                } else {
                    value.to_owned()
                };
                sections.push_str(&format!("{verb};{kind}.{index} = {}\n", quoted(&value)?));
            }
        }
    }
    if let Some(identifier) = &request.key_identifier {
        if identifier != "hash" {
            hexadecimal(identifier)?;
        }
        add("subjectKeyIdentifier", false, identifier);
    }
    if let Some(authority) = &request.authority {
        let bytes = hexadecimal(authority)?;
        // A sequence with one member, tagged 0.
        let inner = bytes.len() as u8;
        add(
            "authorityKeyIdentifier",
            false,
            &format!(
                "DER:30{:02x}80{inner:02x}{}",
                inner + 2,
                hex::encode(&bytes)
            ),
        );
    }
    if !request.points.is_empty() {
        let list: Vec<String> = (0..request.points.len())
            .map(|index| format!("point{index}"))
            .collect();
        add("crlDistributionPoints", false, &list.join(","));
        for (index, point) in request.points.iter().enumerate() {
            sections.push_str(&format!("\n[point{index}]\n"));
            if point.names.is_empty() {
                return Err("crl_distribution_points: each point needs full_name".into());
            }
            sections.push_str(&format!("fullname = @point{index}names\n"));
            if !point.reasons.is_empty() {
                let reasons: Result<Vec<&str>, String> =
                    point.reasons.iter().map(|name| reason(name)).collect();
                sections.push_str(&format!("reasons = {}\n", reasons?.join(",")));
            }
            sections.push_str(&format!("\n[point{index}names]\n"));
            for (index, name) in point.names.iter().enumerate() {
                let (kind, value) = general_name(name)?;
                sections.push_str(&format!("{kind}.{index} = {}\n", quoted(value)?));
            }
        }
    }
    let mut out = String::from(
        "[req]\nprompt = no\nutf8 = yes\nstring_mask = utf8only\ndistinguished_name = subject\n",
    );
    if !extensions.is_empty() {
        out.push_str("req_extensions = extensions\n");
    }
    out.push_str("\n[subject]\n");
    for (index, (field, value)) in request.subject.iter().enumerate() {
        let is_field = |c: char| c.is_ascii_alphanumeric() || c == '.';
        if field.is_empty() || !field.chars().all(is_field) {
            return Err(format!("subject: `{field}` is no field of a name"));
        }
        // What is before the first dot is skipped: it lets a field come twice.
        out.push_str(&format!("{index}.{field} = {}\n", quoted(value)?));
    }
    if !extensions.is_empty() {
        out.push_str(&format!("\n[extensions]\n{extensions}{sections}"));
    }
    Ok(out)
}

fn quoted(value: &str) -> Result<String, String> {
    if value.chars().any(char::is_control) {
        return Err(format!("{value:?} has characters that no name has"));
    }
    Ok(format!(
        "\"{}\"",
        value.replace('\\', "\\\\").replace('"', "\\\"")
    ))
}

fn general_name(name: &str) -> Result<(&str, &str), String> {
    match name.split_once(':') {
        Some((kind @ ("DNS" | "IP" | "email" | "URI" | "RID" | "otherName"), value)) => {
            Ok((kind, value))
        }
        Some(("dirName", _)) => Err(format!(
            "`{name}`: names of kind dirName are not supported; there are DNS, IP, email, URI, RID, otherName"
        )),
        _ => Err(format!(
            "`{name}` needs its kind before it: DNS:, IP:, email:, URI:, RID: or otherName:"
        )),
    }
}

/// By OpenSSL's name, from that or the long one.
fn key_usage(usage: &str) -> Result<&'static str, String> {
    const USAGES: &[&str] = &[
        "digitalSignature",
        "nonRepudiation",
        "keyEncipherment",
        "dataEncipherment",
        "keyAgreement",
        "keyCertSign",
        "cRLSign",
        "encipherOnly",
        "decipherOnly",
    ];
    let plain = |text: &str| text.replace([' ', '_'], "").to_ascii_lowercase();
    let wanted = match plain(usage).as_str() {
        "contentcommitment" => "nonrepudiation".to_owned(),
        "certificatesign" => "keycertsign".to_owned(),
        other => other.to_owned(),
    };
    USAGES
        .iter()
        .copied()
        .find(|known| plain(known) == wanted)
        .ok_or_else(|| format!("key_usage: `{usage}` is none of {}", USAGES.join(", ")))
}

fn reason(name: &str) -> Result<&'static str, String> {
    const REASONS: &[(&str, &str)] = &[
        ("key_compromise", "keyCompromise"),
        ("ca_compromise", "CACompromise"),
        ("affiliation_changed", "affiliationChanged"),
        ("superseded", "superseded"),
        ("cessation_of_operation", "cessationOfOperation"),
        ("certificate_hold", "certificateHold"),
        ("privilege_withdrawn", "privilegeWithdrawn"),
        ("aa_compromise", "AACompromise"),
    ];
    REASONS
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, word)| *word)
        .ok_or_else(|| format!("crl_distribution_points: `{name}` is no reason"))
}

/// `10.0.0.0/8` as address and mask.
fn network(text: &str) -> Result<String, String> {
    let wrong = || format!("`IP:{text}` is no network such as 10.0.0.0/8");
    let (address, prefix) = text.split_once('/').ok_or_else(wrong)?;
    let address: IpAddr = address.parse().map_err(|_| wrong())?;
    let Ok(prefix) = prefix.parse::<u32>() else {
        prefix.parse::<IpAddr>().map_err(|_| wrong())?;
        return Ok(text.to_owned());
    };
    let mask: IpAddr = match address {
        IpAddr::V4(_) if prefix <= 32 => {
            let bits = u32::MAX.checked_shl(32 - prefix).unwrap_or(0);
            std::net::Ipv4Addr::from(bits).into()
        }
        IpAddr::V6(_) if prefix <= 128 => {
            let bits = u128::MAX.checked_shl(128 - prefix).unwrap_or(0);
            std::net::Ipv6Addr::from(bits).into()
        }
        _ => return Err(wrong()),
    };
    Ok(format!("{address}/{mask}"))
}

fn hexadecimal(text: &str) -> Result<Vec<u8>, String> {
    hex::decode(text.replace(':', ""))
        .ok()
        .filter(|bytes| (1..=64).contains(&bytes.len()))
        .ok_or_else(|| format!("`{text}` is no identifier such as 00:11:22"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_request_with_everything() {
        let list = |items: &[&str]| {
            items
                .iter()
                .map(|item| (*item).to_owned())
                .collect::<Vec<_>>()
        };
        let request = Request {
            subject: vec![
                ("CN".into(), "a \"b\" $c # d".into()),
                ("OU".into(), "x".into()),
                ("OU".into(), "y".into()),
            ],
            names: list(&["DNS:a.example", "IP:::1"]),
            usage: list(&["Digital Signature", "keyCertSign", "Content Commitment"]),
            usage_critical: true,
            extended: list(&["serverAuth", "1.2.3.4", "any"]),
            basic: list(&["CA:TRUE", "pathlen:0"]),
            basic_critical: true,
            must_staple: true,
            permitted: list(&["DNS:.example", "IP:10.0.0.0/8", "IP:fd00::/8"]),
            excluded: list(&["email:x"]),
            key_identifier: Some("00:11".into()),
            authority: Some("aa:bb".into()),
            points: vec![Point {
                names: list(&["URI:http://x/crl"]),
                reasons: list(&["key_compromise"]),
            }],
            ..Request::default()
        };
        insta::assert_snapshot!(conf(&request).unwrap());
    }

    #[test]
    fn what_is_wrong_is_named() {
        let said = |request: Request| conf(&request).unwrap_err();
        let all = [
            said(Request {
                names: vec!["a.example".into()],
                ..Request::default()
            }),
            said(Request {
                names: vec!["dirName:CN=x".into()],
                ..Request::default()
            }),
            said(Request {
                usage: vec!["sign".into()],
                ..Request::default()
            }),
            said(Request {
                basic: vec!["CA:yes".into()],
                ..Request::default()
            }),
            said(Request {
                subject: vec![("C N".into(), "x".into())],
                ..Request::default()
            }),
            said(Request {
                subject: vec![("CN".into(), "x\n[y]".into())],
                ..Request::default()
            }),
            said(Request {
                permitted: vec!["IP:10.0.0.0/33".into()],
                ..Request::default()
            }),
            said(Request {
                authority: Some("xy".into()),
                ..Request::default()
            }),
        ];
        insta::assert_snapshot!(all.join("\n"));
    }

    proptest! {
        #[test]
        fn a_value_stays_on_its_line_and_within_its_quotes(value in "[a\"\\\\$#\\[\\]\n ]{0,12}") {
            if let Ok(text) = quoted(&value) {
                let inside = text[1..text.len() - 1].replace("\\\\", "").replace("\\\"", "");
                prop_assert!(!inside.contains(['"', '\\', '\n']));
            }
        }
    }
}
