//! What no client would send: the daemons count it, name it, and go on answering.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream, UdpSocket},
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use pilotlight_emulator::fault::Random;
use pilotlight_tests::daemon::{Daemon, PATIENCE};
use serde_json::Value;

use crate::stage::{LAB, Stage};

/// A well-formed DISCOVER of 300 bytes from `mac`, broadcast wanted: what the hostile ones are made from, and
/// what must still be answered afterwards.
pub(crate) fn discover(mac: [u8; 6]) -> Vec<u8> {
    let mut packet = vec![0; 236];
    packet[..4].copy_from_slice(&[1, 1, 6, 0]);
    packet[4..8].copy_from_slice(b"PLTE");
    packet[10] = 0x80;
    packet[28..34].copy_from_slice(&mac);
    packet.extend([99, 130, 83, 99, 53, 1, 1, 55, 2, 1, 3, 255]);
    packet.resize(300, 0);
    packet
}

/// Packets made from a good one: cut at every length, and with single bytes replaced.
fn mutations(good: &[u8], random: &mut Random) -> Vec<Vec<u8>> {
    let mut packets: Vec<Vec<u8>> = (0..good.len()).map(|length| good[..length].to_vec()).collect();
    for _ in 0..1000 {
        let mut packet = good.to_vec();
        for _ in 0..=random.below(4) {
            let at = random.below(packet.len() as u64) as usize;
            packet[at] = random.next_u64() as u8;
        }
        packets.push(packet);
    }
    packets
}

fn noise(random: &mut Random, count: usize, longest: u64) -> Vec<Vec<u8>> {
    let lengths: Vec<usize> = (0..count).map(|_| random.below(longest) as usize).collect();
    lengths.into_iter().map(|length| random.bytes(length)).collect()
}

fn dropped(service: &str) -> impl Fn(&Value) -> bool {
    move |event| event["service"] == service && event["outcome"] == "dropped" && event["reason"].is_string()
}

pub(crate) fn dhcp() -> Result<()> {
    let stage = Stage::set(LAB)?;
    stage.cable.fixed_client_address()?;
    let mut server = stage.dhcpd()?;
    let mut random = Random::new(67);
    let good = discover([0x52, 0x54, 0, 0, 0, 0x21]);
    let mut packets = mutations(&good, &mut random);
    packets.extend(noise(&mut random, 500, 2000));
    // A hardware address said to be longer than its field.
    for length in [7, 16, 17, 255] {
        let mut packet = good.clone();
        packet[2] = length;
        packets.push(packet);
    }
    // Options that say they are longer than the packet, and one of each number with nothing in it.
    for option in 0..=255 {
        packets.push([&good[..240], &[option, 255, 1], &[0; 57]].concat());
        packets.push([&good[..243], &[option, 0, 255], &[0; 57]].concat());
    }
    packets.push([&good[..], &random.bytes(60_000)].concat());
    let socket = UdpSocket::bind("10.77.0.50:68").context("could not open the client's port")?;
    socket.set_broadcast(true)?;
    for (number, packet) in packets.iter().enumerate() {
        let to = if number % 2 == 0 { "255.255.255.255:67" } else { "10.77.0.1:67" };
        // The kernel may refuse what is longer than a datagram can be on this path; then nothing was sent.
        let _ = socket.send_to(packet, to);
        if number % 64 == 0 {
            server.must_be_alive()?;
        }
    }
    server.event("a counted drop", dropped("dhcp"))?;
    println!("{} packets, {} drops reported", packets.len(), server.events(dropped("dhcp")).len());
    answers_a_discover(&socket, &server)?;
    server.must_be_alive()
}

/// Sends a DISCOVER until an OFFER comes: the socket's queue may have been full of rubbish.
pub(crate) fn answers_a_discover(socket: &UdpSocket, server: &Daemon) -> Result<()> {
    let ours = [0x52, 0x54, 0, 0, 0, 0x22];
    let offered = |event: &Value| event["stage"] == "offer" && event["mac"] == "52:54:00:00:00:22";
    for _ in 0..PATIENCE.as_secs() * 2 {
        socket.send_to(&discover(ours), "255.255.255.255:67")?;
        std::thread::sleep(Duration::from_millis(500));
        if !server.events(offered).is_empty() {
            return Ok(());
        }
    }
    bail!("a good DISCOVER is not answered any more")
}

pub(crate) fn tftp() -> Result<()> {
    let stage = Stage::set(LAB)?;
    stage.cable.fixed_client_address()?;
    std::fs::write(stage.path("secret"), "beside the root")?;
    let (mut server, root) = stage.tftpd()?;
    std::fs::write(root.join("file"), b"content")?;
    std::os::unix::fs::symlink("../secret", root.join("link"))?;
    let mut random = Random::new(69);
    let good = b"\0\x01file\0octet\0blksize\x001408\0tsize\x000\0windowsize\x0016\0timeout\x001\0";
    let mut packets = mutations(good, &mut random);
    packets.extend(noise(&mut random, 500, 1500));
    packets.push([&b"\0\x01"[..], &[b'a'; 60_000], b"\0octet\0"].concat());
    packets.push([&good[..], &b"x\0y\0".repeat(10_000)].concat());
    for (number, packet) in packets.iter().enumerate() {
        // A socket for each: an answer to one must not be taken for the next one's.
        let socket = UdpSocket::bind("10.77.0.50:0").context("could not open a port")?;
        let _ = socket.send_to(packet, "10.77.0.1:69");
        if number % 64 == 0 {
            server.must_be_alive()?;
        }
    }
    for name in
        ["../secret", "/../secret", "a/../../secret", "link", "/etc/passwd", "./../secret", "..\\secret", ""]
    {
        let answer = request(name)?;
        ensure!(answer.starts_with(&[0, 5]), "{name:?} is answered with {answer:?}");
    }
    server.event("a counted drop", dropped("tftp"))?;
    println!("{} packets, {} drops reported", packets.len(), server.events(dropped("tftp")).len());
    let answer = request("/file")?;
    ensure!(answer == b"\0\x03\0\x01content", "a good request is answered with {answer:?}");
    server.must_be_alive()
}

