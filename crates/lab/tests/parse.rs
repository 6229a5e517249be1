//! `lab.toml` as people write it: right, wrong, and thoroughly wrong.

use std::{net::Ipv4Addr, time::Duration};

use pilotlight_lab::{Lab, Loader, Mode, ProfileKind, parse};

const DEFAULT: &str = include_str!("../../../image-overlay/usr/share/pilotlight/lab.toml");

fn good(text: &str) -> Lab {
    parse(text).unwrap_or_else(|problems| panic!("{}", problems.render("lab.toml", text, false)))
}

/// A lab with one more line in one of its places.
fn lab(network: &str, node: &str, rest: &str) -> String {
    format!(
        "[network]\naddress = \"10.77.0.1/24\"\n{network}\n\
         [[nodes]]\nname = \"a\"\nmac = \"52:54:00:00:00:01\"\naddress = \"10.77.0.11\"\n{node}\n{rest}\n"
    )
}

#[test]
fn the_default_lab_is_valid() {
    let lab = good(DEFAULT);
    assert_eq!((lab.network.address, lab.network.prefix), (Ipv4Addr::new(10, 77, 0, 1), 24));
    let pool = lab.network.pool.expect("a pool");
    assert_eq!((pool.first, pool.last), (Ipv4Addr::new(10, 77, 0, 100), Ipv4Addr::new(10, 77, 0, 199)));
    assert_eq!(lab.network.domain, "lab.home.arpa");
    assert!(lab.network.probe_first, "it does not know yet which network it is on");
    assert!(lab.nodes.is_empty(), "it installs nothing anywhere");
    assert_eq!(lab.profiles.keys().collect::<Vec<_>>(), ["debian-installer", "local-disk"]);
}

#[test]
fn operators_are_known_by_name_and_key() {
    const KEY: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA0000000000000000000000000000000000000000000 me@desk";
    let operators = |text: &str| lab("", "", &format!("[[operators]]\n{text}"));
    let found = good(&operators(&format!("name = \"me\"\nkey = \"{KEY}\""))).operators;
    assert_eq!(
        found.iter().map(|one| (one.name.as_str(), one.key.as_str())).collect::<Vec<_>>(),
        [("me", KEY)]
    );
    let check = |text: &str, expect: &str| {
        let text = operators(text);
        let said = parse(&text).unwrap_err().render("lab.toml", &text, false);
        assert!(said.contains(expect), "{said}");
    };
    check("name = \"me\"", "operators[1].key");
    check("name = \"me\"\nkey = \"-----BEGIN OPENSSH PRIVATE KEY-----\"", "this is no public SSH key");
    // Options would be a way past what the key is for.
    check(&format!("name = \"me\"\nkey = \"command=\\\"sh\\\" {KEY}\""), "this is no public SSH key");
    check(
        &format!("name = \"me\"\nkey = \"{KEY}\"\n[[operators]]\nname = \"me\"\nkey = \"{KEY}\""),
        "this operator, me, is given twice",
    );
    check(&format!("nmae = \"me\"\nkey = \"{KEY}\""), "did you mean `name`?");
}

#[test]
fn who_has_a_way_out_asks_somebody_for_the_time() {
    let asked = |network: &str| good(&lab(network, "", "")).network.upstream_time;
    assert_eq!(asked(""), [""; 0]);
    let pool = asked("upstream = [\"10.77.0.254\"]");
    assert_eq!((pool.len(), pool[0].as_str()), (4, "0.debian.pool.ntp.org"));
    assert_eq!(asked("upstream = [\"10.77.0.254\"]\nupstream-time = []"), [""; 0]);
    assert_eq!(asked("upstream-time = [\"time.example\", \"10.77.0.254\"]"), ["time.example", "10.77.0.254"]);
    let check = |network: &str, expect: &str| {
        let text = lab(network, "", "");
        let said = parse(&text).unwrap_err().render("lab.toml", &text, false);
        assert!(said.contains(expect), "{said}");
    };
    check("upstream-time = [\"Time Example\"]", "network.upstream-time");
    check("upstream-time = [\"10.77.0.256\"]", "network.upstream-time");
    check("upstream-time = [\"10.77.0.1\"]", "is the Pi itself");
    let many = ["\"time.example\""; 9].join(", ");
    check(&format!("upstream-time = [{many}]"), "more than 8 time servers");
}

