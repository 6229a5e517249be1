//! One transfer: which blocks to send when. Knows block numbers and times, no bytes.
//!
//! The rules that matter most are about what is *not* sent: an acknowledgement of something already
//! acknowledged never makes a block go out again (RFC 1123 § 4.2.3.1, the sorcerer's apprentice). In a window
//! it can mean a gap right at the start (RFC 7440 § 4); then the timer runs out sooner, and an acknowledgement
//! that is still on its way has the time to arrive first.

use std::{ops::Range, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{packet, retry::Estimate, terms::Terms};

/// How often the same blocks are sent again before the client counts as gone: about 20 seconds on a quick
/// wire.
pub const MOST_TRIES: u32 = 8;
/// The same where nothing was ever heard: the request may have come in somebody else's name, who must not be sent much
/// for it. A firmware asks again by itself.
pub const MOST_FIRST_TRIES: u32 = 4;

/// What is to be done next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Nothing, until the next packet or [`Transfer::deadline`].
    Wait,
    /// Send the OACK of the terms.
    Oack,
    /// Send these blocks, counted from 1, in this order. The number on the wire is the low 16 bits. Where the
    /// length is not known the range may go on behind the end: stop there and say so with
    /// [`Transfer::ends_with`].
    Blocks(Range<u64>),
    /// The client has it all.
    Finished,
    /// The client has been silent for too long.
    GaveUp,
    /// The client ended it.
    Stopped {
        /// Whether this is how some clients work, rather than something that went wrong: EDK2 asks for the
        /// size, stops with error 8 and asks again; others stop with error 0 once they know the size. And whoever goes
        /// on with another transfer, because its request came twice, tells this one off with error 5.
        on_purpose: bool,
        /// The client's error code.
        code: u16,
        /// The client's words.
        message: String,
    },
}

/// How far a transfer is: all that another process has to know to go on with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Everything up to this block has arrived, in order.
    pub acked: u64,
    /// The last block of the present window.
    pub sent: u64,
    /// Whether the OACK is out and its ACK is not in.
    pub oack: bool,
    /// Whether the client has answered at all.
    pub answered: bool,
    /// How many packets were sent more than once.
    pub repeated: u64,
}

/// A transfer in progress.
#[derive(Debug, Clone)]
pub struct Transfer {
    window: u64,
    /// The number of the last block, once it is known.
    total: Option<u64>,
    /// Everything up to this block has arrived, in order.
    acked: u64,
    /// The last block of the present window.
    sent: u64,
    /// The OACK is out and its ACK 0 is not in.
    oack: bool,
    estimate: Estimate,
    deadline: Duration,
    tries: u32,
    /// When the present window went out; none once any of it was repeated (Karn's rule).
    measuring: Option<Duration>,
    hurry: Hurry,
    answered: bool,
    repeated: u64,
}

/// A repetition ahead of time, because the client showed a gap: at most one until something gets through or
/// the regular wait has passed, so that a client's chatter cannot drive the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hurry {
    Idle,
    Armed,
    Spent,
}

impl Transfer {
    /// Starts a transfer of `length` bytes (none when that shows only at the end) at `now`, a time since any
    /// fixed start, and gives its first step.
    pub fn start(terms: &Terms, length: Option<u64>, now: Duration) -> (Self, Step) {
        let estimate = Estimate::new(terms.timeout);
        let mut transfer = Self {
            window: u64::from(terms.window),
            total: length.map(|length| length / u64::from(terms.block_size).max(1) + 1),
            acked: 0,
            sent: 0,
            oack: terms.oack.is_some(),
            deadline: now + estimate.wait(),
            estimate,
            tries: 0,
            measuring: Some(now),
            hurry: Hurry::Idle,
            answered: false,
            repeated: 0,
        };
        let step = if transfer.oack { Step::Oack } else { transfer.next_window(now) };
        (transfer, step)
    }

    /// Goes on with a transfer that another process has begun. What has come meanwhile waits in its socket, so nothing is sent
    /// but when the timer runs out, which has measured nothing yet.
    pub fn resume(terms: &Terms, length: u64, progress: &Progress, now: Duration) -> Self {
        let (mut transfer, _) = Self::start(terms, Some(length), now);
        let total = transfer.total.unwrap_or(u64::MAX);
        transfer.acked = progress.acked.min(total);
        transfer.sent =
            progress.sent.clamp(transfer.acked, total.min(transfer.acked.saturating_add(transfer.window)));
        transfer.oack = progress.oack && terms.oack.is_some();
        transfer.answered = progress.answered;
        transfer.repeated = progress.repeated.min(u64::from(u32::MAX));
        transfer.measuring = None;
        transfer
    }

