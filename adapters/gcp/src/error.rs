//! What a failed call means. Decided by types and by Google's error codes, never by the text of a message.
//!
//! Two questions in a row: *how* did it fail ([`Failure`]), and what does that mean for a call that does, or does not,
//! change anything ([`Failure::class`]). The second is an exhaustive table.

use std::error::Error as StdError;

use google_cloudkms1::common;
use google_cloudkms1::yup_oauth2;
use keyplane_model::{Class, Span};
use keyplane_port::{Cause, CloudError};
use serde_json::Value;

use crate::operation::Operation;
use crate::token::Tokens;

/// The longest message that is kept, in characters.
const MAX_MESSAGE: usize = 500;

/// How deep a chain of causes is followed.
const MAX_CAUSES: usize = 16;

/// The longest time that an answer can ask us to wait: nobody asks for more than an hour in earnest.
const MAX_RETRY_AFTER_SECONDS: u32 = 3_600;

/// How a call failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// No connection: refused, no such host, no TLS session. Nothing was sent.
    NoConnection,
    /// There is no token, and the source of tokens says that there will be none. Nothing was sent.
    NoCredentials,
    /// The source of tokens does not answer, or answers nonsense. Nothing was sent.
    CredentialsUnavailable,
    /// The client could not build the request. Nothing was sent.
    Unbuildable,
    /// It may have been sent, and no answer came.
    NoAnswer,
    /// An answer came that is not KMS's, or is garbled.
    Garbled,
    /// KMS failed inside, or something in front of it did.
    ServerFault,
    /// KMS refused: too many requests.
    Throttled,
    /// KMS refused: it does not accept the token.
    CredentialsRefused,
    /// KMS refused: the caller may not do this.
    NotAllowed,
    /// KMS refused: no such thing.
    NotFound,
    /// KMS refused: there is one already.
    AlreadyExists,
    /// KMS refused: the state of things does not allow it.
    WrongState,
    /// KMS refused: it was asked wrongly.
    BadRequest,
    /// KMS refused: it does not do this.
    NotSupported,
}

impl Failure {
    /// What it means, for a call that `mutates` or does not.
    ///
    /// INVARIANT: for a mutation, whatever is not certain to have had no effect is [`Class::Ambiguous`].
    pub(crate) fn class(self, mutates: bool) -> (Class, Cause) {
        let uncertain = if mutates { Class::Ambiguous } else { Class::Transient };
        match self {
            Self::NoConnection => (Class::Transient, Cause::Unreachable),
            Self::NoCredentials | Self::CredentialsRefused => (Class::Denied, Cause::Credentials),
            Self::CredentialsUnavailable => (Class::Transient, Cause::Credentials),
            Self::Unbuildable | Self::BadRequest => (Class::Invalid, Cause::Plain),
            Self::NoAnswer | Self::ServerFault => (uncertain, Cause::Plain),
            Self::Garbled => (if mutates { Class::Ambiguous } else { Class::Broken }, Cause::Plain),
            Self::Throttled => (Class::Throttled, Cause::Plain),
            Self::NotAllowed => (Class::Denied, Cause::Plain),
            Self::NotFound => (Class::NotFound, Cause::Plain),
            Self::AlreadyExists => (Class::AlreadyExists, Cause::Plain),
            Self::WrongState => (Class::Stale, Cause::Plain),
            Self::NotSupported => (Class::Unsupported, Cause::Plain),
        }
    }
}

/// One request: hears what the client library tells about its answer, and judges it.
///
/// INVARIANT: it never asks the library to repeat anything; the trait's own answers say "no", and are not replaced.
pub(crate) struct Request<'a> {
    operation: Operation,
    tokens: &'a Tokens,
    /// The status of an answer that was not a success.
    status: u16,
    /// How long that answer asks us to wait.
    retry_after: Option<Span>,
}

impl<'a> Request<'a> {
    pub(crate) fn new(operation: Operation, tokens: &'a Tokens) -> Self {
        Self { operation, tokens, status: 0, retry_after: None }
    }

    /// The answer, or the port's error.
    pub(crate) fn judge<T>(self, answer: common::Result<T>) -> Result<T, CloudError> {
        answer.map_err(|error| self.failed(error))
    }

    fn failed(self, error: common::Error) -> CloudError {
        let (failure, message) = judge(error, self.status);
        if failure == Failure::CredentialsRefused {
            self.tokens.refused();
        }
        let (class, cause) = failure.class(self.operation.mutates());
        CloudError { class, cause, operation: self.operation.name(), message: one_line(&message), retry_after: self.retry_after }
    }
}

impl common::Delegate for Request<'_> {
    fn http_failure(&mut self, answer: &common::Response, body: Option<&Value>) -> common::Retry {
        self.status = answer.status().as_u16();
        let header = answer.headers().get(http::header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse::<u32>().ok());
        let seconds = header.or_else(|| body.and_then(retry_delay));
        self.retry_after = seconds.map(|seconds| Span::seconds(seconds.min(MAX_RETRY_AFTER_SECONDS)));
        common::Retry::Abort
    }
}

/// The port's error for something that we found out ourselves.
pub(crate) fn found(operation: Operation, class: Class, cause: Cause, message: &str) -> CloudError {
    CloudError { class, cause, operation: operation.name(), message: one_line(message), retry_after: None }
}

/// An answer that lacks what KMS always gives, or gives what it cannot.
pub(crate) fn garbled(operation: Operation, message: &str) -> CloudError {
    let (class, cause) = Failure::Garbled.class(operation.mutates());
    found(operation, class, cause, message)
}

