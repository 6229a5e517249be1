//! The way to a device over TCP, and TLS where its `url` begins with `https://`. All that does something is in here.

mod pin;

use std::{
    fmt,
    io::{self, Read, Write},
    net::{TcpStream, ToSocketAddrs as _},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use pilotlight_lab::PowerDevice;
use pin::Pin;
use ring::rand::{SecureRandom as _, SystemRandom};
use rustls::{ClientConfig, ClientConnection, StreamOwned, pki_types::ServerName};

use crate::{Answer, AnswerFault, Origin, Request, Wire, http};

/// How long a connection may take: the device is on the next switch, or a router away.
const CONNECT: Duration = Duration::from_secs(5);
/// How long a question may take from its first byte to its answer's last. Controllers are slow, at TLS above all.
const PATIENCE: Duration = Duration::from_secs(30);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// The lab's `url` names more than a place to connect to.
    #[error("{url:?} names more than a host and a port")]
    Place {
        /// The url.
        url: String,
    },
    /// Its name has no address.
    #[error("{host:?} has no address")]
    Name {
        /// The name.
        host: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Nobody is there.
    #[error("cannot connect to {place}")]
    Connect {
        /// Address and port.
        place: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The connection ended.
    #[error("the connection broke")]
    Broken(#[source] io::Error),
    /// Nothing comes.
    #[error("nothing came for {} s", PATIENCE.as_secs())]
    Silence,
    /// It speaks no TLS that is safe.
    #[error("there is no TLS with it")]
    Tls(#[source] rustls::Error),
    /// It is not the device that lab.toml means, or lab.toml does not say which it means.
    #[error("{}", unknown(.pinned.as_deref(), .seen))]
    Certificate {
        /// The SHA-256 of the certificate that it shows.
        seen: String,
        /// The one in lab.toml.
        pinned: Option<String>,
    },
    /// The answer is none.
    #[error(transparent)]
    Answer(#[from] AnswerFault),
    /// The system has no random numbers.
    #[error("the system gives no random numbers")]
    Random,
}

fn unknown(pinned: Option<&str>, seen: &str) -> String {
    match pinned {
        Some(pinned) => format!("its certificate is not the one in lab.toml ({pinned}): it shows {seen}"),
        None => format!("lab.toml does not say which certificate it has: it shows {seen}"),
    }
}

impl WireError {
    /// What whoever looks after the Pi should do.
    pub(crate) fn hint(&self) -> Option<String> {
        let text = match self {
            Self::Place { .. } => {
                "write only http:// or https://, the host and perhaps a port as `url` in lab.toml"
            }
            Self::Name { .. } => "write its address as `url` in lab.toml, or make it a node",
            Self::Connect { .. } | Self::Silence | Self::Broken(_) => {
                "has it power, is it on the Pi's wire, and is its `url` in lab.toml right?"
            }
            Self::Tls(_) => {
                "it must speak TLS 1.2 or 1.3 with a certificate of version 3, and an RSA key of 2048 bits or an EC key"
            }
            Self::Certificate { seen, .. } => {
                return Some(format!(
                    "compare that with the device's own settings; only if it is the same there, write \
                     certificate-sha256 = \"{seen}\" in lab.toml"
                ));
            }
            Self::Answer(_) => "is it the kind of device that lab.toml says, and is http or https right?",
            Self::Random => return None,
        };
        Some(text.to_owned())
    }
}

/// The way to one device, with a connection for each question.
pub struct Direct {
    origin: Origin,
    tls: Option<(Arc<ClientConfig>, Arc<Pin>)>,
}

impl fmt::Debug for Direct {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Direct").field("origin", &self.origin).finish_non_exhaustive()
    }
}

impl Direct {
    /// The way to `device`; nothing is connected yet.
    ///
    /// # Errors
    /// When its `url` is none, or there is no TLS.
    pub fn new(device: &PowerDevice) -> Result<Self, WireError> {
        let place = || WireError::Place { url: device.url.clone() };
        let origin = Origin::parse(&device.url).ok_or_else(place)?;
        let tls = match origin.secure {
            true => Some(pin::client(device.certificate.clone()).map_err(WireError::Tls)?),
            false => None,
        };
        Ok(Self { origin, tls })
    }

    fn connect(&self) -> Result<TcpStream, WireError> {
        let Origin { host, port, .. } = &self.origin;
        let name = |source| WireError::Name { host: host.clone(), source };
        let mut last = None;
        for address in (host.as_str(), *port).to_socket_addrs().map_err(name)? {
            match TcpStream::connect_timeout(&address, CONNECT) {
                Ok(stream) => return Ok(stream),
                Err(source) => last = Some(WireError::Connect { place: address.to_string(), source }),
            }
        }
        Err(last.unwrap_or_else(|| name(io::Error::from(io::ErrorKind::NotFound))))
    }
}

impl Wire for Direct {
    fn ask(&mut self, request: &Request) -> Result<Answer, WireError> {
        let end = Instant::now() + PATIENCE;
        let question = request.to_bytes(&self.origin);
        let stream = Timed { stream: self.connect()?, end };
        let Some((config, pin)) = &self.tls else { return converse(stream, &question) };
        let host = self.origin.host.clone();
        let name = ServerName::try_from(host)
            .map_err(|_| WireError::Tls(rustls::Error::General("no name".into())))?;
        let connection = ClientConnection::new(config.clone(), name).map_err(WireError::Tls)?;
        converse(StreamOwned::new(connection, stream), &question).map_err(|error| {
            match (pin.refused(), error) {
                (Some(seen), _) => WireError::Certificate { seen, pinned: pin.wanted().map(str::to_owned) },
                (None, error) => error,
            }
        })
    }

    fn wait(&mut self, time: Duration) {
        thread::sleep(time);
    }

    fn random(&mut self) -> Result<[u8; 16], WireError> {
        let mut bytes = [0; 16];
        SystemRandom::new().fill(&mut bytes).map_err(|_| WireError::Random)?;
        Ok(bytes)
    }
}

/// One question and its answer.
fn converse(mut stream: impl Read + Write, question: &[u8]) -> Result<Answer, WireError> {
    stream.write_all(question).and_then(|()| stream.flush()).map_err(broken)?;
    let (mut bytes, mut piece) = (Vec::new(), vec![0; 16 * 1024]);
    loop {
        let ended = match stream.read(&mut piece) {
            Ok(length) => {
                bytes.extend_from_slice(piece.get(..length).unwrap_or_default());
                length == 0
            }
            Err(fault) if fault.kind() == io::ErrorKind::Interrupted => continue,
            // Devices hang up without TLS's own goodbye. What tells its length is whole or not all the same, and of the rest
            // JSON tells it.
            Err(fault) if fault.kind() == io::ErrorKind::UnexpectedEof => true,
            Err(fault) => return Err(broken(fault)),
        };
        if let Some(answer) = Answer::read(&bytes, ended)? {
            return Ok(answer);
        }
        if bytes.len() > 2 * http::LONGEST {
            return Err(AnswerFault::TooLong.into());
        }
    }
}

fn broken(fault: io::Error) -> WireError {
    match fault.kind() {
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => WireError::Silence,
        _ => match fault.downcast::<rustls::Error>() {
            Ok(fault) => WireError::Tls(fault),
            Err(fault) => WireError::Broken(fault),
        },
    }
}

/// A connection that ends in time, however slowly the other side drips.
struct Timed {
    stream: TcpStream,
    end: Instant,
}

impl Timed {
    fn left(&self) -> io::Result<Option<Duration>> {
        match self.end.saturating_duration_since(Instant::now()) {
            Duration::ZERO => Err(io::ErrorKind::TimedOut.into()),
            left => Ok(Some(left)),
        }
    }
}

impl Read for Timed {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(self.left()?)?;
        self.stream.read(bytes)
    }
}

impl Write for Timed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(self.left()?)?;
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}
