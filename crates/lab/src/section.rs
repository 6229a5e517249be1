//! A table of the document, read key by key: what is missing, of the wrong type or unknown becomes a
//! [`Problem`] and reading goes on, so that one pass finds everything.

use std::ops::Range;

use serde_spanned::Spanned;
use toml::de::{DeTable, DeValue};

use crate::problem::{Problem, meant};

/// What has been found wrong so far.
pub(crate) struct Report<'a> {
    text: &'a str,
    pub(crate) problems: Vec<Problem>,
    /// Every key that was asked for, by the table that it stands in: what the schema has to know.
    #[cfg(test)]
    pub(crate) asked: std::collections::BTreeSet<(String, &'static str)>,
}

/// A value and where it stands.
#[derive(Debug, Clone)]
pub(crate) struct At<T> {
    pub(crate) value: T,
    pub(crate) span: Range<usize>,
    /// Its full key, as in `network.pool.first`.
    pub(crate) key: String,
}

/// A value that was refused: what is wrong with it, and what to do.
pub(crate) struct Refused {
    message: String,
    hint: Option<String>,
}

/// A table that is being read.
pub(crate) struct Section<'a> {
    table: &'a DeTable<'a>,
    span: Range<usize>,
    key: String,
    known: Vec<&'static str>,
}

impl<'a> Report<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self {
            text,
            problems: Vec::new(),
            #[cfg(test)]
            asked: Default::default(),
        }
    }

    /// Notes a problem at `span`.
    pub(crate) fn add(
        &mut self,
        span: Range<usize>,
        key: &str,
        message: impl Into<String>,
        hint: Option<String>,
    ) {
        self.problems.push(Problem::new(self.text, span, key, message, hint));
    }

    /// Notes what is wrong with a value.
    pub(crate) fn refuse<T>(&mut self, at: &At<T>, refused: Refused) {
        self.add(at.span.clone(), &at.key, refused.message, refused.hint);
    }
}

impl Refused {
    /// What is wrong, without what to do.
    pub(crate) fn into_message(self) -> String {
        self.message
    }

    /// A refusal with nothing to advise.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None }
    }

    /// Says first what the value was to be.
    pub(crate) fn context(self, context: &str) -> Self {
        Self { message: format!("{context}: {}", self.message), ..self }
    }

    /// Adds what to do.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl<T> At<T> {
    /// Another value at the same place.
    pub(crate) fn map<U>(&self, change: impl FnOnce(&T) -> U) -> At<U> {
        At { value: change(&self.value), span: self.span.clone(), key: self.key.clone() }
    }

    /// Reads the value further; a refusal is noted and gives nothing.
    pub(crate) fn read<U>(
        self,
        report: &mut Report<'_>,
        read: impl FnOnce(&T) -> Result<U, Refused>,
    ) -> Option<At<U>> {
        match read(&self.value) {
            Ok(value) => Some(At { value, span: self.span, key: self.key }),
            Err(refused) => {
                report.refuse(&self, refused);
                None
            }
        }
    }
}

impl<'a> Section<'a> {
    /// A table at `span`, whose key is `key`, or empty for the document itself.
    pub(crate) fn new(table: &'a DeTable<'a>, span: Range<usize>, key: String) -> Self {
        Self { table, span, key, known: Vec::new() }
    }

    /// Where its header stands.
    pub(crate) fn span(&self) -> Range<usize> {
        self.span.clone()
    }

    /// Its full key, as in `network.pool`; empty for the document itself.
    pub(crate) fn key(&self) -> &str {
        &self.key
    }

    fn full(&self, key: &str) -> String {
        if self.key.is_empty() { key.to_owned() } else { format!("{}.{key}", self.key) }
    }

    fn value(&mut self, key: &'static str) -> Option<At<&'a DeValue<'a>>> {
        self.known.push(key);
        let value: &'a Spanned<DeValue<'a>> = self.table.get(key)?;
        Some(At { value: value.get_ref(), span: value.span(), key: self.full(key) })
    }

    fn typed<T>(
        &mut self,
        report: &mut Report<'_>,
        key: &'static str,
        wanted: &str,
        read: impl FnOnce(&'a DeValue<'a>) -> Option<T>,
    ) -> Option<At<T>> {
        let at = self.value(key)?;
        at.read(report, |value| {
            read(value).ok_or_else(|| Refused::new(format!("{wanted} is wanted here, not {}", kind(value))))
        })
    }

