//! What `cryptoki` 0.12.1 cannot do. The only module with unsafe code.
//!
//! Owns `C_WrapKey` with the length that the token wrote (`Session::wrap_key` returns the length of its first answer), mechanisms that the
//! crate lacks, and attributes whose value is a template. Must not know what keys are for.
#![expect(unsafe_code, reason = "cryptoki 0.12.1 has no safe way to these calls and mechanisms")]

use std::ffi::CStr;
use std::path::Path;
use std::ptr::NonNull;

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Function, Pkcs11};
use cryptoki::error::{Error, Rv};
use cryptoki::mechanism::rsa::PkcsOaepParams;
use cryptoki::mechanism::vendor_defined::VendorDefinedMechanism;
use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::object::{Attribute, AttributeType, ObjectHandle};
use cryptoki::session::Session;
use cryptoki_sys as sys;

/// The largest output of one wrap, in bytes. An RSA-4096 private key as PKCS#8 (about 2.4 KiB) under AES-KWP, behind an RSA-4096 block (512
/// bytes), has less than 3 KiB. There is one buffer and one call, because some tokens only estimate the length when asked for it.
const MAX_WRAPPED: usize = 8 * 1024;

/// A second handle to a module that `cryptoki` has loaded. Loading the same path again returns the same library.
pub(crate) struct RawModule {
    // INVARIANT: outlives `wrap_key`, which points into the library.
    _library: sys::Pkcs11,
    wrap_key: WrapKey,
}

type WrapKey = unsafe extern "C" fn(
    sys::CK_SESSION_HANDLE,
    *mut sys::CK_MECHANISM,
    sys::CK_OBJECT_HANDLE,
    sys::CK_OBJECT_HANDLE,
    *mut sys::CK_BYTE,
    *mut sys::CK_ULONG,
) -> sys::CK_RV;

impl RawModule {
    /// Loads the module at `path`, which `cryptoki` has already loaded.
    pub(crate) fn load(path: &Path) -> Result<Self, Error> {
        // SAFETY: loading runs the library's initialisers; cryptoki has run those of this same library before.
        let library = unsafe { sys::Pkcs11::new(path) }.map_err(Error::LibraryLoading)?;
        let mut list: *mut sys::CK_FUNCTION_LIST = std::ptr::null_mut();
        // SAFETY: `list` is a valid place for one pointer, as C_GetFunctionList asks.
        let rv = unsafe { library.C_GetFunctionList(&mut list) };
        Rv::from(rv).into_result(Function::GetFunctionList)?;
        if list.is_null() {
            return Err(Error::NullFunctionPointer);
        }
        // SAFETY: the call succeeded, so `list` points to the module's function list, which lives as long as the library.
        let wrap_key = unsafe { (*list).C_WrapKey }.ok_or(Error::NullFunctionPointer)?;
        Ok(Self { _library: library, wrap_key })
    }

    /// Calls `C_WrapKey`, and cuts the output to the length that the token wrote.
    pub(crate) fn wrap(
        &self,
        session: &Session,
        mechanism: &Mechanism<'_>,
        wrapping_key: ObjectHandle,
        key: ObjectHandle,
    ) -> Result<Vec<u8>, Error> {
        let mut mechanism = sys::CK_MECHANISM::from(mechanism);
        let mut wrapped = vec![0; MAX_WRAPPED];
        let mut length = wrapped.len() as sys::CK_ULONG;
        // SAFETY: the mechanism and its parameter live across the call; `wrapped` has `length` writable bytes; the handles are
        // plain numbers that the token checks.
        let rv = unsafe {
            (self.wrap_key)(session.handle(), &mut mechanism, wrapping_key.handle(), key.handle(), wrapped.as_mut_ptr(), &mut length)
        };
        Rv::from(rv).into_result(Function::WrapKey)?;
        let length = usize::try_from(length)?;
        if length > wrapped.len() {
            return Err(Error::InvalidValue);
        }
        wrapped.truncate(length);
        Ok(wrapped)
    }
}

/// Calls `C_Initialize` with the reserved string by which software tokens find their file.
pub(crate) fn initialize(module: &Pkcs11, reserved: Option<&CStr>) -> Result<(), Error> {
    let flags = CInitializeFlags::OS_LOCKING_OK;
    let args = match reserved.and_then(|text| NonNull::new(text.as_ptr().cast_mut().cast())) {
        // SAFETY: the pointer is to a NUL-terminated string that lives across the call; a module that knows the reserved
        // field reads it as one and does not write to it.
        Some(pointer) => unsafe { CInitializeArgs::new_with_reserved(flags, pointer) },
        None => CInitializeArgs::new(flags),
    };
    module.initialize(args)
}

