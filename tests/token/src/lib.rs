//! The lab's HSM: the kryoptic software token as a PKCS#11 module (`libkeyplane_token.so`).
//!
//! Owns the three symbols by which a PKCS#11 application finds all functions, and passes each call to kryoptic. Nothing links this crate:
//! `keyplane-hsm` loads it by its path, like a vendor's module. It is a development token: its keys are as safe as the file that holds
//! them. Only one process may use a token file at a time.
//!
//! The token file is named at `C_Initialize` by the reserved string: `PATH.sql`, or `kryoptic_conf=PATH`.

use std::alloc::System;

use kryoptic_lib::fns::general;
use kryoptic_lib::pkcs11::{
    CK_FLAGS, CK_FUNCTION_LIST_PTR_PTR, CK_INTERFACE_PTR, CK_INTERFACE_PTR_PTR, CK_RV, CK_ULONG_PTR, CK_UTF8CHAR_PTR, CK_VERSION_PTR,
};
use zeroizing_alloc::ZeroAlloc;

/// Wipes what is freed: kryoptic keeps no PIN, but it copies each, and frees the copies as they are.
#[global_allocator]
static ALLOCATOR: ZeroAlloc<System> = ZeroAlloc(System);

/// The functions of PKCS#11 2.40 (`C_GetFunctionList`).
///
/// # Safety
/// `list` is null or points to writable memory for one pointer.
// SAFETY: no other symbol of this name exists in this library, and the signature is the one that PKCS#11 gives it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn C_GetFunctionList(list: CK_FUNCTION_LIST_PTR_PTR) -> CK_RV {
    general::fn_get_function_list(list)
}

/// All interfaces, with names and versions (`C_GetInterfaceList`).
///
/// # Safety
/// `count` is null or points to a writable number; `list` is null or points to writable memory for as many interfaces as `count` says.
// SAFETY: no other symbol of this name exists in this library, and the signature is the one that PKCS#11 gives it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn C_GetInterfaceList(list: CK_INTERFACE_PTR, count: CK_ULONG_PTR) -> CK_RV {
    general::fn_get_interface_list(list, count)
}

/// One interface by name and version (`C_GetInterface`).
///
/// # Safety
/// `name` is null or a NUL-terminated string; `version` is null or points to a version; `interface` is null or points to writable memory
/// for one pointer.
// SAFETY: no other symbol of this name exists in this library, and the signature is the one that PKCS#11 gives it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn C_GetInterface(
    name: CK_UTF8CHAR_PTR,
    version: CK_VERSION_PTR,
    interface: CK_INTERFACE_PTR_PTR,
    flags: CK_FLAGS,
) -> CK_RV {
    general::fn_get_interface(name, version, interface, flags)
}
