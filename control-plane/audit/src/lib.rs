//! The audit log. Not there yet: this crate is empty.
//!
//! Will hold an append-only Merkle log (RFC 6962) of everything that is proposed, approved, committed, done and refused. The audit
//! key in the HSM will sign its checkpoints, and anybody will be able to check its proofs. Each root epoch has its audit key
//! already.
//!
//! May know `port` and `model`. Only the service will write to it.
