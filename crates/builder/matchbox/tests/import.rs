//! A lab of Matchbox's, and what it comes to: a lab that is taken, whose nodes are configured.

use std::collections::BTreeMap;

use pilotlight_matchbox::{Imported, Store, import};
use proptest::prelude::*;

const ADDRESS: &str = "192.168.1.2/24";

fn texts<const N: usize>(files: [(&str, &str); N]) -> BTreeMap<String, String> {
    files.into_iter().map(|(name, text)| (name.to_owned(), text.to_owned())).collect()
}

fn store() -> Store {
    Store {
        groups: texts([
            (
                "Node_1",
                r#"{"name":"first","profile":"worker","selector":{"mac":"52:54:00:a1:9c:ae","os":"installed"},
                    "metadata":{"domain-name":"node1.example.com","keys":["ssh-ed25519 AAAA a","ssh-ed25519 BBBB b"],
                    "replicas":3,"etcd":true,"nested":{"a":1}}}"#,
            ),
            (
                "node2",
                r#"{"profile":"live","selector":{"mac":"52-54-00-b2-2f-86"},"metadata":{"greeting":"he \"said\""}}"#,
            ),
            ("twice", r#"{"profile":"worker","selector":{"mac":"52:54:00:b2:2f:86"}}"#),
            ("rest", r#"{"profile":"live"}"#),
            ("board", r#"{"profile":"live","selector":{"uuid":"4c4c4544-0000","serial":"7"}}"#),
            (
                "box",
                r#"{"profile":"live","selector":{"uuid":"4c4c4544-0042-3510-8052-b4c04f564433","serial":"7"}}"#,
            ),
            ("label", r#"{"profile":"live","selector":{"serial":"CZ 1234/A"}}"#),
            ("everywhere", r#"{"profile":"live","selector":{"os":"installed"}}"#),
            ("odd", r#"{"profile":"none","selector":{"mac":"52:54:00:c3:61:77"}}"#),
        ]),
        profiles: texts([
            (
                "worker",
                r#"{"id":"worker","ignition_id":"worker.yaml","generic_id":"more","boot":{
                    "kernel":"http://beta.release.flatcar-linux.net/amd64-usr/3227.1.0/flatcar_production_pxe.vmlinuz",
                    "initrd":["http://beta.release.flatcar-linux.net/amd64-usr/3227.1.0/flatcar_production_pxe_image.cpio.gz"],
                    "args":["initrd=flatcar_production_pxe_image.cpio.gz","flatcar.first_boot=yes","console=tty0",
                    "ignition.config.url=http://matchbox.example.com:8080/ignition?uuid=${uuid}&mac=${mac:hexhyp}"]}}"#,
            ),
            ("live_", r#"{"boot":{"kernel":"/assets/other"}}"#),
            (
                "fcos",
                r#"{"ignition_id":"old.yaml","boot":{"kernel":"/assets/fedora-coreos/fedora-coreos-36.20220906.3.2-live-kernel-x86_64",
                    "initrd":["--name main /assets/fedora-coreos/fedora-coreos-36.20220906.3.2-live-initramfs.x86_64.img"],
                    "args":["initrd=main","coreos.live.rootfs_url=http://a/b","ignition.firstboot","console=ttyS0"]}}"#,
            ),
            (
                "live",
                r#"{"cloud_id":"live.yaml","boot":{"kernel":"/assets/live/vmlinuz",
                    "initrd":["/assets/live/initrd.img","http://elsewhere.example.com/more.img"],
                    "args":["boot=live","fetch=http://a.example/x?y=${mac}"]}}"#,
            ),
        ]),
        ignition: texts([
            (
                "worker.yaml",
                "variant: flatcar\nversion: 1.0.0\npasswd:\n  users:\n    - name: core\n      ssh_authorized_keys:\n\
                 {{- range $key := .keys }}\n        - {{$key}}\n{{- end }}\nstorage:\n  files:\n    - path: /etc/hostname\n\
                 \x20     mode: 0644\n      contents:\n        inline: \"{{.domain-name}}\"\n{{ if eq .etcd \"true\" }}\n{{ end }}\
                 {{ if index . \"replicas\" }}\n    - path: /etc/replicas-{{.replicas}}\n      contents:\n        inline: \"${#a} {{.replicas}} of them\"\n\
                 {{ else -}}{{/* none */}}\n{{ end }}\n",
            ),
            ("old.yaml", "systemd:\n  units: []\n"),
        ]),
        cloud: texts([("live.yaml", "#cloud-config\nfqdn: {{.greeting}}\n")]),
        generic: texts([("more", "x")]),
    }
}

fn imported() -> Imported {
    import(&store(), ADDRESS).expect("a lab")
}

#[test]
fn a_lab_and_what_is_to_be_done_by_hand() {
    let Imported { lab, notes } = imported();
    insta::assert_snapshot!(format!("{lab}\n{}", notes.join("\n")));
}

#[test]
fn what_it_comes_to_is_taken() {
    let text = imported().lab;
    let lab = pilotlight_lab::parse(&text);
    let lab = lab.unwrap_or_else(|problems| panic!("{}", problems.render("lab.toml", &text, false)));
    let made = |name: &str| {
        let node = lab.node_by_name(name).expect("a node");
        let provision = pilotlight_provision::provision(&lab, node).expect("it comes to something");
        provision.expect("it is configured").texts.remove(0).body
    };
    let ignition: serde_json::Value = serde_json::from_str(&made("node-1")).expect("JSON");
    assert!(ignition.pointer("/ignition/config/merge/0/source").is_some(), "{ignition}");
    assert_eq!(made("node2"), "#cloud-config\nfqdn: \"he \\\"said\\\"\"");
}

#[test]
fn what_is_no_lab_is_refused() {
    let broken = Store { groups: texts([("a", "{")]), ..Store::default() };
    assert!(import(&broken, ADDRESS).unwrap_err().to_string().contains("groups/a.json"));
    let said = |template: &str| {
        let store = Store { ignition: texts([("worker.yaml", template)]), ..store() };
        import(&store, ADDRESS)
            .unwrap()
            .notes
            .into_iter()
            .find(|note| note.starts_with("ignition/worker.yaml"))
    };
    for (template, expect) in [
        ("variant: x\na: {{.request.raw_query}}\n", "line 2: {{.request.raw_query}} has no counterpart here"),
        ("variant: x\n{{if .a}}\n", "an `if` or `range` without its `end`"),
        ("variant: x\n{{ printf \"%s\" .a }}\n", "line 2: {{printf \"%s\" .a}} has no counterpart here"),
        ("variant: x\n{{ .a", "line 2: an action without an end"),
        ("variant: x\n{{ . }}", "line 2: {{.}} has no counterpart here"),
    ] {
        assert_eq!(said(template), Some(format!("ignition/worker.yaml: {expect}")));
    }
}

proptest! {
    #[test]
    fn any_template_comes_to_something_or_to_a_note(text in "(\\{\\{|\\}\\}|end|if|range|\\.a|\\$e|:=|,| |-|\"|\n|\\{%|ä){0,40}") {
        let template = format!("variant: flatcar\n{text}");
        let store = Store { ignition: texts([("worker.yaml", &template)]), ..store() };
        let Imported { lab, notes } = import(&store, ADDRESS).unwrap();
        let made = lab.contains("[configs.worker]");
        prop_assert_ne!(made, notes.iter().any(|note| note.starts_with("ignition/worker.yaml")));
    }
}
