//! Requests and answers.

use serde_json::{Value, json};

use super::{operation::Target, refusal::Refusal};

/// A request that is already authenticated.
#[derive(Clone, Debug)]
pub struct Request {
    /// The operation, and the key that it names.
    pub(super) target: Result<Target, Refusal>,
    /// The path that was read as the target.
    pub(super) path: String,
    pub(super) query: String,
    pub(super) authority: Option<String>,
    pub(super) body: Vec<u8>,
}

impl Request {
    /// A request as HTTP carries it. `authority` is the host that it was sent to, such as `corp-vault.vault.azure.net:8443`: if that is the
    /// vault's, its port is used in every address of the answer. The body is a JSON object, or empty.
    pub fn new(method: &str, authority: Option<&str>, path: &str, query: &str, body: Vec<u8>) -> Self {
        let target = Target::read(method, path);
        Self { target, path: path.to_owned(), query: query.to_owned(), authority: authority.map(str::to_owned), body }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    pub status: u16,
    /// For `x-ms-request-id`.
    pub request_id: String,
    /// For `Retry-After`, in seconds.
    pub retry_after: Option<u32>,
    /// Null, which is an empty body on the wire, for status 204.
    pub body: Value,
}

impl Reply {
    /// Success. Without output the status is 204.
    pub(super) fn output(output: &Value, request_id: String) -> Self {
        let status = if output.is_null() { 204 } else { 200 };
        Self { status, request_id, retry_after: None, body: output.clone() }
    }

    // contract: azure.errors
    pub(super) fn refusal(refusal: &Refusal, request_id: String) -> Self {
        let Refusal { code, inner, message, retry_after } = refusal;
        let mut error = json!({ "code": code.name(), "message": message });
        if let Some(inner) = inner {
            error["innererror"] = json!({ "code": inner.name() });
        }
        Self { status: code.status(), request_id, retry_after: *retry_after, body: json!({ "error": error }) }
    }

    /// Any error, even one that Azure does not have.
    pub(super) fn error(status: u16, code: &str, message: &str, request_id: String) -> Self {
        let body = json!({ "error": { "code": code, "message": message } });
        Self { status, request_id, retry_after: None, body }
    }
}
