//! A web power switch. There is none here, so it is a server of this scene's own, after the maker's page; what it lets in is
//! judged by its own reading of RFC 7616, which curl has to agree with.

use std::{
    collections::BTreeSet,
    fs,
    net::TcpListener,
    os::unix::fs::MetadataExt as _,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use md5::{Digest as _, Md5};
use pilotlight_tests::process;
use sha2::{Digest as _, Sha256};

use super::{
    LIMIT, Switching,
    served::{Asked, answer},
};

/// What has to be quoted, and what must not be.
pub(super) const USER: &str = r#"ad"min"#;
pub(super) const PASSWORD: &str = r#"ge\heim "ä": 1"#;
const REALM: &str = r#"strip "one", two"#;

const LAB: &str = r#"
[network]
address = "10.77.0.1/24"
probe-first = false

[[nodes]]
name = "plugged"
mac = "52:54:00:00:00:12"
address = "10.77.0.12"
power = { device = "strip", outlet = 3 }

[[nodes]]
name = "lost"
mac = "52:54:00:00:00:13"
address = "10.77.0.13"
power = { device = "gone", outlet = 1 }

[power.strip]
kind = "web-switch"
url = "http://10.77.0.50:8080"

[power.gone]
kind = "web-switch"
url = "http://10.77.0.50:8081"
"#;

#[derive(Debug, Default)]
pub(super) struct Strip {
    outlets: [bool; 8],
    sha256: bool,
    /// Gives out nonces whose time is over at once.
    hasty: bool,
    nonces: u32,
    stale: BTreeSet<String>,
    used: BTreeSet<String>,
    cnonces: BTreeSet<String>,
    /// Each order, and when it came.
    pub(super) orders: Vec<(usize, bool, Option<Instant>)>,
    /// Why who was not let in.
    turned_away: Vec<String>,
}

impl Strip {
    fn hash(&self, text: &str) -> String {
        let bytes = if self.sha256 { Sha256::digest(text).to_vec() } else { Md5::digest(text).to_vec() };
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// RFC 7616 § 3.4: why this `Authorization` is not good for this question, if it is not.
    fn judge(&mut self, asked: &Asked, written: &str) -> Result<()> {
        let parts = parts(written.strip_prefix("Digest ").context("another scheme")?)?;
        let get = |name: &str| parts.iter().find(|part| part.0 == name).map(|part| (part.1.as_str(), part.2));
        let quoted = |name| {
            get(name).filter(|part| part.1).map(|part| part.0).with_context(|| format!("no {name} in quotes"))
        };
        let bare = |name| {
            get(name).filter(|part| !part.1).map(|part| part.0).with_context(|| format!("no bare {name}"))
        };
        ensure!(quoted("username")? == USER, "another user");
        ensure!(quoted("realm")? == REALM, "another realm: {:?}", quoted("realm"));
        ensure!(quoted("uri")? == asked.path, "for another path");
        ensure!(quoted("opaque")? == "kept", "another opaque");
        ensure!(bare("qop")? == "auth", "another quality of protection");
        ensure!(bare("algorithm")? == if self.sha256 { "SHA-256" } else { "MD5" }, "another algorithm");
        let (nonce, count, cnonce) = (quoted("nonce")?, bare("nc")?, quoted("cnonce")?);
        ensure!(
            nonce
                .strip_prefix("nonce-")
                .and_then(|number| number.parse().ok())
                .is_some_and(|number: u32| number < self.nonces),
            "a nonce of nobody's"
        );
        ensure!(count.len() == 8 && count.bytes().all(|c| c.is_ascii_hexdigit()), "no count: {count}");
        ensure!(self.used.insert(format!("{nonce} {count}")), "a nonce used twice");
        ensure!(
            cnonce.len() >= 16 && self.cnonces.insert(cnonce.to_owned()),
            "a cnonce seen before, or short"
        );
        let secret = self.hash(&format!("{USER}:{REALM}:{PASSWORD}"));
        let question = self.hash(&format!("{}:{}", asked.method, asked.path));
        let response = self.hash(&format!("{secret}:{nonce}:{count}:{cnonce}:auth:{question}"));
        ensure!(quoted("response")? == response, "another response");
        if self.stale.contains(nonce) {
            self.turned_away.push("stale".to_owned());
            anyhow::bail!("stale");
        }
        Ok(())
    }

    fn challenge(&mut self, stale: bool) -> String {
        let (nonce, algorithm) = (self.nonces, if self.sha256 { "SHA-256" } else { "MD5" });
        self.nonces += 1;
        if std::mem::take(&mut self.hasty) {
            self.stale.insert(format!("nonce-{nonce}"));
        }
        let realm = REALM.replace('"', "\\\"");
        let more = if stale { ", stale=true" } else { "" };
        format!(
            "WWW-Authenticate: Digest realm=\"{realm}\", qop=\"auth,auth-int\", nonce=\"nonce-{nonce}\", opaque=\"kept\", \
             algorithm={algorithm}{more}\r\n"
        )
    }

    /// Status, further fields and content.
    fn answer(&mut self, asked: &Asked) -> (&'static str, String, String) {
        let no = |status| (status, String::new(), String::new());
        let judged = match asked.field("authorization") {
            None => Err(None),
            Some(written) => self.judge(asked, written).map_err(|fault| Some(fault.to_string())),
        };
        if let Err(fault) = judged {
            let stale = fault.as_deref() == Some("stale");
            self.turned_away.extend(fault.filter(|_| !stale));
            return ("401 Unauthorized", self.challenge(stale), String::new());
        }
        let outlet = asked.path.strip_prefix("/restapi/relay/outlets/").and_then(|rest| {
            let (number, what) = rest.split_once('/')?;
            Some((number.parse::<usize>().ok().filter(|number| *number < 8)?, what))
        });
        match (asked.method.as_str(), outlet) {
            ("GET", Some((number, "state/" | "physical_state/"))) => match asked.field("accept") {
                Some("application/json") => (
                    "200 OK",
                    "Content-Type: application/json\r\n".to_owned(),
                    self.outlets[number].to_string(),
                ),
                _ => ("200 OK", "Content-Type: text/html\r\n".to_owned(), "<html>".to_owned()),
            },
            ("PUT", Some((number, "state/"))) => match (asked.field("x-csrf"), asked.body.as_str()) {
                (Some(_), "value=true" | "value=false") => {
                    self.outlets[number] = asked.body == "value=true";
                    self.orders.push((number, self.outlets[number], Some(Instant::now())));
                    no("204 No Content")
                }
                (None, _) => no("403 Forbidden"),
                _ => no("400 Bad Request"),
            },
            _ => no("404 Not Found"),
        }
    }
}

/// Names and values, each with whether it was quoted.
fn parts(text: &str) -> Result<Vec<(String, String, bool)>> {
    let mut parts = Vec::new();
    let mut signs = text.chars().peekable();
    while signs.peek().is_some() {
        let name: String = signs.by_ref().take_while(|sign| *sign != '=').collect();
        let quoted = signs.next_if_eq(&'"').is_some();
        let mut value = String::new();
        if quoted {
            loop {
                match signs.next().context("a quote without an end")? {
                    '"' => break,
                    '\\' => value.push(signs.next().context("a quote without an end")?),
                    sign => value.push(sign),
                }
            }
            let after = signs.next();
            ensure!(matches!(after, None | Some(',')), "{after:?} behind a quote");
        } else {
            value.extend(signs.by_ref().take_while(|sign| *sign != ','));
        }
        parts.push((name.trim().to_owned(), value.trim().to_owned(), quoted));
    }
    Ok(parts)
}

pub(super) fn plug_in() -> Result<Arc<Mutex<Strip>>> {
    let strip = Arc::new(Mutex::new(Strip::default()));
    let listener = TcpListener::bind("10.77.0.50:8080").context("could not be a web switch")?;
    let served = Arc::clone(&strip);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            let Ok(asked) = Asked::read(&mut stream) else { continue };
            let (status, fields, body) = look(&served, |strip| strip.answer(&asked));
            let _ = answer(&mut stream, status, &fields, &body);
        }
    });
    Ok(strip)
}

