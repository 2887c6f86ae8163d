//! The members of a request, parsed by protobuf's JSON mapping: names in camel case or as in the proto file, bytes in either base64, long
//! integers as numbers or strings, enumerations as names or numbers. Unknown names are refused, as by Google's front ends.
//!
//! Source: protobuf.dev, "ProtoJSON Format".

use std::{collections::BTreeMap, time::Duration};

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use serde_json::{Map, Value};

use super::{
    checksum::crc32c,
    moment,
    refusal::{Code, Refusal, invalid_field},
    word::Word,
};
use crate::Timestamp;

/// Padding is optional.
const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);

/// Parameters of every method of Google's REST interfaces.
const SYSTEM: [&str; 12] = [
    "alt",
    "$alt",
    "key",
    "prettyPrint",
    "$prettyPrint",
    "fields",
    "$fields",
    "quotaUser",
    "access_token",
    "oauth_token",
    "$.xgafv",
    "uploadType",
];

/// Decodes base64 of either alphabet, with or without padding.
// contract: gcp.json
pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
    let engine = if text.contains(['-', '_']) { &URL_SAFE } else { &STANDARD };
    engine.decode(text).ok()
}

pub(super) struct Message<'a> {
    /// By name in camel case. Members with their default value are left out.
    members: BTreeMap<String, &'a Value>,
    /// Whether the members are those of a URL's query, where all values are text.
    of_query: bool,
}

impl<'a> Message<'a> {
    /// Reads a JSON object. `known`: its possible members, in camel case.
    pub(super) fn of_body(object: &'a Map<String, Value>, known: &[&str]) -> Result<Self, Refusal> {
        let mut members = BTreeMap::new();
        for (name, value) in object {
            let camel = camel(name);
            if !known.contains(&camel.as_str()) {
                return Err(unknown_name(name));
            }
            if members.insert(camel, value).is_some() {
                return Err(invalid_field(name, "the field is given twice"));
            }
        }
        members.retain(|_, value| !value.is_null());
        Ok(Self { members, of_query: false })
    }

    /// Reads the query of a URL. `known`: its possible members besides the parameters of every method.
    pub(super) fn of_query(query: &'a [(String, Value)], known: &[&str]) -> Result<Self, Refusal> {
        let mut members = BTreeMap::new();
        for (name, value) in query {
            let camel = camel(name);
            if SYSTEM.contains(&name.as_str()) {
                continue;
            }
            if !known.contains(&camel.as_str()) {
                return Err(unknown_name(name));
            }
            members.insert(camel, value);
        }
        Ok(Self { members, of_query: true })
    }

    /// Whether the member is there, whatever its type.
    pub(super) fn has(&self, name: &str) -> bool {
        self.members.contains_key(name)
    }

