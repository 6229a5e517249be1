//! The bill of materials in CycloneDX 1.6 (<https://cyclonedx.org/docs/1.6/json/>): what scanners match against
//! known vulnerabilities. Packages are named by package URLs, each with the digest of the .deb that it came in.

use std::collections::{BTreeMap, BTreeSet};

use pilotlight_tree::{Kind, Package};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::{
    Graph,
    copyright::{self, Licence},
    graph::field,
    manifest::hex,
};

/// What a package is to the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// Installed in the root.
    Root,
    /// Single files of it are handed to other machines.
    Payload,
    /// Loaded by the board before the kernel.
    Firmware,
    /// Linked into our programs.
    Linked,
}

impl Part {
    fn name(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Payload => "payload",
            Self::Firmware => "firmware",
            Self::Linked => "linked",
        }
    }
}

/// A Debian package in the image.
#[derive(Debug, Clone)]
pub struct Deb<'a> {
    /// The package.
    pub package: &'a Package,
    /// What it is to the image.
    pub part: Part,
    /// Who made it, as package URLs name them: `debian`, `raspbian`.
    pub vendor: String,
    /// SHA-256 of the .deb in hex.
    pub sha256: String,
}

/// A Rust crate that is linked into our programs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Crate {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// SHA-256 of the .crate in hex; none for a crate of this workspace.
    pub sha256: Option<String>,
}

/// Something that lies on the data partition for other machines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handed {
    /// What it is, in CycloneDX's words: `operating-system`, `container` or `file`.
    pub kind: &'static str,
    /// Where it is beneath `/assets/`.
    pub folder: String,
    /// Its name.
    pub name: String,
    /// Its version; empty where it has none.
    pub version: String,
    /// Its files.
    pub files: Vec<HandedFile>,
    /// The packages that the builder made it of.
    pub debs: Vec<HandedDeb>,
}

/// A file of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HandedFile {
    /// Its name.
    pub path: String,
    /// Where it came from; empty where the builder made it.
    pub url: String,
    /// SHA-256 in hex.
    pub sha256: String,
}

/// A package that it was made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HandedDeb {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its architecture, as Debian calls it.
    pub architecture: String,
    /// SHA-256 of the .deb in hex.
    pub sha256: String,
}

impl Handed {
    fn reference(&self) -> String {
        format!("handed:{}", self.folder)
    }
}

/// What the bill is about.
#[derive(Debug, Clone)]
pub struct Image<'a> {
    /// Its name, such as `pilotlight-rpi3`.
    pub name: &'a str,
    /// The builder's version.
    pub version: &'a str,
    /// When its packages were published, in seconds since 1970.
    pub time: u32,
    /// The packages.
    pub debs: Vec<Deb<'a>>,
    /// The crates.
    pub crates: Vec<Crate>,
}

/// The bill as JSON text.
pub fn cyclonedx(image: &Image<'_>) -> String {
    let distribution = distribution(&image.debs);
    let all: Vec<&Package> = image.debs.iter().map(|deb| deb.package).collect();
    let mut components: BTreeMap<String, Value> = BTreeMap::new();
    for deb in &image.debs {
        let url = deb_url(deb, distribution.as_ref());
        let component = deb_component(deb, &url, &copyright::licences(deb.package, &all));
        components.entry(url).or_insert(component);
    }
    for one in &image.crates {
        let url = crate_url(one);
        components.insert(url.clone(), crate_component(one, &url));
    }
    let dependencies = dependencies(image, distribution.as_ref(), components.keys());
    let system = distribution.as_ref().map(|system| {
        json!({
            "type": "operating-system", "bom-ref": "distribution", "name": system.id, "version": system.version,
        })
    });
    let mut bill = json!({
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "timestamp": timestamp(image.time),
            "tools": { "components": [
                { "type": "application", "name": "pilotlight", "version": image.version },
            ] },
            "component": {
                "type": "firmware", "bom-ref": "image", "name": image.name, "version": image.version,
            },
        },
        "components": system.into_iter().chain(components.into_values()).collect::<Vec<_>>(),
        "dependencies": dependencies,
    });
    finished(&mut bill)
}

