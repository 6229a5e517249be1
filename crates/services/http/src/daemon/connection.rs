//! One connection: its limits, and the count of what leaves through it.

use std::{
    cell::{Cell, RefCell},
    convert::Infallible,
    io::{self, IoSlice},
    net::IpAddr,
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use hyper::{
    Request,
    body::Incoming,
    rt::{Read, ReadBufCursor, Write},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use pilotlight_http::Ledger;
use tokio::{
    net::TcpStream,
    sync::watch,
    time::{Sleep, sleep},
};

use crate::{
    answer::answer,
    site::{Record, Site},
};

/// The time for a request's head to arrive, and for an idle connection to stay.
const HEAD_TIME: Duration = Duration::from_secs(30);
/// The time in which a client must take at least something of what is sent.
const STALL_TIME: Duration = Duration::from_secs(30);
/// The longest head of a request, in bytes, and the least that is gathered before it is sent.
const BUFFER: usize = 16 * 1024;
const MOST_HEADERS: usize = 64;

type Book = Rc<RefCell<Ledger<Record>>>;

/// Serves `stream` until its end, or until `stop` says so and the present answer has left.
pub(crate) async fn serve(
    stream: TcpStream,
    address: IpAddr,
    site: Rc<Site>,
    mut stop: watch::Receiver<bool>,
) {
    let book = Book::default();
    // Whether a request has begun to arrive and is not whole: a client that only stays connected drops nothing.
    let asking = Rc::new(Cell::new(false));
    let io = Metered {
        io: TokioIo::new(stream),
        asking: Rc::clone(&asking),
        book: Rc::clone(&book),
        site: Rc::clone(&site),
        stall: Box::pin(sleep(STALL_TIME)),
        stalled: false,
    };
    let service = service_fn(|request: Request<Incoming>| {
        let started = Instant::now();
        asking.set(false);
        let answer = answer(&site, &request);
        let record = Record {
            method: request.method().as_str().chars().take(16).collect(),
            path: printable(request.uri()),
            status: answer.response.status(),
            reason: answer.reason,
            mac: answer.target.and_then(|target| target.mac()),
            address,
            started,
        };
        book.borrow_mut().expect(record, answer.length);
        std::future::ready(Ok::<_, Infallible>(answer.response))
    });
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIME)
            .max_buf_size(BUFFER)
            .max_headers(MOST_HEADERS)
            .serve_connection(io, service)
    );
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        _ = stop.wait_for(|stop| *stop) => {
            connection.as_mut().graceful_shutdown();
            connection.as_mut().await
        }
    };
    for sent in book.borrow_mut().close() {
        site.tell(sent);
    }
    if let Err(error) = ended {
        if error.is_parse() {
            site.dropped("a request that is no HTTP/1.1", address);
        } else if error.is_timeout() && asking.get() {
            site.dropped("a request that did not arrive in time", address);
        }
    }
}

/// The target for an event: printable, since hyper takes nothing else, and not longer than a line.
fn printable(target: &hyper::Uri) -> String {
    let text = target.path_and_query().map_or("*", |target| target.as_str());
    text.chars().filter(|letter| !letter.is_control()).take(256).collect()
}

/// A stream that notes what leaves, and gives up on a client that takes nothing.
struct Metered {
    io: TokioIo<TcpStream>,
    asking: Rc<Cell<bool>>,
    book: Book,
    site: Rc<Site>,
    stall: Pin<Box<Sleep>>,
    stalled: bool,
}

impl Metered {
    fn watch(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            self.stalled = false;
            return written;
        }
        if !self.stalled {
            self.stalled = true;
            self.stall.as_mut().reset(tokio::time::Instant::now() + STALL_TIME);
        }
        ready!(self.stall.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    fn note<'a>(&self, mut count: usize, pieces: impl Iterator<Item = &'a [u8]>) {
        for piece in pieces {
            let (gone, _) = piece.split_at(count.min(piece.len()));
            count -= gone.len();
            // Told one by one: telling must not find the book open.
            let complete = self.book.borrow_mut().wrote(gone);
            complete.into_iter().for_each(|sent| self.site.tell(sent));
        }
    }
}

impl Read for Metered {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let read = ready!(Pin::new(&mut self.io).poll_read(context, buffer));
        self.asking.set(true);
        Poll::Ready(read)
    }
}

impl Write for Metered {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(context, bytes);
        let count = ready!(self.watch(context, written))?;
        self.note(count, std::iter::once(bytes));
        Poll::Ready(Ok(count))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write_vectored(context, pieces);
        let count = ready!(self.watch(context, written))?;
        self.note(count, pieces.iter().map(|piece| &**piece));
        Poll::Ready(Ok(count))
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}
