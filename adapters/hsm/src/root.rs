//! The root epoch in the token: its objects are generated once, found by label, and compared with their templates each time.

use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::object::{Attribute, AttributeType, ObjectHandle};
use keyplane_model::EpochId;

use crate::HsmError;
use crate::derive::{self, Label};
use crate::error::Unsupported;
use crate::pair::{self, Curve};
use crate::pkcs11;
use crate::template::{self, Fences, Life, Use, named};
use crate::token::{Ephemeral, Token};

pub(crate) const FIRST: EpochId = EpochId(1);

/// The handles of a complete root epoch.
pub(crate) struct Root {
    /// Derives copies and the MAC key, and does nothing else. `None`: the token cannot derive.
    pub(crate) derivation: Option<ObjectHandle>,
    /// Wraps and unwraps copies, and does nothing else.
    pub(crate) wrapping: ObjectHandle,
    /// Signs checkpoints of the audit log. Nothing does so yet.
    pub(crate) audit: ObjectHandle,
    pub(crate) audit_public: ObjectHandle,
    /// Seals blobs, charters and proof records. `None`: the MAC key is derived.
    mac: Option<ObjectHandle>,
}

/// The objects of a root epoch that the token holds; some may be missing.
#[derive(Default)]
struct Parts {
    derivation: Option<ObjectHandle>,
    mac: Option<ObjectHandle>,
    wrapping: Option<ObjectHandle>,
    audit: Option<ObjectHandle>,
    audit_public: Option<ObjectHandle>,
}

impl Root {
    /// The newest complete epoch. Epochs are numbered without gaps. `None`: the token holds none.
    pub(crate) fn newest(token: &Token) -> Result<Option<EpochId>, HsmError> {
        let mut newest = None;
        let mut epoch = FIRST;
        while Parts::find(token, epoch)?.complete().is_some() {
            newest = Some(epoch);
            epoch = epoch.next();
        }
        Ok(newest)
    }

    /// Opens an epoch, which has to be complete.
    pub(crate) fn open(token: &Token, epoch: EpochId) -> Result<Self, HsmError> {
        Parts::find(token, epoch)?.complete().ok_or(HsmError::EpochMissing(epoch))
    }

    /// Generates the missing objects of an epoch, and returns their labels.
    pub(crate) fn enrol(token: &Token, epoch: EpochId, derives: bool) -> Result<Vec<String>, HsmError> {
        let parts = Parts::find(token, epoch)?;
        let fences = Fences::probe(token)?;
        let mut made = Vec::new();
        // The first object decides for the whole epoch whether its MAC key is derived. A token that learns to derive later does so from its
        // next epoch on.
        if parts.derivation.is_none() && parts.mac.is_none() {
            if derives {
                let allowed = [MechanismType::SP800_108_COUNTER_KDF];
                made.push(make_secret(token, fences, &label(epoch, "derive"), DERIVATION, &allowed)?);
            } else {
                made.push(make_secret(token, fences, &label(epoch, "mac"), MAC, &[MechanismType::AES_CMAC])?);
            }
        }
        if parts.wrapping.is_none() {
            let allowed = [pkcs11::kwp_type(), MechanismType::AES_KEY_WRAP_PAD];
            made.push(make_secret(token, fences, &label(epoch, "wrap"), WRAPPING, &allowed)?);
        }
        if parts.audit.is_none() {
            made.push(make_audit(token, fences, &label(epoch, "audit"))?);
        }
        Ok(made)
    }

    /// The key that seals: derived for each use or, if the token cannot derive, a token object.
    pub(crate) fn mac_key<'token>(&self, token: &'token Token) -> Result<MacKey<'token>, HsmError> {
        match (self.derivation, self.mac) {
            (_, Some(object)) => Ok(MacKey::Object(object)),
            (Some(root), None) => {
                let template = template::secret_of_256_bits(Life::Held, MAC);
                derive::derive(token, root, Label::Mac, &[], &template)
                    .map(MacKey::Derived)
                    .map_err(HsmError::token("deriving the MAC key"))
            }
            (None, None) => Err(Unsupported::Derivation.into()),
        }
    }
}

pub(crate) enum MacKey<'token> {
    /// Destroyed when dropped.
    Derived(Ephemeral<'token>),
    Object(ObjectHandle),
}

impl MacKey<'_> {
    pub(crate) fn handle(&self) -> ObjectHandle {
        match self {
            Self::Derived(key) => key.handle(),
            Self::Object(handle) => *handle,
        }
    }
}

