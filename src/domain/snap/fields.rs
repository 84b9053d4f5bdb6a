//! The fields of a document or of a part of it, taken by name; every refusal names the field.

use std::fmt;
use std::str::FromStr;

use crate::domain::yaml::{self, Node};

/// Why a `snap.yaml`, `component.yaml` or `gadget.yaml` cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot use {document}: {field} {why}")]
pub struct SnapYamlError {
    /// The file: `snap.yaml`, `component.yaml` or `gadget.yaml`.
    pub document: &'static str,
    /// The field in its place, e.g. `apps.hello.command`; `it` where the whole document is meant.
    pub field: String,
    /// What is wrong with it.
    pub why: String,
}

/// Most characters of the document that a refusal repeats.
const REPEATED: usize = 64;

/// A map of a document, and where it stands.
pub(super) struct Fields<'a> {
    document: &'static str,
    place: String,
    entries: std::borrow::Cow<'a, [(String, Node)]>,
}

impl<'a> Fields<'a> {
    /// The top-level map of a document.
    pub(super) fn of_document(document: &'static str, text: &str) -> Result<Self, SnapYamlError> {
        let refuse = |why: String| SnapYamlError {
            document,
            field: "it".to_owned(),
            why,
        };
        match yaml::parse(text).map_err(refuse)? {
            Node::Map(entries) => Ok(Self {
                document,
                place: String::new(),
                entries: entries.into(),
            }),
            Node::Null | Node::Text(_) | Node::List(_) => Err(refuse("must be a map".to_owned())),
        }
    }

    pub(super) fn refuse(&self, field: &str, why: impl fmt::Display) -> SnapYamlError {
        let field: String = field.chars().take(REPEATED).collect();
        SnapYamlError {
            document: self.document,
            field: format!("{}{field}", self.place),
            why: why.to_string(),
        }
    }

    pub(super) fn missing(&self, field: &str) -> SnapYamlError {
        self.refuse(field, "is missing")
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|(key, _)| key.as_str())
    }

    /// A field's value, unless it is absent or null.
    pub(super) fn get(&self, field: &str) -> Option<&Node> {
        let found = self.entries.iter().find(|(key, _)| key == field);
        found
            .map(|(_, value)| value)
            .filter(|value| **value != Node::Null)
    }

    pub(super) fn text(&self, field: &str) -> Result<Option<&str>, SnapYamlError> {
        match self.get(field) {
            None => Ok(None),
            Some(Node::Text(text)) => Ok(Some(text)),
            Some(_) => Err(self.refuse(field, "must be a text")),
        }
    }

    /// A text of at most `limit` characters.
    pub(super) fn limited(&self, field: &str, limit: usize) -> Result<Option<String>, SnapYamlError> {
        let Some(text) = self.text(field)? else {
            return Ok(None);
        };
        if text.chars().count() > limit {
            return Err(self.refuse(field, format_args!("has more than {limit} characters")));
        }
        Ok(Some(text.to_owned()))
    }

    /// A text that `check` takes; `what` says what it takes.
    pub(super) fn checked(
        &self,
        field: &str,
        check: fn(&str) -> bool,
        what: &str,
    ) -> Result<Option<String>, SnapYamlError> {
        match self.text(field)? {
            Some(text) if !check(text) => {
                let shown: String = text.chars().take(REPEATED).collect();
                Err(self.refuse(field, format_args!("must be {what}, not {shown:?}")))
            }
            text => Ok(text.map(str::to_owned)),
        }
    }

    pub(super) fn parsed<T: FromStr<Err: fmt::Display>>(
        &self,
        field: &str,
    ) -> Result<Option<T>, SnapYamlError> {
        self.text(field)?
            .map(|text| text.parse().map_err(|error| self.refuse(field, error)))
            .transpose()
    }

    /// A list of texts; none if it is absent.
    pub(super) fn texts(&self, field: &str) -> Result<Vec<String>, SnapYamlError> {
        let items = match self.get(field) {
            None => return Ok(Vec::new()),
            Some(Node::List(items)) => items,
            Some(_) => return Err(self.refuse(field, "must be a list")),
        };
        let text = |item: &Node| match item {
            Node::Text(text) => Ok(text.clone()),
            Node::Null | Node::List(_) | Node::Map(_) => Err(self.refuse(field, "must be a list of texts")),
        };
        items.iter().map(text).collect()
    }

    /// A list of texts, or one alone.
    pub(super) fn text_or_texts(&self, field: &str) -> Result<Vec<String>, SnapYamlError> {
        match self.get(field) {
            Some(Node::Text(text)) => Ok(vec![text.clone()]),
            _ => self.texts(field),
        }
    }

    pub(super) fn map(&self, field: &str) -> Result<Option<&[(String, Node)]>, SnapYamlError> {
        match self.get(field) {
            None => Ok(None),
            Some(Node::Map(entries)) => Ok(Some(entries)),
            Some(_) => Err(self.refuse(field, "must be a map")),
        }
    }

    /// The fields of a map; none if it is absent.
    pub(super) fn section(&self, field: &str) -> Result<Fields<'_>, SnapYamlError> {
        Ok(Fields {
            document: self.document,
            place: format!("{}{field}.", self.place),
            entries: self.map(field)?.unwrap_or_default().into(),
        })
    }

    /// The entries of a map of maps, each with a name that `check` takes; `what` says what it takes.
    pub(super) fn entries(
        &self,
        field: &str,
        check: fn(&str) -> bool,
        what: &str,
    ) -> Result<Vec<(String, Fields<'_>)>, SnapYamlError> {
        let mut found = Vec::new();
        let place = format!("{}{field}.", self.place);
        for (name, value) in self.map(field)?.unwrap_or_default() {
            let here = |why: String| SnapYamlError {
                document: self.document,
                field: format!("{place}{}", name.chars().take(REPEATED).collect::<String>()),
                why,
            };
            if !check(name) {
                return Err(here(format!("is not {what}")));
            }
            let entries = match value {
                Node::Null => &[][..],
                Node::Map(entries) => entries,
                Node::Text(_) | Node::List(_) => return Err(here("must be a map".to_owned())),
            };
            let fields = Fields {
                document: self.document,
                place: format!("{place}{name}."),
                entries: entries.into(),
            };
            found.push((name.clone(), fields));
        }
        Ok(found)
    }
}
