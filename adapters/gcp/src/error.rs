//! How a call failed ([`Failure`]). Decided by types and by Google's error codes, never by the text of a message.

use std::error::Error as StdError;

use google_cloudkms1::common;
use google_cloudkms1::yup_oauth2;
use keyplane_destination::{Failure, answered, chain, wait};
pub(crate) use keyplane_destination::{contradiction, found, garbled, spoils_only_itself};
use keyplane_model::Span;
use keyplane_port::CloudError;
use serde_json::Value;

use crate::operation::Operation;
use crate::token::Tokens;

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
        failure.error(self.operation, &message, self.retry_after)
    }
}

impl common::Delegate for Request<'_> {
    fn http_failure(&mut self, answer: &common::Response, body: Option<&Value>) -> common::Retry {
        self.status = answer.status().as_u16();
        let header = answer.headers().get(http::header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse::<u32>().ok());
        self.retry_after = header.or_else(|| body.and_then(retry_delay)).map(wait);
        common::Retry::Abort
    }
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
            (refusal(code, status), answered("KMS's", status, Some(code), body["error"]["message"].as_str()))
        }
        E::Failure(answer) => {
            let status = answer.status().as_u16();
            (refusal("", status), answered("KMS's", status, None, None))
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
