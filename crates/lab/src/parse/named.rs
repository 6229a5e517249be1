//! Tables by names that the file chooses, and what else in the file names them.

use std::collections::BTreeMap;

use crate::{
    check,
    problem::meant,
    section::{Refused, Report, Section},
};

/// The tables that were read, and the names of those that were written wrongly: what names one of these has no fault
/// of its own.
pub(super) struct Named<T> {
    pub(super) checked: BTreeMap<String, T>,
    what: &'static str,
    faulty: Vec<String>,
}

impl<T> Named<T> {
    /// Reads each table of `section`; `what` is what one is called.
    pub(super) fn read(
        section: Option<Section<'_>>,
        what: &'static str,
        report: &mut Report<'_>,
        read: impl Fn(&str, Section<'_>, &mut Report<'_>) -> Option<T>,
    ) -> Self {
        let mut all = Self { checked: BTreeMap::new(), what, faulty: Vec::new() };
        for (name, section) in section.map(|section| section.named(report)).unwrap_or_default() {
            let written = name.value.to_owned();
            let name = name.read(report, |text| check::key_name(text, what));
            let value = read(&written, section, report);
            match name.and_then(|name| Some((name.value, value?))) {
                Some((name, value)) => drop(all.checked.insert(name, value)),
                None => all.faulty.push(written),
            }
        }
        all
    }

    /// The name of one of them, as it is written elsewhere.
    pub(super) fn named(&self, text: &str) -> Result<String, Refused> {
        let names = || self.checked.keys().chain(&self.faulty).map(String::as_str);
        if names().any(|name| name == text) {
            return Ok(text.to_owned());
        }
        let what = self.what;
        let fault = Refused::new(format!("there is no {what} {text:?}"));
        Err(if names().next().is_none() {
            fault
        } else {
            fault.hint(meant(text, names().collect::<Vec<_>>()))
        })
    }
}
