//! A token, and one session in which the user is logged in.
//!
//! Owns loading the module, finding the token, logging in, and thin calls that the other modules share. Must not know what keys are for.

use std::ffi::CString;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest;
use cryptoki::context::Pkcs11;
use cryptoki::error::{Error as Pkcs11Error, RvError};
use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::object::{Attribute, AttributeType, ObjectHandle};
use cryptoki::session::{Session, SessionState, UserType};
use cryptoki::slot::Slot;
use keyplane_model::Digest;

use crate::pkcs11::{self, RawModule};
use crate::{HsmConfig, HsmError, Pin, PinSource, Unsupported};

/// The free memory, in bytes, that must be there before a login: many times what the login's key derivation takes.
const LOGIN_MEMORY: usize = 16 << 20;

/// The stack, in bytes, of the thread that logs in. The C library keeps the stacks of ended threads, up to 40 MiB together, and unmaps a
/// larger one with all that is on it.
const LOGIN_STACK: usize = 48 << 20;

/// What a token says about itself (PKCS#11: `CK_TOKEN_INFO`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) label: String,
    pub(crate) manufacturer: String,
    pub(crate) model: String,
    pub(crate) serial: String,
    /// `major.minor`.
    pub(crate) hardware_version: String,
    /// `major.minor`.
    pub(crate) firmware_version: String,
    /// Whether the slot says that it is a device (`CKF_HW_SLOT`).
    pub(crate) hardware: bool,
}

/// A loaded and initialised module. Finalised when dropped.
///
/// INVARIANT: a process holds at most one of these for each module file, because `C_Initialize` and `C_Finalize` act on the whole process.
pub(crate) struct Module {
    pkcs11: Pkcs11,
    raw: RawModule,
    /// As in the configuration, so perhaps relative.
    path: PathBuf,
}

/// What a module says about itself (PKCS#11: `CK_INFO`), and the digest of its file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Library {
    /// SHA-256 of the module's file. `None`: the path is relative, so that the loader may have found another file, or the file cannot be
    /// read.
    pub(crate) digest: Option<Digest>,
    pub(crate) manufacturer: String,
    /// `major.minor`.
    pub(crate) version: String,
}

impl Module {
    pub(crate) fn load(config: &HsmConfig) -> Result<Self, HsmError> {
        // The loader tells a lack of memory by a text only. A path that is not found here is the loader's to find.
        let length = config.module.metadata().map_or(0, |file| file.len());
        memory_for(usize::try_from(length).unwrap_or(usize::MAX))?;
        let missing = |source| HsmError::Module { path: config.module.display().to_string(), source };
        let pkcs11 = Pkcs11::new(&config.module).map_err(missing)?;
        let raw = RawModule::load(&config.module).map_err(missing)?;
        let init = config.init.as_deref().map(CString::new).transpose().map_err(|_| HsmError::InitString)?;
        pkcs11::initialize(&pkcs11, init.as_deref()).map_err(HsmError::token("initialising the module"))?;
        Ok(Self { pkcs11, raw, path: config.module.clone() })
    }

    pub(crate) fn pkcs11(&self) -> &Pkcs11 {
        &self.pkcs11
    }

    /// The slot of the initialised token with this label.
    pub(crate) fn find(&self, label: &str) -> Result<Slot, HsmError> {
        let slots = self.pkcs11.get_slots_with_token().map_err(HsmError::token("listing slots"))?;
        let mut found = Vec::new();
        let mut matching = Vec::new();
        for slot in slots {
            let info = self.pkcs11.get_token_info(slot).map_err(HsmError::token("reading a token's label"))?;
            if !info.token_initialized() {
                continue;
            }
            if info.label() == label {
                matching.push(slot);
            }
            found.push(info.label().to_owned());
        }
        match matching[..] {
            [slot] => Ok(slot),
            [] => Err(HsmError::TokenMissing { label: label.to_owned(), found }),
            _ => Err(HsmError::TokenDoubled { label: label.to_owned(), count: matching.len() }),
        }
    }

