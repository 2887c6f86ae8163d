//! How a call failed ([`Failure`]): decided by types and by Google's error codes, never by the text of a message.

use std::error::Error as StdError;

use google_cloudkms1::common;
use google_cloudkms1::yup_oauth2;
use keyplane_destination::{Failure, answered, chain, wait};
pub(crate) use keyplane_destination::{contradiction, found, garbled, spoils_only_itself};
use keyplane_model::Span;
use keyplane_port::CloudError;
use serde_json::Value;
use serde_with::DeserializeAs as _;

use crate::config::ConfigError;
use crate::operation::Operation;
use crate::token::Tokens;

/// One request. As the client library's delegate it sees the answer's status and headers, and decides how the call failed.
///
/// INVARIANT: the library repeats nothing. Whenever it asks whether to repeat, the answer is the trait's default: [`common::Retry::Abort`].
pub(crate) struct Request<'a> {
    operation: Operation,
    tokens: &'a Tokens,
    /// The HTTP status of an answer that was not a success; 0 before one came.
    status: u16,
    /// How long that answer asks us to wait; `None`: it does not say.
    retry_after: Option<Span>,
}

impl<'a> Request<'a> {
    pub(crate) fn new(operation: Operation, tokens: &'a Tokens) -> Self {
        Self { operation, tokens, status: 0, retry_after: None }
    }

    /// Turns the library's result into the port's.
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
        // The error's type alone tells whether anything was sent, because the library connects before it sends.
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
        // The library gives an answer that broke off as an empty text.
        E::JsonDecodeError(text, _) if text.is_empty() => (Failure::NoAnswer, "the answer broke off".to_owned()),
        E::JsonDecodeError(_, error) => (Failure::Garbled, format!("an answer that is not KMS's: {error}")),
        E::FieldClash(_) | E::UploadSizeLimitExceeded(..) | E::MissingAPIKey | E::Cancelled => (Failure::Unbuildable, chain(&error)),
        E::Io(error) => (Failure::NoAnswer, chain(&error)),
    }
}

/// How fetching a token failed, with a message for people.
fn no_token(error: &(dyn StdError + 'static)) -> (Failure, String) {
    use yup_oauth2::Error as E;
    let unavailable = |text: String| (Failure::CredentialsUnavailable, text);
    // The account's file: nothing was sent.
    if let Some(error) = error.downcast_ref::<ConfigError>() {
        return (Failure::NoCredentials, chain(error));
    }
    match error.downcast_ref::<E>() {
        // The token server failed (RFC 6749, section 4.1.2.1; the last code is Google's own).
        Some(E::AuthError(error)) if matches!(error.error.as_str(), "server_error" | "temporarily_unavailable" | "internal_failure") => {
            unavailable(chain(error))
        }
        // The token server refused (RFC 6749, section 5.2), or our own credentials cannot be read.
        Some(E::AuthError(_) | E::UserError(_) | E::CredentialSourceError(_)) => (Failure::NoCredentials, chain(error)),
        Some(E::LowLevelError(error)) if error.kind() == std::io::ErrorKind::NotFound => (Failure::NoCredentials, chain(error)),
        // The answer is not shown, because it may hold a token.
        Some(E::JSONError(_) | E::MissingAccessToken) => unavailable("the source of tokens answers with something else".to_owned()),
        Some(E::HttpError(_) | E::HttpClientError(_) | E::LowLevelError(_) | E::StorageError(_)) | None => unavailable(chain(error)),
    }
}

/// The failure for a canonical code (google/rpc/code.proto), which on the wire is the error's type.
fn refusal(code: &str, status: u16) -> Failure {
    match code {
        "NOT_FOUND" => Failure::NotFound,
        "ALREADY_EXISTS" => Failure::AlreadyExists,
        "RESOURCE_EXHAUSTED" => Failure::Throttled,
        "UNAUTHENTICATED" => Failure::CredentialsRefused,
        "PERMISSION_DENIED" => Failure::NotAllowed,
        // `ABORTED`: another client changed the same object at the same moment.
        "FAILED_PRECONDITION" | "ABORTED" => Failure::WrongState,
        "INVALID_ARGUMENT" | "OUT_OF_RANGE" => Failure::BadRequest,
        "UNIMPLEMENTED" => Failure::NotSupported,
        "INTERNAL" | "UNAVAILABLE" | "DEADLINE_EXCEEDED" | "UNKNOWN" | "DATA_LOSS" | "CANCELLED" => Failure::ServerFault,
        _ if status >= 500 => Failure::ServerFault,
        // No code of Google's and a status below 500 prove nothing.
        _ => Failure::Garbled,
    }
}

/// How long an error's details ask us to wait, in whole seconds, rounded up (google/rpc/error_details.proto, `RetryInfo`).
fn retry_delay(body: &Value) -> Option<u32> {
    let details = body["error"]["details"].as_array()?;
    let info = details.iter().find(|detail| detail["@type"] == "type.googleapis.com/google.rpc.RetryInfo")?;
    let delay: chrono::Duration = common::serde::duration::Wrapper::deserialize_as(&info["retryDelay"]).ok()?;
    u32::try_from(delay.num_seconds().checked_add(i64::from(delay.subsec_nanos() > 0))?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delay_is_rounded_up_to_whole_seconds_and_nonsense_is_none() {
        for (delay, seconds) in [
            ("0s", Some(0)),
            ("30s", Some(30)),
            ("30.000000000s", Some(30)),
            ("0.000000001s", Some(1)),
            ("16.5s", Some(17)),
            ("-1s", None),
            ("16", None),
            ("16m", None),
            ("s", None),
            ("", None),
        ] {
            let info = serde_json::json!({ "@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay });
            let other = serde_json::json!({ "@type": "type.googleapis.com/google.rpc.Help", "retryDelay": "1s" });
            assert_eq!(retry_delay(&serde_json::json!({ "error": { "details": [other, info] } })), seconds, "{delay:?}");
        }
        assert_eq!(retry_delay(&serde_json::json!({ "error": { "details": [] } })), None);
    }
}
