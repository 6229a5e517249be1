//! For tests only, here and elsewhere: a key that signs, and a server that misbehaves on demand. It panics where a test
//! should fail.

mod server;

use std::{collections::BTreeMap, path::PathBuf};

use pgp::{
    composed::{
        ArmorOptions, CleartextSignedMessage, DetachedSignature, KeyType, SecretKeyParamsBuilder,
        SignedPublicKey, SignedSecretKey,
    },
    crypto::hash::HashAlgorithm,
    ser::Serialize as _,
    types::{KeyDetails, Password},
};

pub use server::{Server, Trouble};

/// What a mirror has, by its path on the server: `debian/dists/…`, `debian/pool/…`.
pub type Site = BTreeMap<String, Content>;

/// One file of a mirror.
#[derive(Debug, Clone)]
pub enum Content {
    /// In memory.
    Bytes(Vec<u8>),
    /// On the disk.
    File(PathBuf),
}

impl Content {
    /// All of it.
    pub fn read(&self) -> Vec<u8> {
        match self {
            Self::Bytes(bytes) => bytes.clone(),
            Self::File(path) => std::fs::read(path).expect("a file of the site is readable"),
        }
    }
}

/// A key that signs Releases.
pub struct Signer {
    key: SignedSecretKey,
}

impl Default for Signer {
    fn default() -> Self {
        Self::new()
    }
}

impl Signer {
    /// A new key.
    pub fn new() -> Self {
        let mut parameters = SecretKeyParamsBuilder::default();
        parameters
            .key_type(KeyType::Ed25519Legacy)
            .can_certify(true)
            .can_sign(true)
            .primary_user_id("Test <test@example.org>".into());
        let parameters = parameters.build().expect("the parameters are complete");
        Self { key: parameters.generate(rand::thread_rng()).expect("a key can be made") }
    }

    /// Its fingerprint as `archives.toml` wants it.
    pub fn fingerprint(&self) -> String {
        format!("{:X}", self.key.fingerprint())
    }

    /// Its public half, ASCII-armoured.
    pub fn armoured(&self) -> String {
        SignedPublicKey::from(self.key.clone())
            .to_armored_string(ArmorOptions::default())
            .expect("a key can be written")
    }

    /// Signs a content, in a file of its own that is not armoured.
    pub fn sign_detached(&self, content: &[u8]) -> Vec<u8> {
        let key = &self.key.primary_key;
        DetachedSignature::sign_binary_data(
            rand::thread_rng(),
            key,
            &Password::empty(),
            HashAlgorithm::Sha512,
            content,
        )
        .and_then(|signature| signature.to_bytes())
        .expect("a content can be signed")
    }

    /// Clear-signs a text.
    pub fn sign(&self, text: &str) -> Vec<u8> {
        CleartextSignedMessage::sign(rand::thread_rng(), text, &self.key.primary_key, &Password::empty())
            .and_then(|message| message.to_armored_bytes(ArmorOptions::default()))
            .expect("a text can be signed")
    }
}
