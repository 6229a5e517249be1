//! Pinned OpenPGP keys, and what counts as a good signature by one of them.

use std::io::Read;

use pgp::{
    composed::{CleartextSignedMessage, Deserializable, DetachedSignature, SignedPublicKey},
    crypto::hash::HashAlgorithm,
    packet::{Signature, SignatureType},
    types::{KeyDetails, Tag},
};

/// The keys whose signature counts for one archive.
#[derive(Debug, Clone, Default)]
pub struct Keyring {
    keys: Vec<Key>,
}

/// One key that may sign, checked to belong to a pinned fingerprint.
#[derive(Debug, Clone)]
struct Key {
    material: Material,
    primary: String,
    /// Seconds since 1970 from which on it is worth nothing; none if never.
    expires: Option<i64>,
}

#[derive(Debug, Clone)]
enum Material {
    Primary(Box<pgp::packet::PublicKey>),
    Subkey(Box<pgp::packet::PublicSubkey>),
}

/// Why a key file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// No OpenPGP key.
    #[error("not an OpenPGP public key")]
    Unreadable(#[source] Box<pgp::errors::Error>),
    /// Another key than the pinned one.
    #[error("holds the key {found}, but {pinned} is pinned")]
    Fingerprint {
        /// What the spec says.
        pinned: String,
        /// What the file holds.
        found: String,
    },
    /// Its own signatures do not bind it together.
    #[error("the key {fingerprint} is not held together by its own signatures")]
    Binding {
        /// The primary key.
        fingerprint: String,
        /// What the OpenPGP library says.
        source: Box<pgp::errors::Error>,
    },
    /// Its owner took it back.
    #[error("the key {0} is revoked")]
    Revoked(String),
    /// It can sign nothing.
    #[error("the key {0} has no part that may sign")]
    CannotSign(String),
}

/// Why a signed text is refused.
#[derive(Debug, thiserror::Error)]
pub enum SignatureError {
    /// Not a signed text, or something stands before or behind it.
    #[error("not an OpenPGP signed text")]
    Unreadable(#[source] Box<pgp::errors::Error>),
    /// A file of signatures that is none.
    #[error("not an OpenPGP signature")]
    NoSignature(#[source] Box<pgp::errors::Error>),
    /// Not UTF-8.
    #[error("not an OpenPGP signed text: it is not UTF-8")]
    NotText,
    /// A pinned key's signature does not fit what it is said to sign.
    #[error("the signature of the pinned key {0} does not fit: it was tampered with or damaged")]
    Bad(String),
    /// The only good signatures are by expired keys.
    #[error(
        "signed by the pinned key {0}, which has expired: its successor must be pinned (or this machine's clock is wrong)"
    )]
    Expired(String),
    /// Signed, but by nobody we know.
    #[error("signed by none of the pinned keys, only by {}", .0.join(", "))]
    Unpinned(Vec<String>),
}

impl Keyring {
    /// Adds the key of an ASCII-armoured file, which must have the pinned fingerprint (upper-case hex).
    ///
    /// # Errors
    /// A file that is no key or another one, and a key that is revoked or may not sign.
    pub fn pin(&mut self, pinned: &str, armoured: &[u8]) -> Result<(), KeyError> {
        let (key, _) = SignedPublicKey::from_armor_single(armoured)
            .map_err(|fault| KeyError::Unreadable(Box::new(fault)))?;
        let primary = format!("{:X}", key.primary_key.fingerprint());
        if primary != pinned {
            return Err(KeyError::Fingerprint { pinned: pinned.into(), found: primary });
        }
        self.add(&key, primary)
    }

    /// Adds those of the keys in a file, armoured or not, that have one of the pinned fingerprints (upper-case hex): a
    /// file that is published with all its owner's keys, and anew whenever a key for signing is added to one of them.
    /// What else is in it counts for nothing.
    ///
    /// # Errors
    /// A file without any of the pinned keys; one of them that is revoked or may not sign.
    pub fn pin_some(&mut self, pinned: &[String], file: &[u8]) -> Result<(), KeyError> {
        let unreadable = |fault| KeyError::Unreadable(Box::new(fault));
        let (keys, _) = SignedPublicKey::from_reader_many(file).map_err(unreadable)?;
        // A key of a kind that is not understood is not one of ours.
        let keys: Vec<SignedPublicKey> = keys.filter_map(Result::ok).collect();
        let named = keys.iter().map(|key| (format!("{:X}", key.primary_key.fingerprint()), key));
        let (ours, others): (Vec<_>, Vec<_>) = named.partition(|(primary, _)| pinned.contains(primary));
        if ours.is_empty() {
            let found: Vec<String> = others.into_iter().map(|(primary, _)| primary).collect();
            let found = if found.is_empty() { "nothing".to_owned() } else { found.join(", ") };
            return Err(KeyError::Fingerprint { pinned: pinned.join(" or "), found });
        }
        ours.into_iter().try_for_each(|(primary, key)| self.add(key, primary))
    }

