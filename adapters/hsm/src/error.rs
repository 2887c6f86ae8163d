//! The errors of the token, and the port's errors that they become.

use cryptoki::error::{Error as Pkcs11Error, RvError};
use cryptoki::object::AttributeType;
use keyplane_model::{Algorithm, Digest, EpochId, WrapScheme};
use keyplane_port::{CustodianError, PublicKeyError, Spent};

#[derive(Debug, thiserror::Error)]
pub enum HsmError {
    #[error("the PKCS#11 module `{path}` cannot be loaded")]
    Module { path: String, source: Pkcs11Error },
    #[error("the module's initialisation string has a NUL in it")]
    InitString,
    #[error("no token is labelled `{label}`")]
    TokenMissing {
        label: String,
        /// The labels of the tokens that the module has.
        found: Vec<String>,
    },
    /// The configuration is ambiguous, so no token is used.
    #[error("{count} tokens are labelled `{label}`")]
    TokenDoubled { label: String, count: usize },
    #[error("a PIN has 1 to {max} bytes")]
    PinLength {
        /// [`Pin::MAX`](crate::Pin::MAX).
        max: usize,
    },
    /// Nothing was tried.
    #[error("{0}")]
    PinMissing(String),
    /// The PIN was tried once, and is not tried again.
    #[error("the token refuses the PIN")]
    PinWrong,
    /// Nothing was tried.
    #[error("one more wrong PIN would lock the token")]
    PinFinalTry,
    /// Nothing was tried.
    #[error("the token is locked")]
    PinLocked,
    /// The token has no user PIN yet, or its PIN has to be changed first.
    #[error("the token has no user PIN that could be used")]
    PinUnset,
    #[error("the token holds no root epoch")]
    NotEnrolled,
    #[error("the token holds no root epoch {0}")]
    EpochMissing(EpochId),
    /// An object with a label of ours that we did not make.
    #[error("`{label}` in the token is not an object of ours: `{attribute}` is not as it was made")]
    Foreign { label: String, attribute: String },
    #[error("the token holds {count} objects `{label}`")]
    Doubled { label: String, count: usize },
    /// Keys of a root epoch that was complete are missing.
    #[error("keys of root epoch {0} are gone from the token: it was complete when a charter was adopted")]
    RootLost(EpochId),
    #[error("the token holds `{label}` without its public half")]
    Halved { label: String },
    #[error(transparent)]
    Unsupported(#[from] Unsupported),
    #[error("the public key to wrap under is refused")]
    PublicKey(#[from] PublicKeyError),
    /// The MAC of a blob or charter is not the one that this HSM makes.
    #[error("{0} does not carry the custodian's MAC over what it says")]
    Unsealed(&'static str),
    /// The check value or public key of a copy differs from the recorded one.
    #[error("the copy is not the recorded one")]
    OtherBytes,
    /// A copy was unwrapped or derived into an object that is readable or stays in the token, although its template forbids that.
    #[error("the token brought a copy as an object that is not sensitive, or stays: it does not do what it was asked for")]
    Unguarded,
    #[error("what should be an `{0}` key is none")]
    OtherKind(Algorithm),
    /// Each pair that the token generated has an encoding that strict parsers refuse.
    #[error("the token makes no well-formed key pairs")]
    Malformed,
    /// The token does not show a public attribute of a key, or shows another value.
    #[error("the token does not show `{0}` of a key")]
    Attribute(AttributeType),
    /// The coordinates and the blob do not fit together.
    #[error("{0}")]
    Coordinates(&'static str),
    #[error("no charter was adopted")]
    NoCharter,
    #[error("the charter is not the one that was adopted last")]
    CharterChanged,
    #[error("the record of the adopted charter in the token cannot be read")]
    CharterRecord,
    #[error(
        "the token holds two records `keyplane/charter` with serial {serial}, of charter {} and of charter {}: two processes adopted at the \
         same moment and were stopped, so neither counts. Remove the data object whose value names the charter that is not meant",
        .digests[0], .digests[1]
    )]
    CharterDoubled { serial: u32, digests: [Digest; 2] },
    /// An adoption failed after its record was made, and the record could not be removed.
    #[error(
        "charter {digest} was not adopted ({why}), and its record could not be removed from the token. Remove the data object \
         `keyplane/charter` whose value names serial {serial} and that digest"
    )]
    CharterLeft { serial: u32, digest: Digest, why: String, source: Pkcs11Error },
    #[error(transparent)]
    Spent(#[from] Spent),
    #[error("the token holds another record of change set {change_set} than the custodian wrote ({why}): nothing more is wrapped for it")]
    UsageBroken { change_set: Digest, why: &'static str },
    #[error("another process is writing the record of change set {0}")]
    UsageBusy(Digest),
    #[error("the token takes no record of change set {change_set}, so nothing was wrapped for it")]
    UsageUnwritten { change_set: Digest, source: Pkcs11Error },
    #[error("a value cannot be written as canonical JSON")]
    Canonical(#[from] serde_json::Error),
    /// Software cryptography failed in a self-test.
    #[error("software cryptography failed while {0}")]
    Software(&'static str),
    /// Only while a development token is made.
    #[error("`{path}` cannot be written")]
    File { path: String, source: std::io::Error },
    #[error("the token failed while {doing}")]
    Token { doing: &'static str, source: Pkcs11Error },
    #[error("the operating system gives no thread for the custodian")]
    Thread(#[source] std::io::Error),
    /// No PIN was tried.
    #[error("too little memory is left to log in; no PIN was tried")]
    NoMemory,
    /// The thread that owns the session has ended.
    #[error("the custodian has stopped")]
    Stopped,
}

/// What a token cannot do. The texts complete "the token cannot".
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsupported {
    /// The token has no route for keys of this algorithm, so none is generated.
    #[error("wrap `{algorithm}` keys for any destination: {why}")]
    Algorithm { algorithm: Algorithm, why: NoRoute },
    #[error("derive keys (SP 800-108 in counter mode with AES-CMAC)")]
    Derivation,
    /// The token has no AES-KWP, or does not unwrap what it wrapped.
    #[error("wrap keys under AES (AES-KWP, RFC 5649)")]
    KeyWrap,
    /// PKCS#11: no `CKF_PROTECTED_AUTHENTICATION_PATH`.
    #[error("log a user in without a PIN: it has no protected authentication path")]
    LoginWithoutPin,
    /// No way for this scheme passed the self-test with keys of this algorithm.
    #[error("wrap `{algorithm}` keys by `{scheme}`: {why}")]
    Scheme { scheme: WrapScheme, algorithm: Algorithm, why: NoRoute },
}

/// Why there is no route to a wrapping scheme.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize, thiserror::Error)]
#[serde(rename_all = "kebab-case")]
pub enum NoRoute {
    #[error("the token does not make such keys")]
    Make,
    /// The token cannot unwrap such a key from a blob, so the blob would be useless.
    #[error("the token does not give such keys back once they were wrapped under AES")]
    Keep,
    /// See [`WrapScheme::takes`].
    #[error("RSA-OAEP by itself is for secret keys")]
    ForSecrets,
    #[error("the token refuses RSA-OAEP with that hash")]
    Oaep,
    #[error("the token has no RSA-AES key wrap of its own, nor RSA-OAEP with that hash and AES-KWP to compose it from")]
    Compose,
    /// The token wraps, but the result does not unwrap as the scheme says.
    #[error("what the token gives cannot be unwrapped as the scheme says")]
    Nonconforming,
    /// `C_DigestKey` gives no digest of the key's value.
    #[error("the token's digest of such a key is not of the key's bytes, so its check values say nothing")]
    Digest,
    /// The token appends zeros before it wraps, so a private key arrives with bytes after its end. Strict parsers refuse that.
    #[error("the token puts zeros behind what it wraps, and strict parsers refuse a private key with anything behind it")]
    Padded,
    /// The token wraps a private key, but not as exactly one PKCS#8 `PrivateKeyInfo` in DER.
    #[error("the private keys that the token gives are no strict PKCS#8")]
    Pkcs8,
}

impl HsmError {
    /// For `map_err`. `doing` completes "the token failed while".
    pub(crate) fn token(doing: &'static str) -> impl FnOnce(Pkcs11Error) -> Self {
        move |source| Self::Token { doing, source }
    }

    /// Whether the session is lost, so that the same call may succeed in a new one.
    pub(crate) fn lost_session(&self) -> bool {
        let (Self::Token { source, .. } | Self::UsageUnwritten { source, .. }) = self else { return false };
        matches!(source, Pkcs11Error::Pkcs11(rv, _) if kind(*rv) == Kind::SessionLost)
    }
}

/// Whether the token does not offer this at all, rather than fail at present.
pub(crate) fn is_refusal(error: &Pkcs11Error) -> bool {
    match error {
        // Software tokens answer "failed" to operations that they lack. Callers ask only where a refusal is a valid answer.
        Pkcs11Error::Pkcs11(RvError::GeneralError | RvError::FunctionFailed, _) => true,
        Pkcs11Error::Pkcs11(rv, _) => kind(*rv) == Kind::Refused,
        Pkcs11Error::NotSupported | Pkcs11Error::NullFunctionPointer => true,
        Pkcs11Error::LibraryLoading(_)
        | Pkcs11Error::TryFromInt(_)
        | Pkcs11Error::TryFromSlice(_)
        | Pkcs11Error::ParseInt(_)
        | Pkcs11Error::Utf8(_)
        | Pkcs11Error::NulError(_)
        | Pkcs11Error::MissingSymbol(_)
        | Pkcs11Error::InvalidValue
        | Pkcs11Error::PinNotSet => false,
    }
}

/// What a return value means for the next call.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// The session is lost; a new one may help.
    SessionLost,
    /// The same call may succeed later.
    Later,
    /// The same call will be refused again.
    Refused,
}

fn kind(rv: RvError) -> Kind {
    match rv {
        RvError::SessionHandleInvalid
        | RvError::SessionClosed
        | RvError::DeviceError
        | RvError::DeviceRemoved
        | RvError::TokenNotPresent
        | RvError::UserNotLoggedIn => Kind::SessionLost,
        RvError::Cancel
        | RvError::HostMemory
        | RvError::GeneralError
        | RvError::FunctionFailed
        | RvError::FunctionCanceled
        | RvError::DeviceMemory
        | RvError::SessionCount
        | RvError::CryptokiNotInitialized
        | RvError::OperationActive
        | RvError::RandomNoRng => Kind::Later,
        _ => Kind::Refused,
    }
}

impl From<HsmError> for CustodianError {
    fn from(error: HsmError) -> Self {
        match error {
            HsmError::Module { path, source } => Self::ModuleMissing { path, reason: source.to_string() },
            HsmError::TokenMissing { label, found } => Self::TokenMissing { label, found: quoted(&found) },
            HsmError::PinMissing(why) => Self::PinMissing(why),
            HsmError::PinLength { .. } | HsmError::PinUnset => Self::PinMissing(error.to_string()),
            HsmError::PinWrong => Self::PinWrong,
            HsmError::PinFinalTry | HsmError::PinLocked => Self::PinLocked,
            HsmError::CharterChanged => Self::CharterChanged,
            HsmError::NotEnrolled | HsmError::EpochMissing(_) | HsmError::NoCharter => Self::NotEnrolled(error.to_string()),
            HsmError::Unsupported(what) => Self::Unsupported(what.to_string()),
            HsmError::PublicKey(_) | HsmError::Coordinates(_) => Self::Refused(chain(&error)),
            HsmError::Spent(spent) => Self::Spent(spent),
            HsmError::UsageBroken { .. } => Self::UsageBroken(chain(&error)),
            // `HostMemory` is this process's, `DeviceMemory` the token's own.
            HsmError::Token { source: Pkcs11Error::Pkcs11(RvError::HostMemory, _), .. }
            | HsmError::UsageUnwritten { source: Pkcs11Error::Pkcs11(RvError::HostMemory, _), .. }
            | HsmError::Thread(_)
            | HsmError::NoMemory => Self::Exhausted(chain(&error)),
            HsmError::UsageUnwritten { source: Pkcs11Error::Pkcs11(RvError::DeviceMemory, _), .. } => Self::Full(chain(&error)),
            HsmError::Token { source: Pkcs11Error::Pkcs11(rv, _), .. } if kind(rv) == Kind::Refused => Self::Broken(chain(&error)),
            HsmError::InitString
            | HsmError::TokenDoubled { .. }
            | HsmError::Foreign { .. }
            | HsmError::Doubled { .. }
            | HsmError::RootLost(_)
            | HsmError::Halved { .. }
            | HsmError::Unsealed(_)
            | HsmError::OtherBytes
            | HsmError::Unguarded
            | HsmError::OtherKind(_)
            | HsmError::Malformed
            | HsmError::Attribute(_)
            | HsmError::CharterRecord
            | HsmError::CharterDoubled { .. }
            | HsmError::CharterLeft { .. }
            | HsmError::Canonical(_) => Self::Broken(chain(&error)),
            HsmError::UsageBusy(_)
            | HsmError::UsageUnwritten { .. }
            | HsmError::Software(_)
            | HsmError::File { .. }
            | HsmError::Token { .. }
            | HsmError::Stopped => Self::Failed(chain(&error)),
        }
    }
}

/// An error and its causes on one line. The port's errors carry no sources, because they may cross processes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

fn quoted(labels: &[String]) -> String {
    if labels.is_empty() {
        return "none".to_owned();
    }
    labels.iter().map(|label| format!("`{label}`")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use cryptoki::context::Function;

    use super::*;

    #[test]
    fn a_login_that_fails_for_want_of_memory_is_told_as_that() {
        let told = |rv| CustodianError::from(HsmError::token("logging in")(Pkcs11Error::Pkcs11(rv, Function::Login)));
        let host = told(RvError::HostMemory);
        assert!(matches!(&host, CustodianError::Exhausted(why) if why.contains("logging in")), "{host}");
        let device = told(RvError::DeviceMemory);
        assert!(matches!(&device, CustodianError::Failed(why) if why.contains("logging in")), "{device}");
        let none = CustodianError::from(HsmError::NoMemory);
        assert_eq!(none, CustodianError::Exhausted("too little memory is left to log in; no PIN was tried".to_owned()));
        let usage = |rv| {
            CustodianError::from(HsmError::UsageUnwritten {
                change_set: Digest::of(b"any"),
                source: Pkcs11Error::Pkcs11(rv, Function::CreateObject),
            })
        };
        assert!(matches!(usage(RvError::HostMemory), CustodianError::Exhausted(_)));
        assert!(matches!(usage(RvError::DeviceMemory), CustodianError::Full(_)));
        assert!(matches!(usage(RvError::FunctionFailed), CustodianError::Failed(_)), "it is not known to be full");
        let thread = CustodianError::from(HsmError::Thread(std::io::ErrorKind::WouldBlock.into()));
        assert!(matches!(thread, CustodianError::Exhausted(_)), "{thread}");
    }
}
