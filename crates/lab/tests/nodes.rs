//! Groups, channels, configurations, the cluster and power: what is wrong with them is said where it stands.

use pilotlight_lab::{Lab, Power, ProfileKind, Variable, parse};

const BASE: &str = r#"
[network]
address = "10.77.0.1/24"
[profiles.flat]
kind = "flatcar"
[profiles.talos]
kind = "talos"
[configs.cloud]
kind = "cloud-config"
template = ""
[configs.fire]
kind = "butane"
template = ""
[power.strip]
kind = "web-switch"
url = "http://10.77.0.250/"
[groups.all]
variables = { a = 1, b = "group" }
[groups.some]
extends = "all"
profile = "flat"
variables = { b = "some" }
[[nodes]]
name = "a"
mac = "52:54:00:00:00:01"
address = "10.77.0.11"
"#;

fn good(rest: &str) -> Lab {
    let text = format!("{BASE}{rest}");
    parse(&text).unwrap_or_else(|problems| panic!("{}", problems.render("lab.toml", &text, false)))
}

/// What is said of `rest`, line by line, without where.
fn said(rest: &str) -> Vec<String> {
    let problems = parse(&format!("{BASE}{rest}")).expect_err(rest);
    let line = |problem: &pilotlight_lab::Problem| {
        let hint = problem.hint.as_ref().map_or(String::new(), |hint| format!(" ({hint})"));
        format!("{}: {}{hint}", problem.key, problem.message)
    };
    problems.iter().map(line).collect()
}

#[test]
fn a_nodes_own_words_count_more_than_its_groups() {
    let lab = good("group = \"some\"\nvariables = { c = [true, [\"x\"]] }\nconfig = \"fire\"");
    let node = &lab.nodes[0];
    assert_eq!(node.profile.as_deref(), Some("flat"));
    let list = Variable::List(vec![Variable::Truth(true), Variable::List(vec![Variable::Text("x".into())])]);
    let expect = [("a", Variable::Integer(1)), ("b", Variable::Text("some".into())), ("c", list)];
    assert_eq!(node.variables, expect.map(|(name, value)| (name.to_owned(), value)).into());
    assert!(
        matches!(&lab.profiles["flat"].kind, ProfileKind::Release(release) if release.channel == "stable")
    );
}

#[test]
fn disks_are_named_by_purpose() {
    let disks = |text: &str| good(&format!("disks = {text}")).nodes[0].disks.clone();
    let named = disks("{ scratch = \"S4X9-NF0M\", state = \"nvme_1\" }");
    assert_eq!(named.named(), [("state", "nvme_1"), ("scratch", "S4X9-NF0M")]);
    assert_eq!(disks("{ state = \"nvme_1\" }").named(), [("state", "nvme_1")]);
    assert_eq!(disks("{}").named(), []);
}

#[test]
fn power_is_one_of_three() {
    let power = |text: &str| good(&format!("power = {text}")).nodes[0].power.clone();
    let device = || "strip".to_owned();
    assert_eq!(
        power("{ device = \"strip\", outlet = 3 }"),
        Some(Power::Outlet { device: device(), outlet: 3 })
    );
    let system = Power::System { device: device(), system: "1".to_owned() };
    assert_eq!(power("{ device = \"strip\", system = \"1\" }"), Some(system));
    assert_eq!(power("{ wake-on-lan = true }"), Some(Power::WakeOnLan));
}

#[test]
fn every_mistake_is_said() {
    insta::assert_snapshot!(
        [
            "group = \"al\"",
            "channel = \"stable\"\nprofile = \"local-disk\"",
            "channel = \"stabel\"\ngroup = \"some\"",
            "channel = \"1.11\"\nprofile = \"talos\"",
            "config = \"cloud\"\ngroup = \"some\"",
            "config = \"cluod\"",
            "config = \"cloud\"\nprofile = \"local-disk\"",
            "variables = { my-key = 1 }",
            "variables = { a = 1.5 }",
            "variables = { a = [[[[1]]]] }",
            "variables = { a = \"\\u0007\" }",
            "power = { device = \"strip\" }",
            "power = { device = \"strpi\", outlet = 1 }",
            "power = { device = \"strip\", outlet = 65 }",
            "disks = { scratch = \"S1\", state = \"S1\" }",
            "disks = { scratch = \"a b\" }",
            "disks = { state = \"S1\" }\nprofile = \"local-disk\"",
            "[groups.x]\nextends = \"y\"\n[groups.y]\nextends = \"x\"",
            "[groups.x]\nextends = \"x\"",
            "[groups.x]\nextends = \"y\"\n[groups.y]\nextends = \"y\"",
            "[groups.x]\nextends = \"nobody\"",
            &(1..9)
                .map(|n| format!("[groups.g{n}]\nextends = \"g{}\"\n", n + 1))
                .chain(["[groups.g9]".to_owned()])
                .collect::<String>(),
            "[profiles.p]\nkind = \"flatcar\"\nchannel = \"edge\"",
            "[profiles.p]\nkind = \"flatcar\"\nversions = { stable = \"../1\", nightly = \"1\" }",
            "[profiles.p]\nkind = \"custom\"\nlinux = \"../etc/shadow\"",
            "[profiles.p]\nkind = \"debian-live\"\nlinux = \"files/linux\"",
            "[kubernetes]",
            "[kubernetes]\napi = \"10.77.0.11\"\npods = \"10.3.0.0/16\"",
            "[kubernetes]\napi = \"10.77.0.11\"\npods = \"10.77.0.0/16\"",
            "[kubernetes]\napi = \"a_b\"\nversion = \"1.34\"\nservices = \"10.3.0.1/24\"",
            "[mirror]\nimages = [\"registry.k8s.io/pause:3.10\", \"pause@sha256:00\"]",
            "[mirror]\nurls = [{ url = \"ftp://a.example/x\", sha256 = \"00\" }]",
            "[mirror]\nurls = [{ url = \"https://me@a.example/x\" }]",
            "[power.web]\nkind = \"redfish\"\nurl = \"http://a.example\"\ncertificate-sha256 = \"0\"",
            "[configs.c]\nkind = \"cloudinit\"\ntemplate = \"\"",
        ]
        .map(|rest| format!("{rest}\n    {}", said(rest).join("\n    ")))
        .join("\n\n")
    );
}

#[test]
fn what_groups_say_holds_for_their_nodes() {
    let lab = parse(include_str!("../examples/origin.toml")).expect("an example that is right");
    let node = |name: &str| lab.node_by_name(name).expect("it is there");
    let words = |name: &str| {
        let node = node(name);
        (node.profile.as_deref(), node.channel.as_deref(), node.role.map(|role| role.name()))
    };
    assert_eq!(words("node1"), (Some("flatcar"), Some("stable"), Some("controller")));
    assert_eq!(words("node2"), (Some("flatcar"), Some("stable"), Some("worker")));
    assert_eq!(words("node4"), (Some("flatcar"), Some("alpha"), Some("worker")));
    assert_eq!(words("node7"), (Some("flatcar"), Some("beta"), Some("worker")));
    assert_eq!(node("node7").ssh_keys.len(), 1);
    assert_eq!(lab.kubernetes.as_ref().map(|one| one.api.as_str()), Some("10.77.0.11"));
}
