//! A management controller behind TLS, which answers as the emulator of sushy-tools did when it was recorded
//! (`crates/services/power/tests/sushy`).

use std::{
    io::Write as _,
    net::TcpListener,
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use anyhow::{Context as _, Result, ensure};
use pilotlight_tests::surroundings;
use rustls::{ServerConfig, ServerConnection, StreamOwned, pki_types::PrivateKeyDer};
use sha2::{Digest as _, Sha256};

use super::{Switching, served::Asked};

const ID: &str = "27946b59-9e44-4fa7-8e91-f3527a1ef094";
/// `admin` and `geheim`.
const BASIC: &str = "Basic YWRtaW46Z2VoZWlt";
const LAB: &str = r#"
[network]
address = "10.77.0.1/24"
probe-first = false

[[nodes]]
name = "served"
mac = "52:54:00:00:00:12"
address = "10.77.0.12"
power = { device = "bmc", system = "27946b59-9e44-4fa7-8e91-f3527a1ef094" }

[[nodes]]
name = "misnamed"
mac = "52:54:00:00:00:13"
address = "10.77.0.13"
power = { device = "bmc", system = "1" }

[power.bmc]
kind = "redfish"
url = "https://10.77.0.50"
"#;

#[derive(Debug, Default)]
struct Controller {
    on: bool,
    /// What it becomes, and how often it is looked at until then.
    soon: Option<(bool, u32)>,
    /// Content of each reset.
    resets: Vec<String>,
    asked: usize,
}

impl Controller {
    /// The name of the recorded answer.
    fn answer(&mut self, asked: &Asked) -> &'static str {
        self.asked += 1;
        if asked.field("authorization") != Some(BASIC) {
            return "not-let-in";
        }
        let system = format!("/redfish/v1/Systems/{ID}");
        match (asked.method.as_str(), asked.path.as_str()) {
            ("GET", "/redfish/v1/Systems") => "systems",
            ("GET", path) if path == system => {
                match self.soon {
                    Some((on, 0)) => (self.on, self.soon) = (on, None),
                    Some((on, looks)) => self.soon = Some((on, looks - 1)),
                    None => {}
                }
                if self.on { "on" } else { "off" }
            }
            ("POST", path) if path == format!("{system}/Actions/ComputerSystem.Reset") => {
                self.soon = match asked.body.as_str() {
                    r#"{"ResetType":"On"}"# => Some((true, 1)),
                    r#"{"ResetType":"ForceOff"}"# => Some((false, 1)),
                    r#"{"ResetType":"ForceRestart"}"# | r#"{"ResetType":"GracefulShutdown"}"# => None,
                    _ => return "refused",
                };
                self.resets.push(asked.body.clone());
                "taken"
            }
            _ => "no-system",
        }
    }
}

/// Gives the SHA-256 of its certificate as well.
fn plug_in() -> Result<(Arc<Mutex<Controller>>, String)> {
    let rcgen::CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(vec!["bmc".to_owned()])?;
    let digest = Sha256::digest(cert.der()).iter().map(|byte| format!("{byte:02x}")).collect();
    let key = PrivateKeyDer::try_from(signing_key.serialize_der()).map_err(|fault| anyhow::anyhow!(fault))?;
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)?;
    let config = Arc::new(config);
    let listener = TcpListener::bind("10.77.0.50:443").context("could not be a controller")?;
    let controller = Arc::new(Mutex::new(Controller::default()));
    let served = Arc::clone(&controller);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (Ok(stream), Ok(connection)) = (stream, ServerConnection::new(config.clone())) else {
                continue;
            };
            let mut stream = StreamOwned::new(connection, stream);
            let Ok(asked) = Asked::read(&mut stream) else { continue };
            let name = look(&served, |controller| controller.answer(&asked));
            let recorded = surroundings::checkout().join("crates/services/power/tests/sushy");
            let _ = std::fs::read(recorded.join(format!("{name}.http"))).and_then(|answer| {
                stream.write_all(&answer)?;
                stream.conn.send_close_notify();
                stream.flush()
            });
        }
    });
    Ok((controller, digest))
}

fn look<T>(controller: &Mutex<Controller>, look: impl FnOnce(&mut Controller) -> T) -> T {
    look(&mut controller.lock().unwrap_or_else(PoisonError::into_inner))
}

pub(crate) fn redfish() -> Result<()> {
    let scene = Switching::begin(LAB)?;
    let (controller, digest) = plug_in()?;
    let lab = scene.stage.path("lab.toml");
    const LOGIN: &str = "admin\ngeheim\n";

    // Nothing is sent to one that lab.toml does not know by its certificate, and what to write there is said.
    let pin = |digest: &str| LAB.replace("0.50\"\n", &format!("0.50\"\ncertificate-sha256 = \"{digest}\"\n"));
    let advice = format!("certificate-sha256 = \"{digest}\"");
    scene.says(&["login", "bmc"], LOGIN, false, &advice)?;
    std::fs::write(&lab, pin(&"0".repeat(64)))?;
    scene.says(&["login", "bmc"], LOGIN, false, "its certificate is not the one in lab.toml")?;
    ensure!(look(&controller, |controller| controller.asked) == 0, "it was asked all the same");
    std::fs::write(&lab, pin(&digest))?;
    scene.says(&["login", "bmc"], "admin\nwrong\n", false, "does not let in the user")?;
    scene.says(&["login", "bmc"], LOGIN, true, "bmc lets admin in, and the Pi remembers it")?;

    scene.done(&["status", "served"], "served is off")?;
    scene.done(&["on", "served"], "served is on")?;
    scene.done(&["cycle", "served"], "served was restarted")?;
    scene.done(&["off", "served", "--gently"], "served was told to shut down")?;
    scene.done(&["off", "served"], "served is off")?;
    scene.done(&["off", "served"], "served is off already")?;
    let resets = look(&controller, |controller| std::mem::take(&mut controller.resets));
    let expect = ["On", "ForceRestart", "GracefulShutdown", "ForceOff"];
    ensure!(resets == expect.map(|kind| format!("{{\"ResetType\":\"{kind}\"}}")), "it was told {resets:?}");
    scene.refused(&["on", "misnamed"], &format!("has no system \"1\"; it has {ID}"))?;
    let restarted = |event: &serde_json::Value| event["stage"] == "cycle" && event["system"] == ID;
    scene.daemon.event("that a node was restarted", restarted)?;
    scene.keeps_to_itself("geheim", "bmc")?;

    // Another one in its place is another one.
    std::fs::write(&lab, pin(&"0".repeat(64)))?;
    scene.refused(&["status", "served"], &advice)?;
    Ok(())
}
