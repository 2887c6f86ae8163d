//! What a failed call means. The adapter decides *how* it failed ([`Failure`]), by types and by its cloud's error codes, never by the text
//! of a message (rule 10). From that follows its *class*, for a mutation or for a read ([`Failure::class`]): that table is exhaustive, and
//! the same for every cloud.

use keyplane_model::{Class, Span};
use keyplane_port::{Cause, CloudError};

use crate::one_line;

/// The longest wait that we accept from an answer, in seconds. Clouds ask for seconds or minutes.
const MAX_WAIT: u32 = 3_600;

/// An operation of a cloud's API that an adapter uses; [`operations!`](crate::operations) makes the enum of them.
pub trait Operation: Copy + 'static {
    /// All operations that the adapter uses.
    const ALL: &'static [Self];

    /// The cloud's own name of the operation.
    fn name(self) -> &'static str;

    /// Whether the operation can change anything that another call could see.
    fn mutates(self) -> bool;
}

/// Makes the enum of the operations that an adapter uses: for each the cloud's own name, and whether it mutates.
#[macro_export]
macro_rules! operations {
    ($($variant:ident $mutating:literal,)*) => {
        /// An operation of the cloud's API that this adapter uses.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Operation { $($variant,)* }

        impl Operation {
            /// The cloud's own name of the operation.
            pub(crate) const fn name(self) -> &'static str {
                match self { $(Self::$variant => stringify!($variant),)* }
            }

            /// Whether the operation can change anything that another call could see.
            pub(crate) const fn mutates(self) -> bool {
                match self { $(Self::$variant => $mutating,)* }
            }
        }

        impl $crate::Operation for Operation {
            const ALL: &'static [Self] = &[$(Self::$variant,)*];

            fn name(self) -> &'static str {
                self.name()
            }

            fn mutates(self) -> bool {
                self.mutates()
            }
        }
    };
}

/// How a call failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// No connection: refused, no such host, no TLS session. Nothing was sent.
    NoConnection,
    /// There are no credentials, or their source refuses to give any. Nothing was sent to the cloud.
    NoCredentials,
    /// The source of the credentials does not answer, or its answer cannot be read. Nothing was sent to the cloud.
    CredentialsUnavailable,
    /// The SDK could not build the request. Nothing was sent.
    Unbuildable,
    /// The request may have been sent, and no answer came.
    NoAnswer,
    /// The answer is not the cloud's, or is cut off or damaged.
    Garbled,
    /// The cloud failed, or a proxy in front of it did.
    ServerFault,
    /// Refused: too many requests.
    Throttled,
    /// Refused: the credentials are not accepted.
    CredentialsRefused,
    /// Refused: the caller may not do this.
    NotAllowed,
    /// Refused: the object does not exist.
    NotFound,
    /// Refused: an object of that name exists already.
    AlreadyExists,
    /// Refused: the object's state does not allow it.
    WrongState,
    /// Refused: the request is invalid.
    BadRequest,
    /// Refused: the cloud does not support the operation.
    NotSupported,
    /// Refused for a reason that only some clouds have; certain to have had no effect.
    Refused(Class, Cause),
}

impl Failure {
    /// The class and cause of the failure, for a mutation or for a read.
    ///
    /// INVARIANT: a mutation that is not certain to have had no effect is [`Class::Ambiguous`].
    #[must_use]
    pub fn class(self, mutates: bool) -> (Class, Cause) {
        let uncertain = if mutates { Class::Ambiguous } else { Class::Transient };
        match self {
            Self::NoConnection => (Class::Transient, Cause::Unreachable),
            Self::NoCredentials | Self::CredentialsRefused => (Class::Denied, Cause::Credentials),
            Self::CredentialsUnavailable => (Class::Transient, Cause::Credentials),
            Self::Unbuildable | Self::BadRequest => (Class::Invalid, Cause::Plain),
            Self::NoAnswer | Self::ServerFault => (uncertain, Cause::Plain),
            Self::Garbled => (if mutates { Class::Ambiguous } else { Class::Broken }, Cause::Plain),
            Self::Throttled => (Class::Throttled, Cause::Plain),
            Self::NotAllowed => (Class::Denied, Cause::Plain),
            Self::NotFound => (Class::NotFound, Cause::Plain),
            Self::AlreadyExists => (Class::AlreadyExists, Cause::Plain),
            Self::WrongState => (Class::Stale, Cause::Plain),
            Self::NotSupported => (Class::Unsupported, Cause::Plain),
            Self::Refused(class, cause) => (class, cause),
        }
    }

    /// The port's error for the failure. The message is for people.
    #[must_use]
    pub fn error(self, operation: impl Operation, message: &str, retry_after: Option<Span>) -> CloudError {
        let (class, cause) = self.class(operation.mutates());
        CloudError { retry_after, ..found(operation, class, cause, message) }
    }
}

/// The port's error for something that the adapter itself found wrong.
#[must_use]
pub fn found(operation: impl Operation, class: Class, cause: Cause, message: &str) -> CloudError {
    CloudError { class, cause, operation: operation.name(), message: one_line(message), retry_after: None }
}

