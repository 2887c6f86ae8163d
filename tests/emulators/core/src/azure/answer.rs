//! Requests and answers.

use serde_json::{Value, json};

use super::{operation::Target, refusal::Refusal};

/// One request, already authenticated.
#[derive(Clone, Debug)]
pub struct Request {
    /// What it asks for, and of which key.
    pub(super) target: Result<Target, Refusal>,
    /// The path that said so.
    pub(super) path: String,
    pub(super) query: String,
    pub(super) authority: Option<String>,
    pub(super) body: Vec<u8>,
}

impl Request {
    /// Takes over what HTTP says. `authority` is what the request was sent to, for instance
    /// `corp-vault.vault.azure.net:8443`: if its host is the vault's, its port stands in every address of the answer. The body
    /// is a JSON object, or nothing.
    pub fn new(method: &str, authority: Option<&str>, path: &str, query: &str, body: Vec<u8>) -> Self {
        let target = Target::read(method, path);
        Self { target, path: path.to_owned(), query: query.to_owned(), authority: authority.map(str::to_owned), body }
    }
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// For `x-ms-request-id`.
    pub request_id: String,
    /// For `Retry-After`, in seconds.
    pub retry_after: Option<u32>,
    /// JSON; null, which is an empty body on the wire, for status 204.
    pub body: Value,
}

impl Reply {
    /// Success; without output, status 204.
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

    /// Any error, also one that Azure does not have.
    pub(super) fn error(status: u16, code: &str, message: &str, request_id: String) -> Self {
        let body = json!({ "error": { "code": code, "message": message } });
        Self { status, request_id, retry_after: None, body }
    }
}
