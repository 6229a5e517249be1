//! Digest access authentication, the client's side (RFC 7616, and RFC 2069 for devices that are older): challenges are read,
//! and answered. Devices say MD5 as a rule; that is theirs to choose, and no reason to send them the password itself.

use md5::Md5;
use sha2::{Sha256, Sha512_256};

use crate::login::Login;

/// One challenge of a field `WWW-Authenticate`: the scheme's name in small letters, and its parameters, their names as well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    /// `digest`, `basic`, …
    pub scheme: String,
    /// `realm`, `nonce`, …
    pub parameters: Vec<(String, String)>,
}

impl Challenge {
    fn get(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|parameter| parameter.0 == name).map(|parameter| parameter.1.as_str())
    }
}

/// All challenges in a field (RFC 9110 § 11.6.1). What is none is passed over.
pub fn challenges(field: &str) -> Vec<Challenge> {
    let mut all: Vec<Challenge> = Vec::new();
    let mut rest = field;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let (word, behind) = rest.split_at(rest.find(|c| !is_token(c)).unwrap_or(rest.len()));
        if word.is_empty() {
            // Not a word: what it belongs to ends with the next comma.
            let Some((_, behind)) = rest.split_once(',') else { return all };
            rest = behind;
            continue;
        }
        let word = word.to_ascii_lowercase();
        match (behind.trim_start_matches([' ', '\t']).strip_prefix('='), all.last_mut()) {
            (Some(value), Some(challenge)) => {
                let (value, behind) = value_of(value.trim_start_matches([' ', '\t']));
                challenge.parameters.push((word, value));
                rest = behind;
            }
            (Some(value), None) => rest = value,
            (None, _) => {
                all.push(Challenge { scheme: word, parameters: Vec::new() });
                rest = behind;
            }
        }
    }
}

/// The value at the start of `text`, quoted or not, and what follows it.
fn value_of(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let (value, behind) = text.split_at(text.find([',', ' ', '\t']).unwrap_or(text.len()));
        return (value.to_owned(), behind);
    };
    let mut value = String::new();
    let mut signs = quoted.char_indices();
    while let Some((at, sign)) = signs.next() {
        match sign {
            '"' => return (value, quoted.get(at + 1..).unwrap_or_default()),
            '\\' => value.extend(signs.next().map(|(_, escaped)| escaped)),
            sign => value.push(sign),
        }
    }
    (value, "")
}

fn is_token(sign: char) -> bool {
    sign.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(sign)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Algorithm {
    Md5,
    Sha512Short,
    Sha256,
}

impl Algorithm {
    fn hash(self, text: &str) -> String {
        match self {
            Self::Md5 => hex(&<Md5 as md5::Digest>::digest(text)),
            Self::Sha256 => hex(&<Sha256 as sha2::Digest>::digest(text)),
            Self::Sha512Short => hex(&<Sha512_256 as sha2::Digest>::digest(text)),
        }
    }
}

/// Small hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A challenge that can be answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Digest {
    realm: String,
    nonce: String,
    opaque: Option<String>,
    /// The algorithm, and as it was written; nothing is MD5.
    algorithm: Algorithm,
    written: Option<String>,
    session: bool,
    /// With "quality of protection", as RFC 2617 introduced it.
    counted: bool,
    hash_user: bool,
    /// The password was right, and the nonce has had its time.
    pub(crate) stale: bool,
}

