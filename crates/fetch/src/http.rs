//! One request to one mirror: a body to read, or a fault that says whether trying again makes sense.

use std::{
    fmt,
    io::Read,
    time::{Duration, Instant},
};

use reqwest::{
    StatusCode,
    blocking::{Client, RequestBuilder, Response},
    header,
};

use crate::digest::Digest;

/// How long to wait and how often to try.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// The longest time without a byte.
    pub stall: Duration,
    /// The fewest bytes that may come within that time; a mirror that gives fewer is left for the next one.
    pub slowest: u64,
    /// How many rounds over all mirrors may pass without a new byte.
    pub rounds: u32,
    /// The pause before the second round; each later one is twice as long.
    pub pause: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { stall: Duration::from_secs(20), slowest: 4_096, rounds: 4, pause: Duration::from_millis(500) }
    }
}

/// What went wrong with one request.
#[derive(Debug)]
pub enum Fault {
    /// The mirror does not have it (404 or 410).
    Missing,
    /// It has to be told who asks (401), by what it says here.
    Unknown(String),
    /// Another status than success.
    Status(u16),
    /// No connection, or it broke.
    Connection(String),
    /// No byte for this long.
    Stalled(Duration),
    /// Bytes came, but hardly any.
    Slow {
        /// How many.
        got: u64,
        /// In which time.
        time: Duration,
    },
    /// The body ended too early.
    Short {
        /// Bytes that came.
        got: u64,
        /// Bytes that were due.
        expected: u64,
    },
    /// It has another size than it should have.
    Size {
        /// What is known of it, or the most that is taken.
        expected: u64,
        /// What the mirror offers, if it says so.
        found: Option<u64>,
    },
    /// The right number of wrong bytes.
    Tampered {
        /// What is known of it.
        expected: Digest,
        /// What came.
        found: Digest,
    },
    /// What came was read and not believed.
    Refused(Box<dyn std::error::Error + Send + Sync>),
}

impl Fault {
    /// Whether the same mirror may do better in a moment.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            Self::Missing
            | Self::Unknown(_)
            | Self::Size { .. }
            | Self::Tampered { .. }
            | Self::Refused(_) => false,
            Self::Status(status) => *status >= 500 || [408, 425, 429].contains(status),
            Self::Connection(_) | Self::Stalled(_) | Self::Slow { .. } | Self::Short { .. } => true,
        }
    }

    /// Whether bytes came that are not those of the file.
    pub fn is_wrong_content(&self) -> bool {
        matches!(self, Self::Size { .. } | Self::Tampered { .. })
    }

    /// Whether nobody answered at all.
    pub(crate) fn is_silence(&self) -> bool {
        matches!(self, Self::Connection(_) | Self::Stalled(_))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => write!(out, "the mirror does not have it (404)"),
            Self::Unknown(_) => write!(out, "the mirror wants to be told who asks (401)"),
            Self::Status(status) => write!(out, "the mirror answers with status {status}"),
            Self::Connection(reason) => out.write_str(reason),
            Self::Stalled(time) => write!(out, "no byte came for {} s", time.as_secs_f32()),
            Self::Slow { got, time } => write!(out, "only {got} bytes came in {} s", time.as_secs_f32()),
            Self::Short { got, expected } => {
                write!(out, "the connection ended after {got} of {expected} bytes")
            }
            Self::Size { expected, found: None } => {
                write!(out, "it is larger than the {expected} bytes that it should have")
            }
            Self::Size { expected, found: Some(found) } => {
                write!(
                    out,
                    "it has {found} bytes instead of {expected}: it is another file than the one asked for"
                )
            }
            Self::Tampered { expected, found } => {
                write!(out, "its SHA-256 is {found} instead of {expected}: it was tampered with or damaged")
            }
            Self::Refused(fault) => {
                write!(out, "{fault}")?;
                let mut source = fault.source();
                while let Some(inner) = source {
                    write!(out, ": {inner}")?;
                    source = inner.source();
                }
                Ok(())
            }
        }
    }
}

/// What a request carries besides the address.
#[derive(Debug, Clone, Default)]
pub struct Headers {
    /// The kinds of content that are understood; none is any.
    pub accept: Option<String>,
    /// A token that says who asks. It goes to the host that is asked and to none that this one leads on to.
    pub bearer: Option<String>,
}

/// Which authorities say who a server is.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) enum Roots {
    /// Those that the machine believes.
    #[default]
    OfTheMachine,
    /// Mozilla's, as they were when this was built.
    #[cfg(feature = "roots")]
    Own,
}

/// A client for many threads.
#[derive(Debug)]
pub(crate) struct Http {
    client: Client,
    patience: Patience,
}

/// A body, from `start` on.
pub(crate) struct Body {
    response: Response,
    patience: Patience,
    /// Since when bytes are counted, and how many came since.
    window: (Instant, u64),
    /// The offset of its first byte: what was asked for, or 0 when the mirror cannot start in the middle.
    pub(crate) start: u64,
}

