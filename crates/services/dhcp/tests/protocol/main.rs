//! The server as its clients see it: packets in, packets out, and a clock that is only a number.

mod common;
mod conflicts;
mod decisions;
mod exactness;
mod exchange;
mod options;
mod proxy;
mod recognise;
mod relay;
mod roms;
