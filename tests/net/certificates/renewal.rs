//! A node that has run for long: it renews what it has, by what it has, and nobody else does.

use std::{
    fs,
    process::Command,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result, ensure};
use pilotlight_pki::{Authority, Clock, Purpose, Request, TimeTrust, node_leaf, seal};
use pilotlight_tests::process::{must, run};
use ring::rand::SystemRandom;
use serde_json::Value;

use super::{Desk, LAB, LIMIT, ONE, PASSPHRASE, TWO};

const DAY: u64 = 86_400;

impl Desk {
    /// It was given its certificate 300 days ago, by the authority that the Pi has from a backup, and has not started since.
    pub(super) fn renews_what_it_has(&self) -> Result<()> {
        let (random, now) = (SystemRandom::new(), SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs());
        let lab = pilotlight_lab::parse(LAB).map_err(|problems| anyhow::anyhow!("{problems}"))?;
        let authority = Authority::make(now - 400 * DAY, &random)?;
        let leaf = node_leaf(&lab, lab.node_by_name("one").context("no node")?, Purpose::Kubelet)?;
        let request = Request::read(&fs::read(self.stage.path("own.csr"))?)?;
        let then = Clock { now: now - 300 * DAY, trust: TimeTrust::Trusted };
        fs::write(self.stage.path("shown"), authority.issue(&leaf, &request, then, &random)?.chain)?;
        fs::write(self.stage.path("sealed"), seal(&authority, PASSPHRASE, &random)?)?;
        ensure!(self.openssl("base64 -A -in sealed -out old-backup")?.status.success());
        ensure!(self.typed(&["ca", "restore", "old-backup"], PASSPHRASE, "said")?, "it is no backup");

        let asks = |url: &str, certificate: &str, request: &str, purpose: &str| -> Vec<String> {
            let fields = [
                format!("certificate@{certificate}"),
                format!("request@{request}"),
                format!("purpose={purpose}"),
            ];
            let fields = fields.into_iter().flat_map(|field| ["--data-urlencode".to_owned(), field]);
            fields.chain([format!("{url}/certificate")]).collect()
        };
        for (what, url, certificate, request, purpose, alarm) in [
            ("another key", ONE, "shown", "other.csr", "kubelet", true),
            ("another node", TWO, "shown", "own.csr", "kubelet", true),
            ("another purpose", ONE, "shown", "own.csr", "kubelet-serving", false),
            ("one of the authority before", ONE, "chain", "own.csr", "kubelet", true),
            ("no certificate", ONE, "own.csr", "own.csr", "kubelet", false),
        ] {
            let asks = asks(url, certificate, request, purpose);
            self.refused(what, &asks.iter().map(String::as_str).collect::<Vec<_>>(), alarm)?;
        }
        let asks = asks(ONE, "shown", "own.csr", "kubelet");
        let asks: Vec<&str> = asks.iter().map(String::as_str).collect();
        let before = self.told(true);
        let said = self.answered_elsewhere(&asks)?;
        self.was_refused("another address", &said, before, true)?;
        let both = [&["--data-urlencode", "token@token"], &asks[..]].concat();
        ensure!(self.answered(&both)?.ends_with("400"), "a token and a certificate are one too many");

        fs::write(self.stage.path("renewed"), self.fetched(&asks)?)?;
        fs::write(self.stage.path("trusted"), self.fetched(&["http://10.77.0.1/pki/kubernetes.crt"])?)?;
        for words in
            ["verify -partial_chain -CAfile trusted renewed", "x509 -in renewed -noout -checkend 31000000"]
        {
            let said = self.openssl(words)?;
            ensure!(said.status.success(), "openssl {words}: {}", said.text);
        }
        self.pkid
            .event("that it was renewed", |event| event["stage"] == "renewed" && event["node"] == "one")?;
        self.by_the_nodes_own_script()
    }

    /// What a node runs: every week it renews what has little time left; at a start it fetches all of it anew if it is armed, and
    /// otherwise keeps what is good.
    fn by_the_nodes_own_script(&self) -> Result<()> {
        let folder = self.stage.subfolder("node")?;
        for (from, to) in [("own.key", "node.key"), ("shown", "kubelet.crt")] {
            fs::copy(self.stage.path(from), folder.join(to))?;
        }
        fs::write(self.stage.path("script"), self.fetched(&[&format!("{ONE}/certificates")])?)?;
        let path = format!("{}/bin:/usr/bin:/bin", self.stage.clients.folder().display());
        // Whether it ends well, and what it was given by then.
        let runs = |when: &str| -> Result<(bool, Vec<Vec<u8>>, usize)> {
            let mut shell = Command::new("sh");
            shell
                .args(["script", "node", when])
                .current_dir(self.stage.folder())
                .env_clear()
                .env("PATH", &path);
            let outcome = run(shell.env("OPENSSL_CONF", self.stage.path("openssl.cnf")), LIMIT)?;
            let certificates = ["kubelet.crt", "kubelet-serving.crt"].map(|name| fs::read(folder.join(name)));
            let given =
                |event: &Value| ["token", "renewed", "issued"].iter().any(|stage| event["stage"] == *stage);
            let certificates = certificates.into_iter().map(Result::unwrap_or_default).collect();
            Ok((outcome.status.success(), certificates, self.pkid.events(given).len()))
        };
        let had = fs::read(self.stage.path("shown"))?;
        // Nobody has armed it: it renews the one, and waits for the other.
        let (whole, renewed, _) = runs("week")?;
        ensure!(!whole && renewed[0] != had && renewed[1].is_empty(), "it is not armed, and has {renewed:?}");
        let (whole, kept, _) = runs("start")?;
        ensure!(!whole && kept == renewed, "it is not armed, and what it has has changed");

        must(&mut self.pilotctl(&["arm", "one"])?, LIMIT)?;
        let (whole, fetched, given) = runs("start")?;
        ensure!(
            whole && fetched[0] != renewed[0] && !fetched[1].is_empty(),
            "it is armed, and has not fetched all"
        );
        let mut files: Vec<_> = fs::read_dir(&folder)?
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect::<Result<_>>()?;
        files.sort();
        let expect = "ca-etcd.crt ca-front-proxy.crt ca-kubernetes.crt kubelet-serving.crt kubelet.crt node.key service-account.pub";
        ensure!(files.join(" ") == expect, "the script leaves {files:?}");
        let verify =
            "verify -partial_chain -CAfile node/ca-kubernetes.crt node/kubelet-serving.crt node/kubelet.crt";
        let said = self.openssl(verify)?;
        ensure!(said.status.success(), "{}", said.text);

        ensure!(runs("week")? == (true, fetched.clone(), given), "it asks for what it has");
        self.arms_briefly()?;
        ensure!(runs("start")? == (true, fetched, given), "it does without what is good");
        // Of another authority's certificates none is.
        fs::copy(self.stage.path("chain"), folder.join("kubelet.crt"))?;
        ensure!(!runs("start")?.0, "it keeps what the lab's authority did not sign");
        Ok(())
    }
}
