//! Whole transfers over a simulated wire that loses, doubles, delays and reorders, against a client of our own
//! after RFC 1350 and RFC 7440. No clock and no socket: a seed decides everything, and a failure prints it.

use std::{cmp::Reverse, collections::BinaryHeap, time::Duration};

use pilotlight_tftp::{Asked, Blocks, FromClient, Step, Terms, Transfer};

/// SplitMix64: enough for a wire.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    fn percent(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Packet {
    Oack,
    Data(u16, Vec<u8>),
    Ack(u16),
}

/// How the wire and the client behave.
#[derive(Debug, Clone)]
struct World {
    seed: u64,
    length: usize,
    block: u16,
    window: Option<u16>,
    loss: u64,
    double: u64,
    delay_us: u64,
    jitter_us: u64,
    /// Acknowledges every block that is not the next one, where RFC 7440 wants that once.
    chatty: bool,
    /// Stays to repeat its last acknowledgement.
    dallies: bool,
    client_wait: Duration,
    netascii: bool,
}

impl World {
    fn from(seed: u64) -> Self {
        let mut dice = Dice(seed);
        let windowed = dice.percent(70);
        Self {
            seed,
            length: dice.below(2000) as usize,
            block: 8 + dice.below(30) as u16,
            window: windowed.then(|| 1 + dice.below(40) as u16),
            loss: dice.below(10),
            double: dice.below(10),
            delay_us: 50 + dice.below(20_000),
            jitter_us: if dice.percent(50) { dice.below(5_000) } else { 0 },
            chatty: dice.percent(30),
            dallies: dice.percent(70),
            client_wait: Duration::from_millis(500 + dice.below(3000)),
            netascii: dice.percent(20),
        }
    }
}

/// The client of RFC 7440: acknowledges a full window, the last block, a gap, and silence.
struct Client {
    window: u64,
    block: usize,
    chatty: bool,
    got: Vec<u8>,
    next: u64,
    since_ack: u64,
    gap_told: bool,
    last_ack: Option<u16>,
    done: bool,
}

impl Client {
    fn on_packet(&mut self, packet: Packet) -> Option<u16> {
        let (number, data) = match packet {
            Packet::Oack if self.next == 1 => return self.ack(),
            Packet::Oack | Packet::Ack(_) => return None,
            Packet::Data(number, data) => (number, data),
        };
        if self.done {
            return self.ack();
        }
        if number != self.next as u16 {
            let old = (self.next as u16).wrapping_sub(number) <= 64;
            // The last block again, and nothing since: its acknowledgement was lost.
            let repeated = old && self.since_ack == 0 && number == (self.next - 1) as u16;
            let gap = !old && !std::mem::replace(&mut self.gap_told, true);
            return (self.chatty || repeated || gap).then(|| self.ack()).flatten();
        }
        self.gap_told = false;
        self.done = data.len() < self.block;
        self.got.extend(data);
        self.next += 1;
        self.since_ack += 1;
        (self.done || self.since_ack >= self.window).then(|| self.ack()).flatten()
    }

    fn ack(&mut self) -> Option<u16> {
        self.since_ack = 0;
        self.last_ack = Some((self.next - 1) as u16);
        self.last_ack
    }
}

#[derive(Debug, Default)]
struct Outcome {
    blocks: u64,
    data_packets: u64,
    time: Duration,
}

struct Scene {
    world: World,
    dice: Dice,
    now: Duration,
    queue: BinaryHeap<Reverse<(Duration, u64, bool, Packet)>>,
    order: u64,
    data_packets: u64,
}

impl Scene {
    fn send(&mut self, to_client: bool, packet: Packet) {
        self.data_packets += u64::from(matches!(packet, Packet::Data(..)));
        let copies = 1 + u64::from(self.dice.percent(self.world.double));
        for _ in 0..copies {
            if self.dice.percent(self.world.loss) {
                continue;
            }
            let delay = self.world.delay_us + self.dice.below(self.world.jitter_us);
            // Without jitter packets stay in order, and each takes its time on the wire.
            self.order += 1;
            let at = self.now + Duration::from_micros(delay);
            self.queue.push(Reverse((at, self.order, to_client, packet.clone())));
        }
    }
}