    fn add(&mut self, key: &SignedPublicKey, primary: String) -> Result<(), KeyError> {
        key.verify_bindings()
            .map_err(|source| KeyError::Binding { fingerprint: primary.clone(), source: Box::new(source) })?;
        if !key.details.revocation_signatures.is_empty() {
            return Err(KeyError::Revoked(primary));
        }
        let before = self.keys.len();
        let (may_sign, primary_expires) = self_signature(key);
        if may_sign {
            let material = Material::Primary(Box::new(key.primary_key.clone()));
            self.keys.push(Key { material, primary: primary.clone(), expires: primary_expires });
        }
        for subkey in &key.public_subkeys {
            let revoked = |signature: &Signature| signature.typ() == Some(SignatureType::SubkeyRevocation);
            let newest = newest(subkey.signatures.iter());
            let Some(binding) = newest.filter(|_| !subkey.signatures.iter().any(revoked)) else { continue };
            if binding.key_flags().sign() {
                let own = expiry(binding, subkey.key.created_at().as_secs());
                let expires = [own, primary_expires].into_iter().flatten().min();
                let material = Material::Subkey(Box::new(subkey.key.clone()));
                self.keys.push(Key { material, primary: primary.clone(), expires });
            }
        }
        if self.keys.len() == before { Err(KeyError::CannotSign(primary)) } else { Ok(()) }
    }

    /// Checks that `signed` is one clear-signed text with at least one good signature by a pinned key that is
    /// valid at `now` (seconds since 1970), and returns the text that was signed, and nothing but it.
    ///
    /// # Errors
    /// Anything else.
    pub fn verify(&self, signed: &[u8], now: i64) -> Result<String, SignatureError> {
        let signed = std::str::from_utf8(signed).map_err(|_| SignatureError::NotText)?;
        let (message, _) = CleartextSignedMessage::from_string(signed)
            .map_err(|fault| SignatureError::Unreadable(Box::new(fault)))?;
        let text = message.signed_text();
        let signatures: Vec<&Signature> = message.signatures().iter().collect();
        self.judge(&signatures, now, text.as_bytes())?;
        Ok(text.replace("\r\n", "\n"))
    }

    /// Checks that a file of its own, armoured or not, has at least one good signature by a pinned key over `content` that
    /// is valid at `now` (seconds since 1970).
    ///
    /// # Errors
    /// Anything else.
    pub fn verify_detached(
        &self,
        signatures: &[u8],
        content: impl Read + Clone,
        now: i64,
    ) -> Result<(), SignatureError> {
        let unreadable = |fault| SignatureError::NoSignature(Box::new(fault));
        let (found, _) = DetachedSignature::from_reader_many(signatures).map_err(unreadable)?;
        let found: Vec<DetachedSignature> = found.collect::<Result<_, _>>().map_err(unreadable)?;
        let signatures: Vec<&Signature> = found.iter().map(|found| &found.signature).collect();
        self.judge(&signatures, now, content)
    }

    fn judge(
        &self,
        signatures: &[&Signature],
        now: i64,
        content: impl Read + Clone,
    ) -> Result<(), SignatureError> {
        let mut refusal = None;
        for signature in signatures.iter().filter(|signature| is_strong(signature)) {
            for key in self.keys.iter().filter(|key| key.is_named_by(signature)) {
                let fits = key.material.verify(signature, content.clone());
                let signature_over = expiry_of_signature(signature).is_some_and(|end| end <= now);
                let key_over = key.expires.is_some_and(|end| end <= now);
                if fits && !signature_over && !key_over {
                    return Ok(());
                }
                let named = key.primary.clone();
                refusal =
                    Some(if fits { SignatureError::Expired(named) } else { SignatureError::Bad(named) });
            }
        }
        let issuers = || signatures.iter().map(|signature| issuer(signature)).collect();
        Err(refusal.unwrap_or_else(|| SignatureError::Unpinned(issuers())))
    }
}

