//! Which nodes may ask for certificates just now, and with what.
//!
//! The first key that asks after a node was armed is the one that the arm serves. So a token is worth nothing to whoever
//! reads it, then or later, without that key. It does not stop someone who asks before the node does: the node's own
//! attempt then raises the alarm.
//!
//! `now` is in seconds of a clock that never steps back and starts anew with the Pi, because the Pi's time of day does
//! step. So arms do not outlive a restart of the Pi, and are not kept.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    fmt,
    net::Ipv4Addr,
    str::FromStr,
};

use pilotlight_lab::{Arming, MacAddr};

use crate::{Purpose, request::sha256};

/// What a peer hears that is refused, whatever the reason.
pub const OUTSIDE: &str = "refused";

/// The longest that a node stays armed, in seconds: a machine with much memory and slow firmware, booting.
pub const LONGEST_WINDOW: u64 = 3600;

/// What a node asks with: 256 random bits. It is handed to the node and kept here only as its digest.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Token([u8; 32]);

impl Token {
    /// A token of these bits, which have to be random.
    pub fn new(random: [u8; 32]) -> Self {
        Self(random)
    }

    /// Its 64 hexadecimal digits, for the node alone.
    pub fn reveal(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl fmt::Debug for Token {
    /// Without its bits.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Token(…)")
    }
}

impl FromStr for Token {
    type Err = Refusal;

    /// Reads 64 hexadecimal digits.
    fn from_str(text: &str) -> Result<Self, Refusal> {
        let mut bytes = [0; 32];
        let pairs = text.as_bytes().chunks_exact(2);
        if text.len() != 64 {
            return Err(Refusal::NoToken);
        }
        for (byte, pair) in bytes.iter_mut().zip(pairs) {
            let [high, low] = pair else { return Err(Refusal::NoToken) };
            let digit = |of: u8| char::from(of).to_digit(16).ok_or(Refusal::NoToken);
            *byte = (digit(*high)? << 4 | digit(*low)?) as u8;
        }
        Ok(Self(bytes))
    }
}

/// Who is being armed, how, and for how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Armed {
    /// The node's name in the lab.
    pub node: String,
    /// Its hardware address.
    pub mac: MacAddr,
    /// The address that it asks from.
    pub address: Ipv4Addr,
    /// What its profile lets arm it.
    pub allowed: Arming,
    /// What arms it now.
    pub by: Arming,
    /// How long it has, in seconds; no more than [`LONGEST_WINDOW`].
    pub window: u64,
}

/// Why a node was not armed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotArmed {
    /// Its profile says who may.
    #[error("{node} is not armed by `{}`: its profile says `{}`", .by.name(), .allowed.name())]
    Profile {
        /// The node.
        node: String,
        /// What wanted to arm it.
        by: Arming,
        /// What its profile says.
        allowed: Arming,
    },
    /// The window is empty or too long.
    #[error("a node is armed for 1 to {LONGEST_WINDOW} seconds, not for {0}")]
    Window(u64),
}

/// A question for a token: who asks, from where, for which key.
#[derive(Debug, Clone, Copy)]
pub struct Fetch {
    /// The hardware address that the peer says is its.
    pub mac: MacAddr,
    /// The address that the question came from.
    pub address: Ipv4Addr,
    /// The digest of the key that certificates will be asked for with.
    pub key: [u8; 32],
}

/// A question for a certificate: who asks, from where, with what, for which key and purpose.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    /// The token.
    pub token: &'a Token,
    /// The hardware address that the peer says is its.
    pub mac: MacAddr,
    /// The address that the question came from.
    pub address: Ipv4Addr,
    /// The digest of the key that is to be signed ([`Request::fingerprint`](crate::Request::fingerprint)).
    pub key: [u8; 32],
    /// What the certificate is for.
    pub purpose: Purpose,
}

/// The answer to one that may ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Sign for this node, then [`Arms::burn`].
    Issue(String),
    /// The same question of this node was answered already: the answer was this.
    Again(String, String),
}

/// Why one that asks gets nothing. For the record; the peer hears [`OUTSIDE`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refusal {
    /// What it sent as a token is none.
    #[error("what came as a token is no 64 hexadecimal digits")]
    NoToken,
    /// No node with that hardware address is armed.
    #[error("no node with this hardware address is armed")]
    NotArmed,
    /// The token is not that node's, nor anybody's.
    #[error("the token is unknown")]
    Unknown,
    /// The token is another node's.
    #[error("the token is another node's")]
    OtherNode,
    /// The question came from another address than the node's.
    #[error("the question came from an address that is not the node's")]
    OtherAddress,
    /// The node's time is over.
    #[error("the window has closed: arm the node again")]
    Expired,
    /// Another key was first.
    #[error(
        "another key has asked since the node was armed: the node has begun anew, and is to be armed again, or one of the \
         two is not who it says"
    )]
    OtherKey,
}

impl Refusal {
    /// Whether somebody has what only one node was given, so that a person should look.
    pub fn alarm(self) -> bool {
        matches!(self, Self::OtherNode | Self::OtherAddress | Self::OtherKey)
    }
}

