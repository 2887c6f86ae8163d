//! Turns trees into types. A reader that returns `None` has reported why; the caller continues reading.

use std::borrow::Cow;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

use keyplane_model::{Algorithm, ApproverName, DestinationName, GroupName, KeyName, ProfileName, Protection, Purpose, Source, Span};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use crate::report::{Place, Report};
use crate::suggest::{did_you_mean_or_known, list, shown};
use crate::yaml::{Field, Node, Value};

pub(crate) trait Wire: Sized {
    /// `None`: the value is wrong, which was reported.
    fn read(node: &Node, report: &mut Report) -> Option<Self>;

    /// The value of an absent field. `None`: the field is required.
    fn absent() -> Option<Self> {
        None
    }
}

impl<T: Wire> Wire for Option<T> {
    fn read(node: &Node, report: &mut Report) -> Option<Self> {
        T::read(node, report).map(Some)
    }

    fn absent() -> Option<Self> {
        Some(None)
    }
}

#[derive(Clone, Debug)]
pub(crate) struct At<T> {
    pub(crate) value: T,
    pub(crate) place: Place,
}

impl<T: Wire> Wire for At<T> {
    fn read(node: &Node, report: &mut Report) -> Option<Self> {
        Some(Self { value: T::read(node, report)?, place: node.place })
    }
}

/// The schema of a value with a place is that of the value alone.
impl<T: JsonSchema> JsonSchema for At<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn schema_id() -> Cow<'static, str> {
        T::schema_id()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

/// A list of at least `MIN` different values, each with its place.
#[derive(Clone, Debug)]
pub(crate) struct Set<T, const MIN: usize = 1>(BTreeMap<T, Place>);

impl<T: Ord + Clone, const MIN: usize> Set<T, MIN> {
    pub(crate) fn values(&self) -> BTreeSet<T> {
        self.0.keys().cloned().collect()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&T, Place)> {
        self.0.iter().map(|(value, place)| (value, *place))
    }
}

impl<T: Wire + Ord + Display, const MIN: usize> Wire for Set<T, MIN> {
    fn read(node: &Node, report: &mut Report) -> Option<Self> {
        let Value::List(items) = &node.value else {
            return wrong_kind(node, "a list, as in `[a, b]`", report);
        };
        if items.len() < MIN {
            report.invalid(node.place, "the list is empty: name at least one, or leave the field out if it may be");
            return None;
        }
        let mut values = BTreeMap::new();
        let mut whole = true;
        for item in items {
            match T::read(item, report).map(|value| values.entry(value)) {
                None => whole = false,
                Some(Entry::Vacant(free)) => {
                    free.insert(item.place);
                }
                Some(Entry::Occupied(taken)) => {
                    let value = shown(&taken.key().to_string());
                    report.invalid(item.place, format!("`{value}` is listed twice: keep one of them"));
                    whole = false;
                }
            }
        }
        whole.then_some(Self(values))
    }
}

impl<T: JsonSchema, const MIN: usize> JsonSchema for Set<T, MIN> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("Set_of_{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "array",
            "items": generator.subschema_for::<T>(),
            "minItems": MIN,
            "uniqueItems": true
        })
    }
}

/// A mapping that is being read.
pub(crate) struct Fields<'a> {
    what: &'static str,
    place: Place,
    entries: Vec<&'a (Field, Node)>,
}

impl<'a> Fields<'a> {
    /// Opens a mapping. Reports a node that is no mapping, and every field that is not `known`. `whole` is false if a field was reported.
    pub(crate) fn open(node: &'a Node, what: &'static str, known: &[&str], report: &mut Report) -> Option<(Self, bool)> {
        let Value::Fields(all) = &node.value else {
            return wrong_kind(node, &format!("{what}, with fields {}", list(known)), report);
        };
        let (entries, unknown): (Vec<_>, Vec<_>) = all.iter().partition(|(field, _)| known.contains(&field.name.as_str()));
        for (field, _) in &unknown {
            let hint = did_you_mean_or_known(&field.name, known.iter().copied());
            report.invalid(field.place, format!("{what} has no field `{}`{hint}", shown(&field.name)));
        }
        Some((Self { what, place: node.place, entries }, unknown.is_empty()))
    }

    pub(crate) fn take<T: Wire>(&self, name: &str, report: &mut Report) -> Option<T> {
        let Some((field, node)) = self.entries.iter().find(|(field, _)| field.name == name) else {
            let absent = T::absent();
            if absent.is_none() {
                report.invalid(self.place, format!("{} needs a field `{name}`, and has none", self.what));
            }
            return absent;
        };
        if matches!(node.value, Value::Null) {
            report.invalid(field.place, format!("field `{name}` has no value: give one, or leave the field out if it may be"));
            return None;
        }
        T::read(node, report)
    }
}

