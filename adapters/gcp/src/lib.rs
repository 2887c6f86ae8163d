//! Google Cloud KMS: an empty room.
//!
//! Will live here: the port's `Cloud` over `google-cloudkms1`: import-only keys, import jobs, versions, primary.
//!
//! May know: `port` and `model` alone. Only the `keyplane` binary may know it.
