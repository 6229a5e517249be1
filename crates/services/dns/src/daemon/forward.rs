//! Asking other name servers.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use pilotlight_dns::{Question, Refusal, accept, question};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpStream, UdpSocket},
    time::timeout,
};

/// How long one name server is waited for, in turn: together less than the 5 s that a client's resolver waits.
const WAITS: [Duration; 2] = [Duration::from_millis(900), Duration::from_millis(1500)];
/// How long a whole exchange by TCP may take.
const BY_TCP: Duration = Duration::from_secs(2);
/// An answer by UDP is not longer than what was asked for.
const LONGEST: usize = 4096;

/// Why nobody's answer could be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ForwardError {
    #[error("no answer within {} ms", .0.as_millis())]
    Silent(Duration),
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("the question could not be sent")]
    Io(#[from] io::Error),
}

/// The answer of the first of `servers` that has one; each is asked twice at the most.
pub(crate) async fn ask(
    asked: &Question,
    servers: &[SocketAddr],
) -> Result<pilotlight_dns::Message, (SocketAddr, ForwardError)> {
    let mut last = None;
    for wait in WAITS {
        for server in servers {
            match ask_one(asked, *server, wait).await {
                Ok(message) => return Ok(message),
                Err(fault) => last = Some((*server, fault)),
            }
        }
    }
    Err(last.unwrap_or((SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)), Refusal::CannotTell.into())))
}

async fn ask_one(
    asked: &Question,
    server: SocketAddr,
    wait: Duration,
) -> Result<pilotlight_dns::Message, ForwardError> {
    match timeout(wait, by_udp(asked, server)).await {
        Err(_) => Err(ForwardError::Silent(wait)),
        Ok(Err(ForwardError::Refused(Refusal::Cut))) => {
            timeout(BY_TCP, by_tcp(asked, server)).await.unwrap_or(Err(ForwardError::Silent(BY_TCP)))
        }
        Ok(result) => result,
    }
}

/// A socket for each question: whoever forges an answer has its port to guess, too (RFC 5452 § 9.2).
async fn by_udp(asked: &Question, server: SocketAddr) -> Result<pilotlight_dns::Message, ForwardError> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await?;
    // The kernel drops what others send.
    socket.connect(server).await?;
    let id = random()?;
    socket.send(&question(asked, id)).await?;
    let mut buffer = [0; LONGEST];
    loop {
        let length = socket.recv(&mut buffer).await?;
        match accept(asked, id, &buffer[..length]) {
            // The right one may be on its way.
            Err(Refusal::Other | Refusal::Malformed) => {}
            result => return Ok(result?),
        }
    }
}

async fn by_tcp(asked: &Question, server: SocketAddr) -> Result<pilotlight_dns::Message, ForwardError> {
    let mut stream = TcpStream::connect(server).await?;
    let id = random()?;
    let question = question(asked, id);
    let length = u16::try_from(question.len()).unwrap_or(u16::MAX);
    stream.write_all(&[&length.to_be_bytes()[..], &question].concat()).await?;
    let mut answer = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut answer).await?;
    Ok(accept(asked, id, &answer)?)
}

fn random() -> io::Result<u16> {
    let mut bytes = [0; 2];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    Ok(u16::from_ne_bytes(bytes))
}
