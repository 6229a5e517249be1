//! Debian's rules, one small universe at a time.

use super::*;
use crate::{index, spec::Spec};

/// Each line of `universe`: `name version architecture` and then fields, all separated by `; `.
fn index_of(universe: &str) -> String {
    let entry = |line: &str| {
        let (head, fields) = line.split_once("; ").unwrap_or((line, ""));
        let words: Vec<_> = head.split_whitespace().collect();
        let fields: String =
            fields.split("; ").filter(|field| !field.is_empty()).map(|field| format!("{field}\n")).collect();
        format!(
            "Package: {0}\nVersion: {1}\nArchitecture: {2}\n{fields}Filename: pool/{0}.deb\nSize: 1\nSHA256: {3}\n\n",
            words[0],
            words[1],
            words[2],
            Digest::of(line)
        )
    };
    universe.lines().map(str::trim).filter(|line| !line.is_empty()).map(entry).collect()
}

fn solve_in(universe: &str, set: &str) -> Result<Vec<String>, SolveError> {
    solve_with(universe, set, &[])
}

/// The lines of `universe` that start with one of `locked` are locked.
fn solve_with(universe: &str, set: &str, locked: &[&str]) -> Result<Vec<String>, SolveError> {
    let spec = format!(
        "[archives.debian]\nmirror = \"http://x.example/\"\nsuites = [\"trixie\"]\nkeys = [{{ fingerprint = \"{}\", file = \
         \"k\" }}]\n[sets.test]\nsuites = [\"trixie\"]\narchitectures = [\"armhf\", \"arm64\"]\n{set}",
        "A".repeat(40)
    );
    let spec = Spec::parse(&spec).unwrap();
    let text = index_of(universe);
    let mut records = Vec::new();
    index::read(&text, 0, &mut records).unwrap();
    let is_locked = |record: &&Record<'_>| {
        let line = format!("{} {} {}", record.package, record.version, record.architecture);
        locked.contains(&line.as_str())
    };
    let own = records.iter().filter(is_locked).map(|record| record.sha256).collect();
    let favoured = Favoured { own, ..Favoured::default() };
    let chosen = solve(&spec.sets["test"], &records, &favoured)?;
    Ok(chosen
        .into_iter()
        .map(|index| {
            format!("{} {} {}", records[index].package, records[index].version, records[index].architecture)
        })
        .collect())
}

fn check(universe: &str, set: &str, expect: &[&str]) {
    assert_eq!(solve_in(universe, set).unwrap(), expect, "{set} in {universe}");
}

fn check_fails(universe: &str, set: &str, expect: &[&str]) {
    let message = solve_in(universe, set).unwrap_err().to_string();
    for part in expect {
        assert!(message.contains(part), "{part:?} is not in: {message}");
    }
}

#[test]
fn the_newest_version_wins() {
    check("a 1.10 armhf\na 1.9 armhf\na 1.10~rc1 armhf", "packages = [\"a\"]", &["a 1.10 armhf"]);
    check("a 9 armhf\na 1:1 armhf", "packages = [\"a\"]", &["a 1:1 armhf"]);
}

#[test]
fn what_is_locked_stays_where_it_fits() {
    let check = |universe: &str, locked: &[&str], expect: &[&str]| {
        assert_eq!(solve_with(universe, "packages = [\"a\"]", locked).unwrap(), expect, "{universe}");
    };
    check("a 1 armhf\na 2 armhf", &["a 1 armhf"], &["a 1 armhf"]);
    check("a 1 armhf\na 2 armhf", &["a 3 armhf"], &["a 2 armhf"]);
    let chain = "a 1 armhf; Depends: b\na 2 armhf; Depends: b (>= 2)\nb 1 armhf\nb 2 armhf";
    check(chain, &["b 1 armhf"], &["a 2 armhf", "b 2 armhf"]);
    check(chain, &["a 1 armhf", "b 1 armhf"], &["a 1 armhf", "b 1 armhf"]);
    check(chain, &["a 2 armhf", "b 1 armhf"], &["a 2 armhf", "b 2 armhf"]);
    check("a 1 armhf; Depends: gone\na 2 armhf", &["a 1 armhf"], &["a 2 armhf"]);
}

#[test]
fn dependencies_come_along() {
    let universe = "a 1 armhf; Depends: b (>= 2), c | d\nb 1 armhf\nb 2 armhf; Pre-Depends: e\nc 1 armhf\nd 1 armhf\ne 1 all";
    check(universe, "packages = [\"a\"]", &["a 1 armhf", "b 2 armhf", "c 1 armhf", "e 1 all"]);
    check(universe, "alone = [\"a\"]", &["a 1 armhf"]);
}

#[test]
fn an_older_version_is_taken_when_the_newest_cannot() {
    check("a 2 armhf; Depends: gone\na 1 armhf", "packages = [\"a\"]", &["a 1 armhf"]);
    check(
        "a 1 armhf; Depends: b (<< 2)\nb 1 armhf\nb 2 armhf",
        "packages = [\"a\"]",
        &["a 1 armhf", "b 1 armhf"],
    );
}

#[test]
fn alternatives_in_their_order() {
    check(
        "a 1 armhf; Depends: gone | c | b\nb 1 armhf\nc 1 armhf",
        "packages = [\"a\"]",
        &["a 1 armhf", "c 1 armhf"],
    );
    check(
        "a 1 armhf; Depends: c | b\nb 1 armhf\nc 1 armhf; Conflicts: a",
        "packages = [\"a\"]",
        &["a 1 armhf", "b 1 armhf"],
    );
}

