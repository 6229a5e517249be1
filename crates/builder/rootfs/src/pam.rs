//! /etc/pam.d/common-*: the templates of libpam-runtime with the profiles of /usr/share/pam-configs filled in, as
//! the package's own tool does on a fresh machine. Without them no login works.

use std::{collections::BTreeMap, fmt::Write as _};

use pilotlight_tree::{Tree, TreePath};

use crate::{Error, files};

const PROFILES: &str = "usr/share/pam-configs";
const TEMPLATES: &str = "usr/share/pam";
/// File, stack in it, name of the stack in the profiles.
const STACKS: [(&str, &str, &str); 5] = [
    ("common-auth", "auth", "Auth"),
    ("common-account", "account", "Account"),
    ("common-password", "password", "Password"),
    ("common-session", "session", "Session"),
    ("common-session-noninteractive", "session", "Session"),
];
/// The markers in the templates, and the type of profile that belongs behind each.
const BLOCKS: [(&str, &str); 2] =
    [("# here are the per-package modules", "Primary"), ("# and here are more", "Additional")];

/// One profile: its fields, multi-line ones with their lines.
type Profile = BTreeMap<String, String>;

pub(crate) fn write(tree: &mut Tree, mtime: u32) -> Result<(), Error> {
    if tree.get(&TreePath::literal("usr/share/pam/common-auth")).is_none() {
        return Ok(());
    }
    let profiles = profiles(tree)?;
    for (file, stack, name) in STACKS {
        let path = files::path(&format!("etc/pam.d/{file}"))?;
        if tree.get(&path).is_some() {
            continue;
        }
        let template = files::text(tree, &files::path(&format!("{TEMPLATES}/{file}"))?)?;
        let quiet = file.ends_with("noninteractive");
        let text = fill(template, stack, name, &profiles, quiet);
        files::put_file(tree, path, text, 0o644, mtime);
    }
    Ok(())
}

/// The profiles that are on by default, best first.
fn profiles(tree: &Tree) -> Result<Vec<Profile>, Error> {
    let mut all = Vec::new();
    for (name, path, _) in files::entries_of(tree, &TreePath::literal(PROFILES)) {
        let profile = parse(files::text(tree, path)?);
        if profile.get("Default").is_some_and(|value| value == "yes") {
            let priority: i64 = profile.get("Priority").and_then(|value| value.parse().ok()).unwrap_or(0);
            all.push((-priority, name, profile));
        }
    }
    all.sort();
    Ok(all.into_iter().map(|(.., profile)| profile).collect())
}

fn parse(text: &str) -> Profile {
    let mut profile = Profile::new();
    let mut key = String::new();
    for line in text.lines() {
        if line.starts_with([' ', '\t']) {
            let field = profile.entry(key.clone()).or_default();
            _ = writeln!(field, "{}", line.trim());
        } else if let Some((name, value)) = line.split_once(':') {
            key = name.trim().to_owned();
            profile.insert(key.clone(), value.trim().to_owned());
        }
    }
    profile
}

/// Puts the profiles' lines where the template has its `$stack_primary` and `$stack_additional` lines.
fn fill(template: &str, stack: &str, name: &str, profiles: &[Profile], quiet: bool) -> String {
    let mut out = String::new();
    for line in template.lines() {
        if !line.starts_with('$') {
            out.push_str(line);
            out.push('\n');
        }
        if let Some((_, kind)) = BLOCKS.iter().find(|(marker, _)| line.starts_with(marker)) {
            block(&mut out, stack, name, profiles, kind, quiet);
        }
    }
    out
}

/// One block of a stack. `end` in a jump means the first line behind the block: as many lines as are still left.
fn block(out: &mut String, stack: &str, name: &str, profiles: &[Profile], kind: &str, quiet: bool) {
    let ours = profiles.iter().filter(|profile| {
        profile.get(&format!("{name}-Type")).is_some_and(|value| value == kind)
            && !(quiet && profile.get("Session-Interactive-Only").is_some_and(|value| value == "yes"))
    });
    let lines = ours.enumerate().filter_map(|(at, profile)| {
        let first = profile.get(&format!("{name}-Initial")).filter(|_| at == 0);
        first.or_else(|| profile.get(name))
    });
    let lines: Vec<&str> = lines.flat_map(|lines| lines.lines()).collect();
    if lines.is_empty() && kind == "Primary" {
        _ = writeln!(out, "{stack}\t[default=1]\t\t\tpam_permit.so");
    }
    let last = if kind == "Primary" { 0 } else { 1 };
    for (at, line) in lines.iter().enumerate() {
        let left = (lines.len() - at).saturating_sub(last);
        // `[success=end …] module options`: only the part before the options may hold a jump.
        let (control, options) = split_module(line);
        _ = writeln!(out, "{stack}\t{} {options}", control.replace("end", &left.to_string()));
    }
}

/// Control and module, then the options.
fn split_module(line: &str) -> (&str, &str) {
    let control = if line.starts_with('[') { line.find(']').map_or(0, |at| at + 1) } else { 0 };
    let module = line[control..].find(char::is_whitespace).map_or(line.len(), |at| control + at);
    let start =
        line[module..].find(|letter: char| !letter.is_whitespace()).map_or(line.len(), |at| module + at);
    let end = line[start..].find(char::is_whitespace).map_or(line.len(), |at| start + at);
    (&line[..end], line[end..].trim_start())
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNIX: &str = "Name: Unix\nDefault: yes\nPriority: 256\nAuth-Type: Primary\nAuth:\n\t[success=end default=ignore]\tpam_unix.so try_first_pass\nAuth-Initial:\n\t[success=end default=ignore]\tpam_unix.so nullok\n";
    const OTHER: &str =
        "Default: yes\nAuth-Type: Primary\nAuth:\n\t[success=end default=ignore]\tpam_x.so use\n";
    const TEMPLATE: &str = "# a\n# here are the per-package modules (the \"Primary\" block)\n$auth_primary\n# b\n# and here are more per-package modules (the \"Additional\" block)\n$auth_additional\n# end\n";

    fn check(profiles: &[&str], expect: &str) {
        let profiles: Vec<Profile> = profiles.iter().map(|text| parse(text)).collect();
        assert_eq!(fill(TEMPLATE, "auth", "Auth", &profiles, false), expect);
    }

    #[test]
    fn stacks() {
        let whole = |lines: &str| {
            format!(
                "# a\n# here are the per-package modules (the \"Primary\" block)\n{lines}# b\n# and here are more per-package modules (the \"Additional\" block)\n# end\n"
            )
        };
        check(&[], &whole("auth\t[default=1]\t\t\tpam_permit.so\n"));
        check(&[UNIX], &whole("auth\t[success=1 default=ignore]\tpam_unix.so nullok\n"));
        check(
            &[UNIX, OTHER],
            &whole(
                "auth\t[success=2 default=ignore]\tpam_unix.so nullok\nauth\t[success=1 default=ignore]\tpam_x.so use\n",
            ),
        );
    }
}
