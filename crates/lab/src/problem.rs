//! What is wrong with a `lab.toml`, said so that a person can put it right: where, what, and what was likely meant.

use std::{fmt, ops::Range};

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet, renderer::DecorStyle};

/// One mistake in a `lab.toml`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The bytes of the text that are wrong.
    pub span: Range<usize>,
    /// The line of the first of them, from 1.
    pub line: usize,
    /// The column of the first of them in characters, from 1.
    pub column: usize,
    /// The key it is about, as in `nodes[2].mac`; empty for a fault of the TOML itself.
    pub key: String,
    /// What is wrong, with the value as it was written.
    pub message: String,
    /// What to do about it, or the nearest spelling that is right.
    pub hint: Option<String>,
}

/// Everything that is wrong with a `lab.toml`, in the order of the file; never empty.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Problems(Vec<Problem>);

impl Problem {
    /// A problem at `span` of `text`; a span that does not fit the text is moved to where it does.
    pub(crate) fn new(
        text: &str,
        span: Range<usize>,
        key: impl Into<String>,
        message: impl Into<String>,
        hint: Option<String>,
    ) -> Self {
        let start = text.floor_char_boundary(span.start);
        let end = text.ceil_char_boundary(span.end).max(start);
        let before = &text[..start];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        Self {
            span: start..end,
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            key: key.into(),
            message: message.into(),
            hint,
        }
    }
}

impl Problems {
    /// Puts them in the order of the file.
    pub(crate) fn new(mut problems: Vec<Problem>) -> Self {
        if problems.is_empty() {
            problems.push(Problem::new("", 0..0, "", "this lab is incomplete", None));
        }
        problems.sort_by(|a, b| (a.span.start, &a.key).cmp(&(b.span.start, &b.key)));
        Self(problems)
    }

    /// How many there are; at least one.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Them, in the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.0.iter()
    }

    /// Each problem with its line and a caret below it, for a terminal.
    ///
    /// `text` is the text that was parsed, `name` what to call it; `colour` adds ANSI colours.
    pub fn render(&self, name: &str, text: &str, colour: bool) -> String {
        let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
        let renderer = renderer.decor_style(DecorStyle::Ascii);
        let mut out = String::new();
        for problem in &self.0 {
            let title = match problem.key.as_str() {
                "" => problem.message.clone(),
                key => format!("{key}: {}", problem.message),
            };
            // Another text than the one that was parsed must not make this panic.
            let place = Problem::new(text, problem.span.clone(), "", "", None).span;
            let snippet = Snippet::source(text).path(name).annotation(AnnotationKind::Primary.span(place));
            let mut group = Level::ERROR.primary_title(title).element(snippet);
            if let Some(hint) = &problem.hint {
                group = group.element(Level::HELP.message(hint.as_str()));
            }
            out.push_str(&renderer.render(&[group]));
            out.push_str("\n\n");
        }
        let noun = if self.0.len() == 1 { "problem" } else { "problems" };
        out.push_str(&format!("{name}: {} {noun}\n", self.0.len()));
        out
    }
}

impl fmt::Display for Problems {
    /// One line for each problem: for logs and status files, where the text itself is not at hand.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                out.write_str("\n")?;
            }
            write!(out, "line {}, column {}: ", problem.line, problem.column)?;
            if !problem.key.is_empty() {
                write!(out, "{}: ", problem.key)?;
            }
            out.write_str(&problem.message)?;
            if let Some(hint) = &problem.hint {
                write!(out, " ({hint})")?;
            }
        }
        Ok(())
    }
}

/// The candidate that `text` most likely stands for, if any is near.
pub(crate) fn nearest<'a>(text: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(&text.to_lowercase(), candidate), candidate))
        .filter(|(likeness, _)| *likeness > 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

/// "did you mean …?", or the whole list when nothing is near.
pub(crate) fn meant<'a>(text: &str, candidates: impl IntoIterator<Item = &'a str> + Clone) -> String {
    match nearest(text, candidates.clone()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("known: {}", candidates.into_iter().collect::<Vec<_>>().join(", ")),
    }
}
