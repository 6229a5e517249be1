//! root.toml and packages.toml of a base: what becomes of the packages' files, as data. Read once, checked, never doubted after.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::{Error, glob::Glob};

/// The checked root.toml.
#[derive(Debug, Clone)]
pub struct Spec {
    pub(crate) raw: Raw,
    pub(crate) leave_out: Vec<LeaveOutRule>,
    pub(crate) replaced: Vec<(Glob, String)>,
    pub(crate) scripts: Vec<(Glob, Step)>,
}

/// One rule about files that stay out of the root.
#[derive(Debug, Clone)]
pub(crate) struct LeaveOutRule {
    pub(crate) paths: Vec<Glob>,
    pub(crate) except: Vec<Glob>,
    pub(crate) reason: String,
}

impl Spec {
    /// Reads `root`, which is about one root, and `packages`, which holds for every root of these packages.
    ///
    /// # Errors
    /// TOML that is not well formed, an unknown or a missing key, a table that is in both.
    pub fn parse(root: &str, packages: &str) -> Result<Self, Error> {
        // One text: what is in both is told as TOML tells it.
        let raw: Raw =
            toml::from_str(&format!("{root}\n{packages}")).map_err(|source| Error::Spec(Box::new(source)))?;
        let globs = |list: &[String]| list.iter().map(|one| Glob::path(one)).collect();
        let leave_out = raw.leave_out.iter().map(|rule| LeaveOutRule {
            paths: globs(&rule.paths),
            except: globs(&rule.except),
            reason: rule.reason.clone(),
        });
        Ok(Self {
            leave_out: leave_out.collect(),
            replaced: raw.replaced.iter().map(|one| (Glob::path(&one.path), one.reason.clone())).collect(),
            scripts: raw.scripts.iter().map(|(name, step)| (Glob::path(name), step.clone())).collect(),
            raw,
        })
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Raw {
    /// The builder's own entry in the package database.
    pub(crate) own: Own,
    /// "Last password change" in /etc/shadow: days since 1970.
    pub(crate) shadow_day: u32,
    /// What /etc/systemd/system/default.target points to unless the overlay says so.
    pub(crate) default_target: String,
    #[serde(default)]
    pub(crate) leave_out: Vec<LeaveOut>,
    #[serde(default)]
    pub(crate) replaced: Vec<Replaced>,
    #[serde(default)]
    pub(crate) ids: BTreeMap<String, u32>,
    #[serde(default)]
    pub(crate) sysusers: Vec<SysusersLine>,
    #[serde(default)]
    pub(crate) scripts: BTreeMap<String, Step>,
    #[serde(default)]
    pub(crate) step: Vec<Step>,
    #[serde(default)]
    pub(crate) alternative: Vec<Alternative>,
    #[serde(default)]
    pub(crate) mask: Vec<Mask>,
    #[serde(default)]
    pub(crate) payload: Vec<Payload>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Own {
    pub(crate) package: String,
    pub(crate) maintainer: String,
    pub(crate) description: String,
    #[serde(default)]
    pub(crate) provides: Vec<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct LeaveOut {
    pub(crate) paths: Vec<String>,
    #[serde(default)]
    pub(crate) except: Vec<String>,
    pub(crate) reason: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Replaced {
    pub(crate) path: String,
    pub(crate) reason: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct SysusersLine {
    /// Done only when this package is there.
    pub(crate) package: String,
    pub(crate) line: String,
    #[serde(rename = "why")]
    pub(crate) _why: String,
}

/// What is done in place of one package's scripts, or for the appliance as a whole.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Step {
    pub(crate) why: String,
    #[serde(default)]
    pub(crate) directories: Vec<Directory>,
    #[serde(default)]
    pub(crate) files: Vec<File>,
    #[serde(default)]
    pub(crate) copies: Vec<Copy>,
    #[serde(default)]
    pub(crate) links: Vec<Link>,
    #[serde(default)]
    pub(crate) owners: Vec<Owner>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Directory {
    pub(crate) path: String,
    #[serde(default)]
    pub(crate) group: Option<String>,
    #[serde(default)]
    pub(crate) mode: Option<u16>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct File {
    pub(crate) path: String,
    #[serde(default)]
    pub(crate) content: String,
    #[serde(default)]
    pub(crate) group: Option<String>,
    #[serde(default)]
    pub(crate) mode: Option<u16>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Copy {
    pub(crate) from: String,
    pub(crate) to: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Link {
    pub(crate) path: String,
    pub(crate) target: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Owner {
    pub(crate) path: String,
    pub(crate) user: String,
    pub(crate) group: String,
    pub(crate) mode: u16,
    /// Whether some versions of the package have no such path.
    #[serde(default)]
    pub(crate) may_lack: bool,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Alternative {
    pub(crate) package: String,
    pub(crate) name: String,
    pub(crate) link: String,
    pub(crate) path: String,
    pub(crate) priority: i32,
    #[serde(default)]
    pub(crate) slaves: Vec<Slave>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Slave {
    pub(crate) name: String,
    pub(crate) link: String,
    pub(crate) path: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Mask {
    pub(crate) units: Vec<String>,
    pub(crate) reason: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Payload {
    pub(crate) package: String,
    pub(crate) from: String,
    pub(crate) to: String,
}
