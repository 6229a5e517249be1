//! What nodes ask the certificate authority for, by way of this server: `POST /node/MAC/token` (a form with `request`), `POST
//! /node/MAC/certificate` (one with `purpose`, `request`, and `token` or `certificate`), and what everybody may have beneath `/pki/`.
//!
//! Nothing is decided here: the authority is another process of another user, and is told the address that the connection
//! came from.

use std::{
    io,
    net::{IpAddr, Ipv4Addr},
};

use pilotlight_http::{Authority, Request, target::texts};
use pilotlight_lab::MacAddr;
use pilotlight_pki::{Answer as Said, OUTSIDE, Purpose, Question};

use crate::{
    answer::{Answer, NOBODY, refusal, rendered},
    site::Site,
};

const WANTED: &str = "a request has a purpose that there is, a PKCS #10 in PEM, and either a token or the certificate that is renewed";

/// A question to the authority.
#[derive(Clone)]
pub(crate) struct Asks {
    pub(crate) question: Question,
    /// What of the answer is wanted, where it is about the authority itself.
    about: Option<Authority>,
}

impl std::fmt::Debug for Asks {
    /// Without the question, which may hold a token.
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Asks").field("about", &self.about).finish_non_exhaustive()
    }
}

pub(crate) fn token(site: &Site, mac: MacAddr, from: IpAddr, request: &Request) -> Answer {
    let Some(form) = form(request) else { return no_form() };
    let Some(request) = field(&form, "request") else {
        return refusal(400, "a token is for a key: its PKCS #10 in PEM is the field `request`");
    };
    of_node(site, mac, from, |address| {
        asking(Question::Token { mac: mac.to_string(), address, request }, None)
    })
}

pub(crate) fn certificate(site: &Site, mac: MacAddr, from: IpAddr, request: &Request) -> Answer {
    let Some(form) = form(request) else { return no_form() };
    let field = |name| field(&form, name);
    let purpose = field("purpose").and_then(|name| Purpose::named(&name));
    let shown = (field("token"), field("certificate"));
    let (Some(purpose), Some(request)) = (purpose, field("request")) else { return refusal(400, WANTED) };
    of_node(site, mac, from, |address| {
        let mac = mac.to_string();
        match shown {
            (Some(token), None) => asking(Question::Issue { token, mac, address, purpose, request }, None),
            (None, Some(certificate)) => {
                asking(Question::Renew { certificate, mac, address, purpose, request }, None)
            }
            _ => refusal(400, WANTED),
        }
    })
}

fn form(request: &Request) -> Option<Vec<(String, String)>> {
    Some(texts(&String::from_utf8_lossy(request.said.as_deref()?)))
}

fn field(form: &[(String, String)], name: &str) -> Option<String> {
    form.iter().find(|(known, _)| known == name).map(|(_, value)| value.trim().to_owned())
}

fn no_form() -> Answer {
    refusal(411, "a request is a short form whose length is said")
}

pub(crate) fn authority(about: Authority) -> Answer {
    asking(Question::Public {}, Some(about))
}

/// Only nodes of the lab are asked for, and from where the lab's wire is.
fn of_node(site: &Site, mac: MacAddr, from: IpAddr, ask: impl FnOnce(Ipv4Addr) -> Answer) -> Answer {
    match from {
        _ if site.lab().node_by_mac(mac).is_none() => refusal(404, NOBODY),
        IpAddr::V4(address) => ask(address),
        IpAddr::V6(_) => refusal(403, OUTSIDE),
    }
}

fn asking(question: Question, about: Option<Authority>) -> Answer {
    Answer::asking(Asks { question, about })
}

/// The answer, by what the authority said.
pub(crate) fn settled(asks: &Asks, said: io::Result<Said>) -> Answer {
    match said {
        Ok(Said::Token { token }) => rendered(format!("{token}\n")),
        Ok(Said::Issued { chain }) => rendered(chain),
        Ok(Said::Public { kubernetes, etcd, front_proxy, service_account, root: _ }) => match asks.about {
            Some(Authority::Kubernetes) => rendered(kubernetes),
            Some(Authority::Etcd) => rendered(etcd),
            Some(Authority::FrontProxy) => rendered(front_proxy),
            Some(Authority::ServiceAccount) => rendered(service_account),
            None => refusal(403, OUTSIDE),
        },
        // Whatever else it says is for nobody on the wire.
        Ok(_) => refusal(403, OUTSIDE),
        Err(error) => refusal(503, format!("the certificate authority does not answer: {error}")),
    }
}
