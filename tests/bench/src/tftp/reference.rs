//! The floor: a server that answers from memory and does nothing else. It serves one client at a time, asks no
//! clock, opens no file for a request and never sends anything again.

use std::{
    fs,
    net::{SocketAddr, UdpSocket},
    path::Path,
};

use anyhow::{Context as _, Result};
use pilotlight_tftp::{
    Request, Terms,
    packet::{DATA_HEADER, data_header},
};

/// Serves `file` under whatever name it is asked for, until it is ended.
pub(crate) fn serve(address: SocketAddr, file: &Path) -> Result<()> {
    let content = fs::read(file).with_context(|| format!("could not read {}", file.display()))?;
    let port = UdpSocket::bind(address).with_context(|| format!("could not listen on {address}"))?;
    let mut buffer = vec![0; 65536];
    loop {
        let (length, client) = port.recv_from(&mut buffer)?;
        let Ok(request) = Request::parse(&buffer[..length]) else { continue };
        let terms = Terms::agree(&request.options, Some(content.len() as u64), 0);
        let socket = UdpSocket::bind((address.ip(), 0)).context("could not open a port")?;
        socket.connect(client)?;
        // A client that went away shows as an error of the socket: on to the next one.
        let _ = transfer(&socket, &content, &terms, &mut buffer);
    }
}

fn transfer(socket: &UdpSocket, content: &[u8], terms: &Terms, buffer: &mut [u8]) -> std::io::Result<()> {
    let size = usize::from(terms.block_size);
    let last = content.len() / size + 1;
    let mut answer = [0; 64];
    if let Some(oack) = &terms.oack {
        socket.send(oack)?;
        socket.recv(&mut answer)?;
    }
    let mut acked = 0;
    while acked < last {
        let sent = last.min(acked + usize::from(terms.window));
        for number in acked + 1..=sent {
            let block = content.get((number - 1) * size..).unwrap_or_default();
            let block = &block[..block.len().min(size)];
            buffer[..DATA_HEADER].copy_from_slice(&data_header(number as u16));
            buffer[DATA_HEADER..DATA_HEADER + block.len()].copy_from_slice(block);
            socket.send(&buffer[..DATA_HEADER + block.len()])?;
        }
        let length = socket.recv(&mut answer)?;
        if let [0, 4, high, low] = answer[..length] {
            acked += usize::from(u16::from_be_bytes([high, low]).wrapping_sub(acked as u16));
        }
    }
    Ok(())
}
