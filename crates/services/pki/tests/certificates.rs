//! What is issued, and who takes it: rustls judges here, OpenSSL in the scene `certificates` of `tests/image`.

use std::sync::Arc;

use pilotlight_lab::{Lab, Role};
use pilotlight_pki::{
    Authority, Branch, Clock, Fault, Leaf, LeafError, Name, Purpose, TimeTrust, admin_leaf, kubeconfig,
    node_leaf, restore, seal, talos_secrets,
};
use ring::rand::SystemRandom;
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::WebPkiClientVerifier,
};

const BUILT: u64 = 1_700_000_000;
const YEAR: u64 = 31_557_600;

fn lab() -> Lab {
    pilotlight_lab::parse(include_str!("../../../lab/examples/origin.toml")).expect("the example is a lab")
}

fn authority() -> Authority {
    Authority::make(BUILT, &SystemRandom::new()).expect("an authority")
}

/// The time of the machine that tests: rustls goes by it.
fn clock() -> Clock {
    let now =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs();
    Clock { now, trust: TimeTrust::Trusted }
}

fn leaf(node: &str, purpose: Purpose) -> Leaf {
    let lab = lab();
    node_leaf(&lab, lab.node_by_name(node).expect("a node of the example"), purpose).expect("its role has it")
}

#[test]
fn the_api_server_is_good_for_every_name_that_it_is_reached_as() {
    let names = leaf("node1", Purpose::ApiServer).names;
    for name in [
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
        "10.3.0.1",
        "node1",
        "10.77.0.11",
        "localhost",
        "127.0.0.1",
        "::1",
    ] {
        assert!(names.contains(&Name::from(name)), "{name} is not in {names:?}");
    }
    assert!(!names.contains(&Name::from("node2")), "a worker is no API server");
}

#[test]
fn workers_get_a_kubelets_certificates_and_nothing_else() {
    let lab = lab();
    for node in &lab.nodes {
        for purpose in Purpose::ALL.into_iter().filter(|purpose| *purpose != Purpose::ServiceAccount) {
            let leaf = node_leaf(&lab, node, purpose);
            let may = node.role == Some(Role::Controller) || purpose.for_worker();
            assert_eq!(leaf.is_ok(), may, "{} {purpose:?}", node.name);
            if node.role != Some(Role::Controller) {
                assert!(leaf.is_ok_and(|leaf| leaf.branch == Branch::Kubernetes) || !may);
            }
        }
    }
    let mut alone = lab.clone();
    alone.kubernetes = None;
    let outcome = alone.nodes.first().map(|node| node_leaf(&alone, node, Purpose::Kubelet));
    assert_eq!(outcome, Some(Err(LeafError::NoCluster)));
}

#[test]
fn a_pi_a_year_behind_issues_nothing_until_its_time_is_trusted() {
    let (random, leaf) = (SystemRandom::new(), leaf("node1", Purpose::Kubelet));
    let real = clock();
    let built = real.now - YEAR / 2;
    let authority = Authority::make(built, &random).expect("an authority");
    let behind = |trust| Clock { now: real.now - YEAR, trust };
    let issue = |clock| authority.issue_with_key(&leaf, clock, &random).map(|(issued, _)| issued);
    assert!(matches!(issue(behind(TimeTrust::Untrusted)), Err(Fault::Time)));
    assert!(matches!(issue(Clock { now: real.now, trust: TimeTrust::Untrusted }), Err(Fault::Time)));
    // Vouched for, and yet before the build: nobody's clock is right then.
    assert!(matches!(issue(behind(TimeTrust::Trusted)), Err(Fault::Early { .. })));
    assert!(issue(real).is_ok(), "the time is right now");
}

/// Whether a server with etcd's certificate, which wants its clients' under etcd's authority, lets this one in.
fn etcd_takes(authority: &Authority, client: &(String, String)) -> bool {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let trust = || {
        let mut store = RootCertStore::empty();
        let pem = authority.branch_pem(Branch::Etcd);
        store.add(CertificateDer::from_pem_slice(pem.as_bytes()).expect("a certificate")).expect("trusted");
        Arc::new(store)
    };
    let chain = |pem: &str| -> Vec<_> {
        CertificateDer::pem_slice_iter(pem.as_bytes()).map(|der| der.expect("a certificate")).collect()
    };
    let key = |pem: &str| PrivateKeyDer::from_pem_slice(pem.as_bytes()).expect("a key");
    let (own, own_key) = authority
        .issue_with_key(&leaf("node1", Purpose::EtcdServer), clock(), &SystemRandom::new())
        .expect("issued");
    let verifier =
        WebPkiClientVerifier::builder_with_provider(trust(), provider.clone()).build().expect("a verifier");
    let server = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain(&own.chain), key(&own_key))
        .expect("a server");
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(trust())
        .with_client_auth_cert(chain(&client.0), key(&client.1))
        .expect("a client");
    let mut server = ServerConnection::new(Arc::new(server)).expect("a server");
    let name = "10.77.0.11".try_into().expect("an address");
    let mut client = ClientConnection::new(Arc::new(config), name).expect("a client");
    while client.is_handshaking() || server.is_handshaking() {
        let mut wire = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut wire).expect("memory");
        }
        let mut wire = wire.as_slice();
        while !wire.is_empty() {
            server.read_tls(&mut wire).expect("memory");
            if server.process_new_packets().is_err() {
                return false;
            }
        }
        let mut back = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut back).expect("memory");
        }
        let mut back = back.as_slice();
        while !back.is_empty() {
            client.read_tls(&mut back).expect("memory");
            client.process_new_packets().expect("the client trusts etcd's server");
        }
    }
    true
}