/// What the default lab shows in comments works once the `#` are taken away.
#[test]
fn the_examples_in_the_default_lab_are_valid() {
    let is_code = |line: &str| {
        let line = line.trim_start_matches("# ");
        line.starts_with('[') || line.split_once(" = ").is_some_and(|(key, _)| !key.contains(' '))
    };
    let lines = DEFAULT.lines().map(|line| match line.strip_prefix("# ") {
        Some(example) if is_code(line) => example,
        _ => line,
    });
    // The way out belongs to [network], which it follows.
    let text: String = lines.collect::<Vec<_>>().join("\n");
    let lab = good(&text);
    assert_eq!(lab.nodes.len(), 1);
    assert_eq!(lab.nodes[0].install_to.as_deref(), Some("/dev/sda"));
    assert_eq!(lab.network.router, Some(Ipv4Addr::new(10, 77, 0, 254)));
    assert!(lab.profiles.contains_key("serial-install"));
}

#[test]
fn every_key_is_read() {
    let text = r#"
        [network]
        interface = "enp1s0"
        address = "192.168.8.2/22"
        domain = "rack.example"
        router = "192.168.8.1"
        dns = ["192.168.8.1", "9.9.9.9"]
        lease = "90m"
        probe-first = true
        pool = { first = "192.168.10.0", last = "192.168.10.255" }

        [[nodes]]
        name = "n-1"
        mac = "52-54-00-AB-CD-EF"
        address = "192.168.10.7"
        profile = "trixie"
        loader = "pxelinux"
        install-to = "/dev/disk/by-id/ata-Disk_1.2:3+4"

        [profiles.trixie]
        kind = "debian-installer"
        title = "Debian 13, serial"
        release = 13
        architecture = "arm64"
        arguments = ["console=ttyS0,115200", "nomodeset"]
        mirror = "http://192.168.8.9:3142/debian/"
    "#;
    let lab = good(text);
    assert_eq!(lab.network.interface, "enp1s0");
    assert_eq!(lab.network.lease, Duration::from_secs(5400));
    assert_eq!(lab.network.dns.len(), 2);
    let node = lab.node_by_name("n-1").expect("the node");
    assert_eq!(node.loader, Loader::Pxelinux);
    assert_eq!(node.profile.as_deref(), Some("trixie"));
    assert_eq!(lab.node_by_mac(node.mac), lab.node_by_address(node.address.unwrap()));
    let ProfileKind::DebianInstaller { architecture, mirror, .. } = &lab.profiles["trixie"].kind else {
        panic!("an installer");
    };
    let mirror = mirror.as_ref().expect("a mirror");
    assert_eq!((architecture.name(), lab.profiles["trixie"].arguments.len()), ("arm64", 2));
    assert_eq!((mirror.host.as_str(), mirror.directory.as_str()), ("192.168.8.9:3142", "/debian"));
}

/// The reference says what the parser does.
#[test]
fn the_example_in_the_reference_is_valid() {
    let page = include_str!("../../../docs/lab.md");
    let example =
        page.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).expect("an example");
    assert_eq!(good(example).nodes.len(), 2);
    for key in [
        "address",
        "interface",
        "domain",
        "router",
        "dns",
        "lease",
        "mode",
        "probe-first",
        "pool",
        "first",
        "last",
        "name",
        "mac",
        "profile",
        "loader",
        "install-to",
        "kind",
        "title",
        "release",
        "architecture",
        "arguments",
        "mirror",
        "authorized-keys",
    ] {
        assert!(page.contains(&format!("| `{key}` |")), "{key} is explained");
    }
}

#[test]
fn beside_another_server_addresses_are_its_own_affair() {
    let text = "[network]\naddress = \"192.168.1.9/24\"\nmode = \"proxy\"\n\
                [[nodes]]\nname = \"a\"\nmac = \"52:54:00:00:00:01\"\n\
                [[nodes]]\nname = \"b\"\nmac = \"52:54:00:00:00:02\"\naddress = \"192.168.1.20\"";
    let lab = good(text);
    assert_eq!(lab.network.mode, Mode::Proxy);
    assert_eq!(lab.nodes.iter().map(|node| node.address.is_some()).collect::<Vec<_>>(), [false, true]);
    assert!(!lab.network.isolated() && good("[network]\naddress = \"10.77.0.1/24\"").network.isolated());
}

