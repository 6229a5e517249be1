//! `[network]`: the wire and the Pi's place on it.

use std::{net::Ipv4Addr, time::Duration};

use crate::{
    Mode, Network, Pool, check,
    section::{At, Refused, Report, Section},
};

const DEFAULT_INTERFACE: &str = "eth0";
/// RFC 8375: the domain that never leaves a home network.
const DEFAULT_DOMAIN: &str = "lab.home.arpa";
const DEFAULT_LEASE: Duration = Duration::from_secs(3600);
/// Whom a Pi with a way out asks for the time when its lab names nobody: as Debian's own machines do.
const TIME_SERVERS: [&str; 4] =
    ["0.debian.pool.ntp.org", "1.debian.pool.ntp.org", "2.debian.pool.ntp.org", "3.debian.pool.ntp.org"];
/// More of them agree no better (RFC 8633 § 3.2 has four as enough).
const MOST_TIME_SERVERS: usize = 8;
const MODES: [(&str, Mode); 2] = [("server", Mode::Server), ("proxy", Mode::Proxy)];

pub(super) fn network(mut section: Section<'_>, report: &mut Report<'_>) -> Option<Network> {
    let interface = section.text(report, "interface");
    let own = section.text(report, "address");
    let own = section.require(report, "address", "\"10.77.0.1/24\"", own);
    let mode = section.text(report, "mode");
    let domain = section.text(report, "domain");
    let router = section.text(report, "router");
    let dns = section.texts(report, "dns");
    let upstream = section.texts(report, "upstream");
    let times_given = section.has("upstream-time");
    let times = section.texts(report, "upstream-time");
    let lease = section.text(report, "lease");
    let probe_first = section.truth(report, "probe-first");
    let pool = section.section(report, "pool");
    section.finish(report);

    let interface = interface.and_then(|at| at.read(report, |text| check::interface(text)));
    let domain = domain.and_then(|at| at.read(report, |text| check::domain(text)));
    let mode = mode
        .and_then(|at| at.read(report, |text| check::choice(text, "mode", &MODES)))
        .map_or(Mode::Server, |at| at.value);
    if mode == Mode::Proxy {
        let pool = pool.as_ref().map(|pool| (pool.span(), "pool"));
        let lease = lease.as_ref().map(|at| (at.span.clone(), "lease"));
        let probe = probe_first.as_ref().filter(|at| at.value).map(|at| (at.span.clone(), "probe-first"));
        for (span, key) in [pool, lease, probe].into_iter().flatten() {
            let hint = format!("leave {key} out, or write mode = \"server\"");
            let message = "the Pi gives out no addresses: mode is \"proxy\"";
            report.add(span, &format!("network.{key}"), message, Some(hint));
        }
    }
    let lease = lease.and_then(|at| at.read(report, |text| check::lease(text)));
    let router = router.and_then(|at| at.read(report, |text| check::address(text)));
    let dns: Vec<_> = dns.into_iter().filter_map(|at| at.read(report, |text| check::address(text))).collect();
    let upstream: Vec<_> =
        upstream.into_iter().filter_map(|at| at.read(report, |text| check::address(text))).collect();
    if let Some(beyond) = times.get(MOST_TIME_SERVERS) {
        report.refuse(beyond, Refused::new(format!("more than {MOST_TIME_SERVERS} time servers")));
    }
    let times: Vec<_> =
        times.into_iter().filter_map(|at| at.read(report, |text| check::time_server(text))).collect();
    let own = own.and_then(|at| at.read(report, |text| check::interface_address(text)));
    let network = own.map(|At { value: (address, prefix), .. }| Network {
        interface: interface.map_or(DEFAULT_INTERFACE.to_owned(), |at| at.value),
        address,
        prefix,
        mode,
        domain: domain.map_or(DEFAULT_DOMAIN.to_owned(), |at| at.value),
        router: router.as_ref().map(|at| at.value),
        dns: if dns.is_empty() { vec![address] } else { dns.iter().map(|at| at.value).collect() },
        upstream: upstream.iter().map(|at| at.value).collect(),
        upstream_time: if times_given || upstream.is_empty() {
            times.iter().map(|at| at.value.clone()).collect()
        } else {
            TIME_SERVERS.map(str::to_owned).to_vec()
        },
        pool: None,
        lease: lease.map_or(DEFAULT_LEASE, |at| at.value),
        probe_first: probe_first.is_some_and(|at| at.value),
    });
    let Some(network) = network else {
        // Without the network itself, only the pool's own keys and spelling can be checked.
        pool.and_then(|pool| self::pool(pool, None, &[], report));
        return None;
    };
    for at in upstream {
        at.read(report, |address| check::upstream(&network, *address));
    }
    for at in times {
        let Ok(address) = at.value.parse() else { continue };
        at.read(report, |_| check::upstream(&network, address));
    }
    let router = router.and_then(|at| at.read(report, |router| check::in_network(&network, *router)));
    let local = dns.into_iter().filter(|at| network.contains(at.value));
    let fixed: Vec<_> = router.into_iter().chain(local).collect();
    let pool = pool.and_then(|pool| self::pool(pool, Some(&network), &fixed, report));
    Some(Network { pool, ..network })
}

fn pool(
    mut section: Section<'_>,
    network: Option<&Network>,
    fixed: &[At<Ipv4Addr>],
    report: &mut Report<'_>,
) -> Option<Pool> {
    let mut end = |key, example| {
        let at = section.text(report, key);
        let at = section.require(report, key, example, at)?;
        at.read(report, |text| {
            let address = check::address(text)?;
            network.map_or(Ok(address), |network| check::in_network(network, address))
        })
    };
    let first = end("first", "\"10.77.0.100\"");
    let last = end("last", "\"10.77.0.199\"");
    let span = section.span();
    section.finish(report);
    let (first, last) = (first?, last?);
    let pool = Pool { first: first.value, last: last.value };
    if pool.first > pool.last {
        let hint = format!("first = \"{}\", last = \"{}\"", pool.last, pool.first);
        let message = format!("{} lies after the pool's last address {}", pool.first, pool.last);
        report.refuse(&first, Refused::new(message).hint(hint));
        return None;
    }
    let inside = |address| (pool.first..=pool.last).contains(&address);
    let own = network.map(|network| network.address).filter(|own| inside(*own));
    if let Some(own) = own {
        let message = format!("the pool holds the Pi's own address {own}");
        report.add(span, "network.pool", message, Some("let it begin after or end before it".into()));
    }
    for at in fixed.iter().filter(|at| inside(at.value)) {
        let message = format!("{} lies in the pool: it would be given to a machine as well", at.value);
        report.refuse(at, Refused::new(message));
    }
    Some(pool)
}
