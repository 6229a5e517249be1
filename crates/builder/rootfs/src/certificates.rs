//! /etc/ssl/certs: the bundle of all certificate authorities and a link for each. The hash links of c_rehash are
//! left out: OpenSSL reads the bundle through /usr/lib/ssl/cert.pem, and every program here names the bundle.

use std::fmt::Write as _;

use pilotlight_tree::{Tree, TreePath};

use crate::{Error, files};

const AUTHORITIES: &str = "usr/share/ca-certificates";

/// Does what update-ca-certificates does with every authority switched on.
pub(crate) fn write(tree: &mut Tree, mtime: u32) -> Result<(), Error> {
    let folder = TreePath::literal(AUTHORITIES);
    let mut certificates = Vec::new();
    for (path, _) in tree.iter().filter(|(path, _)| path.is_at_or_beneath(&folder)) {
        if path.as_bytes().ends_with(b".crt")
            && let Some(content) = files::content(tree, path)
        {
            certificates.push((path.clone(), content.clone()));
        }
    }
    if certificates.is_empty() {
        return Ok(());
    }
    let mut conf = "# All authorities of the package are trusted; written by the image builder.\n".to_owned();
    let mut bundle = Vec::new();
    for (path, content) in certificates {
        let full = path.to_string();
        _ = writeln!(conf, "{}", full.trim_start_matches(&format!("/{AUTHORITIES}/")));
        bundle.extend_from_slice(&content);
        if !bundle.ends_with(b"\n") {
            bundle.push(b'\n');
        }
        let name = full.rsplit('/').next().unwrap_or_default().trim_end_matches(".crt");
        files::put_link(tree, files::path(&format!("etc/ssl/certs/{name}.pem"))?, &full, mtime);
    }
    files::put_file(tree, TreePath::literal("etc/ca-certificates.conf"), conf, 0o644, mtime);
    files::put_file(tree, TreePath::literal("etc/ssl/certs/ca-certificates.crt"), bundle, 0o644, mtime);
    Ok(())
}
