//! What a form sends: pairs of names and texts, read within a limit.

use std::fmt::Display;
use std::str::FromStr;

use url::form_urlencoded;

use crate::app::Refusal;

/// Longest form that is read, in bytes. Files come another way.
pub(super) const MAX_FORM: usize = 512 * 1024;

/// The fields of a form.
#[derive(Clone, Debug, Default)]
pub(super) struct Form(Vec<(String, String)>);

impl Form {
    /// Reads `application/x-www-form-urlencoded`.
    pub(super) fn read(body: &[u8]) -> Self {
        Self(form_urlencoded::parse(body).into_owned().collect())
    }

    /// Adds a field, for forms that are read in parts.
    pub(super) fn push(&mut self, name: String, value: String) {
        self.0.push((name, value));
    }

    /// The text of a field as it is; empty where it is missing or given twice.
    pub(super) fn raw(&self, name: &str) -> &str {
        let mut values = self.all(name);
        match (values.next(), values.next()) {
            (Some(value), None) => value,
            (None, _) | (Some(_), Some(_)) => "",
        }
    }

    /// The text of a field without the blanks around it; none where it is empty.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        Some(self.raw(name).trim()).filter(|text| !text.is_empty())
    }

    /// A field as `T`; none where it is empty. `what` is how the form calls it.
    pub(super) fn parse<T>(&self, name: &str, what: &str) -> Result<Option<T>, Refusal>
    where
        T: FromStr,
        T::Err: Display,
    {
        self.text(name).map(|text| parsed(text, what)).transpose()
    }

    /// A field as `T` that must be filled in.
    pub(super) fn need<T>(&self, name: &str, what: &str) -> Result<T, Refusal>
    where
        T: FromStr,
        T::Err: Display,
    {
        self.parse(name, what)?.ok_or_else(|| {
            Refusal::invalid(
                "invalid-request",
                format!("cannot read the form: fill in \"{what}\""),
            )
        })
    }

    /// Whether a box is ticked.
    pub(super) fn ticked(&self, name: &str) -> bool {
        self.all(name).next().is_some()
    }

    /// Every value of a field, for boxes that go together.
    pub(super) fn all<'f>(&'f self, name: &str) -> impl Iterator<Item = &'f str> {
        self.0
            .iter()
            .filter(move |(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// A field that lists several `T`: separated by blanks, commas or line ends.
    pub(super) fn list<T, C>(&self, name: &str, what: &str) -> Result<C, Refusal>
    where
        T: FromStr,
        T::Err: Display,
        C: FromIterator<T>,
    {
        self.all(name)
            .flat_map(|text| text.split([',', ' ', '\t', '\r', '\n']))
            .filter(|text| !text.is_empty())
            .map(|text| parsed(text, what))
            .collect()
    }
}

fn parsed<T>(text: &str, what: &str) -> Result<T, Refusal>
where
    T: FromStr,
    T::Err: Display,
{
    text.parse().map_err(|error| {
        Refusal::invalid(
            "invalid-request",
            format!("cannot read the form: \"{what}\": {error}"),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_as_they_are_meant() {
        let form = Form::read(b"a=+x+&b=1&b=2&c=&d=1%2C2+3%0D%0A4&e=on&f=x");
        assert_eq!(form.text("a"), Some("x"));
        assert_eq!(form.raw("a"), " x ");
        assert_eq!(
            (form.text("b"), form.text("c"), form.text("z")),
            (None, None, None)
        );
        assert_eq!(form.list::<u32, Vec<_>>("d", "numbers").unwrap(), [1, 2, 3, 4]);
        assert!(form.ticked("e") && !form.ticked("z"));
        assert!(
            form.need::<u32>("f", "number")
                .unwrap_err()
                .message
                .contains("number")
        );
        assert!(
            form.need::<u32>("c", "number")
                .unwrap_err()
                .message
                .contains("fill in")
        );
    }
}