impl Digest {
    /// The strongest of the challenges in `fields` that can be answered.
    pub(crate) fn strongest<'a>(fields: impl Iterator<Item = &'a str>) -> Option<Self> {
        let challenges = fields.flat_map(challenges).filter(|challenge| challenge.scheme == "digest");
        // Of equals the first: a server says first what it likes best.
        let all: Vec<_> = challenges.filter_map(|challenge| Self::of(&challenge)).collect();
        all.into_iter().rev().max_by_key(|digest| digest.algorithm)
    }

    fn of(challenge: &Challenge) -> Option<Self> {
        let written = challenge.get("algorithm");
        let name = written.unwrap_or("MD5").to_ascii_uppercase();
        let (name, session) = match name.strip_suffix("-SESS") {
            Some(name) => (name, true),
            None => (name.as_str(), false),
        };
        let algorithm = match name {
            "MD5" => Algorithm::Md5,
            "SHA-256" => Algorithm::Sha256,
            "SHA-512-256" => Algorithm::Sha512Short,
            _ => return None,
        };
        let counted = match challenge.get("qop") {
            None => false,
            Some(list) if list.split([',', ' ']).any(|word| word.eq_ignore_ascii_case("auth")) => true,
            // Only `auth-int`, which nobody asks for.
            Some(_) => return None,
        };
        let yes = |name| challenge.get(name).is_some_and(|word| word.eq_ignore_ascii_case("true"));
        Some(Self {
            realm: challenge.get("realm")?.to_owned(),
            nonce: challenge.get("nonce")?.to_owned(),
            opaque: challenge.get("opaque").map(str::to_owned),
            algorithm,
            written: written.map(str::to_owned),
            session,
            counted,
            hash_user: yes("userhash"),
            stale: yes("stale"),
        })
    }

    /// The value of `Authorization` for a first request with this challenge. `cnonce` is random.
    pub(crate) fn answer(&self, login: &Login, method: &str, path: &str, cnonce: &str) -> String {
        const COUNT: &str = "00000001";
        let hash = |text: &str| self.algorithm.hash(text);
        let (realm, nonce) = (&self.realm, &self.nonce);
        let mut secret = hash(&format!("{}:{realm}:{}", login.user(), login.password()));
        if self.session {
            secret = hash(&format!("{secret}:{nonce}:{cnonce}"));
        }
        let asked = hash(&format!("{method}:{path}"));
        let response = match self.counted {
            true => hash(&format!("{secret}:{nonce}:{COUNT}:{cnonce}:auth:{asked}")),
            false => hash(&format!("{secret}:{nonce}:{asked}")),
        };
        let user = match self.hash_user {
            true => hash(&format!("{}:{realm}", login.user())),
            false => login.user().to_owned(),
        };
        let quoted = |name: &str, value: &str| {
            format!("{name}=\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""))
        };
        let mut parts = vec![
            quoted("username", &user),
            quoted("realm", realm),
            quoted("nonce", nonce),
            quoted("uri", path),
            quoted("response", &response),
        ];
        parts.extend(
            self.written
                .as_deref()
                .filter(|name| name.chars().all(is_token))
                .map(|name| format!("algorithm={name}")),
        );
        if self.counted {
            parts.push(format!("qop=auth, nc={COUNT}"));
        }
        if self.counted || self.session {
            parts.push(quoted("cnonce", cnonce));
        }
        parts.extend(self.opaque.as_deref().map(|opaque| quoted("opaque", opaque)));
        if self.hash_user {
            parts.push("userhash=true".to_owned());
        }
        format!("Digest {}", parts.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// RFC 7616 § 3.9.1.
    const RFC: [&str; 2] = [
        r#"Digest realm="http-auth@example.org", qop="auth, auth-int", algorithm=SHA-256, nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS""#,
        r#"Digest realm="http-auth@example.org", qop="auth, auth-int", algorithm=MD5, nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS""#,
    ];
    const CNONCE: &str = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ";

    fn answer(
        fields: &[&str],
        user: &str,
        password: &str,
        path: &str,
        cnonce: &str,
    ) -> Vec<(String, String)> {
        let login = Login::new(user, password).unwrap();
        let digest = Digest::strongest(fields.iter().copied()).unwrap();
        challenges(&digest.answer(&login, "GET", path, cnonce)).remove(0).parameters
    }

    fn of(answer: &[(String, String)], name: &str) -> String {
        answer.iter().find(|part| part.0 == name).map(|part| part.1.clone()).unwrap_or_default()
    }

    #[test]
    fn the_rfcs_own_examples() {
        let check = |fields: &[&str], algorithm: &str, response: &str| {
            let answer = answer(fields, "Mufasa", "Circle of Life", "/dir/index.html", CNONCE);
            assert_eq!(
                (of(&answer, "response").as_str(), of(&answer, "algorithm").as_str()),
                (response, algorithm)
            );
            assert_eq!(of(&answer, "nc"), "00000001");
            assert_eq!(of(&answer, "opaque"), "FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS");
        };
        let sha256 = "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1";
        check(&RFC[1..], "MD5", "8ca523f5e9506fed4657c9700eebdbec");
        check(&RFC[..1], "SHA-256", sha256);
        // The stronger of both, wherever it stands.
        check(&[&RFC.join(", ")], "SHA-256", sha256);
        check(&[RFC[1], RFC[0]], "SHA-256", sha256);
        // RFC 2069 as corrected by its erratum 749: no counting.
        let old = r#"Digest realm="testrealm@host.com", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093", opaque="5ccc069c403ebaf9f0171e9517f40e41""#;
        let answer = answer(&[old], "Mufasa", "CircleOfLife", "/dir/index.html", CNONCE);
        assert_eq!(of(&answer, "response"), "1949323746fe6a43ef61f9606e7febea");
        assert_eq!((of(&answer, "nc"), of(&answer, "algorithm")), (String::new(), String::new()));
    }

    #[test]
    fn what_cannot_be_answered_is_passed_over() {
        for field in [
            r#"Basic realm="x""#,
            r#"Digest realm="x""#,
            r#"Digest realm="x", nonce="y", algorithm=SHA-1"#,
            r#"Digest realm="x", nonce="y", qop="auth-int""#,
            "Digest",
            "",
        ] {
            assert_eq!(Digest::strongest([field].into_iter()), None, "{field}");
        }
        let mixed = r#"Negotiate YWJj==, Basic realm="a, b", Digest realm="a \"b\"", nonce=n, stale=TRUE"#;
        let digest = Digest::strongest([mixed].into_iter()).unwrap();
        assert_eq!((digest.realm.as_str(), digest.nonce.as_str(), digest.stale), ("a \"b\"", "n", true));
        assert_eq!(challenges(mixed).len(), 3);
    }

    proptest! {
        #[test]
        fn any_field_is_read(field in "(Digest |Basic |realm=|nonce=|qop=|algorithm=|MD5|SHA-256|-sess|auth|,|\"|\\\\|[ -~]|ä){0,24}") {
            if let Some(digest) = Digest::strongest([field.as_str()].into_iter()) {
                let login = Login::new("a\"b", "c").unwrap();
                digest.answer(&login, "GET", "/", "n");
            }
        }

        /// What is written can be read again, whatever the device calls itself.
        #[test]
        fn nothing_leaves_its_quotes(realm in "[ -~]{0,20}", nonce in "[ -~]{1,20}", user in "[!-9;-~]{1,12}") {
            let escaped = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
            let field = format!("Digest realm=\"{}\", nonce=\"{}\", qop=\"auth\"", escaped(&realm), escaped(&nonce));
            let answer = answer(&[&field], &user, "p", "/x", "n");
            prop_assert_eq!(of(&answer, "realm"), realm);
            prop_assert_eq!(of(&answer, "nonce"), nonce);
            prop_assert_eq!(of(&answer, "username"), user);
            prop_assert_eq!(of(&answer, "uri"), "/x");
        }
    }
}
