//! What the custodian's thread holds: the token and what it was proven to do. Makes copies and wraps them.
//!
//! Must not know of approvals: whoever calls has judged them.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, ObjectHandle};
use keyplane_model::{CheckValue, CopyCoordinates, CopyRecord, Digest, EpochId, PublicKey, SealedBlob, Source, WrapScheme};
use keyplane_port::{CustodianStatus, EnrolmentCheck, Expected, Minted, Wrapped};

use crate::charter::Adopted;
use crate::derive::{self, Label};
use crate::error::{Unsupported, is_refusal};
use crate::kind::Kind;
use crate::proof::Effort;
use crate::record::{self, Proven, Subject, Unrecorded};
use crate::root::{self, Root};
use crate::routes::{self, Routes};
use crate::spki::RsaPublicKey;
use crate::template;
use crate::token::{Ephemeral, Token};
use crate::{HsmConfig, HsmError, controls, proof, seal};

/// Manufacturers of tokens in software, as their tokens say it. Behaviour decides first (negative controls, `CKF_HW_SLOT`); this
/// list only keeps a lenient slot description from hiding what is known.
const SOFTWARE: [&str; 3] = ["Kryoptic", "SoftHSM", "Mozilla"];

/// The token, and what it was proven to do.
pub(crate) struct Vault {
    token: Token,
    /// From the token's record, or else proven in this process; `None` until somebody asks.
    routes: RefCell<Option<Rc<Routes>>>,
    /// Whether the token allows what has to be refused: from the same place. `None` until somebody asks.
    lenient: Cell<Option<bool>>,
    /// How many proofs were made in this process.
    #[cfg(test)]
    pub(crate) proofs: Cell<usize>,
}

/// Whether something was allowed that has to be refused.
fn is_lenient(checks: &[EnrolmentCheck]) -> bool {
    checks.iter().any(|check| check.expected == Expected::Refused && !check.passed)
}

impl Vault {
    pub(crate) fn open(config: &HsmConfig) -> Result<Self, HsmError> {
        Ok(Self {
            token: Token::open(config)?,
            routes: RefCell::default(),
            lenient: Cell::default(),
            #[cfg(test)]
            proofs: Cell::default(),
        })
    }

    /// Puts a new session in the place of one that was lost. What was proven is kept for the same token alone.
    pub(crate) fn replace_session(&mut self, config: &HsmConfig) -> Result<(), HsmError> {
        let before = self.token.identity().clone();
        self.token.replace_session(config)?;
        if *self.token.identity() != before {
            self.routes.take();
            self.lenient.take();
        }
        Ok(())
    }

    pub(crate) fn token(&self) -> &Token {
        &self.token
    }

    /// What the token can do: as its record says, or proven with throwaway keys; once a process.
    fn routes(&self) -> Result<Rc<Routes>, HsmError> {
        if let Some(routes) = &*self.routes.borrow() {
            return Ok(Rc::clone(routes));
        }
        match self.recorded()? {
            Ok(proven) => Ok(self.remember(proven)),
            Err(why) => {
                tracing::info!(because = %why, "this process proves by itself what the token can do");
                let (routes, _) = self.prove_routes(proof::QUICK)?;
                Ok(Rc::clone(self.routes.borrow_mut().insert(Rc::new(routes))))
            }
        }
    }

    /// Whether the token allows what has to be refused: as its record says, or tried on throwaway keys; once a process.
    fn lenient(&self) -> Result<bool, HsmError> {
        let routes = self.routes()?;
        if let Some(lenient) = self.lenient.get() {
            return Ok(lenient);
        }
        let lenient = is_lenient(&controls::run(&self.token, &routes)?);
        self.lenient.set(Some(lenient));
        Ok(lenient)
    }

    fn remember(&self, proven: Proven) -> Rc<Routes> {
        self.lenient.set(Some(proven.lenient));
        Rc::clone(self.routes.borrow_mut().insert(Rc::new(proven.routes)))
    }

    /// What the record in the token says, if it can be believed.
    fn recorded(&self) -> Result<Result<Proven, Unrecorded>, HsmError> {
        let Some(epoch) = Root::newest(&self.token)? else { return Ok(Err(Unrecorded::NotEnrolled)) };
        let Some(now) = Subject::of(&self.token, epoch)? else { return Ok(Err(Unrecorded::Module)) };
        record::read(&self.token, &Root::open(&self.token, epoch)?, &now)
    }

