//! The custodian, with symbols for keys: it judges as the real one does, by the same verifier.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use keyplane_emulator_core::crypto::OaepHash;
use keyplane_model::{
    Actor, Algorithm, Approval, Charter, CheckValue, CopyCoordinates, CopyRecord, Digest, EpochId, InstallationId, SealedBlob,
    SealedCharter, Source, WrapScheme,
};
use keyplane_port::{
    Custodian, CustodianError, CustodianStatus, EnrolmentReport, MintRequest, Minted, Route, Warrant, WrapRequest, Wrapped,
};
use keyplane_verifier::{Facts, approved, judge, may_mint, may_wrap, required};
use sha2::{Digest as _, Sha256};

use crate::executor::locked;
use crate::symbols::{SYMBOL, Symbols};

/// The only root epoch of a run.
pub(crate) const EPOCH: EpochId = EpochId(1);

/// The HSM of a run.
pub(crate) struct SymbolCustodian {
    symbols: Symbols,
    root: [u8; SYMBOL],
    adopted: Mutex<Option<SealedCharter>>,
}

impl SymbolCustodian {
    pub(crate) fn new(symbols: Symbols) -> Arc<Self> {
        let root = symbols.key("root");
        Arc::new(Self { symbols, root, adopted: Mutex::new(None) })
    }

    /// A copy's bytes, as only a run's checkers may have them.
    pub(crate) fn reveal(&self, copy: &CopyRecord) -> Result<[u8; SYMBOL], CustodianError> {
        let coordinates = copy.bound();
        match (coordinates.source, &copy.blob) {
            (Source::Derived, _) => Ok(self.symbols.derived(&bound(&coordinates))),
            (Source::Generated, Some(blob)) => {
                if blob.mac != self.mac(&coordinates, &blob.wrapped) {
                    return Err(CustodianError::Broken("the blob is not bound to this copy".to_owned()));
                }
                self.symbols.unwrap(&self.root, &blob.wrapped).ok_or_else(|| CustodianError::Broken("the blob is damaged".to_owned()))
            }
            (Source::Generated, None) => Err(CustodianError::Broken("a generated copy without its blob".to_owned())),
        }
    }

    /// Makes a copy, whoever asks.
    pub(crate) fn make(&self, coordinates: &CopyCoordinates) -> Minted {
        let (key, blob) = match coordinates.source {
            Source::Derived => (self.symbols.derived(&bound(coordinates)), None),
            Source::Generated => {
                let key = self.symbols.key("generated");
                let wrapped = self.symbols.kwp(&self.root, &key);
                let mac = self.mac(coordinates, &wrapped);
                (key, Some(SealedBlob { wrapped, mac }))
            }
        };
        let check: [u8; SYMBOL] = Sha256::digest(key).into();
        Minted { check_value: Some(CheckValue([check[0], check[1], check[2]])), blob, public_key: None }
    }

    /// What is in a blob, whoever asks: empty if there is nothing.
    pub(crate) fn open(&self, wrapped: &[u8]) -> Vec<u8> {
        self.symbols.unwrap(&self.root, wrapped).map(|key| key.to_vec()).unwrap_or_default()
    }

    /// Wraps a copy, whoever asks.
    pub(crate) fn seal(&self, request: &WrapRequest) -> Result<Wrapped, CustodianError> {
        let key = self.reveal(&request.copy)?;
        let spki = &request.wrapping_key.spki;
        let by_key = |hash| {
            let ephemeral = self.symbols.key("ephemeral");
            [self.symbols.oaep(spki, hash, &ephemeral), self.symbols.kwp(&ephemeral, &key)].concat()
        };
        let bytes = match request.wrapping_key.scheme {
            WrapScheme::RsaOaepSha256 => self.symbols.oaep(spki, OaepHash::Sha256, &key),
            WrapScheme::RsaOaepSha1 => self.symbols.oaep(spki, OaepHash::Sha1, &key),
            WrapScheme::RsaAesKeyWrapSha256 => by_key(OaepHash::Sha256),
            WrapScheme::RsaAesKeyWrapSha1 => by_key(OaepHash::Sha1),
        };
        Ok(Wrapped { bytes, wrapped_under: Digest::of(spki) })
    }

