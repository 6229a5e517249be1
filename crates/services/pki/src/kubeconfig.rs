//! kubeconfigs: JSON, which is YAML as well.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::json;

/// A kubeconfig for one user of one cluster. `host` is a name or an address without a port; the authority's
/// certificate, the user's chain and the user's key are in PEM. It holds the key: a secret.
pub fn kubeconfig(cluster: &str, host: &str, user: &str, authority: &str, chain: &str, key: &str) -> String {
    let context = format!("{user}@{cluster}");
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{
            "name": cluster,
            "cluster": {
                "server": format!("https://{host}:6443"),
                "certificate-authority-data": BASE64_STANDARD.encode(authority),
            },
        }],
        "users": [{
            "name": user,
            "user": {
                "client-certificate-data": BASE64_STANDARD.encode(chain),
                "client-key-data": BASE64_STANDARD.encode(key),
            },
        }],
        "contexts": [{ "name": context, "context": { "cluster": cluster, "user": user } }],
        "current-context": context,
    });
    format!("{config:#}\n")
}