#[derive(Debug, Clone)]
struct Arm {
    armed: Armed,
    closes: u64,
    /// What the node holds, once it has fetched it.
    held: Option<Held>,
    issued: BTreeMap<Purpose, String>,
}

/// What a node holds.
#[derive(Debug, Clone, Copy)]
struct Held {
    /// The digest of its token.
    token: [u8; 32],
    /// The one key that the arm serves.
    key: [u8; 32],
}

impl Arm {
    /// Whether the node may ask now, from this address.
    fn open(&self, now: u64, address: Ipv4Addr) -> Result<(), Refusal> {
        if self.armed.address != address {
            return Err(Refusal::OtherAddress);
        }
        if now >= self.closes { Err(Refusal::Expired) } else { Ok(()) }
    }
}

/// The nodes that are armed.
#[derive(Debug, Clone, Default)]
pub struct Arms(BTreeMap<MacAddr, Arm>);

impl Arms {
    /// Arms a node: it may fetch a token from now on. What it had before counts no more.
    ///
    /// # Errors
    /// The node's profile does not let itself be armed so, or the window is none.
    pub fn arm(&mut self, now: u64, armed: Armed) -> Result<(), NotArmed> {
        let by = armed.by;
        let may = by == Arming::Operator || armed.allowed == Arming::Itself || armed.allowed == by;
        if !may {
            return Err(NotArmed::Profile { node: armed.node, by, allowed: armed.allowed });
        }
        if armed.window == 0 || armed.window > LONGEST_WINDOW {
            return Err(NotArmed::Window(armed.window));
        }
        let closes = now.saturating_add(armed.window);
        let arm = Arm { closes, held: None, issued: BTreeMap::new(), armed };
        self.0.insert(arm.armed.mac, arm);
        Ok(())
    }

    /// Hands a node this token, which is to be new, and says which node it is. The first key that asks is the one that the arm
    /// serves; with it the node may fetch another token, since answers get lost, and the one before then counts no more.
    ///
    /// # Errors
    /// The reason why not, for the record alone.
    pub fn hand(&mut self, now: u64, fetch: Fetch, token: &Token) -> Result<String, Refusal> {
        let arm = self.0.get_mut(&fetch.mac).ok_or(Refusal::NotArmed)?;
        arm.open(now, fetch.address)?;
        if arm.held.is_some_and(|held| !same(&held.key, &fetch.key)) {
            return Err(Refusal::OtherKey);
        }
        arm.held = Some(Held { token: sha256(&token.0), key: fetch.key });
        Ok(arm.armed.node.clone())
    }

    /// Whether this question is to be answered.
    ///
    /// # Errors
    /// The reason why not, for the record alone.
    pub fn ask(&self, now: u64, ask: Ask<'_>) -> Result<Verdict, Refusal> {
        let digest = sha256(&ask.token.0);
        // Every arm is compared, so that the time taken does not tell whose token it was.
        let owner = self.0.values().fold(None, |found, arm| {
            if arm.held.is_some_and(|held| same(&held.token, &digest)) { Some(arm) } else { found }
        });
        let arm = match (owner, self.0.get(&ask.mac)) {
            (Some(arm), _) if arm.armed.mac == ask.mac => arm,
            (Some(_), _) => return Err(Refusal::OtherNode),
            (None, Some(_)) => return Err(Refusal::Unknown),
            (None, None) => return Err(Refusal::NotArmed),
        };
        arm.open(now, ask.address)?;
        if arm.held.is_none_or(|held| !same(&held.key, &ask.key)) {
            return Err(Refusal::OtherKey);
        }
        Ok(match arm.issued.get(&ask.purpose) {
            Some(certificate) => Verdict::Again(arm.armed.node.clone(), certificate.clone()),
            None => Verdict::Issue(arm.armed.node.clone()),
        })
    }

    /// Notes what was answered, so that from now on the same question gets the same answer. Call it before the answer leaves.
    ///
    /// # Errors
    /// As [`Self::ask`], which is asked once more: nothing is noted for one that may not ask.
    pub fn burn(&mut self, now: u64, ask: Ask<'_>, certificate: &str) -> Result<(), Refusal> {
        self.ask(now, ask)?;
        let arm = self.0.get_mut(&ask.mac).ok_or(Refusal::NotArmed)?;
        if let Entry::Vacant(place) = arm.issued.entry(ask.purpose) {
            place.insert(certificate.to_owned());
        }
        Ok(())
    }

    /// Forgets those whose time has been over for an hour; until then a late one is told apart from one never armed.
    pub fn tidy(&mut self, now: u64) {
        self.0.retain(|_, arm| now < arm.closes.saturating_add(LONGEST_WINDOW));
    }

    /// The names of the nodes that are armed now.
    pub fn open(&self, now: u64) -> impl Iterator<Item = &str> {
        self.0.values().filter(move |arm| now < arm.closes).map(|arm| arm.armed.node.as_str())
    }
}

/// Compares without stopping at the first difference.
fn same(one: &[u8; 32], other: &[u8; 32]) -> bool {
    one.iter().zip(other).fold(0, |difference, (one, other)| difference | (one ^ other)) == 0
}
