//! The custodian on real tokens: kryoptic everywhere, SoftHSM where it is installed. One process a test (cargo-nextest):
//! `C_Initialize` and a token's file are the process's.

mod copies;
mod derivation;
mod enrolment;
mod fixture;
mod kinds;
mod login;
mod record;
mod softhsm;
mod warrants;
