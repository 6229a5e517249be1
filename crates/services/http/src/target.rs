//! What a request's target means. Strict: what nobody writes in good faith is refused, not repaired.

use pilotlight_lab::{MacAddr, Marks};

/// The longest path that is looked at, in bytes.
pub const LONGEST_PATH: usize = 1024;

/// A page of this server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// `/boot.ipxe`: the script that every iPXE begins with.
    Boot,
    /// `/assets/autoexec.ipxe`: what an iPXE that came by HTTP looks for beside itself before it asks for an address.
    Autoexec,
    /// `/grub/grub.cfg…`: what a GRUB that came by HTTP looks for, by its name from `grub.cfg` on.
    Grub(String),
    /// `/ipxe?mac=…`: the script of one machine, or of any when the address is left out.
    Script(Asking),
    /// `/node/MAC/NAME`: one of the texts that tell a node what it is to be.
    Node(MacAddr, String),
    /// `/node/MAC/ready` and `/node/MAC/disk`, for POST: a node says what has become of it.
    Report(MacAddr, Report),
    /// `/node/MAC/token`, for POST: a node asks for what it asks for certificates with.
    Token(MacAddr),
    /// `/node/MAC/certificate`, for POST: a node asks for a certificate.
    Certificate(MacAddr),
    /// `/pki/NAME`: what is to be trusted.
    Authority(Authority),
    /// `/ignition?mac=…` and its like, as Matchbox has them.
    Matchbox(Selected, Asking),
    /// `/assets/PATH`: the file at this path beneath what is served. Never empty, never absolute, without `.`
    /// and `..`.
    Asset(String),
    /// `/v2/`: whether this is a registry of container images (OCI Distribution Specification 1.1).
    Registry,
    /// `/v2/NAME/manifests/REFERENCE`: what an image is made of, by its name and a tag or digest.
    Manifest {
        /// The repository.
        repository: String,
        /// A tag, or `sha256:` and a digest.
        reference: String,
    },
    /// `/v2/NAME/blobs/DIGEST`: a part of an image, by its SHA-256 in small hexadecimal digits.
    Blob(String),
    /// `/healthz`: whether the server answers.
    Health,
}

/// The machine that a query is about, by what it says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Asking {
    /// `mac`: its hardware address.
    pub mac: Option<MacAddr>,
    /// `uuid` and `serial`; what is no UUID counts as nothing.
    pub marks: Marks,
    /// `asked`: how often it has asked since it was recognised by these.
    pub asked: u8,
}

/// What a node reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Report {
    /// That it is up.
    Ready,
    /// What has become of a disk that the lab names for it.
    Disk,
}

/// What Matchbox's pages give of the machine that the query selects (Matchbox 0.11, docs/api-http.md).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Selected {
    /// `/ignition`: its Ignition configuration.
    Ignition,
    /// `/cloud`: its cloud-config.
    Cloud,
    /// `/generic`: any other text that configures it.
    Generic,
    /// `/metadata`: what the lab says of it, as lines of the form `NAME=value`.
    Metadata,
    /// `/grub`: what its GRUB does.
    Grub,
}

/// What of the Pi's certificate authority is for everybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Authority {
    /// `/pki/kubernetes.crt`: what is trusted around the API.
    Kubernetes,
    /// `/pki/etcd.crt`: what is trusted around etcd.
    Etcd,
    /// `/pki/front-proxy.crt`: what is trusted of the front proxy.
    FrontProxy,
    /// `/pki/service-account.pub`: the key that checks service accounts' tokens.
    ServiceAccount,
}

/// Why a target is no page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// A well-formed path that means nothing here.
    #[error("no such page")]
    Unknown,
    /// A `%` without two hexadecimal digits after it.
    #[error("a broken percent escape")]
    Escape,
    /// A control character, a slash or backslash in disguise, or bytes that are no UTF-8.
    #[error("a character that no name here has")]
    Character,
    /// A `.` or `..`, in disguise or not.
    #[error("the path climbs with dots")]
    Climbs,
    /// Longer than [`LONGEST_PATH`].
    #[error("the path is too long")]
    TooLong,
    /// The `mac` in the query is no hardware address.
    #[error("the mac in the query is no hardware address")]
    Mac,
}

