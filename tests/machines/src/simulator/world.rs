//! A world: who boots, over which wire, from which Pi.

use std::time::Duration;

use pilotlight_emulator::fault::Random;
use pilotlight_lab::{Lab, MacAddr};

use crate::{
    firmware::{PLAIN, WIDE},
    plan::{Chain, Plan, Trouble},
};

/// The web server's path of what the machines boot in the end.
pub(crate) const SYSTEM: &str = "/assets/system";

/// How the wire treats packets.
#[derive(Debug, Clone, Copy)]
pub struct Wire {
    /// Lost packets, in thousandths.
    pub lost: u64,
    /// Doubled packets, in thousandths.
    pub doubled: u64,
    /// The time that a packet takes.
    pub delay: Duration,
    /// What it may take longer, which is how packets overtake each other.
    pub jitter: Duration,
}

/// A machine of the world.
#[derive(Debug, Clone)]
pub struct Member {
    /// Its hardware address.
    pub mac: MacAddr,
    /// Its plan.
    pub plan: Plan,
    /// When it is switched on.
    pub on: Duration,
    /// Whether its cable is not plugged in.
    pub cut_off: bool,
}

/// Everything that is decided beforehand.
#[derive(Debug, Clone)]
pub struct World {
    /// The seed that it came from.
    pub seed: u64,
    /// The lab.
    pub lab: Lab,
    /// Who boots.
    pub members: Vec<Member>,
    /// The wire.
    pub wire: Wire,
    /// How long a write takes on the card.
    pub card: Duration,
    /// When the services are killed, and for how long they are gone.
    pub kills: Vec<(Duration, Duration)>,
    /// The loader's bytes.
    pub loader: Vec<u8>,
}

impl World {
    /// The world that follows from `seed`.
    pub fn from_seed(seed: u64) -> Self {
        let mut dice = Random::new(seed);
        let percent = |dice: &mut Random, chance: u64| dice.below(100) < chance;
        let count = 1 + dice.below(6);
        let members: Vec<Member> = (0..count).map(|number| member(&mut dice, number as u8)).collect();
        let bad = percent(&mut dice, 60);
        let wire = Wire {
            lost: if bad { dice.below(150) } else { 0 },
            doubled: if percent(&mut dice, 40) { dice.below(200) } else { 0 },
            delay: Duration::from_micros(50 + dice.below(5_000)),
            jitter: Duration::from_micros(if percent(&mut dice, 40) { dice.below(200_000) } else { 0 }),
        };
        let card = Duration::from_millis(if percent(&mut dice, 30) { dice.below(2_000) } else { 2 });
        let kills = match percent(&mut dice, 30) {
            true => {
                (0..1 + dice.below(3)).map(|_| (ms(dice.below(20_000)), ms(200 + dice.below(800)))).collect()
            }
            false => Vec::new(),
        };
        // Whole multiples of a block end with an empty one.
        let length = match dice.below(4) {
            0 => 512 * dice.below(40),
            1 => 1456 * dice.below(20),
            2 => 1468 * dice.below(20),
            _ => dice.below(40_000),
        };
        let loader = dice.bytes(length as usize);
        let lab = lab(&members, seed);
        Self { seed, lab, members, wire, card, kills, loader }
    }

    /// Whether nothing in it could keep a machine from booting at its first start.
    pub fn is_kind(&self) -> bool {
        self.wire.lost == 0 && self.kills.is_empty()
    }
}

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn member(dice: &mut Random, number: u8) -> Member {
    let chain = Chain::ALL[dice.below(Chain::ALL.len() as u64) as usize];
    let loader = match dice.below(10) {
        0 => Some(PLAIN),
        1 | 2 => Some(WIDE),
        _ => None,
    };
    let trouble = match dice.below(20) {
        0 => Trouble::Vanishes,
        1 => Trouble::NeverAcknowledges,
        2 => Trouble::Floods(ms(20 + dice.below(200))),
        _ => Trouble::None,
    };
    Member {
        mac: MacAddr([0x52, 0x54, 0, 0x5e, dice.below(2) as u8, number]),
        plan: Plan { chain, loader, system: vec![SYSTEM.to_owned()], trouble, starts: 4 },
        on: ms(dice.below(2_000)),
        cut_off: dice.below(40) == 0,
    }
}

/// A lab in which about every other machine has a name, and those with PXELINUX always: their loader is theirs.
fn lab(members: &[Member], seed: u64) -> Lab {
    let mut text = String::from(
        "[network]\naddress = \"10.77.0.1/24\"\nlease = \"10m\"\nprobe-first = false\n\
         [network.pool]\nfirst = \"10.77.0.10\"\nlast = \"10.77.0.29\"\n",
    );
    for (number, member) in members.iter().enumerate() {
        let pxelinux = member.plan.chain == Chain::Pxelinux;
        if pxelinux || (seed ^ number as u64) & 1 == 0 {
            let loader = if pxelinux { "pxelinux" } else { "ipxe" };
            text += &format!(
                "[[nodes]]\nname = \"node{number}\"\nmac = \"{}\"\naddress = \"10.77.0.{}\"\nloader = \"{loader}\"\n",
                member.mac,
                // Some of the reserved addresses lie in the pool.
                20 + 2 * number,
            );
        }
    }
    pilotlight_lab::parse(&text).unwrap_or_else(|problems| {
        panic!("the simulator's own lab is wrong:\n{}", problems.render("lab", &text, false))
    })
}