    fn library(&self) -> Result<Library, HsmError> {
        let info = self.pkcs11.get_library_info().map_err(HsmError::token("reading the module's description"))?;
        // No digest if the file cannot be read. The module then counts as unknown.
        let digest = self.path.is_absolute().then(|| digest_of(&self.path).ok()).flatten();
        Ok(Library { digest, manufacturer: info.manufacturer_id().to_owned(), version: info.library_version().to_string() })
    }

    fn identify(&self, slot: Slot) -> Result<Identity, HsmError> {
        let info = self.pkcs11.get_token_info(slot).map_err(HsmError::token("reading the token's description"))?;
        let hardware = self.pkcs11.get_slot_info(slot).map_err(HsmError::token("reading the slot's description"))?.hardware_slot();
        Ok(Identity {
            label: info.label().to_owned(),
            manufacturer: info.manufacturer_id().to_owned(),
            model: info.model().to_owned(),
            serial: info.serial_number().to_owned(),
            hardware_version: info.hardware_version().to_string(),
            firmware_version: info.firmware_version().to_string(),
            hardware,
        })
    }

    fn session(&self, slot: Slot, config: &HsmConfig) -> Result<Session, HsmError> {
        let session = self.pkcs11.open_rw_session(slot).map_err(HsmError::token("opening a session"))?;
        let state = session.get_session_info().map_err(HsmError::token("reading the session's state"))?.session_state();
        if matches!(state, SessionState::RwUser | SessionState::RoUser) {
            return Ok(session);
        }
        let info = self.pkcs11.get_token_info(slot).map_err(HsmError::token("reading the token's PIN flags"))?;
        // INVARIANT: the program does not repeat a wrong PIN, and leaves the last try to a person.
        if info.user_pin_locked() {
            return Err(HsmError::PinLocked);
        }
        if info.user_pin_final_try() {
            return Err(HsmError::PinFinalTry);
        }
        if !info.user_pin_initialized() || info.user_pin_to_be_changed() {
            return Err(HsmError::PinUnset);
        }
        // Without a PIN and without such a path, `C_Login` would count an empty PIN as a wrong one.
        if config.pin.is_none() && !info.protected_authentication_path() {
            return Err(Unsupported::LoginWithoutPin.into());
        }
        memory_for(LOGIN_STACK + LOGIN_MEMORY)?;
        // The module may leave the PIN on the stack of the thread that calls it; kryoptic does, several times. So the thread ends after it.
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().stack_size(LOGIN_STACK).spawn_scoped(scope, || log_in(session, config));
            thread.map_err(|_| HsmError::NoMemory)?.join().unwrap_or(Err(HsmError::Stopped))
        })
    }
}

/// Logs in, with a PIN that is wiped when this ends.
fn log_in(session: Session, config: &HsmConfig) -> Result<Session, HsmError> {
    let pin = config.pin.as_ref().map(PinSource::read).transpose()?;
    match session.login(UserType::User, pin.as_ref().map(Pin::expose_pin)) {
        Ok(()) | Err(Pkcs11Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(session),
        Err(Pkcs11Error::Pkcs11(RvError::PinIncorrect | RvError::PinInvalid | RvError::PinLenRange, _)) => Err(HsmError::PinWrong),
        Err(Pkcs11Error::Pkcs11(RvError::PinLocked, _)) => Err(HsmError::PinLocked),
        Err(Pkcs11Error::Pkcs11(RvError::PinExpired | RvError::UserPinNotInitialized, _)) => Err(HsmError::PinUnset),
        Err(error) => Err(HsmError::token("logging in")(error)),
    }
}

/// Checks that this much memory is free. kryoptic reports every failure of a login as a wrong PIN and counts it, so ten logins without
/// enough memory would lock the token.
fn memory_for(bytes: usize) -> Result<(), HsmError> {
    // As the stack of a thread, memory is mapped and given back without being touched. A block of the heap may be wiped when it is freed,
    // and wiping so much takes longer than the login.
    let probe = std::thread::Builder::new().stack_size(bytes).spawn(|| ()).map_err(|_| HsmError::NoMemory)?;
    probe.join().map_err(|_| HsmError::NoMemory)
}

/// SHA-256 of a file, read in pieces because it may be large.
fn digest_of(path: &Path) -> std::io::Result<Digest> {
    let mut file = File::open(path)?;
    let mut context = digest::Context::new(&digest::SHA256);
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            length => context.update(&buffer[..length]),
        }
    }
    <[u8; 32]>::try_from(context.finish().as_ref()).map(Digest).map_err(std::io::Error::other)
}