    /// What [`Transfer::resume`] goes on from.
    pub fn kept(&self) -> Progress {
        let Self { acked, sent, oack, answered, repeated, .. } = *self;
        Progress { acked, sent, oack, answered, repeated }
    }

    /// When [`Transfer::on_timer`] wants to be called.
    pub fn deadline(&self) -> Duration {
        self.deadline
    }

    /// How many blocks have arrived, and how many there are where that is known.
    pub fn progress(&self) -> (u64, Option<u64>) {
        (self.acked, self.total)
    }

    /// Whether the client has answered at all.
    pub fn answered(&self) -> bool {
        self.answered
    }

    /// How many packets were sent more than once.
    pub fn repeated(&self) -> u64 {
        self.repeated
    }

    /// `block` turned out to be the last one.
    pub fn ends_with(&mut self, block: u64) {
        self.total = Some(block);
        self.sent = self.sent.min(block);
    }

    /// Whether an ACK of this block brings the transfer on: to tell which of two transfers it is meant for, where they
    /// share a port.
    pub fn expects(&self, block: u16) -> bool {
        if self.oack {
            return block == 0;
        }
        (1..=self.sent - self.acked).contains(&u64::from(block.wrapping_sub(self.acked as u16)))
    }

    /// A packet came from the client.
    pub fn on_packet(&mut self, packet: packet::FromClient, now: Duration) -> Step {
        match packet {
            packet::FromClient::Ack(block) => self.on_ack(block, now),
            packet::FromClient::Error { code, message } => {
                let told_off = code == packet::Code::UnknownTid as u16 && !self.answered;
                let knows_size = code == 0 && self.acked == 0;
                let on_purpose = code == packet::ABORTED_OVER_OPTIONS || knows_size || told_off;
                Step::Stopped { on_purpose, code, message }
            }
        }
    }

    /// The client has everything up to the block whose number ends in these 16 bits.
    pub fn on_ack(&mut self, block: u16, now: Duration) -> Step {
        if self.oack {
            if block != 0 {
                return Step::Wait;
            }
            self.oack = false;
            self.progressed(true, now);
            return self.next_window(now);
        }
        // How far it is ahead of the last one; what is behind comes out huge, because a window is small.
        let ahead = u64::from(block.wrapping_sub(self.acked as u16));
        let outstanding = self.sent - self.acked;
        if ahead == 0 {
            if self.window > 1 && self.hurry == Hurry::Idle && outstanding > 0 {
                self.hurry = Hurry::Armed;
                self.deadline = self.deadline.min(now + self.estimate.hurry());
            }
            return Step::Wait;
        }
        if ahead > outstanding {
            return Step::Wait;
        }
        self.acked += ahead;
        self.progressed(ahead == outstanding, now);
        if self.total == Some(self.acked) {
            return Step::Finished;
        }
        // After a gap these are partly blocks that were sent before.
        self.repeated += self.sent - self.acked;
        self.next_window(now)
    }

    /// The time is `now`; call it at [`Transfer::deadline`] or later.
    pub fn on_timer(&mut self, now: Duration) -> Step {
        if now < self.deadline {
            return Step::Wait;
        }
        self.measuring = None;
        if self.hurry == Hurry::Armed {
            self.hurry = Hurry::Spent;
        } else {
            self.hurry = Hurry::Idle;
            self.tries += 1;
            if self.tries > if self.answered { MOST_TRIES } else { MOST_FIRST_TRIES } {
                return Step::GaveUp;
            }
            self.estimate.expired();
        }
        self.deadline = now + self.estimate.wait();
        if self.oack {
            self.repeated += 1;
            return Step::Oack;
        }
        self.repeated += self.sent - self.acked;
        Step::Blocks(self.acked + 1..self.sent + 1)
    }

    fn progressed(&mut self, whole: bool, now: Duration) {
        self.answered = true;
        self.tries = 0;
        self.hurry = Hurry::Idle;
        if let Some(sent) = self.measuring.take().filter(|_| whole) {
            self.estimate.measured(now.saturating_sub(sent));
        }
    }

