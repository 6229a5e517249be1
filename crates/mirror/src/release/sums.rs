//! Lists of digests, as sha256sum(1) writes them.

use pilotlight_fetch::Digest;

use super::Strange;

/// The digest of the file `name`: on a line with that name, in whatever folder, or alone in the text.
pub(crate) fn of(text: &str, name: &str) -> Result<Digest, Strange> {
    let lines = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let digest = lines.clone().find_map(|words| match words[..] {
        [digest, file] if file.trim_start_matches('*').rsplit('/').next() == Some(name) => Some(digest),
        _ => None,
    });
    let mut alone = lines.filter(|words| !words.is_empty());
    let alone = match (alone.next().as_deref(), alone.next()) {
        (Some([digest]), None) => Some(*digest),
        _ => None,
    };
    let digest = digest.or(alone).and_then(|digest| digest.parse().ok());
    digest.ok_or_else(|| Strange::Field(format!("SHA-256 of {name}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_found() {
        let (one, other) = (Digest::of("one"), Digest::of("other"));
        let list = format!("{one}  _out/vmlinuz-amd64\n{other} *vmlinuz-arm64\n");
        assert_eq!(of(&list, "vmlinuz-amd64"), Ok(one));
        assert_eq!(of(&list, "vmlinuz-arm64"), Ok(other));
        assert_eq!(of(&format!("{one}\n"), "kubelet"), Ok(one));
        assert!(of(&list, "vmlinuz").is_err());
        assert!(of("", "kubelet").is_err() && of("<html>", "kubelet").is_err());
    }
}