impl Drop for Module {
    fn drop(&mut self) {
        if let Err(error) = self.pkcs11.clone().finalize() {
            tracing::warn!(%error, "the PKCS#11 module could not be finalised");
        }
    }
}

/// A token with one session.
pub(crate) struct Token {
    // INVARIANT: declared before the module, and so dropped before it: dropping the module finalises it.
    session: Session,
    slot: Slot,
    identity: Identity,
    module: Module,
    /// The number of keys and key pairs that the token was asked to generate.
    #[cfg(test)]
    made: std::cell::Cell<usize>,
    /// What fails from now on, for tests.
    #[cfg(test)]
    pub(crate) fails: std::cell::Cell<Option<Fails>>,
}

/// What a test makes fail.
#[cfg(test)]
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fails {
    /// The token has no room for another object.
    Room,
    /// Every `C_WrapKey`.
    Wraps,
    /// Every search for charters.
    Searches,
}

impl Token {
    /// Loads the module, finds the token by its label, and logs in. A PIN is tried once.
    pub(crate) fn open(config: &HsmConfig) -> Result<Self, HsmError> {
        let module = Module::load(config)?;
        let slot = module.find(&config.token_label)?;
        let identity = module.identify(slot)?;
        let session = module.session(slot, config)?;
        Ok(Self {
            session,
            slot,
            identity,
            module,
            #[cfg(test)]
            made: std::cell::Cell::default(),
            #[cfg(test)]
            fails: std::cell::Cell::default(),
        })
    }

    /// Replaces a lost session. The new one may reach another token with that label, such as another member of a cluster, so
    /// [`Token::identity`] is read again.
    pub(crate) fn replace_session(&mut self, config: &HsmConfig) -> Result<(), HsmError> {
        self.slot = self.module.find(&config.token_label)?;
        self.identity = self.module.identify(self.slot)?;
        self.session = self.module.session(self.slot, config)?;
        Ok(())
    }

    pub(crate) fn is_logged_in(&self) -> bool {
        self.session.get_session_info().is_ok_and(|info| matches!(info.session_state(), SessionState::RwUser))
    }

    pub(crate) fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Reads the module's file, for its digest.
    pub(crate) fn library(&self) -> Result<Library, HsmError> {
        self.module.library()
    }

    /// The mechanisms that the token offers and `cryptoki` knows, in ascending order.
    pub(crate) fn mechanisms(&self) -> Result<Vec<u64>, HsmError> {
        let list = self.module.pkcs11.get_mechanism_list(self.slot).map_err(HsmError::token("listing mechanisms"))?;
        let mut numbers: Vec<u64> = list.into_iter().map(|mechanism| *mechanism).collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// The number of keys and key pairs that the token was asked to generate since it was opened.
    #[cfg(test)]
    pub(crate) fn made(&self) -> usize {
        self.made.get()
    }

    pub(crate) fn session(&self) -> &Session {
        &self.session
    }

    pub(crate) fn ephemeral(&self, handle: ObjectHandle) -> Ephemeral<'_> {
        Ephemeral { token: self, handle }
    }

