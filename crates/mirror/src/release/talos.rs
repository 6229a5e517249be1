//! Talos Linux: a channel is a minor version, and the list of releases says which of it is the newest.

use pilotlight_lab::{Architecture, System};
use serde::Deserialize;

use super::{Candidate, Strange, sums};
use crate::order::newer;

/// The file with the digests of a release.
pub(crate) const SUMS: &str = "sha256sum.txt";

#[derive(Deserialize)]
struct Release {
    tag_name: String,
    #[serde(default)]
    draft: bool,
    #[serde(default)]
    prerelease: bool,
}

/// The newest version of the minor version `channel` (as in `v1.11`), out of the list of releases.
pub(crate) fn newest(text: &[u8], channel: &str) -> Result<String, Strange> {
    let field = |fault: serde_json::Error| Strange::Field(format!("list of releases ({fault})"));
    let releases: Vec<Release> = serde_json::from_slice(text).map_err(field)?;
    let of_channel = |tag: &str| {
        let patch = tag.strip_prefix(channel).and_then(|rest| rest.strip_prefix('.'));
        patch.is_some_and(|patch| (1..=5).contains(&patch.len()) && patch.bytes().all(|c| c.is_ascii_digit()))
    };
    let tags = releases.into_iter().filter(|release| !release.draft && !release.prerelease);
    let tags = tags.map(|release| release.tag_name).filter(|tag| of_channel(tag));
    tags.reduce(|one, other| if newer(&other, &one) { other } else { one })
        .ok_or_else(|| Strange::None(channel.to_owned()))
}

/// The files of the release in the folder `folder`, by what its list of digests says.
pub(crate) fn candidates(
    folder: &str,
    listed: &str,
    architecture: Architecture,
) -> Result<Vec<Candidate>, Strange> {
    let names = System::Talos.files();
    let remote = [
        (names.linux, format!("vmlinuz-{architecture}")),
        (names.initrd, format!("initramfs-{architecture}.xz")),
    ];
    let candidate = |(name, remote): (&str, String)| {
        let sha256 = Some(sums::of(listed, &remote)?);
        Ok(Candidate { name: name.to_owned(), url: format!("{folder}/{remote}"), sha256, signature: None })
    };
    remote.into_iter().map(candidate).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_of_a_minor_version() {
        let list = br#"[{"tag_name":"v1.12.0-alpha.1","prerelease":true},{"tag_name":"v1.11.10","assets":[]},
            {"tag_name":"v1.11.9"},{"tag_name":"v1.11.11","draft":true},{"tag_name":"v1.11.12-rc.1"},{"tag_name":"v1.1.99"}]"#;
        assert_eq!(newest(list, "v1.11").as_deref(), Ok("v1.11.10"));
        assert_eq!(newest(list, "v1.12"), Err(Strange::None("v1.12".to_owned())));
        assert!(newest(b"{}", "v1.11").is_err());
    }
}
