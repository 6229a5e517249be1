//! What a node sends to have its key signed: PKCS #10 (RFC 2986).

use ring::digest::{SHA256, digest};
use x509_parser::{
    certification_request::X509CertificationRequest,
    oid_registry::{OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY, OID_NIST_EC_P384},
    pem::parse_x509_pem,
    prelude::FromDer as _,
};

use crate::Leaf;

/// The longest request that is read, in bytes; one with an elliptic key has some hundreds.
pub const LONGEST_REQUEST: usize = 8 << 10;

/// A request whose signature was checked: who sent it holds the key. Names in it give nobody anything; they are only
/// compared with what the lab says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The public key (SubjectPublicKeyInfo, RFC 5280 § 4.1.2.7) in DER.
    pub key: Vec<u8>,
    /// The common name that was asked for, if any.
    pub common_name: Option<String>,
}

/// Why a request is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum RequestError {
    /// It is longer than [`LONGEST_REQUEST`].
    #[error("the request is longer than {LONGEST_REQUEST} bytes")]
    Long,
    /// It is no PEM of a certificate request.
    #[error("the request is no PEM of a CERTIFICATE REQUEST")]
    Pem,
    /// It is no PKCS #10, or something follows it.
    #[error("the request is no PKCS #10")]
    Der,
    /// Its key is of a kind that is not signed.
    #[error(
        "the request's key is not on the curve P-256 or P-384: make it with `openssl ecparam -name prime256v1 -genkey`"
    )]
    Key,
    /// Its signature is not by its own key.
    #[error("the request's signature is not by its own key")]
    Signature,
}

impl Request {
    /// Reads a request in PEM or DER and checks that its own key signed it.
    ///
    /// # Errors
    /// Whatever is not such a request, or has a key that is not on P-256 or P-384.
    pub fn read(bytes: &[u8]) -> Result<Self, RequestError> {
        if bytes.len() > LONGEST_REQUEST {
            return Err(RequestError::Long);
        }
        if !bytes.starts_with(b"-----BEGIN") {
            return Self::read_der(bytes);
        }
        let (_, pem) = parse_x509_pem(bytes).map_err(|_| RequestError::Pem)?;
        match pem.label.as_str() {
            "CERTIFICATE REQUEST" | "NEW CERTIFICATE REQUEST" => Self::read_der(&pem.contents),
            _ => Err(RequestError::Pem),
        }
    }

    fn read_der(der: &[u8]) -> Result<Self, RequestError> {
        let (rest, request) = X509CertificationRequest::from_der(der).map_err(|_| RequestError::Der)?;
        if !rest.is_empty() {
            return Err(RequestError::Der);
        }
        let info = &request.certification_request_info;
        let curve = info.subject_pki.algorithm.parameters.as_ref().and_then(|any| any.as_oid().ok());
        let known = curve.is_some_and(|oid| oid == OID_EC_P256 || oid == OID_NIST_EC_P384);
        if info.subject_pki.algorithm.algorithm != OID_KEY_TYPE_EC_PUBLIC_KEY || !known {
            return Err(RequestError::Key);
        }
        request.verify_signature().map_err(|_| RequestError::Signature)?;
        let common_name =
            info.subject.iter_common_name().next().and_then(|name| name.as_str().ok()).map(str::to_owned);
        Ok(Self { key: info.subject_pki.raw.to_vec(), common_name })
    }

    /// The SHA-256 of the public key: what a retry is known by.
    pub fn fingerprint(&self) -> [u8; 32] {
        sha256(&self.key)
    }

    /// Whether the request names nobody, or the one that the certificate will name.
    pub fn agrees(&self, leaf: &Leaf) -> bool {
        self.common_name.as_ref().is_none_or(|name| *name == leaf.common_name)
    }
}

/// The SHA-256 of these bytes.
pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut sum = [0; 32];
    for (to, from) in sum.iter_mut().zip(digest(&SHA256, bytes).as_ref()) {
        *to = *from;
    }
    sum
}
