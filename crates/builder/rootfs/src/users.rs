//! /etc/passwd, group, shadow and gshadow: base-passwd's masters, then every sysusers.d file of packages and
//! overlay. All numbers are fixed, here or in root.toml: files on the data partition outlive the image.

use std::{collections::BTreeMap, fmt::Write as _};

use pilotlight_tree::{Kind, Meta, Node, Tree, TreePath};

use crate::{
    Error, Spec, files,
    sysusers::{self, Entry, Id},
};

const PASSWD_MASTER: &str = "/usr/share/base-passwd/passwd.master";
const GROUP_MASTER: &str = "/usr/share/base-passwd/group.master";

/// The password of those whom base-passwd brings.
const BROUGHT: &str = "*";
/// The password of those whom systemd-sysusers adds.
const ADDED: &str = "!*";

#[derive(Debug, Clone, PartialEq, Eq)]
struct User {
    name: String,
    uid: u32,
    gid: u32,
    gecos: String,
    home: String,
    shell: String,
    /// [`BROUGHT`] or [`ADDED`], as the tools themselves do.
    password: &'static str,
    /// A day in the past from which the account counts as expired; for `u!` lines.
    expired: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Group {
    name: String,
    gid: u32,
    members: Vec<String>,
    password: &'static str,
}

/// All users and groups, in the order in which they came.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Users {
    users: Vec<User>,
    groups: Vec<Group>,
}

impl Users {
    /// The number of a user.
    pub fn uid(&self, name: &str) -> Option<u32> {
        self.users.iter().find(|user| user.name == name).map(|user| user.uid)
    }

    /// The number of a group.
    pub fn gid(&self, name: &str) -> Option<u32> {
        self.groups.iter().find(|group| group.name == name).map(|group| group.gid)
    }

    pub(crate) fn owner(&self, what: &str, user: &str, group: &str) -> Result<(u32, u32), Error> {
        let unknown = |name: &str| Error::UnknownOwner { what: what.to_owned(), name: name.to_owned() };
        Ok((self.uid(user).ok_or_else(|| unknown(user))?, self.gid(group).ok_or_else(|| unknown(group))?))
    }

    /// Collects the users of `tree`. `extra` are further lines in the form of sysusers.d.
    pub(crate) fn collect(tree: &Tree, spec: &Spec, extra: &[(String, String)]) -> Result<Self, Error> {
        let mut all = Self::default();
        all.read_masters(tree)?;
        let mut entries = Vec::new();
        let found = sysusers_files(tree)?;
        for (path, text) in found.iter().chain(extra) {
            for (line, text) in text.lines().enumerate() {
                entries.extend(sysusers::parse(path, line + 1, text)?.map(|entry| (path.as_str(), entry)));
            }
        }
        // As systemd-sysusers does: groups before the users who want them, memberships last.
        let rank = |entry: &Entry| match entry {
            Entry::Group { .. } => 0,
            Entry::User { .. } => 1,
            Entry::Member { .. } => 2,
        };
        entries.sort_by_key(|(_, entry)| rank(entry));
        for (path, entry) in entries {
            all.add(path, entry, spec)?;
        }
        Ok(all)
    }

    fn read_masters(&mut self, tree: &Tree) -> Result<(), Error> {
        let wrong = |path: &str, line: &str| Error::Line { path: path.to_owned(), line: line.to_owned() };
        for line in files::text(tree, &TreePath::literal(PASSWD_MASTER))?.lines() {
            let fields: Vec<&str> = line.split(':').collect();
            let [name, _, uid, gid, gecos, home, shell] = fields[..] else {
                return Err(wrong(PASSWD_MASTER, line));
            };
            let (Ok(uid), Ok(gid)) = (uid.parse(), gid.parse()) else {
                return Err(wrong(PASSWD_MASTER, line));
            };
            let [name, gecos, home, shell] = [name, gecos, home, shell].map(str::to_owned);
            self.users.push(User { name, uid, gid, gecos, home, shell, password: BROUGHT, expired: false });
        }
        for line in files::text(tree, &TreePath::literal(GROUP_MASTER))?.lines() {
            let fields: Vec<&str> = line.split(':').collect();
            let [name, _, gid, members] = fields[..] else { return Err(wrong(GROUP_MASTER, line)) };
            let Ok(gid) = gid.parse() else { return Err(wrong(GROUP_MASTER, line)) };
            let members = members.split(',').filter(|member| !member.is_empty()).map(str::to_owned).collect();
            self.groups.push(Group { name: name.to_owned(), gid, members, password: BROUGHT });
        }
        Ok(())
    }

