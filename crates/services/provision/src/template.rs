//! Templates: strict variables, and values that are escaped for where they go.

use minijinja::{
    Environment, Error, ErrorKind, Output, State, UndefinedBehavior,
    value::{Serde, Value},
};
use pilotlight_lab::{Config, ConfigKind, Lab, Node};

use crate::{ProvisionError, context::Context};

/// Steps that a template may take: one that loops over a thousand nodes needs some ten thousand.
const FUEL: u64 = 1_000_000;
/// The longest text that a template may come to, in bytes.
const MAX_LENGTH: usize = 1 << 20;

/// Renders a lab's template for one node.
pub(crate) fn render(lab: &Lab, node: &Node, name: &str, config: &Config) -> Result<String, ProvisionError> {
    let fault =
        |what: String| ProvisionError::Template { config: name.to_owned(), node: node.name.clone(), what };
    let context = Value::from(Serde(Context::new(lab, node)));
    let text = environment(config.kind)
        .render_str(&config.template, context)
        .map_err(|error| fault(words(&error)))?;
    if text.len() > MAX_LENGTH {
        return Err(fault(format!("it comes to {} bytes: {MAX_LENGTH} are the most", text.len())));
    }
    Ok(text)
}

fn words(error: &Error) -> String {
    let what = match (error.kind(), error.detail()) {
        (ErrorKind::UndefinedError, None) => "it asks for something that is not there".to_owned(),
        (_, Some(detail)) => detail.to_owned(),
        (kind, None) => kind.to_string(),
    };
    match error.line() {
        Some(line) => format!("line {line} of the template: {what}"),
        None => what,
    }
}

fn environment(kind: ConfigKind) -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_fuel(Some(FUEL));
    environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    // They call a value safe that is not, in this language.
    for filter in ["safe", "escape", "e", "tojson"] {
        environment.remove_filter(filter);
    }
    environment.add_filter("plain", plain);
    environment.add_filter("base64", |text: &str| base64(text));
    environment.set_formatter(match kind {
        ConfigKind::CloudConfig | ConfigKind::Ignition | ConfigKind::Butane | ConfigKind::Talos => scalar,
        ConfigKind::Preseed => line,
        ConfigKind::Text => raw,
    });
    environment
}

pub(crate) fn base64(text: &str) -> String {
    use ::base64::{Engine as _, engine::general_purpose::STANDARD};
    STANDARD.encode(text)
}

/// `{{ x | plain }}`: a part of a longer word, such as a path, without quotes around it. Only what means nothing in any
/// language passes.
fn plain(value: &Value) -> Result<Value, Error> {
    let text = value.to_string();
    let safe = |c: char| c.is_ascii_alphanumeric() || "_.:/@+-".contains(c);
    match text.chars().find(|c| !safe(*c)) {
        Some(c) => {
            let what = format!("{c:?} in {text:?} is not plain: only letters, digits and _.:/@+- are");
            Err(Error::new(ErrorKind::InvalidOperation, what))
        }
        None => Ok(Value::from_safe_string(text)),
    }
}

/// One whole JSON value, which YAML reads the same.
fn scalar(out: &mut Output<'_>, state: &mut State<'_, '_>, value: &Value) -> Result<(), Error> {
    defined(value)?;
    if value.is_safe() {
        return raw(out, state, value);
    }
    let text = serde_json::to_string(value)
        .map_err(|error| Error::new(ErrorKind::BadSerialization, error.to_string()))?;
    // JSON lets these three stand, and YAML takes them for the end of a line.
    let text =
        text.replace('\u{85}', "\\u0085").replace('\u{2028}', "\\u2028").replace('\u{2029}', "\\u2029");
    out.write_str(&text).map_err(Error::from)
}

/// A part of one line of a preseed file.
fn line(out: &mut Output<'_>, _: &mut State<'_, '_>, value: &Value) -> Result<(), Error> {
    defined(value)?;
    let text = value.to_string();
    if text.contains(|c: char| c.is_control() || c == '\\') {
        let what =
            format!("{text:?} does not fit one line: it has a line feed, a backslash or a control character");
        return Err(Error::new(ErrorKind::InvalidOperation, what));
    }
    out.write_str(&text).map_err(Error::from)
}

fn raw(out: &mut Output<'_>, _: &mut State<'_, '_>, value: &Value) -> Result<(), Error> {
    defined(value)?;
    out.write_str(&value.to_string()).map_err(Error::from)
}

fn defined(value: &Value) -> Result<(), Error> {
    if value.is_undefined() { Err(Error::from(ErrorKind::UndefinedError)) } else { Ok(()) }
}

/// Reads one YAML document.
pub(crate) fn yaml(text: &str) -> Result<serde_json::Value, String> {
    // Butane and cloud-init take `0644` for octal, as YAML 1.1 did.
    let options = serde_saphyr::options! { legacy_octal_numbers: true };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| first_line(&error))
}

/// Reads one or more YAML documents.
pub(crate) fn yaml_documents(text: &str) -> Result<Vec<serde_json::Value>, String> {
    serde_saphyr::from_str_multiple(text).map_err(|error| first_line(&error))
}

fn first_line(error: &impl ToString) -> String {
    let text = error.to_string();
    let line = text.lines().next().unwrap_or_default();
    line.strip_prefix("error: ").unwrap_or(line).to_owned()
}
