//! Flatcar Container Linux: `version.txt` says what a channel has now, and every file has its signature beside it.

use pilotlight_lab::{Files, System};

use super::{Candidate, Strange};

/// The file that names the version.
pub(crate) const VERSION: &str = "version.txt";

/// The version that a `version.txt` names, whose signature was good.
pub(crate) fn version(text: &str) -> Result<String, Strange> {
    let value = text.lines().find_map(|line| line.strip_prefix("FLATCAR_VERSION="));
    let value = value.map(|value| value.trim().trim_matches('"'));
    // It becomes a part of paths.
    let numbers = |value: &str| {
        let parts: Vec<&str> = value.split('.').collect();
        let digits = |part: &&str| (1..=5).contains(&part.len()) && part.bytes().all(|c| c.is_ascii_digit());
        parts.len() == 3 && parts.iter().all(digits)
    };
    let value = value.filter(|value| numbers(value));
    value.map(str::to_owned).ok_or_else(|| Strange::Field("FLATCAR_VERSION".to_owned()))
}

/// The files of the release in the folder `folder`.
pub(crate) fn candidates(folder: &str) -> Vec<Candidate> {
    let Files { linux, initrd, .. } = System::Flatcar.files();
    let candidate = |name: &str| Candidate {
        name: name.to_owned(),
        url: format!("{folder}/{name}"),
        sha256: None,
        signature: Some(format!("{folder}/{name}.sig")),
    };
    vec![candidate(linux), candidate(initrd)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read() {
        let real = "FLATCAR_BUILD=4230\nFLATCAR_BRANCH=2\nFLATCAR_PATCH=1\nFLATCAR_VERSION=4230.2.1\n\
                    FLATCAR_VERSION_ID=4230.2.1\nFLATCAR_BUILD_ID=\"2025-06-17-1508\"\nFLATCAR_SDK_VERSION=4230.0.0\n";
        assert_eq!(version(real).as_deref(), Ok("4230.2.1"));
        for wrong in [
            "",
            "FLATCAR_VERSION=\n",
            "FLATCAR_VERSION=../..\n",
            "FLATCAR_VERSION=1.2\n",
            "FLATCAR_VERSION=1.2.+3\n4",
        ] {
            assert!(version(wrong).is_err(), "{wrong:?}");
        }
    }
}
