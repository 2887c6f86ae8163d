//! What can go wrong at the token, by kind; and what the port calls it.

use cryptoki::error::{Error as Pkcs11Error, RvError};
use cryptoki::object::AttributeType;
use keyplane_model::{Algorithm, EpochId, WrapScheme};
use keyplane_port::CustodianError;

use crate::spki::PublicKeyError;

/// Something went wrong at the token, or was refused.
#[derive(Debug, thiserror::Error)]
pub enum HsmError {
    /// The module cannot be loaded, or is no PKCS#11 module.
    #[error("the PKCS#11 module `{path}` cannot be loaded")]
    Module {
        /// Where it should be.
        path: String,
        /// What the loader said.
        source: Pkcs11Error,
    },
    /// The reserved string has a NUL in it.
    #[error("the module's initialisation string has a NUL in it")]
    InitString,
    /// No token has that label.
    #[error("no token is labelled `{label}`")]
    TokenMissing {
        /// What was looked for.
        label: String,
        /// The labels that are there.
        found: Vec<String>,
    },
    /// More than one token has that label: which one is meant cannot be told.
    #[error("{count} tokens are labelled `{label}`")]
    TokenDoubled {
        /// The label.
        label: String,
        /// How many there are.
        count: usize,
    },
    /// The PIN is empty or longer than any token takes.
    #[error("a PIN has 1 to {max} bytes")]
    PinLength {
        /// The longest that is taken.
        max: usize,
    },
    /// The token refused the PIN; it was tried once and will not be tried again.
    #[error("the token refuses the PIN")]
    PinWrong,
    /// One more wrong PIN would lock the token; nothing was tried.
    #[error("one more wrong PIN would lock the token")]
    PinFinalTry,
    /// The token is locked; nothing was tried.
    #[error("the token is locked")]
    PinLocked,
    /// The token has no user PIN yet, or it has to be changed first.
    #[error("the token has no user PIN that could be used")]
    PinUnset,
    /// The token holds no root of trust.
    #[error("the token holds no root epoch")]
    NotEnrolled,
    /// The token holds no such root epoch.
    #[error("the token holds no root epoch {0}")]
    EpochMissing(EpochId),
    /// The token holds an object under our label that we did not make.
    #[error("`{label}` in the token is not an object of ours: `{attribute}` is not as it was made")]
    Foreign {
        /// The object's label.
        label: String,
        /// The first attribute that differs.
        attribute: String,
    },
    /// The token holds an object of ours twice.
    #[error("the token holds {count} objects `{label}`")]
    Doubled {
        /// The objects' label.
        label: String,
        /// How many there are.
        count: usize,
    },
    /// Keys of a root epoch that was complete once are gone.
    #[error("keys of root epoch {0} are gone from the token: it was complete when a charter was adopted")]
    RootLost(EpochId),
    /// The token holds a private audit key without its public half.
    #[error("the token holds `{label}` without its public half")]
    Halved {
        /// The key's label.
        label: String,
    },
    /// The token cannot do what is needed.
    #[error(transparent)]
    Unsupported(#[from] Unsupported),
    /// The public key to wrap under is none that we wrap under.
    #[error("the public key to wrap under is refused")]
    PublicKey(#[from] PublicKeyError),
    /// A blob or a charter does not carry our HSM's MAC over what it says.
    #[error("{0} does not carry the custodian's MAC over what it says")]
    Unsealed(&'static str),
    /// A copy that was made again is not what it was: the check values differ, or its public key is another one.
    #[error("the copy is not the recorded one")]
    OtherBytes,
    /// A key in the token is not of the algorithm that it should be of.
    #[error("what should be an `{0}` key is none")]
    OtherKind(Algorithm),
    /// Every pair that the token made came out with an encoding that no strict parser takes.
    #[error("the token makes no well-formed key pairs")]
    Malformed,
    /// The token does not show an attribute of a key that is no secret, or shows something else.
    #[error("the token does not show `{0}` of a key")]
    Attribute(AttributeType),
    /// Coordinates and blob do not go together.
    #[error("{0}")]
    Coordinates(&'static str),
    /// No charter was adopted yet.
    #[error("no charter was adopted")]
    NoCharter,
    /// The charter that was shown is not the one that was adopted last.
    #[error("the charter is not the one that was adopted last")]
    CharterChanged,
    /// The token holds a charter record that cannot be read.
    #[error("the record of the adopted charter in the token cannot be read")]
    CharterRecord,
    /// A value cannot be written as canonical JSON.
    #[error("a value cannot be written as canonical JSON")]
    Canonical(#[from] serde_json::Error),
    /// Software cryptography failed, in a self-test.
    #[error("software cryptography failed while {0}")]
    Software(&'static str),
    /// A file of a development token cannot be written.
    #[error("`{path}` cannot be written")]
    File {
        /// Which one.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// The token failed.
    #[error("the token failed while {doing}")]
    Token {
        /// What was being done.
        doing: &'static str,
        /// What the token said.
        source: Pkcs11Error,
    },
    /// The thread that owns the session is gone.
    #[error("the custodian has stopped")]
    Stopped,
}

/// Something that a token cannot do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsupported {
    /// Keys of this algorithm could be brought nowhere: none is made.
    #[error("wrap `{algorithm}` keys for any destination: {why}")]
    Algorithm {
        /// The algorithm.
        algorithm: Algorithm,
        /// Why not.
        why: NoRoute,
    },
    /// The token has no SP 800-108 with AES-CMAC.
    #[error("derive keys (SP 800-108 in counter mode with AES-CMAC)")]
    Derivation,
    /// The token has no AES key wrap with padding that gives back what it took.
    #[error("wrap keys under AES (AES-KWP, RFC 5649)")]
    KeyWrap,
    /// There is no PIN, and the token has no way of its own to ask for one.
    #[error("log a user in without a PIN: it has no protected authentication path")]
    LoginWithoutPin,
    /// No route to this scheme passed the self-test for keys of this algorithm.
    #[error("wrap `{algorithm}` keys by `{scheme}`: {why}")]
    Scheme {
        /// The scheme.
        scheme: WrapScheme,
        /// The algorithm.
        algorithm: Algorithm,
        /// Why not.
        why: NoRoute,
    },
}

/// Why there is no route to a wrapping scheme.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize, thiserror::Error)]
#[serde(rename_all = "kebab-case")]
pub enum NoRoute {
    /// The token does not make such keys.
    #[error("the token does not make such keys")]
    Make,
    /// The token does not give such a key back from under AES: a blob of it would be worth nothing.
    #[error("the token does not give such keys back once they were wrapped under AES")]
    Keep,
    /// RSA-OAEP by itself takes secret keys alone ([`WrapScheme::takes`]).
    #[error("RSA-OAEP by itself is for secret keys")]
    ForSecrets,
    /// The token refuses RSA-OAEP with that hash.
    #[error("the token refuses RSA-OAEP with that hash")]
    Oaep,
    /// The token has neither its own RSA-AES key wrap nor what composing one takes.
    #[error("the token has no RSA-AES key wrap of its own, nor RSA-OAEP with that hash and AES-KWP to compose it from")]
    Compose,
    /// The token wraps, and what it gives is not what the scheme says.
    #[error("what the token gives cannot be unwrapped as the scheme says")]
    Nonconforming,
    /// The token puts zeros behind what it wraps, so that private keys come out with something behind their end.
    #[error("the token puts zeros behind what it wraps, and strict parsers refuse a private key with anything behind it")]
    Padded,
    /// The token wraps a private key, and what it gives is not one PKCS#8 `PrivateKeyInfo` in DER and nothing else.
    #[error("the private keys that the token gives are no strict PKCS#8")]
    Pkcs8,
}

impl HsmError {
    /// For `map_err`: the token failed while doing this.
    pub(crate) fn token(doing: &'static str) -> impl FnOnce(Pkcs11Error) -> Self {
        move |source| Self::Token { doing, source }
    }

    /// Whether the session is gone, so that the same call may work in a new one.
    pub(crate) fn lost_session(&self) -> bool {
        matches!(self, Self::Token { source: Pkcs11Error::Pkcs11(rv, _), .. } if kind(*rv) == Kind::SessionLost)
    }
}

/// Whether the token says that it does not do this, rather than that it cannot just now.
pub(crate) fn is_refusal(error: &Pkcs11Error) -> bool {
    match error {
        // Tokens in software say "failed" of what they were never made for: where a refusal is an answer, so is this.
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
    /// The session is gone, and a new one may do.
    SessionLost,
    /// Not now: the same may work later.
    Later,
    /// Not so: the same will be refused again.
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
            HsmError::PinWrong => Self::PinWrong,
            HsmError::PinFinalTry | HsmError::PinLocked => Self::PinLocked,
            HsmError::CharterChanged => Self::CharterChanged,
            HsmError::PinUnset | HsmError::NotEnrolled | HsmError::EpochMissing(_) | HsmError::NoCharter => {
                Self::NotEnrolled(error.to_string())
            }
            HsmError::Unsupported(what) => Self::Unsupported(what.to_string()),
            HsmError::PublicKey(_) | HsmError::Coordinates(_) => Self::Refused(chain(&error)),
            HsmError::Token { source: Pkcs11Error::Pkcs11(rv, _), .. } if kind(rv) == Kind::Refused => Self::Broken(chain(&error)),
            HsmError::InitString
            | HsmError::PinLength { .. }
            | HsmError::TokenDoubled { .. }
            | HsmError::Foreign { .. }
            | HsmError::Doubled { .. }
            | HsmError::RootLost(_)
            | HsmError::Halved { .. }
            | HsmError::Unsealed(_)
            | HsmError::OtherBytes
            | HsmError::OtherKind(_)
            | HsmError::Malformed
            | HsmError::Attribute(_)
            | HsmError::CharterRecord
            | HsmError::Canonical(_) => Self::Broken(chain(&error)),
            HsmError::Software(_) | HsmError::File { .. } | HsmError::Token { .. } | HsmError::Stopped => Self::Failed(chain(&error)),
        }
    }
}

/// An error and its causes in one line: the port's errors carry no sources, since they cross processes.
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
