//! Which certificate is worth another one: a node that has run for long shows the one that it has, and that it holds the key.

use std::{collections::BTreeSet, net::IpAddr};

use x509_parser::{
    certificate::X509Certificate, extensions::GeneralName, pem::parse_x509_pem, prelude::FromDer as _,
};

use crate::{Leaf, Name, Request};

/// The longest certificate that is read, in bytes, with its authority's behind it.
const LONGEST_CHAIN: usize = 16 << 10;

/// Why a certificate is not renewed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum NotRenewed {
    /// It is no certificate.
    #[error("it is no PEM of a certificate")]
    Malformed,
    /// No authority of this lab signed it, or another one than signs what is asked for.
    #[error("the authority for this purpose did not sign the certificate")]
    Foreign,
    /// It is another key's.
    #[error("the certificate is another key's than the request")]
    AnotherKey,
    /// It says something else than the lab now does for this node and purpose.
    #[error("the certificate says something else than the node's new one for this purpose would")]
    Another,
    /// It is over, or has not begun.
    #[error("the certificate is not good at this time")]
    Over,
    /// It has more than half of its time left.
    #[error("the certificate has more than half of its time left")]
    Early,
}

impl NotRenewed {
    /// Whether a person should look: somebody shows what is not theirs.
    pub fn alarm(self) -> bool {
        matches!(self, Self::Foreign | Self::AnotherKey)
    }
}

/// Whether the first certificate in `pem` may be replaced at `now`, in seconds since 1970, by what `leaf` says for the key of
/// `request`. `authority` is the certificate, in DER, of who signs that.
///
/// # Errors
/// [`NotRenewed`], in the order of its variants.
pub(crate) fn renewable(
    pem: &[u8],
    leaf: &Leaf,
    request: &Request,
    authority: &[u8],
    now: u64,
) -> Result<(), NotRenewed> {
    if pem.len() > LONGEST_CHAIN {
        return Err(NotRenewed::Malformed);
    }
    let malformed = |_| NotRenewed::Malformed;
    let (_, pem) = parse_x509_pem(pem).map_err(|_| NotRenewed::Malformed)?;
    let (rest, shown) = X509Certificate::from_der(&pem.contents).map_err(malformed)?;
    if pem.label != "CERTIFICATE" || !rest.is_empty() {
        return Err(NotRenewed::Malformed);
    }
    let (_, authority) = X509Certificate::from_der(authority).map_err(malformed)?;
    if shown.verify_signature(Some(authority.public_key())).is_err() {
        return Err(NotRenewed::Foreign);
    }
    if shown.public_key().raw != request.key {
        return Err(NotRenewed::AnotherKey);
    }
    if !says(&shown, leaf) {
        return Err(NotRenewed::Another);
    }
    let seconds = |moment: i64| u64::try_from(moment).unwrap_or(0);
    let validity = shown.validity();
    let (begins, ends) = (seconds(validity.not_before.timestamp()), seconds(validity.not_after.timestamp()));
    if now < begins || now >= ends {
        return Err(NotRenewed::Over);
    }
    if ends - now > leaf.seconds / 2 {
        return Err(NotRenewed::Early);
    }
    Ok(())
}

/// Whether a certificate says what `leaf` does.
fn says(shown: &X509Certificate<'_>, leaf: &Leaf) -> bool {
    let only = |mut found: Vec<&str>| (found.len() < 2).then(|| found.pop()).flatten().map(str::to_owned);
    let subject = shown.subject();
    let common_name = only(subject.iter_common_name().filter_map(|name| name.as_str().ok()).collect());
    let organization = only(subject.iter_organization().filter_map(|name| name.as_str().ok()).collect());
    let uses = shown
        .extended_key_usage()
        .ok()
        .flatten()
        .map(|uses| (uses.value.server_auth, uses.value.client_auth));
    let names = match shown.subject_alternative_name() {
        Ok(Some(names)) => names.value.general_names.iter().map(named).collect(),
        Ok(None) => Some(BTreeSet::new()),
        Err(_) => None,
    };
    common_name.as_deref() == Some(&leaf.common_name)
        && organization.as_deref() == leaf.organization
        && uses == Some((leaf.server, leaf.client))
        && names == Some(leaf.names.iter().cloned().collect())
}

fn named(name: &GeneralName<'_>) -> Option<Name> {
    match name {
        GeneralName::DNSName(name) => Some(Name::Dns((*name).to_owned())),
        GeneralName::IPAddress(octets) => {
            let address = match octets.len() {
                4 => <[u8; 4]>::try_from(*octets).ok().map(IpAddr::from),
                _ => <[u8; 16]>::try_from(*octets).ok().map(IpAddr::from),
            };
            address.map(Name::Address)
        }
        _ => None,
    }
}