impl Key {
    fn is_named_by(&self, signature: &Signature) -> bool {
        let (fingerprint, id) = match &self.material {
            Material::Primary(key) => (key.fingerprint(), key.legacy_key_id()),
            Material::Subkey(key) => (key.fingerprint(), key.legacy_key_id()),
        };
        signature.issuer_fingerprint().into_iter().any(|other| *other == fingerprint)
            || signature.issuer_key_id().into_iter().any(|other| *other == id)
    }
}

impl Material {
    fn verify(&self, signature: &Signature, content: impl Read) -> bool {
        match self {
            Self::Primary(key) => signature.verify(key.as_ref(), content).is_ok(),
            Self::Subkey(key) => signature.verify(key.as_ref(), content).is_ok(),
        }
    }
}

/// A signature over a text with a hash that nobody can forge collisions for.
fn is_strong(signature: &Signature) -> bool {
    let hash = signature.hash_alg();
    let strong = [HashAlgorithm::Sha256, HashAlgorithm::Sha384, HashAlgorithm::Sha512];
    matches!(signature.typ(), Some(SignatureType::Text | SignatureType::Binary))
        && hash.is_some_and(|hash| strong.contains(&hash))
}

/// Whether the primary key may sign, and when it expires, by its newest good self-signature.
fn self_signature(key: &SignedPublicKey) -> (bool, Option<i64>) {
    let primary = &key.primary_key;
    let own = |signature: &&Signature, id: &pgp::packet::UserId| {
        is_by(signature, primary)
            && signature.is_certification()
            && signature.verify_certification(primary, Tag::UserId, id).is_ok()
    };
    let certifications = key
        .details
        .users
        .iter()
        .flat_map(|user| user.signatures.iter().filter(|signature| own(signature, &user.id)));
    let direct =
        key.details.direct_signatures.iter().filter(|signature| signature.verify_key(primary).is_ok());
    let Some(newest) = newest(certifications.chain(direct)) else { return (false, None) };
    (newest.key_flags().sign(), expiry(newest, primary.created_at().as_secs()))
}

fn is_by(signature: &Signature, key: &impl KeyDetails) -> bool {
    signature.issuer_key_id().into_iter().any(|id| *id == key.legacy_key_id())
        || signature.issuer_fingerprint().into_iter().any(|fingerprint| *fingerprint == key.fingerprint())
}

fn newest<'s>(signatures: impl Iterator<Item = &'s Signature>) -> Option<&'s Signature> {
    signatures.max_by_key(|signature| signature.created().map_or(0, |time| time.as_secs()))
}

fn expiry(signature: &Signature, key_created: u32) -> Option<i64> {
    let life = signature.key_expiration_time().filter(|life| life.as_secs() != 0)?;
    Some(i64::from(key_created) + i64::from(life.as_secs()))
}

fn expiry_of_signature(signature: &Signature) -> Option<i64> {
    let life = signature.signature_expiration_time().filter(|life| life.as_secs() != 0)?;
    Some(i64::from(signature.created()?.as_secs()) + i64::from(life.as_secs()))
}

