//! Negative controls: operations that a token must refuse, tried on throwaway keys. A token that allows one of them is for
//! development only.

use cryptoki::error::Error as Pkcs11Error;
use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::object::{Attribute, AttributeType, ObjectHandle};
use keyplane_port::{EnrolmentCheck, Expected};

use crate::HsmError;
use crate::derive::{self, Label};
use crate::error::is_refusal;
use crate::pair::{Curve, Pair};
use crate::pkcs11;
use crate::routes::{Kwp, Routes};
use crate::template::{self, Fences, Life, Use};
use crate::token::{Ephemeral, Token};

pub(crate) fn run(token: &Token, routes: &Routes) -> Result<Vec<EnrolmentCheck>, HsmError> {
    let fences = Fences::probe(token)?;
    let mut controls = Controls { token, checks: Vec::new() };
    controls.values()?;
    controls.attributes()?;
    if let Some(kwp) = routes.kwp {
        controls.wrapping(fences, kwp)?;
    }
    if routes.derives {
        controls.derivation(fences, routes.kwp.unwrap_or(Kwp::Kwp))?;
    }
    Ok(controls.checks)
}

struct Controls<'token> {
    token: &'token Token,
    checks: Vec<EnrolmentCheck>,
}

/// The template of a key whose value can be read.
fn readable() -> Vec<Attribute> {
    replace(template::secret(Life::Passing, &[Use::Encrypt]), &[Attribute::Sensitive(false)])
}

/// The template of a copy that can also decrypt.
fn decrypting() -> Vec<Attribute> {
    template::secret(Life::Passing, &[Use::Encrypt, Use::Decrypt])
}

impl<'token> Controls<'token> {
    fn values(&mut self) -> Result<(), HsmError> {
        let key = self.key(&template::secret_of_256_bits(Life::Passing, &[Use::Encrypt]))?;
        self.hidden("reading a sensitive key's value", &key)
    }

    fn hidden(&mut self, name: &str, key: &Ephemeral<'_>) -> Result<(), HsmError> {
        let seen = self.token.session().get_attributes(key.handle(), &[AttributeType::Value]);
        let shown = seen.map(|attributes| (!attributes.is_empty()).then_some(()));
        self.note(name, shown.map(|shown| shown.ok_or("the value is left out")))
    }

    fn attributes(&mut self) -> Result<(), HsmError> {
        let changeable = |life| replace(template::secret_of_256_bits(life, &[Use::Encrypt]), &[Attribute::Modifiable(true)]);
        let passing = self.key(&changeable(Life::Passing))?;
        let held = self.key(&changeable(Life::Held))?;
        let fixed = self.key(&template::secret_of_256_bits(Life::Held, &[Use::Encrypt]))?;
        let session = self.token.session();
        self.refused("making a sensitive key readable", session.update_attributes(passing.handle(), &[Attribute::Sensitive(false)]))?;
        self.refused("letting a key out that may not leave", session.update_attributes(held.handle(), &[Attribute::Extractable(true)]))?;
        self.refused("changing a key that is not modifiable", session.update_attributes(fixed.handle(), &[Attribute::Decrypt(true)]))?;
        let copied = session.copy_object(held.handle(), &[Attribute::Extractable(true)]);
        self.refused_key("copying a key that may not leave into one that may", copied)
    }

    fn wrapping(&mut self, fences: Fences, kwp: Kwp) -> Result<(), HsmError> {
        const USES: &[Use] = &[Use::Wrap, Use::Unwrap];
        let allowed = [pkcs11::kwp_type(), MechanismType::AES_KEY_WRAP_PAD];
        let token = self.token;
        let (session, by) = (token.session(), kwp.mechanism());
        let kek = self.key(&template::secret_of_256_bits(Life::Held, USES))?;
        let fenced = self.key(&fences.fence(template::secret_of_256_bits(Life::Held, USES), USES, &allowed))?;
        let key = self.key(&template::secret_of_256_bits(Life::Passing, &[Use::Encrypt]))?;
        let held = self.key(&template::secret_of_256_bits(Life::Held, &[Use::Encrypt]))?;
        let wrap = |kek: &Ephemeral<'_>| token.wrap(&by, kek.handle(), key.handle()).map_err(HsmError::token("wrapping a throwaway key"));
        // `kek` has no fences, so here only its uses can cause a refusal.
        let wrapped = wrap(&kek)?;
        self.refused("wrapping a key that may not leave", token.wrap(&by, kek.handle(), held.handle()))?;
        self.refused("encrypting with a wrapping key", session.encrypt(&Mechanism::AesEcb, kek.handle(), &[0; 16]))?;
        self.refused("decrypting with a wrapping key", session.decrypt(&Mechanism::AesEcb, kek.handle(), &[0; 16]))?;
        self.refused("decrypting a wrapped key instead of unwrapping it", session.decrypt(&by, kek.handle(), &wrapped))?;
        // `fenced` has the fences of the root wrapping key.
        let wrapped = wrap(&fenced)?;
        self.refused(
            "wrapping by a mechanism that the key does not allow",
            token.wrap(&Mechanism::AesKeyWrap, fenced.handle(), key.handle()),
        )?;
        self.refused("unwrapping to a readable key", token.unwrap(&by, fenced.handle(), &wrapped, &readable()))?;
        self.refused("unwrapping to a key that decrypts", token.unwrap(&by, fenced.handle(), &wrapped, &decrypting()))?;
        self.private_keys(&kek, &fenced, &by)
    }

