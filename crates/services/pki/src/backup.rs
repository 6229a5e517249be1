//! All keys in one file, under a passphrase: Argon2id (RFC 9106) makes the key, ChaCha20-Poly1305 (RFC 8439) seals.
//!
//! A backup is the mark, a salt of 16 bytes, a nonce of 12 and the sealed JSON. Argon2's costs belong to the mark, so
//! that a file cannot ask for more memory than the Pi has.

use argon2::{Algorithm, Argon2, Params, Version};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use rcgen::KeyPair;
use ring::{
    aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey},
    rand::SecureRandom,
};
use serde::{Deserialize, Serialize};

use crate::{Authority, authority::Ca};

const MARK: &[u8] = b"pilotlight-pki 1\n";

/// The shortest passphrase that a backup is sealed with, in characters.
pub const SHORTEST_PASSPHRASE: usize = 12;

/// Memory in KiB and passes: 19 MiB is what OWASP asks for at least, and takes a Pi 3 well under ten seconds.
const MEMORY: u32 = 19 * 1024;
const PASSES: u32 = 2;

/// The longest backup that is read, in bytes; one has about 4,000.
const LONGEST: usize = 64 << 10;

/// Why there is no backup, or nothing came out of one.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The passphrase would be guessed.
    #[error("the passphrase is shorter than {SHORTEST_PASSPHRASE} characters")]
    Short,
    /// The source of randomness failed.
    #[error("the kernel gave no randomness")]
    Random,
    /// Sealing failed.
    #[error("the keys could not be sealed")]
    Seal,
    /// It is no backup, or one of a later version.
    #[error("this is no backup of a Pilotlight's certificates, or one that a later version made")]
    Foreign,
    /// The passphrase is wrong, or the file was changed: that cannot be told apart.
    #[error("the passphrase is wrong, or the backup is damaged")]
    Closed,
    /// What was sealed is not what it should be.
    #[error("the {0} of the authority cannot be read")]
    Content(&'static str),
}

#[derive(Serialize, Deserialize)]
struct Pair {
    key: String,
    certificate: String,
}

#[derive(Serialize, Deserialize)]
struct Content {
    begins: u64,
    root: Pair,
    branches: [Pair; 3],
    service_account: String,
}

/// All of the authority, sealed.
///
/// # Errors
/// The passphrase is too short, or there is no randomness.
pub fn seal(
    authority: &Authority,
    passphrase: &str,
    random: &dyn SecureRandom,
) -> Result<Vec<u8>, BackupError> {
    if passphrase.chars().count() < SHORTEST_PASSPHRASE {
        return Err(BackupError::Short);
    }
    let (mut salt, mut nonce) = ([0; 16], [0; 12]);
    random.fill(&mut salt).map_err(|_| BackupError::Random)?;
    random.fill(&mut nonce).map_err(|_| BackupError::Random)?;
    let mut sealed = authority.pack()?;
    key(passphrase, &salt)
        .ok_or(BackupError::Seal)?
        .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(MARK), &mut sealed)
        .map_err(|_| BackupError::Seal)?;
    Ok([MARK, &salt, &nonce, &sealed].concat())
}

/// The authority out of a backup.
///
/// # Errors
/// It is no backup, is damaged, or the passphrase is not its own.
pub fn restore(backup: &[u8], passphrase: &str) -> Result<Authority, BackupError> {
    if backup.len() > LONGEST {
        return Err(BackupError::Foreign);
    }
    let rest = backup.strip_prefix(MARK).ok_or(BackupError::Foreign)?;
    let (salt, rest) = rest.split_first_chunk::<16>().ok_or(BackupError::Foreign)?;
    let (nonce, sealed) = rest.split_first_chunk::<12>().ok_or(BackupError::Foreign)?;
    let mut sealed = sealed.to_vec();
    let opened = key(passphrase, salt)
        .ok_or(BackupError::Closed)?
        .open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::from(MARK), &mut sealed)
        .map_err(|_| BackupError::Closed)?;
    Authority::unpack(opened)
}

impl Authority {
    /// All keys and certificates, open to whoever reads them: for a file that nobody else does.
    ///
    /// # Errors
    /// None that is known of.
    pub fn pack(&self) -> Result<Vec<u8>, BackupError> {
        serde_json::to_vec(&content(self)).map_err(|_| BackupError::Content("list"))
    }

    /// What [`Self::pack`] gave.
    ///
    /// # Errors
    /// It is something else.
    pub fn unpack(bytes: &[u8]) -> Result<Self, BackupError> {
        let content: Content = serde_json::from_slice(bytes).map_err(|_| BackupError::Content("list"))?;
        let [kubernetes, etcd, front_proxy] = content.branches;
        Ok(Self {
            begins: content.begins,
            root: unpack(&content.root)?,
            branches: [unpack(&kubernetes)?, unpack(&etcd)?, unpack(&front_proxy)?],
            service_account: unpack_key(&content.service_account)?,
        })
    }
}

fn content(authority: &Authority) -> Content {
    let pack = |ca: &Ca| Pair {
        key: BASE64_STANDARD.encode(ca.key.serialized_der()),
        certificate: BASE64_STANDARD.encode(&ca.certificate),
    };
    Content {
        begins: authority.begins,
        root: pack(&authority.root),
        branches: authority.branches.each_ref().map(pack),
        service_account: BASE64_STANDARD.encode(authority.service_account.serialized_der()),
    }
}

fn unpack(pair: &Pair) -> Result<Ca, BackupError> {
    let certificate =
        BASE64_STANDARD.decode(&pair.certificate).map_err(|_| BackupError::Content("certificate"))?;
    Ok(Ca { key: unpack_key(&pair.key)?, certificate })
}

fn unpack_key(text: &str) -> Result<KeyPair, BackupError> {
    let der = BASE64_STANDARD.decode(text).map_err(|_| BackupError::Content("key"))?;
    KeyPair::try_from(der).map_err(|_| BackupError::Content("key"))
}

fn key(passphrase: &str, salt: &[u8; 16]) -> Option<LessSafeKey> {
    let mut key = [0; 32];
    let params = Params::new(MEMORY, PASSES, 1, Some(key.len())).ok()?;
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(passphrase.as_bytes(), salt, &mut key)
        .ok()?;
    Some(LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, &key).ok()?))
}
