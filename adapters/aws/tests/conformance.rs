//! The adapter keeps what the port promises, against the emulated AWS KMS.

mod emulated;

keyplane_conformance::suite!(crate::emulated::begin);