pub(super) fn look<T>(strip: &Mutex<Strip>, look: impl FnOnce(&mut Strip) -> T) -> T {
    look(&mut strip.lock().unwrap_or_else(PoisonError::into_inner))
}

pub(crate) fn web_switch() -> Result<()> {
    let mut scene = Switching::begin(LAB)?;
    let strip = plug_in()?;
    let login = format!("{USER}\n{PASSWORD}\n");

    // Whom it lets in is told to the Pi, tried, and kept where nobody else looks.
    scene.refused(&["status", "plugged"], "pilotctl power login strip")?;
    scene.says(&["login", "strip"], &format!("{USER}\nwrong\n"), false, "does not let in the user")?;
    scene.refused(&["status", "plugged"], "pilotctl power login strip")?;
    scene.says(&["login", "strip"], &login, true, "and the Pi remembers it")?;
    let mode = |path: &str| Ok::<_, anyhow::Error>(fs::metadata(scene.stage.path(path))?.mode() & 0o777);
    ensure!((mode("power")?, mode("power/strip.json")?) == (0o700, 0o600), "others may read the password");
    fs::write(scene.stage.path("card.json"), r#"{"data":{"state":"corrupt"}}"#)?;
    scene.restart()?;
    scene.says(&["login", "strip"], &login, true, "only until its next start")?;

    scene.done(&["status", "plugged"], "plugged is off")?;
    scene.done(&["on", "plugged"], "plugged is on")?;
    scene.done(&["on", "plugged"], "plugged is on already")?;
    ensure!(
        look(&strip, |strip| strip.outlets) == [false, false, true, false, false, false, false, false],
        "another outlet"
    );
    scene.done(&["status", "plugged"], "plugged is on")?;
    scene.done(&["off", "plugged"], "plugged is off")?;
    look(&strip, |strip| strip.hasty = true);
    scene.done(&["cycle", "plugged"], "plugged is on")?;
    look(&strip, |strip| strip.sha256 = true);
    scene.done(&["cycle", "plugged", "--off-for", "1"], "plugged is on")?;
    look(&strip, |strip| strip.sha256 = false);
    let orders = look(&strip, |strip| std::mem::take(&mut strip.orders));
    let states: Vec<_> = orders.iter().map(|order| (order.0, order.1)).collect();
    ensure!(states == [(2, true), (2, false), (2, true), (2, false), (2, true)], "it was told {states:?}");
    let off_for = orders[4].2.zip(orders[3].2).map(|(on, off)| on - off);
    ensure!(off_for.is_some_and(|time| time >= Duration::from_secs(1)), "it was off for {off_for:?}");
    let turned_away = look(&strip, |strip| std::mem::take(&mut strip.turned_away));
    ensure!(turned_away == ["another response", "stale"], "the switch turned away {turned_away:?}");

    agreed(&scene, &strip)?;
    hung_up(&scene, &strip)?;

    scene.refused(&["off", "plugged", "--gently"], "an outlet cannot tell a machine to shut down")?;
    scene.refused(&["cycle", "plugged", "--off-for", "61"], "0 to 60 seconds")?;
    scene.says(&["login", "gone"], &login, false, "cannot connect to 10.77.0.50:8081")?;
    scene.says(&["login", "--untried", "gone"], &login, true, "was not tried")?;
    scene.refused(&["on", "lost"], "lost, which is switched by gone at http://10.77.0.50:8081")?;
    let failed = |event: &serde_json::Value| event["node"] == "lost" && event["outcome"] == "failed";
    scene.daemon.event("that a node was not switched", failed)?;
    let switched = |event: &serde_json::Value| {
        event["stage"] == "off" && event["device"] == "strip" && event["outlet"] == 3
    };
    scene.daemon.event("that a node was switched", switched)?;
    scene.done(&["logout", "gone"], "has forgotten")?;
    scene.keeps_to_itself(&serde_json::to_string(PASSWORD)?, "strip")?;

    // A lab that calls something else by this name gets no password to send there.
    let asked = look(&strip, |strip| strip.nonces);
    fs::write(scene.stage.path("lab.toml"), LAB.replace(":8080", ":8082").replace(":8081", ":8080"))?;
    scene.refused(&["on", "plugged"], "lab.toml has another url for this device now")?;
    ensure!(look(&strip, |strip| strip.nonces) == asked, "it was asked all the same");
    Ok(())
}

/// The switch of this scene lets curl in as well, so that it is not only of one mind with itself.
fn agreed(scene: &Switching, strip: &Mutex<Strip>) -> Result<()> {
    for sha256 in [false, true] {
        look(strip, |strip| strip.sha256 = sha256);
        for (password, expect) in [(PASSWORD, "true"), ("wrong", "")] {
            let mut curl = scene.stage.client("curl")?;
            curl.args(["--silent", "--fail", "--digest", "--user", &format!("{USER}:{password}")]);
            curl.args(["--header", "Accept: application/json"]);
            curl.arg("http://10.77.0.50:8080/restapi/relay/outlets/2/physical_state/");
            let said = process::run(&mut curl, LIMIT)?.text;
            ensure!(
                said == expect,
                "with {password:?} and SHA-256 {sha256}, curl got {said:?}: {:?}",
                look(strip, |strip| strip.turned_away.clone())
            );
        }
    }
    look(strip, |strip| strip.sha256 = false);
    Ok(())
}

/// Who asked goes away between off and on, and another one comes: the machine has its power back all the same.
fn hung_up(scene: &Switching, strip: &Mutex<Strip>) -> Result<()> {
    look(strip, |strip| strip.orders.clear());
    let mut asker =
        scene.command(&["cycle", "plugged", "--off-for", "4"], "")?.spawn().context("could not ask")?;
    let wait = |wanted: &[(usize, bool)]| {
        let end = Instant::now() + LIMIT;
        while Instant::now() < end {
            let orders =
                look(strip, |strip| strip.orders.iter().map(|order| (order.0, order.1)).collect::<Vec<_>>());
            if orders == wanted {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(20));
        }
        anyhow::bail!("it was never told {wanted:?}")
    };
    wait(&[(2, false)])?;
    asker.kill().and_then(|()| asker.wait()).context("could not hang up")?;
    scene.refused(&["off", "plugged"], "somebody is switching plugged just now")?;
    wait(&[(2, false), (2, true)])?;
    let end = |event: &serde_json::Value| event["stage"] == "cycle" && event["outcome"] == "ok";
    scene.daemon.events_at_least(3, "a cycle", end)
}
