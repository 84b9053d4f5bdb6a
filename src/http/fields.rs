//! The fields a struct is read from, asked of its own `Deserialize`, for the API description.

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, Visitor, value::Error};
use serde::forward_to_deserialize_any;

/// The names of the fields of `T` on the wire; empty where it is no plain struct.
pub(super) fn of<T: Deserialize<'static>>() -> &'static [&'static str] {
    let mut names: &'static [&'static str] = &[];
    // Always an error: nothing is read, the struct only says what it would look for.
    let _nothing_read = T::deserialize(Asking(&mut names));
    names
}

struct Asking<'a>(&'a mut &'static [&'static str]);

impl<'de> Deserializer<'de> for Asking<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, Error> {
        Err(Error::custom("not a struct"))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        _visitor: V,
    ) -> Result<V::Value, Error> {
        *self.0 = fields;
        Err(Error::custom("only asked for its fields"))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_struct_tells_its_fields_as_they_are_on_the_wire() {
        #[derive(serde::Deserialize)]
        #[serde(rename_all = "kebab-case")]
        struct Sample {
            _two_words: String,
            #[serde(rename = "for")]
            _purpose: u32,
        }
        assert_eq!(of::<Sample>(), ["-two-words", "for"]);
        assert_eq!(of::<Vec<String>>(), [""; 0]);
    }
}