pub(crate) fn kwp() -> Mechanism<'static> {
    Mechanism::VendorDefined(VendorDefinedMechanism::new::<u8>(mechanism_type(sys::CKM_AES_KEY_WRAP_KWP), None))
}

/// For lists of allowed mechanisms.
pub(crate) fn kwp_type() -> MechanismType {
    mechanism_type(sys::CKM_AES_KEY_WRAP_KWP)
}

/// The parameter of [`rsa_aes_key_wrap`]. The AES key between RSA-OAEP and AES-KWP has 256 bits.
pub(crate) fn rsa_aes_parameter(oaep: &PkcsOaepParams<'_>) -> sys::CK_RSA_AES_KEY_WRAP_PARAMS {
    // `PkcsOaepParams` is `repr(C)` with the fields of CK_RSA_PKCS_OAEP_PARAMS.
    sys::CK_RSA_AES_KEY_WRAP_PARAMS { ulAESKeyBits: 256, pOAEPParams: std::ptr::from_ref(oaep).cast_mut().cast() }
}

/// The token's own RSA-AES key wrap: RSA-OAEP of a new AES key, followed by AES-KWP. `parameter` points to its `oaep`, which has to outlive
/// the mechanism.
pub(crate) fn rsa_aes_key_wrap(parameter: &sys::CK_RSA_AES_KEY_WRAP_PARAMS) -> Mechanism<'_> {
    Mechanism::VendorDefined(VendorDefinedMechanism::new(mechanism_type(sys::CKM_RSA_AES_KEY_WRAP), Some(parameter)))
}

#[derive(Clone, Copy)]
pub(crate) enum TemplateKind {
    /// `CKA_WRAP_TEMPLATE`: the attributes that a key needs for this key to wrap it.
    Wrap,
    /// `CKA_UNWRAP_TEMPLATE`: the attributes that a key gets when this key unwraps it.
    Unwrap,
    /// `CKA_DERIVE_TEMPLATE`: the attributes that a key gets when it is derived from this key.
    Derive,
}

/// An attribute whose value is a template of booleans.
pub(crate) fn template(kind: TemplateKind, entries: &[(AttributeType, bool)]) -> Attribute {
    static TRUE: sys::CK_BBOOL = sys::CK_TRUE;
    static FALSE: sys::CK_BBOOL = sys::CK_FALSE;
    let inner: Vec<sys::CK_ATTRIBUTE> = entries
        .iter()
        .map(|&(attribute, value)| sys::CK_ATTRIBUTE {
            type_: attribute.into(),
            pValue: std::ptr::from_ref(if value { &TRUE } else { &FALSE }).cast_mut().cast(),
            ulValueLen: size_of::<sys::CK_BBOOL>() as sys::CK_ULONG,
        })
        .collect();
    // SAFETY: CK_ATTRIBUTE is three machine words without padding, so all its bytes are initialised. The pointers in it are to
    // statics, so that the copy stays good; the system's allocator aligns it for machine words.
    let bytes = unsafe { std::slice::from_raw_parts(inner.as_ptr().cast::<u8>(), size_of_val(inner.as_slice())) };
    let kind = match kind {
        TemplateKind::Wrap => sys::CKA_WRAP_TEMPLATE,
        TemplateKind::Unwrap => sys::CKA_UNWRAP_TEMPLATE,
        TemplateKind::Derive => sys::CKA_DERIVE_TEMPLATE,
    };
    Attribute::VendorDefined((AttributeType::VendorDefined(kind), bytes.to_vec()))
}

/// `MechanismType` has no constructor for standard mechanisms that it does not list.
fn mechanism_type(number: sys::CK_MECHANISM_TYPE) -> MechanismType {
    const { assert!(size_of::<MechanismType>() == size_of::<sys::CK_MECHANISM_TYPE>()) };
    // SAFETY: MechanismType is `repr(transparent)` over CK_MECHANISM_TYPE (its source says so), and every number is a valid one.
    unsafe { std::mem::transmute::<sys::CK_MECHANISM_TYPE, MechanismType>(number) }
}
