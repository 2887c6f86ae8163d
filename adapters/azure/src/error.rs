//! What a failed call means. Decided by types and by Azure's error codes, never by the text of a message.
//!
//! Two questions in a row: *how* did it fail ([`Failure`]), and what does that mean for a call that does, or does not,
//! change anything ([`Failure::class`]). The second is an exhaustive table.

use std::error::Error as StdError;

use azure_core::error::{Error, ErrorKind};
use azure_core::http::RawResponse;
use azure_core::http::headers::HeaderName;
use keyplane_model::{Class, Span};
use keyplane_port::{Cause, CloudError};
use serde::Deserialize;

use crate::operation::Operation;
use crate::transport::Failed;

/// The longest message that is kept, in characters.
const MAX_MESSAGE: usize = 500;

/// How deep a chain of causes is followed: deeper than any of the SDK's.
const MAX_CAUSES: usize = 16;

/// How deep an `innererror` is followed: Azure gives one or two.
const MAX_INNER: usize = 8;

/// The longest wait that is believed, in seconds. The contract's longest is 16.
const MAX_RETRY_AFTER: u32 = 3_600;

const RETRY_AFTER: HeaderName = HeaderName::from_static("retry-after");

/// How a call failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// No connection: refused, no such host, no TLS session. Nothing was sent.
    NoConnection,
    /// There are no credentials, or whoever gives tokens refuses them. Nothing was done.
    NoCredentials,
    /// The source of the tokens does not answer. Nothing was done.
    CredentialsUnavailable,
    /// It was for, or would have been sent to, another place than was approved. Nothing was done.
    Elsewhere,
    /// It may have been done, and no answer came.
    NoAnswer,
    /// An answer came that is not Key Vault's, or is cut or garbled.
    Garbled,
    /// Key Vault failed inside, or something in front of it did.
    ServerFault,
    /// Refused: too many requests.
    Throttled,
    /// Refused: the token is not accepted.
    CredentialsRefused,
    /// Refused: the caller may not do this.
    NotAllowed,
    /// Refused: no such key.
    NotFound,
    /// Refused: a deleted key keeps the name.
    NameTaken,
    /// Refused: the key is just being deleted or recovered.
    Busy,
    /// Refused: the key's state does not allow it.
    WrongState,
    /// Refused: it was asked wrongly.
    BadRequest,
    /// Refused: it does not do this.
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
            Self::Elsewhere => (Class::Stale, Cause::WrongHome),
            Self::NoAnswer | Self::ServerFault => (uncertain, Cause::Plain),
            Self::Garbled => (if mutates { Class::Ambiguous } else { Class::Broken }, Cause::Plain),
            Self::Throttled => (Class::Throttled, Cause::Plain),
            Self::NotAllowed => (Class::Denied, Cause::Plain),
            Self::NotFound => (Class::NotFound, Cause::Plain),
            Self::NameTaken => (Class::AlreadyExists, Cause::Plain),
            Self::Busy => (Class::Transient, Cause::Plain),
            Self::WrongState => (Class::Stale, Cause::Plain),
            Self::BadRequest => (Class::Invalid, Cause::Plain),
            Self::NotSupported => (Class::Unsupported, Cause::Plain),
        }
    }
}

/// The port's error for a call of the SDK that failed.
pub(crate) fn failed(operation: Operation, error: &Error) -> CloudError {
    let (failure, message, retry_after) = judge(error);
    let (class, cause) = failure.class(operation.mutates());
    CloudError { class, cause, operation: operation.name(), message: one_line(&message), retry_after }
}

/// The port's error for something that we found out ourselves.
pub(crate) fn found(operation: Operation, class: Class, cause: Cause, message: &str) -> CloudError {
    CloudError { class, cause, operation: operation.name(), message: one_line(message), retry_after: None }
}

/// An answer that lacks what Key Vault always gives, or gives what it cannot.
pub(crate) fn garbled(operation: Operation, message: &str) -> CloudError {
    let (class, cause) = Failure::Garbled.class(operation.mutates());
    found(operation, class, cause, message)
}