    /// Generates a random key. It is destroyed when the guard is dropped.
    pub(crate) fn generate(&self, mechanism: &Mechanism<'_>, template: &[Attribute]) -> Result<Ephemeral<'_>, Pkcs11Error> {
        #[cfg(test)]
        self.made.set(self.made.get() + 1);
        self.session.generate_key(mechanism, template).map(|handle| self.ephemeral(handle))
    }

    /// Generates a random key pair: public key, private key. Both are destroyed when their guards are dropped.
    pub(crate) fn generate_pair(
        &self,
        mechanism: &Mechanism<'_>,
        public: &[Attribute],
        private: &[Attribute],
    ) -> Result<(Ephemeral<'_>, Ephemeral<'_>), Pkcs11Error> {
        #[cfg(test)]
        self.made.set(self.made.get() + 1);
        self.session
            .generate_key_pair(mechanism, public, private)
            .map(|(public, private)| (self.ephemeral(public), self.ephemeral(private)))
    }

    /// The lengths of RSA moduli, in bits, that the token says it generates. `None`: it generates no RSA keys.
    pub(crate) fn rsa_sizes(&self) -> Option<std::ops::RangeInclusive<usize>> {
        let info = self.module.pkcs11.get_mechanism_info(self.slot, MechanismType::RSA_PKCS_KEY_PAIR_GEN).ok()?;
        Some(info.min_key_size()..=info.max_key_size())
    }

    /// `C_WrapKey`.
    pub(crate) fn wrap(&self, mechanism: &Mechanism<'_>, wrapping_key: ObjectHandle, key: ObjectHandle) -> Result<Vec<u8>, Pkcs11Error> {
        #[cfg(test)]
        if self.fails.get() == Some(Fails::Wraps) {
            return Err(Pkcs11Error::Pkcs11(RvError::FunctionFailed, cryptoki::context::Function::WrapKey));
        }
        self.module.raw.wrap(&self.session, mechanism, wrapping_key, key)
    }

    /// `C_UnwrapKey`. The key is destroyed when the guard is dropped.
    pub(crate) fn unwrap(
        &self,
        mechanism: &Mechanism<'_>,
        wrapping_key: ObjectHandle,
        wrapped: &[u8],
        template: &[Attribute],
    ) -> Result<Ephemeral<'_>, Pkcs11Error> {
        self.session.unwrap_key(mechanism, wrapping_key, wrapped, template).map(|handle| self.ephemeral(handle))
    }

    /// Makes a data object that stays.
    pub(crate) fn keep(&self, template: &[Attribute]) -> Result<ObjectHandle, Pkcs11Error> {
        #[cfg(test)]
        if self.fails.get() == Some(Fails::Room) {
            return Err(Pkcs11Error::Pkcs11(RvError::DeviceMemory, cryptoki::context::Function::CreateObject));
        }
        self.session.create_object(template)
    }

    /// The objects with these attributes.
    pub(crate) fn find(&self, search: &[Attribute]) -> cryptoki::error::Result<Vec<ObjectHandle>> {
        #[cfg(test)]
        if self.fails.get() == Some(Fails::Searches) {
            return Err(Pkcs11Error::Pkcs11(RvError::FunctionFailed, cryptoki::context::Function::FindObjects));
        }
        self.session.find_objects(search)
    }

    /// The only object with these attributes. `None`: there is none. An error if there are several.
    pub(crate) fn find_one(&self, label: &str, template: &[Attribute]) -> Result<Option<ObjectHandle>, HsmError> {
        let found = self.session.find_objects(template).map_err(HsmError::token("looking for an object"))?;
        match found[..] {
            [] => Ok(None),
            [handle] => Ok(Some(handle)),
            _ => Err(HsmError::Doubled { label: label.to_owned(), count: found.len() }),
        }
    }

    /// The attributes that the token shows, in any order. Those that it does not know are missing.
    pub(crate) fn attributes(&self, handle: ObjectHandle, attributes: &[AttributeType]) -> Result<Vec<Attribute>, HsmError> {
        self.session.get_attributes(handle, attributes).map_err(HsmError::token("reading attributes"))
    }
}

/// A session object that is destroyed when this is dropped.
pub(crate) struct Ephemeral<'token> {
    token: &'token Token,
    handle: ObjectHandle,
}

impl Ephemeral<'_> {
    pub(crate) fn handle(&self) -> ObjectHandle {
        self.handle
    }
}

impl Drop for Ephemeral<'_> {
    fn drop(&mut self) {
        // A lost session took its objects with it.
        if let Err(error) = self.token.session.destroy_object(self.handle) {
            tracing::warn!(%error, "a session object could not be destroyed before its session ends");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_little_memory_for_a_login_is_no_wrong_pin() {
        memory_for(LOGIN_MEMORY).unwrap();
        // More than any machine can address.
        let error = memory_for(usize::MAX >> 2).unwrap_err();
        assert!(matches!(error, HsmError::NoMemory), "{error}");
    }
}
