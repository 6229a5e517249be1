//! Container images as registries have them: what a manifest names, and how a registry wants to be asked (OCI Image
//! Specification 1.1, OCI Distribution Specification 1.1; Docker's "Token Authentication Specification").

use pilotlight_fetch::Digest;
use pilotlight_lab::{Architecture, registry::Manifest};
use serde::Deserialize;

use super::Strange;

/// Something that a manifest names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) sha256: Digest,
    pub(crate) size: u64,
}

/// What a manifest says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Said {
    /// An image: its configuration and layers.
    Image(Manifest, Vec<Part>),
    /// A list, and of it the images for the processors asked for.
    List(Manifest, Vec<Part>),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Text {
    media_type: Option<String>,
    #[serde(default)]
    manifests: Vec<Descriptor>,
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Vec<Descriptor>,
}

#[derive(Deserialize)]
struct Descriptor {
    digest: String,
    size: u64,
    platform: Option<Platform>,
}

#[derive(Deserialize)]
struct Platform {
    architecture: String,
    os: String,
}

/// Reads a manifest, which is known by its digest.
pub(crate) fn read(text: &[u8], architectures: &[Architecture]) -> Result<Said, Strange> {
    let field = |fault: serde_json::Error| Strange::Field(format!("manifest ({fault})"));
    let text: Text = serde_json::from_slice(text).map_err(field)?;
    // OCI lets its own kinds go without saying.
    let kind = match &text.media_type {
        None if text.config.is_some() => Manifest::Oci,
        None => Manifest::OciIndex,
        Some(media_type) => Manifest::named(media_type)
            .ok_or_else(|| Strange::Field(format!("kind of manifest: {media_type:?}")))?,
    };
    if !kind.is_list() {
        let config = text.config.ok_or_else(|| Strange::Field("config".to_owned()))?;
        let parts = [config].iter().chain(&text.layers).map(part).collect::<Result<_, _>>()?;
        return Ok(Said::Image(kind, parts));
    }
    let wanted = |descriptor: &&Descriptor| {
        descriptor.platform.as_ref().is_some_and(|platform| {
            platform.os == "linux" && architectures.iter().any(|one| one.name() == platform.architecture)
        })
    };
    let parts: Vec<Part> = text.manifests.iter().filter(wanted).map(part).collect::<Result<_, _>>()?;
    let names: Vec<&str> = architectures.iter().map(|architecture| architecture.name()).collect();
    if parts.is_empty() {
        return Err(Strange::None(format!("this image for {}", names.join(" or "))));
    }
    Ok(Said::List(kind, parts))
}

fn part(descriptor: &Descriptor) -> Result<Part, Strange> {
    let sha256 = descriptor.digest.strip_prefix("sha256:").and_then(|hex| hex.parse().ok());
    let sha256 = sha256.ok_or_else(|| Strange::Field(format!("digest: {:?}", descriptor.digest)))?;
    Ok(Part { sha256, size: descriptor.size })
}

/// Where a registry's pages begin. Docker's own is at another name than its images have, and one on this very machine has no
/// certificate.
pub(crate) fn base(registry: &str) -> String {
    let host = registry.split(':').next().unwrap_or_default();
    match host {
        "docker.io" => "https://registry-1.docker.io".to_owned(),
        "localhost" | "127.0.0.1" => format!("http://{registry}"),
        _ => format!("https://{registry}"),
    }
}

/// Where a token is to be had, by what a registry says that wants one (RFC 6750 § 3).
pub(crate) fn token_url(challenge: &str) -> Option<String> {
    let rest = challenge.strip_prefix("Bearer ").or_else(|| challenge.strip_prefix("bearer "))?;
    let value = |name: &str| {
        let start = rest.find(&format!("{name}=\""))? + name.len() + 2;
        rest.get(start..)?.split('"').next()
    };
    let realm = value("realm")?;
    let is_local = realm.starts_with("http://127.0.0.1") || realm.starts_with("http://localhost");
    if !realm.starts_with("https://") && !is_local {
        return None;
    }
    let escaped = |text: &str| -> String {
        let keep = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:/,".contains(&byte);
        text.bytes()
            .map(|byte| if keep(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
            .collect()
    };
    let fields =
        ["service", "scope"].into_iter().filter_map(|name| Some(format!("{name}={}", escaped(value(name)?))));
    let query = fields.collect::<Vec<_>>().join("&");
    Some(format!("{realm}{}{query}", if realm.contains('?') { '&' } else { '?' }))
}

/// The token in what a registry's authority answers.
pub(crate) fn token(text: &[u8]) -> Result<String, Strange> {
    #[derive(Deserialize)]
    struct Answer {
        token: Option<String>,
        access_token: Option<String>,
    }
    let field = |fault: serde_json::Error| Strange::Field(format!("token (at byte {})", fault.column()));
    let answer: Answer = serde_json::from_slice(text).map_err(field)?;
    let token = answer
        .token
        .or(answer.access_token)
        .filter(|token| token.bytes().all(|byte| byte.is_ascii_graphic()));
    token.ok_or_else(|| Strange::Field("token".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manifests_are_read() {
        let digest = Digest::of("x");
        let image = format!(
            r#"{{"schemaVersion":2,"mediaType":"application/vnd.docker.distribution.manifest.v2+json",
            "config":{{"mediaType":"a","size":3,"digest":"sha256:{digest}"}},"layers":[{{"size":4,"digest":"sha256:{digest}"}}]}}"#
        );
        let parts = vec![Part { sha256: digest, size: 3 }, Part { sha256: digest, size: 4 }];
        assert_eq!(read(image.as_bytes(), &[]), Ok(Said::Image(Manifest::Docker, parts)));
        let list = format!(
            r#"{{"schemaVersion":2,"manifests":[
            {{"size":5,"digest":"sha256:{digest}","platform":{{"architecture":"arm64","os":"linux"}}}},
            {{"size":6,"digest":"sha256:{digest}","platform":{{"architecture":"amd64","os":"linux"}}}},
            {{"size":7,"digest":"sha256:{digest}","platform":{{"architecture":"amd64","os":"windows"}}}},
            {{"size":8,"digest":"sha256:{digest}"}}]}}"#
        );
        let parts = vec![Part { sha256: digest, size: 6 }];
        assert_eq!(read(list.as_bytes(), &[Architecture::Amd64]), Ok(Said::List(Manifest::OciIndex, parts)));
        let arm = list.replace("arm64", "riscv64");
        assert!(read(arm.as_bytes(), &[Architecture::Arm64]).is_err());
        for wrong in [
            "",
            "[]",
            r#"{"mediaType":"x"}"#,
            &image.replace("sha256:", "md5:"),
            &image.replace("config", "c"),
        ] {
            assert!(read(wrong.as_bytes(), &[Architecture::Amd64]).is_err(), "{wrong}");
        }
    }

    #[test]
    fn who_wants_a_token_says_where() {
        let docker = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/busybox:pull""#;
        let url =
            "https://auth.docker.io/token?service=registry.docker.io&scope=repository:library/busybox:pull";
        assert_eq!(token_url(docker).as_deref(), Some(url));
        for wrong in
            ["", "Basic realm=\"x\"", "Bearer realm=\"http://evil.example/\"", "Bearer service=\"x\""]
        {
            assert_eq!(token_url(wrong), None, "{wrong}");
        }
        assert_eq!(token(br#"{"access_token":"abc"}"#).as_deref(), Ok("abc"));
        assert!(token(br#"{"token":"a\nb"}"#).is_err() && token(b"{}").is_err());
    }
}
