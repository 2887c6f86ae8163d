//! What `--fixed-pairs` means, for every cloud.

use keyplane_emulator_core::crypto::RsaPairs;

/// Where RSA pairs come from: from files that are the same for everybody, or from generation alone.
pub(crate) fn pairs(fixed: bool) -> RsaPairs {
    if fixed { RsaPairs::fixed() } else { RsaPairs::default() }
}
