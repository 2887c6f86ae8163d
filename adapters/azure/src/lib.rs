//! Azure Key Vault and Managed HSM: an empty room.
//!
//! Will live here: the port's `Cloud` over `azure_security_keyvault_keys`: key exchange keys, transfer blobs, import as the
//! activating step, soft delete.
//!
//! May know: `port` and `model` alone. Only the `keyplane` binary may know it.