    /// The same controls for private keys. On P-256, because such pairs are generated quickly.
    fn private_keys(&mut self, kek: &Ephemeral<'_>, fenced: &Ephemeral<'_>, by: &Mechanism<'_>) -> Result<(), HsmError> {
        const PAIR: Pair = Pair::Ec(Curve::P256);
        const USES: &[Use] = &[Use::Sign];
        let token = self.token;
        let session = token.session();
        let (key, held) = match (PAIR.generate(token, Life::Passing, USES), PAIR.generate(token, Life::Held, USES)) {
            (Ok((key, _)), Ok((held, _))) => (key, held),
            // A token without elliptic curves generates no such key, so there is nothing to test. The self-tests report that.
            (Err(HsmError::Token { source, .. }), _) if is_refusal(&source) => return Ok(()),
            (Err(error), _) | (_, Err(error)) => return Err(error),
        };
        let private = |uses, with: &[Attribute]| replace(template::private(PAIR.key_type(), Life::Passing, uses), with);
        self.hidden("reading a private key", &key)?;
        self.refused("making a private key readable", session.update_attributes(key.handle(), &[Attribute::Sensitive(false)]))?;
        self.refused("wrapping a private key that may not leave", token.wrap(by, kek.handle(), held.handle()))?;
        let wrapped = token.wrap(by, fenced.handle(), key.handle());
        let wrapped = match wrapped {
            Ok(wrapped) => wrapped,
            Err(error) if is_refusal(&error) => return Ok(()),
            Err(error) => return Err(HsmError::token("wrapping a throwaway key")(error)),
        };
        let unwrap = |template: &[Attribute]| token.unwrap(by, fenced.handle(), &wrapped, template);
        self.refused("unwrapping to a readable private key", unwrap(&private(USES, &[Attribute::Sensitive(false)])))?;
        self.refused("unwrapping to a private key that decrypts", unwrap(&private(&[Use::Sign, Use::Decrypt], &[])))?;
        self.refused("unwrapping to a private key that stays", unwrap(&private(USES, &[Attribute::Token(true)])))
    }

    fn derivation(&mut self, fences: Fences, kwp: Kwp) -> Result<(), HsmError> {
        const USES: &[Use] = &[Use::Derive];
        let allowed = [MechanismType::SP800_108_COUNTER_KDF];
        let token = self.token;
        let session = token.session();
        let root = self.key(&template::secret_of_256_bits(Life::Held, USES))?;
        let fenced = self.key(&fences.fence(template::secret_of_256_bits(Life::Held, USES), USES, &allowed))?;
        let key = self.key(&template::secret_of_256_bits(Life::Passing, &[Use::Encrypt]))?;
        let derive = |mut template: Vec<Attribute>| {
            template.push(Attribute::ValueLen(32.into()));
            derive::derive(token, fenced.handle(), Label::Copy, &[], &template)
        };
        self.refused("encrypting with a derivation key", session.encrypt(&Mechanism::AesEcb, root.handle(), &[0; 16]))?;
        self.refused("signing with a derivation key", session.sign(&Mechanism::AesCMac, root.handle(), &[0; 16]))?;
        self.refused("wrapping with a derivation key", token.wrap(&kwp.mechanism(), root.handle(), key.handle()))?;
        self.refused("deriving a readable key", derive(readable()))?;
        self.refused("deriving a key that decrypts", derive(decrypting()))
    }

    fn key(&self, template: &[Attribute]) -> Result<Ephemeral<'token>, HsmError> {
        self.token.generate(&Mechanism::AesKeyGen, template).map_err(HsmError::token("making a throwaway key"))
    }

    fn refused<T>(&mut self, name: &str, attempt: Result<T, Pkcs11Error>) -> Result<(), HsmError> {
        self.note(name, attempt.map(|_| Ok(())))
    }

    /// Like [`Self::refused`], for a handle. The key is destroyed if the token made it.
    fn refused_key(&mut self, name: &str, attempt: Result<ObjectHandle, Pkcs11Error>) -> Result<(), HsmError> {
        let token = self.token;
        self.refused(name, attempt.map(|handle| token.ephemeral(handle)))
    }

    /// Records one control. `Ok(Ok)`: the token allowed it. `Ok(Err)`: the call succeeded and revealed nothing. `Err`: the token's
    /// error.
    fn note(&mut self, name: &str, attempt: Result<Result<(), &'static str>, Pkcs11Error>) -> Result<(), HsmError> {
        let (passed, detail) = match attempt {
            Ok(Ok(())) => (false, "the token allows it".to_owned()),
            Ok(Err(how)) => (true, how.to_owned()),
            Err(Pkcs11Error::Pkcs11(rv, function)) if is_refusal(&Pkcs11Error::Pkcs11(rv, function)) => (true, format!("refused ({rv:?})")),
            Err(error) => return Err(HsmError::token("trying what must be refused")(error)),
        };
        self.checks.push(EnrolmentCheck { name: name.to_owned(), expected: Expected::Refused, passed, detail });
        Ok(())
    }
}

fn replace(mut template: Vec<Attribute>, with: &[Attribute]) -> Vec<Attribute> {
    for attribute in with {
        template.retain(|old| old.attribute_type() != attribute.attribute_type());
        template.push(attribute.clone());
    }
    template
}
