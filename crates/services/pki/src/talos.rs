//! What a cluster of Talos nodes shares: its secrets bundle, as `talosctl gen config --with-secrets` reads it.
//!
//! Talos has its own certificates made by its own control plane, so the bundle holds the keys of the three authorities: the
//! named exception to "the key stays". What else is in it (Talos' own authority, tokens, the key that enciphers what etcd
//! keeps) is derived from the root's key (HKDF, RFC 5869), so that the bundle is the same each time, also after a backup was
//! restored, and nothing more has to be kept.
//!
//! Form and names: Talos 1.11, `pkg/machinery/config/generate/secrets`.

use base64::{
    Engine as _,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE},
};
use rcgen::{KeyPair, PublicKeyData as _};
use ring::hkdf::{HKDF_SHA256, KeyType, Prk, Salt};
use serde_json::{Value, json};
use yasna::{Tag, construct_der, models::ObjectIdentifier, parse_der};

use crate::{
    Authority, Branch, Fault,
    authority::{Ca, authority_params, pem},
};

const SALT: &[u8] = b"pilotlight talos 1";
/// RFC 8410 § 3.
const ED25519: &[u64] = &[1, 3, 101, 112];
/// RFC 5480 § 2.1.1.1.
const PRIME256V1: &[u64] = &[1, 2, 840, 10045, 3, 1, 7];
/// What bootstrap tokens are made of.
const SIGNS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";

/// The bundle of this authority's cluster: JSON, which is YAML as well. It holds keys: a secret.
///
/// # Errors
/// Talos' own authority cannot be made.
pub fn talos_secrets(authority: &Authority) -> Result<String, Fault> {
    let secrets = Secrets(Salt::new(HKDF_SHA256, SALT).extract(&authority.root.key.serialize_der()));
    let branch = |branch| -> Result<Value, Fault> {
        let key = ec_pem(&authority.branch(branch).key)?;
        Ok(pair(&authority.branch_pem(branch), &key))
    };
    let os = secrets.os_authority(authority.begins)?;
    let os_key = pem("ED25519 PRIVATE KEY", &os.key.serialize_der());
    let bundle = json!({
        "cluster": {
            "id": BASE64_URL_SAFE.encode(secrets.derive::<32>("cluster id")?),
            "secret": BASE64_STANDARD.encode(secrets.derive::<32>("cluster secret")?),
        },
        "secrets": {
            "bootstraptoken": secrets.token("bootstrap token")?,
            "secretboxencryptionsecret": BASE64_STANDARD.encode(secrets.derive::<32>("secretbox")?),
        },
        "trustdinfo": { "token": secrets.token("trustd token")? },
        "certs": {
            "etcd": branch(Branch::Etcd)?,
            "k8s": branch(Branch::Kubernetes)?,
            "k8saggregator": branch(Branch::FrontProxy)?,
            "k8sserviceaccount": { "key": BASE64_STANDARD.encode(ec_pem(&authority.service_account)?) },
            "os": pair(&pem("CERTIFICATE", &os.certificate), &os_key),
        },
    });
    Ok(format!("{bundle:#}\n"))
}

/// Both in PEM.
fn pair(certificate: &str, key: &str) -> Value {
    json!({ "crt": BASE64_STANDARD.encode(certificate), "key": BASE64_STANDARD.encode(key) })
}

/// What is derived from the root's key.
struct Secrets(Prk);

struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

impl Secrets {
    fn derive<const N: usize>(&self, what: &str) -> Result<[u8; N], Fault> {
        let mut derived = [0; N];
        let mut fill = || self.0.expand(&[what.as_bytes()], Length(N))?.fill(&mut derived);
        fill().map_err(|_| Fault::Random)?;
        Ok(derived)
    }

    /// A bootstrap token: 6 signs, a dot, 16 signs.
    fn token(&self, what: &str) -> Result<String, Fault> {
        // Of 256 values the last 4 would make some signs likelier than others; 96 bytes have 22 that are none of them but
        // once in more than the age of the world.
        let bytes = self.derive::<96>(what)?;
        let even = bytes.iter().filter(|byte| **byte < 252);
        let signs: String = even
            .take(22)
            .filter_map(|byte| SIGNS.get(usize::from(byte % 36)))
            .map(|sign| char::from(*sign))
            .collect();
        let (id, secret) = signs.split_at_checked(6).ok_or(Fault::Random)?;
        Ok(format!("{id}.{secret}"))
    }

    /// The authority of Talos' own API, on Ed25519 as Talos has it.
    fn os_authority(&self, begins: u64) -> Result<Ca, Fault> {
        let seed = self.derive::<32>("os key")?;
        // OneAsymmetricKey of RFC 8410 § 7 without its public half.
        let der = construct_der(|writer| {
            writer.write_sequence(|writer| {
                writer.next().write_u8(0);
                writer.next().write_sequence(|writer| {
                    writer.next().write_oid(&ObjectIdentifier::from_slice(ED25519));
                });
                writer.next().write_bytes(&construct_der(|writer| writer.write_bytes(&seed)));
            });
        });
        let key = KeyPair::try_from(der.as_slice())?;
        let params = authority_params("talos", None, begins, self.derive("os serial")?)?;
        let certificate = params.self_signed(&key)?.der().to_vec();
        Ok(Ca { key, certificate })
    }
}

/// A key on P-256 as ECPrivateKey (RFC 5915 § 3) in PEM, with the curve in it: the form that every Talos reads.
fn ec_pem(key: &KeyPair) -> Result<String, Fault> {
    let scalar = parse_der(&key.serialize_der(), |reader| {
        reader.read_sequence(|reader| {
            reader.next().read_u8()?;
            reader.next().read_der()?;
            let inner = reader.next().read_bytes()?;
            reader.read_optional(|reader| reader.read_der())?;
            parse_der(&inner, |reader| {
                reader.read_sequence(|reader| {
                    reader.next().read_u8()?;
                    let scalar = reader.next().read_bytes()?;
                    while reader.read_optional(|reader| reader.read_der())?.is_some() {}
                    Ok(scalar)
                })
            })
        })
    });
    let scalar = scalar.map_err(|_| Fault::Encoding(rcgen::Error::CouldNotParseKeyPair))?;
    let point = key.der_bytes();
    let der = construct_der(|writer| {
        writer.write_sequence(|writer| {
            writer.next().write_u8(1);
            writer.next().write_bytes(&scalar);
            writer.next().write_tagged(Tag::context(0), |writer| {
                writer.write_oid(&ObjectIdentifier::from_slice(PRIME256V1));
            });
            writer.next().write_tagged(Tag::context(1), |writer| {
                writer.write_bitvec_bytes(point, point.len() * 8);
            });
        });
    });
    Ok(pem("EC PRIVATE KEY", &der))
}
