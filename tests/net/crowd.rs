//! HTTP with more clients than a rack has, most of them up to no good; and a server that is started anew beneath its
//! clients.

use std::{
    fs,
    io::{self, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    os::{fd::AsRawFd as _, unix::process::CommandExt as _},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use pilotlight_tests::{
    daemon::PATIENCE,
    process::{end_with_this_thread, wait},
    surroundings,
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::{
    stage::{LAB, Stage},
    web::{Talk, download},
};

const SERVER: &str = "10.77.0.1:80";
const IDLE: usize = 5_000;
const SLOW: usize = 100;
const MEBIBYTE: usize = 1 << 20;
const LARGE: usize = 200 * MEBIBYTE;

/// Thousands of connections that say nothing, hundreds that never finish a request or take a file at 10 kB/s: together they
/// cost the server little memory and the others little time.
pub(crate) fn crowd() -> Result<()> {
    let wanted = IDLE as u64 + 2 * SLOW as u64 + 100;
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit })?;
    ensure!(
        limit.maximum.is_none_or(|most| most >= wanted),
        "this machine allows too few descriptors: {limit:?}"
    );
    let stage = Stage::set(LAB)?;
    stage.cable.fixed_client_address()?;
    let (mut server, root) = stage.httpd()?;
    fs::write(root.join("large"), vec![b'x'; LARGE])?;
    let alone = fastest()?;
    let before = memory(server.pid())?;
    let idle: Vec<TcpStream> = (0..IDLE)
        .map(|_| TcpStream::connect(SERVER))
        .collect::<io::Result<_>>()
        .context("idle connections")?;
    // Each has been taken when the last one is answered.
    ensure!(Talk::to(SERVER)?.get("/healthz", "")?.status == 200, "no answer beside idle connections");
    let each = (memory(server.pid())?.saturating_sub(before)) / IDLE as u64;
    let nuisance = Nuisance::begin()?;
    let together = fastest()?;
    let slow = memory(server.pid())?;
    println!(
        "{IDLE} idle connections: {each} bytes each; with {SLOW} slow readers and {SLOW} unfinished requests {} KiB in all",
        slow / 1024
    );
    println!(
        "{LARGE} bytes alone in {:.2} s, beside them in {:.2} s",
        alone.as_secs_f64(),
        together.as_secs_f64()
    );
    ensure!(each < 1_500, "an idle connection costs {each} bytes");
    ensure!(slow < 24 * MEBIBYTE as u64, "slow readers are buffered for: {slow} bytes");
    ensure!(together < alone * 4 + Duration::from_secs(1), "slow readers hold up a fast one");
    let (taken, refused) = nuisance.end()?;
    ensure!(taken > 0 && refused == 0, "slow readers got {taken} bytes, {refused} were refused");
    // Of those that were idle all this time, each can still be used.
    for mut stream in idle.into_iter().step_by(500) {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: lab\r\n\r\n")?;
        ensure!(stream.read(&mut [0; 100])? > 0, "an idle connection was given up");
    }
    server.event("requests that never come", |event| {
        event["reason"] == "a request that did not arrive in time" && event["outcome"] == "dropped"
    })?;
    server.must_be_alive()
}

fn fastest() -> Result<Duration> {
    let tries: Vec<Duration> = (0..3).map(|_| download("/assets/large", LARGE)).collect::<Result<_>>()?;
    tries.into_iter().min().context("no download")
}

/// The memory of a process in bytes (PSS).
fn memory(pid: u32) -> Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:")).context("no Pss")?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kib * 1024)
}

/// Slow readers and slow writers, in a thread of their own until it is told to end.
struct Nuisance {
    over: Arc<AtomicBool>,
    thread: thread::JoinHandle<io::Result<(usize, usize)>>,
}