const DERIVATION: &[Use] = &[Use::Derive];
const WRAPPING: &[Use] = &[Use::Wrap, Use::Unwrap];
const MAC: &[Use] = &[Use::Sign, Use::Verify];

fn label(epoch: EpochId, part: &str) -> String {
    format!("keyplane/root/{epoch}/{part}")
}

impl Parts {
    /// Finds the objects of an epoch, and compares each with the template that it was made from.
    fn find(token: &Token, epoch: EpochId) -> Result<Self, HsmError> {
        let secret = |part, uses| find(token, &label(epoch, part), &born_here(template::secret_of_256_bits(Life::Root, uses)));
        let audit = label(epoch, "audit");
        let parts = Self {
            derivation: secret("derive", DERIVATION)?,
            mac: secret("mac", MAC)?,
            wrapping: secret("wrap", WRAPPING)?,
            audit: find(token, &audit, &born_here(template::audit_private()))?,
            audit_public: find(token, &audit, &template::audit_public())?,
        };
        // An epoch has one MAC key. With a second one, data could be sealed under either.
        if parts.derivation.is_some() && parts.mac.is_some() {
            return Err(HsmError::Foreign { label: label(epoch, "mac"), attribute: AttributeType::Label.to_string() });
        }
        // One call generates both keys. Without the public key nobody could verify the audit signatures.
        if parts.audit.is_some() != parts.audit_public.is_some() {
            return Err(HsmError::Halved { label: audit });
        }
        Ok(parts)
    }

    fn complete(self) -> Option<Root> {
        if self.derivation.is_none() && self.mac.is_none() {
            return None;
        }
        Some(Root {
            derivation: self.derivation,
            mac: self.mac,
            wrapping: self.wrapping?,
            audit: self.audit?,
            audit_public: self.audit_public?,
        })
    }
}

/// Adds attributes that only a token itself can set: the key was generated inside and never could leave. An imported look-alike lacks them.
fn born_here(mut template: Vec<Attribute>) -> Vec<Attribute> {
    template.extend([Attribute::Local(true), Attribute::AlwaysSensitive(true), Attribute::NeverExtractable(true)]);
    template
}

/// The only object with this label and class. `None`: there is none. An error if its attributes are not ours, or there are two.
fn find(token: &Token, label: &str, expected: &[Attribute]) -> Result<Option<ObjectHandle>, HsmError> {
    let class = expected.iter().find(|attribute| matches!(attribute, Attribute::Class(_)));
    let search: Vec<Attribute> = class.cloned().into_iter().chain([Attribute::Label(label.as_bytes().to_vec())]).collect();
    let Some(handle) = token.find_one(label, &search)? else { return Ok(None) };
    let types: Vec<AttributeType> = expected.iter().map(Attribute::attribute_type).collect();
    let seen = token.attributes(handle, &types)?;
    match expected.iter().find(|attribute| !seen.contains(attribute)) {
        None => Ok(Some(handle)),
        Some(differs) => Err(HsmError::Foreign { label: label.to_owned(), attribute: differs.attribute_type().to_string() }),
    }
}

fn make_secret(token: &Token, fences: Fences, label: &str, uses: &[Use], allowed: &[MechanismType]) -> Result<String, HsmError> {
    let template = fences.fence(template::secret_of_256_bits(Life::Root, uses), uses, allowed);
    token.session().generate_key(&Mechanism::AesKeyGen, &named(template, label)).map_err(HsmError::token("making a root key"))?;
    Ok(label.to_owned())
}

fn make_audit(token: &Token, fences: Fences, label: &str) -> Result<String, HsmError> {
    let mut public = template::of_pair(template::audit_public());
    public.push(Attribute::EcParams(Curve::P256.parameters()));
    let private = fences.fence(template::of_pair(template::audit_private()), &[Use::Sign], &[MechanismType::ECDSA]);
    token
        .session()
        .generate_key_pair(&Mechanism::EccKeyPairGen, &named(public, label), &named(private, label))
        .map_err(HsmError::token("making the audit key"))?;
    Ok(label.to_owned())
}

/// The public audit key as an uncompressed point (SEC 1).
pub(crate) fn audit_point(token: &Token, root: &Root) -> Result<[u8; 65], HsmError> {
    let point = pair::point(token, root.audit_public, Curve::P256)?;
    point.try_into().map_err(|_| HsmError::Foreign { label: "audit".to_owned(), attribute: AttributeType::EcPoint.to_string() })
}
