//! Requests and answers, as AWS JSON 1.1 has them.

use serde_json::{Value, json};

use super::refusal::Refusal;

/// One request, already authenticated.
#[derive(Clone, Debug)]
pub struct Request {
    /// The region that it is addressed to; the home region when there is none, or what it says is no region's name.
    pub region: Option<String>,
    /// The operation's name, the part of `X-Amz-Target` behind the point.
    pub operation: String,
    /// The body: a JSON object.
    pub body: Vec<u8>,
}

/// What becomes of a request.
pub type Answer = crate::frame::Answer<Reply>;

/// An answer as AWS JSON 1.1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// For `x-amzn-requestid`.
    pub request_id: String,
    /// JSON; null, which is an empty body on the wire, for operations without output.
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

    /// Any error, also one that KMS does not have.
    pub(super) fn error(status: u16, code: &str, message: &str, request_id: String) -> Self {
        Self { status, request_id, body: json!({ "__type": code, "message": message }) }
    }
}