    /// Records what was just proven, for the processes to come, and goes by it from now on. Gives the routes that the epoch's own wrapping
    /// key serves; what it does not is added to the checks.
    pub(crate) fn record(&self, epoch: EpochId, routes: &Routes, checks: &mut Vec<EnrolmentCheck>) -> Result<Rc<Routes>, HsmError> {
        let root = Root::open(&self.token, epoch)?;
        let (routes, missing) = proof::narrow(&self.token, root.wrapping, routes)?;
        let told = |missing: &EnrolmentCheck| checks.iter().any(|check| check.name == missing.name && !check.passed);
        let untold: Vec<EnrolmentCheck> = missing.into_iter().filter(|missing| !told(missing)).collect();
        checks.extend(untold);
        let proven = Proven { routes, lenient: is_lenient(checks) };
        if let Some(on) = Subject::of(&self.token, epoch)? {
            record::write(&self.token, &root, on, &proven)?;
        }
        Ok(self.remember(proven))
    }

    /// Proves every route, and tries what must be refused; with throwaway keys alone.
    pub(crate) fn prove(&self, effort: &Effort) -> Result<(Routes, Vec<EnrolmentCheck>), HsmError> {
        let (routes, mut checks) = self.prove_routes(effort)?;
        checks.extend(controls::run(&self.token, &routes)?);
        Ok((routes, checks))
    }

    fn prove_routes(&self, effort: &Effort) -> Result<(Routes, Vec<EnrolmentCheck>), HsmError> {
        #[cfg(test)]
        self.proofs.set(self.proofs.get() + 1);
        proof::prove(&self.token, self.wrapping_key()?, effort)
    }

    /// The root wrapping key of the newest epoch, if there is one.
    fn wrapping_key(&self) -> Result<Option<ObjectHandle>, HsmError> {
        Ok(match Root::newest(&self.token)? {
            Some(epoch) => Some(Root::open(&self.token, epoch)?.wrapping),
            None => None,
        })
    }

    /// Makes what is missing of the first root epoch.
    pub(crate) fn enrol(&self, routes: &Routes) -> Result<EpochId, HsmError> {
        // Without it a generated copy could not be kept: better no root at all than half of one.
        routes.kwp()?;
        if let Some(epoch) = Root::newest(&self.token)? {
            return Ok(epoch);
        }
        // INVARIANT: a root key is never made in the place of one that was used. A charter is adopted after an epoch is complete, and
        // nothing is made before a charter was adopted: so what is missing now was lost, and no crash left it unmade.
        if Adopted::read(&self.token)?.is_some() {
            return Err(HsmError::RootLost(root::FIRST));
        }
        for label in Root::enrol(&self.token, root::FIRST, routes.derives)? {
            tracing::info!(label, "made a root key");
        }
        Root::open(&self.token, root::FIRST)?;
        Ok(root::FIRST)
    }

    /// What is known of the token. Checks that failed where something had to be refused make it a development token.
    pub(crate) fn status_after(&self, routes: &Routes, checks: &[EnrolmentCheck]) -> Result<CustodianStatus, HsmError> {
        self.status_of(routes, is_lenient(checks))
    }

    fn status_of(&self, routes: &Routes, lenient: bool) -> Result<CustodianStatus, HsmError> {
        let identity = self.token.identity();
        let software = SOFTWARE.iter().any(|name| identity.manufacturer.contains(name) || identity.model.contains(name));
        let adopted = Adopted::read(&self.token)?;
        Ok(CustodianStatus {
            token: format!("{} ({}, {}, serial {})", identity.label, identity.model, identity.manufacturer, identity.serial),
            development: lenient || software || !identity.hardware,
            epoch: Root::newest(&self.token)?,
            charter: adopted.map(|adopted| (adopted.serial, adopted.digest)),
            derives: routes.derives,
            routes: WrapScheme::ALL.into_iter().map(|scheme| routes.report(scheme)).collect(),
        })
    }

    /// The status by the token's record; without one, by a quick proof and all negative controls.
    pub(crate) fn status(&self) -> Result<CustodianStatus, HsmError> {
        self.status_of(&*self.routes()?, self.lenient()?)
    }

