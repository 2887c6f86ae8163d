//! What a failed call means. Decided by types and by AWS's error codes, never by the text of a message.
//!
//! Two questions in a row: *how* did it fail ([`Failure`]), and what does that mean for a call that does, or does not,
//! change anything ([`Failure::class`]). The second is an exhaustive table.

use std::error::Error as StdError;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_kms::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use hyper_util::client::legacy::Error as ConnectionError;
use keyplane_model::Class;
use keyplane_port::{Cause, CloudError};

use crate::operation::Operation;

/// The longest message that is kept, in characters.
const MAX_MESSAGE: usize = 500;

/// How deep a chain of causes is followed: deeper than any of the SDK's.
const MAX_CAUSES: usize = 16;

/// How a call failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// No connection: refused, no such host, no TLS session. Nothing was sent.
    NoConnection,
    /// There are no credentials to sign with. Nothing was sent.
    NoCredentials,
    /// The source of the credentials does not answer. Nothing was sent.
    CredentialsUnavailable,
    /// The SDK could not build the request. Nothing was sent.
    Unbuildable,
    /// It may have been sent, and no answer came.
    NoAnswer,
    /// An answer came that is not KMS's, or is cut or garbled.
    Garbled,
    /// KMS failed inside, or something in front of it did.
    ServerFault,
    /// KMS refused: too many requests.
    Throttled,
    /// KMS refused: it does not accept the credentials.
    CredentialsRefused,
    /// KMS refused: the caller may not do this.
    NotAllowed,
    /// KMS refused: a quota of resources, not of requests, is used up.
    ResourcesExhausted,
    /// KMS refused: no such thing.
    NotFound,
    /// KMS refused: there is one already.
    AlreadyExists,
    /// KMS refused: the import token ran out.
    TokenExpired,
    /// KMS refused: these are not the bytes that the key had.
    OtherMaterial,
    /// KMS refused: the key's state does not allow it.
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
            // Asking again is of no use until somebody frees some or raises the quota: like a missing permission.
            Self::NotAllowed | Self::ResourcesExhausted => (Class::Denied, Cause::Plain),
            Self::NotFound => (Class::NotFound, Cause::Plain),
            Self::AlreadyExists => (Class::AlreadyExists, Cause::Plain),
            Self::TokenExpired => (Class::Stale, Cause::ImportTokenExpired),
            Self::OtherMaterial => (Class::Invalid, Cause::OtherMaterial),
            Self::WrongState => (Class::Stale, Cause::Plain),
            Self::NotSupported => (Class::Unsupported, Cause::Plain),
        }
    }
}

