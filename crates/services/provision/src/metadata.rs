//! What the lab says of a node, as Matchbox's `/metadata` has it: lines of the form `NAME=value` that a shell and
//! systemd's `EnvironmentFile=` read alike (Matchbox 0.11, docs/api-http.md).

use std::fmt::Write as _;

use pilotlight_lab::{Lab, Node, Variable};

/// The variables of `node`, what it is known by, and what was asked with: `query` as names and values, `raw` as it came.
///
/// A list becomes one line, its items apart by blanks. A name in the query that no shell takes is left out.
pub fn metadata(lab: &Lab, node: &Node, query: &[(String, String)], raw: &str) -> String {
    let mut out = String::new();
    let mut line = |name: &str, value: &str| {
        let name = name.replace(['-', '.'], "_").to_ascii_uppercase();
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if !name.is_empty() && !name.starts_with(|c: char| c.is_ascii_digit()) && name.chars().all(plain) {
            // Writing to a string cannot fail.
            _ = writeln!(out, "{name}={}", quoted(value));
        }
    };
    for (name, value) in &node.variables {
        line(name, &words(value));
    }
    line("name", &node.name);
    line("fqdn", &format!("{}.{}", node.name, lab.network.domain));
    line("mac", &node.mac.to_string());
    for (name, value) in query {
        line(&format!("request_query_{name}"), value);
    }
    line("request_raw_query", raw);
    out
}

fn words(value: &Variable) -> String {
    match value {
        Variable::Text(text) => text.clone(),
        Variable::Integer(number) => number.to_string(),
        Variable::Truth(truth) => truth.to_string(),
        Variable::List(list) => list.iter().map(words).collect::<Vec<_>>().join(" "),
    }
}

/// As it is where nothing in it means anything to a shell, in double quotes otherwise. What would end the line becomes a
/// blank: no reader of such files agrees with another on what a line feed in quotes is.
fn quoted(value: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_.:/@+-,=%".contains(c);
    if value.chars().all(plain) {
        return value.to_owned();
    }
    let mut out = String::from("\"");
    for c in value.chars() {
        match c {
            '"' | '\\' | '$' | '`' => out.extend(['\\', c]),
            c if c.is_control() || matches!(c, '\u{85}' | '\u{2028}' | '\u{2029}') => out.push(' '),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