    /// A text.
    pub(crate) fn text(&mut self, report: &mut Report<'_>, key: &'static str) -> Option<At<&'a str>> {
        self.typed(report, key, "a text in quotes", DeValue::as_str)
    }

    /// A text that is read further.
    pub(crate) fn checked<T>(
        &mut self,
        report: &mut Report<'_>,
        key: &'static str,
        check: impl FnOnce(&str) -> Result<T, Refused>,
    ) -> Option<At<T>> {
        self.text(report, key)?.read(report, |text| check(text))
    }

    /// A text that must be there and is read further; `example` is what it may look like.
    pub(crate) fn needed<T>(
        &mut self,
        report: &mut Report<'_>,
        key: &'static str,
        example: &str,
        check: impl FnOnce(&str) -> Result<T, Refused>,
    ) -> Option<At<T>> {
        let text = self.text(report, key);
        self.require(report, key, example, text)?.read(report, |text| check(text))
    }

    /// A list of texts that are read further, without those that were refused; empty when the key is absent.
    pub(crate) fn checked_list<T>(
        &mut self,
        report: &mut Report<'_>,
        key: &'static str,
        check: impl Fn(&str) -> Result<T, Refused>,
    ) -> Vec<At<T>> {
        let texts = self.texts(report, key);
        texts.into_iter().filter_map(|at| at.read(report, |text| check(text))).collect()
    }

    /// A whole number.
    pub(crate) fn integer(&mut self, report: &mut Report<'_>, key: &'static str) -> Option<At<i128>> {
        self.typed(report, key, "a whole number", |value| {
            let number = value.as_integer()?;
            // TOML allows no number wider than 64 bits, so one that does not fit is refused by its range.
            Some(i128::from_str_radix(number.as_str(), number.radix()).unwrap_or(i128::MAX))
        })
    }

    /// True or false.
    pub(crate) fn truth(&mut self, report: &mut Report<'_>, key: &'static str) -> Option<At<bool>> {
        self.typed(report, key, "true or false", DeValue::as_bool)
    }

    /// A list of texts; empty when the key is absent.
    pub(crate) fn texts(&mut self, report: &mut Report<'_>, key: &'static str) -> Vec<At<&'a str>> {
        let Some(list) = self.typed(report, key, "a list of texts", DeValue::as_array) else {
            return Vec::new();
        };
        let mut texts = Vec::new();
        for (index, item) in list.value.iter().enumerate() {
            let at =
                At { value: item.get_ref(), span: item.span(), key: format!("{}[{}]", list.key, index + 1) };
            texts.extend(at.read(report, |value| {
                value.as_str().ok_or_else(|| {
                    Refused::new(format!("a text in quotes is wanted here, not {}", kind(value)))
                })
            }));
        }
        texts
    }

    /// A table.
    pub(crate) fn section(&mut self, report: &mut Report<'_>, key: &'static str) -> Option<Section<'a>> {
        let hint = format!("a table, as in `[{}]`,", self.full(key));
        let at = self.typed(report, key, &hint, DeValue::as_table)?;
        Some(Section::new(at.value, at.span, at.key))
    }

    /// A list of tables; empty when the key is absent. They count from 1 in messages.
    pub(crate) fn sections(&mut self, report: &mut Report<'_>, key: &'static str) -> Vec<Section<'a>> {
        let wanted = format!("a list of tables, as in `[[{}]]`,", self.full(key));
        let Some(list) = self.typed(report, key, &wanted, DeValue::as_array) else { return Vec::new() };
        let mut sections = Vec::new();
        for (index, item) in list.value.iter().enumerate() {
            let at =
                At { value: item.get_ref(), span: item.span(), key: format!("{}[{}]", list.key, index + 1) };
            let table = at.read(report, |value| {
                value
                    .as_table()
                    .ok_or_else(|| Refused::new(format!("a table is wanted here, not {}", kind(value))))
            });
            sections.extend(table.map(|at| Section::new(at.value, at.span, at.key)));
        }
        sections
    }

    /// Every value in it, by a name that the file chooses.
    pub(crate) fn values(self) -> Vec<(At<&'a str>, At<&'a DeValue<'a>>)> {
        let value = |(name, item): (&'a Spanned<_>, &'a Spanned<DeValue<'a>>)| {
            let name: &'a Spanned<std::borrow::Cow<'a, str>> = name;
            let key = self.full(name.get_ref());
            let value = At { value: item.get_ref(), span: item.span(), key: key.clone() };
            (At { value: name.get_ref().as_ref(), span: name.span(), key }, value)
        };
        self.table.iter().map(value).collect()
    }

    /// Every table in it, by a name that the file chooses.
    pub(crate) fn named(self, report: &mut Report<'_>) -> Vec<(At<&'a str>, Section<'a>)> {
        let table = |(name, at): (At<&'a str>, At<&'a DeValue<'a>>)| {
            let table = at.read(report, |value| {
                let fault = || Refused::new(format!("a table is wanted here, not {}", kind(value)));
                value.as_table().ok_or_else(fault)
            })?;
            Some((name, Section::new(table.value, table.span, table.key)))
        };
        self.values().into_iter().filter_map(table).collect()
    }

    /// Whether a key is there, whatever it holds.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// Notes that a key is missing, when `value` is; says what it is for.
    pub(crate) fn require<T>(
        &self,
        report: &mut Report<'_>,
        key: &'static str,
        example: &str,
        value: Option<T>,
    ) -> Option<T> {
        // Present but refused has been noted already.
        if !self.table.contains_key(key) {
            let hint = format!("add `{key} = {example}`");
            report.add(self.span(), &self.full(key), "this key is missing", Some(hint));
        }
        value
    }

    /// Notes every key that nobody asked for.
    pub(crate) fn finish(self, report: &mut Report<'_>) {
        #[cfg(test)]
        report.asked.extend(self.known.iter().map(|key| (self.key.clone(), *key)));
        for name in self.table.keys() {
            let text = name.get_ref().as_ref();
            if !self.known.contains(&text) {
                let hint = meant(text, self.known.iter().copied());
                report.add(name.span(), &self.full(text), "there is no such key", Some(hint));
            }
        }
    }
}

pub(crate) fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
