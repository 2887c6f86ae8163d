//! The errors of Azure.

use crate::crypto;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    BadParameter,
    Conflict,
    Forbidden,
    InternalServerError,
    KeyNotFound,
    MethodNotAllowed,
    NotFound,
    NotSupported,
    Throttled,
    Unauthorized,
}

impl Code {
    pub const fn name(self) -> &'static str {
        match self {
            Self::BadParameter => "BadParameter",
            Self::Conflict => "Conflict",
            Self::Forbidden => "Forbidden",
            Self::InternalServerError => "InternalServerError",
            Self::KeyNotFound => "KeyNotFound",
            Self::MethodNotAllowed => "MethodNotAllowed",
            Self::NotFound => "NotFound",
            Self::NotSupported => "NotSupported",
            Self::Throttled => "Throttled",
            Self::Unauthorized => "Unauthorized",
        }
    }

    pub const fn status(self) -> u16 {
        match self {
            Self::BadParameter | Self::NotSupported => 400,
            Self::Unauthorized => 401,
            Self::Forbidden => 403,
            Self::KeyNotFound | Self::NotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::Conflict => 409,
            Self::Throttled => 429,
            Self::InternalServerError => 500,
        }
    }

    pub fn because(self, message: impl Into<String>) -> Refusal {
        Refusal { code: self, inner: None, message: message.into(), retry_after: None }
    }
}

/// The code in an error's `innererror`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inner {
    ForbiddenByPolicy,
    ForbiddenByRbac,
    KeyDisabled,
    KeyExpired,
    KeyNotYetValid,
    KeyOperationForbidden,
    ObjectIsBeingDeleted,
    ObjectIsBeingRecovered,
    ObjectIsDeletedButRecoverable,
}

impl Inner {
    pub const fn name(self) -> &'static str {
        match self {
            Self::ForbiddenByPolicy => "ForbiddenByPolicy",
            Self::ForbiddenByRbac => "ForbiddenByRbac",
            Self::KeyDisabled => "KeyDisabled",
            Self::KeyExpired => "KeyExpired",
            Self::KeyNotYetValid => "KeyNotYetValid",
            Self::KeyOperationForbidden => "KeyOperationForbidden",
            Self::ObjectIsBeingDeleted => "ObjectIsBeingDeleted",
            Self::ObjectIsBeingRecovered => "ObjectIsBeingRecovered",
            Self::ObjectIsDeletedButRecoverable => "ObjectIsDeletedButRecoverable",
        }
    }
}

/// A request was refused, and nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// Decides the name on the wire and the HTTP status.
    pub code: Code,
    /// The more exact code in `innererror`; most errors have none.
    pub inner: Option<Inner>,
    /// The text for people.
    pub message: String,
    /// Seconds for `Retry-After`; only of throttled requests.
    pub retry_after: Option<u32>,
}

impl Refusal {
    pub(super) fn with(mut self, inner: Inner) -> Self {
        self.inner = Some(inner);
        self
    }
}

impl From<crypto::Refused> for Refusal {
    /// For operations that cannot fail because of the client.
    fn from(refused: crypto::Refused) -> Self {
        Code::InternalServerError.because(refused.to_string())
    }
}
