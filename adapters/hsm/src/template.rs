//! Templates: the complete attribute lists of keys.
//!
//! The only place where uses become PKCS#11 attributes. Keys are made and checked by the same list.

use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass};

use crate::HsmError;
use crate::error::is_refusal;
use crate::pkcs11::{self, TemplateKind};
use crate::token::Token;

/// A use of a secret key. Uses that are not listed are off.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Use {
    Encrypt,
    Decrypt,
    Sign,
    Verify,
    Wrap,
    Unwrap,
    Derive,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Life {
    /// A token object that can never be wrapped.
    Root,
    /// A session object that can never be wrapped.
    Held,
    /// A session object that may be wrapped.
    Passing,
}

/// The length of every secret key that we make, in bytes: 256 bits.
pub(crate) const SECRET_BYTES: u64 = 32;

/// All attributes of an AES-256 key, except label and id.
pub(crate) fn secret(life: Life, uses: &[Use]) -> Vec<Attribute> {
    secret_of(KeyType::AES, life, uses)
}

/// All attributes of a secret key, except label and id.
///
/// INVARIANT: a key that may wrap may never decrypt, or it could decrypt what it wrapped.
pub(crate) fn secret_of(key_type: KeyType, life: Life, uses: &[Use]) -> Vec<Attribute> {
    let may = |what| uses.contains(&what);
    vec![
        Attribute::Class(ObjectClass::SECRET_KEY),
        Attribute::KeyType(key_type),
        Attribute::Token(life == Life::Root),
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(life == Life::Passing),
        // SoftHSM sets the value after it applies the template, so it cannot unwrap into an unmodifiable key.
        Attribute::Modifiable(life == Life::Passing),
        Attribute::Encrypt(may(Use::Encrypt)),
        Attribute::Decrypt(may(Use::Decrypt)),
        Attribute::Sign(may(Use::Sign)),
        Attribute::Verify(may(Use::Verify)),
        Attribute::Wrap(may(Use::Wrap)),
        Attribute::Unwrap(may(Use::Unwrap)),
        Attribute::Derive(may(Use::Derive)),
    ]
}

/// [`secret`] with the length.
pub(crate) fn secret_of_256_bits(life: Life, uses: &[Use]) -> Vec<Attribute> {
    with_length(secret(life, uses))
}

/// Adds the length to a secret key's template. Generating and deriving need it; unwrapping forbids it.
pub(crate) fn with_length(mut template: Vec<Attribute>) -> Vec<Attribute> {
    template.push(Attribute::ValueLen(SECRET_BYTES.into()));
    template
}

/// All attributes of a private key in the session, except its numbers. Its only possible uses are signing and decrypting.
pub(crate) fn private(key_type: KeyType, life: Life, uses: &[Use]) -> Vec<Attribute> {
    vec![
        Attribute::Class(ObjectClass::PRIVATE_KEY),
        Attribute::KeyType(key_type),
        Attribute::Token(false),
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(life == Life::Passing),
        // As for secret keys: SoftHSM sets the unwrapped value after it applies the template.
        Attribute::Modifiable(life == Life::Passing),
        Attribute::Sign(uses.contains(&Use::Sign)),
        Attribute::Decrypt(uses.contains(&Use::Decrypt)),
        Attribute::SignRecover(false),
        Attribute::Unwrap(false),
        Attribute::Derive(false),
    ]
}

/// All attributes of a public key in the session, except its numbers. It has no use, and is destroyed once it was read.
pub(crate) fn public(key_type: KeyType) -> Vec<Attribute> {
    vec![
        Attribute::Class(ObjectClass::PUBLIC_KEY),
        Attribute::KeyType(key_type),
        Attribute::Token(false),
        Attribute::Private(false),
        Attribute::Verify(false),
        Attribute::VerifyRecover(false),
        Attribute::Encrypt(false),
        Attribute::Wrap(false),
        Attribute::Derive(false),
    ]
}

/// The template as `C_GenerateKeyPair` takes it: without class and key type. The mechanism sets those, and some tokens refuse them.
pub(crate) fn of_pair(mut template: Vec<Attribute>) -> Vec<Attribute> {
    template.retain(|attribute| !matches!(attribute, Attribute::Class(_) | Attribute::KeyType(_)));
    template
}

/// All attributes of the private audit key, except label and id. It signs, and does nothing else.
pub(crate) fn audit_private() -> Vec<Attribute> {
    vec![
        Attribute::Class(ObjectClass::PRIVATE_KEY),
        Attribute::KeyType(KeyType::EC),
        Attribute::Token(true),
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Modifiable(false),
        Attribute::Sign(true),
        Attribute::Decrypt(false),
        Attribute::Unwrap(false),
        Attribute::Derive(false),
    ]
}

