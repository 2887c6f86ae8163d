//! Writes values by protobuf's JSON mapping (protobuf.dev, "ProtoJSON Format").

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;

/// Base64, as the mapping asks.
pub(super) fn encode(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// Sets a member, except to its default value, which protobuf leaves out.
pub(super) fn put(object: &mut Value, name: &str, value: impl Into<Value>) {
    let value = value.into();
    let nothing = match &value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        Value::Bool(true) | Value::Number(_) => false,
    };
    if !nothing {
        object[name] = value;
    }
}