/// The bill with what the image hands to other machines besides; `bill` is one that [`cyclonedx`] made.
///
/// # Errors
/// It is no JSON.
pub fn with_handed(bill: &str, handed: &[Handed]) -> Result<String, serde_json::Error> {
    let mut bill: Value = serde_json::from_str(bill)?;
    if let Some(components) = bill["components"].as_array_mut() {
        components.extend(handed.iter().map(handed_component));
    }
    if let Some(all) = bill["dependencies"][0]["dependsOn"].as_array_mut() {
        all.extend(handed.iter().map(|one| json!(one.reference())));
    }
    if let Some(bill) = bill.as_object_mut() {
        bill.remove("serialNumber");
    }
    Ok(finished(&mut bill))
}

/// No randomness: the bill is named by its own digest.
fn finished(bill: &mut Value) -> String {
    bill["serialNumber"] = json!(serial_number(&bill.to_string()));
    let mut text = serde_json::to_string_pretty(bill).unwrap_or_default();
    text.push('\n');
    text
}

fn handed_component(one: &Handed) -> Value {
    let file = |file: &HandedFile| {
        let mut component = json!({
            "type": "file",
            "bom-ref": format!("{}/{}", one.reference(), file.path),
            "name": file.path,
            "hashes": [{ "alg": "SHA-256", "content": file.sha256 }],
        });
        if !file.url.is_empty() {
            component["externalReferences"] = json!([{ "type": "distribution", "url": file.url }]);
        }
        component
    };
    let deb = |deb: &HandedDeb| {
        let HandedDeb { name, version, architecture, sha256 } = deb;
        let url = format!("pkg:deb/debian/{}@{}?arch={architecture}", encoded(name), encoded(version));
        json!({
            "type": "library",
            "bom-ref": format!("{}/{url}", one.reference()),
            "name": name,
            "version": version,
            "hashes": [{ "alg": "SHA-256", "content": sha256 }],
            "purl": url,
        })
    };
    let inner: Vec<Value> = one.files.iter().map(file).chain(one.debs.iter().map(deb)).collect();
    let mut component = json!({
        "type": one.kind,
        "bom-ref": one.reference(),
        "name": one.name,
        "properties": [{ "name": "pilotlight:part", "value": "handed" }],
        "components": inner,
    });
    if !one.version.is_empty() {
        component["version"] = json!(one.version);
    }
    component
}

/// The distribution as its os-release says.
struct Distribution {
    id: String,
    version: String,
}

