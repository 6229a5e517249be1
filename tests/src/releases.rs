//! Flatcar's releases as its own servers have them, on the loopback interface and signed by a key of the scene.

use std::collections::BTreeMap;

use pilotlight_fetch::testing::{Content, Server, Signer, Site, Trouble};

const CHANNEL: &str = "flatcar/stable/amd64-usr";
/// What a release has to be started with.
pub const KERNEL: &str = "flatcar_production_pxe.vmlinuz";
/// The other half.
pub const INITRD: &str = "flatcar_production_pxe_image.cpio.gz";

/// A server of them.
pub struct Flatcar {
    server: Server,
    signer: Signer,
    site: Site,
}

impl Default for Flatcar {
    fn default() -> Self {
        Self::new()
    }
}

impl Flatcar {
    /// A server without releases.
    pub fn new() -> Self {
        let (server, signer) = (Server::start(Site::new()), Signer::new());
        let keys = Content::Bytes(signer.armoured().into_bytes());
        Self { server, signer, site: BTreeMap::from([("keys.asc".to_owned(), keys)]) }
    }

    /// The server.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// More than one of the builder's pieces, and no two alike.
    pub fn content(name: &str, version: &str) -> Vec<u8> {
        format!("{name} of {version}\n").into_bytes().repeat(100_000)
    }

    /// Publishes a release in the stable channel, `times` as long as it would be.
    pub fn release(&mut self, version: &str, times: usize) {
        let mut put = |path: &str, content: Vec<u8>| {
            let signature = self.signer.sign_detached(&content);
            self.site.insert(format!("{CHANNEL}/{path}.sig"), Content::Bytes(signature));
            self.site.insert(format!("{CHANNEL}/{path}"), Content::Bytes(content));
        };
        let text = format!("FLATCAR_VERSION={version}\n");
        put("current/version.txt", text.clone().into_bytes());
        put(&format!("{version}/version.txt"), text.into_bytes());
        for name in [KERNEL, INITRD] {
            put(&format!("{version}/{name}"), Self::content(name, version).repeat(times));
        }
        self.server.serve(self.site.clone());
    }

    /// Publishes a file of anybody's.
    pub fn put(&mut self, path: &str, content: &[u8]) {
        self.site.insert(path.to_owned(), Content::Bytes(content.to_vec()));
        self.server.serve(self.site.clone());
    }

    /// The address of a file of a release.
    pub fn url(&self, version: &str, name: &str) -> String {
        self.server.mirror(&format!("{CHANNEL}/{version}/{name}"))
    }

    /// From now on something is wrong with a file of a release.
    pub fn trouble(&self, version: &str, name: &str, trouble: Trouble) {
        self.server.trouble(&format!("{CHANNEL}/{version}/{name}"), trouble);
    }

    /// The sources that the project has, but for Flatcar's, which are here.
    pub fn sources(&self) -> String {
        include_str!("../../crates/mirror/src/sources.toml")
            .replace("https://{channel}.release.flatcar-linux.net", &self.server.mirror("flatcar/{channel}"))
            .replace(
                "https://www.flatcar.org/security/image-signing-key/Flatcar_Image_Signing_Key.asc",
                &self.server.mirror("keys.asc"),
            )
            .replace("F88CFEDEFF29A5B4D9523864E25D9AED0593B34A", &self.signer.fingerprint())
    }
}