/// All attributes of the public audit key, except label, id and curve.
pub(crate) fn audit_public() -> Vec<Attribute> {
    vec![
        Attribute::Class(ObjectClass::PUBLIC_KEY),
        Attribute::KeyType(KeyType::EC),
        Attribute::Token(true),
        Attribute::Private(false),
        Attribute::Modifiable(false),
        Attribute::Verify(true),
        Attribute::Encrypt(false),
        Attribute::Wrap(false),
        Attribute::Derive(false),
    ]
}

/// Adds label and id with the same text. We search by the label; the id is for tools that show only ids.
pub(crate) fn named(mut template: Vec<Attribute>, label: &str) -> Vec<Attribute> {
    template.push(Attribute::Label(label.as_bytes().to_vec()));
    template.push(Attribute::Id(label.as_bytes().to_vec()));
    template
}

/// The optional restrictions that a token accepts, each tried on a throwaway key. A token may accept one and not enforce it; the negative
/// controls find that out.
#[derive(Clone, Copy)]
pub(crate) struct Fences {
    copyable: bool,
    allowed_mechanisms: bool,
    wrap_template: bool,
    unwrap_template: bool,
    derive_template: bool,
}

impl Fences {
    /// Tries each restriction on a throwaway key.
    pub(crate) fn probe(token: &Token) -> Result<Self, HsmError> {
        let takes = |uses: &[Use], extra: Attribute| {
            let mut template = secret_of_256_bits(Life::Held, uses);
            template.push(extra);
            match token.generate(&Mechanism::AesKeyGen, &template) {
                Ok(_) => Ok(true),
                Err(error) if is_refusal(&error) => Ok(false),
                Err(error) => Err(HsmError::token("trying a template")(error)),
            }
        };
        Ok(Self {
            copyable: takes(&[Use::Encrypt], Attribute::Copyable(false))?,
            allowed_mechanisms: takes(&[Use::Encrypt], Attribute::AllowedMechanisms(vec![MechanismType::AES_ECB]))?,
            wrap_template: takes(&[Use::Wrap], wrap_template())?,
            unwrap_template: takes(&[Use::Unwrap], unwrap_template())?,
            derive_template: takes(&[Use::Derive], derive_template())?,
        })
    }

    /// Adds the accepted restrictions to a root key's template. The key can then be used with these mechanisms only.
    pub(crate) fn fence(self, mut template: Vec<Attribute>, uses: &[Use], mechanisms: &[MechanismType]) -> Vec<Attribute> {
        if self.copyable {
            template.push(Attribute::Copyable(false));
        }
        if self.allowed_mechanisms {
            template.push(Attribute::AllowedMechanisms(mechanisms.to_vec()));
        }
        if self.wrap_template && uses.contains(&Use::Wrap) {
            template.push(wrap_template());
        }
        if self.unwrap_template && uses.contains(&Use::Unwrap) {
            template.push(unwrap_template());
        }
        if self.derive_template && uses.contains(&Use::Derive) {
            template.push(derive_template());
        }
        template
    }
}

/// The root wrapping key wraps only keys that are sensitive.
fn wrap_template() -> Attribute {
    pkcs11::template(TemplateKind::Wrap, &[(AttributeType::Sensitive, true)])
}

/// The root wrapping key unwraps only copies: they are not readable, and neither decrypt nor unwrap.
///
/// INVARIANT: secret and private keys both have every attribute in this list. A token adds attributes that the request leaves out, and
/// kryoptic then refuses those that the object's class does not have (`merge_template_attribute`, `internal_object_create`). With
/// `CKA_WRAP` in the list it could unwrap no private key.
fn unwrap_template() -> Attribute {
    pkcs11::template(
        TemplateKind::Unwrap,
        &[
            (AttributeType::Token, false),
            (AttributeType::Private, true),
            (AttributeType::Sensitive, true),
            (AttributeType::Decrypt, false),
            (AttributeType::Unwrap, false),
            (AttributeType::Derive, false),
        ],
    )
}

/// A derived key is a copy or the MAC key: it is not readable, and neither decrypts nor wraps.
fn derive_template() -> Attribute {
    pkcs11::template(
        TemplateKind::Derive,
        &[
            (AttributeType::Token, false),
            (AttributeType::Private, true),
            (AttributeType::Sensitive, true),
            (AttributeType::Decrypt, false),
            (AttributeType::Wrap, false),
            (AttributeType::Unwrap, false),
            (AttributeType::Derive, false),
        ],
    )
}
