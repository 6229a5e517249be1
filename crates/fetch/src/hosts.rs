//! Which hosts answer: whoever is silent for one file is asked last for the next, and in the end no more.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// So many silences in a row, with no answer to anything between them, and a host counts as dead. Far more than one
/// lost connection of all parallel transfers together makes.
const DEAD: u32 = 12;

/// The hosts that did not answer lately, with how often in a row. Shared by all transfers.
#[derive(Debug, Default)]
pub(crate) struct Hosts(Mutex<BTreeMap<String, u32>>);

impl Hosts {
    /// It answered, whatever it said.
    pub(crate) fn answered(&self, url: &str) {
        self.silences().remove(host(url));
    }

    /// It did not.
    pub(crate) fn silent(&self, url: &str) {
        *self.silences().entry(host(url).to_owned()).or_default() += 1;
    }

    /// Whether asking it again only costs time.
    pub(crate) fn is_dead(&self, url: &str) -> bool {
        self.silences().get(host(url)).is_some_and(|count| *count >= DEAD)
    }

    /// The addresses with those of silent hosts last, else in their order.
    pub(crate) fn in_order(&self, mut urls: Vec<String>) -> Vec<String> {
        let silences = self.silences();
        urls.sort_by_key(|url| silences.get(host(url)).copied().unwrap_or_default());
        urls
    }

    fn silences(&self) -> MutexGuard<'_, BTreeMap<String, u32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Scheme, name and port of an address.
pub fn host(url: &str) -> &str {
    let start = url.find("://").map_or(0, |scheme| scheme + 3);
    let end = url[start..].find('/').map_or(url.len(), |slash| start + slash);
    &url[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silent_hosts_come_last() {
        let hosts = Hosts::default();
        let urls = ["http://a.example:1/x", "http://b.example/x", "http://c.example/x"].map(str::to_owned);
        hosts.silent("http://a.example:1/other");
        let [a, b, c] = urls.clone();
        assert_eq!(hosts.in_order(urls.to_vec()), [b, c, a.clone()]);
        (1..DEAD).for_each(|_| hosts.silent(&a));
        assert!(hosts.is_dead("http://a.example:1/third") && !hosts.is_dead("http://a.example:2/"));
        hosts.answered(&a);
        assert!(!hosts.is_dead(&a));
        assert_eq!(hosts.in_order(urls.to_vec()), urls);
    }
}
