//! `Packages`: what a suite holds for one architecture. A fast scan that keeps what the solver and the lock need.

use debversion::Version;

use pilotlight_fetch::Digest;

use crate::deb822;

/// How packages of one name behave across architectures (`Multi-Arch`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum MultiArch {
    /// It serves its own architecture only.
    #[default]
    No,
    /// It may stand beside itself in other architectures, at the same version.
    Same,
    /// It serves every architecture.
    Foreign,
    /// It serves every architecture for who asks for `name:any`.
    Allowed,
}

/// One package of an index; texts are slices of the index.
#[derive(Debug, Clone)]
pub(crate) struct Record<'t> {
    pub(crate) package: &'t str,
    /// The source package that it is built from.
    pub(crate) source: &'t str,
    pub(crate) version: &'t str,
    pub(crate) architecture: &'t str,
    pub(crate) multi_arch: MultiArch,
    pub(crate) essential: bool,
    /// 0 for `required` to 4 for `extra`: which of several providers is the usual one.
    pub(crate) priority: u8,
    pub(crate) depends: [&'t str; 2],
    pub(crate) conflicts: [&'t str; 2],
    pub(crate) provides: &'t str,
    pub(crate) path: &'t str,
    pub(crate) size: u64,
    pub(crate) sha256: Digest,
    /// Which archive it came from: an index into the caller's list.
    pub(crate) archive: usize,
}

impl Record<'_> {
    /// Whether its version is newer than another one. Versions that cannot be read are never newer.
    pub(crate) fn is_newer_than(&self, version: &str) -> bool {
        let both = self.version.parse::<Version>().ok().zip(version.parse::<Version>().ok());
        both.is_some_and(|(own, other)| own > other)
    }
}

/// Why an index is refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the entry of the package {package:?} has no readable {field}")]
pub struct IndexError {
    /// The package's name, as far as known.
    pub package: String,
    /// The field.
    pub field: &'static str,
}

/// Reads all packages of an index and adds them to `records`.
pub(crate) fn read<'t>(
    text: &'t str,
    archive: usize,
    records: &mut Vec<Record<'t>>,
) -> Result<(), IndexError> {
    for paragraph in deb822::paragraphs(text) {
        records.push(record(paragraph, archive)?);
    }
    Ok(())
}

fn record<'t>(paragraph: deb822::Paragraph<'t>, archive: usize) -> Result<Record<'t>, IndexError> {
    let mut record = Record {
        package: "",
        source: "",
        version: "",
        architecture: "",
        multi_arch: MultiArch::No,
        essential: false,
        priority: 3,
        depends: [""; 2],
        conflicts: [""; 2],
        provides: "",
        path: "",
        size: 0,
        sha256: Digest::of(""),
        archive,
    };
    let (mut size, mut sha256) = (None, None);
    for (name, value) in paragraph.fields() {
        match name {
            "Package" => record.package = value,
            // `name`, or `name (version)` where the source has another version.
            "Source" => record.source = value.split_whitespace().next().unwrap_or_default(),
            "Version" => record.version = value,
            "Architecture" => record.architecture = value,
            "Multi-Arch" => {
                record.multi_arch = match value {
                    "same" => MultiArch::Same,
                    "foreign" => MultiArch::Foreign,
                    "allowed" => MultiArch::Allowed,
                    _ => MultiArch::No,
                };
            }
            "Essential" => record.essential = value == "yes",
            "Priority" => record.priority = priority(value),
            "Pre-Depends" => record.depends[0] = value,
            "Depends" => record.depends[1] = value,
            "Conflicts" => record.conflicts[0] = value,
            "Breaks" => record.conflicts[1] = value,
            "Provides" => record.provides = value,
            "Filename" => record.path = value,
            "Size" => size = value.parse().ok(),
            "SHA256" => sha256 = value.parse().ok(),
            _ => {}
        }
    }
    let fault = |field| IndexError { package: record.package.to_owned(), field };
    for (field, value) in
        [("Package", record.package), ("Version", record.version), ("Architecture", record.architecture)]
    {
        if value.is_empty() || value.contains(['/', '\n', ' ', '"', '\\']) {
            return Err(fault(field));
        }
    }
    if !is_safe_path(record.path) {
        return Err(fault("Filename"));
    }
    if record.source.is_empty() {
        record.source = record.package;
    }
    record.size = size.ok_or_else(|| fault("Size"))?;
    record.sha256 = sha256.ok_or_else(|| fault("SHA256"))?;
    Ok(record)
}

fn priority(value: &str) -> u8 {
    match value {
        "required" => 0,
        "important" => 1,
        "standard" => 2,
        "extra" => 4,
        _ => 3,
    }
}

/// A relative path that stays below the archive's root and means the same inside an address and inside TOML.
pub(crate) fn is_safe_path(path: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+~:%=@".contains(&byte);
    path.bytes().all(plain) && path.split('/').all(|part| !["", ".", ".."].contains(&part))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text() -> String {
        format!(
            "Package: libc6\nSource: glibc\nVersion: 2.41-12\nArchitecture: armhf\nMulti-Arch: same\nEssential: \
             yes\nPre-Depends: a\nDepends: b (>= 1),\n c\nDescription: C library\nFilename: \
             pool/main/g/glibc/libc6_2.41-12_armhf.deb\nSize: 12\nSHA256: {}\n\n",
            Digest::of("x")
        )
    }

    #[test]
    fn a_record_keeps_what_matters() {
        let (text, mut records) = (text(), Vec::new());
        read(&text, 3, &mut records).unwrap();
        let [record] = &records[..] else { panic!("{records:?}") };
        assert_eq!((record.package, record.version, record.architecture), ("libc6", "2.41-12", "armhf"));
        assert_eq!((record.multi_arch, record.essential, record.archive), (MultiArch::Same, true, 3));
        assert_eq!(record.depends, ["a", "b (>= 1),\n c"]);
        assert_eq!((record.size, record.sha256), (12, Digest::of("x")));
    }

    #[test]
    fn a_broken_record_is_named() {
        let check = |from: &str, to: &str, field: &str| {
            let fault = read(&text().replace(from, to), 0, &mut Vec::new()).unwrap_err();
            assert_eq!((fault.package.as_str(), fault.field), ("libc6", field));
        };
        check("Size: 12", "Size: -1", "Size");
        check("pool/main", "../main", "Filename");
        check("pool/main", "/main", "Filename");
        check("pool/main", "pool//main", "Filename");
        check("SHA256", "SHA1", "SHA256");
        check("2.41-12\nA", "2.41/12\nA", "Version");
    }

    proptest::proptest! {
        #[test]
        fn no_index_is_too_odd(noise: String, length in 0_usize..250) {
            let (mut text, mut records) = (text(), Vec::new());
            drop(read(&noise, 0, &mut records));
            let cut = text.floor_char_boundary(length);
            text.truncate(cut);
            text.push_str(&noise);
            let mut records = Vec::new();
            drop(read(&text, 0, &mut records));
            for record in &records {
                proptest::prop_assert!(is_safe_path(record.path));
                record.depends.into_iter().flat_map(crate::relation::parse).for_each(drop);
            }
        }
    }
}