impl Target {
    /// Reads the path and the query of a request.
    ///
    /// # Errors
    /// [`TargetError::Unknown`] for a page that there is not, the others for a malformed request.
    pub fn parse(path: &str, query: Option<&str>) -> Result<Self, TargetError> {
        if path.len() > LONGEST_PATH || query.is_some_and(|query| query.len() > LONGEST_PATH) {
            return Err(TargetError::TooLong);
        }
        let path = path.strip_prefix('/').ok_or(TargetError::Unknown)?;
        let segments: Vec<String> = path.split('/').map(segment).collect::<Result<_, _>>()?;
        let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
        match segments.as_slice() {
            ["boot.ipxe"] => Ok(Self::Boot),
            ["ipxe"] => asking(query.unwrap_or_default()).map(Self::Script),
            ["node", mac, name] if !name.is_empty() => {
                let mac = mac.parse().map_err(|_| TargetError::Unknown)?;
                Ok(match *name {
                    "ready" => Self::Report(mac, Report::Ready),
                    "disk" => Self::Report(mac, Report::Disk),
                    "token" => Self::Token(mac),
                    "certificate" => Self::Certificate(mac),
                    name => Self::Node(mac, name.to_owned()),
                })
            }
            ["pki", "kubernetes.crt"] => Ok(Self::Authority(Authority::Kubernetes)),
            ["pki", "etcd.crt"] => Ok(Self::Authority(Authority::Etcd)),
            ["pki", "front-proxy.crt"] => Ok(Self::Authority(Authority::FrontProxy)),
            ["pki", "service-account.pub"] => Ok(Self::Authority(Authority::ServiceAccount)),
            ["v2"] | ["v2", ""] => Ok(Self::Registry),
            ["v2", name @ .., "manifests", reference] if is_repository(name) && !reference.is_empty() => {
                Ok(Self::Manifest { repository: name.join("/"), reference: (*reference).to_owned() })
            }
            ["v2", name @ .., "blobs", digest] if is_repository(name) => {
                digest_of(digest).map(Self::Blob).ok_or(TargetError::Unknown)
            }
            ["ignition"] => selected(Selected::Ignition, query),
            ["cloud"] => selected(Selected::Cloud, query),
            ["generic"] => selected(Selected::Generic, query),
            ["metadata"] => selected(Selected::Metadata, query),
            ["grub"] => selected(Selected::Grub, query),
            ["healthz"] => Ok(Self::Health),
            ["grub", file] | ["assets", "grub", file] if file.starts_with("grub.cfg") => {
                Ok(Self::Grub((*file).to_owned()))
            }
            ["assets", "autoexec.ipxe"] => Ok(Self::Autoexec),
            ["assets", file @ ..] if !file.is_empty() && !file.contains(&"") => {
                Ok(Self::Asset(file.join("/")))
            }
            _ => Err(TargetError::Unknown),
        }
    }

    /// The machine that the target names.
    pub fn mac(&self) -> Option<MacAddr> {
        match self {
            Self::Script(Asking { mac, .. }) | Self::Matchbox(_, Asking { mac, .. }) => *mac,
            Self::Node(mac, _) | Self::Report(mac, _) | Self::Token(mac) | Self::Certificate(mac) => {
                Some(*mac)
            }
            Self::Boot | Self::Autoexec | Self::Grub(_) | Self::Asset(_) => None,
            Self::Authority(_) | Self::Health => None,
            Self::Registry | Self::Manifest { .. } | Self::Blob(_) => None,
        }
    }
}

fn is_repository(name: &[&str]) -> bool {
    !name.is_empty() && !name.contains(&"")
}

fn digest_of(text: &str) -> Option<String> {
    let hex = text.strip_prefix("sha256:")?;
    let small = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    (hex.len() == 64 && hex.bytes().all(small)).then(|| hex.to_owned())
}

fn selected(what: Selected, query: Option<&str>) -> Result<Target, TargetError> {
    Ok(Target::Matchbox(what, asking(query.unwrap_or_default())?))
}

fn segment(raw: &str) -> Result<String, TargetError> {
    let text = decode(raw)?;
    match text.as_str() {
        "." | ".." => Err(TargetError::Climbs),
        text if text.contains(['/', '\\']) => Err(TargetError::Character),
        _ => Ok(text),
    }
}

fn decode(raw: &str) -> Result<String, TargetError> {
    let text = unescaped(raw)?;
    if text.chars().any(char::is_control) { Err(TargetError::Character) } else { Ok(text) }
}

fn unescaped(raw: &str) -> Result<String, TargetError> {
    let mut bytes = Vec::with_capacity(raw.len());
    let mut rest = raw.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        if *byte != b'%' {
            bytes.push(*byte);
            continue;
        }
        let ([high, low], after) = rest.split_first_chunk().ok_or(TargetError::Escape)?;
        let digit = |byte: u8| char::from(byte).to_digit(16).ok_or(TargetError::Escape);
        bytes.push((digit(*high)? << 4 | digit(*low)?) as u8);
        rest = after;
    }
    String::from_utf8(bytes).map_err(|_| TargetError::Character)
}

