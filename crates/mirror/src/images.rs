//! Container images: the manifest that the lab names by its digest, what that names, and so on. Everything is known by its digest
//! before it is asked for, so no registry has to be believed.

use std::{ops::Range, path::Path};

use pilotlight_fetch::{Digest, Expected, Failure, Fault, Headers, Progress, Session, Show, Want};
use pilotlight_lab::{
    Image, Lab,
    registry::{self, Manifest},
};

use crate::{
    Lock, LockedFile, LockedImage, Mirror, MirrorError,
    desk::{Job, refused},
    release::{
        Candidate, Strange,
        oci::{self, Part, Said},
    },
    wanted,
};

/// The most bytes of a manifest: registries take no larger ones.
const LONGEST_MANIFEST: u64 = 4 << 20;

/// An image of which the manifests are here, and which of the jobs bring the rest.
pub(crate) struct Begun {
    pub(crate) image: LockedImage,
    pub(crate) rest: Range<usize>,
}

/// What a request for the file at `path` beneath `/assets/` has to carry.
pub(crate) fn headers(path: &str) -> Headers {
    let accept = Manifest::at(path).map(|kind| kind.media_type().to_owned());
    Headers { accept, bearer: None }
}

impl Mirror<'_> {
    /// Puts the lab's images into the lock, as far as `old` has them; the others are begun.
    pub(crate) fn images(
        &self,
        session: &Session,
        lab: &Lab,
        old: &Lock,
        lock: &mut Lock,
        jobs: &mut Vec<Job>,
    ) -> Result<Vec<Begun>, MirrorError> {
        let architectures = wanted::names_of_architectures(lab);
        let mut begun = Vec::new();
        for image in &lab.supplies.images {
            let name = image.to_string();
            if let Some(known) = old.image(&name, &architectures) {
                lock.images.push(known.clone());
                continue;
            }
            let first = jobs.len();
            let files = self.manifests(session, lab, image, jobs)?;
            let image = LockedImage { name, architectures: architectures.clone(), files };
            begun.push(Begun { image, rest: first..jobs.len() });
        }
        Ok(begun)
    }

    /// The manifests of an image; what they name becomes jobs.
    fn manifests(
        &self,
        session: &Session,
        lab: &Lab,
        image: &Image,
        jobs: &mut Vec<Job>,
    ) -> Result<Vec<LockedFile>, MirrorError> {
        // No lab has a digest that cannot be read.
        let Ok(sha256) = image.sha256.parse::<Digest>() else { return Ok(Vec::new()) };
        let architectures: Vec<_> = wanted::architectures(lab).into_iter().collect();
        let (mut files, mut parts) = (Vec::new(), Vec::new());
        let top = self.manifest(session, image, sha256)?;
        let said = oci::read(&top.0, &architectures);
        let said = said.map_err(|strange| misread(image, &top.1.url, strange))?;
        let (kind, listed) = match said {
            Said::Image(kind, named) => {
                parts.extend(named);
                (kind, Vec::new())
            }
            Said::List(kind, listed) => (kind, listed),
        };
        let reference = format!("sha256:{sha256}");
        let names = [Some(reference.as_str()), image.tag.as_deref()];
        files.extend(names.into_iter().flatten().map(|name| placed(kind, image, name, &top.1)));
        for Part { sha256, .. } in listed {
            let (text, file) = self.manifest(session, image, sha256)?;
            let Ok(Said::Image(kind, named)) = oci::read(&text, &architectures) else {
                return Err(misread(image, &file.url, Strange::Field("manifest of one image".to_owned())));
            };
            parts.extend(named);
            files.push(placed(kind, image, &format!("sha256:{sha256}"), &file));
        }
        jobs.extend(parts.into_iter().map(|Part { sha256, .. }| {
            let url = format!("{}/v2/{}/blobs/sha256:{sha256}", oci::base(&image.registry), image.repository);
            let name = registry::blob(&sha256.to_string());
            let title = format!("{image}: {sha256}");
            Job {
                title,
                candidate: Candidate { name, url, sha256: Some(sha256), signature: None },
                keys: None,
            }
        }));
        Ok(files)
    }

    /// A manifest of an image, by its digest.
    fn manifest(
        &self,
        session: &Session,
        image: &Image,
        sha256: Digest,
    ) -> Result<(bytes::Bytes, LockedFile), MirrorError> {
        let url = format!("{}/v2/{}/manifests/sha256:{sha256}", oci::base(&image.registry), image.repository);
        let title = format!("the manifest of {image}");
        let accept = Manifest::ALL.map(Manifest::media_type).join(", ");
        let expected = Expected { size: None, sha256: Some(sha256), limit: LONGEST_MANIFEST };
        let progress = Progress::start(Show::Nothing, "", 0, 0);
        let urls = [url.clone()];
        let (sha256, size) =
            self.introduced(session, &title, Headers { accept: Some(accept), bearer: None }, |headers| {
                let want = Want { title: &title, urls: &urls, headers, expected };
                session.file(self.cache, want, |_: &Path, _| Ok(()), &progress, &Default::default())
            })?;
        let file = LockedFile { path: String::new(), url, size, sha256 };
        Ok((self.cache.bytes(&sha256)?, file))
    }

    /// Asks for something, and where a token is wanted for it, which anybody may have, asks for that first.
    pub(crate) fn introduced<T>(
        &self,
        session: &Session,
        title: &str,
        headers: Headers,
        ask: impl Fn(&Headers) -> Result<T, Failure>,
    ) -> Result<T, MirrorError> {
        let failure = match ask(&headers) {
            Ok(value) => return Ok(value),
            Err(failure) => failure,
        };
        let challenge = match &failure {
            Failure::Attempts(attempts) => attempts.iter().find_map(|attempt| match &attempt.fault {
                Fault::Unknown(challenge) => oci::token_url(challenge),
                _ => None,
            }),
            _ => None,
        };
        let Some(url) = challenge else { return Err(MirrorError::of(title, failure)) };
        let bearer = self
            .text(session, &format!("a token for {title}"), &url, |text| oci::token(text).map_err(refused))?;
        ask(&Headers { bearer: Some(bearer), ..headers }).map_err(|failure| MirrorError::of(title, failure))
    }
}

/// A manifest in its place.
fn placed(kind: Manifest, image: &Image, reference: &str, file: &LockedFile) -> LockedFile {
    LockedFile { path: kind.path(&image.repository, reference), ..file.clone() }
}

fn misread(image: &Image, url: &str, strange: Strange) -> MirrorError {
    let attempt = pilotlight_fetch::Attempt { url: url.to_owned(), fault: refused(strange) };
    MirrorError::of(&image.to_string(), Failure::Attempts(vec![attempt]))
}
