//! What follows from a vault's name and kind: the resource of its tokens, the login service, and its algorithms.

use std::fmt;

use keyplane_model::Algorithm;
use serde::Serialize;

/// The length of a vault's name without its suffix, in characters ("Vault name and Managed HSM pool name", Key Vault documentation).
const NAME_LENGTH: std::ops::RangeInclusive<usize> = 3..=24;

/// The suffixes of vaults' names, each with the kind of vault and its cloud's login service ("Key Vault and Managed HSM DNS suffixes by
/// cloud", Key Vault documentation; "National clouds", Entra documentation).
const SUFFIXES: [(&str, VaultKind, &str); 6] = [
    ("vault.azure.net", VaultKind::KeyVault, "https://login.microsoftonline.com"),
    ("managedhsm.azure.net", VaultKind::ManagedHsm, "https://login.microsoftonline.com"),
    ("vault.azure.cn", VaultKind::KeyVault, "https://login.partner.microsoftonline.cn"),
    ("managedhsm.azure.cn", VaultKind::ManagedHsm, "https://login.partner.microsoftonline.cn"),
    ("vault.usgovcloudapi.net", VaultKind::KeyVault, "https://login.microsoftonline.us"),
    ("managedhsm.usgovcloudapi.net", VaultKind::ManagedHsm, "https://login.microsoftonline.us"),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum VaultKind {
    /// Azure Key Vault, Premium: RSA and EC keys, in HSMs that customers share.
    KeyVault,
    /// Azure Managed HSM: RSA, EC and AES keys, in an HSM partition of one's own.
    ManagedHsm,
}

impl fmt::Display for VaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::KeyVault => "Key Vault",
            Self::ManagedHsm => "Managed HSM",
        })
    }
}

/// The resource, kind and login service of the vault with this name. The error says what is wrong with the name.
pub(crate) fn named(vault: &str) -> Result<(&'static str, VaultKind, &'static str), &'static str> {
    let (name, suffix) = vault.split_once('.').ok_or("it is written as `name.vault.azure.net` or `name.managedhsm.azure.net`")?;
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let begins = name.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase());
    if !NAME_LENGTH.contains(&name.len()) || !name.bytes().all(plain) || !begins || name.ends_with('-') {
        return Err("its name has 3 to 24 small letters, digits and `-`, and begins with a letter");
    }
    SUFFIXES.into_iter().find(|(known, ..)| *known == suffix).ok_or("it is under no name of Key Vault's or Managed HSM's")
}

/// The algorithms that can be imported as HSM keys, as far as Keyplane supports them.
// contract: azure.targets, azure.kinds
pub(crate) fn algorithms(kind: VaultKind) -> Vec<Algorithm> {
    use Algorithm as A;
    let mut algorithms = vec![A::Rsa2048, A::Rsa3072, A::Rsa4096, A::EcP256, A::EcP384];
    if kind == VaultKind::ManagedHsm {
        algorithms.push(A::Aes256);
    }
    algorithms
}