/// The names and values of a query, or of a form (WHATWG URL, "application/x-www-form-urlencoded parsing"); what cannot be
/// read is left out.
pub fn pairs(query: &str) -> Vec<(String, String)> {
    read_pairs(query, decode)
}

/// The same of a form whose values may be texts of several lines, which are not to be repeated where a line means something.
pub fn texts(form: &str) -> Vec<(String, String)> {
    read_pairs(form, unescaped)
}

fn read_pairs(text: &str, read: fn(&str) -> Result<String, TargetError>) -> Vec<(String, String)> {
    let pair = |pair: &str| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let read = |text: &str| read(&text.replace('+', " ")).ok();
        Some((read(name)?, read(value)?))
    };
    text.split('&').filter(|pair| !pair.is_empty()).filter_map(pair).collect()
}

fn asking(query: &str) -> Result<Asking, TargetError> {
    let (mac, pairs) = (mac_of(query)?, pairs(query));
    let said = |name: &str| {
        let found = pairs.iter().find(|(known, value)| known == name && !value.is_empty());
        found.map(|(_, value)| value.clone())
    };
    let marks = Marks { uuid: said("uuid").and_then(|text| text.parse().ok()), serial: said("serial") };
    Ok(Asking { mac, marks, asked: said("asked").and_then(|text| text.parse().ok()).unwrap_or(0) })
}

