//! What a failed call means. Two questions in a row: *how* did it fail ([`Failure`]), which the adapter tells by types and by its
//! cloud's codes, never by the text of a message; and what does that mean for a call that does, or does not, change anything
//! ([`Failure::class`]). The second is an exhaustive table, and the same for every cloud.

use keyplane_model::{Class, Span};
use keyplane_port::{Cause, CloudError};

use crate::one_line;

/// The longest time that an answer can ask us to wait, in seconds: nobody asks for more than an hour in earnest.
const MAX_WAIT: u32 = 3_600;

/// An operation of a cloud that an adapter uses ([`operations!`](crate::operations)).
pub trait Operation: Copy + 'static {
    /// All that the adapter uses.
    const ALL: &'static [Self];

    /// The cloud's own name of it.
    fn name(self) -> &'static str;

    /// Whether it can change anything that another call could see.
    fn mutates(self) -> bool;
}

/// The operations that an adapter uses: the cloud's own name of each, and whether it changes anything.
#[macro_export]
macro_rules! operations {
    ($($variant:ident $mutating:literal,)*) => {
        /// An operation of the cloud that we use.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Operation { $($variant,)* }

        impl Operation {
            /// The cloud's own name of it.
            pub(crate) const fn name(self) -> &'static str {
                match self { $(Self::$variant => stringify!($variant),)* }
            }

            /// Whether it can change anything that another call could see.
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
    /// There are no credentials, or whoever gives them says that there will be none. Nothing was done.
    NoCredentials,
    /// The source of the credentials does not answer, or answers nonsense. Nothing was done.
    CredentialsUnavailable,
    /// The SDK could not build the request. Nothing was sent.
    Unbuildable,
    /// It may have been sent, and no answer came.
    NoAnswer,
    /// An answer came that is not the cloud's, or is cut or garbled.
    Garbled,
    /// The cloud failed inside, or something in front of it did.
    ServerFault,
    /// Refused: too many requests.
    Throttled,
    /// Refused: the credentials are not accepted.
    CredentialsRefused,
    /// Refused: the caller may not do this.
    NotAllowed,
    /// Refused: no such thing.
    NotFound,
    /// Refused: there is one already.
    AlreadyExists,
    /// Refused: the state of things does not allow it.
    WrongState,
    /// Refused: it was asked wrongly.
    BadRequest,
    /// Refused: it does not do this.
    NotSupported,
    /// Refused, and certain to have had no effect, for a reason that not every cloud has.
    Refused(Class, Cause),
}

impl Failure {
    /// What it means, for a call that `mutates` or does not.
    ///
    /// INVARIANT: for a mutation, whatever is not certain to have had no effect is [`Class::Ambiguous`].
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

    /// The port's error for it; the message is for people.
    #[must_use]
    pub fn error(self, operation: impl Operation, message: &str, retry_after: Option<Span>) -> CloudError {
        let (class, cause) = self.class(operation.mutates());
        CloudError { retry_after, ..found(operation, class, cause, message) }
    }
}

/// The port's error for something that we found out ourselves.
#[must_use]
pub fn found(operation: impl Operation, class: Class, cause: Cause, message: &str) -> CloudError {
    CloudError { class, cause, operation: operation.name(), message: one_line(message), retry_after: None }
}

/// An answer that lacks what the cloud always gives, or gives what it cannot.
#[must_use]
pub fn garbled(operation: impl Operation, message: &str) -> CloudError {
    Failure::Garbled.error(operation, message, None)
}

/// What an answer says, for people: the cloud's code and message, or that it has no code, so that it is not `whose`.
#[must_use]
pub fn answered(whose: &str, status: u16, code: Option<&str>, message: Option<&str>) -> String {
    match (code.filter(|code| !code.is_empty()), message) {
        (None, _) => format!("an answer with status {status} that is not {whose}"),
        (Some(code), Some(message)) => format!("{code}: {message}"),
        (Some(code), None) => code.to_owned(),
    }
}

/// How long an answer asks us to wait; whoever asks for longer than can be is not believed.
#[must_use]
pub fn wait(seconds: u32) -> Span {
    Span::seconds(seconds.min(MAX_WAIT))
}

/// The failed read of something that was there a moment ago: reads that contradict each other show nothing.
#[must_use]
pub fn contradiction(error: CloudError) -> CloudError {
    match error.class {
        Class::NotFound => CloudError { class: Class::Transient, ..error },
        _ => error,
    }
}

/// Whether a failed read says something about one key only, so that the list can go on without it.
///
/// A key that the list names and a direct read does not find counts too: it may be just gone, or so new that not every
/// read shows it, and a sweep that missed it is not complete.
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
