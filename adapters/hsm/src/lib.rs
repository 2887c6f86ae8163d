//! x
#![allow(dead_code)]
mod pkcs11;
