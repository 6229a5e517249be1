//! What is asked over the daemon's socket, and the answers.
//!
//! Each question is one line of JSON with `ask` and what belongs to it, each answer one line of JSON with `answer`:
//!
//! ```json
//! {"ask":"token","mac":"52:54:00:77:00:02","address":"10.77.0.12","request":"-----BEGIN CERTIFICATE REQUEST-----\n…"}
//! {"answer":"token","token":"<64 hex digits>"}
//! {"ask":"issue","token":"<64 hex digits>","mac":"52:54:00:77:00:02","address":"10.77.0.12",
//!  "purpose":"kubelet","request":"-----BEGIN CERTIFICATE REQUEST-----\n…"}
//! {"answer":"issued","chain":"-----BEGIN CERTIFICATE-----\n…"}
//! {"answer":"refused","reason":"refused"}
//! ```
//!
//! What faces the wire asks only `token`, `issue`, `renew` and `public`, and says in `address` where the question came from: the peer's
//! address of the connection, never one that the peer told. Who sees machines boot says `booted`. Who it is that asks, the
//! kernel says (`SO_PEERCRED`).

use std::net::Ipv4Addr;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use pilotlight_lab::{Arming, Lab, MacAddr, Profile, ProfileKind, System};
use ring::rand::SecureRandom;
use serde::{Deserialize, Serialize};

use crate::{
    Armed, Arms, Ask, Authority, Branch, Clock, Fetch, NotRenewed, OUTSIDE, Purpose, Request, Token, Verdict,
    admin_leaf, envelope, kubeconfig, leaf::cluster_of, node_leaf, restore, seal, talos_secrets,
};

/// The longest line that is read, in bytes: a backup in base64 has about 6,000.
pub const LONGEST_LINE: usize = 96 << 10;

/// How long a machine that boots may take until it asks, in seconds: a large server checks its memory for a quarter of an
/// hour before its firmware asks for an address, but not after.
const BOOT_WINDOW: u64 = 900;
/// The same from when it is switched on, that check included.
const POWER_WINDOW: u64 = 1800;

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caller {
    /// What faces the wire.
    Wire,
    /// Who sees machines boot.
    Witness,
    /// An operator of this Pi.
    Operator,
}

/// What is asked.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Question {
    /// A token for a node that is armed.
    Token {
        /// The hardware address that it says is its.
        mac: String,
        /// Where the question came from.
        address: Ipv4Addr,
        /// PKCS #10 in PEM, by the key that certificates will be asked for with.
        request: String,
    },
    /// No question: the firmware of this node has begun to boot.
    Booted {
        /// The node's name in the lab.
        node: String,
    },
    /// No question: the Pi has switched this node on.
    SwitchedOn {
        /// The node's name in the lab.
        node: String,
    },
    /// A certificate for a node.
    Issue {
        /// Its token in hexadecimal digits.
        token: String,
        /// The hardware address that it says is its.
        mac: String,
        /// Where the question came from.
        address: Ipv4Addr,
        /// What is asked for.
        purpose: Purpose,
        /// PKCS #10 in PEM.
        request: String,
    },
    /// A certificate in the place of one that a node has, for the same key.
    Renew {
        /// The one that it has, in PEM.
        certificate: String,
        /// The hardware address that it says is its.
        mac: String,
        /// Where the question came from.
        address: Ipv4Addr,
        /// What is asked for.
        purpose: Purpose,
        /// PKCS #10 in PEM.
        request: String,
    },
    /// The authorities' certificates.
    Public {},
    /// That a node may fetch a token.
    Arm {
        /// The node's name in the lab.
        node: String,
        /// How long it has, in seconds.
        window: u64,
    },
    /// A kubeconfig for an administrator.
    Kubeconfig {},
    /// What a cluster of Talos nodes shares.
    TalosSecrets {},
    /// All keys, sealed.
    Backup {
        /// What seals them.
        passphrase: String,
    },
    /// The keys of a backup in place of those in force.
    Restore {
        /// What sealed them.
        passphrase: String,
        /// The backup in base64.
        backup: String,
    },
}

