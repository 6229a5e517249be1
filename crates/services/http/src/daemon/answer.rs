//! A request's answer.

use std::{fs::File, io, net::IpAddr, ops::Range, rc::Rc, sync::Arc, time::Instant};

use pilotlight_http::{
    HeadError, Method, Reply, Request, Selected, Selection, Target, TargetError, select,
    select::Conditions,
    target::{Asking, pairs},
};
use pilotlight_kit::beneath::BeneathError;
use pilotlight_lab::{
    ConfigKind, Lab, Marks, Node,
    registry::{self, Manifest},
};
use pilotlight_provision::PRESEED;

use crate::{
    certificates::{self, Asks},
    report,
    site::{OpenFile, Record, Site},
};

const TEXT: &str = "text/plain; charset=utf-8";
const BYTES: &str = "application/octet-stream";
pub(crate) const NOBODY: &str = "no node has this hardware address";

/// What an answer carries.
#[derive(Debug)]
pub(crate) enum Content {
    Text(String),
    File(Part),
}

/// A part of a file.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) file: Arc<File>,
    pub(crate) inode: u64,
    pub(crate) bytes: Range<u64>,
}

/// An answer, and what the log should know of it.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) reply: Reply,
    pub(crate) content: Content,
    /// Why it was refused, when it was.
    reason: Option<String>,
    target: Option<Target>,
    /// The disk that a machine erases when it has this, without a question.
    installs: Option<String>,
    /// What has to be asked of the certificate authority first; what stands here is then what nobody is to see.
    pub(crate) asks: Option<Box<Asks>>,
}

impl Answer {
    /// Bytes of body on the wire: none for HEAD, whatever its `Content-Length` says.
    pub(crate) fn length(&self) -> u64 {
        match &self.content {
            Content::Text(text) => text.len() as u64,
            Content::File(part) => part.bytes.end.saturating_sub(part.bytes.start),
        }
    }

    /// What the log will say of it.
    pub(crate) fn record(&mut self, request: &Request, address: IpAddr, started: Instant) -> Record {
        Record {
            method: request.method.name().to_owned(),
            path: request.target.chars().filter(|letter| !letter.is_control()).take(256).collect(),
            status: self.reply.status,
            reason: self.reason.take(),
            mac: self.target.as_ref().and_then(Target::mac),
            address,
            started,
            length: self.length(),
            installs: self.installs.take(),
        }
    }
}

/// Answers what could not be understood.
pub(crate) fn refuse(fault: HeadError) -> Answer {
    refusal(fault.status(), fault)
}

/// Answers a request that came from `from`.
pub(crate) fn answer(site: &Site, request: &Request, from: IpAddr) -> Answer {
    let (path, query) = match request.target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (request.target.as_str(), None),
    };
    let target = match Target::parse(path, query) {
        Ok(target) => target,
        Err(error @ TargetError::Unknown) => return headless(request, refusal(404, error)),
        Err(error @ TargetError::TooLong) => return headless(request, refusal(414, error)),
        Err(error) => return headless(request, refusal(400, error)),
    };
    let mut answer = match (&request.method, &target) {
        (Method::Post, Target::Report(mac, what)) => report::taken(site, *mac, *what, from, request),
        (Method::Post, Target::Token(mac)) => certificates::token(site, *mac, from, request),
        (Method::Post, Target::Certificate(mac)) => certificates::certificate(site, *mac, from, request),
        (_, Target::Report(..) | Target::Token(_) | Target::Certificate(_)) => {
            not_allowed("only POST", "POST")
        }
        (Method::Get | Method::Head, target) => page(site, target, query.unwrap_or_default(), request),
        (Method::Post | Method::Other(_), _) => not_allowed("only GET and HEAD are answered", "GET, HEAD"),
    };
    // Whoever only looks at a node's answers, or does so from elsewhere, installs nothing.
    let is_its = |mac| site.lab().node_by_mac(mac).is_some_and(|node| speaks_for(node, from));
    if request.method != Method::Get || !target.mac().is_some_and(is_its) {
        answer.installs = None;
    }
    answer.target = Some(target);
    headless(request, answer)
}

/// Whether what comes from this address comes from the node, as far as an address can tell.
pub(crate) fn speaks_for(node: &Node, from: IpAddr) -> bool {
    node.address.is_none_or(|address| from == IpAddr::V4(address))
}

