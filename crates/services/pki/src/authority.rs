//! The root, the authorities under it, and signing.

use std::fmt;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, SanType, SerialNumber, SubjectPublicKeyInfo,
};
use ring::{
    rand::SecureRandom,
    signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair},
};
use time::OffsetDateTime;

use crate::{Leaf, Name, NotRenewed, Request, renewal::renewable};

/// How long the root and the authorities under it are good. The Pi has no clock of its own to renew them by.
pub const YEARS: u64 = 20;

const YEAR: u64 = 31_557_600;

/// How far before now a certificate begins to be good, in seconds: nodes' clocks are never quite alike.
const SLACK: u64 = 600;

/// One of the authorities under the root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Branch {
    /// The API and all that speaks to it.
    Kubernetes,
    /// The cluster's store and its clients: controllers alone.
    Etcd,
    /// What the API server shows where it speaks in another's name.
    FrontProxy,
}

impl Branch {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Kubernetes, Self::Etcd, Self::FrontProxy];

    fn name(self) -> &'static str {
        match self {
            Self::Kubernetes => "kubernetes",
            Self::Etcd => "etcd",
            Self::FrontProxy => "front-proxy",
        }
    }
}

/// Whether the time is known to be right: from upstream NTP, a clock chip, or an operator's word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeTrust {
    /// It is.
    Trusted,
    /// It may be anything; a Pi that was off for a year is a year behind.
    Untrusted,
}

/// The time as the caller knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clock {
    /// Seconds since 1970.
    pub now: u64,
    /// Whether to believe them.
    pub trust: TimeTrust,
}

/// Why nothing was made.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// No certificate that ends soon is issued by a clock that nobody vouches for.
    #[error(
        "the time is not trusted yet, so no certificate is issued: give the Pi an upstream time server, or set its time"
    )]
    Time,
    /// The clock is before the authority itself, however it is vouched for.
    #[error(
        "the time, {now} s since 1970, is before the authority itself, which begins at {begins}: set the time"
    )]
    Early {
        /// The time that was told.
        now: u64,
        /// When the authority begins, in seconds since 1970.
        begins: u64,
    },
    /// A time that no certificate can say.
    #[error("{0} s since 1970 is no time that a certificate can say")]
    Range(u64),
    /// The source of randomness failed.
    #[error("the kernel gave no randomness")]
    Random,
    /// Keys, names or certificates could not be made or read.
    #[error("a certificate or key could not be made")]
    Encoding(#[from] rcgen::Error),
}

/// A certificate that was issued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issued {
    /// The certificate and then the authority's that signed it, in PEM: what a server or client shows.
    pub chain: String,
    /// When it ends, in seconds since 1970.
    pub ends: u64,
}

/// An authority's key and certificate.
pub(crate) struct Ca {
    pub(crate) key: KeyPair,
    pub(crate) certificate: Vec<u8>,
}

/// The whole of it: root, authorities, and the key that signs service accounts' tokens.
pub struct Authority {
    pub(crate) begins: u64,
    pub(crate) root: Ca,
    pub(crate) branches: [Ca; 3],
    pub(crate) service_account: KeyPair,
}

impl fmt::Debug for Authority {
    /// Without its keys.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Authority").field("begins", &self.begins).finish_non_exhaustive()
    }
}

impl Authority {
    /// Makes all keys and the four certificates. `begins`, in seconds since 1970, is the time of the build: the Pi's
    /// own clock may be anywhere, and no clock that is right is before it.
    ///
    /// # Errors
    /// No randomness, or a time that no certificate can say.
    pub fn make(begins: u64, random: &dyn SecureRandom) -> Result<Self, Fault> {
        let mark: String = bytes::<4>(random)?.iter().map(|byte| format!("{byte:02x}")).collect();
        let root_key = key(random)?;
        let root_params = authority_params(&format!("pilotlight root {mark}"), None, begins, bytes(random)?)?;
        let root_certificate = root_params.self_signed(&root_key)?.der().to_vec();
        let issuer = Issuer::from_params(&root_params, &root_key);
        let branch = |branch: Branch| -> Result<Ca, Fault> {
            let key = key(random)?;
            // A Kubernetes cluster may be given an authority of its own under this one; the others sign leaves only.
            let below = u8::from(branch == Branch::Kubernetes);
            let name = format!("pilotlight {} {mark}", branch.name());
            let params = authority_params(&name, Some(below), begins, bytes(random)?)?;
            let certificate = params.signed_by(&key, &issuer)?.der().to_vec();
            Ok(Ca { key, certificate })
        };
        let branches = [branch(Branch::Kubernetes)?, branch(Branch::Etcd)?, branch(Branch::FrontProxy)?];
        let service_account = key(random)?;
        drop(issuer);
        Ok(Self {
            begins,
            root: Ca { key: root_key, certificate: root_certificate },
            branches,
            service_account,
        })
    }

    /// The root's certificate in PEM. It says that the authorities belong together; trust is in one of those.
    pub fn root_pem(&self) -> String {
        pem("CERTIFICATE", &self.root.certificate)
    }

    /// An authority's certificate in PEM: what is trusted for what it signs.
    pub fn branch_pem(&self, branch: Branch) -> String {
        pem("CERTIFICATE", &self.branch(branch).certificate)
    }

    /// The public key that checks service accounts' tokens, in PEM.
    pub fn service_account_public_pem(&self) -> String {
        self.service_account.public_key_pem()
    }

    /// The key that signs service accounts' tokens, in PEM: a secret, for controllers alone.
    pub fn service_account_pem(&self) -> String {
        self.service_account.serialize_pem()
    }

