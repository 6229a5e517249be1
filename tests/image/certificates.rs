//! What the authorities issue, judged by OpenSSL's command, and the requests that it makes.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context as _, Result, ensure};
use pilotlight_lab::Lab;
use pilotlight_pki::{
    Authority, Branch, Clock, Leaf, Purpose, Request, RequestError, TimeTrust, envelope, node_leaf,
};
use pilotlight_tests::{process::run, surroundings::Tools};
use ring::rand::SystemRandom;

const BUILT: u64 = 1_700_000_000;
const PATIENCE: Duration = Duration::from_secs(60);
const BRANCHES: [(Branch, &str); 3] =
    [(Branch::Kubernetes, "kubernetes"), (Branch::Etcd, "etcd"), (Branch::FrontProxy, "proxy")];

/// A folder with what OpenSSL reads and writes.
struct Desk {
    folder: tempfile::TempDir,
    tools: Tools,
    authority: Authority,
    lab: Lab,
}

pub(crate) fn by_openssl() -> Result<()> {
    let lab = pilotlight_lab::parse(include_str!("../../crates/lab/examples/origin.toml"));
    let lab = lab.ok().context("the example is no lab")?;
    let authority = Authority::make(BUILT, &SystemRandom::new()).context("no authority")?;
    let desk = Desk { folder: tempfile::tempdir()?, tools: Tools::checkers()?, authority, lab };
    for (branch, name) in BRANCHES {
        fs::write(desk.path().join(name), desk.authority.branch_pem(branch))?;
    }
    fs::write(desk.path().join("root"), desk.authority.root_pem())?;
    // What a request needs of a configuration, which is the machine's own otherwise.
    fs::write(desk.path().join("openssl.cnf"), "[req]\ndistinguished_name = name\n[name]\n")?;
    for purpose in Purpose::ALL.into_iter().filter(|purpose| *purpose != Purpose::ServiceAccount) {
        desk.each_for_its_purpose(purpose).with_context(|| format!("{purpose:?}"))?;
    }
    desk.says_what_the_lab_says()?;
    desk.opens_what_is_for_its_key()?;
    desk.refuses()
}

impl Desk {
    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn leaf(&self, node: &str, purpose: Purpose) -> Result<Leaf> {
        let node = self.lab.node_by_name(node).context("no such node")?;
        node_leaf(&self.lab, node, purpose).context("its role has no such certificate")
    }

    fn clock(&self) -> Result<Clock> {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs();
        Ok(Clock { now, trust: TimeTrust::Trusted })
    }

    fn openssl(&self, arguments: &[&str]) -> Result<(bool, String)> {
        let mut openssl = self.tools.command("openssl")?;
        openssl.env("OPENSSL_CONF", self.path().join("openssl.cnf"));
        let outcome = run(openssl.args(arguments).current_dir(self.path()), PATIENCE)?;
        Ok((outcome.status.success(), outcome.text))
    }

    /// A request as a node makes it.
    fn request(&self, curve: &str, subject: &str) -> Result<Vec<u8>> {
        let curve = format!("ec_paramgen_curve:{curve}");
        let (done, text) = self.openssl(&[
            "req", "-new", "-newkey", "ec", "-pkeyopt", &curve, "-nodes", "-keyout", "node.key", "-out",
            "node.csr", "-subj", subject,
        ])?;
        ensure!(done, "{text}");
        Ok(fs::read(self.path().join("node.csr"))?)
    }

    /// A certificate is good for its purpose and under its authority alone.
    fn each_for_its_purpose(&self, purpose: Purpose) -> Result<()> {
        let leaf = self.leaf("node1", purpose)?;
        let (issued, _) = self.authority.issue_with_key(&leaf, self.clock()?, &SystemRandom::new())?;
        fs::write(self.path().join("leaf"), &issued.chain)?;
        for (branch, name) in BRANCHES {
            for (way, role) in [(leaf.client, "sslclient"), (leaf.server, "sslserver")] {
                let (good, text) = self.openssl(&[
                    "verify",
                    "-x509_strict",
                    "-partial_chain",
                    "-purpose",
                    role,
                    "-trusted",
                    name,
                    "leaf",
                ])?;
                ensure!(good == (way && branch == leaf.branch), "under {name} as {role}: {text}");
            }
        }
        let role = if leaf.client { "sslclient" } else { "sslserver" };
        let (good, text) = self.openssl(&[
            "verify",
            "-x509_strict",
            "-purpose",
            role,
            "-CAfile",
            "root",
            "-untrusted",
            "leaf",
            "leaf",
        ])?;
        ensure!(good, "under the root: {text}");
        Ok(())
    }