    /// `None`: it is missing or empty.
    pub(super) fn text(&self, name: &str) -> Result<Option<&'a str>, Refusal> {
        let Some(value) = self.members.get(name) else {
            return Ok(None);
        };
        let text = value.as_str().ok_or_else(|| invalid_field(name, "must be a string"))?;
        Ok(Some(text).filter(|text| !text.is_empty()))
    }

    /// A text that must be there.
    pub(super) fn required_text(&self, name: &str) -> Result<&'a str, Refusal> {
        self.text(name)?.ok_or_else(|| required(name))
    }

    /// A truth value; false when it is not there.
    pub(super) fn flag(&self, name: &str) -> Result<bool, Refusal> {
        match self.members.get(name) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(Value::String(text)) if self.of_query && text == "true" => Ok(true),
            Some(Value::String(text)) if self.of_query && text == "false" => Ok(false),
            Some(_) => Err(invalid_field(name, "must be a boolean")),
        }
    }

    /// An integer, written as a number or as text.
    pub(super) fn integer(&self, name: &str) -> Result<Option<i64>, Refusal> {
        let Some(value) = self.members.get(name) else {
            return Ok(None);
        };
        let number = match value {
            Value::String(text) => text.parse().ok(),
            other => other.as_i64(),
        };
        number.map(Some).ok_or_else(|| invalid_field(name, "must be an integer"))
    }

    /// A value of an enumeration, by name or number; `None`: it is missing or zero.
    pub(super) fn word<W: Word>(&self, name: &str) -> Result<Option<W>, Refusal> {
        let Some(value) = self.members.get(name) else {
            return Ok(None);
        };
        let number = match value {
            Value::String(text) if self.of_query => text.parse().ok(),
            other => other.as_i64(),
        };
        if number == Some(0) || value.as_str().is_some_and(|text| text.ends_with("_UNSPECIFIED")) {
            return Ok(None);
        }
        let found = W::ALL.iter().find(|word| value.as_str() == Some(word.name()) || number == Some(word.number()));
        found.map(|word| Some(*word)).ok_or_else(|| invalid_field(name, format!("`{value}` is none of its values")))
    }

    pub(super) fn required_word<W: Word>(&self, name: &str) -> Result<W, Refusal> {
        self.word(name)?.ok_or_else(|| required(name))
    }

    /// `None`: it is missing or empty.
    pub(super) fn bytes(&self, name: &str) -> Result<Option<Vec<u8>>, Refusal> {
        let Some(text) = self.text(name)? else {
            return Ok(None);
        };
        decode(text).map(Some).ok_or_else(|| invalid_field(name, "Base64 decoding failed"))
    }

    /// Bytes, and whether the client sent their CRC32C. A wrong one is refused.
    // contract: gcp.crc32c
    pub(super) fn checked_bytes(&self, name: &str) -> Result<(Option<Vec<u8>>, bool), Refusal> {
        let bytes = self.bytes(name)?;
        let field = format!("{name}Crc32c");
        let Some(claimed) = self.integer(&field)? else {
            return Ok((bytes, false));
        };
        if claimed != i64::from(crc32c(bytes.as_deref().unwrap_or_default())) {
            return Err(invalid_field(&field, format!("the checksum did not match the data in `{name}`")));
        }
        Ok((bytes, true))
    }

    /// A time in RFC 3339; `None`: it is missing.
    pub(super) fn moment(&self, name: &str) -> Result<Option<Timestamp>, Refusal> {
        let Some(text) = self.text(name)? else {
            return Ok(None);
        };
        moment::parse_rfc3339(text).map(Some).ok_or_else(|| invalid_field(name, "must be a timestamp of RFC 3339"))
    }

    pub(super) fn span(&self, name: &str) -> Result<Option<Duration>, Refusal> {
        let Some(text) = self.text(name)? else {
            return Ok(None);
        };
        moment::parse_span(text).map(Some).ok_or_else(|| invalid_field(name, "must be a duration such as `86400s`"))
    }

    /// A message in this one. `known`: its possible members.
    pub(super) fn message(&self, name: &str, known: &[&str]) -> Result<Option<Message<'a>>, Refusal> {
        let Some(value) = self.members.get(name) else {
            return Ok(None);
        };
        let object = value.as_object().ok_or_else(|| invalid_field(name, "must be an object"))?;
        Message::of_body(object, known).map(Some)
    }

    pub(super) fn texts(&self, name: &str) -> Result<BTreeMap<String, String>, Refusal> {
        let Some(value) = self.members.get(name) else {
            return Ok(BTreeMap::new());
        };
        let object = value.as_object().ok_or_else(|| invalid_field(name, "must be an object"))?;
        let pair = |(key, value): (&String, &Value)| value.as_str().map(|value| (key.clone(), value.to_owned()));
        object.iter().map(|member| pair(member).ok_or_else(|| invalid_field(name, "must have strings as values"))).collect()
    }

    /// The paths of a field mask, in camel case; empty if it is missing.
    pub(super) fn mask(&self, name: &str) -> Result<Vec<String>, Refusal> {
        let text = self.text(name)?.unwrap_or_default();
        Ok(text.split(',').map(str::trim).filter(|path| !path.is_empty()).map(camel).collect())
    }
}

/// A required field is missing.
pub(super) fn required(name: &str) -> Refusal {
    invalid_field(name, "the field is required")
}

/// An id that the caller chooses: `[a-zA-Z0-9_-]{1,63}`.
pub(super) fn caller_id<'a>(query: &Message<'a>, name: &str) -> Result<&'a str, Refusal> {
    let id = query.required_text(name)?;
    if !is_id(id) {
        return Err(invalid_field(name, "must match the regular expression [a-zA-Z0-9_-]{1,63}"));
    }
    Ok(id)
}

/// Whether a text is an id that a caller may choose.
pub(super) fn is_id(text: &str) -> bool {
    (1..=63).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}

fn unknown_name(name: &str) -> Refusal {
    Code::InvalidArgument.because(format!("Invalid JSON payload received. Unknown name \"{name}\": Cannot find field."))
}

/// `crypto_key_id` as `cryptoKeyId`.
fn camel(name: &str) -> String {
    let mut up = false;
    let mut camel = String::with_capacity(name.len());
    for character in name.chars() {
        if character == '_' {
            up = true;
        } else if std::mem::take(&mut up) {
            camel.push(character.to_ascii_uppercase());
        } else {
            camel.push(character);
        }
    }
    camel
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_read_in_either_alphabet_with_or_without_padding() {
        for text in ["+/8=", "+/8", "-_8=", "-_8"] {
            assert_eq!(decode(text), Some(vec![0xfb, 0xff]), "{text}");
        }
        assert_eq!(decode("+_8="), None);
        assert_eq!(decode("?"), None);
    }

    #[test]
    fn names_are_read_in_either_case() {
        assert_eq!(camel("crypto_key_id"), "cryptoKeyId");
        assert_eq!(camel("cryptoKeyId"), "cryptoKeyId");
        assert_eq!(camel("plaintext_crc32c"), "plaintextCrc32c");
    }
}