    /// Whether the certificate in `pem` may be replaced by what `leaf` says for the key of `request`.
    ///
    /// # Errors
    /// Why not.
    pub fn renewable(
        &self,
        pem: &str,
        leaf: &Leaf,
        request: &Request,
        clock: Clock,
    ) -> Result<(), NotRenewed> {
        renewable(pem.as_bytes(), leaf, request, &self.branch(leaf.branch).certificate, clock.now)
    }

    pub(crate) fn branch(&self, branch: Branch) -> &Ca {
        let [kubernetes, etcd, front_proxy] = &self.branches;
        match branch {
            Branch::Kubernetes => kubernetes,
            Branch::Etcd => etcd,
            Branch::FrontProxy => front_proxy,
        }
    }

    /// Signs what `leaf` says for the key of `request`, whose own names count for nothing.
    ///
    /// # Errors
    /// The time is not trusted, or before the authority itself; or no randomness.
    pub fn issue(
        &self,
        leaf: &Leaf,
        request: &Request,
        clock: Clock,
        random: &dyn SecureRandom,
    ) -> Result<Issued, Fault> {
        let key = SubjectPublicKeyInfo::from_der(&request.key)?;
        self.sign(leaf, &key, clock, random)
    }

    /// Makes a key and signs what `leaf` says for it. The key is the second value, in PEM: a secret.
    ///
    /// # Errors
    /// As [`Self::issue`].
    pub fn issue_with_key(
        &self,
        leaf: &Leaf,
        clock: Clock,
        random: &dyn SecureRandom,
    ) -> Result<(Issued, String), Fault> {
        let key = key(random)?;
        Ok((self.sign(leaf, &key, clock, random)?, key.serialize_pem()))
    }

    fn sign(
        &self,
        leaf: &Leaf,
        key: &impl rcgen::PublicKeyData,
        clock: Clock,
        random: &dyn SecureRandom,
    ) -> Result<Issued, Fault> {
        if clock.trust == TimeTrust::Untrusted {
            return Err(Fault::Time);
        }
        if clock.now < self.begins {
            return Err(Fault::Early { now: clock.now, begins: self.begins });
        }
        let ends = clock.now.saturating_add(leaf.seconds).min(self.begins.saturating_add(YEARS * YEAR));
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, leaf.common_name.as_str());
        if let Some(organization) = leaf.organization {
            params.distinguished_name.push(DnType::OrganizationName, organization);
        }
        params.not_before = moment(clock.now.saturating_sub(SLACK).max(self.begins))?;
        params.not_after = moment(ends)?;
        params.serial_number = Some(serial(bytes(random)?));
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        if leaf.server {
            params.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
        }
        if leaf.client {
            params.extended_key_usages.push(ExtendedKeyUsagePurpose::ClientAuth);
        }
        for name in &leaf.names {
            params.subject_alt_names.push(match name {
                Name::Dns(name) => SanType::DnsName(name.as_str().try_into()?),
                Name::Address(address) => SanType::IpAddress(*address),
            });
        }
        params.use_authority_key_identifier_extension = true;
        let ca = self.branch(leaf.branch);
        let issuer = Issuer::from_ca_cert_der(&ca.certificate.as_slice().into(), &ca.key)?;
        let certificate = params.signed_by(key, &issuer)?;
        Ok(Issued { chain: certificate.pem() + &self.branch_pem(leaf.branch), ends })
    }
}

/// What an authority's certificate says; `number` is random bits.
pub(crate) fn authority_params(
    name: &str,
    below: Option<u8>,
    begins: u64,
    number: [u8; 16],
) -> Result<CertificateParams, Fault> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = moment(begins)?;
    params.not_after = moment(begins.saturating_add(YEARS * YEAR))?;
    params.serial_number = Some(serial(number));
    params.is_ca = IsCa::Ca(below.map_or(BasicConstraints::Unconstrained, BasicConstraints::Constrained));
    params.key_usages =
        vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

fn moment(seconds: u64) -> Result<OffsetDateTime, Fault> {
    let signed = i64::try_from(seconds).map_err(|_| Fault::Range(seconds))?;
    OffsetDateTime::from_unix_timestamp(signed).map_err(|_| Fault::Range(seconds))
}

/// A key on P-256, which Kubernetes, etcd, OpenSSL and rustls all take.
fn key(random: &dyn SecureRandom) -> Result<KeyPair, Fault> {
    let document =
        EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, random).map_err(|_| Fault::Random)?;
    Ok(KeyPair::try_from(document.as_ref())?)
}

/// A serial number of 127 random bits (RFC 5280 § 4.1.2.2: positive; at most 20 octets).
fn serial(mut octets: [u8; 16]) -> SerialNumber {
    if let Some(first) = octets.first_mut() {
        *first = *first & 0x7f | 0x40;
    }
    SerialNumber::from(octets.to_vec())
}

pub(crate) fn bytes<const N: usize>(random: &dyn SecureRandom) -> Result<[u8; N], Fault> {
    let mut bytes = [0; N];
    random.fill(&mut bytes).map_err(|_| Fault::Random)?;
    Ok(bytes)
}

/// RFC 7468: 64 characters a line.
pub(crate) fn pem(label: &str, der: &[u8]) -> String {
    use base64::{Engine as _, prelude::BASE64_STANDARD};
    let text = BASE64_STANDARD.encode(der);
    let mut pem = format!("-----BEGIN {label}-----\n");
    for (at, character) in text.chars().enumerate() {
        if at > 0 && at % 64 == 0 {
            pem.push('\n');
        }
        pem.push(character);
    }
    pem + &format!("\n-----END {label}-----\n")
}