    fn add(&mut self, path: &str, entry: Entry, spec: &Spec) -> Result<(), Error> {
        let fixed = |name: &str, id: &Id| match id {
            Id::Number(number) => Ok(*number),
            Id::Any => spec
                .raw
                .ids
                .get(name)
                .copied()
                .ok_or_else(|| Error::NoId { path: path.into(), name: name.into() }),
        };
        match entry {
            Entry::Group { name, gid } => match self.gid(&name) {
                Some(there) => agree(path, "group", &name, there, &gid),
                None => {
                    let gid = fixed(&name, &gid)?;
                    self.add_group(path, name, gid)
                }
            },
            Entry::User { name, uid, group, gecos, home, shell, locked } => {
                if let Some(there) = self.uid(&name) {
                    return agree(path, "user", &name, there, &uid);
                }
                let uid = fixed(&name, &uid)?;
                let gid = match group.as_deref().map(|group| (group.parse().ok(), group)) {
                    Some((Some(number), _)) => number,
                    Some((None, group)) => self.owner(path, "root", group)?.1,
                    None => match self.gid(&name) {
                        Some(gid) => gid,
                        None => {
                            self.add_group(path, name.clone(), uid)?;
                            uid
                        }
                    },
                };
                if let Some(other) = self.users.iter().find(|user| user.uid == uid) {
                    return Err(clash(path, "user", &name, uid, &other.name));
                }
                self.users.push(User {
                    name,
                    uid,
                    gid,
                    gecos,
                    home,
                    shell,
                    password: ADDED,
                    expired: locked,
                });
                Ok(())
            }
            Entry::Member { user, group } => {
                self.owner(path, &user, &group)?;
                let group = self.groups.iter_mut().find(|one| one.name == group);
                if let Some(group) = group.filter(|group| !group.members.contains(&user)) {
                    group.members.push(user);
                }
                Ok(())
            }
        }
    }

    fn add_group(&mut self, path: &str, name: String, gid: u32) -> Result<(), Error> {
        if let Some(other) = self.groups.iter().find(|group| group.gid == gid) {
            return Err(clash(path, "group", &name, gid, &other.name));
        }
        self.groups.push(Group { name, gid, members: Vec::new(), password: ADDED });
        Ok(())
    }

    /// Writes the four files, and the empty tables of subordinate numbers. Where the package passwd is installed,
    /// `all_shadowed`, every user has a line in /etc/shadow; else only those have one whom systemd-sysusers adds.
    pub(crate) fn write(
        &self,
        tree: &mut Tree,
        all_shadowed: bool,
        day: u32,
        mtime: u32,
    ) -> Result<(), Error> {
        // The modes are those of passwd's postinst, and those that systemd-sysusers gives to files it makes.
        let (shadow_group, shadow_mode) =
            if all_shadowed { (self.owner("/etc/shadow", "root", "shadow")?.1, 0o640) } else { (0, 0) };
        let shadowed = |password: &str| all_shadowed || password == ADDED;
        let shown = |password: &'static str| if shadowed(password) { "x" } else { password };
        let (mut passwd, mut shadow, mut group, mut gshadow) = <(String, String, String, String)>::default();
        for User { name, uid, gid, gecos, home, shell, password, expired } in &self.users {
            _ = writeln!(passwd, "{name}:{}:{uid}:{gid}:{gecos}:{home}:{shell}", shown(password));
            if shadowed(password) {
                let limits = if all_shadowed { "0:99999:7" } else { "::" };
                let expiry = if *expired { "1" } else { "" };
                _ = writeln!(shadow, "{name}:{password}:{day}:{limits}::{expiry}:");
            }
        }
        for Group { name, gid, members, password } in &self.groups {
            let members = members.join(",");
            _ = writeln!(group, "{name}:{}:{gid}:{members}", shown(password));
            if shadowed(password) {
                _ = writeln!(gshadow, "{name}:{password}::{members}");
            }
        }
        for (path, content, gid, mode) in [
            ("etc/passwd", passwd, 0, 0o644),
            ("etc/group", group, 0, 0o644),
            ("etc/shadow", shadow, shadow_group, shadow_mode),
            ("etc/gshadow", gshadow, shadow_group, shadow_mode),
            ("etc/subuid", String::new(), 0, 0o644),
            ("etc/subgid", String::new(), 0, 0o644),
        ] {
            let meta = Meta { mode, uid: 0, gid, mtime };
            files::put(tree, TreePath::literal(path), Node { meta, kind: Kind::File(content.into()) });
        }
        Ok(())
    }
}

fn agree(path: &str, kind: &'static str, name: &str, there: u32, wanted: &Id) -> Result<(), Error> {
    match wanted {
        Id::Number(number) if *number != there => {
            Err(clash(path, kind, name, *number, &format!("{name} = {there}")))
        }
        _ => Ok(()),
    }
}

fn clash(path: &str, kind: &'static str, name: &str, id: u32, other: &str) -> Error {
    Error::IdClash { path: path.to_owned(), kind, name: name.to_owned(), id, other: other.to_owned() }
}

/// The sysusers.d files in force, by name: /etc before /usr/lib, a link to /dev/null switches one off.
fn sysusers_files(tree: &Tree) -> Result<Vec<(String, String)>, Error> {
    let mut found: BTreeMap<String, Option<TreePath>> = BTreeMap::new();
    for folder in ["usr/lib/sysusers.d", "etc/sysusers.d"] {
        for (name, path, node) in files::entries_of(tree, &TreePath::literal(folder)) {
            if name.ends_with(".conf") {
                let off = matches!(&node.kind, Kind::Symlink(target) if target == b"/dev/null");
                found.insert(name, (!off).then(|| path.clone()));
            }
        }
    }
    let paths = found.into_values().flatten();
    paths.map(|path| Ok((path.to_string(), files::text(tree, &path)?.to_owned()))).collect()
}
