//! One value as typed: what it may be written as, and the words that say so.
//!
//! serde's and figment's own messages quote what they found. Here a wrong value never becomes part
//! of an error: [`Leaf::RIGHT`] says what would have been right, and nothing else is kept.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::{Error, SeqAccess, Unexpected, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::json;

/// A value that stands for itself: no table, no list.
///
/// Texts are accepted for every leaf, because the environment and flags have nothing else.
pub(super) trait Leaf: Sized {
    /// What would be right, as the end of the sentence "must be …".
    const RIGHT: &'static str;
    /// JSON types a file may use.
    const TYPES: &'static [&'static str] = &["string"];
    /// The words, where nothing else is allowed.
    const WORDS: &'static [&'static str] = &[];

    fn text(text: &str) -> Option<Self>;

    fn integer(_: u64) -> Option<Self> {
        None
    }

    fn float(_: f64) -> Option<Self> {
        None
    }

    fn boolean(_: bool) -> Option<Self> {
        None
    }
}

/// A [`Leaf`] as serde and schemars see it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parsed<T>(pub(super) T);

impl<'de, T: Leaf> Deserialize<'de> for Parsed<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(LeafVisitor(PhantomData))
    }
}

struct LeafVisitor<T>(PhantomData<T>);

impl<T: Leaf> LeafVisitor<T> {
    fn right<E: Error>(&self, value: Option<T>) -> Result<Parsed<T>, E> {
        value
            .map(Parsed)
            .ok_or_else(|| E::invalid_value(Unexpected::Other("value"), self))
    }
}

impl<T: Leaf> Visitor<'_> for LeafVisitor<T> {
    type Value = Parsed<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::RIGHT)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        self.right(T::text(text))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Self::Value, E> {
        self.right(u64::try_from(number).ok().and_then(T::integer))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Self::Value, E> {
        self.right(T::integer(number))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Self::Value, E> {
        self.right(T::float(number))
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Self::Value, E> {
        self.right(T::boolean(value))
    }
}

impl<T: Leaf> JsonSchema for Parsed<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        Cow::Borrowed(T::RIGHT)
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let mut schema = Schema::default();
        let types = match T::TYPES {
            [one] => json!(one),
            several => json!(several),
        };
        schema.insert("type".to_owned(), types);
        if T::WORDS.is_empty() {
            schema.insert("x-right".to_owned(), json!(T::RIGHT));
        } else {
            schema.insert("enum".to_owned(), json!(T::WORDS));
        }
        schema
    }
}

/// Several leaves: a list, or one text with commas.
#[derive(Clone, Debug)]
pub(super) struct List<T>(pub(super) Vec<T>);

impl<'de, T: Leaf> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ListVisitor(PhantomData))
    }
}

struct ListVisitor<T>(PhantomData<T>);

impl<'de, T: Leaf> Visitor<'de> for ListVisitor<T> {
    type Value = List<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list, each item {}", T::RIGHT)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        text.split(',')
            .map(str::trim)
            .filter(|item| !item.is_empty())
            .map(T::text)
            .collect::<Option<_>>()
            .map(List)
            .ok_or_else(|| E::invalid_value(Unexpected::Other("value"), &self))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut list = Vec::new();
        while let Some(Parsed(item)) = items.next_element()? {
            list.push(item);
        }
        Ok(List(list))
    }
}

impl<T: Leaf> JsonSchema for List<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        Cow::Owned(format!("list of {}", T::RIGHT))
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut schema = Schema::default();
        schema.insert("type".to_owned(), json!("array"));
        let items = Parsed::<T>::json_schema(generator);
        schema.insert("items".to_owned(), items.to_value());
        schema
    }
}