/// Plays one transfer to its end and checks what arrived.
fn play(world: &World) -> Outcome {
    let mut dice = Dice(world.seed ^ 0xc0ffee);
    let content: Vec<u8> =
        (0..world.length).map(|_| b"\r\n.,:;abcdefghij\0\xff"[dice.below(18) as usize]).collect();
    let asked = Asked { blksize: Some(world.block), windowsize: world.window, ..Asked::default() };
    let mut blocks = match world.netascii {
        true => Blocks::netascii(content.clone()),
        false => Blocks::octet(content.clone(), content.len() as u64),
    };
    let terms = Terms::agree(&asked, blocks.length(), 0);
    let size = usize::from(world.block);
    let mut client = Client {
        window: terms.window.into(),
        block: size,
        chatty: world.chatty,
        got: Vec::new(),
        next: 1,
        since_ack: 0,
        gap_told: false,
        last_ack: None,
        done: false,
    };
    let mut scene = Scene {
        world: world.clone(),
        dice,
        now: Duration::ZERO,
        queue: BinaryHeap::new(),
        order: 0,
        data_packets: 0,
    };
    let (mut transfer, mut step) = Transfer::start(&terms, blocks.length(), scene.now);
    let mut client_timer = scene.now + world.client_wait;
    loop {
        match std::mem::replace(&mut step, Step::Wait) {
            Step::Wait => {}
            Step::Oack => scene.send(true, Packet::Oack),
            Step::Blocks(range) => {
                for number in range {
                    let mut block = vec![0; size];
                    let length = blocks.read(number, &mut block).expect("memory can be read");
                    block.truncate(length);
                    scene.send(true, Packet::Data(number as u16, block));
                    if length < size {
                        transfer.ends_with(number);
                        break;
                    }
                }
            }
            Step::Finished => break,
            // Nothing was ever heard: a firmware asks again when its own time is up.
            Step::GaveUp if client.last_ack.is_none() => {
                scene.now = scene.now.max(client_timer);
                client_timer = scene.now + world.client_wait;
                (transfer, step) = Transfer::start(&terms, blocks.length(), scene.now);
                continue;
            }
            Step::GaveUp => {
                assert!(client.done, "gave up on a client that waits, at {:?}", transfer.progress());
                assert!(!world.dallies, "gave up on a client that repeats its last acknowledgement");
                break;
            }
            Step::Stopped { .. } => panic!("nobody stopped"),
        }
        let left = client.done && !world.dallies;
        let arrival = scene.queue.peek().map(|Reverse((at, ..))| *at);
        let timers = [Some(transfer.deadline()), Some(client_timer).filter(|_| !client.done)];
        let Some(next) = timers.into_iter().flatten().chain(arrival).min() else { break };
        scene.now = scene.now.max(next);
        if arrival == Some(next) {
            let Some(Reverse((_, _, to_client, packet))) = scene.queue.pop() else { break };
            if !to_client {
                let Packet::Ack(number) = packet else { panic!("clients only acknowledge") };
                step = transfer.on_packet(FromClient::Ack(number), scene.now);
            } else if !left {
                let before = client.next;
                let reply = client.on_packet(packet);
                // Only what is new puts off the client's own repetition.
                if client.next > before {
                    client_timer = scene.now + world.client_wait;
                }
                if let Some(number) = reply {
                    scene.send(false, Packet::Ack(number));
                }
            }
        } else if next == transfer.deadline() {
            step = transfer.on_timer(scene.now);
        } else {
            client_timer = scene.now + world.client_wait;
            client.gap_told = false;
            if let Some(number) = client.last_ack {
                scene.send(false, Packet::Ack(number));
            }
        }
    }
    assert!(client.done, "finished before the client was done");
    let expect: Vec<u8> = match world.netascii {
        true => content
            .iter()
            .flat_map(|byte| match byte {
                b'\n' => b"\r\n".to_vec(),
                b'\r' => b"\r\0".to_vec(),
                byte => vec![*byte],
            })
            .collect(),
        false => content,
    };
    assert!(client.got == expect, "what arrived differs");
    Outcome { blocks: client.next - 1, data_packets: scene.data_packets, time: scene.now }
}

fn check(world: World, expect: impl Fn(&Outcome) -> bool) {
    let outcome = std::panic::catch_unwind(|| play(&world)).unwrap_or_else(|_| panic!("failed: {world:?}"));
    assert!(expect(&outcome), "{outcome:?} in {world:?}");
}

#[test]
fn every_file_arrives_whole_over_a_bad_wire() {
    for seed in 0..4000 {
        check(World::from(seed), |_| true);
    }
}

#[test]
fn a_good_wire_sees_every_block_once() {
    for seed in 0..1000 {
        let world = World { loss: 0, double: 0, jitter_us: 0, ..World::from(seed) };
        check(world, |outcome| outcome.data_packets == outcome.blocks);
    }
}

#[test]
fn doubled_packets_never_double_the_traffic() {
    // The sorcerer's apprentice: every acknowledgement comes twice, and so does every block.
    for seed in 0..1000 {
        let world = World { loss: 0, double: 100, jitter_us: 0, chatty: false, ..World::from(seed) };
        check(world, |outcome| outcome.data_packets == outcome.blocks);
    }
}

#[test]
fn loss_costs_little_more_than_what_was_lost() {
    for window in [None, Some(4), Some(16)] {
        let (mut blocks, mut packets) = (0, 0);
        for seed in 0..200 {
            let world =
                World { loss: 5, double: 0, jitter_us: 0, length: 20_000, window, ..World::from(seed) };
            check(World { block: 20, ..world.clone() }, |_| true);
            let outcome = play(&World { block: 20, ..world });
            blocks += outcome.blocks;
            packets += outcome.data_packets;
        }
        let most = if window.is_none() { 120 } else { 200 };
        assert!(
            packets * 100 < blocks * most,
            "{packets} packets for {blocks} blocks in windows of {window:?}"
        );
    }
}

#[test]
fn block_numbers_roll_over_on_a_bad_wire() {
    for (seed, window) in [(1, None), (2, Some(16)), (3, Some(64))] {
        let world =
            World { length: 8 * 140_000 + 3, block: 8, loss: 1, netascii: false, ..World::from(seed) };
        check(World { window, ..world }, |outcome| outcome.blocks == 140_001);
    }
}

#[test]
fn five_percent_loss_on_a_quick_wire_takes_seconds() {
    for (block, window) in [(512, None), (1408, None), (1468, Some(4))] {
        let world = World {
            seed: 7,
            length: 2 << 20,
            block,
            window,
            loss: 5,
            double: 0,
            delay_us: 500,
            jitter_us: 0,
            chatty: false,
            dallies: true,
            client_wait: Duration::from_secs(5),
            netascii: false,
        };
        // Simulated time: the same on every machine.
        check(world, |outcome| outcome.time < Duration::from_secs(75));
    }
}
