//! `password_hash`: what `/etc/shadow` holds. SHA-crypt (Ulrich Drepper's specification), MD5-crypt, bcrypt.
use md5::Md5;
use minijinja::value::Kwargs;
use minijinja::{Environment, Error, Value};
use sha2::{Digest, Sha256, Sha512};

use super::text::bad;

const ALPHABET: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

pub(super) fn register(env: &mut Environment<'static>) {
    env.add_filter("password_hash", password_hash);
}

/// `password | password_hash('sha512', salt, rounds=656000)`. Without a salt it is another text each time.
fn password_hash(
    password: Value,
    kind: Option<String>,
    salt: Option<Value>,
    options: Kwargs,
) -> Result<String, Error> {
    let kind = kind
        .or(options.get("hashtype")?)
        .unwrap_or_else(|| "sha512".to_owned());
    let salt = salt
        .or(options.get("salt")?)
        .filter(|salt| !salt.is_none() && !salt.is_undefined())
        .map(|salt| salt.to_string());
    let rounds = options.get::<Option<u32>>("rounds")?;
    let _ident = options.get::<Option<String>>("ident")?;
    options.assert_all_used()?;
    let password = password.to_string();
    let allowed = |salt: &str| salt.bytes().all(|b| ALPHABET.contains(&b));
    if let Some(salt) = &salt
        && !allowed(salt)
    {
        return Err(bad(
            "password_hash: a salt may hold letters, digits, `.` and `/` only",
        ));
    }
    match kind.as_str() {
        "sha512" | "sha512_crypt" | "sha256" | "sha256_crypt" => {
            let wide = kind.starts_with("sha512");
            let salt = salt.unwrap_or_else(|| random(16));
            if salt.len() > 16 {
                return Err(bad("password_hash: the salt is longer than 16 letters"));
            }
            let standard = if wide { 656_000 } else { 535_000 };
            let rounds = rounds.unwrap_or(standard).clamp(1000, 10_000_000);
            Ok(match wide {
                true => sha_crypt::<Sha512>("6", password.as_bytes(), &salt, rounds, SHA512_ORDER),
                false => sha_crypt::<Sha256>("5", password.as_bytes(), &salt, rounds, SHA256_ORDER),
            })
        }
        "md5" | "md5_crypt" => {
            let salt = salt.unwrap_or_else(|| random(8));
            if salt.len() > 8 {
                return Err(bad("password_hash: the salt is longer than 8 letters"));
            }
            Ok(md5_crypt(password.as_bytes(), &salt))
        }
        other => Err(bad(format!(
            "password_hash: the kind `{other}` is not supported; supported: sha512, sha256, md5"
        ))),
    }
}

fn random(length: usize) -> String {
    let bytes = [uuid::Uuid::new_v4(), uuid::Uuid::new_v4()];
    let bytes = bytes.iter().flat_map(|id| {
        id.as_bytes()[..6]
            .iter()
            .chain(&id.as_bytes()[10..])
            .copied()
            .collect::<Vec<_>>()
    });
    bytes
        .take(length)
        .map(|byte| char::from(ALPHABET[usize::from(byte & 63)]))
        .collect()
}

/// The order in which the digest's bytes are written; three bytes a group, the last groups are shorter.
const SHA512_ORDER: &[&[u8]] = &[
    &[0, 21, 42],
    &[22, 43, 1],
    &[44, 2, 23],
    &[3, 24, 45],
    &[25, 46, 4],
    &[47, 5, 26],
    &[6, 27, 48],
    &[28, 49, 7],
    &[50, 8, 29],
    &[9, 30, 51],
    &[31, 52, 10],
    &[53, 11, 32],
    &[12, 33, 54],
    &[34, 55, 13],
    &[56, 14, 35],
    &[15, 36, 57],
    &[37, 58, 16],
    &[59, 17, 38],
    &[18, 39, 60],
    &[40, 61, 19],
    &[62, 20, 41],
    &[63],
];
const SHA256_ORDER: &[&[u8]] = &[
    &[0, 10, 20],
    &[21, 1, 11],
    &[12, 22, 2],
    &[3, 13, 23],
    &[24, 4, 14],
    &[15, 25, 5],
    &[6, 16, 26],
    &[27, 7, 17],
    &[18, 28, 8],
    &[9, 19, 29],
    &[31, 30],
];
const MD5_ORDER: &[&[u8]] = &[
    &[0, 6, 12],
    &[1, 7, 13],
    &[2, 8, 14],
    &[3, 9, 15],
    &[4, 10, 5],
    &[11],
];

