//! The daemon itself: keys that outlive it, and callers that the kernel names.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    os::unix::{fs::PermissionsExt as _, net::UnixStream},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

struct Daemon(Child);

impl Drop for Daemon {
    /// As a power cut would: without a word.
    fn drop(&mut self) {
        self.0.kill().expect("it can be killed");
        self.0.wait().expect("it ends");
    }
}

/// The daemon with its state in `at`, for which whoever runs this test is `role`.
fn start(at: &Path, role: &str) -> Daemon {
    let own = rustix::process::getuid().as_raw();
    let (operator, wire) = if role == "operator" { (own, own + 1) } else { (own + 1, own) };
    std::fs::write(at.join("lab.toml"), include_str!("../../../lab/examples/origin.toml")).expect("written");
    let _ = std::fs::remove_file(at.join("socket"));
    let child = Command::new(env!("CARGO_BIN_EXE_pilotlight-pkid"))
        .args(["--socket", "socket", "--state", "state", "--built", "/bin/sh", "--lab", "lab.toml"])
        .args(["--clock-set", "set", "--events", "events"])
        .args(["--operator", &operator.to_string(), "--wire", &wire.to_string()])
        .current_dir(at)
        .stdout(Stdio::null())
        .spawn()
        .expect("it starts");
    Daemon(child)
}

fn ask(at: &Path, question: &Value) -> Value {
    let begun = Instant::now();
    let mut stream = loop {
        match UnixStream::connect(at.join("socket")) {
            Ok(stream) => break stream,
            Err(fault) => assert!(begun.elapsed() < Duration::from_secs(30), "it does not answer: {fault}"),
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    writeln!(stream, "{question}").expect("written");
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer).expect("an answer");
    serde_json::from_str(&answer).expect("JSON")
}

#[test]
fn keys_outlive_the_daemon_and_the_wire_gets_none() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = folder.path();
    let (public, backup) = {
        let _daemon = start(at, "operator");
        let public = ask(at, &json!({"ask": "public"}));
        assert_eq!(public["answer"], "public");
        // Nobody has set the clock yet.
        assert_eq!(ask(at, &json!({"ask": "kubeconfig"}))["answer"], "refused");
        std::fs::write(at.join("set"), "1").expect("written");
        assert_eq!(ask(at, &json!({"ask": "kubeconfig"}))["answer"], "kubeconfig");
        (public, ask(at, &json!({"ask": "backup", "passphrase": "correct horse battery"}))["backup"].clone())
    };
    let mode =
        |name: &str| std::fs::metadata(at.join(name)).expect("it is there").permissions().mode() & 0o777;
    assert_eq!((mode("state"), mode("state/authority.json")), (0o700, 0o600));
    {
        let _daemon = start(at, "wire");
        assert_eq!(ask(at, &json!({"ask": "public"})), public, "the same authority after a kill");
        assert_eq!(ask(at, &json!({"ask": "kubeconfig"})), json!({"answer": "refused", "reason": "refused"}));
    }
    let other = tempfile::tempdir().expect("a folder");
    let at = other.path();
    {
        let _daemon = start(at, "operator");
        assert_ne!(ask(at, &json!({"ask": "public"})), public, "each makes its own");
        let restore = json!({"ask": "restore", "passphrase": "correct horse battery", "backup": backup});
        assert_eq!(ask(at, &restore)["answer"], "restored");
    }
    let _daemon = start(at, "wire");
    assert_eq!(ask(at, &json!({"ask": "public"})), public, "what was restored outlives the daemon");
}

#[test]
fn a_caller_that_drips_does_not_hold_up_the_others() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = folder.path();
    let _daemon = start(at, "operator");
    assert_eq!(ask(at, &json!({"ask": "public"}))["answer"], "public");
    let mut slow = UnixStream::connect(at.join("socket")).expect("it answers");
    let drip = std::thread::spawn(move || {
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(60) {
            if slow.write_all(b"x").is_err() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        false
    });
    let begun = Instant::now();
    assert_eq!(ask(at, &json!({"ask": "public"}))["answer"], "public");
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    assert!(drip.join().expect("it ends"), "it was never cut off");
}

#[test]
fn damaged_keys_are_no_reason_to_make_new_ones() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = folder.path();
    let (public, backup) = {
        let _daemon = start(at, "operator");
        let backup = ask(at, &json!({"ask": "backup", "passphrase": "correct horse battery"}));
        (ask(at, &json!({"ask": "public"})), backup["backup"].clone())
    };
    let file = |name: &str| std::fs::read(at.join("state").join(name)).expect("it is there");
    std::fs::write(at.join("state/authority.json"), "{").expect("written");
    {
        let _daemon = start(at, "wire");
        assert_eq!(ask(at, &json!({"ask": "public"})), json!({"answer": "refused", "reason": "refused"}));
    }
    {
        let _daemon = start(at, "operator");
        let told = ask(at, &json!({"ask": "public"}))["reason"].to_string();
        assert!(told.contains("state/authority.json is damaged"), "{told}");
        let wrong = json!({"ask": "restore", "passphrase": "wrong horse battery", "backup": backup});
        assert_eq!(ask(at, &wrong)["answer"], "refused");
        assert_eq!(file("authority.json"), b"{");
        let restore = json!({"ask": "restore", "passphrase": "correct horse battery", "backup": backup});
        assert_eq!(ask(at, &restore)["answer"], "restored");
        assert_eq!(ask(at, &json!({"ask": "public"})), public, "it goes on with what was brought");
    }
    assert_eq!(file("authority.damaged"), b"{");
    let _daemon = start(at, "wire");
    assert_eq!(ask(at, &json!({"ask": "public"})), public, "what was brought outlives the daemon");
}
