//! What every destination's adapter does alike, whatever its cloud.
//!
//! Owns the settings that all destinations have and their checks, whom to trust, what a failed call means once it is known how it
//! failed, and what an HSM's attestation is signed by. Must not know of any cloud: which code of an answer means what, how a key
//! is named, and what an attestation has to say stay in the adapters ([ADR 9](../../control-plane/docs/adr/0009-what-destinations-have-in-common.md)).

mod attestation;
mod endpoint;
mod failure;
mod settings;
mod text;

pub use attestation::{Roots, attributes, certificates, without_zeros, word};
pub use endpoint::{check_endpoint, endpoint_has_tls, has_tls};
pub use failure::{Failure, Operation, answered, contradiction, found, garbled, spoils_only_itself, wait};
pub use settings::{Secret, Settings, SettingsError, fingerprint};
pub use text::{cause, causes, chain, cut, one_line};
