//! Control files: `Field: value` lines with continuation lines. Reads one paragraph.

/// A paragraph's fields in their order, values as they stand.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Paragraph<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Paragraph<'a> {
    /// Reads the first paragraph of `text`; lines that are no field are passed over.
    pub(crate) fn parse(text: &'a str) -> Self {
        let mut fields: Vec<(&str, &str)> = Vec::new();
        let mut rest = text.trim_start_matches('\n');
        while !rest.is_empty() && !rest.starts_with('\n') {
            let mut end = rest.find('\n').map_or(rest.len(), |at| at + 1);
            while rest[end..].starts_with([' ', '\t']) {
                end += rest[end..].find('\n').map_or(rest.len() - end, |at| at + 1);
            }
            if let Some((name, value)) = rest[..end].split_once(':') {
                fields.push((name, value.trim_matches([' ', '\n'])));
            }
            rest = &rest[end..];
        }
        Self(fields)
    }

    pub(crate) fn get(&self, name: &str) -> Option<&'a str> {
        self.0.iter().find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| *value)
    }

    pub(crate) fn fields(&self) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.0.iter().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_and_continuations() {
        let text = "Package: x\nDescription: short\n long: one\n .\n two\nMulti-Arch: same\n\nPackage: y\n";
        let paragraph = Paragraph::parse(text);
        assert_eq!(paragraph.get("package"), Some("x"));
        assert_eq!(paragraph.get("Description"), Some("short\n long: one\n .\n two"));
        assert_eq!(paragraph.get("Multi-Arch"), Some("same"));
        assert_eq!(paragraph.fields().count(), 3);
    }
}
