//! Fedora CoreOS: the stream's metadata names the release of today, its files, their digests and signatures
//! (docs.fedoraproject.org, "Fedora CoreOS stream metadata", version 1).

use pilotlight_fetch::Digest;
use pilotlight_lab::{Architecture, System};
use serde::Deserialize;

use super::{Candidate, Strange};

/// What a stream has now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stream {
    pub(crate) version: String,
    pub(crate) files: Vec<Candidate>,
}

#[derive(Deserialize)]
struct Metadata {
    stream: String,
    architectures: std::collections::BTreeMap<String, PerArchitecture>,
}

#[derive(Deserialize)]
struct PerArchitecture {
    artifacts: Artifacts,
}

#[derive(Deserialize)]
struct Artifacts {
    metal: Metal,
}

#[derive(Deserialize)]
struct Metal {
    release: String,
    formats: Formats,
}

#[derive(Deserialize)]
struct Formats {
    pxe: Pxe,
}

#[derive(Deserialize)]
struct Pxe {
    kernel: Artifact,
    initramfs: Artifact,
    rootfs: Artifact,
}

#[derive(Deserialize)]
struct Artifact {
    location: String,
    signature: String,
    sha256: Digest,
}

/// What Fedora calls a processor.
fn fedora(architecture: Architecture) -> &'static str {
    match architecture {
        Architecture::Amd64 => "x86_64",
        Architecture::Arm64 => "aarch64",
    }
}

/// Reads the metadata of a stream, which is not signed: what it names is.
pub(crate) fn stream(text: &[u8], channel: &str, architecture: Architecture) -> Result<Stream, Strange> {
    let field = |fault: serde_json::Error| Strange::Field(format!("stream metadata ({fault})"));
    let mut metadata: Metadata = serde_json::from_slice(text).map_err(field)?;
    if metadata.stream != channel {
        let (asked, found) = (format!("the stream {channel}"), format!("the stream {:?}", metadata.stream));
        return Err(Strange::Other { asked, found });
    }
    let name = fedora(architecture);
    let found =
        metadata.architectures.remove(name).ok_or_else(|| Strange::None(format!("{channel} for {name}")))?;
    let Metal { release, formats: Formats { pxe } } = found.artifacts.metal;
    // It becomes a part of paths.
    let plain = |c: char| c.is_ascii_digit() || c == '.';
    if release.is_empty() || release.len() > 40 || release.starts_with('.') || !release.chars().all(plain) {
        return Err(Strange::Field(format!("release: {release:?} is none")));
    }
    let names = System::FedoraCoreos.files();
    let named = [
        (names.linux, pxe.kernel),
        (names.initrd, pxe.initramfs),
        (names.root.unwrap_or_default(), pxe.rootfs),
    ];
    let mut files = Vec::new();
    for (name, Artifact { location, signature, sha256 }) in named {
        // A release's signature counts for any of its files: without this one could stand for another.
        if !location.contains(&format!("fedora-coreos-{release}-live-")) {
            return Err(Strange::Other { asked: format!("release {release}"), found: location });
        }
        files.push(Candidate {
            name: name.to_owned(),
            url: location,
            sha256: Some(sha256),
            signature: Some(signature),
        });
    }
    Ok(Stream { version: release, files })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata() -> String {
        let artifact = |name: &str| {
            let url = format!("https://x.example/43.1/fedora-coreos-43.20251024.3.0-live-{name}");
            let digest = Digest::of(name);
            format!(
                r#"{{"location":"{url}","signature":"{url}.sig","sha256":"{digest}","uncompressed-sha256":"0"}}"#
            )
        };
        format!(
            r#"{{"stream":"stable","metadata":{{"last-modified":"2025-11-04T00:00:00Z"}},"architectures":{{"x86_64":{{"artifacts":{{
            "aws":{{"release":"1"}},"metal":{{"release":"43.20251024.3.0","formats":{{"iso":{{}},"pxe":{{
            "kernel":{},"initramfs":{},"rootfs":{}}}}}}}}}}}}}}}"#,
            artifact("kernel.x86_64"),
            artifact("initramfs.x86_64.img"),
            artifact("rootfs.x86_64.img")
        )
    }

    #[test]
    fn a_stream_is_read() {
        let read = stream(metadata().as_bytes(), "stable", Architecture::Amd64).unwrap();
        assert_eq!(read.version, "43.20251024.3.0");
        let names: Vec<&str> = read.files.iter().map(|file| file.name.as_str()).collect();
        assert_eq!(names, ["kernel", "initramfs.img", "rootfs.img"]);
        assert!(
            read.files.iter().all(|file| file.signature.as_ref().is_some_and(|url| url.ends_with(".sig")))
        );
    }

    #[test]
    fn strange_ones_are_refused() {
        let text = metadata();
        let said = |text: &str, channel: &str, architecture| {
            stream(text.as_bytes(), channel, architecture).unwrap_err().to_string()
        };
        assert!(said(&text, "next", Architecture::Amd64).contains("the stream next"));
        assert!(said(&text, "stable", Architecture::Arm64).contains("aarch64"));
        for (from, to) in [
            (r#""release":"43.20251024.3.0""#, r#""release":"../43""#),
            (r#""release":"43.20251024.3.0""#, r#""release":"43.20250101.3.0""#),
            ("\"kernel\"", "\"colonel\""),
            ("\"sha256\":\"", "\"sha256\":\"00"),
        ] {
            assert_ne!(text.replace(from, to), text);
            said(&text.replace(from, to), "stable", Architecture::Amd64);
        }
    }
}