fn judge(error: common::Error, status: u16) -> (Failure, String) {
    use common::Error as E;
    match error {
        // Whether anything was sent is told by the type alone: the connection comes before the request.
        E::HttpError(error) if error.is_connect() => (Failure::NoConnection, chain(&error)),
        E::HttpError(error) => (Failure::NoAnswer, chain(&error)),
        E::MissingToken(error) => {
            let (failure, why) = no_token(&*error);
            (failure, format!("no access token: {why}"))
        }
        E::BadRequest(body) => {
            let code = body["error"]["status"].as_str().unwrap_or_default();
            let message = match (code, body["error"]["message"].as_str()) {
                ("", _) => format!("an answer with status {status} that is not KMS's"),
                (code, Some(message)) => format!("{code}: {message}"),
                (code, None) => code.to_owned(),
            };
            (refusal(code, status), message)
        }
        E::Failure(answer) => {
            let status = answer.status().as_u16();
            (refusal("", status), format!("an answer with status {status} that is not KMS's"))
        }
        // The library hands out an answer that broke off as an empty one.
        E::JsonDecodeError(text, _) if text.is_empty() => (Failure::NoAnswer, "the answer broke off".to_owned()),
        E::JsonDecodeError(_, error) => (Failure::Garbled, format!("an answer that is not KMS's: {error}")),
        E::FieldClash(_) | E::UploadSizeLimitExceeded(..) | E::MissingAPIKey | E::Cancelled => (Failure::Unbuildable, chain(&error)),
        E::Io(error) => (Failure::NoAnswer, chain(&error)),
    }
}

/// Why there is no token.
fn no_token(error: &(dyn StdError + 'static)) -> (Failure, String) {
    use yup_oauth2::Error as E;
    let unavailable = |text: String| (Failure::CredentialsUnavailable, text);
    match error.downcast_ref::<E>() {
        // The server of tokens failed (RFC 6749, section 4.1.2.1; the last is Google's own).
        Some(E::AuthError(error)) if matches!(error.error.as_str(), "server_error" | "temporarily_unavailable" | "internal_failure") => {
            unavailable(chain(error))
        }
        // It says "no" (RFC 6749, section 5.2), or what we have to show it cannot be shown.
        Some(E::AuthError(_) | E::UserError(_) | E::CredentialSourceError(_)) => (Failure::NoCredentials, chain(error)),
        Some(E::LowLevelError(error)) if error.kind() == std::io::ErrorKind::NotFound => (Failure::NoCredentials, chain(error)),
        // Its answer is not shown: it may hold a token.
        Some(E::JSONError(_) | E::MissingAccessToken) => unavailable("the source of tokens answers with something else".to_owned()),
        Some(E::HttpError(_) | E::HttpClientError(_) | E::LowLevelError(_) | E::StorageError(_)) | None => unavailable(chain(error)),
    }
}

/// What KMS said, by the name of the canonical code (google/rpc/code.proto): that is the type of an error on the wire.
fn refusal(code: &str, status: u16) -> Failure {
    match code {
        "NOT_FOUND" => Failure::NotFound,
        "ALREADY_EXISTS" => Failure::AlreadyExists,
        "RESOURCE_EXHAUSTED" => Failure::Throttled,
        "UNAUTHENTICATED" => Failure::CredentialsRefused,
        "PERMISSION_DENIED" => Failure::NotAllowed,
        // Somebody else changed the same thing at the same moment.
        "FAILED_PRECONDITION" | "ABORTED" => Failure::WrongState,
        "INVALID_ARGUMENT" | "OUT_OF_RANGE" => Failure::BadRequest,
        "UNIMPLEMENTED" => Failure::NotSupported,
        "INTERNAL" | "UNAVAILABLE" | "DEADLINE_EXCEEDED" | "UNKNOWN" | "DATA_LOSS" | "CANCELLED" => Failure::ServerFault,
        _ if status >= 500 => Failure::ServerFault,
        // Not one of Google's codes, and no failure of the server: it says nothing.
        _ => Failure::Garbled,
    }
}

/// How long an error's details ask us to wait, in whole seconds (google/rpc/error_details.proto, `RetryInfo`).
fn retry_delay(body: &Value) -> Option<u32> {
    let details = body["error"]["details"].as_array()?;
    let info = details.iter().find(|detail| detail["@type"] == "type.googleapis.com/google.rpc.RetryInfo")?;
    let seconds = info["retryDelay"].as_str()?.strip_suffix('s')?;
    let (whole, fraction) = seconds.split_once('.').unwrap_or((seconds, ""));
    let begun = fraction.bytes().any(|digit| digit != b'0');
    Some(whole.parse::<u32>().ok()?.saturating_add(u32::from(begun)))
}

/// A chain of causes, for people.
fn chain(error: &(dyn StdError + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |&error| error.source()).take(MAX_CAUSES);
    let mut texts: Vec<String> = causes.map(|error| error.to_string().trim().to_owned()).collect();
    texts.dedup();
    texts.join(": ")
}

/// What of a text from outside goes into logs and onto screens: one line without control characters, at most 500 characters.
fn one_line(text: &str) -> String {
    let plain = text.chars().map(|c| if c.is_control() || ('\u{2028}'..='\u{202e}').contains(&c) { ' ' } else { c });
    plain.take(MAX_MESSAGE).collect::<String>().trim().to_owned()
}
