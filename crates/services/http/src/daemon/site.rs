//! What is served, and the log of it.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    fs::File,
    net::IpAddr,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use pilotlight_kit::{
    Event, Events,
    assets::Assets,
    beneath::{BeneathError, Opened},
    drops::Drops,
    lab::Current,
};
use pilotlight_lab::{Lab, MacAddr, Node, Recognised};
use pilotlight_provision::Provision;

pub(crate) const SERVICE: &str = "http";

/// What a node is configured with, or why it is not.
pub(crate) type Provisions = Rc<Result<Option<Provision>, String>>;

/// All that connections share.
pub(crate) struct Site {
    lab: Current,
    assets: Assets,
    /// Part of every entity tag, different after each boot: what a file in the read-only root says changes with
    /// the image, while its size, time and number may stay the same.
    pub(crate) run: String,
    events: Events,
    /// The file opened last, until [`Site::forget_opened`].
    opened: RefCell<Option<(String, OpenFile)>>,
    /// What the nodes are configured with, as far as it was asked for, and the lab that this was made for.
    provisions: RefCell<(Rc<Lab>, BTreeMap<MacAddr, Provisions>)>,
    /// Whether anything was told since the last flush.
    told: Cell<bool>,
    drops: RefCell<Drops>,
    started: Instant,
}

/// A file that several answers may leave from.
#[derive(Debug, Clone)]
pub(crate) struct OpenFile {
    pub(crate) file: Arc<File>,
    pub(crate) length: u64,
    pub(crate) inode: u64,
    pub(crate) changed_ns: i128,
}

/// What the log says of a request once its answer has left.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) status: u16,
    pub(crate) reason: Option<String>,
    pub(crate) mac: Option<MacAddr>,
    pub(crate) address: IpAddr,
    pub(crate) started: Instant,
    /// The length of the body in bytes.
    pub(crate) length: u64,
    /// The disk that is erased with what was sent, and nobody asked.
    pub(crate) installs: Option<String>,
}

impl Site {
    pub(crate) fn new(lab: Current, assets: Assets, events: Events, run: String) -> Self {
        Self {
            provisions: RefCell::new((lab.now(), BTreeMap::new())),
            lab,
            assets,
            run,
            events,
            opened: RefCell::default(),
            told: Cell::default(),
            drops: RefCell::default(),
            started: Instant::now(),
        }
    }

    /// Opens what is served as `name`. Requests that are found waiting together are answered at one time: where they want
    /// the same file, as a rack does that boots, it is opened once.
    pub(crate) fn open(&self, name: &str) -> Result<OpenFile, BeneathError> {
        let mut last = self.opened.borrow_mut();
        if let Some((_, opened)) = last.as_ref().filter(|(known, _)| known == name) {
            return Ok(opened.clone());
        }
        let Opened { file, length, inode, changed_ns } = self.assets.file(name.as_bytes())?;
        let opened = OpenFile { file: Arc::new(file), length, inode, changed_ns };
        *last = Some((name.to_owned(), opened.clone()));
        Ok(opened)
    }

    /// The lab with what has become of it by now.
    pub(crate) fn lab(&self) -> Rc<Lab> {
        let lab = self.lab.now();
        for fault in self.lab.faults() {
            self.fault(fault);
        }
        lab
    }

    /// How `node` of `lab` is configured.
    pub(crate) fn provision(&self, lab: &Rc<Lab>, node: &Node) -> Provisions {
        let mut known = self.provisions.borrow_mut();
        if !Rc::ptr_eq(&known.0, lab) {
            *known = (Rc::clone(lab), BTreeMap::new());
        }
        let made = || Rc::new(pilotlight_provision::provision(lab, node).map_err(|error| error.to_string()));
        Rc::clone(known.1.entry(node.mac).or_insert_with(made))
    }

    /// Time has passed: what is asked for next is looked for anew.
    pub(crate) fn forget_opened(&self) {
        self.opened.take();
    }

    /// Tells of an answer of whose body `sent` bytes have left, which is all of it or all that ever will.
    pub(crate) fn tell(&self, record: Option<Record>, sent: u64, complete: bool) {
        let Some(record) = record else { return };
        let refused = (400..500).contains(&record.status) && record.status != 404;
        let mut event = match (record.reason, complete) {
            (Some(reason), _) if refused => Event::dropped(SERVICE, "get", reason),
            (Some(reason), _) => Event::failed(SERVICE, "get", reason),
            (None, true) => Event::ok(SERVICE, "get"),
            (None, false) => {
                let reason = format!("the connection ended after {sent} of {} bytes", record.length);
                Event::failed(SERVICE, "get", reason)
            }
        };
        event = event
            .fact("path", record.path)
            .fact("status", record.status)
            .fact("bytes", sent)
            .fact("ms", record.started.elapsed().as_millis() as u64);
        if record.method != "GET" {
            event = event.fact("method", record.method);
        }
        self.emit(event, record.address, record.mac);
        if let Some(disk) = record.installs.filter(|_| complete) {
            self.emit(Event::ok(SERVICE, "install").fact("disk", disk), record.address, record.mac);
        }
    }

    /// Tells what `node` has said of itself.
    pub(crate) fn reported(&self, node: &Node, from: IpAddr, event: Event) {
        self.emit(event, from, Some(node.mac));
    }

    /// Tells whom the machine `mac` was recognised as.
    pub(crate) fn recognised(&self, mac: MacAddr, recognised: Recognised<'_>) {
        self.hold(Event::met(SERVICE, recognised, mac));
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
            self.hold(Event::dropped(SERVICE, "drop", reason).fact("count", count));
        }
    }

    /// Whether there are drops that were not told yet.
    pub(crate) fn counting(&self) -> bool {
        self.drops.borrow().waiting()
    }

    /// A fault of the server itself.
    pub(crate) fn fault(&self, reason: impl ToString) {
        self.hold(Event::failed(SERVICE, "error", reason));
    }

    /// Sends off what was told since the last time; gives when to call it again although nothing has happened.
    pub(crate) fn flush(&self) -> Option<Duration> {
        self.told.set(false);
        self.events.flush()
    }

    /// Whether anything was told since the last [`Site::flush`].
    pub(crate) fn told(&self) -> bool {
        self.told.get()
    }

    fn hold(&self, event: Event) {
        self.told.set(true);
        self.events.hold(event);
    }

    fn emit(&self, mut event: Event, address: IpAddr, mac: Option<MacAddr>) {
        event = event.fact("address", address.to_string());
        let lab = self.lab.last();
        let by_address = match address {
            IpAddr::V4(address) => lab.node_by_address(address),
            IpAddr::V6(_) => None,
        };
        // What the target names counts more: an installer may run with another address.
        let node = mac.map_or(by_address, |mac| lab.node_by_mac(mac));
        if let Some(mac) = mac.or(node.map(|node| node.mac)) {
            event = event.mac(mac);
        }
        self.hold(event.node(node.map(|node| node.name.as_str())));
    }
}
