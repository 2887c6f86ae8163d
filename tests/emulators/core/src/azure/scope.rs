//! What serving one request needs besides the vault's state.

use rand_core::RngCore;

use super::{config::Config, key::Writer, query::Query};
use crate::{
    Timestamp,
    crypto::{Secret, Turns, keys::KeyCrypto},
};

pub(super) struct Scope<'a> {
    pub(super) now: Timestamp,
    pub(super) config: &'a Config,
    pub(super) crypto: &'a dyn KeyCrypto,
    pub(super) rng: &'a mut dyn RngCore,
    pub(super) pairs: &'a mut Turns,
    pub(super) query: &'a Query,
    pub(super) writer: Writer<'a>,
}

impl Scope<'_> {
    pub(super) fn random(&mut self, length: usize) -> Secret {
        let mut bytes = vec![0; length];
        self.rng.fill_bytes(&mut bytes);
        Secret::new(bytes)
    }
}
