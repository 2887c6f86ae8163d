//! Requests and answers of AWS JSON 1.1.

use serde_json::{Value, json};

use super::refusal::Refusal;

/// A request that is already authenticated.
#[derive(Clone, Debug)]
pub struct Request {
    /// The region that it is addressed to. `None`, or not a region's name: the home region.
    pub region: Option<String>,
    /// The part of `X-Amz-Target` after the point.
    pub operation: String,
    /// A JSON object.
    pub body: Vec<u8>,
}

pub type Answer = crate::frame::Answer<Reply>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    pub status: u16,
    /// For `x-amzn-requestid`.
    pub request_id: String,
    /// Null, which is an empty body on the wire, for operations without output.
    pub body: Value,
}

impl Reply {
    pub(super) fn output(output: &Value, request_id: String) -> Self {
        Self { status: 200, request_id, body: output.clone() }
    }

    pub(super) fn refusal(refusal: &Refusal, request_id: String) -> Self {
        let code = refusal.code;
        Self::error(code.status(), code.name(), &refusal.message, request_id)
    }

    /// Any error, even one that KMS does not have.
    pub(super) fn error(status: u16, code: &str, message: &str, request_id: String) -> Self {
        Self { status, request_id, body: json!({ "__type": code, "message": message }) }
    }
}