/// Asks for a file and gives the first answer.
fn request(name: &str) -> Result<Vec<u8>> {
    let socket = UdpSocket::bind("10.77.0.50:0").context("could not open a port")?;
    socket.set_read_timeout(Some(Duration::from_secs(2)))?;
    let packet = [b"\0\x01", name.as_bytes(), b"\0octet\0"].concat();
    let mut buffer = [0; 2048];
    for _ in 0..PATIENCE.as_secs() / 2 {
        socket.send_to(&packet, "10.77.0.1:69")?;
        match socket.recv_from(&mut buffer) {
            // The transfers that the rubbish began have to run out first.
            Ok((length, _)) if buffer[..length].starts_with(b"\0\x05\0\0too many transfers") => {
                std::thread::sleep(Duration::from_secs(2));
            }
            Ok((length, _)) => return Ok(buffer[..length].to_vec()),
            Err(_) => {}
        }
    }
    bail!("a request for {name:?} is not answered")
}

pub(crate) fn http() -> Result<()> {
    let stage = Stage::set(LAB)?;
    stage.cable.fixed_client_address()?;
    std::fs::write(stage.path("secret"), "beside the root")?;
    let (mut server, root) = stage.httpd()?;
    std::fs::write(root.join("file"), b"content")?;
    std::os::unix::fs::symlink("../secret", root.join("link"))?;
    let mut random = Random::new(80);
    let good = b"GET /assets/file HTTP/1.1\r\nHost: 10.77.0.1\r\nConnection: close\r\n\r\n";
    let mut requests: Vec<Vec<u8>> = mutations(good, &mut random).into_iter().step_by(4).collect();
    requests.extend(noise(&mut random, 100, 5000));
    requests.push([&b"GET /"[..], &[b'a'; 1 << 20], b" HTTP/1.1\r\n\r\n"].concat());
    requests.push([&b"GET / HTTP/1.1\r\n"[..], &b"x: y\r\n".repeat(100_000), b"\r\n"].concat());
    requests
        .push(b"GET /assets/file HTTP/1.1\r\nHost: x\r\nRange: bytes=9999999999999999999-\r\n\r\n".to_vec());
    requests.push(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n".to_vec());
    for (number, request) in requests.iter().enumerate() {
        exchange(request, true)?;
        if number % 64 == 0 {
            server.must_be_alive()?;
        }
    }
    for path in [
        "/assets/../secret",
        "/assets/%2e%2e/secret",
        "/assets/..%2fsecret",
        "/assets//etc/passwd",
        "/assets/%2fetc/passwd",
        "/assets/link",
        "/assets/file%00",
        "/assets/%",
        "/assets/%ff",
        "/../secret",
        "/ipxe?mac=%00",
        "/ipxe?mac=../../x",
        "/node/../preseed.cfg",
        "/node/52-54-00-00-00-99/preseed.cfg",
    ] {
        let answer = get(path)?;
        ensure!(!answer.contains("beside the root") && !answer.contains("root:"), "{path} gave {answer}");
        ensure!(status(&answer) == 400 || status(&answer) == 404, "{path}: {answer}");
    }
    let answer = get("/assets/file")?;
    ensure!(
        status(&answer) == 200 && answer.ends_with("content"),
        "a good request is answered with {answer}"
    );
    server.event("a counted drop", dropped("http"))?;
    println!("{} requests, {} drops reported", requests.len(), server.events(dropped("http")).len());
    server.must_be_alive()
}

fn get(path: &str) -> Result<String> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: 10.77.0.1\r\nConnection: close\r\n\r\n");
    Ok(String::from_utf8_lossy(&exchange(request.as_bytes(), false)?).into_owned())
}

fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0)
}

/// Sends `request` on a connection of its own and gives what comes back until the other end closes. `cut` closes
/// our direction first, so that a request which never ends is seen to have ended.
fn exchange(request: &[u8], cut: bool) -> Result<Vec<u8>> {
    let server: SocketAddr = "10.77.0.1:80".parse()?;
    let mut stream = TcpStream::connect_timeout(&server, PATIENCE).context("HTTP takes no connections")?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    // The server may hang up in the middle of something this bad.
    let sent = stream.write_all(request);
    if cut {
        let _ = stream.shutdown(std::net::Shutdown::Write);
    }
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Err(fault) if fault.kind() == std::io::ErrorKind::WouldBlock => {
            bail!(
                "the server neither answers nor hangs up on {:?}",
                String::from_utf8_lossy(&request[..request.len().min(200)])
            )
        }
        _ => {}
    }
    if !cut {
        sent.context("HTTP does not take a request")?;
    }
    Ok(answer)
}