    /// Makes a copy's bytes; see [`keyplane_port::Custodian::mint`].
    pub(crate) fn mint(&self, coordinates: &CopyCoordinates) -> Result<Minted, HsmError> {
        let root = Root::open(&self.token, coordinates.epoch)?;
        let kind = Kind::of(coordinates.algorithm);
        match coordinates.source {
            Source::Derived => {
                let key = self.derived(&root, coordinates)?;
                Ok(Minted { check_value: self.first_check_value(kind, key.handle())?, blob: None, public_key: None })
            }
            Source::Generated => {
                let routes = self.routes()?;
                let kwp = routes.kwp()?;
                routes.leads_somewhere(coordinates.algorithm)?;
                let (key, public_key) = kind.generate(&self.token, kind.uses())?;
                let key = self.guarded(key)?;
                let check_value = self.first_check_value(kind, key.handle())?;
                let wrapped = self
                    .token
                    .wrap(&kwp.mechanism(), root.wrapping, key.handle())
                    .map_err(HsmError::token("wrapping a copy under the root wrapping key"))?;
                // INVARIANT: a blob that is given out was brought back once: it is all that will be left of the key.
                let back = self.unwrapped(&root, coordinates, &wrapped)?;
                self.is_recorded(kind, back.handle(), check_value, public_key.as_ref())?;
                let mac = seal::seal(&self.token, &root, &seal::blob_message(coordinates, &wrapped)?)?;
                Ok(Minted { check_value, blob: Some(SealedBlob { wrapped, mac }), public_key })
            }
        }
    }

    /// Wraps a copy for a cloud's public key (DER of SubjectPublicKeyInfo).
    pub(crate) fn wrap(&self, copy: &CopyRecord, spki: &[u8], scheme: WrapScheme) -> Result<Wrapped, HsmError> {
        let algorithm = copy.coordinates.algorithm;
        let public = RsaPublicKey::parse(spki)?;
        let way = self.routes()?.way(scheme, algorithm)?;
        let key = self.bring(&copy.coordinates, copy.blob.as_ref())?;
        self.is_recorded(Kind::of(algorithm), key.handle(), copy.check_value, copy.public_key.as_ref())?;
        let handle = routes::import(&self.token, &public)?;
        let bytes = routes::wrap(&self.token, scheme, way, handle.handle(), key.handle())
            .map_err(HsmError::token("wrapping a copy for its destination"))?;
        Ok(Wrapped { bytes, wrapped_under: public.digest })
    }