fn issuer(signature: &Signature) -> String {
    let fingerprint = signature.issuer_fingerprint().first().map(|fingerprint| format!("{fingerprint:X}"));
    let id = || signature.issuer_key_id().first().map(|id| id.to_string().to_uppercase());
    fingerprint.or_else(id).unwrap_or_else(|| "a key without a name".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Debian's own: signed on 21 November 2026 by subkeys of two automatic keys.
    const REAL: &[u8] = include_bytes!("../tests/data/trixie-security.InRelease");
    const SECURITY: &[u8] = include_bytes!("../../../bases/debian/keys/trixie-security.asc");
    const SECURITY_FINGERPRINT: &str = "5E04A1E3223A19A20706E20F9904613D4CCE68C6";
    const STABLE: &[u8] = include_bytes!("../../../bases/debian/keys/trixie-stable.asc");
    const STABLE_FINGERPRINT: &str = "41587F7DB8C774BCCF131416762F67A0B2C39DE4";
    const NOW: i64 = 1_795_300_000;

    fn keyring(fingerprint: &str, key: &[u8]) -> Keyring {
        let mut keyring = Keyring::default();
        keyring.pin(fingerprint, key).unwrap();
        keyring
    }

    #[test]
    fn a_real_release_verifies() {
        let text = keyring(SECURITY_FINGERPRINT, SECURITY).verify(REAL, NOW).unwrap();
        assert!(text.starts_with("Origin: Debian\n"), "{}", &text[..40]);
        assert!(!text.contains("PGP") && !text.contains('\r'));
    }

    #[test]
    fn others_are_refused() {
        let check = |keyring: &Keyring, bytes: &[u8], now: i64, expect: &str| {
            let message = keyring.verify(bytes, now).unwrap_err().to_string();
            assert!(message.contains(expect), "{message}");
        };
        let pinned = keyring(SECURITY_FINGERPRINT, SECURITY);
        let text = std::str::from_utf8(REAL).unwrap();
        let changed = text.replacen("Codename: trixie-security", "Codename: trixie-insecurity", 1);
        assert_ne!(changed, text);
        check(&pinned, changed.as_bytes(), NOW, "does not fit: it was tampered");
        check(&keyring(STABLE_FINGERPRINT, STABLE), REAL, NOW, "89C87ACEA5DD6B8E6A7068808E9F831205B4BA95");
        check(&Keyring::default(), REAL, NOW, "none of the pinned keys");
        // The key's own end, in 2035.
        check(&pinned, REAL, 2_058_699_102, "has expired");
        check(&pinned, format!("Codename: evil\n\n{text}").as_bytes(), NOW, "not an OpenPGP signed text");
        check(&pinned, format!("{text}\nCodename: evil\n").as_bytes(), NOW, "not an OpenPGP signed text");
        check(&pinned, &[0xff; 9], NOW, "UTF-8");
        for length in (0..REAL.len()).step_by(997) {
            assert!(pinned.verify(&REAL[..length], NOW).is_err(), "{length}");
        }
    }

    #[test]
    fn another_key_than_the_pinned_one() {
        let message = Keyring::default().pin(SECURITY_FINGERPRINT, STABLE).unwrap_err().to_string();
        assert!(message.contains(STABLE_FINGERPRINT) && message.contains(SECURITY_FINGERPRINT), "{message}");
        assert!(matches!(
            Keyring::default().pin(SECURITY_FINGERPRINT, b"no key"),
            Err(KeyError::Unreadable(_))
        ));
    }

    /// Flatcar's: its primary key signs with a new subkey every year or two.
    const FLATCAR: &[u8] = include_bytes!("../tests/data/flatcar.asc");
    const FLATCAR_FINGERPRINT: &str = "F88CFEDEFF29A5B4D9523864E25D9AED0593B34A";

    #[test]
    fn of_a_published_file_only_what_is_pinned_counts() {
        let both = [FLATCAR, b"\n", SECURITY].concat();
        let pinned = vec![FLATCAR_FINGERPRINT.to_owned()];
        let mut keyring = Keyring::default();
        keyring.pin_some(&pinned, &both).unwrap();
        assert!(keyring.keys.iter().all(|key| key.primary == FLATCAR_FINGERPRINT));
        // Two of its eight subkeys are revoked; the primary itself may sign, too.
        assert_eq!(keyring.keys.len(), 7);
        let message = Keyring::default().pin_some(&pinned, SECURITY).unwrap_err().to_string();
        assert!(message.contains(SECURITY_FINGERPRINT) && message.contains(FLATCAR_FINGERPRINT), "{message}");
        assert!(Keyring::default().pin_some(&pinned, b"no key").is_err());
    }

    #[cfg(feature = "testing")]
    #[test]
    fn signatures_in_files_of_their_own() {
        let (signer, other) = (crate::testing::Signer::new(), crate::testing::Signer::new());
        let pinned = vec![signer.fingerprint()];
        let mut keyring = Keyring::default();
        keyring.pin_some(&pinned, signer.armoured().as_bytes()).unwrap();
        let signature = signer.sign_detached(b"kernel");
        let now = NOW + 1_000_000_000;
        assert!(keyring.verify_detached(&signature, &b"kernel"[..], now).is_ok());
        let refused = |signature: &[u8], content: &[u8]| {
            keyring.verify_detached(signature, content, now).unwrap_err().to_string()
        };
        assert!(
            refused(&signature, b"kernal").contains("does not fit"),
            "{}",
            refused(&signature, b"kernal")
        );
        let strange = refused(&other.sign_detached(b"kernel"), b"kernel");
        assert!(strange.contains(&other.fingerprint()), "{strange}");
        for length in 0..signature.len() {
            assert!(keyring.verify_detached(&signature[..length], &b"kernel"[..], now).is_err(), "{length}");
        }
    }
}
