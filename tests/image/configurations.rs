//! What nodes are configured with, judged by who reads it: Ignition's own validator, cloud-init's schema, kubectl, the shell.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context as _, Result, ensure};
use pilotlight_lab::ConfigKind;
use pilotlight_pki::kubeconfig;
use pilotlight_provision::{CERTIFICATES, DISKS, REPORT, provision};
use pilotlight_tests::{
    process::{Outcome, run},
    surroundings::Tools,
};

const PATIENCE: Duration = Duration::from_secs(120);
/// The labs whose nodes are configured.
const LABS: [&str; 4] = [
    include_str!("../../crates/lab/examples/one-node.toml"),
    include_str!("../../crates/lab/examples/origin.toml"),
    include_str!("../../crates/lab/examples/proxy.toml"),
    include_str!("../labs/nodes.toml"),
];

/// What judges, and a folder for what is judged.
struct Desk {
    tools: Tools,
    folder: tempfile::TempDir,
}

pub(crate) fn by_their_readers() -> Result<()> {
    let desk = Desk { tools: Tools::checkers()?, folder: tempfile::tempdir()? };
    let (mut ignition, mut cloud, mut scripts) = (0, 0, 0);
    for text in LABS {
        let lab = pilotlight_lab::parse(text).map_err(|problems| anyhow::anyhow!("{problems}"))?;
        for node in &lab.nodes {
            let Some(made) = provision(&lab, node)? else { continue };
            for text in made.texts {
                let judged = match (made.kind, text.name) {
                    (_, CERTIFICATES | DISKS | REPORT) => {
                        scripts += 1;
                        desk.shell(&text.body)?
                    }
                    (ConfigKind::Ignition, _) => {
                        ignition += 1;
                        desk.ignition(&text.body)?
                    }
                    (ConfigKind::CloudConfig, "user-data" | "vendor-data") => {
                        cloud += 1;
                        desk.cloud_init("cloud-config", &text.body)?
                    }
                    (ConfigKind::CloudConfig, "network-config") => {
                        desk.cloud_init("network-config", &text.body)?
                    }
                    _ => continue,
                };
                let said = judged.text;
                ensure!(judged.status.success(), "{} of {}: {said}\n{}", text.name, node.name, text.body);
            }
        }
    }
    println!(
        "{ignition} configurations by ignition-validate, {cloud} by cloud-init schema, {scripts} scripts by the shell"
    );
    ensure!(ignition > 2 && cloud > 2 && scripts > 2, "there was nothing to judge");
    // The judges do refuse.
    for (judge, text) in [
        ("ignition", r#"{"ignition": {"version": "3.3.0"}, "storage": {"files": [{"path": "relative"}]}}"#),
        ("ignition", r#"{"ignition": {"version": "3.99.0"}}"#),
        ("cloud-init", "#cloud-config\nusers: 5\n"),
        ("cloud-init", "#cloud-config\nruncmd: {\n"),
        ("shell", "for name in a; do\n"),
    ] {
        let judged = match judge {
            "ignition" => desk.ignition(text),
            "shell" => desk.shell(text),
            _ => desk.cloud_init("cloud-config", text),
        }?;
        ensure!(!judged.status.success(), "{judge} takes {text}:\n{}", judged.text);
    }
    desk.kubectl()
}

impl Desk {
    fn put(&self, text: &str) -> Result<std::path::PathBuf> {
        let path = self.folder.path().join("judged");
        fs::write(&path, text).context("could not write what is to be judged")?;
        Ok(path)
    }

    /// The machine's own shell: the nodes' is the same or takes more.
    fn shell(&self, text: &str) -> Result<Outcome> {
        run(std::process::Command::new("/bin/sh").arg("-n").arg(self.put(text)?), PATIENCE)
    }

    fn ignition(&self, text: &str) -> Result<Outcome> {
        let mut validator = self.tools.command("ignition-validate")?;
        run(validator.arg(self.put(text)?), PATIENCE)
    }

    /// cloud-init is Python's: its modules are where its package has them.
    fn cloud_init(&self, kind: &str, text: &str) -> Result<Outcome> {
        let root = self.tools.folder().join("root");
        let mut schema = self.tools.command("python3")?;
        schema
            .env("PYTHONHOME", root.join("usr"))
            .env("PYTHONPATH", root.join("usr/lib/python3/dist-packages"));
        schema
            .env("HOME", self.folder.path())
            .env("PYTHONPYCACHEPREFIX", self.folder.path().join("compiled"));
        schema.arg(root.join("usr/bin/cloud-init")).args(["schema", "--schema-type", kind, "--config-file"]);
        run(schema.arg(self.put(text)?), PATIENCE)
    }

    /// A kubeconfig that the authorities would hand out, as kubectl understands it.
    fn kubectl(&self) -> Result<()> {
        let made = kubeconfig("lab", "10.77.0.21", "admin", "an authority", "a chain", "a key");
        let see = |path: &Path| -> Result<Outcome> {
            let mut kubectl = self.tools.command("kubectl")?;
            kubectl.env("HOME", self.folder.path()).args(["config", "view", "--minify", "--output"]);
            kubectl
                .arg("jsonpath={.clusters[0].cluster.server} {.contexts[0].context.user}")
                .arg("--kubeconfig");
            run(kubectl.arg(path), PATIENCE)
        };
        let seen = see(&self.put(&made)?)?;
        ensure!(
            seen.status.success() && seen.text.contains("https://10.77.0.21:6443 admin"),
            "{}",
            seen.text
        );
        let seen = see(&self.put(&made.replace("\"clusters\"", "\"clusters"))?)?;
        ensure!(!seen.status.success(), "kubectl takes anything: {}", seen.text);
        Ok(())
    }
}
