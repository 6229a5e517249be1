//! sysusers.d(5): the lines that packages and overlay bring to name their users. Reads; decides no number.

use crate::Error;

/// A number that a line asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Id {
    /// `-`: any.
    Any,
    /// A number.
    Number(u32),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Entry {
    User {
        name: String,
        uid: Id,
        group: Option<String>,
        gecos: String,
        home: String,
        shell: String,
        locked: bool,
    },
    Group {
        name: String,
        gid: Id,
    },
    Member {
        user: String,
        group: String,
    },
}

/// Reads one line; none for an empty line, a comment, and for `r`: numbers come from a table here, never from a
/// range.
pub(crate) fn parse(path: &str, line: usize, text: &str) -> Result<Option<Entry>, Error> {
    let fault = |problem: String| Error::Sysusers { path: path.to_owned(), line, problem };
    let text = text.trim();
    if text.is_empty() || text.starts_with(['#', ';']) {
        return Ok(None);
    }
    let fields = split(text).ok_or_else(|| fault("a quote is not closed".into()))?;
    if fields.first().is_some_and(|kind| kind == "r") {
        return Ok(None);
    }
    if let Some(field) = fields.iter().find(|field| field.contains('%')) {
        return Err(fault(format!("the specifier in `{field}` depends on the machine")));
    }
    let field = |at: usize| fields.get(at).map(String::as_str).filter(|value| !matches!(*value, "" | "-"));
    let name = field(1).ok_or_else(|| fault("the name is missing".into()))?.to_owned();
    if fields.len() > 6 {
        return Err(fault("there are more than six fields".into()));
    }
    match fields[0].as_str() {
        "u" | "u!" => {
            let (uid, group) = user_ids(field(2)).map_err(fault)?;
            let shell = field(5).unwrap_or(if name == "root" { "/bin/sh" } else { "/usr/sbin/nologin" });
            Ok(Some(Entry::User {
                uid,
                group,
                gecos: field(3).unwrap_or_default().to_owned(),
                home: field(4).unwrap_or("/").to_owned(),
                shell: shell.to_owned(),
                locked: fields[0] == "u!",
                name,
            }))
        }
        "g" => Ok(Some(Entry::Group { name, gid: field(2).map_or(Ok(Id::Any), number).map_err(fault)? })),
        "m" => {
            let group = field(2).ok_or_else(|| fault("the group is missing".into()))?.to_owned();
            Ok(Some(Entry::Member { user: name, group }))
        }
        other => Err(fault(format!("there is no type `{other}`"))),
    }
}

fn user_ids(field: Option<&str>) -> Result<(Id, Option<String>), String> {
    let Some(field) = field else { return Ok((Id::Any, None)) };
    match field.split_once(':') {
        Some(("-", group)) => Ok((Id::Any, Some(group.to_owned()))),
        Some((uid, group)) => Ok((number(uid)?, Some(group.to_owned()))),
        None => Ok((number(field)?, None)),
    }
}

fn number(text: &str) -> Result<Id, String> {
    text.parse().map(Id::Number).map_err(|_| format!("`{text}` is no number"))
}

/// Splits at blanks; what stands in quotes stays together. None when a quote is open at the end.
fn split(text: &str) -> Option<Vec<String>> {
    let mut fields = Vec::new();
    let mut field: Option<String> = None;
    let mut quote = None;
    for letter in text.chars() {
        match quote {
            Some(open) if letter == open => quote = None,
            Some(_) => field.get_or_insert_default().push(letter),
            None if letter == '"' || letter == '\'' => {
                quote = Some(letter);
                field.get_or_insert_default();
            }
            None if letter.is_whitespace() => fields.extend(field.take()),
            None => field.get_or_insert_default().push(letter),
        }
    }
    fields.extend(field);
    quote.is_none().then_some(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, expect: Result<Option<Entry>, &str>) {
        let found = parse("x.conf", 3, line);
        match (found, expect) {
            (Ok(found), Ok(expect)) => assert_eq!(found, expect, "{line}"),
            (Err(found), Err(expect)) => assert_eq!(found.to_string(), expect, "{line}"),
            (found, expect) => panic!("{line}: {found:?} instead of {expect:?}"),
        }
    }

    fn user(name: &str, uid: Id, group: Option<&str>, gecos: &str, home: &str, locked: bool) -> Entry {
        let (name, gecos, home) = (name.into(), gecos.into(), home.into());
        let shell = "/usr/sbin/nologin".into();
        Entry::User { name, uid, group: group.map(str::to_owned), gecos, home, shell, locked }
    }

    #[test]
    fn lines() {
        check("", Ok(None));
        check("# u x", Ok(None));
        check("g kvm  -", Ok(Some(Entry::Group { name: "kvm".into(), gid: Id::Any })));
        check("g tty 5 -", Ok(Some(Entry::Group { name: "tty".into(), gid: Id::Number(5) })));
        check("m a b", Ok(Some(Entry::Member { user: "a".into(), group: "b".into() })));
        check(
            "u messagebus - \"System Message Bus\" /nonexistent",
            Ok(Some(user("messagebus", Id::Any, None, "System Message Bus", "/nonexistent", false))),
        );
        check(
            "u sshd -:nogroup \"sshd user\" /run/sshd",
            Ok(Some(user("sshd", Id::Any, Some("nogroup"), "sshd user", "/run/sshd", false))),
        );
        check("u! n 7:8", Ok(Some(user("n", Id::Number(7), Some("8"), "", "/", true))));
        check("r - 500-900", Ok(None));
        check("u a b", Err("x.conf, line 3: `b` is no number"));
        check("z a", Err("x.conf, line 3: there is no type `z`"));
        check("u a - \"x", Err("x.conf, line 3: a quote is not closed"));
        check("u a - %H", Err("x.conf, line 3: the specifier in `%H` depends on the machine"));
    }
}
