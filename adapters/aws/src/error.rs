//! How a call failed ([`Failure`]). Decided by types and by AWS's error codes, never by the text of a message.

use std::error::Error as StdError;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_kms::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use hyper_util::client::legacy::Error as ConnectionError;
use keyplane_destination::{Failure, answered, cause, chain};
pub(crate) use keyplane_destination::{contradiction, found, garbled, spoils_only_itself};
use keyplane_model::Class;
use keyplane_port::{Cause, CloudError};

use crate::operation::Operation;

/// The port's error for a call of the SDK that failed.
pub(crate) fn failed<E>(operation: Operation, error: SdkError<E, HttpResponse>) -> CloudError
where
    E: ProvideErrorMetadata + StdError + 'static,
{
    let (failure, message) = judge(error);
    failure.error(operation, &message, None)
}

fn judge<E>(error: SdkError<E, HttpResponse>) -> (Failure, String)
where
    E: ProvideErrorMetadata + StdError + 'static,
{
    match error {
        SdkError::ServiceError(answer) => {
            let status = answer.raw().status().as_u16();
            let code = answer.err().code().unwrap_or_default();
            (refusal(code, status), answered("KMS's", status, Some(code), answer.err().message()))
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
        "ExpiredImportTokenException" => Failure::Refused(Class::Stale, Cause::ImportTokenExpired),
        "IncorrectKeyMaterialException" => Failure::Refused(Class::Invalid, Cause::OtherMaterial),
        // A quota of resources, not of requests. Asking again is of no use until somebody frees some or raises it: like a missing
        // permission.
        "LimitExceededException" => Failure::NotAllowed,
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
