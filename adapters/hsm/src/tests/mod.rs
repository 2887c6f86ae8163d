//! The custodian on real tokens: kryoptic always, SoftHSM where it is installed. Each test needs a process of its own (cargo-nextest),
//! because `C_Initialize` and a token's file belong to a process.

mod copies;
mod derivation;
mod enrolment;
mod fixture;
mod kinds;
mod login;
mod memory;
mod record;
mod softhsm;
mod taken_over;
mod usage;
mod warrants;