#[test]
fn provisions() {
    let awk = "a 1 armhf; Depends: awk\ngawk 1 armhf; Provides: awk; Priority: optional\nmawk 1 armhf; Provides: awk; Priority: required";
    check(awk, "packages = [\"a\"]", &["a 1 armhf", "mawk 1 armhf"]);
    let versioned = "a 1 armhf; Depends: v (>= 2)\nnone 1 armhf; Provides: v\nold 1 armhf; Provides: v (= 1)\nnew 1 armhf; Provides: v (= 2)";
    check(versioned, "packages = [\"a\"]", &["a 1 armhf", "new 1 armhf"]);
    check(
        "a 1 armhf; Depends: tool\nb 1 armhf; Provides: tool",
        "packages = [\"a\"]\nprovided = [{ name = \"tool\", reason = \"ours\" }]",
        &["a 1 armhf"],
    );
}

#[test]
fn conflicts_and_breaks() {
    check_fails(
        "a 1 armhf; Conflicts: b\nb 1 armhf",
        "packages = [\"a\", \"b\"]",
        &["do not fit together", "a 1", "b"],
    );
    check(
        "a 1 armhf; Breaks: b (<< 2)\nb 1 armhf\nb 2 armhf",
        "packages = [\"a\", \"b\"]",
        &["a 1 armhf", "b 2 armhf"],
    );
    check_fails(
        "a 1 armhf; Conflicts: mta\nb 1 armhf; Provides: mta",
        "packages = [\"a\", \"b\"]",
        &["do not fit together"],
    );
    // What replaces a name provides it and conflicts with it, and means the others.
    check("a 1 armhf; Provides: mta; Conflicts: mta", "packages = [\"a\"]", &["a 1 armhf"]);
}

#[test]
fn essential_packages() {
    let universe = "a 1 armhf\nb 1 armhf; Essential: yes; Depends: c\nc 1 armhf\nb 1 arm64; Essential: yes";
    check(universe, "packages = [\"a\"]\nessential = true", &["a 1 armhf", "b 1 armhf", "c 1 armhf"]);
    check(universe, "packages = [\"a\"]", &["a 1 armhf"]);
}

#[test]
fn architectures_side_by_side() {
    let kernel = "linux 6 arm64; Depends: kmod, base\nkmod 1 armhf; Multi-Arch: foreign\nkmod 1 arm64; Multi-Arch: foreign\nbase 1 all; Multi-Arch: foreign";
    check(kernel, "packages = [\"linux:arm64\"]", &["base 1 all", "kmod 1 armhf", "linux 6 arm64"]);
    // Without Multi-Arch a package serves its own architecture only, one for all the set's own.
    check_fails(
        "a 1 arm64; Depends: b\nb 1 armhf",
        "packages = [\"a:arm64\"]",
        &["do not fit together", "b"],
    );
    check_fails("a 1 arm64; Depends: b\nb 1 all", "packages = [\"a:arm64\"]", &["do not fit together", "b"]);
    check(
        "a 1 arm64; Depends: b\nb 1 arm64\nb 2 armhf",
        "packages = [\"a:arm64\"]",
        &["a 1 arm64", "b 1 arm64"],
    );
    check(
        "a 1 arm64; Depends: p:any\np 1 armhf; Multi-Arch: allowed",
        "packages = [\"a:arm64\"]",
        &["a 1 arm64", "p 1 armhf"],
    );
    check("a 1 armhf; Depends: b:arm64\nb 1 arm64", "packages = [\"a\"]", &["a 1 armhf", "b 1 arm64"]);
}

#[test]
fn one_name_in_two_architectures() {
    let same = "lib 1 armhf; Multi-Arch: same\nlib 2 armhf; Multi-Arch: same\nlib 1 arm64; Multi-Arch: same";
    check(same, "packages = [\"lib\", \"lib:arm64\"]", &["lib 1 arm64", "lib 1 armhf"]);
    check(same, "packages = [\"lib\"]\nalone = [\"lib:arm64\"]", &["lib 1 arm64", "lib 1 armhf"]);
    check_fails("a 1 armhf\na 1 arm64", "packages = [\"a\", \"a:arm64\"]", &["do not fit together"]);
}

#[test]
fn what_is_not_there() {
    check_fails(
        "systemd 1 armhf",
        "packages = [\"systemed\"]",
        &["no package systemed in trixie", "did you mean `systemd`?"],
    );
    check_fails("a 1 armhf", "packages = [\"a:arm64\"]", &["no package a:arm64"]);
    check_fails("a 1 armhf; Depends: b (>= 3)\nb 1 armhf", "packages = [\"a\"]", &["a 1", "b >= 3"]);
}

#[test]
fn a_package_in_two_suites_counts_once() {
    check("a 1 armhf\na 1 armhf\nb 1 all\nb 1 all", "packages = [\"a\", \"b\"]", &["a 1 armhf", "b 1 all"]);
}

#[test]
fn what_has_to_move_along_moves() {
    let universe = "top 1 armhf; Depends: twin\ntwin 1 armhf; Depends: data (= 1)\ntwin 2 armhf; Depends: data (= 2)\ndata 2 all";
    let found = solve_with(universe, "packages = [\"top\"]", &["top 1 armhf", "twin 1 armhf"]).unwrap();
    assert_eq!(found, ["data 2 all", "top 1 armhf", "twin 2 armhf"]);
}
