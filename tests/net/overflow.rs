//! More requests than the kernel has room for: what nobody could look at is counted and told.

use std::net::UdpSocket;

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::{
    hostile::{answers_a_discover, discover},
    stage::{LAB, Stage},
};

/// Far more than fit.
const REQUESTS: u32 = 60_000;

pub(crate) fn told() -> Result<()> {
    let stage = Stage::set(LAB)?;
    stage.cable.fixed_client_address()?;
    let mut server = stage.dhcpd()?;
    let socket = UdpSocket::bind("10.77.0.50:68").context("could not open the client's port")?;
    socket.set_broadcast(true)?;
    answers_a_discover(&socket, &server)?;

    // As long as a machine is busy with something else, nobody takes what comes.
    let process = Pid::from_raw(server.pid().cast_signed()).context("the server has no number")?;
    kill_process(process, Signal::STOP).context("could not hold the server up")?;
    for number in 0..REQUESTS {
        let [_, high, middle, low] = number.to_be_bytes();
        socket.send_to(&discover([0x52, 0x54, 0xee, high, middle, low]), "255.255.255.255:67")?;
    }
    kill_process(process, Signal::CONT).context("could not let the server go on")?;
    let overflow = |event: &Value| event["stage"] == "drop" && event["kind"] == "overflow";
    server.event("a word of what there was no room for", overflow)?;
    answers_a_discover(&socket, &server)?;
    let times = |event: &Value| event["times"].as_u64().unwrap_or(1);
    let told: u64 = server.events(overflow).iter().map(times).sum();
    println!("{told} of {REQUESTS} requests there was no room for");
    ensure!((1..=u64::from(REQUESTS)).contains(&told), "{told} were dropped of {REQUESTS}");
    server.must_be_alive()
}
