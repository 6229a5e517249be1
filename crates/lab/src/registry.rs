//! Where the Pi keeps container images beneath what it hands out, by what a registry's clients ask for (OCI Distribution
//! Specification 1.1): named once, for who puts them there and for who serves them.

/// The kinds of manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Manifest {
    /// An image for one processor, as OCI has it.
    Oci,
    /// A list of images for several processors, as OCI has it.
    OciIndex,
    /// An image for one processor, as Docker has it (image manifest version 2, schema 2).
    Docker,
    /// A list of images for several processors, as Docker has it.
    DockerList,
}

impl Manifest {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::OciIndex, Self::Oci, Self::DockerList, Self::Docker];

    /// What clients call it.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Oci => "application/vnd.oci.image.manifest.v1+json",
            Self::OciIndex => "application/vnd.oci.image.index.v1+json",
            Self::Docker => "application/vnd.docker.distribution.manifest.v2+json",
            Self::DockerList => "application/vnd.docker.distribution.manifest.list.v2+json",
        }
    }

    /// The kind that is called so.
    pub fn named(media_type: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.media_type() == media_type)
    }

    /// Whether it lists images, and is none itself.
    pub fn is_list(self) -> bool {
        matches!(self, Self::OciIndex | Self::DockerList)
    }

    /// Its file beneath `/assets/`. `reference` is a tag, or `sha256:` and a digest. The name says what it is: who serves
    /// it need not read it.
    pub fn path(self, repository: &str, reference: &str) -> String {
        let name = match self {
            Self::Oci => "oci.json",
            Self::OciIndex => "oci-index.json",
            Self::Docker => "docker.json",
            Self::DockerList => "docker-list.json",
        };
        format!("{FOLDER}/manifests/{repository}/{}/{name}", reference.replace(':', "-"))
    }

    /// The kind that lies at this path.
    pub fn at(path: &str) -> Option<Self> {
        let last = path.strip_prefix(FOLDER)?.strip_prefix("/manifests/")?.rsplit('/').next()?;
        Self::ALL.into_iter().find(|kind| kind.path("", "").ends_with(&format!("/{last}")))
    }
}

const FOLDER: &str = "oci";

/// The file of anything else beneath `/assets/`, by its SHA-256 in hexadecimal digits.
pub fn blob(sha256: &str) -> String {
    format!("{FOLDER}/blobs/sha256/{sha256}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_tells_the_kind() {
        for kind in Manifest::ALL {
            assert_eq!(Manifest::at(&kind.path("library/busybox", "1.37")), Some(kind));
            assert_eq!(Manifest::named(kind.media_type()), Some(kind));
        }
        assert_eq!(Manifest::Oci.path("pause", "sha256:ab"), "oci/manifests/pause/sha256-ab/oci.json");
        assert_eq!(Manifest::at(&blob("ab")), None);
        assert_eq!(Manifest::at("files/oci.json"), None);
    }
}