    fn mac(&self, coordinates: &CopyCoordinates, wrapped: &[u8]) -> Vec<u8> {
        Sha256::new()
            .chain_update(b"mac")
            .chain_update(self.root)
            .chain_update(bound(coordinates))
            .chain_update(wrapped)
            .finalize()
            .to_vec()
    }

    /// Whether a warrant's change set is sound, approved as its charter asks, and that charter the one in force.
    fn entitled(&self, warrant: &Warrant) -> Result<(), CustodianError> {
        if locked(&self.adopted).as_ref() != Some(&warrant.charter) {
            return Err(CustodianError::CharterChanged);
        }
        let change_set = &warrant.change_set;
        let charter = &warrant.charter.charter;
        let refused = |why: &dyn ToString| CustodianError::Refused(why.to_string());
        let facts = Facts { charter, installation: charter.installation, record: None, key: None, destinations: None };
        judge(change_set, &facts).map_err(|violations| refused(&format!("{violations:?}")))?;
        let rule = required(change_set, charter).ok_or_else(|| refused(&"the charter does not know the profile"))?;
        let digest = change_set.digest().map_err(|error| refused(&error))?;
        let missing =
            |shortfall: keyplane_verifier::Shortfall| CustodianError::ApprovalsMissing { have: shortfall.have(), need: shortfall.need };
        approved(&digest, &change_set.proposer, &rule, charter, &warrant.approvals).map_err(missing).map(drop)
    }
}

/// What a copy's bytes are bound to.
fn bound(coordinates: &CopyCoordinates) -> Vec<u8> {
    format!("{coordinates:?}").into_bytes()
}

#[async_trait]
impl Custodian for SymbolCustodian {
    async fn status(&self) -> Result<CustodianStatus, CustodianError> {
        let route = |scheme| Route { scheme, way: Some("symbols".to_owned()), algorithms: vec![Algorithm::Aes256], reason: None };
        let charter = locked(&self.adopted).as_ref().and_then(|sealed| Some((sealed.serial, sealed.charter.digest().ok()?)));
        Ok(CustodianStatus {
            token: "symbols".to_owned(),
            development: true,
            epoch: Some(EPOCH),
            charter,
            derives: true,
            routes: WrapScheme::ALL.into_iter().map(route).collect(),
        })
    }

    async fn enroll(&self, _: InstallationId, charter: &Charter) -> Result<EnrolmentReport, CustodianError> {
        let sealed = SealedCharter { charter: charter.clone(), serial: 1, epoch: EPOCH, mac: vec![1; 32] };
        *locked(&self.adopted) = Some(sealed.clone());
        Ok(EnrolmentReport { status: self.status().await?, charter: Some(sealed), checks: Vec::new() })
    }

    async fn test(&self) -> Result<EnrolmentReport, CustodianError> {
        Ok(EnrolmentReport { status: self.status().await?, charter: None, checks: Vec::new() })
    }

    async fn adopt(&self, _: &SealedCharter, _: &Charter, _: &Actor, _: &[Approval]) -> Result<SealedCharter, CustodianError> {
        Err(CustodianError::Unsupported("adopt another charter in a run".to_owned()))
    }

    async fn mint(&self, warrant: &Warrant, request: &MintRequest) -> Result<Minted, CustodianError> {
        self.entitled(warrant)?;
        may_mint(&warrant.change_set, request.step, &request.coordinates).map_err(|denial| CustodianError::Refused(denial.to_string()))?;
        Ok(self.make(&request.coordinates))
    }

    async fn wrap(&self, warrant: &Warrant, request: &WrapRequest) -> Result<Wrapped, CustodianError> {
        self.entitled(warrant)?;
        let scheme = request.wrapping_key.scheme;
        may_wrap(&warrant.change_set, request.step, &request.copy.coordinates, scheme)
            .map_err(|denial| CustodianError::Refused(denial.to_string()))?;
        self.seal(request)
    }
}
