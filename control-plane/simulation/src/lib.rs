//! The engine under virtual time: an empty room.
//!
//! Will live here: the whole engine in one thread with one seed, the in-memory ledger, the emulators' cores with symbolic
//! cryptography, several servers, faults of every kind, and a checker for each rule that never bends. Bugs are planted by
//! wrappers around the ports here, never by switches in the product.
//!
//! May know: `engine` and what that knows, and the emulators' cores. Nobody may know it.
