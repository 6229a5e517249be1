//! What is served, and the log of it.

use std::{cell::RefCell, net::IpAddr, time::Instant};

use hyper::StatusCode;
use pilotlight_http::Sent;
use pilotlight_kit::{Event, Events, beneath::Root, drops::Drops};
use pilotlight_lab::{Lab, MacAddr};

const SERVICE: &str = "http";

/// All that connections share.
pub(crate) struct Site {
    pub(crate) lab: Lab,
    pub(crate) root: Root,
    /// Part of every entity tag, different in every run: what a file in the read-only root says changes with
    /// the image, while its size, time and number may stay the same.
    pub(crate) run: String,
    events: Events,
    drops: RefCell<Drops>,
    started: Instant,
}

/// What the log says of a request once its answer has left.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) status: StatusCode,
    pub(crate) reason: Option<String>,
    pub(crate) mac: Option<MacAddr>,
    pub(crate) address: IpAddr,
    pub(crate) started: Instant,
}

impl Site {
    pub(crate) fn new(lab: Lab, root: Root, events: Events, run: [u8; 6]) -> Self {
        let run = run.iter().map(|byte| format!("{byte:02x}")).collect();
        Self { lab, root, run, events, drops: RefCell::default(), started: Instant::now() }
    }

    /// Tells of an answer that has left, or never will.
    pub(crate) fn tell(&self, sent: Sent<Record>) {
        let record = sent.record;
        let refused = record.status.is_client_error() && record.status != StatusCode::NOT_FOUND;
        let mut event = match (record.reason, sent.complete) {
            (Some(reason), _) if refused => Event::dropped(SERVICE, "get", reason),
            (Some(reason), _) => Event::failed(SERVICE, "get", reason),
            (None, true) => Event::ok(SERVICE, "get"),
            (None, false) => {
                let reason = format!("the connection ended after {} of {} bytes", sent.sent, sent.length);
                Event::failed(SERVICE, "get", reason)
            }
        };
        event = event
            .fact("path", record.path)
            .fact("status", record.status.as_u16())
            .fact("bytes", sent.sent)
            .fact("ms", record.started.elapsed().as_millis() as u64);
        if record.method != "GET" {
            event = event.fact("method", record.method);
        }
        self.emit(event, record.address, record.mac);
    }

    /// Counts something that was dropped, and tells of it now and then.
    pub(crate) fn dropped(&self, reason: &'static str, address: IpAddr) {
        if let Some(count) = self.drops.borrow_mut().count(reason, self.started.elapsed()) {
            self.emit(Event::dropped(SERVICE, "drop", reason).fact("count", count), address, None);
        }
    }

    /// Tells of the drops that were not told yet; to be called every few seconds.
    pub(crate) fn flush_drops(&self) {
        for (reason, count) in self.drops.borrow_mut().overdue(self.started.elapsed()) {
            self.events.emit(Event::dropped(SERVICE, "drop", reason).fact("count", count));
        }
    }

    /// A fault of the server itself.
    pub(crate) fn fault(&self, reason: impl ToString) {
        self.events.emit(Event::failed(SERVICE, "error", reason));
    }

    fn emit(&self, mut event: Event, address: IpAddr, mac: Option<MacAddr>) {
        event = event.fact("address", address.to_string());
        let by_address = match address {
            IpAddr::V4(address) => self.lab.node_by_address(address),
            IpAddr::V6(_) => None,
        };
        // What the target names counts more: an installer may run with another address.
        let node = mac.map_or(by_address, |mac| self.lab.node_by_mac(mac));
        if let Some(mac) = mac.or(node.map(|node| node.mac)) {
            event = event.mac(mac);
        }
        self.events.emit(event.node(node.map(|node| node.name.as_str())));
    }
}
