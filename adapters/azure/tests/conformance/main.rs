//! The adapter at an emulated Key Vault and an emulated Managed HSM: what every cloud's adapter promises, and what only Azure has.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod answers;
mod emulated;
mod life;
mod readings;
mod requests;

mod managed_hsm {
    use crate::emulated::{Emulated, begin};
    use keyplane_azure::VaultKind;

    async fn hsm() -> Emulated {
        begin(VaultKind::ManagedHsm).await
    }

    keyplane_conformance::suite!(hsm);
}

mod key_vault {
    use crate::emulated::{Emulated, begin};
    use keyplane_azure::VaultKind;

    async fn vault() -> Emulated {
        begin(VaultKind::KeyVault).await
    }

    keyplane_conformance::suite!(vault);
}