fn page(site: &Site, target: &Target, query: &str, request: &Request) -> Answer {
    match target {
        Target::Asset(name) => return asset(site, name, content_type(name), request),
        Target::Blob(sha256) => return asset(site, &registry::blob(sha256), BYTES, request),
        Target::Manifest { repository, reference } => return manifest(site, repository, reference, request),
        _ => {}
    }
    let lab = &site.lab();
    match target {
        Target::Autoexec => rendered(pilotlight_boot::autoexec_ipxe(lab)),
        Target::Boot => rendered(pilotlight_boot::boot_ipxe(lab)),
        Target::Script(asking) => script(site, lab, asking, request),
        Target::Grub(name) => grub(lab, name),
        Target::Health => rendered("ok\n".to_owned()),
        Target::Registry => rendered("{}\n".to_owned()),
        Target::Authority(authority) => certificates::authority(*authority),
        Target::Node(mac, name) => match lab.node_by_mac(*mac) {
            Some(node) => of_node(site, lab, node, |text, _| text == name),
            None => refusal(404, NOBODY),
        },
        Target::Matchbox(selected, asking) => matchbox(site, lab, *selected, asking, query),
        // These were dealt with before.
        Target::Asset(_) | Target::Blob(_) | Target::Manifest { .. } => refusal(404, TargetError::Unknown),
        Target::Report(..) | Target::Token(_) | Target::Certificate(_) => refusal(404, TargetError::Unknown),
    }
}

/// The script of a machine. Whoever only looks at it is nobody.
fn script(site: &Site, lab: &Lab, Asking { mac, marks, asked }: &Asking, request: &Request) -> Answer {
    let (script, recognised) = pilotlight_boot::script_of(lab, *mac, marks, *asked);
    if let (Some(mac), Some(recognised), Method::Get) = (mac, recognised, &request.method) {
        site.recognised(*mac, recognised);
    }
    rendered(script)
}

fn grub(lab: &Lab, name: &str) -> Answer {
    pilotlight_boot::grub_config(lab, name).map_or_else(|| refusal(404, "no such configuration"), rendered)
}

/// One of Matchbox's pages, of the machine that the query selects: by its hardware address, else by what else it is known by.
fn matchbox(site: &Site, lab: &Rc<Lab>, selected: Selected, asking: &Asking, query: &str) -> Answer {
    let marked = || lab.node_by_marks(&asking.marks).filter(|node| node.is_met());
    let node = asking.mac.and_then(|mac| lab.node_by_mac(mac)).or_else(marked);
    if selected == Selected::Grub {
        let mac = node.map(|node| node.mac).or(asking.mac);
        return match mac {
            Some(mac) => grub(lab, &format!("grub.cfg-01-{}", mac.hyphenated())),
            None => grub(lab, "grub.cfg"),
        };
    }
    match node {
        Some(node) if selected == Selected::Metadata => {
            rendered(pilotlight_provision::metadata(lab, node, &pairs(query), query))
        }
        Some(node) => of_node(site, lab, node, |name, kind| match selected {
            Selected::Ignition => kind == ConfigKind::Ignition,
            Selected::Cloud => name == "user-data",
            _ => !matches!(kind, ConfigKind::Ignition | ConfigKind::CloudConfig),
        }),
        None if asking.mac.is_some() => refusal(404, NOBODY),
        None if asking.marks == Marks::default() => {
            refusal(404, "the query names no machine: it has no mac, uuid or serial")
        }
        None => refusal(404, "no node has this uuid or serial, or it was not met yet"),
    }
}

/// The first of the texts that configure a node of which `wanted` says so.
fn of_node(site: &Site, lab: &Rc<Lab>, node: &Node, wanted: impl Fn(&str, ConfigKind) -> bool) -> Answer {
    match &*site.provision(lab, node) {
        Ok(Some(provision)) => {
            let text = provision.texts.iter().find(|text| wanted(text.name, provision.kind));
            match text {
                Some(text) => Answer {
                    reply: Reply { content: Some(content_of(provision.kind)), ..fleeting(&text.body) },
                    installs: lab.erased(node).filter(|_| text.name == PRESEED).map(str::to_owned),
                    ..rendered(text.body.clone())
                },
                None => refusal(404, "this node is not configured by that"),
            }
        }
        Ok(None) => refusal(404, "nothing configures this node"),
        Err(error) => refusal(500, error),
    }
}

