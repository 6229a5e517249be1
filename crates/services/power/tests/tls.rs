//! Devices behind TLS are known by the digest of their certificate, and by nothing else.

use std::{
    io::{Read as _, Write as _},
    net::TcpListener,
    sync::Arc,
    thread,
};

use pilotlight_lab::{DeviceKind, PowerDevice};
use pilotlight_power::{Direct, Login, State, Target, status};
use rustls::{ServerConfig, ServerConnection, StreamOwned, pki_types::PrivateKeyDer};
use sha2::{Digest as _, Sha256};

/// A controller of one system that is on, for as many connections as come; its port, and its certificate's SHA-256.
/// `goodbye`: whether it ends connections as TLS has it.
fn controller(goodbye: bool) -> (u16, String) {
    // Another name than it is called by, as is usual with such devices.
    let rcgen::CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(vec!["idrac".to_owned()]).unwrap();
    let digest = Sha256::digest(cert.der()).iter().map(|byte| format!("{byte:02x}")).collect();
    let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let connection = ServerConnection::new(config.clone()).unwrap();
            let mut stream = StreamOwned::new(connection, stream.unwrap());
            let mut question = [0; 2000];
            // Whoever does not like the certificate hangs up.
            let Ok(1..) = stream.read(&mut question) else { continue };
            let _ = stream.write_all(b"HTTP/1.0 200 OK\r\n\r\n{\"PowerState\":\"On\"}");
            if goodbye {
                stream.conn.send_close_notify();
            }
            let _ = stream.flush();
        }
    });
    (port, digest)
}

fn asked(url: String, certificate: Option<String>) -> Result<State, (String, String)> {
    let device = PowerDevice { kind: DeviceKind::Redfish, url, certificate, recover: true };
    let mut wire = Direct::new(&device).unwrap();
    status(&mut wire, &Login::new("admin", "geheim").unwrap(), Target::System("1")).map_err(|error| {
        let hint = error.hint().unwrap_or_default();
        let source = std::error::Error::source(&error).map(ToString::to_string);
        (source.unwrap_or_default(), hint)
    })
}

#[test]
fn the_pinned_certificate_counts() {
    for goodbye in [true, false] {
        let (port, digest) = controller(goodbye);
        assert_eq!(asked(format!("https://127.0.0.1:{port}"), Some(digest.clone())), Ok(State::On));
        assert_eq!(asked(format!("https://localhost:{port}"), Some(digest)), Ok(State::On));
    }
}

#[test]
fn another_certificate_is_refused_and_named() {
    let (port, digest) = controller(true);
    let pinned = "0".repeat(64);
    let (said, hint) = asked(format!("https://127.0.0.1:{port}"), Some(pinned.clone())).unwrap_err();
    assert_eq!(said, format!("its certificate is not the one in lab.toml ({pinned}): it shows {digest}"));
    assert!(hint.contains(&format!("certificate-sha256 = \"{digest}\"")), "{hint}");
    let (said, _) = asked(format!("https://127.0.0.1:{port}"), None).unwrap_err();
    assert_eq!(said, format!("lab.toml does not say which certificate it has: it shows {digest}"));
}

#[test]
fn what_is_no_device_is_said() {
    // TLS spoken to without, and the other way round.
    let (port, digest) = controller(true);
    let (said, hint) = asked(format!("http://127.0.0.1:{port}"), None).unwrap_err();
    assert!(!said.is_empty() && !hint.is_empty(), "{said} {hint}");
    let plain = TcpListener::bind("127.0.0.1:0").unwrap();
    let place = plain.local_addr().unwrap();
    thread::spawn(move || {
        let (mut stream, _) = plain.accept().unwrap();
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    });
    let (said, _) = asked(format!("https://{place}"), Some(digest)).unwrap_err();
    assert_eq!(said, "there is no TLS with it");
    // Nobody there.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (said, hint) = asked(format!("http://127.0.0.1:{port}"), None).unwrap_err();
    assert_eq!(said, format!("cannot connect to 127.0.0.1:{port}"));
    assert!(hint.contains("has it power"), "{hint}");
    let device = PowerDevice {
        kind: DeviceKind::Redfish,
        url: "http://a/b".to_owned(),
        certificate: None,
        recover: true,
    };
    assert_eq!(
        Direct::new(&device).unwrap_err().to_string(),
        "\"http://a/b\" names more than a host and a port"
    );
}