/// Each faulty line gives exactly the one problem that it is.
#[test]
fn each_mistake_is_named() {
    let network = |line: &str| lab(line, "", "");
    let node = |line: &str| lab("", line, "");
    let rest = |text: &str| lab("", "", text);
    let second = |name: &str, mac: &str, address: &str| {
        rest(&format!("[[nodes]]\nname = \"{name}\"\nmac = \"{mac}\"\naddress = \"{address}\""))
    };
    let cases = [
        (String::new(), "network: this key is missing"),
        ("[network]".into(), "network.address: this key is missing"),
        (
            "[network]\naddress = \"10.77.0.1\"".into(),
            "does not say how large the network is (write \"10.77.0.1/24\"",
        ),
        ("[network]\naddress = \"10.77.0.1/31\"".into(), "/31 is no length of a network prefix"),
        ("[network]\naddress = \"10.77.0.0/24\"".into(), "names the network itself"),
        ("[network]\naddress = \"127.0.0.1/24\"".into(), "no address that a machine can have"),
        ("[network]\naddress = 10".into(), "a text in quotes is wanted here, not a whole number"),
        ("network = 3".into(), "a table, as in `[network]`, is wanted here"),
        (
            network("router = \"10.78.0.1\""),
            "network.router: 10.78.0.1 does not lie in the lab's network 10.77.0.0/24",
        ),
        (network("router = \"10.77.0.255\""), "broadcast address"),
        (network("dns = \"10.77.0.2\""), "a list of texts is wanted here, not a text"),
        (network("dns = [\"9.9.9.9\", 8]"), "network.dns[2]: a text in quotes is wanted"),
        (network("lease = \"1w\""), "\"1w\" is no duration (write a number and s, m, h or d"),
        (network("lease = \"8d\""), "out of range"),
        (network("lease = \"119s\""), "out of range"),
        (network("lease = \"99999999999999999999d\""), "no duration"),
        (network("probe-first = \"yes\""), "true or false is wanted here, not a text"),
        (network("probe_first = true"), "there is no such key (did you mean `probe-first`?)"),
        (network("mode = \"prox\""), "\"prox\" is no mode (did you mean `proxy`?)"),
        (network("mode = \"proxy\"\nlease = \"1h\""), "network.lease: the Pi gives out no addresses"),
        (
            network("mode = \"proxy\"\nprobe-first = true"),
            "network.probe-first: the Pi gives out no addresses",
        ),
        (
            network("mode = \"proxy\"\npool = { first = \"10.77.0.9\", last = \"10.77.0.12\" }"),
            "network.pool: the Pi gives out no addresses",
        ),
        (
            rest("[[nodes]]\nname = \"z\"\nmac = \"52:54:00:00:00:09\""),
            "nodes[2].address: this key is missing",
        ),
        (network("domain = \"lab..arpa\""), "is no domain"),
        (network("domain = \"lab.arpa.\""), "without its last dot"),
        (network("interface = \"eth0; reboot\""), "is no interface"),
        (network("interface = \"lo\""), "loopback"),
        (network("pool = { first = \"10.77.0.9\" }"), "network.pool.last: this key is missing"),
        (
            network("pool = { first = \"10.77.0.9\", last = \"10.77.0.8\" }"),
            "lies after the pool's last address",
        ),
        (network("pool = { first = \"10.77.0.1\", last = \"10.77.0.8\" }"), "holds the Pi's own address"),
        (
            network("pool = { first = \"10.77.0.9\", last = \"10.77.1.9\" }"),
            "network.pool.last: 10.77.1.9 does not lie",
        ),
        (
            network("dns = [\"10.77.0.20\"]\npool = { first = \"10.77.0.9\", last = \"10.77.0.30\" }"),
            "lies in the pool",
        ),
        (
            node("profile = \"debian-instaler\""),
            "there is no profile \"debian-instaler\" (did you mean `debian-installer`?)",
        ),
        (node("profil = \"local-disk\""), "nodes[1].profil: there is no such key (did you mean `profile`?)"),
        (node("loader = \"lilo\""), "no boot loader (known: ipxe, undionly, pxelinux, lpxelinux, grub)"),
        (node("loader = \"lpxelinus\""), "no boot loader (did you mean `lpxelinux`?)"),
        (node("install-to = \"sda\""), "must begin with /dev/"),
        (node("install-to = \"/dev/sda string x\""), "' ' is not allowed"),
        (node("install-to = \"/dev/../etc/passwd\""), "is no disk"),
        (node("install-to = \"/dev/sda\\n\""), "'\\n' is not allowed"),
        (
            second("a", "52:54:00:00:00:02", "10.77.0.12"),
            "nodes[2].name: this name, a, is given twice: nodes[1].name",
        ),
        (second("b", "52-54-00-00-00-01", "10.77.0.12"), "nodes[2].mac: this hardware address"),
        (
            second("b", "52:54:00:00:00:02", "10.77.0.11"),
            "nodes[2].address: this address, 10.77.0.11, is given twice",
        ),
        (second("b", "53:54:00:00:00:02", "10.77.0.12"), "group address"),
        (second("b", "00:00:00:00:00:00", "10.77.0.12"), "stands for no machine"),
        (second("b", "52:54:00:00:00", "10.77.0.12"), "is no hardware address"),
        (second("b", "52:54:00:00:00:02", "10.77.0.1"), "the Pi's own address"),
        (second("b", "52:54:00:00:00:02", "10.77.1.1"), "does not lie in the lab's network"),
        (second("b", "52:54:00:00:00:02", "10.77.0.0"), "names the network itself"),
        (second("Node", "52:54:00:00:00:02", "10.77.0.12"), "capital letters (write \"node\")"),
        (second("-b", "52:54:00:00:00:02", "10.77.0.12"), "hyphen"),
        (second("b_1", "52:54:00:00:00:02", "10.77.0.12"), "'_' is not allowed"),
        (second("", "52:54:00:00:00:02", "10.77.0.12"), "this one has 0"),
        (rest("[profiles.x]"), "profiles.x.kind: this key is missing"),
        (rest("[profiles.x]\nkind = \"local-dsk\""), "did you mean `local-disk`?"),
        (
            rest("[profiles.x]\nkind = \"local-disk\"\nrelease = 13"),
            "profiles.x.release: there is no such key",
        ),
        (rest("[profiles.X]\nkind = \"local-disk\""), "a profile's name has"),
        (rest("[profiles.x]\nkind = \"debian-installer\"\nrelease = 3"), "3 is no Debian release"),
        (
            rest("[profiles.x]\nkind = \"debian-installer\"\narchitecture = \"amd46\""),
            "did you mean `amd64`?",
        ),
        (rest("[profiles.x]\nkind = \"debian-installer\"\narguments = [\"a b\"]"), "a text of its own"),
        (
            rest("[profiles.x]\nkind = \"debian-installer\"\narguments = [\"${net0/mac}\"]"),
            "'$' is not allowed",
        ),
        (
            rest("[profiles.x]\nkind = \"debian-installer\"\ntitle = \"x || shell\""),
            "'|' is not allowed in a title",
        ),
        (
            rest("[profiles.x]\nkind = \"debian-installer\"\nmirror = \"ftp://x/debian\""),
            "must begin with http://",
        ),
        (rest("[profiles.x]\nkind = \"debian-installer\"\nmirror = \"http://x\""), "names no directory"),
        (
            rest("[profiles.x]\nkind = \"debian-installer\"\nmirror = \"http://x y/debian\""),
            "' ' is not allowed",
        ),
        (
            rest(&format!(
                "[profiles.x]\nkind = \"debian-installer\"\narguments = [{}]",
                "\"a\",".repeat(17)
            )),
            "profiles.x.arguments[17]: 16 arguments are the most",
        ),
        (rest("[profiles.local-disk]\nkind = \"debian-installer\""), "can only boot the local disk"),
        (
            rest("[profiles.x]\nkind = \"debian-installer\"\nauthorized-keys = [\"ssh-dss AAAAB3\"]"),
            "begins with no known kind of key",
        ),
        (
            rest("[profiles.x]\nkind = \"debian-installer\"\nauthorized-keys = [\"ssh-ed25519 AAAA' me\"]"),
            "'\\'' is not allowed",
        ),
        (rest("nodez = 1"), "nodes[1].nodez: there is no such key"),
        ("nodez = 1\n".to_owned() + &rest(""), "nodez: there is no such key (did you mean `nodes`?)"),
    ];
    for (text, expect) in cases {
        let problems = parse(&text).expect_err(&text);
        let said = problems.to_string();
        assert!(said.contains(expect), "{expect:?} is wanted, not {said:?}, for\n{text}");
        assert_eq!(problems.count(), 1, "{said}\n{text}");
    }
}

