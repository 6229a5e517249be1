//! What a person sees while bytes travel: bars on a terminal, a line now and then elsewhere. All on stderr.

use std::{
    io::IsTerminal,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use indicatif::{HumanBytes, MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How often a line is written when nobody watches a terminal.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Show {
    /// Bars when stderr is a terminal, lines when not.
    Auto,
    /// Nothing at all.
    Nothing,
}

/// Progress of one piece of work over a known number of bytes.
pub struct Progress {
    verb: &'static str,
    bars: Option<MultiProgress>,
    total: ProgressBar,
    lines: bool,
    done: AtomicU64,
    bytes: u64,
    started: Instant,
    last_line: Mutex<Instant>,
}

impl Progress {
    /// Starts to show `verb` ("Fetching") for `items` things of `bytes` in all; 0 where nobody knows.
    pub fn start(show: Show, verb: &'static str, items: usize, bytes: u64) -> Self {
        let terminal = show == Show::Auto && std::io::stderr().is_terminal();
        let bars = terminal.then(|| MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(10)));
        let total = match &bars {
            Some(bars) => bars.add(ProgressBar::new(bytes).with_style(style(
                "{prefix:>12} [{bar:40}] {bytes}/{total_bytes} {bytes_per_sec} {eta} {msg}",
            ))),
            None => ProgressBar::hidden(),
        };
        total.set_prefix(verb);
        let lines = show == Show::Auto && !terminal;
        if lines {
            let bytes = if bytes == 0 { String::new() } else { format!(", {}", HumanBytes(bytes)) };
            eprintln!("{verb:>12} {items} files{bytes}");
        }
        let now = Instant::now();
        Self {
            verb,
            bars,
            total,
            lines,
            done: AtomicU64::new(0),
            bytes,
            started: now,
            last_line: Mutex::new(now),
        }
    }

    /// Shows one item until the value is dropped. `bytes` is how much it is, `have` how much of it was here.
    pub fn item(&self, name: &str, bytes: u64, have: u64) -> Item<'_> {
        let bar = self.bars.as_ref().map(|bars| {
            let bar = bars.insert_before(
                &self.total,
                ProgressBar::new(bytes).with_style(style("             {msg:30!} {bytes}/{total_bytes}")),
            );
            bar.set_message(name.to_owned());
            bar
        });
        let item = Item { progress: self, bar };
        item.add(have);
        item
    }

    /// A sentence that must be seen, beside the bars.
    pub fn say(&self, text: &str) {
        match &self.bars {
            // A terminal that went away is no reason to stop.
            Some(bars) => drop(bars.println(format!("{:>12} {text}", ""))),
            None if self.lines => eprintln!("{:>12} {text}", ""),
            None => {}
        }
    }

    /// Ends the show and says what was done.
    pub fn finish(self, verb: &str, items: usize) {
        self.total.finish_and_clear();
        if self.lines || self.bars.is_some() {
            let seconds = self.started.elapsed().as_secs_f32();
            let bytes = HumanBytes(self.bytes.max(self.done.load(Ordering::Relaxed)));
            eprintln!("{verb:>12} {items} files, {bytes} in {seconds:.1} s");
        }
    }

    fn add(&self, bytes: u64) {
        self.total.inc(bytes);
        let done = self.done.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if !self.lines {
            return;
        }
        if let Ok(mut last) = self.last_line.try_lock()
            && last.elapsed() >= LINE_EVERY
        {
            *last = Instant::now();
            let of = if self.bytes == 0 { String::new() } else { format!(" of {}", HumanBytes(self.bytes)) };
            eprintln!("{:>12} {}{of}", self.verb, HumanBytes(done));
        }
    }
}

/// One item's part of the show.
pub struct Item<'p> {
    progress: &'p Progress,
    bar: Option<ProgressBar>,
}

impl Item<'_> {
    /// So many bytes more are here.
    pub fn add(&self, bytes: u64) {
        if let Some(bar) = &self.bar {
            bar.inc(bytes);
        }
        self.progress.add(bytes);
    }

    /// What was here is worth nothing: so many bytes fewer.
    pub fn take_back(&self, bytes: u64) {
        if let Some(bar) = &self.bar {
            bar.set_position(bar.position().saturating_sub(bytes));
        }
        self.progress.total.set_position(self.progress.total.position().saturating_sub(bytes));
        self.progress.done.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Drop for Item<'_> {
    fn drop(&mut self) {
        if let (Some(bar), Some(bars)) = (&self.bar, &self.progress.bars) {
            bar.finish_and_clear();
            bars.remove(bar);
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ")
}
