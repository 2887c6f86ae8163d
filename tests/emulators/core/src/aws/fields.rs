//! The members of a request, each checked against the limits of the service model.

use std::{collections::BTreeMap, ops::RangeInclusive};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Map, Value};

use super::refusal::{Code, Refusal};
use crate::Timestamp;

/// A request's JSON object. Unknown members are ignored, as by AWS.
pub(super) struct Fields<'a>(&'a Map<String, Value>);

impl<'a> Fields<'a> {
    pub(super) fn new(members: &'a Map<String, Value>) -> Self {
        Self(members)
    }

    /// `None`: it is missing. `length`: in characters.
    pub(super) fn text(&self, name: &str, length: RangeInclusive<usize>) -> Result<Option<&'a str>, Refusal> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        let text = value.as_str().ok_or_else(|| wrong_type(name, "a string"))?;
        text_within(name, text, length)?;
        Ok(Some(text))
    }

    pub(super) fn required_text(&self, name: &str, length: RangeInclusive<usize>) -> Result<&'a str, Refusal> {
        self.text(name, length)?.ok_or_else(|| missing(name))
    }

    /// One of these words; `None`: it is missing.
    pub(super) fn word<T: Copy>(&self, name: &str, words: &[(&str, T)]) -> Result<Option<T>, Refusal> {
        let Some(text) = self.text(name, 0..=usize::MAX)? else {
            return Ok(None);
        };
        let found = words.iter().find(|(word, _)| *word == text).map(|(_, meaning)| *meaning);
        found.map(Some).ok_or_else(|| {
            let all: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            constraint(name, text, &format!("Member must satisfy enum value set: [{}]", all.join(", ")))
        })
    }

    /// An integer in this range; `None`: it is missing.
    pub(super) fn integer(&self, name: &str, range: RangeInclusive<u32>) -> Result<Option<u32>, Refusal> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        let number = value.as_i64().ok_or_else(|| wrong_type(name, "an integer"))?;
        let (low, high) = range.into_inner();
        if number < i64::from(low) {
            return Err(constraint(name, number, &format!("Member must have value greater than or equal to {low}")));
        }
        u32::try_from(number)
            .ok()
            .filter(|number| *number <= high)
            .map(Some)
            .ok_or_else(|| constraint(name, number, &format!("Member must have value less than or equal to {high}")))
    }

    /// A boolean; `false` if it is missing.
    pub(super) fn flag(&self, name: &str) -> Result<bool, Refusal> {
        self.get(name).map_or(Ok(false), |value| value.as_bool().ok_or_else(|| wrong_type(name, "a boolean")))
    }

    /// `length`: in bytes.
    pub(super) fn required_blob(&self, name: &str, length: RangeInclusive<usize>) -> Result<Vec<u8>, Refusal> {
        let value = self.get(name).ok_or_else(|| missing(name))?;
        let text = value.as_str().ok_or_else(|| wrong_type(name, "a blob"))?;
        let bytes = STANDARD.decode(text).map_err(|_| wrong_type(name, "base64"))?;
        within(name, "<blob>", bytes.len(), &length)?;
        Ok(bytes)
    }

    /// A time in seconds since the epoch; `None`: it is missing.
    pub(super) fn moment(&self, name: &str) -> Result<Option<Timestamp>, Refusal> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        let moment = value.as_f64().and_then(Timestamp::from_seconds);
        moment.map(Some).ok_or_else(|| wrong_type(name, "a timestamp"))
    }

    /// A map of texts; empty if it is missing.
    pub(super) fn texts(&self, name: &str) -> Result<BTreeMap<&'a str, &'a str>, Refusal> {
        let Some(value) = self.get(name) else {
            return Ok(BTreeMap::new());
        };
        let members = value.as_object().ok_or_else(|| wrong_type(name, "a map"))?;
        let pairs = members
            .iter()
            .map(|(key, value)| value.as_str().map(|value| (key.as_str(), value)).ok_or_else(|| wrong_type(name, "a map of strings")));
        pairs.collect()
    }

    /// `None`: it is missing.
    pub(super) fn list(&self, name: &str) -> Result<Option<&'a [Value]>, Refusal> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        value.as_array().map(|list| Some(list.as_slice())).ok_or_else(|| wrong_type(name, "a list"))
    }

    /// `None`: it is missing.
    pub(super) fn structure(&self, name: &str) -> Result<Option<Fields<'a>>, Refusal> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        value.as_object().map(|members| Some(Fields::new(members))).ok_or_else(|| wrong_type(name, "a structure"))
    }

    /// Whether the member is there, whatever its type.
    pub(super) fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    fn get(&self, name: &str) -> Option<&'a Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }
}

/// Ends a dry run, which would have succeeded.
pub(super) fn not_dry(fields: &Fields<'_>) -> Result<(), Refusal> {
    if fields.flag("DryRun")? {
        return Err(Code::DryRunOperation.because("the request would have succeeded, but `DryRun` is set"));
    }
    Ok(())
}

/// A required member is missing.
pub(super) fn missing(name: &str) -> Refusal {
    Code::Validation.because(format!(
        "1 validation error detected: Value null at '{}' failed to satisfy constraint: Member must not be null",
        lower_first(name)
    ))
}

/// A member breaks a rule of the service model.
pub(super) fn constraint(name: &str, value: impl std::fmt::Display, rule: &str) -> Refusal {
    Code::Validation
        .because(format!("1 validation error detected: Value '{value}' at '{}' failed to satisfy constraint: {rule}", lower_first(name)))
}

/// Checks a text's length in characters.
pub(super) fn text_within(name: &str, text: &str, length: RangeInclusive<usize>) -> Result<(), Refusal> {
    within(name, text, text.chars().count(), &length)
}

fn within(name: &str, shown: &str, length: usize, allowed: &RangeInclusive<usize>) -> Result<(), Refusal> {
    if length < *allowed.start() {
        let rule = format!("Member must have length greater than or equal to {}", allowed.start());
        return Err(constraint(name, shown, &rule));
    }
    if length > *allowed.end() {
        // The value is not repeated, since it could be as long as the request.
        let rule = format!("Member must have length less than or equal to {}", allowed.end());
        return Err(constraint(name, "<too long>", &rule));
    }
    Ok(())
}

fn wrong_type(name: &str, wanted: &str) -> Refusal {
    Code::Serialization.because(format!("`{name}` must be {wanted}"))
}

fn lower_first(name: &str) -> String {
    let mut characters = name.chars();
    characters.next().map(|first| first.to_ascii_lowercase()).into_iter().chain(characters).collect()
}
