//! A secret for whoever holds a key, and nobody who reads along: a message of CMS (RFC 5652) that `openssl cms -decrypt` opens.
//!
//! The content is enciphered with AES-256-GCM (RFC 5083, RFC 5084) under a key of its own, which is wrapped (RFC 3394) under one
//! that comes of a Diffie-Hellman exchange between a key made for this message and the holder's (RFC 5753 § 3.1,
//! dhSinglePass-stdDH-sha256kdf-scheme).

use aes_kw::KekAes256;
use ring::{
    aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey},
    agreement::{Algorithm, ECDH_P256, ECDH_P384, EphemeralPrivateKey, UnparsedPublicKey, agree_ephemeral},
    rand::SecureRandom,
};
use x509_parser::{
    oid_registry::{OID_EC_P256, OID_NIST_EC_P384},
    prelude::FromDer as _,
    x509::SubjectPublicKeyInfo,
};
use yasna::{DERWriter, Tag, construct_der, models::ObjectIdentifier};

use crate::{
    authority::{bytes, pem},
    request::sha256,
};

const AUTH_ENVELOPED_DATA: &[u64] = &[1, 2, 840, 113_549, 1, 9, 16, 1, 23];
const DATA: &[u64] = &[1, 2, 840, 113_549, 1, 7, 1];
const EC_PUBLIC_KEY: &[u64] = &[1, 2, 840, 10045, 2, 1];
const ECDH_SHA256_KDF: &[u64] = &[1, 3, 132, 1, 11, 1];
const AES_256_WRAP: &[u64] = &[2, 16, 840, 1, 101, 3, 4, 1, 45];
const AES_256_GCM_OID: &[u64] = &[2, 16, 840, 1, 101, 3, 4, 1, 46];

/// Why there is no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// The key is not one that anything can be agreed on with.
    #[error("the key is not on the curve P-256 or P-384")]
    Key,
    /// The kernel gave no randomness.
    #[error("the kernel gave no randomness")]
    Random,
}

/// `secret` for the holder of `key`, a SubjectPublicKeyInfo (RFC 5280 § 4.1.2.7) in DER on P-256 or P-384: a message in PEM.
///
/// # Errors
/// Another kind of key, or no randomness.
pub fn envelope(secret: &[u8], key: &[u8], random: &dyn SecureRandom) -> Result<String, EnvelopeError> {
    let (algorithm, point) = holder(key)?;
    let own = EphemeralPrivateKey::generate(algorithm, random).map_err(|_| EnvelopeError::Random)?;
    let own_point = own.compute_public_key().map_err(|_| EnvelopeError::Key)?;
    let peer = UnparsedPublicKey::new(algorithm, &point);
    let wrapping = agree_ephemeral(own, &peer, derived).map_err(|_| EnvelopeError::Key)?;

    let content_key: [u8; 32] = bytes(random).map_err(|_| EnvelopeError::Random)?;
    let mut wrapped = [0; 40];
    // Only a buffer of another length fails.
    KekAes256::from(wrapping).wrap(&content_key, &mut wrapped).map_err(|_| EnvelopeError::Key)?;

    let nonce: [u8; 12] = bytes(random).map_err(|_| EnvelopeError::Random)?;
    let mut content = secret.to_vec();
    let cipher = UnboundKey::new(&AES_256_GCM, &content_key).map_err(|_| EnvelopeError::Key)?;
    let tag = LessSafeKey::new(cipher)
        .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::empty(), &mut content)
        .map_err(|_| EnvelopeError::Key)?;

    let message = construct_der(|writer| {
        writer.write_sequence(|writer| {
            oid(writer.next(), AUTH_ENVELOPED_DATA);
            writer.next().write_tagged(Tag::context(0), |writer| {
                writer.write_sequence(|writer| {
                    writer.next().write_u8(0);
                    writer.next().write_set_of(|writer| {
                        recipient(writer.next(), own_point.as_ref(), &sha256(key), &wrapped);
                    });
                    enciphered(writer.next(), &nonce, &content);
                    writer.next().write_bytes(tag.as_ref());
                });
            });
        });
    });
    Ok(pem("CMS", &message))
}

/// What can be agreed on with the key, and its point.
fn holder(key: &[u8]) -> Result<(&'static Algorithm, Vec<u8>), EnvelopeError> {
    let (_, info) = SubjectPublicKeyInfo::from_der(key).map_err(|_| EnvelopeError::Key)?;
    let curve = info.algorithm.parameters.as_ref().and_then(|any| any.as_oid().ok());
    let algorithm = match curve {
        Some(oid) if oid == OID_EC_P256 => &ECDH_P256,
        Some(oid) if oid == OID_NIST_EC_P384 => &ECDH_P384,
        _ => return Err(EnvelopeError::Key),
    };
    Ok((algorithm, info.subject_public_key.data.to_vec()))
}

/// The key that comes of what was agreed on: one block of the function of SEC 1 § 3.6.1 with the information of RFC 5753 § 7.2.
fn derived(agreed: &[u8]) -> [u8; 32] {
    let information = construct_der(|writer| {
        writer.write_sequence(|writer| {
            algorithm(writer.next(), AES_256_WRAP);
            // The length of the key in bits.
            writer.next().write_tagged(Tag::context(2), |writer| writer.write_bytes(&256_u32.to_be_bytes()));
        });
    });
    sha256(&[agreed, &1_u32.to_be_bytes(), &information].concat())
}

/// KeyAgreeRecipientInfo (RFC 5652 § 6.2.2).
fn recipient(writer: DERWriter<'_>, own_point: &[u8], holder: &[u8], wrapped: &[u8]) {
    writer.write_tagged_implicit(Tag::context(1), |writer| {
        writer.write_sequence(|writer| {
            writer.next().write_u8(3);
            writer.next().write_tagged(Tag::context(0), |writer| {
                writer.write_tagged_implicit(Tag::context(1), |writer| {
                    writer.write_sequence(|writer| {
                        algorithm(writer.next(), EC_PUBLIC_KEY);
                        writer.next().write_bitvec_bytes(own_point, own_point.len() * 8);
                    });
                });
            });
            writer.next().write_sequence(|writer| {
                oid(writer.next(), ECDH_SHA256_KDF);
                algorithm(writer.next(), AES_256_WRAP);
            });
            writer.next().write_sequence(|writer| {
                writer.next().write_sequence(|writer| {
                    writer.next().write_tagged_implicit(Tag::context(0), |writer| {
                        writer.write_sequence(|writer| writer.next().write_bytes(holder));
                    });
                    writer.next().write_bytes(wrapped);
                });
            });
        });
    });
}

/// EncryptedContentInfo (RFC 5652 § 6.1) with GCMParameters (RFC 5084 § 3.2).
fn enciphered(writer: DERWriter<'_>, nonce: &[u8], content: &[u8]) {
    writer.write_sequence(|writer| {
        oid(writer.next(), DATA);
        writer.next().write_sequence(|writer| {
            oid(writer.next(), AES_256_GCM_OID);
            writer.next().write_sequence(|writer| {
                writer.next().write_bytes(nonce);
                writer.next().write_u8(16);
            });
        });
        writer.next().write_tagged_implicit(Tag::context(0), |writer| writer.write_bytes(content));
    });
}

/// An AlgorithmIdentifier without parameters.
fn algorithm(writer: DERWriter<'_>, components: &[u64]) {
    writer.write_sequence(|writer| oid(writer.next(), components));
}

fn oid(writer: DERWriter<'_>, components: &[u64]) {
    writer.write_oid(&ObjectIdentifier::from_slice(components));
}
