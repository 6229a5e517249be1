//! Whatever a lab.toml says, it is refused or it stays in its place.

use pilotlight_boot::{grub_config, ipxe_script, preseed, pxelinux_config, u_boot_config};
use pilotlight_lab::{Lab, parse};
use proptest::{prelude::*, sample::Index};

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
    (prop::collection::vec((any::<Index>(), spike), 0..3)).prop_map(|spikes| {
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

/// The first word of each line of everything that is rendered, and each character that means something to iPXE,
/// PXELINUX, GRUB or a shell. Parentheses are left out: a title may hold them, and nothing minds them there.
fn shape(lab: &Lab) -> Vec<Vec<(String, String)>> {
    let node = &lab.nodes[0];
    let texts = [
        ipxe_script(lab, Some(node.mac)),
        ipxe_script(lab, None),
        pxelinux_config(lab, "default").expect("it is always there"),
        pxelinux_config(lab, &format!("01-{}", node.mac.hyphenated())).expect("the node is in the lab"),
        u_boot_config(lab, &format!("01-{}", node.mac.hyphenated())).expect("the node is in the lab"),
        grub_config(lab, "grub.cfg").expect("it is always there"),
        grub_config(lab, &format!("grub.cfg-01-{}", node.mac.hyphenated())).expect("the node is in the lab"),
        preseed(lab, node).expect("its profile installs"),
    ];
    let line = |line: &str| {
        let special = line.chars().filter(|c| "${}[]|&\"'\\#;`<>^*".contains(*c)).collect();
        (line.trim_start().split(' ').next().unwrap_or_default().to_owned(), special)
    };
    for text in &texts {
        assert!(
            text.bytes().all(|byte| byte == b'\n' || (b' '..=b'~').contains(&byte)),
            "plain ASCII: {text:?}"
        );
    }
    texts.iter().map(|text| text.lines().map(line).collect()).collect()
}

fn lab(values: &[String; 8]) -> String {
    let [name, domain, title, argument, host, directory, disk, key] = values.each_ref().map(String::as_str);
    let mirror = format!("http://{host}/{directory}");
    format!(
        "[network]\naddress = \"10.77.0.1/24\"\ndomain = {}\n\
         [[nodes]]\nname = {}\nmac = \"52:54:00:00:00:01\"\naddress = \"10.77.0.11\"\nprofile = \"x\"\ninstall-to = {}\n\
         [profiles.x]\nkind = \"debian-installer\"\narchitecture = \"arm64\"\ntitle = {}\narguments = [{}]\nmirror = {}\nauthorized-keys = [{}]\n",
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

#[test]
fn the_plain_lab_is_valid_and_spiked_ones_can_be() {
    let title_with_comma = VALID.map(|value| if value == "Title" { "Title, (1)" } else { value }.to_owned());
    for values in [VALID.map(str::to_owned), title_with_comma] {
        assert_eq!(shape(&parse(&lab(&values)).expect("valid")).len(), 8);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn hostile_values_stay_in_their_place(spikes in VALID.map(spiked), first in 0..8usize, second in 0..8usize) {
        let mut values = VALID.map(str::to_owned);
        for which in [first, second] {
            values[which].clone_from(&spikes[which]);
        }
        if let Ok(hostile) = parse(&lab(&values)) {
            let plain = parse(&lab(&VALID.map(str::to_owned))).expect("the plain lab is valid");
            prop_assert_eq!(shape(&hostile), shape(&plain));
        }
    }
}