/// The port's error for a call of the SDK that failed.
pub(crate) fn failed<E>(operation: Operation, error: SdkError<E, HttpResponse>) -> CloudError
where
    E: ProvideErrorMetadata + StdError + 'static,
{
    let (failure, message) = judge(error);
    let (class, cause) = failure.class(operation.mutates());
    CloudError { class, cause, operation: operation.name(), message: one_line(&message), retry_after: None }
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

fn judge<E>(error: SdkError<E, HttpResponse>) -> (Failure, String)
where
    E: ProvideErrorMetadata + StdError + 'static,
{
    match error {
        SdkError::ServiceError(answer) => {
            let status = answer.raw().status().as_u16();
            let code = answer.err().code().unwrap_or_default();
            let message = match (code, answer.err().message()) {
                ("", _) => format!("an answer with status {status} that is not KMS's"),
                (code, Some(message)) => format!("{code}: {message}"),
                (code, None) => code.to_owned(),
            };
            (refusal(code, status), message)
        }
        SdkError::ResponseError(answer) => {
            let status = answer.raw().status().as_u16();
            let error = SdkError::<E, HttpResponse>::ResponseError(answer);
            let failure = match () {
                // The connection broke while the answer was read.
                () if cause::<hyper::Error>(&error).is_some() => Failure::NoAnswer,
                () if status >= 500 => Failure::ServerFault,
                () => Failure::Garbled,
            };
            (failure, chain(&error))
        }
        SdkError::ConstructionFailure(_) => (Failure::Unbuildable, chain(&error)),
        SdkError::DispatchFailure(_) | SdkError::TimeoutError(_) => (dispatch(&error), chain(&error)),
        // The SDK may invent more ways to fail: until they are known here, nothing is certain about them.
        _ => (Failure::NoAnswer, chain(&error)),
    }
}

/// Whether anything was sent is told by the type of the cause: the source of credentials comes before the connection,
/// and the connection before the request.
fn dispatch(error: &(dyn StdError + 'static)) -> Failure {
    if let Some(credentials) = cause::<CredentialsError>(error) {
        return match credentials {
            CredentialsError::CredentialsNotLoaded(_) | CredentialsError::InvalidConfiguration(_) => Failure::NoCredentials,
            _ => Failure::CredentialsUnavailable,
        };
    }
    if cause::<ConnectionError>(error).is_some_and(ConnectionError::is_connect) {
        return Failure::NoConnection;
    }
    Failure::NoAnswer
}

/// What KMS said, by the error code: that is the type of an error on the wire. (The SDK has types for the errors that
/// the model lists for an operation, and only for those; KMS gives others too.) The errors of KMS itself first, then those
/// that all of AWS shares ("Common errors", KMS API Reference; SDK reference, "Retry behavior").
fn refusal(code: &str, status: u16) -> Failure {
    match code {
        "NotFoundException" => Failure::NotFound,
        "AlreadyExistsException" => Failure::AlreadyExists,
        "ExpiredImportTokenException" => Failure::TokenExpired,
        "IncorrectKeyMaterialException" => Failure::OtherMaterial,
        "LimitExceededException" => Failure::ResourcesExhausted,
        "KMSInvalidStateException" | "DisabledException" | "ConflictException" => Failure::WrongState,
        "KMSInternalException" | "DependencyTimeoutException" | "KeyUnavailableException" => Failure::ServerFault,
        "UnsupportedOperationException" => Failure::NotSupported,
        "InvalidAliasNameException"
        | "InvalidArnException"
        | "InvalidCiphertextException"
        | "InvalidImportTokenException"
        | "InvalidMarkerException"
        | "MalformedPolicyDocumentException"
        | "TagException" => Failure::BadRequest,

        "ThrottlingException"
        | "Throttling"
        | "ThrottledException"
        | "TooManyRequestsException"
        | "RequestThrottled"
        | "RequestThrottledException"
        | "RequestLimitExceeded"
        | "SlowDown" => Failure::Throttled,
        "UnrecognizedClientException"
        | "InvalidClientTokenId"
        | "InvalidSignatureException"
        | "SignatureDoesNotMatch"
        | "ExpiredTokenException"
        | "ExpiredToken"
        | "InvalidToken"
        | "RequestExpired"
        | "MissingAuthenticationTokenException"
        | "MissingAuthenticationToken"
        | "IncompleteSignatureException"
        | "IncompleteSignature" => Failure::CredentialsRefused,
        "AccessDeniedException" | "AccessDenied" | "NotAuthorized" | "OptInRequired" => Failure::NotAllowed,
        "UnknownOperationException" | "InvalidAction" => Failure::NotSupported,
        "ValidationException" | "SerializationException" => Failure::BadRequest,

        _ if status >= 500 => Failure::ServerFault,
        "" => Failure::Garbled,
        // A code that is not known here, and no failure of the server: it was answered, and refused.
        _ => Failure::BadRequest,
    }
}

/// The first error of a type in a chain of causes.
fn cause<'a, E: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a E> {
    causes(error).find_map(|error| error.downcast_ref())
}

fn causes<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |&error| error.source()).take(MAX_CAUSES)
}

/// A chain of causes, for people.
fn chain(error: &(dyn StdError + 'static)) -> String {
    let mut texts: Vec<String> = causes(error).map(ToString::to_string).collect();
    texts.dedup();
    texts.join(": ")
}

/// What of a text from outside goes into logs and onto screens: one line without control characters, at most 500 characters.
fn one_line(text: &str) -> String {
    let plain = text.chars().map(|c| if c.is_control() || ('\u{2028}'..='\u{202e}').contains(&c) { ' ' } else { c });
    plain.take(MAX_MESSAGE).collect::<String>().trim().to_owned()
}