    fn says_what_the_lab_says(&self) -> Result<()> {
        let asked = Request::read(&self.request("P-256", "/O=system:masters/CN=admin")?)?;
        let leaf = self.leaf("node2", Purpose::Kubelet)?;
        ensure!(!asked.agrees(&leaf), "a request for other names is taken for one of the node's");
        let issued = self.authority.issue(&leaf, &asked, self.clock()?, &SystemRandom::new())?;
        fs::write(self.path().join("leaf"), &issued.chain)?;
        let (_, text) = self.openssl(&["x509", "-in", "leaf", "-noout", "-subject"])?;
        ensure!(text.contains("system:node:node2") && text.contains("system:nodes"), "{text}");
        ensure!(!text.contains("masters"), "{text}");
        let (_, public) = self.openssl(&["x509", "-in", "leaf", "-noout", "-pubkey"])?;
        let (_, own) = self.openssl(&["ec", "-in", "node.key", "-pubout"])?;
        ensure!(own.contains(public.trim()), "another key: {own}");
        Ok(())
    }

    /// A secret is read by the holder of the key, by nobody else, and not when a byte of it is another one.
    fn opens_what_is_for_its_key(&self) -> Result<()> {
        let secret = self.authority.service_account_pem();
        for curve in ["P-256", "P-384"] {
            let asked = Request::read(&self.request(curve, "/CN=node")?)?;
            let sealed = envelope(secret.as_bytes(), &asked.key, &SystemRandom::new())?;
            ensure!(
                !sealed.contains(secret.lines().nth(1).context("the secret has one line")?),
                "it is plain"
            );
            let open = |sealed: &str, key: &str| -> Result<bool> {
                fs::write(self.path().join("sealed"), sealed)?;
                let _ = fs::remove_file(self.path().join("opened"));
                let (done, text) = self.openssl(&[
                    "cms", "-decrypt", "-inform", "PEM", "-in", "sealed", "-inkey", key, "-out", "opened",
                ])?;
                let opened = fs::read_to_string(self.path().join("opened")).unwrap_or_default();
                ensure!(!done || opened == secret, "another secret came out: {text}");
                Ok(done)
            };
            ensure!(open(&sealed, "node.key")?, "the holder of the key on {curve} cannot open it");
            fs::rename(self.path().join("node.key"), self.path().join("own.key"))?;
            self.request(curve, "/CN=other")?;
            ensure!(!open(&sealed, "node.key")?, "another key opens it");
            // In the middle of the secret.
            let mut lines: Vec<String> = sealed.lines().map(str::to_owned).collect();
            let line = lines.get_mut(7).context("it is short")?;
            let other = if line.starts_with('A') { "B" } else { "A" };
            line.replace_range(..1, other);
            ensure!(
                !open(&(lines.join("\n") + "\n"), "own.key")?,
                "a byte of it is another one, and it is opened"
            );
        }
        Ok(())
    }

    /// What is no request, or of a key that is not taken.
    fn refuses(&self) -> Result<()> {
        let good = self.request("P-384", "/CN=system:node:node2")?;
        ensure!(
            Request::read(&good)?.agrees(&self.leaf("node2", Purpose::Kubelet)?),
            "its own name is another's"
        );
        let told = |bytes: &[u8], fault: RequestError| {
            let read = Request::read(bytes);
            ensure!(read.as_ref().err() == Some(&fault), "{read:?} instead of {fault:?}");
            Ok(())
        };
        told(&self.request("P-521", "/CN=a")?, RequestError::Key)?;
        fs::write(self.path().join("node.csr"), &good)?;
        let (done, text) =
            self.openssl(&["req", "-in", "node.csr", "-outform", "DER", "-out", "node.der"])?;
        ensure!(done, "{text}");
        let der = fs::read(self.path().join("node.der"))?;
        let mut forged = der.clone();
        *forged.last_mut().context("an empty request")? ^= 1;
        told(&forged, RequestError::Signature)?;
        told(&[der.as_slice(), b"x"].concat(), RequestError::Der)?;
        told(self.authority.root_pem().as_bytes(), RequestError::Pem)?;
        told(&[b'x'; 9000], RequestError::Long)
    }
}
