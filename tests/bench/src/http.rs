//! HTTP: small files and a large one, beside nginx with one worker.
//!
//! Server and client share the machine, so that what a second of the server's processor time is good for says more than
//! what a second does. Both write a line for each answer: ours an event, to standard output and to `lab-state`, nginx its
//! access log as Debian's nginx.conf has it.

use std::{
    fs::{self, File},
    net::TcpStream,
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use pilotlight_tests::process::must;

use crate::{
    figures::{median, processor_time, table},
    rig::{Peer, Rig},
};

const LAB: &str = "[network]\naddress = \"10.77.0.1/24\"\n";
const SMALL: usize = 1024;
const LARGE: u64 = 256 << 20;
/// Debian's nginx.conf as far as it matters here, with one worker, in one process.
const NGINX: &str = "
daemon off;
user root;
master_process off;
worker_processes 1;
pid @/nginx.pid;
error_log stderr;
events { worker_connections 1024; }
http {
    sendfile on;
    tcp_nopush on;
    types_hash_max_size 2048;
    default_type application/octet-stream;
    access_log LOG;
    gzip on;
    client_body_temp_path @/nginx-1;
    proxy_temp_path @/nginx-2;
    fastcgi_temp_path @/nginx-3;
    uwsgi_temp_path @/nginx-4;
    scgi_temp_path @/nginx-5;
    server {
        listen 10.77.0.1:PORT;
        location /assets/ { alias @/www/; }
    }
}
";

/// What is asked, and of how many connections.
struct Load {
    file: &'static str,
    connections: u32,
    seconds: u32,
}

const LOADS: [Load; 2] =
    [Load { file: "small", connections: 64, seconds: 3 }, Load { file: "large", connections: 4, seconds: 3 }];

/// A server under measurement.
struct Subject {
    name: &'static str,
    port: u16,
    server: Peer,
    /// For each load what each round gave: requests and bytes a second, requests and bytes a second of processor time.
    rounds: [Vec<[f64; 4]>; LOADS.len()],
}

pub(crate) fn measure(rounds: u32) -> Result<()> {
    let rig = Rig::set()?;
    rig.cable.fixed_client_address()?;
    let folder = rig.folder().to_string_lossy().into_owned();
    fs::create_dir(rig.folder().join("www"))?;
    rig.file("www/small", vec![b'x'; SMALL])?;
    let large = File::create(rig.folder().join("www/large"))?;
    std::io::copy(&mut std::io::Read::take(File::open("/dev/urandom")?, LARGE), &mut &large)?;
    let lab = rig.file("lab.toml", LAB)?;
    let (lab, events) = (lab.to_string_lossy(), format!("{folder}/events.sock"));
    let _log = rig.ours("pilotlight-lab-stated", &["--events", &events, "--state", &folder])?;
    let www = format!("{folder}/www");
    let ours = rig.ours_unheard(
        "pilotlight-httpd",
        &["--lab", &lab, "--events", &events, "--root", &www, "--listen", "10.77.0.1:80"],
    )?;
    let mut subjects = vec![Subject::new("pilotlight-httpd", 80, ours)];
    for (name, port, log) in [("nginx", 81, "@/access.log"), ("nginx, access_log off", 82, "off")] {
        let text = NGINX.replace("LOG", log).replace("PORT", &port.to_string()).replace('@', &folder);
        let file = rig.file(&format!("nginx-{port}.conf"), text)?;
        let server = rig.peer("nginx", &["-e", "stderr", "-p", &folder, "-c", &file.to_string_lossy()])?;
        subjects.push(Subject::new(name, port, server));
    }
    for subject in &subjects {
        subject.wait_until_ready()?;
    }
    for _ in 0..rounds.max(1) {
        for at in 0..LOADS.len() {
            for subject in &mut subjects {
                subject.load(&rig, at)?;
            }
        }
    }
    show(&subjects);
    Ok(())
}

impl Subject {
    fn new(name: &'static str, port: u16, server: Peer) -> Self {
        Self { name, port, server, rounds: [const { Vec::new() }; LOADS.len()] }
    }

    fn wait_until_ready(&self) -> Result<()> {
        let end = Instant::now() + Duration::from_secs(30);
        while Instant::now() < end {
            if TcpStream::connect(("10.77.0.1", self.port)).is_ok() {
                return Ok(());
            }
            sleep(Duration::from_millis(50));
        }
        bail!("{} takes no connections; it said:\n{}", self.name, self.server.said())
    }

    fn load(&mut self, rig: &Rig, at: usize) -> Result<()> {
        let Load { file, connections, seconds } = LOADS[at];
        let mut wrk = rig.peers.command("wrk")?;
        wrk.args(["--threads", "1", "--connections", &connections.to_string()]);
        wrk.args(["--timeout", "60s", "--duration", &format!("{seconds}s")]);
        wrk.arg(format!("http://10.77.0.1:{}/assets/{file}", self.port));
        let before = processor_time(self.server.pid())?;
        let said = must(&mut wrk, Duration::from_secs(60))?;
        let busy = (processor_time(self.server.pid())? - before).as_secs_f64();
        let report = Report::read(&said.text).with_context(|| format!("wrk said:\n{}", said.text))?;
        if report.refused {
            bail!("{} did not answer as it should:\n{}", self.name, said.text);
        }
        let (requests, bytes) = (report.requests, report.bytes);
        self.rounds[at].push([
            requests / report.seconds,
            bytes / report.seconds,
            requests / busy,
            bytes / busy,
        ]);
        Ok(())
    }

    /// The median of a figure over all rounds.
    fn figure(&self, load: usize, figure: usize) -> f64 {
        median(self.rounds[load].iter().map(|round| round[figure]).collect())
    }
}

/// What `wrk` counted.
struct Report {
    requests: f64,
    bytes: f64,
    seconds: f64,
    refused: bool,
}

impl Report {
    /// Reads `193215 requests in 3.10s, 240.47MB read`; what `wrk` calls a megabyte is 2^20 bytes.
    fn read(text: &str) -> Option<Self> {
        let line = text.lines().map(str::trim).find(|line| line.contains(" requests in "))?;
        let (requests, rest) = line.split_once(" requests in ")?;
        let (seconds, rest) = rest.split_once("s, ")?;
        let bytes = rest.strip_suffix("B read")?;
        let (number, unit) = match bytes.find(|sign: char| sign.is_ascii_alphabetic()) {
            Some(at) => bytes.split_at(at),
            None => (bytes, ""),
        };
        let power = ["", "K", "M", "G", "T"].iter().position(|known| *known == unit)?;
        let bytes = number.parse::<f64>().ok()? * 1024f64.powi(power.try_into().ok()?);
        let refused = text.contains("Non-2xx") || text.contains("Socket errors");
        Some(Self { requests: requests.parse().ok()?, bytes, seconds: seconds.parse().ok()?, refused })
    }
}

fn show(subjects: &[Subject]) {
    let Some(ours) = subjects.first() else { return };
    for (at, load, figure, unit, scale) in [
        (0, "a file of 1 KiB, 64 connections kept", 0, "requests", 1.0),
        (1, "a file of 256 MiB in memory, 4 connections", 1, "MB", 1e6),
    ] {
        let rows: Vec<Vec<String>> = subjects
            .iter()
            .map(|subject| {
                let (rate, busy) = (subject.figure(at, figure), subject.figure(at, figure + 2));
                vec![
                    subject.name.to_owned(),
                    format!("{:.0}", rate / scale),
                    format!("{:.0}", busy / scale),
                    format!("{:.2}", ours.figure(at, figure) / rate),
                    format!("{:.2}", ours.figure(at, figure + 2) / busy),
                ]
            })
            .collect();
        let head = [
            "server",
            &format!("{unit}/s"),
            &format!("{unit}/s of its processor"),
            "ours / it",
            "ours / it, processor",
        ];
        table(&format!("HTTP, {load}: medians of {}", subjects[0].rounds[at].len()), &head, &rows);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_wrk_says_is_read() {
        let read = |text| Report::read(text).map(|report| (report.requests, report.bytes, report.seconds));
        let text = "Running\n  193215 requests in 3.10s, 1.50KB read\nRequests/sec:  1\n";
        assert_eq!(read(text), Some((193215.0, 1536.0, 3.1)));
        assert_eq!(read("  1 requests in 3.00s, 12B read"), Some((1.0, 12.0, 3.0)));
        assert_eq!(read("  1 requests in 3.00s, 2.00GB read"), Some((1.0, 2147483648.0, 3.0)));
        assert_eq!(read("nothing"), None);
    }
}
