//! How a call failed ([`Failure`]): decided by types and by Azure's error codes, never by the text of a message.

use azure_core::error::{Error, ErrorKind};
use azure_core::http::RawResponse;
use azure_core::http::headers::HeaderName;
use keyplane_destination::{Failure, answered, cause, causes, chain, wait};
pub(crate) use keyplane_destination::{contradiction, found, garbled, spoils_only_itself};
use keyplane_model::{Class, Span};
use keyplane_port::{Cause, CloudError};
use serde::Deserialize;

use crate::operation::Operation;
use crate::transport::Failed;

/// How many nested `innererror`s are read. Azure gives one or two.
const MAX_INNER: usize = 8;

const RETRY_AFTER: HeaderName = HeaderName::from_static("retry-after");

/// The port's error for a call of the SDK that failed.
pub(crate) fn failed(operation: Operation, error: &Error) -> CloudError {
    let (failure, message, retry_after) = judge(error);
    failure.error(operation, &message, retry_after)
}

fn judge(error: &Error) -> (Failure, String, Option<Span>) {
    match error.kind() {
        // A token is fetched before the request is sent, so nothing was done.
        ErrorKind::Credential => (without_token(error), chain(error), None),
        ErrorKind::HttpResponse { status, raw_response, .. } => {
            let status = u16::from(*status);
            let answer = raw_response.as_deref().map(Answer::read).unwrap_or_default();
            (refusal(status, &answer), answer.message(status), raw_response.as_deref().and_then(retry_after))
        }
        ErrorKind::Connection | ErrorKind::Io | ErrorKind::DataConversion | ErrorKind::Other => {
            let failure = match cause::<Failed>(error) {
                Some(failed) => below(failed),
                // The SDK could not read the answer, or does not say what happened.
                None => Failure::Garbled,
            };
            (failure, chain(error), None)
        }
    }
}

fn below(failed: &Failed) -> Failure {
    match failed {
        Failed::NoConnection(_) => Failure::NoConnection,
        Failed::NoAnswer(_) => Failure::NoAnswer,
        Failed::TooLong => Failure::Garbled,
        Failed::Elsewhere(_) | Failed::Challenge => Failure::Refused(Class::Stale, Cause::WrongHome),
        Failed::NoToken(_) => Failure::CredentialsUnavailable,
        Failed::Unsendable => Failure::BadRequest,
    }
}

/// How fetching a token failed: its source refused ([`Failure::NoCredentials`]), or failed ([`Failure::CredentialsUnavailable`]).
fn without_token(error: &Error) -> Failure {
    let status = match cause::<Failed>(error) {
        Some(Failed::NoToken(status)) => Some(*status),
        Some(_) => return Failure::CredentialsUnavailable,
        None => causes(error).filter_map(|cause| cause.downcast_ref::<Error>()?.http_status()).map(u16::from).next(),
    };
    match status {
        // The statuses after which a metadata service wants the request to be repeated ("Error handling", managed identities, Entra
        // documentation), and server faults.
        Some(404 | 410 | 429 | 500..) => Failure::CredentialsUnavailable,
        Some(_) => Failure::NoCredentials,
        // An answer that cannot be read is a failure, not a refusal.
        None if causes(error).any(|cause| cause.downcast_ref::<Error>().is_some_and(|e| *e.kind() == ErrorKind::DataConversion)) => {
            Failure::CredentialsUnavailable
        }
        None => Failure::NoCredentials,
    }
}

/// Key Vault's answer to a failed request: its code, the codes of nested errors, outermost first, and the message.
#[derive(Default)]
struct Answer {
    code: Option<String>,
    inner: Vec<String>,
    text: Option<String>,
}

impl Answer {
    fn read(response: &RawResponse) -> Self {
        #[derive(Deserialize)]
        struct Outer {
            error: Detail,
        }
        #[derive(Deserialize)]
        struct Detail {
            code: Option<String>,
            message: Option<String>,
            innererror: Option<Box<Detail>>,
        }
        let Ok(Outer { error }) = serde_json::from_slice(response.body()) else { return Self::default() };
        let mut inner = Vec::new();
        let mut next = error.innererror;
        while let Some(detail) = next.filter(|_| inner.len() < MAX_INNER) {
            inner.extend(detail.code);
            next = detail.innererror;
        }
        Self { code: error.code, inner, text: error.message }
    }

    fn message(&self, status: u16) -> String {
        let codes =
            self.code.as_ref().map(|code| std::iter::once(code).chain(&self.inner).map(String::as_str).collect::<Vec<_>>().join("/"));
        answered("Key Vault's", status, codes.as_deref(), self.text.as_deref())
    }
}

/// The failure for a status and a code, and for a nested code where it says more ("Key Vault error codes", Key Vault documentation;
/// `KeyVaultError` in the API's specification).
// contract: azure.errors
fn refusal(status: u16, answer: &Answer) -> Failure {
    let inner = |codes: &[&str]| answer.inner.iter().any(|code| codes.contains(&code.as_str()));
    match (status, answer.code.as_deref()) {
        (429, _) => Failure::Throttled,
        (408 | 500.., _) => Failure::ServerFault,
        (401, _) => Failure::CredentialsRefused,
        // Without a code the answer is that of a proxy in front of Key Vault.
        (_, None) => Failure::Garbled,
        (404, Some("KeyNotFound")) => Failure::NotFound,
        (403, _) if inner(&["KeyDisabled", "KeyExpired", "KeyNotYetValid"]) => Failure::WrongState,
        (403, _) => Failure::NotAllowed,
        (409, _) if inner(&["ObjectIsDeletedButRecoverable"]) => Failure::AlreadyExists,
        (409, _) if inner(&["ObjectIsBeingDeleted", "ObjectIsBeingRecovered"]) => Failure::Refused(Class::Transient, Cause::Plain),
        (409, _) => Failure::WrongState,
        (405, _) | (_, Some("NotSupported" | "NotImplemented")) => Failure::NotSupported,
        (400..500, _) => Failure::BadRequest,
        _ => Failure::Garbled,
    }
}

fn retry_after(response: &RawResponse) -> Option<Span> {
    response.headers().get_optional_str(&RETRY_AFTER)?.trim().parse().ok().map(wait)
}