impl Http {
    pub(crate) fn new(patience: Patience, roots: Roots) -> Result<Self, Fault> {
        // Two builders in one process: the first provider stays, and it is the same.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let builder = || {
            Client::builder()
                .user_agent(concat!("pilotlight/", env!("CARGO_PKG_VERSION")))
                .connect_timeout(patience.stall)
                // Of each step, not of the whole: connecting, the head, every read.
                .timeout(patience.stall)
        };
        let client = match roots {
            // A machine without certificates can still use http mirrors: trust is in the signatures.
            Roots::OfTheMachine => builder().build().or_else(|_| builder().tls_certs_only([]).build()),
            #[cfg(feature = "roots")]
            Roots::Own => {
                let own = webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter();
                let own = own.filter_map(|der| reqwest::Certificate::from_der(der).ok());
                builder().tls_certs_only(own).build()
            }
        };
        Ok(Self { client: client.map_err(|fault| Fault::Connection(reason(fault)))?, patience })
    }

    /// How long the file at `url` is, if the mirror says it.
    pub(crate) fn length(&self, url: &str, headers: &Headers) -> Result<Option<u64>, Fault> {
        let response =
            self.asked(self.client.head(url), headers).send().map_err(|fault| self.fault(fault))?;
        let length = response.headers().get(header::CONTENT_LENGTH);
        match response.status() {
            StatusCode::OK => Ok(length.and_then(|length| length.to_str().ok()?.parse().ok())),
            _ => Err(refusal(&response)),
        }
    }

    fn asked(&self, mut request: RequestBuilder, headers: &Headers) -> RequestBuilder {
        request = request.header(header::ACCEPT_ENCODING, "identity");
        if let Some(accept) = &headers.accept {
            request = request.header(header::ACCEPT, accept);
        }
        if let Some(bearer) = &headers.bearer {
            request = request.bearer_auth(bearer);
        }
        request
    }

    /// Asks for the file at `url` from byte `start` on.
    pub(crate) fn get(&self, url: &str, headers: &Headers, start: u64) -> Result<Body, Fault> {
        let mut request = self.asked(self.client.get(url), headers);
        if start > 0 {
            request = request.header(header::RANGE, format!("bytes={start}-"));
        }
        let response = request.send().map_err(|fault| self.fault(fault))?;
        let begins = |response: &Response| {
            let range = response.headers().get(header::CONTENT_RANGE)?.to_str().ok()?;
            range.strip_prefix("bytes ")?.split('-').next()?.parse::<u64>().ok()
        };
        match response.status() {
            StatusCode::OK => Ok(Body::new(response, self.patience, 0)),
            StatusCode::PARTIAL_CONTENT if begins(&response) == Some(start) => {
                Ok(Body::new(response, self.patience, start))
            }
            // An answer to another question than the one asked: start anew.
            StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE if start > 0 => {
                self.get(url, headers, 0)
            }
            _ => Err(refusal(&response)),
        }
    }

    fn fault(&self, fault: reqwest::Error) -> Fault {
        if fault.is_timeout() {
            Fault::Stalled(self.patience.stall)
        } else {
            Fault::Connection(reason(fault))
        }
    }
}

impl Body {
    fn new(response: Response, patience: Patience, start: u64) -> Self {
        Self { response, patience, window: (Instant::now(), 0), start }
    }

    /// The size of the whole file, if the mirror says it.
    pub(crate) fn whole(&self) -> Option<u64> {
        let rest = self.response.headers().get(header::CONTENT_LENGTH)?.to_str().ok()?.parse::<u64>().ok()?;
        self.start.checked_add(rest)
    }

    /// Counts bytes, and refuses to go on when too few of them came in too long a time.
    fn in_time(&mut self, read: usize) -> Result<usize, Fault> {
        let (since, got) = &mut self.window;
        *got += read as u64;
        let time = since.elapsed();
        if time >= self.patience.stall {
            if *got < self.patience.slowest && read > 0 {
                return Err(Fault::Slow { got: *got, time: self.patience.stall });
            }
            (*since, *got) = (Instant::now(), 0);
        }
        Ok(read)
    }

    /// The next bytes; 0 at the end.
    pub(crate) fn read(&mut self, block: &mut [u8]) -> Result<usize, Fault> {
        loop {
            match self.response.read(block) {
                Ok(read) => return self.in_time(read),
                Err(fault) if fault.kind() == std::io::ErrorKind::Interrupted => {}
                Err(fault) if fault.kind() == std::io::ErrorKind::TimedOut => {
                    return Err(Fault::Stalled(self.patience.stall));
                }
                Err(fault) => {
                    let inner = fault.get_ref().and_then(|inner| inner.downcast_ref::<reqwest::Error>());
                    return Err(match inner {
                        Some(inner) if inner.is_timeout() => Fault::Stalled(self.patience.stall),
                        _ => Fault::Connection(format!("the connection broke: {}", innermost(&fault))),
                    });
                }
            }
        }
    }
}

/// What a status means that is no success.
fn refusal(response: &Response) -> Fault {
    match response.status() {
        StatusCode::NOT_FOUND | StatusCode::GONE => Fault::Missing,
        StatusCode::UNAUTHORIZED => {
            let challenge = response.headers().get(header::WWW_AUTHENTICATE);
            let challenge = challenge.and_then(|challenge| challenge.to_str().ok());
            Fault::Unknown(challenge.unwrap_or_default().to_owned())
        }
        other => Fault::Status(other.as_u16()),
    }
}

/// What the deepest cause says: the outer ones only name layers, and the address stands beside it anyway.
fn reason(fault: reqwest::Error) -> String {
    let what = if fault.is_connect() { "no connection" } else { "the request failed" };
    format!("{what}: {}", innermost(&fault))
}

fn innermost(fault: &dyn std::error::Error) -> String {
    let mut deepest = fault;
    while let Some(inner) = deepest.source() {
        deepest = inner;
    }
    deepest.to_string()
}
