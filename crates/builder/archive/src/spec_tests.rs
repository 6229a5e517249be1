//! Specs of archives: what is refused, and what a set is in the end.

use super::*;

const GOOD: &str = r#"
    [archives.debian]
    mirror = "http://ftp.example.org/debian"
    suites = ["trixie"]
    keys = [{ fingerprint = "04B54C3CDCA79751B16BC6B5225629DF75B188BD", file = "keys/a.asc" }]
    [sets.root]
    suites = ["trixie"]
    architectures = ["armhf", "arm64"]
    packages = ["systemd", "linux-image-arm64:arm64"]
"#;

#[test]
fn a_set_reads() {
    let spec = Spec::parse(GOOD).unwrap();
    let root = &spec.sets["root"];
    assert_eq!(root.own_architecture(), "armhf");
    assert_eq!(root.components, ["main"]);
    assert_eq!(root.packages[1].to_string(), "linux-image-arm64:arm64");
    assert_eq!((root.suites[0].archive.as_str(), root.suites[0].to_string().as_str()), ("debian", "trixie"));
}

const OTHER: &str = r#"
    builds-on = "debian"
    [archives.one]
    mirror = "http://one.example.org/one"
    suites = ["trixie"]
    keys = [{ fingerprint = "A0DA38D0D76E8B5D638872819165938D90FDDD2E", file = "keys/one.asc" }]
    [archives.two]
    mirror = "http://two.example.org/two"
    suites = ["trixie"]
    keys = [{ fingerprint = "CF8A1AF502A2AA2D763BAE7E82B129927FA3303E", file = "keys/two.asc" }]
    [sets.root]
    suites = ["one:trixie", "two:trixie"]
    architectures = ["armhf"]
    packages = ["systemd"]
"#;

#[test]
fn what_a_base_lacks_is_of_the_one_below() {
    let tools = "[sets.tools]\nsuites = [\"trixie\"]\narchitectures = [\"amd64\"]\npackages = [\"gcc\"]\n";
    let below = Spec::parse(&format!("{GOOD}{tools}")).unwrap().in_folder(Path::new("/bases/debian"));
    let above = Spec::parse(OTHER).unwrap().in_folder(Path::new("/bases/other"));
    assert_eq!(above.builds_on.as_deref(), Some("debian"));
    let both = above.upon(below.clone()).unwrap();
    let suites: Vec<String> = both.sets["root"].suites.iter().map(Suite::to_string).collect();
    assert_eq!(suites, ["one:trixie", "two:trixie"]);
    assert_eq!(both.fingerprint("tools"), below.fingerprint("tools"));
    assert_ne!(both.fingerprint("root"), below.fingerprint("root"));
    assert_eq!(both.archives["debian"].keys[0].file, Path::new("/bases/debian/keys/a.asc"));
    assert_eq!(both.archives["two"].keys[0].file, Path::new("/bases/other/keys/two.asc"));
    let fault = both.upon(below).unwrap_err().to_string();
    assert!(fault.contains("archives.debian"), "{fault}");
}

#[test]
fn a_suite_of_two_archives_has_to_be_told_apart() {
    let fault = Spec::parse(&OTHER.replace("one:trixie", "trixie")).unwrap_err().to_string();
    assert!(fault.contains("a suite of one and of two: write `one:trixie`"), "{fault}");
    let fault = Spec::parse(&OTHER.replace("one:trixie", "three:trixie")).unwrap_err().to_string();
    assert!(fault.contains("no archive has \"three:trixie\""), "{fault}");
}

#[test]
fn a_set_is_like_another_but_for_what_it_says() {
    let like = "[sets.other]\nlike = \"root\"\narchitectures = [\"arm64\"]\npackages = [\"udev\"]\n";
    let spec = Spec::parse(&format!("{GOOD}{like}")).unwrap();
    let other = &spec.sets["other"];
    assert_eq!((other.own_architecture(), other.packages[0].to_string().as_str()), ("arm64", "udev"));
    assert_eq!(other.suites, spec.sets["root"].suites);
    let whole = like.replace("like = \"root\"", "suites = [\"trixie\"]");
    let whole = Spec::parse(&format!("{GOOD}{whole}")).unwrap();
    assert_eq!(spec.fingerprint("other"), whole.fingerprint("other"));
    let refused = |text: &str| Spec::parse(&format!("{GOOD}{text}")).unwrap_err().to_string();
    let fault = refused(&like.replace("\"root\"", "\"rooot\""));
    assert!(fault.contains("no set \"rooot\" (did you mean `root`?)"), "{fault}");
    let fault = refused(&format!("{like}[sets.third]\nlike = \"other\"\n"));
    assert!(fault.contains("sets.third.like: \"other\" is itself like \"root\""), "{fault}");
}

#[test]
fn all_problems_are_named_at_once() {
    let check = |from: &str, to: &str, expect: &[&str]| {
        let message = Spec::parse(&GOOD.replace(from, to)).unwrap_err();
        let message = match message {
            SpecError::Problems(problems) => problems.join("\n"),
            SpecError::Toml(fault) => fault.to_string(),
        };
        for part in expect {
            assert!(message.contains(part), "{from} → {to}: {message}");
        }
    };
    check(
        "suites = [\"trixie\"]\n    arch",
        "suites = [\"trixy\"]\n    arch",
        &["trixy", "did you mean `trixie`"],
    );
    check("\"armhf\", \"arm64\"", "\"armhf\"", &["linux-image-arm64:arm64", "architectures"]);
    check("http://", "ftp://", &["archives.debian.mirror"]);
    check("04B5", "04b5", &["not a fingerprint"]);
    check("packages", "packges", &["unknown field `packges`"]);
    check("\"systemd\"", "\"Systemd\"", &["is no package"]);
}

#[test]
fn the_fingerprint_follows_the_content_alone() {
    let of = |text: &str| Spec::parse(text).unwrap().fingerprint("root").unwrap();
    let original = of(GOOD);
    assert_eq!(of(&GOOD.replace("ftp.example", "mirror.example")), original);
    assert_eq!(
        of(&GOOD
            .replace("\"systemd\", \"linux-image-arm64:arm64\"", "\"linux-image-arm64:arm64\", \"systemd\"")),
        original
    );
    assert_ne!(of(&GOOD.replace("\"systemd\"", "\"udev\"")), original);
}