/// A chain of causes, for people.
pub(crate) fn chain(error: &(dyn StdError + 'static)) -> String {
    let mut texts: Vec<String> = Vec::new();
    for text in causes(error).map(ToString::to_string) {
        // The SDK's errors often say what their cause says.
        if texts.last().is_none_or(|last| !last.contains(&text)) {
            texts.push(text);
        }
    }
    texts.join(": ")
}

fn judge(error: &Error) -> (Failure, String, Option<Span>) {
    match error.kind() {
        // Whatever went wrong with a token, it did before anything could be done.
        ErrorKind::Credential => (without_token(error), chain(error), None),
        ErrorKind::HttpResponse { status, raw_response, .. } => {
            let status = u16::from(*status);
            let answer = raw_response.as_deref().map(Answer::read).unwrap_or_default();
            (refusal(status, &answer), answer.message(status), raw_response.as_deref().and_then(retry_after))
        }
        ErrorKind::Connection | ErrorKind::Io | ErrorKind::DataConversion | ErrorKind::Other => {
            let failure = match cause::<Failed>(error) {
                Some(failed) => below(failed),
                // An answer that the SDK could not read, or something that it does not say.
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
        Failed::Elsewhere(_) | Failed::Challenge => Failure::Elsewhere,
        Failed::NoToken(_) => Failure::CredentialsUnavailable,
        Failed::Unsendable => Failure::BadRequest,
    }
}

/// Why there is no token: because somebody said no, or because nobody answered as they should.
fn without_token(error: &Error) -> Failure {
    let status = match cause::<Failed>(error) {
        Some(Failed::NoToken(status)) => Some(*status),
        Some(_) => return Failure::CredentialsUnavailable,
        None => causes(error).filter_map(|cause| cause.downcast_ref::<Error>()?.http_status()).map(u16::from).next(),
    };
    match status {
        // Those that a metadata service asks to repeat, and everybody's own faults ("error handling", managed identities).
        Some(404 | 410 | 429 | 500..) => Failure::CredentialsUnavailable,
        Some(_) => Failure::NoCredentials,
        // An answer that cannot be read is no refusal.
        None if causes(error).any(|cause| cause.downcast_ref::<Error>().is_some_and(|e| *e.kind() == ErrorKind::DataConversion)) => {
            Failure::CredentialsUnavailable
        }
        None => Failure::NoCredentials,
    }
}

/// What Key Vault said: status, code, and the codes inside of it from outside to inside.
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
        let Some(code) = &self.code else { return format!("an answer with status {status} that is not Key Vault's") };
        let codes = std::iter::once(code).chain(&self.inner).map(String::as_str).collect::<Vec<_>>().join("/");
        match &self.text {
            Some(text) => format!("{codes}: {text}"),
            None => codes,
        }
    }
}

/// By status and code, and by the code inside where it says more ("Key Vault error codes", DOC; SPEC, `KeyVaultError`).
fn refusal(status: u16, answer: &Answer) -> Failure {
    let inner = |codes: &[&str]| answer.inner.iter().any(|code| codes.contains(&code.as_str()));
    match (status, answer.code.as_deref()) {
        (429, _) => Failure::Throttled,
        (408 | 500.., _) => Failure::ServerFault,
        (401, _) => Failure::CredentialsRefused,
        // Something in front of Key Vault.
        (_, None) => Failure::Garbled,
        (404, Some("KeyNotFound")) => Failure::NotFound,
        (403, _) if inner(&["KeyDisabled", "KeyExpired", "KeyNotYetValid"]) => Failure::WrongState,
        (403, _) => Failure::NotAllowed,
        (409, _) if inner(&["ObjectIsDeletedButRecoverable"]) => Failure::NameTaken,
        (409, _) if inner(&["ObjectIsBeingDeleted", "ObjectIsBeingRecovered"]) => Failure::Busy,
        (409, _) => Failure::WrongState,
        (405, _) | (_, Some("NotSupported" | "NotImplemented")) => Failure::NotSupported,
        (400..500, _) => Failure::BadRequest,
        _ => Failure::Garbled,
    }
}

/// How long Key Vault asks us to wait; whoever asks for longer than can be is not believed.
fn retry_after(response: &RawResponse) -> Option<Span> {
    let seconds: u32 = response.headers().get_optional_str(&RETRY_AFTER)?.trim().parse().ok()?;
    Some(Span::seconds(seconds.min(MAX_RETRY_AFTER)))
}

/// The first error of a type in a chain of causes.
fn cause<'a, E: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a E> {
    causes(error).find_map(|error| error.downcast_ref())
}

fn causes<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |&error| error.source()).take(MAX_CAUSES)
}

/// What of a text from outside goes into logs and onto screens: one line without control characters, at most 500 characters.
fn one_line(text: &str) -> String {
    let plain = text.chars().map(|c| if c.is_control() || ('\u{2028}'..='\u{202e}').contains(&c) { ' ' } else { c });
    plain.take(MAX_MESSAGE).collect::<String>().trim().to_owned()
}
