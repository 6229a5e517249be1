//! A request's answer.

use bytes::Bytes;
use hyper::{
    HeaderMap, Method, Request, Response, StatusCode,
    header::{self, HeaderName, HeaderValue},
};
use pilotlight_http::{Selection, Target, TargetError, select, select::Conditions};
use pilotlight_kit::beneath::{BeneathError, Opened};

use crate::{body::Content, site::Site};

const TEXT: &str = "text/plain; charset=utf-8";

/// An answer, and what the log should know of it.
pub(crate) struct Answer {
    pub(crate) response: Response<Content>,
    /// Bytes of body on the wire: none for HEAD, whatever its `Content-Length` says.
    pub(crate) length: u64,
    /// Why it was refused, when it was.
    pub(crate) reason: Option<String>,
    pub(crate) target: Option<Target>,
}

/// Answers a request's head; bodies of requests are of no interest.
pub(crate) fn answer<B>(site: &Site, request: &Request<B>) -> Answer {
    let method = request.method();
    if method != Method::GET && method != Method::HEAD {
        let mut answer = refusal(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD are answered");
        answer.response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        return answer;
    }
    let target = match Target::parse(request.uri().path(), request.uri().query()) {
        Ok(target) => target,
        Err(error @ TargetError::Unknown) => return headless(method, refusal(StatusCode::NOT_FOUND, error)),
        Err(error @ TargetError::TooLong) => {
            return headless(method, refusal(StatusCode::URI_TOO_LONG, error));
        }
        Err(error) => return headless(method, refusal(StatusCode::BAD_REQUEST, error)),
    };
    let mut answer = match &target {
        Target::Autoexec => rendered(pilotlight_boot::autoexec_ipxe(&site.lab)),
        Target::Boot => rendered(pilotlight_boot::boot_ipxe(&site.lab)),
        Target::Script(mac) => rendered(pilotlight_boot::ipxe_script(&site.lab, *mac)),
        Target::Grub(name) => match pilotlight_boot::grub_config(&site.lab, name) {
            Some(text) => rendered(text),
            None => refusal(StatusCode::NOT_FOUND, "no such configuration"),
        },
        Target::Health => rendered("ok\n".to_owned()),
        Target::Preseed(mac) => {
            let node = site.lab.node_by_mac(*mac);
            match node.map(|node| pilotlight_boot::preseed(&site.lab, node)) {
                Some(Some(text)) => rendered(text),
                Some(None) => refusal(StatusCode::NOT_FOUND, "this node installs nothing"),
                None => refusal(StatusCode::NOT_FOUND, "no node has this hardware address"),
            }
        }
        Target::Asset(name) => asset(site, name, method, request.headers()),
    };
    answer.target = Some(target);
    headless(method, answer)
}

fn asset(site: &Site, name: &str, method: &Method, headers: &HeaderMap) -> Answer {
    let opened = match site.root.file(name.as_bytes()) {
        Ok(opened) => opened,
        Err(error @ BeneathError::Io(_)) => return refusal(StatusCode::INTERNAL_SERVER_ERROR, error),
        Err(error) => return refusal(StatusCode::NOT_FOUND, error),
    };
    let Opened { file, length, inode, changed_ns } = opened;
    let etag = format!("\"{}-{inode:x}-{length:x}-{changed_ns:x}\"", site.run);
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let conditions = Conditions {
        // RFC 9110 § 14.2: a range means something with GET alone.
        range: text(header::RANGE).filter(|_| method == Method::GET),
        if_range: text(header::IF_RANGE),
        if_none_match: text(header::IF_NONE_MATCH),
    };
    let selection = select(conditions, &etag, length);
    let (status, part) = match &selection {
        Selection::Whole => (StatusCode::OK, 0..length),
        Selection::Part(part) => (StatusCode::PARTIAL_CONTENT, part.clone()),
        Selection::NotModified => (StatusCode::NOT_MODIFIED, 0..0),
        Selection::Unsatisfiable => {
            let mut answer = refusal(StatusCode::RANGE_NOT_SATISFIABLE, "the range lies behind the end");
            set(&mut answer, header::CONTENT_RANGE, format!("bytes */{length}"));
            return answer;
        }
    };
    let mut answer = with(status, Content::file(file, part.clone()));
    set(&mut answer, header::ETAG, etag);
    set(&mut answer, header::ACCEPT_RANGES, "bytes");
    if status == StatusCode::NOT_MODIFIED {
        answer.response.headers_mut().remove(header::CONTENT_LENGTH);
        return answer;
    }
    set(&mut answer, header::CONTENT_TYPE, content_type(name));
    if status == StatusCode::PARTIAL_CONTENT {
        let range = format!("bytes {}-{}/{length}", part.start, part.end.saturating_sub(1));
        set(&mut answer, header::CONTENT_RANGE, range);
    }
    answer
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
        _ => "application/octet-stream",
    }
}

fn rendered(text: String) -> Answer {
    let mut answer = with(StatusCode::OK, Content::Text(text.into()));
    set(&mut answer, header::CONTENT_TYPE, TEXT);
    // What was right for this boot need not be right for the next one.
    set(&mut answer, header::CACHE_CONTROL, "no-store");
    answer
}

fn refusal(status: StatusCode, reason: impl ToString) -> Answer {
    let reason = reason.to_string();
    let mut answer = with(status, Content::Text(format!("{reason}\n").into()));
    set(&mut answer, header::CONTENT_TYPE, TEXT);
    set(&mut answer, header::CACHE_CONTROL, "no-store");
    answer.reason = Some(reason);
    answer
}

fn with(status: StatusCode, content: Content) -> Answer {
    let length = content.length();
    let mut response = Response::new(content);
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_LENGTH, length.into());
    Answer { response, length, reason: None, target: None }
}

fn set(answer: &mut Answer, name: HeaderName, value: impl TryInto<HeaderValue>) {
    // Every value is made here, of characters that a header may hold.
    if let Ok(value) = value.try_into() {
        answer.response.headers_mut().insert(name, value);
    }
}

/// HEAD has the headers of GET and no body.
fn headless(method: &Method, mut answer: Answer) -> Answer {
    if method == Method::HEAD {
        *answer.response.body_mut() = Content::Text(Bytes::new());
        answer.length = 0;
    }
    answer
}