fn distribution(debs: &[Deb<'_>]) -> Option<Distribution> {
    let release = debs.iter().filter(|deb| deb.part == Part::Root).find_map(|deb| {
        let (_, node) = deb.package.data.iter().find(|(path, _)| path.as_bytes() == b"usr/lib/os-release")?;
        if let Kind::File(content) = &node.kind { std::str::from_utf8(content).ok() } else { None }
    })?;
    let value = |key: &str| {
        let line = release.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='))?;
        Some(line.trim_matches('"').to_owned())
    };
    Some(Distribution { id: value("ID")?, version: value("VERSION_ID")? })
}

fn deb_url(deb: &Deb<'_>, distribution: Option<&Distribution>) -> String {
    let Package { name, version, architecture, .. } = deb.package;
    let mut url =
        format!("pkg:deb/{}/{}@{}?arch={architecture}", deb.vendor, encoded(name), encoded(version));
    if let Some(Distribution { id, version }) = distribution {
        url.push_str(&format!("&distro={}-{}", encoded(id), encoded(version)));
    }
    let (source, source_version) = source(deb.package);
    if source != *name || source_version != *version {
        url.push_str(&format!("&upstream={}", encoded(&source)));
        if source_version != *version {
            url.push_str(&format!("%40{}", encoded(&source_version)));
        }
    }
    url
}

fn deb_component(deb: &Deb<'_>, url: &str, licences: &[Licence]) -> Value {
    let package = deb.package;
    let (source, source_version) = source(package);
    let mut component = json!({
        "type": if deb.part == Part::Firmware { "firmware" } else { "library" },
        "bom-ref": url,
        "supplier": { "name": field(package, "Maintainer") },
        "name": package.name,
        "version": package.version,
        "description": field(package, "Description").lines().next().unwrap_or_default(),
        "hashes": [{ "alg": "SHA-256", "content": deb.sha256 }],
        "purl": url,
        "properties": [
            { "name": "pilotlight:part", "value": deb.part.name() },
            { "name": "pilotlight:source", "value": format!("{source} {source_version}") },
        ],
    });
    if !licences.is_empty() {
        let licences = licences.iter().map(|licence| match licence {
            Licence::Spdx(id) => json!({ "license": { "id": id } }),
            Licence::Named(name) => json!({ "license": { "name": name } }),
        });
        component["licenses"] = licences.collect();
    }
    component
}

/// Name and version of the source package, where known vulnerabilities are kept.
fn source(package: &Package) -> (String, String) {
    let text = field(package, "Source");
    let (name, version) = text.split_once('(').unwrap_or((&text, ""));
    let or = |text: &str, other: &str| if text.is_empty() { other.to_owned() } else { text.to_owned() };
    (or(name.trim(), &package.name), or(version.trim_end_matches(')').trim(), &package.version))
}

fn crate_url(one: &Crate) -> String {
    format!("pkg:cargo/{}@{}", encoded(&one.name), encoded(&one.version))
}

fn crate_component(one: &Crate, url: &str) -> Value {
    let mut component = json!({
        "type": "library",
        "bom-ref": url,
        "name": one.name,
        "version": one.version,
        "purl": url,
        "properties": [{ "name": "pilotlight:part", "value": Part::Linked.name() }],
    });
    if let Some(sha256) = &one.sha256 {
        component["hashes"] = json!([{ "alg": "SHA-256", "content": sha256 }]);
    }
    component
}

/// The image holds everything; installed packages need each other as their control files say.
fn dependencies<'a>(
    image: &Image<'_>,
    distribution: Option<&Distribution>,
    all: impl Iterator<Item = &'a String>,
) -> Value {
    let mut list = vec![json!({ "ref": "image", "dependsOn": all.collect::<Vec<_>>() })];
    let installed: Vec<&Deb<'_>> = image.debs.iter().filter(|deb| deb.part == Part::Root).collect();
    let packages: Vec<Package> = installed.iter().map(|deb| deb.package.clone()).collect();
    let graph = Graph::of(&packages);
    let mut needs: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (at, deb) in installed.iter().enumerate() {
        let urls = graph.needs(at).iter().map(|need| deb_url(installed[*need], distribution));
        needs.entry(deb_url(deb, distribution)).or_default().extend(urls);
    }
    for (url, needs) in needs.iter().filter(|(_, needs)| !needs.is_empty()) {
        list.push(json!({ "ref": url, "dependsOn": needs }));
    }
    list.into()
}

/// As package URLs want it: everything but letters, digits and `.-_~:` as percent and two hexadecimal digits.
fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_~:".contains(&byte);
    text.bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

/// A UUID of version 8 (RFC 9562) out of a digest.
fn serial_number(text: &str) -> String {
    let mut digest: [u8; 32] = Sha256::digest(text).into();
    digest[6] = digest[6] & 0x0f | 0x80;
    digest[8] = digest[8] & 0x3f | 0x80;
    let digits = hex(&digest[..16]);
    let parts = [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]];
    format!("urn:uuid:{}", parts.join("-"))
}

