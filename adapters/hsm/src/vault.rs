//! The token and what the self-tests proved about it. Generates, derives and wraps copies, on the custodian's thread.
//!
//! Knows nothing of approvals: the caller has checked them.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, ObjectHandle};
use keyplane_model::{CheckValue, CopyCoordinates, CopyRecord, Digest, EpochId, PublicKey, SealedBlob, Source, WrapScheme};
use keyplane_port::{CustodianStatus, EnrolmentCheck, Expected, Minted, RsaPublicKey, Wrapped};

use crate::charter::Adopted;
use crate::derive::{self, Label};
use crate::error::{Unsupported, is_refusal};
use crate::kind::Kind;
use crate::proof::Effort;
use crate::record::{self, Proven, Subject, Unrecorded};
use crate::root::{self, Root};
use crate::routes::{self, Routes};
use crate::template;
use crate::token::{Ephemeral, Token};
use crate::{HsmConfig, HsmError, controls, proof, seal};

/// The manufacturers that tokens in software report. The negative controls and `CKF_HW_SLOT` decide first; this list covers software tokens
/// that pass both.
const SOFTWARE: [&str; 3] = ["Kryoptic", "SoftHSM", "Mozilla"];

pub(crate) struct Vault {
    token: Token,
    /// From the token's record or from self-tests in this process. `None`: not needed yet.
    routes: RefCell<Option<Rc<Routes>>>,
    /// Whether the token allows what it should refuse; from the same source. `None`: not needed yet.
    lenient: Cell<Option<bool>>,
    /// The number of self-test runs in this process.
    #[cfg(test)]
    pub(crate) proofs: Cell<usize>,
}

/// Whether the token allowed an operation that it should refuse.
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

    /// Replaces a lost session. Results of self-tests are kept only if it is the same token.
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

    /// What the token can do, from its record or from self-tests. Determined once a process, and again for another token.
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

    /// Whether the token allows what it should refuse, from its record or from the negative controls. Determined as [`Self::routes`] is.
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

    /// The record in the token, if it is valid.
    fn recorded(&self) -> Result<Result<Proven, Unrecorded>, HsmError> {
        let Some(epoch) = Root::newest(&self.token)? else { return Ok(Err(Unrecorded::NotEnrolled)) };
        let Some(now) = Subject::of(&self.token, epoch)? else { return Ok(Err(Unrecorded::Module)) };
        record::read(&self.token, &Root::open(&self.token, epoch)?, &now)
    }

    /// Records what was just proven, for later processes, and uses it from now on. Returns the routes that the epoch's own wrapping key
    /// serves; the others become failed checks.
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

    /// Runs all self-tests and negative controls. Only throwaway keys are wrapped; the root wrapping key, if there is one, wraps some of
    /// them.
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

    /// That of the newest epoch. `None`: the token holds no root epoch.
    fn wrapping_key(&self) -> Result<Option<ObjectHandle>, HsmError> {
        Ok(match Root::newest(&self.token)? {
            Some(epoch) => Some(Root::open(&self.token, epoch)?.wrapping),
            None => None,
        })
    }

    /// Generates the missing objects of the first root epoch.
    pub(crate) fn enrol(&self, routes: &Routes) -> Result<EpochId, HsmError> {
        // Without AES-KWP no generated copy could be kept. Then there shall be no root at all.
        routes.kwp()?;
        if let Some(epoch) = Root::newest(&self.token)? {
            return Ok(epoch);
        }
        // INVARIANT: a root key that was in use is never replaced. A charter is adopted only after its epoch is complete, and copies are
        // made only after a charter was adopted. So with a charter, a missing object was lost, and not left unmade by a crash.
        if Adopted::read(&self.token)?.is_some() {
            return Err(HsmError::RootLost(root::FIRST));
        }
        for label in Root::enrol(&self.token, root::FIRST, routes.derives)? {
            tracing::info!(label, "made a root key");
        }
        Root::open(&self.token, root::FIRST)?;
        Ok(root::FIRST)
    }

    /// The token's status after these checks. If the token allowed an operation that it should refuse, it is a development token.
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

    /// The status from the token's record or, without one, from quick self-tests and all negative controls.
    pub(crate) fn status(&self) -> Result<CustodianStatus, HsmError> {
        self.status_of(&*self.routes()?, self.lenient()?)
    }

    /// See [`keyplane_port::Custodian::mint`].
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
                // INVARIANT: a blob is unwrapped once before it is returned, because nothing else will remain of the key.
                let back = self.unwrapped(&root, coordinates, &wrapped)?;
                self.is_recorded(kind, back.handle(), check_value, public_key.as_ref())?;
                let mac = seal::seal(&self.token, &root, &seal::blob_message(coordinates, &wrapped)?)?;
                Ok(Minted { check_value, blob: Some(SealedBlob { wrapped, mac }), public_key })
            }
        }
    }

    /// `spki`: the cloud's public key, in DER. `record`: writes its digest down.
    ///
    /// INVARIANT: nothing is wrapped before `record` has succeeded.
    pub(crate) fn wrap(
        &self,
        copy: &CopyRecord,
        spki: &[u8],
        scheme: WrapScheme,
        record: impl FnOnce(Digest) -> Result<(), HsmError>,
    ) -> Result<Wrapped, HsmError> {
        let algorithm = copy.coordinates.algorithm;
        let public = RsaPublicKey::parse(spki)?;
        let way = self.routes()?.way(scheme, algorithm)?;
        let key = self.bring(&copy.coordinates, copy.blob.as_ref())?;
        self.is_recorded(Kind::of(algorithm), key.handle(), copy.check_value, copy.public_key.as_ref())?;
        let handle = routes::import(&self.token, &public)?;
        record(public.digest)?;
        let bytes = routes::wrap(&self.token, scheme, way, handle.handle(), key.handle())
            .map_err(HsmError::token("wrapping a copy for its destination"))?;
        Ok(Wrapped { bytes, wrapped_under: public.digest })
    }

    /// A copy as a session object: derived again, or unwrapped from its blob after its seal was checked.
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

    /// The key in a blob. The caller has checked the seal.
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

    /// INVARIANT: a copy's bytes are only in objects that are sensitive and do not stay in the token. Its template asks for that; this
    /// checks that the token complied.
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

    /// The check value of a new copy. PKCS#11 does not oblige tokens to digest keys; on one that does not, a MAC key is recorded without.
    pub(crate) fn first_check_value(&self, kind: Kind, key: ObjectHandle) -> Result<Option<CheckValue>, HsmError> {
        match kind.check_value(&self.token, key) {
            Err(HsmError::Token { source, .. }) if kind == Kind::Hmac && is_refusal(&source) => Ok(None),
            made => made,
        }
    }

    /// INVARIANT: a copy's bytes never change once they were generated or derived. So its check value and public key have to be the
    /// recorded ones.
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

    /// The audit key signs, and software verifies with its public key alone.
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