const FIVE_MISTAKES: &str = r#"[network]
address = "10.77.0.1/24"
leese = "1h"

[network.pool]
first = "10.77.0.199"
last = "10.77.0.100"

[[nodes]]
name = "node one"
mac = "52:54:00:12:34:5g"
address = "10.77.0.11"
profile = "debian-instaler"
"#;

#[test]
fn five_mistakes_are_found_in_one_pass() {
    let problems = parse(FIVE_MISTAKES).expect_err("five mistakes");
    assert_eq!(problems.count(), 5);
    assert_eq!(problems.iter().map(|problem| problem.line).collect::<Vec<_>>(), [3, 6, 10, 11, 13]);
    insta::assert_snapshot!("five_mistakes", problems.render("lab.toml", FIVE_MISTAKES, false));
    insta::assert_snapshot!("five_mistakes_in_lines", problems);
    assert!(problems.render("lab.toml", FIVE_MISTAKES, true).contains("\u{1b}["), "colour");
}

#[test]
fn faults_of_the_toml_itself_are_shown_alike() {
    let text = "[network]\naddress = 10.77.0.1/24\n[[nodes]\nname = \"a\"\n";
    let problems = parse(text).expect_err("no TOML");
    insta::assert_snapshot!("no_toml", problems.render("lab.toml", text, false));
}

#[test]
fn a_file_that_is_too_long_is_refused() {
    let text = "#".repeat(pilotlight_lab::MAX_LENGTH + 1);
    assert_eq!(parse(&text).expect_err("too long").count(), 1);
}
