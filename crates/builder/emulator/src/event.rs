//! The Pi's events, read off its serial console.
//!
//! The journal is forwarded there, so that each event is a line with a JSON object behind some prefix. The
//! console is shared with the kernel, which writes wherever it likes: a line of its own, or into the middle of
//! one of ours.

use serde_json::Value;

/// How many console lines an event may be spread over before it is given up.
const PIECES: usize = 4;

/// Finds the JSON objects in console lines, fed one after the other.
#[derive(Debug, Default)]
pub struct Reader {
    pending: Option<(String, usize)>,
}

impl Reader {
    /// The objects that are complete with this line.
    pub fn line(&mut self, line: &str) -> Vec<Value> {
        let line = line.trim_end_matches(['\r', '\n']);
        if let Some((begun, pieces)) = self.pending.take() {
            if !begins_kernel_message(line) {
                let whole = format!("{begun}{}", without_kernel_tail(line));
                let (found, rest) = objects(&whole);
                if !found.is_empty() {
                    self.pending = rest.map(|rest| (rest, 1));
                    return found;
                }
            }
            // Perhaps this line is one of its own and the begun one comes to nothing.
            let (found, rest) = objects(line);
            if !found.is_empty() || rest.is_some() && !begins_kernel_message(line) {
                self.pending = rest.map(|rest| (rest, 1));
                return found;
            }
            let begun = if begins_kernel_message(line) { begun } else { begun + without_kernel_tail(line) };
            self.pending = (pieces < PIECES).then_some((begun, pieces + 1));
            return Vec::new();
        }
        let (found, rest) = objects(line);
        self.pending = rest.map(|rest| (rest, 1));
        found
    }
}

/// The objects in `text`, and the beginning of one that is not finished.
fn objects(text: &str) -> (Vec<Value>, Option<String>) {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find("{\"") {
        rest = &rest[start..];
        let mut values = serde_json::Deserializer::from_str(rest).into_iter::<Value>();
        match values.next() {
            Some(Ok(value)) => {
                let end = values.byte_offset();
                found.push(value);
                rest = &rest[end..];
            }
            Some(Err(fault)) if fault.is_eof() => return (found, Some(rest.to_owned())),
            _ => {
                let kept = without_kernel_tail(rest);
                if kept.len() < rest.len() {
                    return (found, Some(kept.to_owned()));
                }
                rest = &rest[2..];
            }
        }
    }
    (found, None)
}

/// Whether a line is the kernel's: it opens with `[`, seconds with six decimals, `]`.
fn begins_kernel_message(line: &str) -> bool {
    kernel_stamp(line.trim_start()) == Some(0)
}

/// The part of `line` before a kernel message that breaks into it.
fn without_kernel_tail(line: &str) -> &str {
    kernel_stamp(line).map_or(line, |start| &line[..start])
}

/// Where the first kernel time stamp begins.
fn kernel_stamp(line: &str) -> Option<usize> {
    line.match_indices('[').map(|(start, _)| start).find(|start| {
        let inside = line[start + 1..].split_once("] ").map(|(inside, _)| inside.trim_start());
        let parts = inside.and_then(|inside| inside.split_once('.'));
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        parts.is_some_and(|(seconds, decimals)| digits(seconds) && decimals.len() == 6 && digits(decimals))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::Random;

    fn check(lines: &[&str], stages: &[&str]) {
        let mut reader = Reader::default();
        let found: Vec<Value> = lines.iter().flat_map(|line| reader.line(line)).collect();
        let found: Vec<&str> = found.iter().map(|event| event["stage"].as_str().unwrap_or("none")).collect();
        assert_eq!(found, stages, "{lines:?}");
    }

    #[test]
    fn events_are_found_whatever_stands_around_them() {
        check(&[r#"{"stage":"ack","n":1}"#], &["ack"]);
        check(
            &["[   45.1] pilotlight-dhcpd[312]: {\"stage\":\"ack\",\"facts\":{\"a\":[1,{}]}}\r\n"],
            &["ack"],
        );
        check(&[r#"x {"stage":"a"} y {"stage":"b"}"#], &["a", "b"]);
        check(&["nothing", "{}", "{\"", "}{", r#"{"stage":"a"}"#], &["a"]);
        check(&[r#"{"stage":"offer","mac":"52:54"#, r#":00"}"#], &["offer"]);
    }

    #[test]
    fn the_kernel_may_break_in() {
        let broken = [
            r#"dhcpd[1]: {"stage":"offer","mac":"52:5[   61.123456] usb 1-1: new high-speed device"#,
            r#"4:00:12:34:56"}"#,
        ];
        check(&broken, &["offer"]);
        let between = [
            r#"dhcpd[1]: {"stage":"offer","mac":"#,
            "[   61.123456] eth0: link up",
            r#""52:54:00:12:34:56"}"#,
        ];
        check(&between, &["offer"]);
        check(&[r#"{"stage":"lost","#, "[    1.000001] x", r#"y {"stage":"found"}"#], &["found"]);
    }

    #[test]
    fn no_line_is_too_strange() {
        let mut random = Random::new(1);
        let alphabet = b"{}\"[]:,.0123456789 abc\\\xc3\xa9";
        for _ in 0..20_000 {
            let mut reader = Reader::default();
            for _ in 0..4 {
                let length = random.below(40);
                let text: Vec<u8> =
                    (0..length).map(|_| alphabet[random.below(alphabet.len() as u64) as usize]).collect();
                reader.line(&String::from_utf8_lossy(&text));
            }
        }
    }
}
