//! What the lab's owner gives to templates.

/// A value for templates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Variable {
    /// A text.
    Text(String),
    /// A whole number.
    Integer(i64),
    /// True or false.
    Truth(bool),
    /// A list of values.
    List(Vec<Variable>),
}
