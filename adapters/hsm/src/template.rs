//! Templates: what keys are allowed to do, written out completely.
//!
//! Owns the one place where usages become PKCS#11 attributes, so that what is asked for and what is checked later are the same list.

use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass};

use crate::HsmError;
use crate::error::is_refusal;
use crate::pkcs11::{self, TemplateKind};
use crate::token::Token;

/// What a secret key may be used for; everything else is off.
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

/// Where a key lives, and whether it can leave wrapped.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Life {
    /// In the token, for good; never leaves.
    Root,
    /// In the session; never leaves.
    Held,
    /// In the session; may leave wrapped.
    Passing,
}

/// What every secret key of ours has, in bytes: 256 bits.
pub(crate) const SECRET_BYTES: u64 = 32;

/// Every attribute of an AES-256 key of ours but its names.
pub(crate) fn secret(life: Life, uses: &[Use]) -> Vec<Attribute> {
    secret_of(KeyType::AES, life, uses)
}

/// Every attribute of a secret key of ours but its names.
///
/// INVARIANT: a key that may wrap may never decrypt: it would give out in clear what it wrapped.
pub(crate) fn secret_of(key_type: KeyType, life: Life, uses: &[Use]) -> Vec<Attribute> {
    let may = |what| uses.contains(&what);
    vec![
        Attribute::Class(ObjectClass::SECRET_KEY),
        Attribute::KeyType(key_type),
        Attribute::Token(life == Life::Root),
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(life == Life::Passing),
        // SoftHSM refuses to unwrap into what nobody may modify: it writes the value after the template.
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

/// The same for AES with its length.
pub(crate) fn secret_of_256_bits(life: Life, uses: &[Use]) -> Vec<Attribute> {
    with_length(secret(life, uses))
}

/// The template of a secret key with its length: what generating and deriving ask for, and unwrapping forbids.
pub(crate) fn with_length(mut template: Vec<Attribute>) -> Vec<Attribute> {
    template.push(Attribute::ValueLen(SECRET_BYTES.into()));
    template
}

/// Every attribute of a private key in the session but what it is made of. It knows no uses but signing and decrypting.
pub(crate) fn private(key_type: KeyType, life: Life, uses: &[Use]) -> Vec<Attribute> {
    vec![
        Attribute::Class(ObjectClass::PRIVATE_KEY),
        Attribute::KeyType(key_type),
        Attribute::Token(false),
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(life == Life::Passing),
        // As for secret keys: SoftHSM writes what it unwrapped after the template.
        Attribute::Modifiable(life == Life::Passing),
        Attribute::Sign(uses.contains(&Use::Sign)),
        Attribute::Decrypt(uses.contains(&Use::Decrypt)),
        Attribute::SignRecover(false),
        Attribute::Unwrap(false),
        Attribute::Derive(false),
    ]
}

/// The public half of a pair in the session but what it is made of: it can do nothing, and is gone once it was read.
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

/// A template as generating a pair takes it: class and kind are the mechanism's to say, and some tokens refuse to be told.
pub(crate) fn of_pair(mut template: Vec<Attribute>) -> Vec<Attribute> {
    template.retain(|attribute| !matches!(attribute, Attribute::Class(_) | Attribute::KeyType(_)));
    template
}

/// The private audit key but its names: it signs, and nothing else.
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

/// The public audit key but its names and its curve.
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

/// Names for an object: found by its label, and by its id where an administrator's tool shows ids alone.
pub(crate) fn named(mut template: Vec<Attribute>, label: &str) -> Vec<Attribute> {
    template.push(Attribute::Label(label.as_bytes().to_vec()));
    template.push(Attribute::Id(label.as_bytes().to_vec()));
    template
}

/// Which further fences a token takes; each was tried on a throwaway key. A token that takes one may still not
/// enforce it: that is what the negative controls find out.
#[derive(Clone, Copy)]
pub(crate) struct Fences {
    copyable: bool,
    allowed_mechanisms: bool,
    wrap_template: bool,
    unwrap_template: bool,
    derive_template: bool,
}

impl Fences {
    /// Tries each on a throwaway key.
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

    /// Adds what the token takes to the template of a root key, for these mechanisms and no others.
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

/// The root wrapping key wraps what nobody can read.
fn wrap_template() -> Attribute {
    pkcs11::template(TemplateKind::Wrap, &[(AttributeType::Sensitive, true)])
}

/// What the root wrapping key unwraps is a copy and nothing else: nobody reads it, it decrypts nothing and unwraps nothing.
///
/// INVARIANT: every attribute here is one of secret and private keys alike. A token adds what a request leaves out, and
/// kryoptic then refuses what the object's class does not have (`merge_template_attribute`, `internal_object_create`): with
/// `CKA_WRAP` in it, no private key could ever be unwrapped again.
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

/// What is derived is a copy or the MAC key: nobody reads it, it decrypts nothing and wraps nothing.
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
