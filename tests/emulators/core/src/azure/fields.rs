//! The members of a request's body, each checked against the limits of the specification.

use std::collections::BTreeMap;

use base64::{
    Engine as _,
    alphabet::URL_SAFE,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use serde_json::{Map, Value};

use super::refusal::{Code, Refusal};

/// Base64url: the service accepts it with or without padding, and answers without.
pub(super) const BASE64URL: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new().with_encode_padding(false).with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Tags of an object, and characters of their names and values ("About keys, secrets, and certificates").
const MOST_TAGS: usize = 15;
const LONGEST_TAG: usize = 256;

/// A JSON object. Unknown members are ignored, as by the service.
#[derive(Clone, Copy)]
pub(super) struct Fields<'a>(&'a Map<String, Value>);

impl<'a> Fields<'a> {
    pub(super) fn new(members: &'a Map<String, Value>) -> Self {
        Self(members)
    }

    pub(super) fn text(&self, name: &str) -> Result<Option<&'a str>, Refusal> {
        self.get(name).map(|value| value.as_str().ok_or_else(|| invalid(name))).transpose()
    }

    pub(super) fn required_text(&self, name: &str) -> Result<&'a str, Refusal> {
        self.text(name)?.ok_or_else(|| missing(name))
    }

    pub(super) fn integer(&self, name: &str) -> Result<Option<i64>, Refusal> {
        self.get(name).map(|value| value.as_i64().ok_or_else(|| invalid(name))).transpose()
    }

    pub(super) fn flag(&self, name: &str) -> Result<Option<bool>, Refusal> {
        self.get(name).map(|value| value.as_bool().ok_or_else(|| invalid(name))).transpose()
    }

    /// Bytes in base64url.
    pub(super) fn bytes(&self, name: &str) -> Result<Option<Vec<u8>>, Refusal> {
        self.text(name)?.map(|text| BASE64URL.decode(text).map_err(|_| invalid(name))).transpose()
    }

    pub(super) fn required_bytes(&self, name: &str) -> Result<Vec<u8>, Refusal> {
        self.bytes(name)?.ok_or_else(|| missing(name))
    }

    pub(super) fn object(&self, name: &str) -> Result<Option<Fields<'a>>, Refusal> {
        self.get(name).map(|value| value.as_object().map(Fields).ok_or_else(|| invalid(name))).transpose()
    }

    pub(super) fn texts(&self, name: &str) -> Result<Option<Vec<&'a str>>, Refusal> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        let list = value.as_array().ok_or_else(|| invalid(name))?;
        list.iter().map(|item| item.as_str().ok_or_else(|| invalid(name))).collect::<Result<_, _>>().map(Some)
    }

    /// `None`: the request has no tags.
    pub(super) fn tags(&self) -> Result<Option<BTreeMap<String, String>>, Refusal> {
        let Some(value) = self.get("tags") else {
            return Ok(None);
        };
        let members = value.as_object().ok_or_else(|| invalid("tags"))?;
        if members.len() > MOST_TAGS {
            return Err(Code::BadParameter.because(format!("at most {MOST_TAGS} tags are allowed")));
        }
        let tag = |(name, value): (&String, &Value)| {
            let value = value.as_str().filter(|value| value.chars().count() <= LONGEST_TAG && name.chars().count() <= LONGEST_TAG);
            value.map(|value| (name.clone(), value.to_owned())).ok_or_else(|| invalid("tags"))
        };
        members.iter().map(tag).collect::<Result<_, _>>().map(Some)
    }

    pub(super) fn value(&self, name: &str) -> Option<&'a Value> {
        self.get(name)
    }

    /// Whether the member is there, whatever its type.
    pub(super) fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    fn get(&self, name: &str) -> Option<&'a Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }
}

pub(super) fn missing(name: &str) -> Refusal {
    Code::BadParameter.because(format!("Property  {name} is required"))
}

pub(super) fn invalid(name: &str) -> Refusal {
    Code::BadParameter.because(format!("Property  {name} has invalid value"))
}
