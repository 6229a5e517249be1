//! What nodes are configured with, and that nothing in a lab leaves its place.

use std::process::Command;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use pilotlight_lab::{Disks, Lab, Role, Variable, parse};
use pilotlight_provision::{CERTIFICATES, DISKS, Provision, ProvisionError, REPORT, metadata, provision};
use proptest::prelude::*;
use serde_json::Value;

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA0000000000000000000000000000000000000000000 me@desk";

/// A lab with one node of `profile`, with a configuration of `kind` by `template` where one is given.
fn lab(profile: &str, config: Option<(&str, &str)>) -> Lab {
    let (more, config) = match config {
        Some((kind, template)) => (
            format!("[configs.own]\nkind = \"{kind}\"\ntemplate = '''\n{template}'''\n"),
            "config = \"own\"\n",
        ),
        None => (String::new(), ""),
    };
    let text = format!(
        "ssh-keys = [\"{KEY}\"]\n\
         [network]\naddress = \"10.77.0.1/24\"\n\
         [kubernetes]\nversion = \"1.34.1\"\n\
         [profiles]\n\
         p = {{ kind = \"{profile}\"{} }}\n\
         {more}\
         [[nodes]]\nname = \"node1\"\nmac = \"52:54:00:00:00:01\"\naddress = \"10.77.0.11\"\n\
         role = \"controller\"\nprofile = \"p\"\n{config}variables = {{ greeting = \"hello\", list = [1, \"b\"] }}\n",
        if profile == "custom" { ", linux = \"files/linux\"" } else { "" },
    );
    parse(&text).unwrap_or_else(|problems| panic!("{}", problems.render("lab.toml", &text, false)))
}

fn made(lab: &Lab) -> Result<Provision, ProvisionError> {
    provision(lab, &lab.nodes[0]).map(|provision| provision.expect("the node is configured"))
}

fn shown(provision: &Provision) -> String {
    let text = |text: &pilotlight_provision::Text| format!("==> {}\n{}", text.name, text.body);
    provision.texts.iter().map(text).collect::<Vec<_>>().join("\n")
}

