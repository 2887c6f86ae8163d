//! How a call failed ([`Failure`]): decided by types and by AWS's error codes, never by the text of a message.

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
                // The connection broke while the answer was being read.
                () if cause::<hyper::Error>(&error).is_some() => Failure::NoAnswer,
                () if status >= 500 => Failure::ServerFault,
                () => Failure::Garbled,
            };
            (failure, chain(&error))
        }
        SdkError::ConstructionFailure(_) => (Failure::Unbuildable, chain(&error)),
        SdkError::DispatchFailure(_) | SdkError::TimeoutError(_) => (dispatch(&error), chain(&error)),
        // A later SDK may add variants. A failure that is not known here is certain of nothing.
        _ => (Failure::NoAnswer, chain(&error)),
    }
}

/// Decides by the cause's type whether anything was sent: the SDK fetches credentials before it connects, and connects before it sends.
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

/// The failure for an error code, which on the wire is the error's type. The SDK has Rust types only for the errors that the service model
/// lists for an operation, and KMS gives others too. KMS's own codes come first, then those that all of AWS shares ("Common errors", KMS
/// API Reference; "Retry behavior", SDK reference).
fn refusal(code: &str, status: u16) -> Failure {
    match code {
        "NotFoundException" => Failure::NotFound,
        "AlreadyExistsException" => Failure::AlreadyExists,
        "ExpiredImportTokenException" => Failure::Refused(Class::Stale, Cause::ImportTokenExpired),
        "IncorrectKeyMaterialException" => Failure::Refused(Class::Invalid, Cause::OtherMaterial),
        // A quota of resources, not of requests. As with a missing permission, repeating the call is useless until somebody frees or raises
        // the quota.
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
        // An unknown code with a status below 500: KMS answered, and refused.
        _ => Failure::BadRequest,
    }
}
