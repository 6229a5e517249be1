//! Ignition's configuration out of YAML in the manner of Butane: the same structure with other spellings, and files
//! whose contents stand in the text.
//!
//! What Butane makes out of files beside it or out of short forms (`local`, `trees`, `with_mount_unit`, `boot_device`,
//! …) is refused by name, not passed on.

use serde_json::{Map, Value, json};

use crate::{ignition::data, template};

/// Each version of Butane's variants that is read, and the version of Ignition's specification that it stands for
/// (coreos/butane, `docs/specs.md`).
const VERSIONS: [(&str, &str, &str); 8] = [
    ("fcos", "1.0.0", "3.0.0"),
    ("fcos", "1.1.0", "3.1.0"),
    ("fcos", "1.2.0", "3.2.0"),
    ("fcos", "1.3.0", "3.2.0"),
    ("fcos", "1.4.0", "3.3.0"),
    ("fcos", "1.5.0", "3.4.0"),
    ("flatcar", "1.0.0", "3.3.0"),
    ("flatcar", "1.1.0", "3.4.0"),
];

/// What Butane knows beyond Ignition and this does not.
const UNKNOWN: [&str; 7] = [
    "local",
    "contents_local",
    "ssh_authorized_keys_local",
    "trees",
    "with_mount_unit",
    "boot_device",
    "grub",
];

/// Ignition's JSON for a text in the manner of Butane.
pub(crate) fn to_ignition(text: &str) -> Result<String, String> {
    let Value::Object(mut config) = template::yaml(text)? else {
        return Err("its outermost value is no mapping of keys".to_owned());
    };
    let mut word = |key: &str| match config.remove(key) {
        Some(Value::String(text)) => Ok(text),
        _ => Err(format!("it has no `{key}`, as in `variant: fcos` and `version: 1.4.0`")),
    };
    let (variant, version) = (word("variant")?, word("version")?);
    let known = VERSIONS.iter().find(|known| (known.0, known.1) == (variant.as_str(), version.as_str()));
    let (_, _, ignition) = known.ok_or_else(|| {
        let known: Vec<_> =
            VERSIONS.iter().map(|(variant, version, _)| format!("{variant} {version}")).collect();
        format!("there is no {variant} {version} here; known: {}", known.join(", "))
    })?;
    let Value::Object(mut config) = converted(Value::Object(config))? else { return Ok(String::new()) };
    let own = config.entry("ignition").or_insert_with(|| json!({}));
    let own = own.as_object_mut().ok_or("`ignition` is no mapping of keys")?;
    own.insert("version".to_owned(), json!(ignition));
    Ok(Value::Object(config).to_string())
}

fn converted(value: Value) -> Result<Value, String> {
    match value {
        Value::Array(list) => list.into_iter().map(converted).collect::<Result<_, _>>().map(Value::Array),
        Value::Object(map) => {
            let mut out = Map::new();
            for (key, value) in map {
                if UNKNOWN.contains(&key.as_str()) {
                    return Err(format!("`{key}` is Butane's own and not understood here"));
                }
                match (key.as_str(), value) {
                    ("inline", Value::String(text)) => {
                        drop(out.insert("source".to_owned(), json!(data(&text))))
                    }
                    ("inline", _) => return Err("`inline` is to be a text".to_owned()),
                    (_, value) => drop(out.insert(camel(&key), converted(value)?)),
                }
            }
            Ok(Value::Object(out))
        }
        value => Ok(value),
    }
}

/// `ssh_authorized_keys` → `sshAuthorizedKeys`.
fn camel(key: &str) -> String {
    let mut parts = key.split('_');
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let mut letters = part.chars();
        out.extend(letters.next().map(|letter| letter.to_ascii_uppercase()));
        out.push_str(letters.as_str());
    }
    out
}