/// What is answered.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "kebab-case")]
pub enum Answer {
    /// A certificate and its authority's in PEM, or a key in its envelope.
    Issued {
        /// All of it.
        chain: String,
    },
    /// The authorities' certificates in PEM.
    Public {
        /// What is trusted around the API.
        kubernetes: String,
        /// What is trusted around etcd.
        etcd: String,
        /// What is trusted of the front proxy.
        front_proxy: String,
        /// What is above them, which nothing should trust.
        root: String,
        /// The public key that checks service accounts' tokens.
        service_account: String,
    },
    /// A node's token: a secret.
    Token {
        /// In hexadecimal digits.
        token: String,
    },
    /// The node may fetch a token for so many seconds.
    Armed {
        /// How long.
        window: u64,
    },
    /// It was taken note of.
    Noted,
    /// A kubeconfig: a secret.
    Kubeconfig {
        /// The file.
        text: String,
    },
    /// A secrets bundle: the authorities' keys.
    TalosSecrets {
        /// The file.
        text: String,
    },
    /// A backup in base64.
    Backup {
        /// The file.
        backup: String,
    },
    /// The keys of the backup are in force.
    Restored,
    /// Nothing.
    Refused {
        /// Why; what faces the wire hears [`OUTSIDE`] alone.
        reason: String,
    },
}

/// What belongs into the event log. It holds no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// A node was armed, in this way.
    Armed(String, Arming),
    /// A node was handed its token.
    Handed(String),
    /// A node was given what is for this purpose.
    Issued(String, Purpose),
    /// A node was given a new one for the one that it had.
    Renewed(String, Purpose),
    /// A node was given the one that it had been given already.
    Again(String, Purpose),
    /// A kubeconfig, a secrets bundle or a backup left, or a backup came.
    Keys(&'static str),
    /// Nothing was given.
    Refused(Denial),
}

/// What is kept of a question that was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denial {
    /// Why.
    pub reason: String,
    /// Whether a person should look.
    pub alarm: bool,
    /// The hardware address that the peer said is its.
    pub mac: Option<MacAddr>,
    /// The node of the lab with that address, whoever it was that asked.
    pub node: Option<String>,
    /// Where the question came from.
    pub from: Option<Ipv4Addr>,
}

/// All that the daemon holds in memory.
#[derive(Debug)]
pub struct Desk {
    /// The authority. After [`Answer::Restored`] it is another one, to be made durable before the answer leaves.
    pub authority: Authority,
    /// Who may ask.
    pub arms: Arms,
}

/// What a question is judged by.
#[derive(Clone, Copy)]
pub struct Now<'a> {
    /// Seconds since the Pi's start, which never step.
    pub boot: u64,
    /// The time of day.
    pub clock: Clock,
    /// The lab in force.
    pub lab: &'a Lab,
    /// The source of keys, tokens and serial numbers.
    pub random: &'a dyn SecureRandom,
}

/// Why nothing was given, and whether it is an alarm.
pub(crate) struct No(pub(crate) String, pub(crate) bool);

/// The authority of a backup in base64.
pub(crate) fn restored(backup: &str, passphrase: &str) -> Result<Authority, No> {
    let backup = BASE64_STANDARD.decode(backup).map_err(|_| no("the backup is no base64"))?;
    restore(&backup, passphrase).map_err(no)
}

fn no(reason: impl ToString) -> No {
    No(reason.to_string(), false)
}

impl Question {
    /// Reads one line.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn read(line: &[u8]) -> Result<Self, String> {
        if line.len() > LONGEST_LINE {
            return Err(format!("the question is longer than {LONGEST_LINE} bytes"));
        }
        // Where the mistake is, and not what serde says of it: that would quote the question, secrets and all.
        serde_json::from_slice(line)
            .map_err(|fault| format!("the question is wrong at byte {}", fault.column()))
    }

    /// The hardware address that a peer on the wire says is its, and where it asks from.
    fn peer(&self) -> Option<(Option<MacAddr>, Ipv4Addr)> {
        match self {
            Self::Token { mac, address, .. }
            | Self::Issue { mac, address, .. }
            | Self::Renew { mac, address, .. } => Some((mac.parse().ok(), *address)),
            _ => None,
        }
    }

    /// Whether this caller may ask it at all.
    pub fn open_to(&self, caller: Caller) -> bool {
        match caller {
            Caller::Operator => true,
            Caller::Wire => {
                matches!(self, Self::Token { .. } | Self::Issue { .. } | Self::Renew { .. } | Self::Public {})
            }
            Caller::Witness => matches!(self, Self::Booted { .. } | Self::SwitchedOn { .. }),
        }
    }
}

impl Desk {
    /// Answers one line.
    pub fn answer(&mut self, line: &[u8], caller: Caller, now: Now<'_>) -> (Answer, Option<Record>) {
        let question = Question::read(line);
        let peer = question.as_ref().ok().and_then(Question::peer);
        let outcome = match question {
            Ok(question) if question.open_to(caller) => self.decide(question, now),
            Ok(_) => Err(No("it is not for whoever asks here".to_owned(), true)),
            Err(fault) => Err(No(fault, false)),
        };
        outcome.unwrap_or_else(|No(reason, alarm)| {
            let told = if caller == Caller::Operator { reason.clone() } else { OUTSIDE.to_owned() };
            let mac = peer.and_then(|(mac, _)| mac);
            let node = mac.and_then(|mac| now.lab.node_by_mac(mac)).map(|node| node.name.clone());
            let from = peer.map(|(_, from)| from);
            (
                Answer::Refused { reason: told },
                Some(Record::Refused(Denial { reason, alarm, mac, node, from })),
            )
        })
    }

