//! The errors of Google Cloud, and the form of its answers.

use serde_json::{Value, json};

use crate::crypto;

/// The name of the service in errors.
const SERVICE: &str = "cloudkms.googleapis.com";

/// A canonical code (googleapis, `google/rpc/code.proto`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    InvalidArgument,
    NotFound,
    AlreadyExists,
    PermissionDenied,
    ResourceExhausted,
    FailedPrecondition,
    Unimplemented,
    Internal,
    Unauthenticated,
}

impl Code {
    pub const fn name(self) -> &'static str {
        match self {
            Self::InvalidArgument => "INVALID_ARGUMENT",
            Self::NotFound => "NOT_FOUND",
            Self::AlreadyExists => "ALREADY_EXISTS",
            Self::PermissionDenied => "PERMISSION_DENIED",
            Self::ResourceExhausted => "RESOURCE_EXHAUSTED",
            Self::FailedPrecondition => "FAILED_PRECONDITION",
            Self::Unimplemented => "UNIMPLEMENTED",
            Self::Internal => "INTERNAL",
            Self::Unauthenticated => "UNAUTHENTICATED",
        }
    }

    /// The HTTP status that `code.proto` maps it to.
    // contract: gcp.errors
    pub const fn status(self) -> u16 {
        match self {
            Self::InvalidArgument | Self::FailedPrecondition => 400,
            Self::Unauthenticated => 401,
            Self::PermissionDenied => 403,
            Self::NotFound => 404,
            Self::AlreadyExists => 409,
            Self::ResourceExhausted => 429,
            Self::Internal => 500,
            Self::Unimplemented => 501,
        }
    }

    pub fn because(self, message: impl Into<String>) -> Refusal {
        Refusal { code: self, message: message.into(), details: Vec::new() }
    }
}

/// A request was refused, and nothing was changed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// Decides the name on the wire and the HTTP status.
    pub code: Code,
    /// The text for people.
    pub message: String,
    /// Messages of `google/rpc/error_details.proto`, each with its `@type`.
    pub details: Vec<Value>,
}

impl Refusal {
    /// Adds a detail: a message of this type.
    fn with(mut self, kind: &str, mut members: Value) -> Self {
        members["@type"] = format!("type.googleapis.com/google.rpc.{kind}").into();
        self.details.push(members);
        self
    }

    /// Adds the machine-readable reason, an `ErrorInfo`.
    fn with_reason(self, reason: &str, metadata: Value) -> Self {
        self.with("ErrorInfo", json!({ "reason": reason, "domain": "googleapis.com", "metadata": metadata }))
    }
}

impl From<crypto::Refused> for Refusal {
    /// For operations that cannot fail because of the client.
    fn from(refused: crypto::Refused) -> Self {
        Code::Internal.because(refused.to_string())
    }
}

/// A field of a request is wrong.
pub(super) fn invalid_field(field: &str, description: impl Into<String>) -> Refusal {
    let description = description.into();
    let violation = json!({ "fieldViolations": [{ "field": field, "description": description }] });
    Code::InvalidArgument.because(format!("Invalid value at '{field}': {description}")).with("BadRequest", violation)
}

pub(super) fn wrong_state(name: &str, kind: &str, description: impl Into<String>) -> Refusal {
    let description = description.into();
    let violation = json!({ "violations": [{ "type": kind, "subject": name, "description": description }] });
    Code::FailedPrecondition.because(description).with("PreconditionFailure", violation)
}

pub(super) fn missing(kind: &str, name: &str) -> Refusal {
    Code::NotFound.because(format!("{kind} {name} not found."))
}

/// Not allowed. Google does not say whether the resource exists.
pub(super) fn denied(permission: &str, name: &str) -> Refusal {
    let message = format!("Permission '{permission}' denied on resource '{name}' (or it may not exist).");
    let metadata = json!({ "permission": permission, "resource": name });
    Code::PermissionDenied.because(message).with_reason("IAM_PERMISSION_DENIED", metadata)
}

/// Credentials are missing or not valid.
pub fn unauthenticated(reason: &str) -> Refusal {
    let message = "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other valid \
                   authentication credential.";
    Code::Unauthenticated.because(message).with_reason(reason, json!({ "service": SERVICE }))
}

/// Too many requests of a class within a minute.
// contract: gcp.quota.requests
pub(super) fn exhausted(class: &str, project: &str, location: &str, wait: Option<u32>) -> Refusal {
    let limit = format!("{class} requests per minute per region");
    let message =
        format!("Quota exceeded for quota metric '{class} requests' and limit '{limit}' of service '{SERVICE}' for consumer '{project}'.");
    let metadata = json!({
        "service": SERVICE,
        "consumer": format!("projects/{project}"),
        "quota_metric": format!("{SERVICE}/{class}_requests"),
        "quota_limit": limit,
        "quota_location": location,
    });
    let refusal = Code::ResourceExhausted
        .because(message.as_str())
        .with_reason("RATE_LIMIT_EXCEEDED", metadata)
        .with("QuotaFailure", json!({ "violations": [{ "subject": format!("projects/{project}"), "description": message }] }));
    match wait {
        Some(seconds) => refusal.with("RetryInfo", json!({ "retryDelay": format!("{seconds}s") })),
        None => refusal,
    }
}

/// An answer over HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    pub status: u16,
    /// JSON, also of an error.
    pub body: Value,
}

impl Reply {
    pub(super) fn output(output: &Value) -> Self {
        Self { status: 200, body: output.clone() }
    }

    pub(super) fn refusal(refusal: &Refusal) -> Self {
        Self::error(refusal.code.status(), refusal.code.name(), &refusal.message, &refusal.details)
    }

    pub(super) fn error(status: u16, code: &str, message: &str, details: &[Value]) -> Self {
        let mut error = json!({ "code": status, "message": message, "status": code });
        if !details.is_empty() {
            error["details"] = details.into();
        }
        Self { status, body: json!({ "error": error }) }
    }
}
