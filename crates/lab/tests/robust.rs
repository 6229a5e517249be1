//! No text makes the parser, or the report about it, panic.

use pilotlight_lab::parse;
use proptest::prelude::*;

const DEFAULT: &str = include_str!("../../../image-overlay/usr/share/pilotlight/lab.toml");

const FULL: &str = r#"[network]
interface = "eth0"
address = "10.77.0.1/24"
router = "10.77.0.254"
dns = ["9.9.9.9"]
lease = "1h"
probe-first = false
pool = { first = "10.77.0.100", last = "10.77.0.199" }
[[nodes]]
name = "n1"
mac = "52:54:00:00:00:01"
address = "10.77.0.11"
profile = "x"
loader = "pxelinux"
group = "h"
config = "c"
power = { device = "strip", system = "1" }
disks = { scratch = "S1", state = "S2" }
install-to = "/dev/sda"
[profiles.x]
kind = "debian-installer"
title = "X"
release = 13
arguments = ["quiet"]
mirror = "http://mirror.example/debian"
[profiles.y]
kind = "flatcar"
versions = { stable = "4152.2.0" }
arm = "itself"
[profiles.z]
kind = "debian-live"
linux = "files/linux"
initrd = ["files/initrd.img"]
root = "files/root.squashfs"
[groups.g]
role = "controller"
variables = { a = [1, "b", true] }
[groups.h]
extends = "g"
[configs.c]
kind = "butane"
template = "{{ node.name }}"
[kubernetes]
api = "10.77.0.11"
pods = "10.2.0.0/16"
[mirror]
urls = [{ url = "https://a.example/b", sha256 = "0000000000000000000000000000000000000000000000000000000000000000" }]
images = ["a.example/b:c@sha256:0000000000000000000000000000000000000000000000000000000000000000"]
[power.strip]
kind = "redfish"
url = "https://10.77.0.250"
"#;

fn survives(text: &str) -> Result<(), TestCaseError> {
    if let Err(problems) = parse(text) {
        prop_assert!(problems.count() > 0);
        for problem in problems.iter() {
            prop_assert!(text.get(problem.span.clone()).is_some(), "{problem:?} fits the text");
            prop_assert!(!problem.message.is_empty());
        }
        prop_assert!(!problems.to_string().is_empty());
        prop_assert!(problems.render("lab.toml", text, false).contains("lab.toml"));
        problems.render("lab.toml", text, true);
        // A caller that renders with another text gets a poor picture, not a panic.
        problems.render("lab.toml", &text[..text.floor_char_boundary(text.len() / 2)], false);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_text(text in "\\PC{0,200}") {
        survives(&text)?;
    }

    #[test]
    fn random_bytes_read_as_text(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        survives(&String::from_utf8_lossy(&bytes))?;
    }

    #[test]
    fn tokens_in_any_order(parts in proptest::collection::vec(prop_oneof![
        Just("[network]\n"), Just("[[nodes]]\n"), Just("[profiles.a]\n"), Just("address"), Just(" = "), Just("\""),
        Just("10.77.0.1/24"), Just("[["), Just("{"), Just("}"), Just("]"), Just("\n"), Just(","), Just("mac"),
        Just("'''"), Just("é"), Just("pool"), Just("."), Just("\t"), Just("\r\n"), Just("#"), Just("0x"), Just("1"),
        Just("nodes"), Just("-"), Just("\\u0000"),
    ], 0..40)) {
        survives(&parts.concat())?;
    }

    #[test]
    fn a_mutated_lab(
        full in any::<bool>(),
        edits in proptest::collection::vec((any::<prop::sample::Index>(), 0usize..8, "\\PC{0,4}|\n|\"|=|\\[|\\]|-|0"), 1..6),
    ) {
        let mut text = if full { FULL } else { DEFAULT }.to_owned();
        for (place, length, new) in edits {
            let start = text.floor_char_boundary(place.index(text.len() + 1));
            let end = text.ceil_char_boundary((start + length).min(text.len()));
            text.replace_range(start..end, &new);
        }
        survives(&text)?;
    }

    #[test]
    fn a_truncated_lab(length in 0..FULL.len()) {
        survives(&FULL[..length])?;
    }
}