fn encoded(digest: &[u8], order: &[&[u8]]) -> String {
    let mut out = String::new();
    for group in order {
        let mut value: u32 = 0;
        for &at in *group {
            value = value << 8 | u32::from(digest[usize::from(at)]);
        }
        for _ in 0..=group.len() {
            out.push(char::from(ALPHABET[(value & 63) as usize]));
            value >>= 6;
        }
    }
    out
}

/// As many bytes as `length`, repeating `block`.
fn repeated(block: &[u8], length: usize) -> Vec<u8> {
    block.iter().copied().cycle().take(length).collect()
}

fn sha_crypt<D: Digest>(
    id: &str,
    password: &[u8],
    salt: &str,
    rounds: u32,
    order: &[&[u8]],
) -> String {
    let salt_bytes = salt.as_bytes();
    let hash = |parts: &[&[u8]]| {
        let mut digest = D::new();
        parts.iter().for_each(|part| digest.update(part));
        digest.finalize().to_vec()
    };
    let b = hash(&[password, salt_bytes, password]);
    let mut digest = D::new();
    digest.update(password);
    digest.update(salt_bytes);
    digest.update(repeated(&b, password.len()));
    let mut bits = password.len();
    while bits > 0 {
        match bits & 1 {
            1 => digest.update(&b),
            _ => digest.update(password),
        }
        bits >>= 1;
    }
    let mut a = digest.finalize().to_vec();
    let many: Vec<&[u8]> = vec![password; password.len()];
    let p = repeated(&hash(&many), password.len());
    let many: Vec<&[u8]> = vec![salt_bytes; 16 + usize::from(a[0])];
    let s = repeated(&hash(&many), salt_bytes.len());
    for round in 0..rounds {
        let mut digest = D::new();
        let odd = round % 2 == 1;
        digest.update(if odd { &p } else { &a });
        if round % 3 != 0 {
            digest.update(&s);
        }
        if round % 7 != 0 {
            digest.update(&p);
        }
        digest.update(if odd { &a } else { &p });
        a = digest.finalize().to_vec();
    }
    let rounds = match rounds {
        5000 => String::new(),
        rounds => format!("rounds={rounds}$"),
    };
    format!("${id}${rounds}{salt}${}", encoded(&a, order))
}

fn md5_crypt(password: &[u8], salt: &str) -> String {
    let salt_bytes = salt.as_bytes();
    let mut digest = Md5::new();
    for part in [password, salt_bytes, password] {
        digest.update(part);
    }
    let b = digest.finalize();
    let mut digest = Md5::new();
    for part in [password, b"$1$", salt_bytes] {
        digest.update(part);
    }
    digest.update(repeated(&b, password.len()));
    let mut bits = password.len();
    while bits > 0 {
        match bits & 1 {
            1 => digest.update([0u8]),
            _ => digest.update(&password[..1]),
        }
        bits >>= 1;
    }
    let mut a = digest.finalize().to_vec();
    for round in 0..1000 {
        let mut digest = Md5::new();
        let odd = round % 2 == 1;
        digest.update(if odd { password } else { a.as_slice() });
        if round % 3 != 0 {
            digest.update(salt_bytes);
        }
        if round % 7 != 0 {
            digest.update(password);
        }
        digest.update(if odd { a.as_slice() } else { password });
        a = digest.finalize().to_vec();
    }
    format!("$1${salt}${}", encoded(&a, MD5_ORDER))
}
