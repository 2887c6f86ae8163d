//! What the adapters of all clouds have in common ([ADR 9](../../../control-plane/docs/adr/0009-what-destinations-have-in-common.md)).
//!
//! Owns the settings that every destination has and their checks, the trusted certificates, the class of a failed call once the adapter
//! knows how it failed, the check of an attestation's signature and certificates, and the check of a key to wrap under. Must not know of
//! any cloud: the meaning of an error code, the names of keys and the contents of an attestation belong to the adapters.

mod attestation;
mod endpoint;
mod failure;
mod settings;
mod text;
mod wrapping;

pub use attestation::{Roots, attributes, certificates, without_zeros, word};
pub use endpoint::{check_endpoint, endpoint_has_tls, has_tls};
pub use failure::{Failure, Operation, answered, contradiction, found, garbled, spoils_only_itself, wait};
pub use settings::{Secret, SecretSource, Settings, SettingsError, fingerprint};
pub use text::{cause, causes, chain, cut, one_line};
pub use wrapping::{UnfitWrappingKey, check_wrapping_key};
