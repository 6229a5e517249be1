//! Whatever a lab.toml says, it is refused or it stays in its place.

use pilotlight_boot::{ipxe_script, preseed, pxelinux_config};
use pilotlight_lab::{Lab, parse};
use proptest::prelude::*;

/// A text that is valid with `part` in it, or nearly so.
fn spiked(valid: &'static str) -> impl Strategy<Value = String> {
    let spike = prop_oneof![
        Just("\n"),
        Just("\r\n"),
        Just(" "),
        Just("\t"),
        Just("\""),
        Just("'"),
        Just("\\"),
        Just("${net0/mac}"),
        Just("#"),
        Just("||"),
        Just("&&"),
        Just(";"),
        Just("$(reboot)"),
        Just("`id`"),
        Just("\nshell\n"),
        Just("\nd-i partman/confirm boolean true\n"),
        Just("%"),
        Just("é"),
        Just("\u{2028}"),
        Just("\0"),
        Just("-"),
        Just("--"),
        Just(".."),
        Just("/"),
        Just("="),
        Just(":"),
        Just("a"),
        Just("{"),
        Just("^"),
        Just("\u{1b}[2J"),
    ];
    (prop::collection::vec((any::<prop::sample::Index>(), spike), 0..3)).prop_map(|spikes| {
        let mut text = valid.to_owned();
        for (place, spike) in spikes {
            let at = text.floor_char_boundary(place.index(text.len() + 1));
            text.insert_str(at, spike);
        }
        text
    })
}

/// A basic string of TOML.
fn quoted(text: &str) -> String {
    let escaped: String = text.chars().map(|c| format!("\\U{:08X}", u32::from(c))).collect();
    format!("\"{escaped}\"")
}

fn lines_and_words(lab: &Lab) -> Vec<Vec<String>> {
    let node = &lab.nodes[0];
    let texts = [
        ipxe_script(lab, Some(node.mac)),
        ipxe_script(lab, None),
        pxelinux_config(lab, "default").unwrap_or_default(),
        pxelinux_config(lab, &format!("01-{}", node.mac.hyphenated())).unwrap_or_default(),
        preseed(lab, node).unwrap_or_default(),
    ];
    for text in &texts {
        assert!(
            text.bytes().all(|byte| byte == b'\n' || (b' '..=b'~').contains(&byte)),
            "plain ASCII: {text:?}"
        );
    }
    texts.iter().map(|text| text.lines().map(str::to_owned).collect()).collect()
}

/// The first word of each line, and every character that means something to iPXE or a shell.
fn shape(lab: &Lab) -> Vec<Vec<(String, String)>> {
    let special = |line: &str| line.chars().filter(|c| "${}|&\"'\\#;`()<>^*".contains(*c)).collect();
    let first = |line: &str| line.trim_start_matches(' ').split(' ').next().unwrap_or_default().to_owned();
    let texts = lines_and_words(lab);
    texts.iter().map(|lines| lines.iter().map(|line| (first(line), special(line))).collect()).collect()
}

fn lab(values: &[String; 8]) -> String {
    let [name, domain, title, argument, host, directory, disk, key] = values.each_ref().map(String::as_str);
    let mirror = format!("http://{host}/{directory}");
    format!(
        "[network]\naddress = \"10.77.0.1/24\"\ndomain = {}\n\
         [[nodes]]\nname = {}\nmac = \"52:54:00:00:00:01\"\naddress = \"10.77.0.11\"\nprofile = \"x\"\ninstall-to = {}\n\
         [profiles.x]\nkind = \"debian-installer\"\ntitle = {}\narguments = [{}]\nmirror = {}\nauthorized-keys = [{}]\n",
        quoted(domain),
        quoted(name),
        quoted(disk),
        quoted(title),
        quoted(argument),
        quoted(&mirror),
        quoted(key),
    )
}

const VALID: [&str; 8] = [
    "node",
    "lab.example",
    "Title",
    "quiet",
    "mirror.example",
    "debian",
    "/dev/sda",
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA0000000000000000 me",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn hostile_values_stay_in_their_place(values in VALID.map(spiked), which in prop::collection::vec(any::<bool>(), 8)) {
        let plain = VALID.map(str::to_owned);
        let mut mixed = plain.clone();
        for ((slot, value), take) in mixed.iter_mut().zip(values).zip(which) {
            if take { *slot = value }
        }
        if let Ok(hostile) = parse(&lab(&mixed)) {
            let plain = parse(&lab(&plain)).expect("the plain lab is valid");
            // Parentheses in a title are harmless and the only special characters that any value may hold.
            let bare = |shape: Vec<Vec<(String, String)>>| -> Vec<Vec<(String, String)>> {
                shape.into_iter().map(|lines| lines.into_iter().map(|(word, special)| (word, special.replace(['(', ')'], ""))).collect()).collect()
            };
            prop_assert_eq!(bare(shape(&hostile)).len(), 5);
            // A node's name stands first on no line but its comment's.
            prop_assert_eq!(bare(shape(&hostile)), bare(shape(&plain)));
        }
    }
}