/// RFC 3339, in UTC.
fn timestamp(seconds: u32) -> String {
    let (days, second) = (i64::from(seconds / 86_400), seconds % 86_400);
    // Years that begin in March have their odd day at the end; counted from 0000-03-01.
    let days = days + 719_468;
    let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, more) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    let year = year + era * 400 + more;
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use pilotlight_tree::{Meta, Node, TreePath};

    use super::*;

    #[test]
    fn times() {
        for (seconds, expect) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_789_199_741, "2026-09-12T07:55:41Z"),
            (u32::MAX, "2106-02-07T06:28:15Z"),
        ] {
            assert_eq!(timestamp(seconds), expect);
        }
    }

    #[test]
    fn a_bill() {
        let control = "Package: libstdc++6\nSource: gcc-14 (14.2.0-19)\nMaintainer: Some One <one@example.org>\n\
                       Description: library\n more\nDepends: base\n";
        let package = |name: &str, version: &str, control: &str, data| Package {
            name: name.to_owned(),
            version: version.to_owned(),
            architecture: "armhf".to_owned(),
            control: BTreeMap::from([("control".to_owned(), control.to_owned().into())]),
            data,
        };
        let release = Node {
            meta: Meta::root(0o644, 0),
            kind: Kind::File("NAME=\"Debian\"\nVERSION_ID=\"13\"\nID=debian\n".into()),
        };
        let packages = [
            package("libstdc++6", "1:14.2.0-19+b1", control, Vec::new()),
            package(
                "base",
                "13",
                "Package: base\n",
                vec![(TreePath::literal("usr/lib/os-release"), release)],
            ),
        ];
        let deb =
            |package| Deb { package, part: Part::Root, vendor: "debian".to_owned(), sha256: "ab".repeat(32) };
        let image = Image {
            name: "pilotlight-x",
            version: "0.1.0",
            time: 0,
            debs: packages.iter().map(deb).collect(),
            crates: vec![Crate { name: "mio".to_owned(), version: "1.0.0+x".to_owned(), sha256: None }],
        };
        let text = cyclonedx(&image);
        assert_eq!(text, cyclonedx(&image));
        let bill: Value = serde_json::from_str(&text).unwrap();
        let urls: Vec<&str> =
            bill["components"].as_array().unwrap().iter().filter_map(|one| one["purl"].as_str()).collect();
        let library = "pkg:deb/debian/libstdc%2B%2B6@1:14.2.0-19%2Bb1?arch=armhf&distro=debian-13&upstream=gcc-14%4014.2.0-19";
        let base = "pkg:deb/debian/base@13?arch=armhf&distro=debian-13";
        assert_eq!(urls, ["pkg:cargo/mio@1.0.0%2Bx", base, library]);
        assert_eq!(bill["dependencies"][1], json!({ "ref": library, "dependsOn": [base] }));
        assert_eq!(bill["components"][0]["type"], "operating-system");
        let handed = Handed {
            kind: "operating-system",
            folder: "flatcar/1.2.3/amd64".to_owned(),
            name: "Flatcar".to_owned(),
            version: "1.2.3".to_owned(),
            files: vec![HandedFile {
                path: "linux".to_owned(),
                url: "https://a.example/linux".to_owned(),
                sha256: "cd".repeat(32),
            }],
            debs: Vec::new(),
        };
        let more: Value = serde_json::from_str(&with_handed(&text, &[handed]).unwrap()).unwrap();
        let last = more["components"].as_array().unwrap().last().unwrap();
        assert_eq!((&last["version"], &last["components"][0]["name"]), (&json!("1.2.3"), &json!("linux")));
        assert!(more["dependencies"][0]["dependsOn"].as_array().unwrap().contains(&last["bom-ref"]));
        assert_ne!(more["serialNumber"], bill["serialNumber"]);
        let serial = bill["serialNumber"].as_str().unwrap();
        assert_eq!((serial.len(), &serial[23..24]), (45, "8"));
    }
}