    fn decide(&mut self, question: Question, now: Now<'_>) -> Result<(Answer, Option<Record>), No> {
        match question {
            Question::Token { mac, address, request } => {
                let mac: MacAddr = mac.parse().map_err(no)?;
                let request = Request::read(request.as_bytes()).map_err(no)?;
                self.hand(Fetch { mac, address, key: request.fingerprint() }, now)
            }
            Question::Booted { node } => Ok(self.starts(&node, Arming::Itself, BOOT_WINDOW, now)),
            Question::SwitchedOn { node } => Ok(self.starts(&node, Arming::PowerCycle, POWER_WINDOW, now)),
            Question::Issue { token, mac, address, purpose, request } => {
                let token: Token = token.parse().map_err(no)?;
                let mac: MacAddr = mac.parse().map_err(no)?;
                let request = Request::read(request.as_bytes()).map_err(no)?;
                let ask = Ask { token: &token, mac, address, key: request.fingerprint(), purpose };
                self.issue(ask, &request, now)
            }
            Question::Renew { certificate, mac, address, purpose, request } => {
                let mac: MacAddr = mac.parse().map_err(no)?;
                let request = Request::read(request.as_bytes()).map_err(no)?;
                self.renew(&certificate, (mac, address), purpose, &request, now)
            }
            Question::Public {} => Ok((self.public(), None)),
            Question::Arm { node, window } => {
                let armed = self.arm(&node, Arming::Operator, window, now)?;
                Ok((Answer::Armed { window }, Some(armed)))
            }
            Question::Kubeconfig {} => self.kubeconfig(now),
            Question::TalosSecrets {} => self.talos_secrets(now.lab),
            Question::Backup { passphrase } => {
                let sealed = seal(&self.authority, &passphrase, now.random).map_err(no)?;
                Ok((Answer::Backup { backup: BASE64_STANDARD.encode(sealed) }, Some(Record::Keys("backup"))))
            }
            Question::Restore { passphrase, backup } => {
                self.authority = restored(&backup, &passphrase)?;
                // What was armed was armed for the other authority.
                self.arms = Arms::default();
                Ok((Answer::Restored, Some(Record::Keys("restore"))))
            }
        }
    }

    fn issue(
        &mut self,
        ask: Ask<'_>,
        request: &Request,
        now: Now<'_>,
    ) -> Result<(Answer, Option<Record>), No> {
        self.arms.tidy(now.boot);
        let refused = |refusal: crate::Refusal| No(refusal.to_string(), refusal.alarm());
        let node = match self.arms.ask(now.boot, ask).map_err(refused)? {
            Verdict::Again(node, chain) => {
                return Ok((Answer::Issued { chain }, Some(Record::Again(node, ask.purpose))));
            }
            Verdict::Issue(node) => node,
        };
        // By name and hardware address: the lab may have changed since the node was armed.
        let known = now.lab.node_by_name(&node).filter(|known| known.mac == ask.mac);
        let known = known.ok_or_else(|| no(format!("{node} is not in the lab any more")))?;
        let chain = if ask.purpose == Purpose::ServiceAccount {
            cluster_of(now.lab, known, ask.purpose).map_err(no)?;
            let key = self.authority.service_account_pem();
            envelope(key.as_bytes(), &request.key, now.random).map_err(no)?
        } else {
            let leaf = node_leaf(now.lab, known, ask.purpose).map_err(no)?;
            self.authority.issue(&leaf, request, now.clock, now.random).map_err(no)?.chain
        };
        self.arms.burn(now.boot, ask, &chain).map_err(refused)?;
        Ok((Answer::Issued { chain }, Some(Record::Issued(node, ask.purpose))))
    }