fn mac_of(query: &str) -> Result<Option<MacAddr>, TargetError> {
    let value = query.split('&').find_map(|pair| pair.strip_prefix("mac="));
    // An iPXE that has no such setting leaves the value empty.
    let value = value.map(decode).transpose()?.filter(|value| !value.is_empty());
    value.map(|value| value.parse().map_err(|_| TargetError::Mac)).transpose()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn targets() {
        let check = |target: &str, expect: Result<Target, TargetError>| {
            let (path, query) =
                target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
            assert_eq!(Target::parse(path, query), expect, "{target}");
        };
        let mac = MacAddr([0x52, 0x54, 0, 0x12, 0x34, 0x56]);
        let asset = |path: &str| Ok(Target::Asset(path.to_owned()));
        use TargetError::*;
        check("/boot.ipxe", Ok(Target::Boot));
        check("/boot.ipxe?x=1", Ok(Target::Boot));
        check("/assets/autoexec.ipxe", Ok(Target::Autoexec));
        check("/healthz", Ok(Target::Health));
        check("/grub/grub.cfg", Ok(Target::Grub("grub.cfg".to_owned())));
        check("/assets/grub/grub.cfg-0A4D000C", Ok(Target::Grub("grub.cfg-0A4D000C".to_owned())));
        check("/grub/x86_64-efi/command.lst", Err(Unknown));
        let script = |mac: Option<MacAddr>, uuid: Option<&str>, serial: Option<&str>, asked: u8| {
            let uuid = uuid.map(|text| text.parse().unwrap());
            Ok(Target::Script(Asking {
                mac,
                marks: Marks { uuid, serial: serial.map(str::to_owned) },
                asked,
            }))
        };
        check("/ipxe", script(None, None, None, 0));
        check("/ipxe?mac=", script(None, None, None, 0));
        check("/ipxe?mac=52-54-00-12-34-56", script(Some(mac), None, None, 0));
        check("/ipxe?a=b&mac=52%3A54%3a00:12:34:56&c", script(Some(mac), None, None, 0));
        let uuid = "4c4c4544-0042-3510-8052-b4c04f564433";
        check(
            &format!("/ipxe?mac=52-54-00-12-34-56&uuid={uuid}&serial=CZ%201%2FA&asked=2"),
            script(Some(mac), Some(uuid), Some("CZ 1/A"), 2),
        );
        check("/ipxe?uuid=&serial=&asked=x", script(None, None, None, 0));
        check("/ipxe?uuid=4c4c4544&serial=%zz&asked=256", script(None, None, None, 0));
        check("/ipxe?mac=52-54", Err(Mac));
        check("/ipxe?mac=%zz", Err(Escape));
        let page = |name: &str| Ok(Target::Node(mac, name.to_owned()));
        check("/node/52-54-00-12-34-56/preseed.cfg", page("preseed.cfg"));
        check("/node/52:54:00:12:34:56/user-data", page("user-data"));
        check("/node/52-54-00-12-34-56/ready", Ok(Target::Report(mac, Report::Ready)));
        check("/node/52-54-00-12-34-56/disk", Ok(Target::Report(mac, Report::Disk)));
        check("/node/52-54-00-12-34-56/token", Ok(Target::Token(mac)));
        check("/node/52-54-00-12-34-56/certificate", Ok(Target::Certificate(mac)));
        check("/pki/etcd.crt", Ok(Target::Authority(Authority::Etcd)));
        check("/pki/root.crt", Err(Unknown));
        check("/v2", Ok(Target::Registry));
        check("/v2/", Ok(Target::Registry));
        let digest = "ab".repeat(32);
        check(&format!("/v2/lab/pause/blobs/sha256:{digest}"), Ok(Target::Blob(digest.clone())));
        check(&format!("/v2/pause/blobs/sha256:{}", digest.to_uppercase()), Err(Unknown));
        check(&format!("/v2/blobs/sha256:{digest}"), Err(Unknown));
        let manifest = |repository: &str, reference: &str| {
            Ok(Target::Manifest { repository: repository.to_owned(), reference: reference.to_owned() })
        };
        check("/v2/pause/manifests/3.10?ns=registry.k8s.io", manifest("pause", "3.10"));
        check("/v2/a/manifests/b/manifests/sha256:00", manifest("a/manifests/b", "sha256:00"));
        check("/v2/a//manifests/b", Err(Unknown));
        check("/v2/a/../manifests/b", Err(Climbs));
        check("/v2/a/tags/list", Err(Unknown));
        check("/node/52-54-00-12-34-56/", Err(Unknown));
        check("/node/52-54-00-12-34-56", Err(Unknown));
        check("/node/52-54-00-12-34-56/a/b", Err(Unknown));
        let nobody = Asking::default();
        let named = Asking { mac: Some(mac), ..Asking::default() };
        let marks = Marks { uuid: None, serial: Some("a 1".to_owned()) };
        check(
            "/ignition?uuid=x&mac=52-54-00-12-34-56&os=installed",
            Ok(Target::Matchbox(Selected::Ignition, named.clone())),
        );
        check(
            "/ignition?serial=a%201",
            Ok(Target::Matchbox(Selected::Ignition, Asking { marks, ..Asking::default() })),
        );
        check("/cloud?mac=1", Err(Mac));
        check("/generic", Ok(Target::Matchbox(Selected::Generic, nobody.clone())));
        check("/metadata?mac=", Ok(Target::Matchbox(Selected::Metadata, nobody)));
        check("/grub?mac=52-54-00-12-34-56", Ok(Target::Matchbox(Selected::Grub, named)));
        check("/node/52-54-00-12-34-5/preseed.cfg", Err(Unknown));
        check("/node/../preseed.cfg", Err(Climbs));
        check("/assets/debian-installer/13/amd64/linux", asset("debian-installer/13/amd64/linux"));
        check("/assets/a%20b+c", asset("a b+c"));
        check("/assets/%61", asset("a"));
        check("/assets/...", asset("..."));
        check("/assets/%C3%A9", asset("é"));
        for empty in [
            "/assets",
            "/assets/",
            "/assets//a",
            "/assets/a/",
            "/",
            "",
            "//",
            "/x",
            "*",
            "/assets//etc/passwd",
        ] {
            check(empty, Err(Unknown));
        }
        for climb in ["/assets/..", "/assets/../x", "/assets/%2e%2e/x", "/assets/.%2E", "/assets/./x", "/.."]
        {
            check(climb, Err(Climbs));
        }
        for disguise in [
            "/assets/%2e%2e%2fx",
            "/assets/%2Fetc",
            "/assets/a%5cb",
            "/assets/a\\b",
            "/assets/a%00",
            "/assets/%0a",
            "/assets/%ff",
            "/assets/%7f",
        ] {
            check(disguise, Err(Character));
        }
        // Escapes are undone once.
        check("/assets/%252e%252e", asset("%2e%2e"));
        for broken in ["/assets/%", "/assets/%2", "/assets/%g0", "/assets/%é", "/%+1"] {
            check(broken, Err(Escape));
        }
        check(&format!("/assets/{}", "a".repeat(LONGEST_PATH)), Err(TooLong));
    }

    proptest! {
        #[test]
        fn any_target_is_read_or_refused(
            path in "(/|%|%2e|%2f|%00|\\.|[a-z]|assets|node|\\PC){0,20}", query in proptest::option::of(".{0,40}"),
        ) {
            for path in [path.clone(), format!("/assets/{path}")] {
                if let Ok(Target::Asset(file)) = Target::parse(&path, query.as_deref()) {
                    prop_assert!(!file.is_empty() && !file.starts_with('/') && !file.contains('\0'));
                    prop_assert!(file.split('/').all(|part| !matches!(part, "" | "." | "..")));
                }
            }
        }
    }
}
