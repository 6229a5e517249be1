//! The hub with guests that are threads of the test.

use std::time::Duration;

use super::*;

/// Long enough for any machine; nothing waits for it unless something is wrong.
const PATIENCE: Duration = Duration::from_secs(60);

struct Lab {
    hub: Hub,
    folder: tempfile::TempDir,
}

fn lab() -> Lab {
    let folder = tempfile::tempdir().unwrap();
    let hub = Hub::start(&folder.path().join("hub"), Some(&folder.path().join("wire.pcap"))).unwrap();
    Lab { hub, folder }
}

impl Lab {
    fn guests<const N: usize>(&self) -> [UnixStream; N] {
        let guests = [(); N].map(|()| {
            let guest = UnixStream::connect(self.hub.path()).unwrap();
            guest.set_read_timeout(Some(PATIENCE)).unwrap();
            guest
        });
        self.until(|counters| counters.ports >= N as u64);
        guests
    }

    fn until(&self, condition: impl Fn(Counters) -> bool) {
        for _ in 0..PATIENCE.as_millis() {
            if condition(self.hub.counters()) {
                return;
            }
            thread::sleep(Duration::from_millis(1));
        }
        panic!("never came: {:?}", self.hub.counters());
    }
}

/// A frame that is full of one byte. An odd one makes a group address of it, which all others get.
fn frame(content: u8, length: usize) -> Vec<u8> {
    let mut packed = (length as u32).to_be_bytes().to_vec();
    packed.resize(4 + length, content);
    packed
}

fn receive(guest: &mut UnixStream) -> (u8, usize) {
    let mut length = [0; 4];
    guest.read_exact(&mut length).unwrap();
    let mut content = vec![0; u32::from_be_bytes(length) as usize];
    guest.read_exact(&mut content).unwrap();
    (content[0], content.len())
}

#[test]
fn what_one_sends_all_others_get() {
    let lab = lab();
    let [mut first, mut second, mut third] = lab.guests();
    first.write_all(&frame(1, 60)).unwrap();
    second.write_all(&frame(3, LONGEST_FRAME)).unwrap();
    lab.until(|counters| counters.frames == 2);
    assert_eq!(receive(&mut first), (3, LONGEST_FRAME));
    assert_eq!(receive(&mut second), (1, 60));
    let mut both = [receive(&mut third), receive(&mut third)];
    both.sort_unstable();
    assert_eq!(both, [(1, 60), (3, LONGEST_FRAME)]);
    lab.hub.flush().unwrap();
    let recorded = fs::read(lab.folder.path().join("wire.pcap")).unwrap();
    assert_eq!(recorded.len(), 24 + 2 * 16 + 60 + LONGEST_FRAME);
}

#[test]
fn what_is_for_somebody_known_nobody_else_gets() {
    let lab = lab();
    let [mut first, mut second, mut third] = lab.guests();
    let between = |to: u8, from: u8, content: u8| {
        let mut packed = frame(content, 60);
        packed[4..10].copy_from_slice(&[to, 0, 0, 0, 0, 0]);
        packed[10..16].copy_from_slice(&[from, 0, 0, 0, 0, 0]);
        packed
    };
    let say = |guest: &mut UnixStream, packed: Vec<u8>| {
        let before = lab.hub.counters().frames;
        guest.write_all(&packed).unwrap();
        lab.until(|counters| counters.frames == before + 1);
    };
    say(&mut first, between(0x20, 0x10, 1)); // Nobody knows 20 yet.
    say(&mut second, between(0x10, 0x20, 2)); // 10 was heard.
    say(&mut first, between(0x20, 0x10, 3));
    say(&mut third, between(0x20, 0x10, 4)); // 10 has moved.
    say(&mut second, between(0x10, 0x20, 5));
    say(&mut first, frame(0xff, 60));
    assert_eq!([(); 1].map(|()| receive(&mut first).0), [0x10]);
    assert_eq!([(); 4].map(|()| receive(&mut second).0), [0x20, 0x20, 0x20, 0xff]);
    assert_eq!([(); 3].map(|()| receive(&mut third).0), [0x20, 0x10, 0xff]);
}

#[test]
fn a_guest_that_does_not_read_loses_frames_and_stalls_nobody() {
    let lab = lab();
    let [mut sender, mut reader, _deaf] = lab.guests();
    // The kernel's own buffer takes some frames as well before the queue fills.
    for _ in 0..QUEUE_FRAMES + 2000 {
        sender.write_all(&frame(7, 1500)).unwrap();
        assert_eq!(receive(&mut reader), (7, 1500));
    }
    lab.until(|counters| counters.overrun > 0);
}

#[test]
fn what_is_no_frame_ends_its_connection_alone() {
    let lab = lab();
    let [mut good, mut other] = lab.guests();
    for (number, hostile) in [0_u32, u32::MAX, LONGEST_FRAME as u32 + 1, 0x4745_5420].into_iter().enumerate()
    {
        let mut guest = UnixStream::connect(lab.hub.path()).unwrap();
        guest.set_read_timeout(Some(PATIENCE)).unwrap();
        guest.write_all(&hostile.to_be_bytes()).unwrap();
        assert_eq!(guest.read(&mut [0]).unwrap(), 0, "{hostile:#x} was not hung up on");
        lab.until(|counters| counters.hostile == number as u64 + 1);
    }
    let mut cut_off = UnixStream::connect(lab.hub.path()).unwrap();
    cut_off.write_all(&frame(1, 60)[..30]).unwrap();
    drop(cut_off);
    good.write_all(&frame(1, 13)).unwrap();
    good.write_all(&frame(9, 60)).unwrap();
    assert_eq!(receive(&mut other), (9, 60), "too short a frame was passed on");
}

#[test]
fn faults_lose_double_and_reorder() {
    let lab = lab();
    let [mut sender, mut receiver] = lab.guests();
    for (faults, expected) in [
        (Faults { lost: 1000, ..Faults::default() }, vec![]),
        (Faults { doubled: 1000, ..Faults::default() }, vec![1, 1, 3, 3]),
    ] {
        lab.hub.set_faults(Some(faults));
        let before = lab.hub.counters().frames;
        for content in [1, 3] {
            sender.write_all(&frame(content, 60)).unwrap();
        }
        lab.until(|counters| counters.frames == before + 2);
        let got: Vec<u8> = expected.iter().map(|_| receive(&mut receiver).0).collect();
        assert_eq!(got, expected);
    }
    lab.hub.set_faults(Some(Faults { late: 1000, ..Faults::default() }));
    sender.write_all(&frame(1, 60)).unwrap();
    lab.until(|counters| counters.faults == 5);
    lab.hub.set_faults(None);
    for content in [3, 5, 7, 9] {
        sender.write_all(&frame(content, 60)).unwrap();
    }
    let got: Vec<u8> = (0..5).map(|_| receive(&mut receiver).0).collect();
    assert_eq!(got, [3, 5, 7, 9, 1]);
}

#[test]
fn a_closed_hub_leaves_no_socket_and_hangs_up() {
    let lab = lab();
    let [mut guest] = lab.guests();
    let path = lab.hub.path().to_owned();
    drop(lab.hub);
    assert!(!path.exists());
    assert_eq!(guest.read(&mut [0]).unwrap(), 0);
}
