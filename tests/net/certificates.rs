//! A node and its certificates, by curl and OpenSSL: it gets its own once it is armed, and nobody else gets anything, from
//! anywhere, with anything.

mod renewal;
mod talos;

use std::{
    fs::{self, File},
    io::Write as _,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use pilotlight_tests::{
    daemon::Daemon,
    process::{Outcome, must, run},
    surroundings,
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::stage::Stage;

const LIMIT: Duration = Duration::from_secs(30);
const PASSPHRASE: &str = "correct horse battery";
/// The cable's client end is the first node, wherever it looks.
const LAB: &str = r#"
[network]
address = "10.77.0.1/24"
domain = "lab.home.arpa"
probe-first = false

[kubernetes]
api = "10.77.0.13"

[profiles.ram]
kind = "debian-ram"

[profiles.talos]
kind = "talos"
channel = "v1.11"

[[nodes]]
name = "one"
mac = "52:54:00:00:00:11"
address = "10.77.0.50"
profile = "ram"
role = "worker"

[[nodes]]
name = "two"
mac = "52:54:00:00:00:12"
address = "10.77.0.12"
profile = "ram"
role = "worker"
"#;
const ONE: &str = "http://10.77.0.1/node/52-54-00-00-00-11";
const TWO: &str = "http://10.77.0.1/node/52-54-00-00-00-12";

/// How the first node fetches its token.
const FETCH: [&str; 3] =
    ["--data-urlencode", "request@own.csr", "http://10.77.0.1/node/52-54-00-00-00-11/token"];

struct Desk {
    stage: Stage,
    pkid: Daemon,
    httpd: Daemon,
}

pub(crate) fn by_token() -> Result<()> {
    let mut desk = Desk::set()?;
    desk.is_for_armed_nodes()?;
    let token = desk.token()?;
    let first = desk.is_issued_once()?;
    desk.is_for_nobody_else(&first)?;
    desk.ends_with_its_window()?;
    desk.waits_for_nobody()?;
    desk.operators_have_their_keys()?;
    desk.renews_what_it_has()?;
    for daemon in [&desk.pkid, &desk.httpd] {
        for event in daemon.events(|_| true) {
            let text = event.to_string();
            ensure!(
                !text.contains(&token) && !text.contains("PRIVATE KEY"),
                "a secret is in the log: {text}"
            );
        }
    }
    desk.httpd.must_be_alive()
}

impl Desk {
    fn set() -> Result<Self> {
        let stage = Stage::set(LAB)?;
        stage.cable.fixed_client_address()?;
        // What a request needs of a configuration, which is the machine's own otherwise.
        fs::write(stage.path("openssl.cnf"), "[req]\ndistinguished_name = name\n[name]\n")?;
        let own = rustix::process::getuid().as_raw().to_string();
        let [socket, state, card, built, set] =
            ["pki.sock", "pki", "card.json", "lab.toml", "set"].map(|name| stage.path(name));
        let [socket, state, card, built, set] =
            [&socket, &state, &card, &built, &set].map(|path| path.to_string_lossy());
        let arguments = [
            "--socket",
            &socket,
            "--state",
            &state,
            "--card",
            &card,
            "--built",
            &built,
            "--clock-set",
            &set,
            "--operator",
            &own,
        ];
        let pkid = stage.daemon("pilotlight-pkid", "pkid", &arguments)?;
        let root = stage.subfolder("http")?;
        let http = ["--root", &root.to_string_lossy(), "--listen", "10.77.0.1:80", "--pki", &socket];
        let httpd = stage.daemon("pilotlight-httpd", "httpd", &http)?;
        Ok(Self { stage, pkid, httpd })
    }

    fn curl(&self, words: &[&str]) -> Result<Command> {
        let mut curl = self.stage.client("curl")?;
        curl.args(["--silent", "--show-error", "--max-time", "20"])
            .args(words)
            .current_dir(self.stage.folder());
        Ok(curl)
    }

    fn fetched(&self, words: &[&str]) -> Result<String> {
        Ok(must(self.curl(&["--fail"])?.args(words), LIMIT)?.text)
    }

    /// What is answered: status and text.
    fn answered(&self, words: &[&str]) -> Result<String> {
        Ok(must(self.curl(&["--write-out", "%{http_code}"])?.args(words), LIMIT)?.text)
    }

    /// The same from the Pi's end of the cable, which is another address.
    fn answered_elsewhere(&self, words: &[&str]) -> Result<String> {
        let mut curl = self.curl(&["--write-out", "%{http_code}"])?;
        curl.args(words);
        self.stage.cable.on_server_side(&mut curl)?;
        Ok(must(&mut curl, LIMIT)?.text)
    }

    fn refused(&self, what: &str, words: &[&str], alarm: bool) -> Result<()> {
        let before = self.told(alarm);
        let said = self.answered(words)?;
        self.was_refused(what, &said, before, alarm)
    }

    fn was_refused(&self, what: &str, said: &str, before: usize, alarm: bool) -> Result<()> {
        ensure!(said.starts_with("refused\n403"), "{what}: it was told {said:?}");
        let stage = if alarm { "alarm" } else { "refused" };
        self.pkid.events_at_least(before + 1, what, |event| event["stage"] == stage)
    }

    fn told(&self, alarm: bool) -> usize {
        let stage = if alarm { "alarm" } else { "refused" };
        self.pkid.events(|event| event["stage"] == stage).len()
    }

    fn pilotctl(&self, words: &[&str]) -> Result<Command> {
        let mut command = Command::new(surroundings::daemon("pilotctl")?);
        command.args(words).arg("--socket").arg(self.stage.path("pki.sock")).current_dir(self.stage.folder());
        Ok(command)
    }

    fn openssl(&self, words: &str) -> Result<Outcome> {
        let mut openssl = self.stage.client("openssl")?;
        openssl.env("OPENSSL_CONF", self.stage.path("openssl.cnf")).current_dir(self.stage.folder());
        run(openssl.args(words.split_whitespace()), LIMIT)
    }

    /// A key and a request of the name `name`.
    fn request(&self, name: &str) -> Result<()> {
        for words in [
            format!("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out {name}.key"),
            format!("req -new -key {name}.key -subj /CN=whatever -out {name}.csr"),
        ] {
            let Outcome { status, text, .. } = self.openssl(&words)?;
            ensure!(status.success(), "openssl {words}: {text}");
        }
        Ok(())
    }

    fn is_for_armed_nodes(&self) -> Result<()> {
        self.request("own")?;
        self.request("other")?;
        ensure!(self.fetched(&["http://10.77.0.1/pki/etcd.crt"])?.starts_with("-----BEGIN CERTIFICATE"));
        ensure!(
            self.answered(&["http://10.77.0.1/pki/root.crt"])?.ends_with("404"),
            "the root is handed out"
        );
        let post = format!("{ONE}/token");
        let with = ["--data-urlencode", "request@own.csr"];
        let own = [&with[..], &[&post]].concat();
        self.refused("a node that is not armed", &own, false)?;
        let said = must(&mut self.pilotctl(&["arm", "one"])?, LIMIT)?.text;
        ensure!(said.contains("within 30 minutes"), "{said}");
        let before = self.told(true);
        let said = self.answered_elsewhere(&own)?;
        self.was_refused("another address", &said, before, true)?;
        // Whose name was used, and by whom.
        self.pkid.event("who it was", |event| {
            event["stage"] == "alarm"
                && event["node"] == "one"
                && event["mac"] == "52:54:00:00:00:11"
                && event["from"] == "10.77.0.1"
        })?;
        ensure!(self.answered(&[&post])?.ends_with("405"), "a token is handed out to whoever looks");
        ensure!(self.answered(&["-d", "x=y", &post])?.ends_with("400"), "a token is for no key");
        self.refused("a request that is none", &["-d", "request=x", &post], false)?;
        self.refused("another one's name", &[&with[..], &[&format!("{TWO}/token")]].concat(), false)
    }

    fn token(&self) -> Result<String> {
        let lost = self.fetched(&FETCH)?;
        let token = self.fetched(&FETCH)?.trim().to_owned();
        ensure!(token.len() == 64 && token != lost.trim(), "no token: {token:?}");
        // Whoever comes second, from the node's own address even, takes nothing from it.
        let other = ["--data-urlencode", "request@other.csr", FETCH[2]];
        self.refused("another key for the same arm", &other, true)?;
        fs::write(self.stage.path("token"), &token)?;
        fs::write(self.stage.path("lost"), lost)?;
        // Whatever is selected by a query, and whatever is the same at every start, has none.
        for page in ["ignition", "cloud", "generic", "metadata", "ipxe"] {
            let said = self.answered(&[&format!("http://10.77.0.1/{page}?mac=52:54:00:00:00:11")])?;
            ensure!(!said.contains(&token), "/{page} tells the token");
        }
        let script = self.fetched(&[&format!("{ONE}/certificates")])?;
        ensure!(
            script.contains("purposes=\"kubelet kubelet-serving\"") && !script.contains(&token),
            "{script}"
        );
        Ok(token)
    }

    /// The words by which curl asks for a certificate.
    fn asks<'w>(url: &'w str, token: &'w str, request: &'w str, purpose: &'w str) -> Vec<String> {
        let mut words = Vec::new();
        for field in [format!("token@{token}"), format!("request@{request}"), format!("purpose={purpose}")] {
            words.extend(["--data-urlencode".to_owned(), field]);
        }
        words.push(format!("{url}/certificate"));
        words
    }

    fn is_issued_once(&self) -> Result<String> {
        let asks = Self::asks(ONE, "token", "own.csr", "kubelet");
        let asks: Vec<&str> = asks.iter().map(String::as_str).collect();
        // Nobody has vouched for the Pi's clock yet.
        self.refused("a clock that nobody trusts", &asks, false)?;
        let why = |event: &Value| {
            event["reason"].as_str().is_some_and(|why| why.contains("the time is not trusted"))
        };
        self.pkid.event("why", why)?;
        File::create(self.stage.path("set"))?;
        let chain = self.fetched(&asks)?;
        ensure!(self.fetched(&asks)? == chain, "the same question has another answer");
        fs::write(self.stage.path("chain"), &chain)?;
        let trusted = self.fetched(&["http://10.77.0.1/pki/kubernetes.crt"])?;
        fs::write(self.stage.path("trusted"), trusted)?;
        let verified = self.openssl("verify -partial_chain -purpose sslclient -CAfile trusted chain")?;
        ensure!(verified.status.success(), "OpenSSL does not believe it: {}", verified.text);
        let said = self.openssl("x509 -in chain -noout -subject")?.text;
        ensure!(said.contains("system:node:one") && said.contains("system:nodes"), "it says {said}");
        let etcd = self.fetched(&["http://10.77.0.1/pki/etcd.crt"])?;
        fs::write(self.stage.path("etcd"), etcd)?;
        let other = self.openssl("verify -partial_chain -purpose sslclient -CAfile etcd chain")?;
        ensure!(!other.status.success(), "etcd would let a kubelet in");
        self.pkid
            .event("that it was issued", |event| event["stage"] == "issued" && event["node"] == "one")?;
        Ok(chain)
    }

    fn is_for_nobody_else(&self, chain: &str) -> Result<()> {
        fs::write(self.stage.path("none"), "0".repeat(64))?;
        let cases = [
            ("another key", ONE, "token", "other.csr", "kubelet", true),
            ("another key for another purpose", ONE, "token", "other.csr", "kubelet-serving", true),
            ("a controller's certificate", ONE, "token", "own.csr", "etcd-peer", false),
            ("another node's token", TWO, "token", "own.csr", "kubelet", true),
            ("a token that was replaced", ONE, "lost", "own.csr", "kubelet", false),
            ("no token", ONE, "none", "own.csr", "kubelet", false),
            ("a request that is none", ONE, "token", "token", "kubelet", false),
        ];
        for (what, url, token, request, purpose, alarm) in cases {
            let asks = Self::asks(url, token, request, purpose);
            self.refused(what, &asks.iter().map(String::as_str).collect::<Vec<_>>(), alarm)?;
        }
        let asks = Self::asks(ONE, "token", "own.csr", "kubelet");
        let asks: Vec<&str> = asks.iter().map(String::as_str).collect();
        let before = self.told(true);
        let said = self.answered_elsewhere(&asks)?;
        self.was_refused("a replay from another address", &said, before, true)?;
        ensure!(self.fetched(&asks)? == chain, "the node itself was shut out by the others");
        // It has lost its token: another one, and with that what it was given before.
        let again = self.fetched(&FETCH)?;
        self.refused("a token that was replaced", &asks, false)?;
        fs::write(self.stage.path("token"), again)?;
        ensure!(self.fetched(&asks)? == chain, "the same key has another certificate");
        let unknown = "http://10.77.0.1/node/52-54-00-00-00-99/token";
        ensure!(self.answered(&["-d", "request=x", unknown])?.ends_with("404"));
        let nonsense = Self::asks(ONE, "token", "own.csr", "root");
        let nonsense: Vec<&str> = nonsense.iter().map(String::as_str).collect();
        ensure!(self.answered(&nonsense)?.ends_with("400"), "there is a purpose that there is not");
        Ok(())
    }

    fn ends_with_its_window(&self) -> Result<()> {
        self.arms_briefly()?;
        self.refused("a window that has closed", &FETCH, false)?;
        let why =
            |event: &Value| event["reason"].as_str().is_some_and(|why| why.contains("window has closed"));
        self.pkid.event("why", why).map(drop)
    }

    /// Arms the node, and waits until that is over.
    fn arms_briefly(&self) -> Result<()> {
        let line = br#"{"ask":"arm","node":"one","window":1}"#;
        let mut stream = std::os::unix::net::UnixStream::connect(self.stage.path("pki.sock"))?;
        stream.write_all(&[&line[..], b"\n"].concat())?;
        thread::sleep(Duration::from_millis(2500));
        Ok(())
    }

    /// Whoever asks for a certificate waits for the authority; nobody else does.
    fn waits_for_nobody(&mut self) -> Result<()> {
        let pid = Pid::from_raw(self.pkid.pid() as i32).context("it has no number")?;
        kill_process(pid, Signal::STOP)?;
        let mut waiting = self.curl(&FETCH)?;
        let mut waiting = waiting.stdout(Stdio::null()).spawn()?;
        thread::sleep(Duration::from_millis(300));
        let health = self.fetched(&["--max-time", "3", "http://10.77.0.1/healthz"]);
        kill_process(pid, Signal::CONT)?;
        ensure!(health? == "ok\n" && waiting.wait()?.success(), "the server waits for the authority");

        self.pkid.kill()?;
        let said = self.answered(&FETCH)?;
        ensure!(said.ends_with("503"), "without the authority it says {said}");
        let own = rustix::process::getuid().as_raw().to_string();
        let [socket, state, built, set] =
            ["pki.sock", "pki", "lab.toml", "set"].map(|name| self.stage.path(name));
        let [socket, state, built, set] = [&socket, &state, &built, &set].map(|path| path.to_string_lossy());
        let arguments = [
            "--socket",
            &socket,
            "--state",
            &state,
            "--built",
            &built,
            "--clock-set",
            &set,
            "--operator",
            &own,
        ];
        self.pkid = self.stage.daemon("pilotlight-pkid", "pkid-again", &arguments)?;
        let trusted = self.fetched(&["http://10.77.0.1/pki/kubernetes.crt"])?;
        ensure!(trusted == fs::read_to_string(self.stage.path("trusted"))?, "it is another authority now");
        Ok(())
    }

    /// What an operator's command says that wants something typed goes into the file `out`; gives whether it succeeded.
    fn typed(&self, words: &[&str], said: &str, out: &str) -> Result<bool> {
        let mut command = self.pilotctl(words)?;
        command.stdin(Stdio::piped()).stdout(File::create(self.stage.path(out))?);
        let mut child = command.spawn()?;
        let mut stdin = child.stdin.take().context("no standard input")?;
        writeln!(stdin, "{said}")?;
        drop(stdin);
        Ok(child.wait()?.success())
    }

    fn operators_have_their_keys(&self) -> Result<()> {
        must(&mut self.pilotctl(&["kubeconfig", "--out", "config"])?, LIMIT)?;
        let config = fs::read_to_string(self.stage.path("config"))?;
        ensure!(config.contains("kubernetes-admin") && config.contains("10.77.0.13"), "{config}");
        let again = run(&mut self.pilotctl(&["kubeconfig", "--out", "config"])?, LIMIT)?;
        ensure!(!again.status.success(), "a file was written over");
        self.talos_has_its_secrets()?;
        let with = |words: &[&str], said: &str, out: &str| self.typed(words, said, out);
        ensure!(with(&["ca", "backup"], PASSPHRASE, "backup")?, "no backup");
        ensure!(
            !with(&["ca", "restore", "backup"], "wrong horse battery", "said")?,
            "any passphrase will do"
        );
        ensure!(with(&["ca", "restore", "backup"], PASSPHRASE, "said")?, "the backup is worth nothing");
        ensure!(!with(&["ca", "backup"], "short", "said")?, "a short passphrase was taken");
        ensure!(with(&["ca", "backup", "another"], PASSPHRASE, "said")?, "no backup in a file");
        ensure!(!with(&["ca", "backup", "another"], PASSPHRASE, "said")?, "a backup was written over");
        let piped = fs::read_to_string(self.stage.path("another"))?;
        ensure!(
            with(&["ca", "restore", "-"], &format!("correct horse battery\n{piped}"), "said")?,
            "a backup that is piped in is worth nothing"
        );
        let shown = must(&mut self.pilotctl(&["ca", "show"])?, LIMIT)?.text;
        ensure!(shown == fs::read_to_string(self.stage.path("trusted"))?, "another authority is shown");
        Ok(())
    }
}
