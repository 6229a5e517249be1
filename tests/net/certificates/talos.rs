//! What an operator is given for a cluster of Talos nodes.

use std::{fs, os::unix::fs::PermissionsExt as _};

use anyhow::{Context as _, Result, ensure};
use pilotlight_tests::process::{Outcome, must};
use serde_json::Value;

use super::{Desk, LIMIT};

impl Desk {
    /// Each key of the bundle is its certificate's, and what Talos signs with it is what the Pi's own kubeconfigs trust.
    pub(super) fn talos_has_its_secrets(&self) -> Result<()> {
        must(&mut self.pilotctl(&["talos-secrets", "--out", "secrets.yaml"])?, LIMIT)?;
        let path = self.stage.path("secrets.yaml");
        let mode = fs::metadata(&path)?.permissions().mode();
        ensure!(mode & 0o777 == 0o600, "others may read it: {mode:o}");
        let bundle: Value = serde_json::from_slice(&fs::read(&path)?)?;
        for name in ["etcd", "k8s", "k8saggregator", "os"] {
            self.taken_out(&bundle, &format!("/certs/{name}/crt"), "bundle.crt")?;
            self.taken_out(&bundle, &format!("/certs/{name}/key"), "bundle.key")?;
            let certified = self.openssl_says("x509 -in bundle.crt -noout -pubkey")?;
            let own = self.openssl_says("pkey -in bundle.key -pubout")?;
            ensure!(certified == own, "{name}: {certified} and {own}");
            let says = self.openssl_says("x509 -in bundle.crt -noout -ext basicConstraints")?;
            ensure!(says.contains("CA:TRUE"), "{name} is no authority: {says}");
        }
        self.taken_out(&bundle, "/certs/k8s/crt", "bundle.crt")?;
        let trusted = fs::read_to_string(self.stage.path("trusted"))?;
        ensure!(fs::read_to_string(self.stage.path("bundle.crt"))? == trusted, "another authority");
        self.taken_out(&bundle, "/certs/k8sserviceaccount/key", "bundle.key")?;
        self.openssl_says("pkey -in bundle.key -check -noout").map(drop)
    }

    /// Writes what stands at a place of the bundle into a file.
    fn taken_out(&self, bundle: &Value, place: &str, name: &str) -> Result<()> {
        let text = bundle.pointer(place).and_then(Value::as_str).with_context(|| format!("no {place}"))?;
        fs::write(self.stage.path("bundle.base64"), text)?;
        self.openssl_says(&format!("base64 -d -A -in bundle.base64 -out {name}"))?;
        // A name of Talos' own for what others call a private key.
        let pem = fs::read_to_string(self.stage.path(name))?.replace("ED25519 PRIVATE", "PRIVATE");
        Ok(fs::write(self.stage.path(name), pem)?)
    }

    fn openssl_says(&self, words: &str) -> Result<String> {
        let Outcome { status, text, .. } = self.openssl(words)?;
        ensure!(status.success(), "openssl {words}: {text}");
        Ok(text)
    }
}