    /// A copy as a session object: derived again, or unwrapped from its blob once the seal was checked.
    pub(crate) fn bring(&self, coordinates: &CopyCoordinates, blob: Option<&SealedBlob>) -> Result<Ephemeral<'_>, HsmError> {
        let root = Root::open(&self.token, coordinates.epoch)?;
        match (coordinates.source, blob) {
            (Source::Derived, None) => self.derived(&root, coordinates),
            (Source::Generated, Some(blob)) => {
                let message = seal::blob_message(coordinates, &blob.wrapped)?;
                seal::check(&self.token, &root, &message, &blob.mac, "the blob")?;
                self.unwrapped(&root, coordinates, &blob.wrapped)
            }
            (Source::Derived, Some(_)) => Err(HsmError::Coordinates("a derived copy has no blob")),
            (Source::Generated, None) => Err(HsmError::Coordinates("a generated copy needs its blob")),
        }
    }

    /// What is in a blob, whose seal was checked.
    fn unwrapped(&self, root: &Root, coordinates: &CopyCoordinates, wrapped: &[u8]) -> Result<Ephemeral<'_>, HsmError> {
        let kind = Kind::of(coordinates.algorithm);
        let kwp = self.routes()?.kwp()?;
        let other = || HsmError::OtherKind(coordinates.algorithm);
        if !kind.fills(wrapped) {
            return Err(other());
        }
        let key = self
            .token
            .unwrap(&kwp.mechanism(), root.wrapping, wrapped, &kind.template(kind.uses()))
            .map_err(HsmError::token("unwrapping a copy"))?;
        if kind.fits(&self.token, key.handle())? { self.guarded(key) } else { Err(other()) }
    }

    /// INVARIANT: a copy's bytes are in no object that gives them away, or that stays. A template asks for that; whether it was heeded, the
    /// object says.
    pub(crate) fn guarded<'token>(&self, key: Ephemeral<'token>) -> Result<Ephemeral<'token>, HsmError> {
        let seen = self.token.attributes(key.handle(), &[AttributeType::Sensitive, AttributeType::Token])?;
        let heeded = seen.contains(&Attribute::Sensitive(true)) && seen.contains(&Attribute::Token(false));
        if heeded { Ok(key) } else { Err(HsmError::Unguarded) }
    }

    fn derived(&self, root: &Root, coordinates: &CopyCoordinates) -> Result<Ephemeral<'_>, HsmError> {
        if !coordinates.algorithm.is_symmetric() {
            return Err(HsmError::Coordinates("key pairs are generated: none can be derived"));
        }
        let derivation = root.derivation.ok_or(Unsupported::Derivation)?;
        let kind = Kind::of(coordinates.algorithm);
        let template = template::with_length(kind.template(kind.uses()));
        let key = derive::derive(&self.token, derivation, Label::Copy, &derive::copy_context(coordinates)?, &template)
            .map_err(HsmError::token("deriving a copy"))?;
        self.guarded(key)
    }

    /// The check value of a new copy. Not every token digests keys, and PKCS#11 asks none to: then a MAC key is recorded without.
    pub(crate) fn first_check_value(&self, kind: Kind, key: ObjectHandle) -> Result<Option<CheckValue>, HsmError> {
        match kind.check_value(&self.token, key) {
            Err(HsmError::Token { source, .. }) if kind == Kind::Hmac && is_refusal(&source) => Ok(None),
            made => made,
        }
    }

    /// INVARIANT: once minted, a copy's bytes never change: what comes out now must be what was recorded then.
    pub(crate) fn is_recorded(
        &self,
        kind: Kind,
        key: ObjectHandle,
        check_value: Option<CheckValue>,
        public_key: Option<&PublicKey>,
    ) -> Result<(), HsmError> {
        let same = match kind {
            Kind::Pair(pair) => {
                let public = public_key.ok_or(HsmError::Coordinates("a key pair's copy needs its public key"))?;
                pair.belongs(&self.token, key, public)?
            }
            Kind::Aes | Kind::Hmac => check_value.is_none() || check_value == kind.check_value(&self.token, key)?,
        };
        if same { Ok(()) } else { Err(HsmError::OtherBytes) }
    }

    /// See [`crate::HsmCustodian::reveal_for_test`].
    #[cfg(any(test, feature = "reveal"))]
    pub(crate) fn reveal(&self, coordinates: &CopyCoordinates, blob: Option<&SealedBlob>) -> Result<zeroize::Zeroizing<Vec<u8>>, HsmError> {
        const SCHEME: WrapScheme = WrapScheme::RsaAesKeyWrapSha1;
        let key = self.bring(coordinates, blob)?;
        let way = self.routes()?.way(SCHEME, coordinates.algorithm)?;
        let cloud = crate::software::SoftwareKey::make(aws_lc_rs::rsa::KeySize::Rsa2048)?;
        let public = routes::import(&self.token, &RsaPublicKey::parse(cloud.spki())?)?;
        let wrapped =
            routes::wrap(&self.token, SCHEME, way, public.handle(), key.handle()).map_err(HsmError::token("wrapping for a test"))?;
        cloud.unwrap(SCHEME, &wrapped).ok_or(HsmError::Software("unwrapping for a test"))
    }

    /// The audit key signs, and software that knows its public half alone agrees.
    pub(crate) fn test_audit_key(&self, root: &Root) -> Result<EnrolmentCheck, HsmError> {
        use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
        const MESSAGE: &[u8] = b"keyplane/v1/audit-key-test";
        let point = root::audit_point(&self.token, root)?;
        let signature = self
            .token
            .session()
            .sign(&Mechanism::Ecdsa, root.audit, &Digest::of(MESSAGE).0)
            .map_err(HsmError::token("signing with the audit key"))?;
        let passed = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(MESSAGE, &signature).is_ok();
        Ok(EnrolmentCheck {
            name: "sign with the audit key (ECDSA P-256) and verify in software".to_owned(),
            expected: Expected::Works,
            passed,
            detail: if passed { "verified" } else { "the signature does not verify" }.to_owned(),
        })
    }
}