    /// No token: who holds the key of a certificate that is good is the node that it was given to. Nothing is armed or burned,
    /// and what the node may have is what the lab says now.
    fn renew(
        &self,
        certificate: &str,
        (mac, address): (MacAddr, Ipv4Addr),
        purpose: Purpose,
        request: &Request,
        now: Now<'_>,
    ) -> Result<(Answer, Option<Record>), No> {
        let node = now.lab.node_by_mac(mac).ok_or_else(|| no("no node has this hardware address"))?;
        if node.address != Some(address) {
            return Err(No(
                format!("a certificate of {} is renewed from its own address alone", node.name),
                true,
            ));
        }
        if purpose == Purpose::ServiceAccount {
            return Err(no("a key is not renewed"));
        }
        let leaf = node_leaf(now.lab, node, purpose).map_err(no)?;
        let refused = |fault: NotRenewed| No(fault.to_string(), fault.alarm());
        self.authority.renewable(certificate, &leaf, request, now.clock).map_err(refused)?;
        let chain = self.authority.issue(&leaf, request, now.clock, now.random).map_err(no)?.chain;
        Ok((Answer::Issued { chain }, Some(Record::Renewed(node.name.clone(), purpose))))
    }

    fn public(&self) -> Answer {
        Answer::Public {
            kubernetes: self.authority.branch_pem(Branch::Kubernetes),
            etcd: self.authority.branch_pem(Branch::Etcd),
            front_proxy: self.authority.branch_pem(Branch::FrontProxy),
            root: self.authority.root_pem(),
            service_account: self.authority.service_account_public_pem(),
        }
    }

    fn arm(&mut self, name: &str, by: Arming, window: u64, now: Now<'_>) -> Result<Record, No> {
        let node = now.lab.node_by_name(name).ok_or_else(|| no(format!("the lab has no node {name:?}")))?;
        if !node.is_met() {
            let fault = "was not met yet, and its token is bound to its hardware address: start it once, and arm it then";
            return Err(no(format!("{name} {fault}")));
        }
        let address = node.address.ok_or_else(|| {
            no(format!(
                "{name} has no address of its own, which its token is bound to: give it one in lab.toml"
            ))
        })?;
        if !now.lab.is_enrolled(node) {
            return Err(no(format!(
                "{name} has no part in a cluster, so there are no certificates for it: give it a `role`, and the lab a \
                 `[kubernetes]`, in lab.toml"
            )));
        }
        let profile = node.profile.as_ref().and_then(|name| now.lab.profiles.get(name));
        let allowed = profile.map_or(Arming::Operator, |profile| profile.arming);
        let armed = Armed { node: name.to_owned(), mac: node.mac, address, allowed, by, window };
        self.arms.arm(now.boot, armed).map_err(no)?;
        Ok(Record::Armed(name.to_owned(), by))
    }

    /// A machine starts: where its profile arms it by that, it may fetch a token now. It is no fault when it may not.
    fn starts(&mut self, name: &str, by: Arming, window: u64, now: Now<'_>) -> (Answer, Option<Record>) {
        self.arms.tidy(now.boot);
        (Answer::Noted, self.arm(name, by, window, now).ok())
    }

    fn hand(&mut self, fetch: Fetch, now: Now<'_>) -> Result<(Answer, Option<Record>), No> {
        let mut bits = [0; 32];
        now.random.fill(&mut bits).map_err(|_| no("the kernel gave no randomness"))?;
        let token = Token::new(bits);
        let refused = |refusal: crate::Refusal| No(refusal.to_string(), refusal.alarm());
        let node = self.arms.hand(now.boot, fetch, &token).map_err(refused)?;
        Ok((Answer::Token { token: token.reveal() }, Some(Record::Handed(node))))
    }

    /// The authorities' keys leave for the one kind of cluster that cannot do without.
    fn talos_secrets(&self, lab: &Lab) -> Result<(Answer, Option<Record>), No> {
        if lab.kubernetes.is_none() {
            return Err(no("the lab forms no cluster"));
        }
        let is_talos = |profile: &Profile| match &profile.kind {
            ProfileKind::Release(release) => release.system == System::Talos,
            _ => false,
        };
        if !lab.profiles.values().any(is_talos) {
            return Err(no(
                "no profile of the lab is of the kind `talos`, and no other system is given the authorities' keys",
            ));
        }
        let text = talos_secrets(&self.authority).map_err(no)?;
        Ok((Answer::TalosSecrets { text }, Some(Record::Keys("talos-secrets"))))
    }

    fn kubeconfig(&self, now: Now<'_>) -> Result<(Answer, Option<Record>), No> {
        let cluster = now.lab.kubernetes.as_ref().ok_or_else(|| no("the lab forms no cluster"))?;
        let leaf = admin_leaf();
        let (issued, key) = self.authority.issue_with_key(&leaf, now.clock, now.random).map_err(no)?;
        let trusted = self.authority.branch_pem(Branch::Kubernetes);
        let text =
            kubeconfig(&cluster.cluster, &cluster.api, &leaf.common_name, &trusted, &issued.chain, &key);
        Ok((Answer::Kubeconfig { text }, Some(Record::Keys("kubeconfig"))))
    }
}