/// The configuration that is merged into ours.
fn merged(text: &str) -> Value {
    let value: Value = serde_json::from_str(text).unwrap();
    let source = value["ignition"]["config"]["merge"][0]["source"].as_str().unwrap();
    let bytes = STANDARD.decode(source.strip_prefix("data:;base64,").unwrap()).unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

#[test]
fn nodes_are_configured_without_a_template() {
    insta::assert_snapshot!("debian_ram", shown(&made(&lab("debian-ram", None)).unwrap()));
    insta::assert_snapshot!("flatcar", shown(&made(&lab("flatcar", None)).unwrap()));
    assert_eq!(provision(&lab("custom", None), &lab("custom", None).nodes[0]), Ok(None));
    let said = made(&lab("talos", None)).unwrap_err().to_string();
    insta::assert_snapshot!(said, @"node1: Talos has no configuration of its own here: give the node a `config` of the kind talos");
}

#[test]
fn certificates_are_for_nodes_with_a_part_in_the_cluster() {
    let scripted = |lab: &Lab| {
        let texts = made(lab).expect("it is configured").texts;
        texts.into_iter().find(|text| text.name == CERTIFICATES).map(|text| text.body)
    };
    let controller = scripted(&lab("debian-ram", None)).expect("a script");
    let mut worker = lab("debian-ram", None);
    worker.nodes[0].role = Some(Role::Worker);
    let worker = scripted(&worker).expect("a script");
    assert!(worker.contains("purposes=\"kubelet kubelet-serving\"\n"), "{worker}");
    assert!(!worker.contains("etcd-server"), "{worker}");
    let shell = Command::new("sh").args(["-n", "-c", &controller]).output().expect("a shell");
    assert!(shell.status.success(), "{}", String::from_utf8_lossy(&shell.stderr));
    let (mut none, mut nowhere, mut alone) =
        (lab("debian-ram", None), lab("debian-ram", None), lab("debian-ram", None));
    none.nodes[0].role = None;
    nowhere.nodes[0].address = None;
    alone.kubernetes = None;
    for lab in [none, alone] {
        assert_eq!(scripted(&lab), None);
    }
    assert!(!nowhere.is_enrolled(&nowhere.nodes[0]));
}

#[test]
fn disks_are_mounted_by_what_mounts_them() {
    let named = |profile: &str| {
        let mut lab = lab(profile, None);
        lab.nodes[0].disks =
            Disks { scratch: Some("S4X9-NF0M".to_owned()), state: Some("nvme_1".to_owned()) };
        lab
    };
    for profile in ["debian-ram", "flatcar"] {
        let texts = made(&named(profile)).expect("it is configured").texts;
        let script = texts.iter().find(|text| text.name == DISKS).expect("a script");
        let facts = "own=http://10.77.0.1/node/52-54-00-00-00-01\ndisks=\"state=nvme_1 scratch=S4X9-NF0M\"\n";
        assert!(script.body.contains(facts), "{}", script.body);
        let shell = Command::new("sh").args(["-n", "-c", &script.body]).output().expect("a shell");
        assert!(shell.status.success(), "{}", String::from_utf8_lossy(&shell.stderr));
        assert!(made(&lab(profile, None)).unwrap().texts.iter().all(|text| text.name != DISKS));
    }
    // Our own Debian has the unit already.
    let ignition = shown(&made(&named("flatcar")).unwrap());
    assert!(ignition.contains("\"name\": \"pilotlight-disks.service\""), "{ignition}");
    assert!(
        ignition.contains("Before=containerd.service docker.service etcd.service kubelet.service"),
        "{ignition}"
    );
}

/// Systems are told to report by whatever configures them; our own Debian does by itself, and not twice.
#[test]
fn a_node_reports_that_it_is_up_once() {
    let ignition = "{\"ignition\": {\"version\": \"3.3.0\"}}\n";
    for (profile, kind, template, is_told) in [
        ("debian-ram", "cloud-config", "{}\n", false),
        ("debian-ram", "ignition", ignition, false),
        ("custom", "cloud-config", "{}\n", true),
        ("custom", "ignition", ignition, true),
        ("flatcar", "ignition", ignition, true),
    ] {
        let texts = made(&lab(profile, Some((kind, template)))).expect("it is configured").texts;
        let (scripts, configuration): (Vec<_>, Vec<_>) =
            texts.iter().partition(|text| [CERTIFICATES, REPORT].contains(&text.name));
        let times = |texts: &[&pilotlight_provision::Text], what: &str| -> usize {
            texts.iter().map(|text| text.body.matches(what).count()).sum()
        };
        let phones = times(&configuration, "http://10.77.0.1/node/52-54-00-00-00-01/ready");
        let runs = times(&configuration, "\"name\": \"pilotlight-report.service\"");
        assert_eq!(phones + runs, usize::from(is_told), "{profile} by {kind}");
        // Whoever runs the script, by what it was told or by itself, finds it.
        let tells = times(&scripts, "/ready\"\n");
        assert_eq!(tells, 1 - phones, "{profile} by {kind}");
    }
}

#[test]
fn the_installer_is_answered_for_the_lab_first() {
    let text = &made(&lab("debian-installer", Some(("preseed", "d-i pkgsel/include string sudo vim\n"))))
        .unwrap()
        .texts[0];
    assert_eq!(text.name, "preseed.cfg");
    assert!(text.body.starts_with("#_preseed_V1\n"), "{}", text.body);
    assert!(text.body.ends_with("# The lab's own.\nd-i pkgsel/include string sudo vim\n"), "{}", text.body);
}

#[test]
fn what_matchbox_calls_metadata() {
    let lab = lab("debian-ram", None);
    let query =
        [("mac", "52-54-00-00-00-01"), ("os-name", "in stalled"), ("9x", "1"), ("a;b", "2"), ("", "3")];
    let query = query.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let raw = "mac=52-54-00-00-00-01&os-name=in+stalled";
    insta::assert_snapshot!(metadata(&lab, &lab.nodes[0], &query, raw));
}

#[test]
fn a_cloud_config_of_the_labs_own() {
    let template = "packages: {{ variables.list }}\n\
                    runcmd:\n  - [echo, {{ variables.greeting }}, {{ node.fqdn }}, {{ kubernetes.api_service }}]\n\
                    {% for key in ssh_keys %}# {{ key }}\n{% endfor %}\
                    write_files:\n  - path: /etc/{{ node.name | plain }}.conf\n    content: {{ nodes[0].address }}\n";
    insta::assert_snapshot!(
        made(&lab("debian-ram", Some(("cloud-config", template)))).unwrap().texts[0].body
    );
}

#[test]
fn butane_becomes_ignition() {
    let template = "variant: flatcar\nversion: 1.0.0\n\
                    passwd:\n  users:\n    - name: core\n      ssh_authorized_keys: {{ ssh_keys }}\n\
                    storage:\n  files:\n    - path: /etc/motd\n      mode: 0644\n      contents:\n        inline: {{ variables.greeting }}\n";
    let text = &made(&lab("flatcar", Some(("butane", template)))).unwrap().texts[0].body;
    insta::assert_snapshot!(format!("{:#}", merged(text)));
}

#[test]
fn every_mistake_is_said() {
    let said = |profile: &str, kind: &str, template: &str| {
        made(&lab(profile, Some((kind, template)))).expect_err(template).to_string()
    };
    insta::assert_snapshot!(
        [
            said("debian-ram", "cloud-config", "a: {{ variables.nobody }}\n"),
            said("debian-ram", "cloud-config", "a: {{ nothing.at.all }}\n"),
            said("debian-ram", "cloud-config", "a: {{ node.name | safe }}\n"),
            said("debian-ram", "cloud-config", "a: {{ node.name \n"),
            said("debian-ram", "cloud-config", "a: /x/{{ ssh_keys[0] | plain }}\n"),
            said("debian-ram", "cloud-config", "- a list\n"),
            said("debian-ram", "cloud-config", "a: \"{{ node.name }}\"\n"),
            said(
                "debian-ram",
                "cloud-config",
                "{% for i in range(9999) %}{% for j in range(9999) %}x{% endfor %}{% endfor %}"
            ),
            said("debian-ram", "ignition", "{ \"ignition\": { \"version\": \"3.4.0\" } }"),
            said("debian-ram", "ignition", "{ \"ignition\": { \"version\": \"2.2.0\" } }"),
            said("debian-ram", "ignition", "{ }"),
            said("flatcar", "butane", "variant: flatcar\nversion: 9.0.0\n"),
            said("flatcar", "butane", "variant: flatcar\nversion: 1.1.0\n"),
            said("flatcar", "butane", "storage: {}\n"),
            said("flatcar", "butane", "variant: flatcar\nversion: 1.0.0\nstorage: { trees: [] }\n"),
            said("debian-installer", "preseed", "d-i x string {{ \"a\\nb\" }}\n"),
            said("talos", "talos", "a: b: c\n"),
        ]
        .join("\n")
    );
}

/// Every node of every lab in the tree is configured.
#[test]
fn the_examples_come_to_something() {
    for text in [
        include_str!("../../../lab/examples/origin.toml"),
        include_str!("../../../lab/examples/one-node.toml"),
        include_str!("../../../lab/examples/proxy.toml"),
    ] {
        let lab = parse(text).unwrap();
        for node in &lab.nodes {
            assert!(provision(&lab, node).unwrap().is_some(), "{}", node.name);
        }
    }
}

/// What people would write to get out of where they are.
fn evil() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        Just("\n".to_owned()),
        Just("\"".to_owned()),
        Just("'".to_owned()),
        Just("\\".to_owned()),
        Just("${net0/mac}".to_owned()),
        Just("{{ node.name }}".to_owned()),
        Just("\n#!ipxe\n".to_owned()),
        Just(": ".to_owned()),
        Just("\n- x".to_owned()),
        Just("\"]}".to_owned()),
        Just("---\n".to_owned()),
        Just("!!binary ".to_owned()),
        Just("\u{85}".to_owned()),
        Just("\u{2028}".to_owned()),
        Just("\u{feff}".to_owned()),
        Just("</script>".to_owned()),
        Just("# ".to_owned()),
        Just("&a *a".to_owned()),
        "\\PC{0,6}",
    ];
    prop::collection::vec(part, 0..6).prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// A value comes out of each language as it went in, and changes nothing beside it.
    #[test]
    fn nothing_leaves_its_place(text in evil()) {
        let with = |profile: &str, kind: &str, template: &str| {
            let mut lab = lab(profile, Some((kind, template)));
            lab.nodes[0].variables.insert("evil".to_owned(), Variable::Text(text.clone()));
            lab
        };
        let yaml = "before: 1\nat: {{ variables.evil }}\nin: [{{ variables.evil }}, {a: {{ variables.evil }}}]\nafter: 2\n";
        let read = |body: &str| serde_saphyr::from_str::<Value>(body).unwrap();
        let expect = serde_json::json!({ "before": 1, "at": text, "in": [text, { "a": text }], "after": 2 });
        let cloud = made(&with("debian-ram", "cloud-config", yaml)).unwrap();
        prop_assert_eq!(read(&cloud.texts[0].body), expect.clone());
        let talos = made(&with("talos", "talos", yaml)).unwrap();
        prop_assert_eq!(read(&talos.texts[0].body), expect);

        let json = "{ \"ignition\": { \"version\": \"3.3.0\" }, \"at\": {{ variables.evil }}, \"after\": 2 }";
        let fire = merged(&made(&with("debian-ram", "ignition", json)).unwrap().texts[0].body);
        prop_assert_eq!(&fire["at"], &Value::from(text.as_str()));
        prop_assert_eq!(&fire["after"], 2);
        prop_assert_eq!(fire.as_object().unwrap().len(), 3);

        let butane = "variant: fcos\nversion: 1.4.0\nstorage: { files: [{ path: /a, contents: { inline: {{ variables.evil }} } }] }\n";
        let fire = merged(&made(&with("fedora-coreos", "butane", butane)).unwrap().texts[0].body);
        let source = fire["storage"]["files"][0]["contents"]["source"].as_str().unwrap();
        let inline = STANDARD.decode(source.strip_prefix("data:;base64,").unwrap()).unwrap();
        prop_assert_eq!(String::from_utf8(inline).unwrap(), text.clone());

        // A preseed file has no way to quote: it is refused, or stays on its line.
        let preseed = "d-i a string 1\nd-i b string {{ variables.evil }}\nd-i c string 3\n";
        if let Ok(made) = made(&with("debian-installer", "preseed", preseed)) {
            let (_, own) = made.texts[0].body.split_once("# The lab's own.\n").unwrap();
            let lines: Vec<_> = own.lines().collect();
            let expect = format!("d-i b string {text}");
            prop_assert_eq!(lines, ["d-i a string 1", expect.as_str(), "d-i c string 3"]);
        }
        // Without quotes, only what is plain.
        let plain = "at: /a/{{ variables.evil | plain }}/b\n";
        match made(&with("debian-ram", "cloud-config", plain)) {
            Ok(made) => prop_assert_eq!(read(&made.texts[0].body), serde_json::json!({ "at": format!("/a/{text}/b") })),
            Err(_) => prop_assert!(text.contains(|c: char| !c.is_ascii_alphanumeric() && !"_.:/@+-".contains(c))),
        }
    }

    /// A shell reads each value as it is, but for what ends a line.
    #[test]
    fn no_value_leaves_its_line(text in evil()) {
        let mut lab = lab("debian-ram", None);
        lab.nodes[0].variables.insert("evil".to_owned(), Variable::Text(text.clone()));
        let query = [("evil".to_owned(), text.clone())];
        let mut script = metadata(&lab, &lab.nodes[0], &query, &text);
        script.push_str("printf '%s\\n' \"$EVIL\" \"$REQUEST_QUERY_EVIL\" \"$REQUEST_RAW_QUERY\" \"$NAME\"\n");
        let run = Command::new("sh").arg("-c").arg(&script).output().unwrap();
        let ends = |c: char| c.is_control() || matches!(c, '\u{85}' | '\u{2028}' | '\u{2029}');
        let expect = text.replace(ends, " ");
        let said = String::from_utf8(run.stdout).unwrap();
        prop_assert_eq!(said, format!("{0}\n{0}\n{0}\nnode1\n", expect));
        prop_assert!(run.stderr.is_empty());
    }

    /// No template makes the renderer panic or go on for ever.
    #[test]
    fn any_template_comes_to_something_or_is_refused(
        template in "(\\{\\{|\\}\\}|\\{%|%\\}| |node|variables|\\.|\\||for|in|range|if|endif|endfor|[a-z0-9]|\\n|\"|:){0,40}",
    ) {
        for (profile, kind) in [("debian-ram", "cloud-config"), ("flatcar", "butane"), ("custom", "text")] {
            let _ = made(&lab(profile, Some((kind, &template))));
        }
    }
}