impl Nuisance {
    fn begin() -> Result<Self> {
        let mut readers = Vec::new();
        for _ in 0..SLOW {
            let mut stream = TcpStream::connect(SERVER)?;
            stream.write_all(b"GET /assets/large HTTP/1.1\r\nHost: lab\r\n\r\n")?;
            stream.set_nonblocking(true)?;
            readers.push(stream);
        }
        let writers: Vec<TcpStream> =
            (0..SLOW).map(|_| TcpStream::connect(SERVER)).collect::<io::Result<_>>()?;
        let over = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&over);
        let thread = thread::spawn(move || Self::go_on(readers, writers, &told));
        Ok(Self { over, thread })
    }

    fn go_on(
        mut readers: Vec<TcpStream>,
        mut writers: Vec<TcpStream>,
        over: &AtomicBool,
    ) -> io::Result<(usize, usize)> {
        let (mut taken, mut refused, mut buffer) = (0, 0, [0; 1_000]);
        let request =
            b"GET /assets/large HTTP/1.1\r\nHost: lab\r\nX-Slow: ".iter().chain(std::iter::repeat(&b'x'));
        for (turn, byte) in request.enumerate() {
            for reader in &mut readers {
                match reader.read(&mut buffer) {
                    Ok(0) => refused += 1,
                    Ok(count) => taken += count,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) => return Err(error),
                }
            }
            if turn % 10 == 0 {
                // The server hangs up on these sooner or later, which is what is waited for.
                writers.retain_mut(|writer| writer.write_all(&[*byte]).is_ok());
            }
            if over.load(Ordering::Relaxed) && writers.is_empty() {
                break;
            }
            thread::sleep(Duration::from_millis(100));
        }
        Ok((taken, refused))
    }

    fn end(self) -> Result<(usize, usize)> {
        self.over.store(true, Ordering::Relaxed);
        let joined = self.thread.join().map_err(|_| anyhow::anyhow!("the slow ones broke off"))?;
        joined.context("a slow reader was cut off")
    }
}

/// The server is stopped and started anew on the same socket, as systemd does it: an answer under way leaves, and who comes
/// meanwhile waits for a moment and is answered by the next one.
pub(crate) fn restart() -> Result<()> {
    let stage = Stage::set(LAB)?;
    let root = stage.subfolder("http")?;
    fs::write(root.join("file"), vec![b'x'; 20 * MEBIBYTE])?;
    let listener = TcpListener::bind("127.0.0.1:80").context("could not listen")?;
    let mut first = activated(&stage, &listener)?;
    let mut slow = TcpStream::connect("127.0.0.1:80")?;
    slow.set_read_timeout(Some(PATIENCE))?;
    slow.write_all(b"GET /assets/file HTTP/1.1\r\nHost: lab\r\n\r\n")?;
    slow.read_exact(&mut [0; 1_000])?;
    let mut silent = TcpStream::connect("127.0.0.1:80")?;
    ensure!(Talk::to("127.0.0.1:80")?.get("/healthz", "")?.status == 200, "the first one does not answer");
    let pid = rustix::process::Pid::from_child(&first);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
    silent.set_read_timeout(Some(PATIENCE))?;
    ensure!(silent.read(&mut [0; 1])? == 0, "a silent connection holds up the end");
    let mut early = Talk::to("127.0.0.1:80")?;
    early.say("GET /healthz HTTP/1.1\nHost: lab\n\n")?;
    let mut rest = Vec::new();
    slow.read_to_end(&mut rest).context("an answer under way is cut off")?;
    ensure!(rest.len() > 20 * MEBIBYTE - 1_000, "only {} bytes came", rest.len());
    ensure!(wait(&mut first, PATIENCE)?.is_some_and(|status| status.success()), "the first one does not end");
    let start = Instant::now();
    let mut second = activated(&stage, &listener)?;
    ensure!(early.get("/healthz", "")?.status == 200, "who came meanwhile is not answered");
    println!("answered {:.2} s after the next one was started", start.elapsed().as_secs_f64());
    second.kill()?;
    wait(&mut second, PATIENCE)?;
    Ok(())
}

/// A server on `listener`, handed over as systemd does (sd_listen_fds(3)).
fn activated(stage: &Stage, listener: &TcpListener) -> Result<Child> {
    let (lab, events) = (stage.path("lab.toml"), stage.path("events.sock"));
    let mut command = Command::new("/bin/sh");
    command
        .args(["-c", "LISTEN_FDS=1 LISTEN_PID=$$ exec \"$0\" \"$@\""])
        .arg(surroundings::daemon("pilotlight-httpd")?);
    command.arg("--lab").arg(lab).arg("--events").arg(events).arg("--root").arg(stage.path("http"));
    command.stdin(Stdio::null()).stdout(Stdio::null());
    end_with_this_thread(&mut command);
    let descriptor = listener.as_raw_fd();
    let hand_over = move || {
        // SAFETY: the descriptor is open in the parent, whose table this process has a copy of.
        let listener = unsafe { std::os::fd::BorrowedFd::borrow_raw(descriptor) };
        if descriptor == 3 {
            // It is to outlive exec.
            return Ok(rustix::io::fcntl_setfd(listener, rustix::io::FdFlags::empty())?);
        }
        // SAFETY: whatever the number 3 was in this copy of the table, nobody here uses it any more.
        let mut third = std::mem::ManuallyDrop::new(unsafe { std::os::fd::FromRawFd::from_raw_fd(3) });
        rustix::io::dup2(listener, &mut third)?;
        Ok(())
    };
    // SAFETY: between fork and exec one system call is made and nothing else.
    unsafe { command.pre_exec(hand_over) };
    command.spawn().context("could not start the server")
}