fn content_of(kind: ConfigKind) -> &'static str {
    match kind {
        ConfigKind::Ignition | ConfigKind::Butane => "application/json",
        _ => TEXT,
    }
}

/// A manifest: its file's name says what it is.
fn manifest(site: &Site, repository: &str, reference: &str, request: &Request) -> Answer {
    let mut answer = refusal(404, "there is no such image");
    for kind in Manifest::ALL {
        answer = asset(site, &kind.path(repository, reference), kind.media_type(), request);
        if answer.reply.status != 404 {
            break;
        }
    }
    answer
}

fn asset(site: &Site, name: &str, content_type: &'static str, request: &Request) -> Answer {
    let opened = match site.open(name) {
        Ok(opened) => opened,
        Err(error @ BeneathError::Io(_)) => return refusal(500, error),
        Err(error) => return refusal(404, error),
    };
    let OpenFile { file, length, inode, changed_ns } = opened;
    let etag = format!("\"{}-{inode:x}-{length:x}-{changed_ns:x}\"", site.run);
    let conditions = Conditions {
        // RFC 9110 § 14.2: a range means something with GET alone.
        range: request.range.as_deref().filter(|_| request.method == Method::Get),
        if_range: request.if_range.as_deref(),
        if_none_match: request.if_none_match.as_deref(),
    };
    let selection = select(conditions, &etag, length);
    let (reply, bytes) = match selection {
        Selection::Whole => (Reply::new(200, length), 0..length),
        Selection::Part(part) => {
            let reply = Reply::new(206, part.end.saturating_sub(part.start));
            (Reply { part: Some((part.clone(), length)), ..reply }, part)
        }
        Selection::NotModified => (Reply { length: None, ..Reply::new(304, 0) }, 0..0),
        Selection::Unsatisfiable => {
            let mut answer = refusal(416, "the range lies behind the end");
            answer.reply.beyond = Some(length);
            return answer;
        }
    };
    let content = (reply.status != 304).then_some(content_type);
    let content = Reply { content, etag: Some(etag), ..reply };
    Answer {
        reply: content,
        content: Content::File(Part { file, inode, bytes }),
        reason: None,
        target: None,
        installs: None,
        asks: None,
    }
}

fn content_type(name: &str) -> &'static str {
    let ending = name.rsplit_once('.').map_or("", |(_, ending)| ending);
    match ending.to_ascii_lowercase().as_str() {
        // What UEFI 2.11 § 24.7 takes for something to boot.
        "efi" => "application/efi",
        "iso" => "application/vnd.efi-iso",
        "img" => "application/vnd.efi-img",
        "ipxe" | "cfg" | "txt" => TEXT,
        "gz" => "application/gzip",
        "json" => "application/json",
        _ => BYTES,
    }
}

pub(crate) fn rendered(text: String) -> Answer {
    Answer {
        reply: fleeting(&text),
        content: Content::Text(text),
        reason: None,
        target: None,
        installs: None,
        asks: None,
    }
}

/// What was right for this boot need not be right for the next one.
fn fleeting(text: &str) -> Reply {
    Reply { content: Some(TEXT), fleeting: true, ..Reply::new(200, text.len() as u64) }
}

fn not_allowed(reason: &str, allow: &'static str) -> Answer {
    let mut answer = refusal(405, reason);
    answer.reply.allow = Some(allow);
    answer
}

pub(crate) fn refusal(status: u16, reason: impl ToString) -> Answer {
    let reason = reason.to_string();
    let mut answer = rendered(format!("{reason}\n"));
    answer.reply.status = status;
    answer.reason = Some(reason);
    answer
}

impl Answer {
    /// One that has to be asked for first.
    pub(crate) fn asking(asks: Asks) -> Self {
        Self { asks: Some(Box::new(asks)), ..refusal(503, "nobody was asked") }
    }

    /// The answer that comes of what the certificate authority said.
    pub(crate) fn settled(self, request: &Request, said: io::Result<pilotlight_pki::Answer>) -> Self {
        let Some(asks) = &self.asks else { return self };
        let answer = certificates::settled(asks, said);
        headless(request, Self { target: self.target, ..answer })
    }
}

/// HEAD has the headers of GET and no body.
fn headless(request: &Request, mut answer: Answer) -> Answer {
    if request.method == Method::Head {
        answer.content = Content::Text(String::new());
    }
    answer
}
