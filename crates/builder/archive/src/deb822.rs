//! Debian's control format: paragraphs of `Field: value` lines, continued by lines that start with a space.

/// The paragraphs of a text, each as its fields in their order.
pub fn paragraphs(text: &str) -> impl Iterator<Item = Paragraph<'_>> {
    text.split("\n\n")
        .map(|body| Paragraph { body: body.trim_matches('\n') })
        .filter(|paragraph| !paragraph.body.is_empty())
}

/// One paragraph.
#[derive(Debug, Clone, Copy)]
pub struct Paragraph<'t> {
    body: &'t str,
}

impl<'t> Paragraph<'t> {
    /// Name and value of each field. A value that goes on over more lines keeps its line breaks.
    pub fn fields(self) -> impl Iterator<Item = (&'t str, &'t str)> {
        let mut rest = self.body;
        std::iter::from_fn(move || {
            while !rest.is_empty() {
                let field = take_field(&mut rest);
                if let Some((name, value)) = field.split_once(':').filter(|(name, _)| !name.starts_with('#'))
                {
                    return Some((name, value.trim()));
                }
            }
            None
        })
    }

    /// The value of one field, whatever the case its name is written in.
    pub fn get(self, name: &str) -> Option<&'t str> {
        self.fields().find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

/// Takes the first field with its continuation lines off `rest`.
fn take_field<'t>(rest: &mut &'t str) -> &'t str {
    let mut end = 0;
    loop {
        end += rest[end..].find('\n').map_or(rest.len() - end, |line| line + 1);
        if !rest[end..].starts_with([' ', '\t']) {
            break;
        }
    }
    let (field, later) = rest.split_at(end);
    *rest = later;
    field
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paragraphs_and_continuations() {
        let text = "\nPackage: a\nDepends: b,\n c\n# remark: no\nSize: 1\n\n\nPackage: d\n";
        let read: Vec<Vec<_>> = paragraphs(text).map(|paragraph| paragraph.fields().collect()).collect();
        assert_eq!(
            read,
            [vec![("Package", "a"), ("Depends", "b,\n c"), ("Size", "1")], vec![("Package", "d")]]
        );
        assert_eq!(paragraphs(text).next().unwrap().get("size"), Some("1"));
    }

    #[test]
    fn no_text_is_too_odd() {
        for text in ["", "\n", ":", "a", "\n\n\n", " x\n y", "é:\n ü", "a:\n\n b"] {
            assert!(
                paragraphs(text).map(|paragraph| paragraph.fields().count()).sum::<usize>() < 3,
                "{text:?}"
            );
        }
    }
}
