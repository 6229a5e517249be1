//! What the kernel command line asks of `init` besides the card and the slot, which are [`pilotlight_disk::Params`].

use std::time::Duration;

/// The longest that a failed start waits before the board is restarted.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// How long a failed start waits when the command line does not say.
const USUAL_PAUSE: Duration = Duration::from_secs(10);

/// How long a failed start stays on the screen before the board is restarted: the kernel's own `panic=`, but
/// never for ever, because nobody may be there to pull the plug.
pub fn pause_before_restart(line: &str) -> Duration {
    match parameter(line, "panic=").map(str::parse::<i64>) {
        Some(Ok(seconds)) if seconds > 0 => Duration::from_secs(seconds.unsigned_abs()).min(LONGEST_PAUSE),
        Some(Ok(seconds)) if seconds < 0 => Duration::ZERO,
        _ => USUAL_PAUSE,
    }
}

pub(crate) fn parameter<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    line.split_ascii_whitespace()
        .take_while(|word| *word != "--")
        .filter_map(|word| word.strip_prefix(name))
        .last()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_failed_start_never_waits_for_ever() {
        let check =
            |line, seconds| assert_eq!(pause_before_restart(line), Duration::from_secs(seconds), "{line}");
        check("", 10);
        check("panic=5 -- panic=7", 5);
        check("xpanic=5", 10);
        check("panic=3", 3);
        check("panic=0", 10);
        check("panic=-1", 0);
        check("panic=99999999999999", 300);
        check("panic=soon", 10);
    }

    proptest! {
        #[test]
        fn any_line_is_read_or_refused(line in ".*") {
            let _ = pause_before_restart(&line);
        }
    }
}