/// The port's error for an answer that lacks what the cloud always gives, or holds what the cloud never gives.
#[must_use]
pub fn garbled(operation: impl Operation, message: &str) -> CloudError {
    Failure::Garbled.error(operation, message, None)
}

/// An answer's code and message, for people. `whose` names the service that should have answered, as in `KMS's`: an answer without a code
/// did not come from it.
#[must_use]
pub fn answered(whose: &str, status: u16, code: Option<&str>, message: Option<&str>) -> String {
    match (code.filter(|code| !code.is_empty()), message) {
        (None, _) => format!("an answer with status {status} that is not {whose}"),
        (Some(code), Some(message)) => format!("{code}: {message}"),
        (Some(code), None) => code.to_owned(),
    }
}

/// The wait that an answer asks for, cut to an hour.
#[must_use]
pub fn wait(seconds: u32) -> Span {
    Span::seconds(seconds.min(MAX_WAIT))
}

/// Turns "not found" into [`Class::Transient`], for a read of something that another read of the same call showed. Two reads that
/// contradict each other prove nothing (rule 9).
#[must_use]
pub fn contradiction(error: CloudError) -> CloudError {
    match error.class {
        Class::NotFound => CloudError { class: Class::Transient, ..error },
        _ => error,
    }
}

/// Whether a failed read concerns only one key, so that a sweep counts that key as broken and goes on.
///
/// "Not found" counts: a listed key that a direct read does not find may just have been deleted, or may be so new that not every read shows
/// it. In both cases the sweep is not complete.
#[must_use]
pub fn spoils_only_itself(error: &CloudError) -> bool {
    match (error.class, error.cause) {
        (_, Cause::Credentials | Cause::Unreachable | Cause::WrongHome) => false,
        (Class::Transient | Class::Throttled | Class::Ambiguous, _) => false,
        (
            Class::Stale | Class::NotFound | Class::AlreadyExists | Class::Denied | Class::Unsupported | Class::Invalid | Class::Broken,
            _,
        ) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::Operation as _;
    use super::{Cause, Class, Failure, Span, answered, found, spoils_only_itself, wait};

    operations! {
        MakeKey true,
        GetKey false,
    }

    #[test]
    fn what_may_have_had_its_effect_is_ambiguous_for_a_mutation_and_for_nothing_else() {
        for (failure, certain, of_a_read) in [
            (Failure::NoConnection, true, Class::Transient),
            (Failure::NoCredentials, true, Class::Denied),
            (Failure::CredentialsUnavailable, true, Class::Transient),
            (Failure::Unbuildable, true, Class::Invalid),
            (Failure::NoAnswer, false, Class::Transient),
            (Failure::Garbled, false, Class::Broken),
            (Failure::ServerFault, false, Class::Transient),
            (Failure::Throttled, true, Class::Throttled),
            (Failure::CredentialsRefused, true, Class::Denied),
            (Failure::NotAllowed, true, Class::Denied),
            (Failure::NotFound, true, Class::NotFound),
            (Failure::AlreadyExists, true, Class::AlreadyExists),
            (Failure::WrongState, true, Class::Stale),
            (Failure::BadRequest, true, Class::Invalid),
            (Failure::NotSupported, true, Class::Unsupported),
            (Failure::Refused(Class::Stale, Cause::ImportTokenExpired), true, Class::Stale),
        ] {
            let read = failure.error(Operation::GetKey, "", None);
            let mutation = failure.error(Operation::MakeKey, "", None);
            assert_eq!((read.class, read.operation), (of_a_read, "GetKey"), "{failure:?}");
            let expected = if certain { of_a_read } else { Class::Ambiguous };
            assert_eq!((mutation.class, mutation.cause), (expected, read.cause), "{failure:?}");
        }
    }

    #[test]
    fn one_key_spoils_a_list_only_if_it_says_nothing_about_the_others() {
        for operation in Operation::ALL.iter().copied() {
            let spoils = |class, cause| !spoils_only_itself(&found(operation, class, cause, ""));
            assert!(!spoils(Class::NotFound, Cause::Plain) && !spoils(Class::Denied, Cause::Plain) && !spoils(Class::Broken, Cause::Plain));
            assert!(spoils(Class::Throttled, Cause::Plain) && spoils(Class::Transient, Cause::Plain));
            assert!(spoils(Class::Denied, Cause::Credentials), "the next key would be refused too");
            assert!(spoils(Class::Stale, Cause::WrongHome), "the whole list is of another place");
        }
    }

    #[test]
    fn nobody_makes_us_wait_for_longer_than_an_hour() {
        assert_eq!((wait(16), wait(u32::MAX)), (Span::seconds(16), Span::seconds(3_600)));
    }

    #[test]
    fn an_answer_without_a_code_is_somebody_elses() {
        for (code, message, said) in [
            (Some("Denied"), Some("no"), "Denied: no"),
            (Some("Denied"), None, "Denied"),
            (Some(""), Some("<html>"), "an answer with status 502 that is not KMS's"),
            (None, Some("<html>"), "an answer with status 502 that is not KMS's"),
        ] {
            assert_eq!(answered("KMS's", 502, code, message), said);
        }
    }
}