/// Declares a mapping of the policy language: its type, its schema and its reader in one place.
macro_rules! wire {
    ($(#[$doc:meta])* struct $name:ident as $what:literal { $($(#[$field_doc:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, schemars::JsonSchema)]
        #[schemars(deny_unknown_fields)]
        pub(crate) struct $name { $($(#[$field_doc])* pub(crate) $field: $type,)* }

        impl $crate::read::Wire for $name {
            fn read(node: &$crate::yaml::Node, report: &mut $crate::report::Report) -> Option<Self> {
                const FIELDS: &[&str] = &[$(stringify!($field)),*];
                let (fields, whole) = $crate::read::Fields::open(node, $what, FIELDS, report)?;
                // Reads every field before the first broken one returns, so that all are reported.
                $(let $field = fields.take(stringify!($field), report);)*
                let read = Self { $($field: $field?,)* };
                whole.then_some(read)
            }
        }
    };
}
pub(crate) use wire;

impl Wire for String {
    fn read(node: &Node, report: &mut Report) -> Option<Self> {
        text(node, "a text", report).map(str::to_owned)
    }
}

impl Wire for bool {
    fn read(node: &Node, report: &mut Report) -> Option<Self> {
        match node.value {
            Value::Bool(value) => Some(value),
            _ => wrong_kind(node, "`true` or `false`", report),
        }
    }
}

impl Wire for u32 {
    fn read(node: &Node, report: &mut Report) -> Option<Self> {
        match node.value {
            Value::Number(value) if value <= u64::from(u32::MAX) => u32::try_from(value).ok(),
            _ => wrong_kind(node, "a whole number from 0", report),
        }
    }
}

/// Implements [`Wire`] for types whose own parser explains what is wrong.
macro_rules! parsed {
    ($($type:ty: $what:literal,)*) => {
        $(impl Wire for $type {
            fn read(node: &Node, report: &mut Report) -> Option<Self> {
                text(node, $what, report)?.parse().map_err(|error| report.invalid(node.place, format!("{error}"))).ok()
            }
        })*
    };
}

parsed! {
    KeyName: "a key name",
    ProfileName: "a profile name",
    DestinationName: "a destination name",
    ApproverName: "an approver name",
    GroupName: "a group name",
}

impl Wire for Span {
    fn read(node: &Node, report: &mut Report) -> Option<Self> {
        let given = match &node.value {
            // A number without a unit goes to the parser, whose message is better than "not a text".
            Value::Number(number) => number.to_string(),
            _ => text(node, "a duration, as in `90d`", report)?.to_owned(),
        };
        given.parse().map_err(|error| report.invalid(node.place, format!("{error}"))).ok()
    }
}

/// Implements [`Wire`] for types with a few fixed words as values.
macro_rules! words {
    ($($type:ty: $what:literal = $all:expr;)*) => {
        $(impl Wire for $type {
            fn read(node: &Node, report: &mut Report) -> Option<Self> {
                word(node, $what, &$all, report)
            }
        })*
    };
}

words! {
    Algorithm: "an algorithm" = Algorithm::ALL;
    Protection: "a protection" = [Protection::Software, Protection::Hsm];
    Source: "a source" = [Source::Derived, Source::Generated];
    Purpose: "a purpose" = [Purpose::Encrypt, Purpose::Sign, Purpose::Mac];
}

fn word<T: Copy + Display>(node: &Node, what: &str, all: &[T], report: &mut Report) -> Option<T> {
    let given = text(node, what, report)?;
    let words: Vec<String> = all.iter().map(T::to_string).collect();
    if let Some(found) = words.iter().position(|word| word == given) {
        return all.get(found).copied();
    }
    let hint = did_you_mean_or_known(given, words.iter().map(String::as_str));
    report.invalid(node.place, format!("`{}` is not {what}{hint}", shown(given)));
    None
}

fn text<'a>(node: &'a Node, what: &str, report: &mut Report) -> Option<&'a str> {
    match &node.value {
        Value::Text(text) => Some(text),
        Value::Bool(_) | Value::Number(_) | Value::OddNumber(_) => {
            let found = found(node);
            report.invalid(node.place, format!("here has to be {what}, not {found}: if it is meant as a text, put it in quotes"));
            None
        }
        Value::Null | Value::List(_) | Value::Fields(_) => wrong_kind(node, what, report),
    }
}

/// Reports that `needed` was expected here.
pub(crate) fn wrong_kind<T>(node: &Node, needed: &str, report: &mut Report) -> Option<T> {
    report.invalid(node.place, format!("here has to be {needed}, not {}", found(node)));
    None
}

/// Describes a node and quotes its value, for messages about a policy document.
fn found(node: &Node) -> String {
    match &node.value {
        Value::Bool(value) => format!("the truth value `{value}`"),
        Value::Number(value) => format!("the number `{value}`"),
        Value::OddNumber(value) => format!("the number `{}`", shown(value)),
        Value::Text(value) => format!("the text `{}`", shown(value)),
        other @ (Value::Null | Value::List(_) | Value::Fields(_)) => kind_of(other).to_owned(),
    }
}

/// Names the kind of a value, and quotes nothing of it.
pub(crate) fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "a truth value",
        Value::Number(_) | Value::OddNumber(_) => "a number",
        Value::Text(_) => "a text",
        Value::List(_) => "a list",
        Value::Fields(_) => "a mapping",
    }
}
