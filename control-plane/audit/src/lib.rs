//! The audit log: an empty room.
//!
//! Will live here: an append-only Merkle log (RFC 6962) of everything that was proposed, approved, committed, done and
//! refused, with checkpoints signed by the audit key in the HSM, and proofs that anybody can check. The audit key is part
//! of each root epoch already.
//!
//! May know: `port` and `model`. The service will write to it; nobody else may.
