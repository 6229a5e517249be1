//! `pilotctl power`: switching a machine on.

use std::{
    net::{Ipv4Addr, UdpSocket},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use clap::Subcommand;
use pilotlight_kit::lab;
use pilotlight_lab::{Lab, MacAddr, Power, paths};

/// The port that magic packets are sent to by custom: "discard", where nobody takes them for anything else.
const DISCARD: u16 = 9;
/// A network card that sleeps answers nothing, and the wire may lose one.
const COPIES: usize = 3;

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Switches a node on.
    On {
        /// Its name in lab.toml.
        node: String,
        /// The lab in force.
        #[arg(long, value_name = "FILE", default_value = paths::LAB)]
        lab: PathBuf,
    },
}

pub(crate) fn run(verb: &Verb) -> anyhow::Result<()> {
    let Verb::On { node, lab } = verb;
    on(node, lab)
}

fn on(name: &str, lab: &Path) -> anyhow::Result<()> {
    let lab = lab::load(lab)?;
    let node = lab.node_by_name(name).with_context(|| format!("there is no node {name:?} in lab.toml"))?;
    match &node.power {
        Some(Power::WakeOnLan) => wake(&lab, node.mac)?,
        Some(Power::Outlet { device, .. } | Power::System { device, .. }) => {
            bail!("{name} is switched by {device:?}, which the Pi does not speak to yet: switch it there")
        }
        None => bail!("nothing switches {name}: in lab.toml it has no `power`"),
    }
    println!("{name} was sent {COPIES} magic packets: `pilotctl node {name}` tells whether it woke");
    Ok(())
}

fn wake(lab: &Lab, mac: MacAddr) -> anyhow::Result<()> {
    let (own, everyone): (Ipv4Addr, Ipv4Addr) = (lab.network.address, lab.network.broadcast());
    let send = || {
        // From the Pi's address on the lab's wire: a machine that sleeps is on no other.
        let socket = UdpSocket::bind((own, 0))?;
        socket.set_broadcast(true)?;
        (0..COPIES).try_for_each(|_| socket.send_to(&magic_packet(mac), (everyone, DISCARD)).map(drop))
    };
    send().with_context(|| format!("could not send magic packets from {own} to {everyone}"))
}

/// What wakes the network card with this hardware address: six bytes of ones and the address sixteen times, anywhere in a
/// frame (AMD, "Magic Packet Technology", publication 20213).
fn magic_packet(mac: MacAddr) -> Vec<u8> {
    [vec![0xff; 6], mac.0.repeat(16)].concat()
}