#[test]
fn etcds_door_opens_for_its_own_clients_and_no_kubelet() {
    let authority = authority();
    let made = |leaf: &Leaf| {
        let (issued, key) = authority.issue_with_key(leaf, clock(), &SystemRandom::new()).expect("issued");
        (issued.chain, key)
    };
    assert!(etcd_takes(&authority, &made(&leaf("node1", Purpose::ApiServerEtcdClient))));
    assert!(etcd_takes(&authority, &made(&leaf("node1", Purpose::EtcdHealthcheck))));
    assert!(!etcd_takes(&authority, &made(&leaf("node2", Purpose::Kubelet))));
    assert!(!etcd_takes(&authority, &made(&leaf("node1", Purpose::FrontProxyClient))));
    assert!(!etcd_takes(&authority, &made(&admin_leaf())));
}

#[test]
fn a_backup_gives_all_back_to_its_passphrase_alone() {
    let (authority, random) = (authority(), SystemRandom::new());
    let passphrase = "correct horse battery";
    let backup = seal(&authority, passphrase, &random).expect("sealed");
    assert!(!backup.windows(5).any(|bytes| bytes == b"begin"), "nothing is readable in it");
    let again = restore(&backup, passphrase).expect("opened");
    assert_eq!(again.root_pem(), authority.root_pem());
    assert_eq!(again.service_account_pem(), authority.service_account_pem());
    let (issued, key) =
        again.issue_with_key(&leaf("node1", Purpose::EtcdPeer), clock(), &random).expect("issued");
    assert!(
        etcd_takes(&authority, &(issued.chain, key)),
        "the old authority's certificate holds for the new one's"
    );
    assert!(restore(&backup, "correct horse batterz").is_err());
    for at in [0, 20, 40, 60, backup.len() - 1] {
        let mut damaged = backup.clone();
        *damaged.get_mut(at).expect("within it") ^= 1;
        assert!(restore(&damaged, passphrase).is_err(), "byte {at}");
    }
    assert!(seal(&authority, "short", &random).is_err());
}

#[test]
fn a_kubeconfig_holds_what_it_was_given() {
    let text = kubeconfig("lab", "10.77.0.11", "admin\"\n", "ca", "chain", "key");
    let read: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(read["clusters"][0]["cluster"]["server"], "https://10.77.0.11:6443");
    assert_eq!(read["users"][0]["user"]["client-key-data"], "a2V5");
    assert_eq!(read["current-context"], "admin\"\n@lab");
}

/// What Talos' own bundles look like; that each key is its certificate's, OpenSSL says in the scene `http-certificates`.
#[test]
fn a_bundle_for_talos_is_the_same_after_a_backup_and_another_pis_is_another() {
    let authority = authority();
    let text = talos_secrets(&authority).expect("a bundle");
    let backup = seal(&authority, "correct horse battery", &SystemRandom::new()).expect("a backup");
    let restored = restore(&backup, "correct horse battery").expect("it opens");
    assert_eq!(talos_secrets(&restored).expect("a bundle"), text);
    let read = |text: &str| serde_json::from_str::<serde_json::Value>(text).expect("JSON");
    let (bundle, other) = (read(&text), read(&talos_secrets(&self::authority()).expect("a bundle")));
    let pem = |path: &str| {
        use base64::{Engine as _, prelude::BASE64_STANDARD};
        let text = bundle.pointer(path).and_then(|value| value.as_str()).expect(path);
        String::from_utf8(BASE64_STANDARD.decode(text).expect("base64")).expect("PEM")
    };
    for (name, branch) in
        [("etcd", Branch::Etcd), ("k8s", Branch::Kubernetes), ("k8saggregator", Branch::FrontProxy)]
    {
        assert_eq!(pem(&format!("/certs/{name}/crt")), authority.branch_pem(branch));
        assert!(pem(&format!("/certs/{name}/key")).starts_with("-----BEGIN EC PRIVATE KEY-----\n"));
    }
    assert!(pem("/certs/k8sserviceaccount/key").starts_with("-----BEGIN EC PRIVATE KEY-----\n"));
    assert!(pem("/certs/os/key").starts_with("-----BEGIN ED25519 PRIVATE KEY-----\n"));
    for path in [
        "/cluster/id",
        "/cluster/secret",
        "/secrets/bootstraptoken",
        "/secrets/secretboxencryptionsecret",
        "/trustdinfo/token",
        "/certs/os/crt",
        "/certs/os/key",
    ] {
        assert_ne!(bundle.pointer(path).expect(path), other.pointer(path).expect(path), "{path}");
    }
    for path in ["/secrets/bootstraptoken", "/trustdinfo/token"] {
        let token = bundle.pointer(path).and_then(|value| value.as_str()).expect(path);
        let fits = |part: &str, length| {
            part.len() == length && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        };
        let (id, secret) = token.split_once('.').expect("a dot");
        assert!(fits(id, 6) && fits(secret, 16), "{token}");
    }
    assert_ne!(bundle.pointer("/secrets/bootstraptoken"), bundle.pointer("/trustdinfo/token"));
}
