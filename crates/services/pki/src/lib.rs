//! Certificates: a root that is made on the Pi, three authorities under it, what a node's certificates say, and the
//! tokens that a node asks with.
//!
//! Values in, values out: this crate opens nothing, asks no clock and takes its randomness from the caller (but for
//! ECDSA's own, which `ring` draws at each signature).
//!
//! The authorities for Kubernetes, etcd and the front proxy are apart because with one shared authority any kubelet's
//! certificate opens etcd. So **what is trusted for one of them is that authority's own certificate, never the root**:
//! under the root all three are good. There are no name constraints: a plain one on the domain breaks
//! `kubernetes.default`.
//!
//! Keys of nodes are made on the nodes. One key has to be the same on all controllers, the one that signs service accounts'
//! tokens: it leaves in an [`envelope()`] that only the node's own key opens.
//!
//! [`Desk`] answers the lines of a Unix socket. The daemon around it, `pilotlight-pkid`, knows who asks, keeps the keys
//! and tells the records as events.
//!
//! A node that is armed ([`Arms::arm`]) fetches a token for its key ([`Arms::hand`]). What asks for a certificate with it
//! goes through these in order: [`Request::read`], [`Arms::ask`], [`node_leaf`],
//! [`Authority::issue`], [`Arms::burn`], and only then is answered. What is armed and what was issued is in memory
//! alone: a node whose answer was lost with the daemon is armed again. A peer that is refused hears [`OUTSIDE`] whatever
//! the reason.

mod arms;
mod authority;
mod backup;
mod closed;
mod desk;
mod envelope;
mod kubeconfig;
mod leaf;
mod renewal;
mod request;
mod talos;

pub use arms::{Armed, Arms, Ask, Fetch, LONGEST_WINDOW, NotArmed, OUTSIDE, Refusal, Token, Verdict};
pub use authority::{Authority, Branch, Clock, Fault, Issued, TimeTrust, YEARS};
pub use backup::{BackupError, SHORTEST_PASSPHRASE, restore, seal};
pub use closed::Closed;
pub use desk::{Answer, Caller, Denial, Desk, LONGEST_LINE, Now, Question, Record};
pub use envelope::{EnvelopeError, envelope};
pub use kubeconfig::kubeconfig;
pub use leaf::{Leaf, LeafError, Name, Purpose, admin_leaf, node_leaf};
pub use renewal::NotRenewed;
pub use request::{LONGEST_REQUEST, Request, RequestError};
pub use talos::talos_secrets;