    fn next_window(&mut self, now: Duration) -> Step {
        let first = self.acked + 1;
        // Blocks that went out before and are sent again make the time of the answer ambiguous.
        self.measuring = (self.sent <= self.acked).then_some(now);
        self.sent = (self.acked + self.window).min(self.total.unwrap_or(u64::MAX));
        self.deadline = now + self.estimate.wait();
        Step::Blocks(first..self.sent + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::{Asked, FromClient};

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn start(blocks: u64, window: u16, oack: bool) -> (Transfer, Step) {
        let asked = Asked { windowsize: (oack || window > 1).then_some(window), ..Asked::default() };
        Transfer::start(&Terms::agree(&asked, None, 0), Some((blocks - 1) * 512 + 1), ms(0))
    }

    /// Plays ACKs at 1 ms intervals.
    fn check(blocks: u64, window: u16, oack: bool, play: &[(u16, Step)]) {
        let (mut transfer, first) = start(blocks, window, oack);
        let expect = if oack { Step::Oack } else { Step::Blocks(1..2) };
        assert_eq!(first, expect);
        for (at, (block, step)) in (1..).zip(play) {
            assert_eq!(transfer.on_ack(*block, ms(at)), *step, "ACK {block} in {play:?}");
        }
    }

    #[test]
    fn blocks_follow_acknowledgements() {
        use Step::{Blocks, Finished, Wait};
        check(1, 1, false, &[(1, Finished)]);
        check(2, 1, false, &[(1, Blocks(2..3)), (2, Finished)]);
        check(2, 1, true, &[(0, Blocks(1..2)), (1, Blocks(2..3)), (2, Finished)]);
        // Never again on a duplicate, nor on what is old or never was.
        check(
            3,
            1,
            false,
            &[(1, Blocks(2..3)), (1, Wait), (1, Wait), (0, Wait), (3, Wait), (2, Blocks(3..4))],
        );
        check(3, 1, true, &[(5, Wait), (0, Blocks(1..2)), (0, Wait)]);
        check(9, 4, true, &[(0, Blocks(1..5)), (4, Blocks(5..9)), (8, Blocks(9..10)), (9, Finished)]);
        // A gap: on from the last one in order. A duplicate of that: no more.
        check(9, 4, true, &[(0, Blocks(1..5)), (2, Blocks(3..7)), (2, Wait), (2, Wait), (6, Blocks(7..10))]);
        check(9, 4, true, &[(0, Blocks(1..5)), (5, Wait), (4, Blocks(5..9)), (3, Wait)]);
    }

    #[test]
    fn the_block_number_rolls_over() {
        let (mut transfer, _) = start(200_000, 4, true);
        let mut step = transfer.on_ack(0, ms(0));
        let mut next = 1;
        while let Step::Blocks(blocks) = step {
            assert_eq!(blocks.start, next);
            next = blocks.end;
            step = transfer.on_ack((blocks.end - 1) as u16, ms(1));
        }
        assert_eq!((step, next), (Step::Finished, 200_001));
    }

    #[test]
    fn silence_is_met_with_patience_and_then_an_end() {
        let (mut transfer, _) = start(3, 1, false);
        assert_eq!(transfer.on_ack(1, ms(5)), Step::Blocks(2..3));
        let mut waits = Vec::new();
        let mut now = ms(5);
        loop {
            assert_eq!(transfer.on_timer(transfer.deadline() - ms(1)), Step::Wait);
            waits.push((transfer.deadline() - now).as_millis());
            now = transfer.deadline();
            match transfer.on_timer(now) {
                Step::Blocks(blocks) => assert_eq!(blocks, 2..3),
                step => break assert_eq!(step, Step::GaveUp),
            }
        }
        assert_eq!(waits, [100, 200, 400, 800, 1600, 3200, 6000, 6000, 6000]);
        assert_eq!((transfer.progress(), transfer.repeated()), ((1, Some(3)), 8));
    }

    /// Malice: a request with a forged sender makes this server send five packets, the first of them the largest.
    #[test]
    fn who_never_answered_is_sent_little() {
        for oack in [false, true] {
            let (mut transfer, first) = start(1_000, 1, oack);
            let mut waits = Vec::new();
            let mut now = ms(0);
            loop {
                waits.push((transfer.deadline() - now).as_millis());
                now = transfer.deadline();
                match transfer.on_timer(now) {
                    Step::GaveUp => break,
                    step => assert_eq!(step, first),
                }
            }
            assert_eq!((waits, transfer.repeated()), (vec![1000, 2000, 4000, 6000, 6000], 4));
        }
    }

    #[test]
    fn what_brings_it_on() {
        let (mut transfer, _) = start(200_000, 4, true);
        let expected = |transfer: &Transfer| -> Vec<u16> {
            (0..=u16::MAX).filter(|block| transfer.expects(*block)).collect()
        };
        assert_eq!(expected(&transfer), [0]);
        transfer.on_ack(0, ms(1));
        assert_eq!(expected(&transfer), [1, 2, 3, 4]);
        transfer.on_ack(2, ms(2));
        assert_eq!(expected(&transfer), [3, 4, 5, 6]);
        for window in 0..16_383_u16 {
            transfer.on_ack((window + 1) * 4 + 2, ms(3));
        }
        // Block numbers begin anew at 0.
        assert_eq!(expected(&transfer), [0, 1, 2, 65_535]);
    }

    #[test]
    fn a_gap_at_the_start_of_a_window_shortens_the_wait_once() {
        let (mut transfer, _) = start(9, 4, true);
        transfer.on_ack(0, ms(1));
        assert_eq!(transfer.on_ack(4, ms(2)), Step::Blocks(5..9));
        let regular = transfer.deadline();
        assert_eq!(transfer.on_ack(4, ms(3)), Step::Wait);
        assert!(transfer.deadline() < regular);
        // The acknowledgement of the whole window was only late: nothing goes out twice.
        let mut late = transfer.clone();
        assert_eq!(late.on_ack(8, ms(4)), Step::Blocks(9..10));
        assert_eq!(late.repeated(), 0);
        // It was a gap: once again, and then only after the regular wait.
        let hurried = transfer.deadline();
        assert_eq!(transfer.on_timer(hurried), Step::Blocks(5..9));
        let regular = transfer.deadline();
        assert_eq!(transfer.on_ack(4, hurried), Step::Wait);
        assert_eq!(transfer.deadline(), regular);
        assert_eq!(transfer.on_timer(hurried), Step::Wait);
        assert_eq!(transfer.on_timer(regular), Step::Blocks(5..9));
    }

    #[test]
    fn another_process_goes_on() {
        let (mut first, _) = start(9, 4, true);
        first.on_ack(0, ms(1));
        assert_eq!(first.on_ack(4, ms(2)), Step::Blocks(5..9));
        let asked = Asked { windowsize: Some(4), ..Asked::default() };
        let terms = Terms::agree(&asked, None, 0);
        let resumed = |now| Transfer::resume(&terms, 8 * 512 + 1, &first.kept(), now);
        // The ACK has waited: nothing goes out twice.
        let mut second = resumed(ms(100));
        assert_eq!(second.on_ack(8, ms(101)), Step::Blocks(9..10));
        assert_eq!((second.on_ack(9, ms(102)), second.repeated()), (Step::Finished, 0));
        // It was lost, or the window was: it is sent again.
        let mut second = resumed(ms(100));
        assert_eq!(second.on_timer(second.deadline()), Step::Blocks(5..9));
        assert_eq!(second.kept(), Progress { repeated: 4, ..first.kept() });
        // Its OACK was not answered yet.
        let (third, _) = start(9, 4, true);
        let mut third = Transfer::resume(&terms, 8 * 512 + 1, &third.kept(), ms(100));
        assert_eq!(third.on_timer(third.deadline()), Step::Oack);
        // Whatever stands there, it is a transfer.
        let odd = Progress { acked: u64::MAX, sent: 0, oack: false, answered: true, repeated: u64::MAX };
        let odd = Transfer::resume(&terms, 512, &odd, ms(100));
        assert_eq!(odd.kept(), Progress { acked: 2, sent: 2, ..odd.kept() });
    }

    #[test]
    fn a_length_that_shows_at_the_end() {
        let terms = Terms::agree(&Asked { windowsize: Some(4), ..Asked::default() }, None, 0);
        let (mut transfer, _) = Transfer::start(&terms, None, ms(0));
        assert_eq!(transfer.on_ack(0, ms(1)), Step::Blocks(1..5));
        assert_eq!(transfer.on_ack(4, ms(2)), Step::Blocks(5..9));
        transfer.ends_with(6);
        assert_eq!(transfer.on_ack(7, ms(3)), Step::Wait);
        assert_eq!(transfer.on_ack(6, ms(3)), Step::Finished);
    }

    #[test]
    fn clients_stop_on_purpose_or_not() {
        let check = |oack, acks: &[u16], code, expect| {
            let (mut transfer, _) = start(9, 1, oack);
            for ack in acks {
                transfer.on_ack(*ack, ms(1));
            }
            let error = FromClient::Error { code, message: "x".to_owned() };
            let step = transfer.on_packet(error, ms(2));
            assert_eq!(step, Step::Stopped { on_purpose: expect, code, message: "x".to_owned() });
        };
        check(true, &[], 8, true);
        check(true, &[], 0, true);
        check(true, &[0, 1], 8, true);
        check(true, &[0, 1], 0, false);
        check(false, &[1], 3, false);
        check(false, &[], 3, false);
        // It goes on with another transfer; one that was going on is told off by mistake.
        check(true, &[], 5, true);
        check(true, &[0, 1], 5, false);
    }
}
