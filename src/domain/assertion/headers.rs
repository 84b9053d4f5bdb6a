//! Header values and the header block of an assertion (assertions.md 1.2).

use std::collections::BTreeMap;

/// A header value: text is the only scalar there is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A string, perhaps of several lines.
    Text(String),
    /// A list; never empty once decoded.
    List(Vec<Value>),
    /// A map; never empty once decoded.
    Map(BTreeMap<String, Value>),
}

impl Value {
    /// The string, if this is one.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::List(_) | Self::Map(_) => None,
        }
    }

    /// The elements, if this is a list.
    pub fn as_list(&self) -> Option<&[Value]> {
        match self {
            Self::List(list) => Some(list),
            Self::Text(_) | Self::Map(_) => None,
        }
    }

    /// The entries, if this is a map.
    pub fn as_map(&self) -> Option<&BTreeMap<String, Value>> {
        match self {
            Self::Map(map) => Some(map),
            Self::Text(_) | Self::List(_) => None,
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<Vec<Value>> for Value {
    fn from(list: Vec<Value>) -> Self {
        Self::List(list)
    }
}

impl From<BTreeMap<String, Value>> for Value {
    fn from(map: BTreeMap<String, Value>) -> Self {
        Self::Map(map)
    }
}

/// All headers of one assertion, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers(pub(crate) BTreeMap<String, Value>);

impl Headers {
    /// The value of header `name`.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    /// The value of header `name`, if it is a string.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.get(name).and_then(Value::as_text)
    }

    /// Sets header `name`.
    pub fn set(&mut self, name: &str, value: impl Into<Value>) {
        self.0.insert(name.to_owned(), value.into());
    }

    /// Removes header `name`.
    pub fn remove(&mut self, name: &str) -> Option<Value> {
        self.0.remove(name)
    }

    /// Whether header `name` is there.
    pub fn contains(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// All headers in byte order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }
}

/// What is wrong with a header. `header` names it, so that tools can point at it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{header:?} header {problem}")]
pub struct HeaderError {
    /// The header, or the path into it (`snaps/0/name`).
    pub header: String,
    /// What is wrong, as the end of a sentence: `is mandatory`, `must be a string`.
    pub problem: String,
}

impl HeaderError {
    /// A problem with `header`.
    pub fn new(header: impl Into<String>, problem: impl Into<String>) -> Self {
        Self {
            header: header.into(),
            problem: problem.into(),
        }
    }
}
