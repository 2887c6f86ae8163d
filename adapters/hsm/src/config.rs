//! The configuration of the token: which one, and how to log in.

use std::path::PathBuf;
use std::sync::Arc;

use cryptoki::types::AuthPin;
use zeroize::Zeroize as _;

use crate::HsmError;

/// The token that holds the root of trust, and how to log in.
#[derive(Clone)]
pub struct HsmConfig {
    /// The vendor's PKCS#11 module: a shared library.
    pub module: PathBuf,
    /// The token's label. Slot numbers do not identify a token, since they change.
    pub token_label: String,
    /// The reserved string of `C_Initialize`, by which software tokens find their file (kryoptic: `PATH.sql`). `None` for most
    /// tokens.
    pub init: Option<String>,
    /// Gives the user PIN. `None`: the token asks for it by itself (PKCS#11: protected authentication path).
    pub pin: Option<PinSource>,
}

/// Gives the PIN for each login: the first, and another one when the session is lost. Between them the PIN is not in memory.
#[derive(Clone)]
pub struct PinSource(Arc<dyn Fn() -> Result<Pin, HsmError> + Send + Sync>);

impl PinSource {
    /// `read` fails with [`HsmError::PinMissing`] when the PIN cannot be read.
    #[must_use]
    pub fn new(read: impl Fn() -> Result<Pin, HsmError> + Send + Sync + 'static) -> Self {
        Self(Arc::new(read))
    }

    /// # Errors
    /// When the PIN cannot be read now, or is none.
    pub fn read(&self) -> Result<Pin, HsmError> {
        (self.0)()
    }
}

/// A PIN. Boxed, wiped from memory when dropped, and never printed.
pub struct Pin(AuthPin);

impl Pin {
    /// The longest PIN, in bytes: `ulMaxPinLen` is 255 or less on every token that we know.
    pub const MAX: usize = 255;

    /// Takes a PIN as it was read from a file or an environment variable. One line end after it is removed.
    ///
    /// # Errors
    /// [`HsmError::PinLength`] when the PIN is empty or too long.
    pub fn new(mut text: String) -> Result<Self, HsmError> {
        let pin = text.strip_suffix('\n').unwrap_or(&text);
        let pin = pin.strip_suffix('\r').unwrap_or(pin);
        let result = if pin.is_empty() || pin.len() > Self::MAX {
            Err(HsmError::PinLength { max: Self::MAX })
        } else {
            Ok(Self(AuthPin::from(Box::<str>::from(pin))))
        };
        text.zeroize();
        result
    }

    pub(crate) fn expose_pin(&self) -> &AuthPin {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_end_after_a_pin_does_not_count_and_an_empty_one_is_refused() {
        for text in ["", "\n", "\r\n", &"1".repeat(256)] {
            assert!(matches!(Pin::new(text.to_owned()), Err(HsmError::PinLength { .. })), "{text:?} was taken");
        }
        assert!(Pin::new("1234\n".to_owned()).is_ok());
        assert!(Pin::new("1".repeat(255)).is_ok());
    }
}
