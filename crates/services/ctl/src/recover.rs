//! `pilotctl recover`: once after the Pi's start, machines that were up before it and have said nothing since are started anew.
//!
//! A machine that runs may have nothing to say for half a lease, so each is asked for its hardware address first: whatever
//! runs there, its kernel answers that.

use std::{
    collections::BTreeSet,
    fs,
    net::{Ipv4Addr, UdpSocket},
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use anyhow::Context as _;
use clap::Args;
use pilotlight_lab::{Power, paths};
use pilotlight_story::silent;

use crate::{ask::ask, known::Known};

/// Longer than the kernel goes on asking for a hardware address, one that it knew already included (arp(7): 5 s, then three
/// times 1 s).
const ANSWER: Duration = Duration::from_secs(12);
/// A device may take its time.
const PATIENCE: Duration = Duration::from_secs(300);
/// Nobody listens there (RFC 863: discard); what counts is the question for the hardware address before it.
const NOWHERE: u16 = 9;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    known: Known,
    /// The socket over which machines are switched.
    #[arg(long, value_name = "SOCKET", default_value = paths::POWER_SOCKET)]
    socket: PathBuf,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let lab = arguments.known.lab()?;
    let nodes = silent(&lab, &arguments.known.events()?);
    let there = answering(nodes.iter().filter_map(|node| node.address))?;
    for node in nodes {
        let name = &node.name;
        if node.address.is_some_and(|address| there.contains(&address)) {
            println!("{name} has said nothing since the Pi's start, and is up");
            continue;
        }
        println!("{name} was up before the Pi's start and is not there: it is started anew");
        let question = match node.power {
            Some(Power::WakeOnLan) => format!("on {name}"),
            _ => format!("cycle {name} 10"),
        };
        let silence = "what became of it is not known: no answer came";
        // The others may be better off.
        if let Err(fault) =
            ask("who switches machines", &arguments.socket, Some(&question), PATIENCE, silence)
        {
            println!("{fault:#}");
        }
    }
    Ok(())
}

/// Which of these addresses somebody on the wire has.
fn answering(addresses: impl Iterator<Item = Ipv4Addr>) -> anyhow::Result<BTreeSet<Ipv4Addr>> {
    let addresses: Vec<_> = addresses.collect();
    if addresses.is_empty() {
        return Ok(BTreeSet::new());
    }
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).context("no socket")?;
    for address in &addresses {
        // Where there is no way to it, it does not answer either.
        let _ = socket.send_to(&[], (*address, NOWHERE));
    }
    thread::sleep(ANSWER);
    let path = Path::new("/proc/self/net/arp");
    let table = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(known(&table).filter(|address| addresses.contains(address)).collect())
}

/// The addresses whose hardware addresses the kernel knows (proc_net(5): arp; flag 2 is a complete entry).
fn known(table: &str) -> impl Iterator<Item = Ipv4Addr> {
    table.lines().skip(1).filter_map(|line| {
        let mut words = line.split_whitespace();
        let address = words.next()?.parse().ok()?;
        let flags = words.nth(1)?.strip_prefix("0x")?;
        (u8::from_str_radix(flags, 16).ok()? & 2 != 0).then_some(address)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_on_the_wire_is_read() {
        let table = "IP address       HW type     Flags       HW address            Mask     Device\n\
                     10.77.0.11       0x1         0x2         52:54:00:00:00:01     *        eth0\n\
                     10.77.0.12       0x1         0x0         00:00:00:00:00:00     *        eth0\n\
                     10.77.0.13       0x1         0x6         52:54:00:00:00:03     *        eth0\n\
                     nonsense\n";
        let found: Vec<_> = known(table).map(|address| address.octets()[3]).collect();
        assert_eq!(found, [11, 13]);
        assert_eq!(known("").count(), 0);
    }
}
