//! Keeping the time: setting it for an operator, and leaving it where the Pi's next start finds it.

use std::{
    fs, io,
    path::Path,
    rc::Rc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use pilotlight_kit::Event;
use pilotlight_ntp::{
    Clock,
    clock::{Chip, Set, Voucher},
};
use tokio::time::sleep;

use crate::{SERVICE, Server, kernel};

/// How often the time is left on the data partition: what a pulled plug may take the clock back by.
const SAVED_EVERY: Duration = Duration::from_secs(600);
/// What a clock that a person or a chip set is taken to be off by.
const BY_HAND: Duration = Duration::from_secs(1);
/// The note on the clock chip, beside the time.
const CHIP: &str = "chip";

/// The time since 1970.
pub(crate) fn unix() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

impl Server {
    /// Sets the clock for an operator.
    pub(crate) fn set(&self, time: Duration) -> io::Result<()> {
        self.step(time, Voucher::Operator)?;
        self.vouched(Voucher::Operator)
    }

    /// Sets the clock, and tells of it.
    pub(crate) fn step(&self, time: Duration, by: Voucher) -> io::Result<()> {
        let before = unix().as_secs();
        let done = kernel::set(time);
        let event = match &done {
            Ok(()) => Event::ok(SERVICE, "set"),
            Err(fault) => Event::failed(SERVICE, "set", fault),
        };
        let by = match by {
            Voucher::Operator => "operator",
            Voucher::Upstream => "upstream",
            Voucher::Chip => "chip",
        };
        self.events.emit(event.fact("from", before).fact("to", time.as_secs()).fact("by", by));
        done
    }

    /// Notes that somebody vouches for the clock as it is now, for this run and for the daemon's next one.
    pub(crate) fn vouched(&self, by: Voucher) -> io::Result<()> {
        let set = Set { at: unix(), by };
        let Clock { set: before, follows } = self.clock.get();
        let follows = follows.filter(|_| by == Voucher::Upstream);
        self.clock.set(Clock { set: Some(set), follows });
        // A server that is followed says so every few minutes: that is not worth a write to the card each time.
        if before.is_none_or(|before| before.by != by) || by == Voucher::Operator || !self.noted.get() {
            self.leave_time();
        }
        fs::write(&self.arguments.set, format!("{set}\n"))
    }

    /// Believes the clock chip, if it is the one that this Pi left and has gone on since.
    pub(crate) fn take_from_chip(&self) {
        let left = fs::read_to_string(self.arguments.state.join(CHIP)).ok();
        let left: Option<Chip> = left.and_then(|text| text.parse().ok());
        let (Some(left), Some(chip)) = (left, chip(&self.arguments.chip)) else { return };
        let now = unix();
        if self.clock.get().set.is_some() || !chip.went_on(&left, now.as_secs()) {
            return;
        }
        let shows = Duration::from_secs(chip.shows);
        // It counts whole seconds: by less the clock is not behind it.
        let behind = shows > now + Duration::from_secs(1);
        let stepped = if behind { self.step(shows, Voucher::Chip) } else { Ok(()) };
        if let Err(fault) = stepped.and_then(|()| self.vouched(Voucher::Chip)) {
            eprintln!("pilotlight-ntpd: the clock chip {} was not believed: {fault}", chip.name);
        }
    }

    /// How the clock is, in a line.
    pub(crate) fn status(&self) -> String {
        let now = unix();
        let Clock { set, follows } = self.clock.get();
        let Some(Set { at, by }) = set else {
            let trouble = self.trouble.borrow();
            let servers = trouble.as_deref().map(|why| format!("; {why}")).unwrap_or_default();
            return format!(
                "{}: nobody has set the clock since the Pi was started, so machines are told not to believe it{servers}",
                now.as_secs()
            );
        };
        let ago = now.as_secs().saturating_sub(at.as_secs());
        let how = match (by, follows) {
            (Voucher::Operator, _) => "set by an operator".to_owned(),
            (Voucher::Chip, _) => "taken from the clock chip".to_owned(),
            (Voucher::Upstream, None) => "set by time servers".to_owned(),
            (Voucher::Upstream, Some(lead)) => {
                let server = self.followed.borrow();
                format!("as {server} has it, of stratum {},", lead.stratum)
            }
        };
        let trouble = self.trouble.borrow();
        let since = trouble.as_deref().map(|why| format!("; {why}")).unwrap_or_default();
        format!("{}: {how} {ago} s ago{since}", now.as_secs())
    }

    /// Leaves the time for the Pi's next start, over and over.
    pub(crate) async fn save(self: Rc<Self>) {
        loop {
            sleep(SAVED_EVERY).await;
            // The kernel sets a chip only by a clock that it was told lately to be right.
            if self.clock.get().set.is_some_and(|set| set.by != Voucher::Upstream) {
                let _ = kernel::is_right(BY_HAND);
            }
            self.leave_time();
        }
    }

    /// Leaves the time for the Pi's next start.
    pub(crate) fn leave_time(&self) {
        // The file's own time is what counts.
        let time = unix().as_secs().to_string();
        let left = leave(&self.arguments.state.join("clock"), &time).and_then(|()| self.leave_chip());
        if let Err(fault) = left
            && let Some(count) = self.drops.borrow_mut().count("left", self.started.elapsed())
        {
            self.events.emit(Event::failed(SERVICE, "save", fault).fact("count", count));
        }
    }

    /// Leaves a note of the clock chip, once it shows what a clock does that somebody vouches for.
    fn leave_chip(&self) -> io::Result<()> {
        let chip = chip(&self.arguments.chip).filter(|chip| chip.agrees(unix().as_secs()));
        let Some(chip) = chip.filter(|_| self.clock.get().set.is_some()) else { return Ok(()) };
        leave(&self.arguments.state.join(CHIP), &chip.to_string())?;
        self.noted.set(true);
        Ok(())
    }
}

/// Writes a line to a file on the card, where a power cut leaves it or part of it.
fn leave(path: &Path, line: &str) -> io::Result<()> {
    let file = fs::File::create(path)?;
    io::Write::write_all(&mut &file, format!("{line}\n").as_bytes())?;
    file.sync_all()
}

/// The clock chip as it is now, if there is one (Documentation/ABI/testing/sysfs-class-rtc of Linux).
fn chip(folder: &Path) -> Option<Chip> {
    let said = |name: &str| fs::read_to_string(folder.join(name)).ok();
    let shows = said("since_epoch")?.trim_end().parse().ok()?;
    Some(Chip { name: said("name")?.trim_end().to_owned(), shows })
}
