//! The JSON Schema of `lab.toml`, by which editors complete and check it as it is written.

/// The schema (JSON Schema draft 2020-12). It knows every key and every word of the language; what only the whole
/// file shows (names that refer to nothing, addresses outside the network) is [`parse`](crate::parse())'s to find.
pub fn schema() -> &'static str {
    include_str!("../lab.schema.json")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;
    use toml::de::DeTable;

    use crate::{
        parse,
        section::{Report, Section},
    };

    /// A lab that holds every table that there can be.
    const WHOLE: &str = r#"
        network = { address = "10.77.0.1/24", pool = { first = "10.77.0.100", last = "10.77.0.199" } }
        tftp = {}
        groups.g = { variables = {} }
        configs.c = { kind = "text", template = "" }
        kubernetes = { api = "10.77.0.11" }
        mirror = { urls = [{ url = "https://a.example/b", sha256 = "00" }] }
        power.strip = { kind = "web-switch", url = "http://10.77.0.250" }
        operators = [{ name = "me", key = "" }]
        nodes = [{ name = "a", mac = "52:54:00:00:00:01", address = "10.77.0.11", power = {}, disks = {} }]
        [profiles]
        a = { kind = "debian-installer" }
        b = { kind = "debian-ram", versions = {} }
        c = { kind = "debian-live" }
        d = { kind = "custom" }
        e = { kind = "local-disk" }
    "#;

    /// The tables of the schema by the same names as the parser's: `nodes[]`, `profiles.*`.
    fn keys(schema: &Value, at: &Value, name: &str, found: &mut BTreeSet<(String, String)>) {
        let at = match at.get("$ref").and_then(Value::as_str) {
            Some(place) => schema.pointer(place.trim_start_matches('#')).unwrap(),
            None => at,
        };
        let dot = if name.is_empty() { "" } else { "." };
        for (key, value) in at.get("properties").and_then(Value::as_object).into_iter().flatten() {
            found.insert((name.to_owned(), key.clone()));
            keys(schema, value, &format!("{name}{dot}{key}"), found);
        }
        if let Some(items) = at.get("items").filter(|items| !items.to_string().contains("variable")) {
            keys(schema, items, &format!("{name}[]"), found);
        }
        if at.get("propertyNames").is_some() {
            keys(schema, &at["additionalProperties"], &format!("{name}.*"), found);
        }
    }

    #[test]
    fn the_schema_has_every_key_that_is_read_and_no_other() {
        let (document, faults) = DeTable::parse_recoverable(WHOLE);
        assert!(faults.is_empty());
        let mut report = Report::new(WHOLE);
        parse::lab(Section::new(document.get_ref(), 0..0, String::new()), &mut report);
        let general = |key: &str| {
            let bare: String = key.chars().filter(|c| !c.is_ascii_digit()).collect();
            match bare.split_once('.') {
                Some((first @ ("profiles" | "groups" | "configs" | "power"), rest)) => {
                    let rest = rest.split_once('.').map_or(String::new(), |(_, rest)| format!(".{rest}"));
                    format!("{first}.*{rest}")
                }
                _ => bare,
            }
        };
        let read: BTreeSet<_> =
            report.asked.iter().map(|(table, key)| (general(table), (*key).to_owned())).collect();
        let schema: Value = serde_json::from_str(super::schema()).unwrap();
        let mut known = BTreeSet::new();
        keys(&schema, &schema, "", &mut known);
        assert_eq!(read, known);
    }
}
