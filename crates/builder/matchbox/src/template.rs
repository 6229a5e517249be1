//! Templates: from Go's text/template to what lab.toml's are written in.
//!
//! What stands for a value there is a text that is put in as it is; here it is a whole value, or a plain part of a longer one. So
//! quotes around a value go, and a part of something gets `| plain`.

use pilotlight_lab::ConfigKind;

use crate::variable_name;

/// What a loop without a name for its elements calls them.
const ELEMENT: &str = "element";

/// What is open.
enum Open {
    If,
    /// A loop, and what `.` is in it.
    For(Option<String>),
}

/// The template in our words.
///
/// # Errors
/// The first action that has no counterpart, with its line.
pub(crate) fn converted(text: &str, kind: ConfigKind) -> Result<String, String> {
    let (mut out, mut open) = (String::new(), Vec::new());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("{{") {
        let begins = text.len().saturating_sub(after.len());
        let line = text.get(..begins).unwrap_or(text).matches('\n').count() + 1;
        let fault = |what: &str| format!("line {line}: {what}");
        let (action, after) = after.split_once("}}").ok_or_else(|| fault("an action without an end"))?;
        literal(&mut out, before);
        let begin = if action.starts_with('-') { "- " } else { " " };
        let end = if action.ends_with('-') { " -" } else { " " };
        let words = action.trim_matches('-').trim();
        rest = after;
        match statement(words, &mut open).map_err(|what| fault(&what))? {
            Said::Nothing => {}
            Said::Statement(said) => out.push_str(&format!("{{%{begin}{said}{end}%}}")),
            Said::Value(said) => {
                let start = out.rfind('\n').map_or(0, |at| at + 1);
                let before = out.get(start..).unwrap_or_default();
                let behind = rest.split('\n').next().unwrap_or_default();
                let quoted = before.ends_with('"') && behind.starts_with('"');
                let alone = before.ends_with(": ") || before.ends_with("- ");
                let alone = alone && ["", ","].contains(&behind.trim());
                let is_quoted = quoted && is_whole(before);
                let filter = if kind == ConfigKind::Text || is_quoted || alone { "" } else { " | plain" };
                if kind != ConfigKind::Text && is_quoted {
                    out.pop();
                    rest = rest.get(1..).unwrap_or_default();
                }
                out.push_str(&format!("{{{{{begin}{said}{filter}{end}}}}}"));
            }
        }
    }
    literal(&mut out, rest);
    if open.is_empty() { Ok(out) } else { Err("an `if` or `range` without its `end`".to_owned()) }
}

/// Whether the quote that ends this part of a line begins a text, and does not end one.
fn is_whole(before: &str) -> bool {
    before.matches('"').count() % 2 == 1
}

/// What is no action there must be none here.
fn literal(out: &mut String, text: &str) {
    out.push_str(&text.replace("{%", "{% raw %}{%{% endraw %}").replace("{#", "{% raw %}{#{% endraw %}"));
}

/// What an action comes to.
enum Said {
    Nothing,
    Statement(String),
    Value(String),
}

fn statement(words: &str, open: &mut Vec<Open>) -> Result<Said, String> {
    let unknown = || format!("{{{{{words}}}}} has no counterpart here");
    let (first, rest) = words.split_once(char::is_whitespace).unwrap_or((words, ""));
    let rest = rest.trim();
    Ok(match first {
        _ if words.starts_with("/*") => Said::Nothing,
        "if" => {
            let said = condition(rest, open).ok_or_else(unknown)?;
            open.push(Open::If);
            Said::Statement(format!("if {said}"))
        }
        "else" if rest.is_empty() => Said::Statement("else".to_owned()),
        "else" => {
            let rest = rest.strip_prefix("if ").ok_or_else(unknown)?;
            Said::Statement(format!("elif {}", condition(rest, open).ok_or_else(unknown)?))
        }
        "range" => {
            let (names, list) = match rest.split_once(":=") {
                Some((names, list)) => (names, list),
                None => ("", rest),
            };
            let list = value(list.trim(), open).ok_or_else(unknown)?;
            let names: Vec<&str> = names.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
            let name = match names.as_slice() {
                [] => ELEMENT.to_owned(),
                [name] | [_, name] => local(name).ok_or_else(unknown)?,
                _ => return Err(unknown()),
            };
            open.push(Open::For(names.is_empty().then(|| name.clone())));
            Said::Statement(format!("for {name} in {list}"))
        }
        "end" => match open.pop().ok_or_else(unknown)? {
            Open::If => Said::Statement("endif".to_owned()),
            Open::For(_) => Said::Statement("endfor".to_owned()),
        },
        _ => Said::Value(value(words, open).ok_or_else(unknown)?),
    })
}

/// A variable, one that is asked for by name, one of a loop, or the element of one.
fn value(words: &str, open: &[Open]) -> Option<String> {
    if words == "." {
        return open.iter().rev().find_map(|open| match open {
            Open::For(element) => Some(element.clone()),
            Open::If => None,
        })?;
    }
    if words.starts_with('$') {
        return local(words);
    }
    let name = match words.strip_prefix("index . ") {
        Some(name) => name.trim().strip_prefix('"')?.strip_suffix('"')?,
        None => words.strip_prefix('.')?,
    };
    let known = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
    (!name.is_empty() && name.chars().all(known)).then(|| format!("variables.{}", variable_name(name)))
}

fn local(name: &str) -> Option<String> {
    let name = name.strip_prefix('$')?;
    let known = |c: char| c.is_ascii_alphanumeric() || c == '_';
    (!name.is_empty() && !name.starts_with(|c: char| c.is_ascii_digit()) && name.chars().all(known))
        .then(|| name.to_owned())
}

/// What is not there is false there and a fault here, so it is asked first.
fn condition(words: &str, open: &[Open]) -> Option<String> {
    let compared = |rest: &str, sign: &str, otherwise: &str| {
        let (name, text) = rest.trim().split_once(char::is_whitespace)?;
        let text = text.trim().strip_prefix('"')?.strip_suffix('"')?;
        let name = value(name, open)?;
        let plain = !text.contains(['"', '\\']);
        plain.then(|| format!("{name} is {otherwise} {name} {sign} \"{text}\""))
    };
    if let Some(rest) = words.strip_prefix("eq ") {
        return compared(rest, "==", "defined and");
    }
    if let Some(rest) = words.strip_prefix("ne ") {
        return compared(rest, "!=", "undefined or");
    }
    match words.strip_prefix("not ") {
        Some(rest) => value(rest.trim(), open).map(|name| format!("{name} is undefined or not {name}")),
        None => value(words, open).map(|name| format!("{name} is defined and {name}")),
    }
}
