//! Gives each test its own token, and the documents that the custodian asks for.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use aws_lc_rs::cipher::{AES_256, EncryptingKey, UnboundCipherKey};
use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use keyplane_model::{
    APPROVALS_LAST, Act, Action, Actor, Algorithm, Approval, ApprovalRule, Approvals, Approver, ChangeSet, Charter, CharterChange,
    CheckValue, CloudKind, CopyCoordinates, CopyRecord, Digest, EpochId, Expectation, Generation, IdTree, InstallationId, KeyId,
    PlacementId, PlacementPlan, Purpose, Reason, SealedCharter, Source, Span, Standing, Statement, Step, StepNo, Timestamp, Version,
    WrapScheme,
};
use keyplane_port::{Clock, Custodian as _, MintRequest, Minted, Warrant, WrapRequest, WrappingKey};
use ssh_key::private::{Ed25519Keypair, KeypairData};
use ssh_key::{HashAlg, LineEnding, PrivateKey};
use tempfile::TempDir;
use uuid::Uuid;

use crate::provision::{MODULE, Provisioned, module_beside, provision};
use crate::software::SoftwareKey;
use crate::token::Token;
use crate::{HsmConfig, HsmCustodian, HsmError, Pin, PinSource};

pub(super) const INSTALLATION: InstallationId = InstallationId(Uuid::from_u128(0x1111_1111_1111_8111_8111_1111_1111_1111));
pub(super) const EPOCH: EpochId = EpochId(1);
pub(super) const MINT: StepNo = StepNo(0);
pub(super) const IMPORT: StepNo = StepNo(3);

/// A kryoptic token in a temporary folder, which is deleted when this is dropped.
pub(super) struct Lab {
    pub(super) folder: TempDir,
    pub(super) config: HsmConfig,
}

impl Lab {
    pub(super) fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let token = provision(&kryoptic(), folder.path(), "lab").unwrap();
        Self { folder, config: config(token) }
    }

    /// Opens the token on this thread. No custodian may have it open.
    pub(super) fn token(&self) -> Token {
        Token::open(&self.config).unwrap()
    }

    pub(super) fn custodian(&self) -> HsmCustodian {
        HsmCustodian::start(self.config.clone(), now()).unwrap().quick()
    }
}

/// The configuration of a provisioned token.
pub(super) fn config(token: Provisioned) -> HsmConfig {
    let Provisioned { init, label, pin_file } = token;
    let pin =
        PinSource::new(move || Pin::new(std::fs::read_to_string(&pin_file).map_err(|error| HsmError::PinMissing(error.to_string()))?));
    HsmConfig { module: kryoptic(), token_label: label, init: Some(init), pin: Some(pin) }
}

/// The path of the lab's module: from the environment, beside the test, or built now.
pub(super) fn kryoptic() -> PathBuf {
    if let Some(path) = std::env::var_os("KEYPLANE_TOKEN_MODULE") {
        return path.into();
    }
    let test = std::env::current_exe().unwrap();
    module_beside(&test).unwrap_or_else(|| {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let built = std::process::Command::new(cargo).args(["build", "-p", "keyplane-token"]).status().unwrap();
        assert!(built.success(), "`{MODULE}` cannot be built");
        module_beside(&test).unwrap()
    })
}

/// An approver's signing key, from a seed of one repeated byte.
pub(super) fn signer(seed: u8) -> PrivateKey {
    PrivateKey::new(KeypairData::Ed25519(Ed25519Keypair::from_seed(&[seed; 32])), "").unwrap()
}

pub(super) fn approval(name: &str, seed: u8, statement: &Statement) -> Approval {
    let message = statement.as_str().as_bytes();
    let signature = signer(seed).sign(keyplane_model::APPROVAL_NAMESPACE, HashAlg::Sha512, message).unwrap();
    Approval { approver: name.parse().unwrap(), signature: signature.to_pem(LineEnding::LF).unwrap(), at: Timestamp(0) }
}

/// The statement that approvers of a warrant's change set sign.
pub(super) fn statement(warrant: &Warrant) -> Statement {
    let set = &warrant.change_set;
    Statement::of_change_set(set, &set.digest().unwrap(), &warrant.charter.id().unwrap())
}

/// Approvals of a warrant's change set by `alice` and `bob`.
pub(super) fn both(warrant: &Warrant) -> Vec<Approval> {
    let statement = statement(warrant);
    vec![approval("alice", 1, &statement), approval("bob", 2, &statement)]
}

/// The change of the charter `from` to `next`, proposed by `carol`.
pub(super) fn change(from: &SealedCharter, next: Charter) -> CharterChange {
    CharterChange { before: from.id().unwrap(), next, proposer: Actor("carol@example.com".to_owned()), until: tomorrow() }
}

/// `need` approvals from `security`.
pub(super) fn rule(need: u32) -> ApprovalRule {
    ApprovalRule { need, from: BTreeSet::from(["security".parse().unwrap()]) }
}

/// The key id of `payments-db`.
pub(super) fn key() -> KeyId {
    IdTree::of(INSTALLATION).key("payments-db")
}

pub(super) fn placement() -> PlacementId {
    IdTree::of(INSTALLATION).placement(key(), "prod", "payments-db")
}

pub(super) const NOW: Timestamp = Timestamp(1_790_000_000_000_000);

pub(super) fn tomorrow() -> Timestamp {
    NOW + Span::days(1)
}

/// A clock that stands still.
struct Still(Timestamp);

#[async_trait::async_trait]
impl Clock for Still {
    fn now(&self) -> Timestamp {
        self.0
    }

    fn uptime(&self) -> Span {
        Span::ZERO
    }

    async fn sleep(&self, _: Span) {}
}

pub(super) fn now() -> Arc<dyn Clock> {
    at(NOW)
}

pub(super) fn at(now: Timestamp) -> Arc<dyn Clock> {
    Arc::new(Still(now))
}

/// `alice` (seed 1) and `bob` (seed 2) are in `security`. Imports and retirement under `payments` need this many approvals.
pub(super) fn charter(need: u32) -> Charter {
    let rule = rule(need);
    let approver = |login: &str, seed| Approver {
        groups: rule.from.clone(),
        logins: BTreeSet::from([login.to_owned()]),
        keys: BTreeSet::from([signer(seed).public_key().to_openssh().unwrap().trim().to_owned()]),
    };
    Charter {
        installation: INSTALLATION,
        approvers: BTreeMap::from([
            ("alice".parse().unwrap(), approver("alice@example.com", 1)),
            ("bob".parse().unwrap(), approver("bob@example.com", 2)),
        ]),
        profiles: BTreeMap::from([(
            "payments".parse().unwrap(),
            Approvals { import: rule.clone(), retire: rule.clone(), valid: APPROVALS_LAST, standing: Standing { rotation: None } },
        )]),
        key_rules: BTreeSet::new(),
    }
}

pub(super) fn coordinates(source: Source) -> CopyCoordinates {
    coordinates_of(Algorithm::Aes256, source)
}

pub(super) fn coordinates_of(algorithm: Algorithm, source: Source) -> CopyCoordinates {
    CopyCoordinates {
        installation: INSTALLATION,
        key: key(),
        version: Version(1),
        placement: placement(),
        algorithm,
        source,
        epoch: EPOCH,
        profile: "payments".parse().unwrap(),
        approvals: rule(0),
    }
}

/// A change set that imports the copy by this scheme.
pub(super) fn change_set(source: Source, scheme: WrapScheme, rule: ApprovalRule) -> ChangeSet {
    // A cloud that takes the scheme: only those that ask for SHA-1 get it.
    let cloud = match scheme {
        WrapScheme::RsaOaepSha256 | WrapScheme::RsaAesKeyWrapSha256 => CloudKind::Aws,
        WrapScheme::RsaOaepSha1 | WrapScheme::RsaAesKeyWrapSha1 => CloudKind::Azure,
    };
    let step = |expects, act| Step { placement: placement(), expects, act };
    ChangeSet {
        format: ChangeSet::FORMAT,
        installation: INSTALLATION,
        key: "payments-db".parse().unwrap(),
        key_id: key(),
        profile: "payments".parse().unwrap(),
        action: Action::Import,
        wanted: Some(Digest::of(b"wanted")),
        approvals: rule,
        proposer: Actor("carol@example.com".to_owned()),
        generation: Generation(0),
        placements: BTreeMap::from([(
            placement(),
            PlacementPlan {
                destination: "prod".parse().unwrap(),
                fingerprint: Digest::of(b"prod"),
                cloud,
                name: "payments-db".to_owned(),
                algorithm: Algorithm::Aes256,
                purpose: Purpose::Encrypt,
                incarnation: 1,
            },
        )]),
        steps: vec![
            step(Expectation::NoCopy, Act::Mint { version: Version(1), source, epoch: EPOCH }),
            step(Expectation::Unclaimed, Act::Create),
            step(Expectation::Created, Act::Claim),
            step(Expectation::Empty, Act::Import { version: Version(1), scheme, of: None, made: None }),
            step(Expectation::Imported, Act::Publish),
        ],
        reasons: vec![Reason::NewKey],
        until: tomorrow(),
    }
}

/// An enrolled custodian whose charter needs no approvals, and a warrant for one copy.
pub(super) struct Desk {
    pub(super) custodian: HsmCustodian,
    pub(super) warrant: Warrant,
    pub(super) coordinates: CopyCoordinates,
    pub(super) scheme: WrapScheme,
}

impl Desk {
    pub(super) async fn open(custodian: HsmCustodian, source: Source, scheme: WrapScheme) -> Self {
        Self::of(custodian, Algorithm::Aes256, source, scheme).await
    }

    pub(super) async fn of(custodian: HsmCustodian, algorithm: Algorithm, source: Source, scheme: WrapScheme) -> Self {
        let sealed: SealedCharter = custodian.enroll(INSTALLATION, &charter(0)).await.unwrap().charter.unwrap();
        let mut desk = Self {
            custodian,
            warrant: Warrant { change_set: change_set(source, scheme, rule(0)), approvals: vec![], charter: sealed },
            coordinates: coordinates(source),
            scheme,
        };
        desk.turn_to(algorithm, source, scheme);
        desk
    }

    /// Changes to another copy and scheme under the same charter.
    pub(super) fn turn_to(&mut self, algorithm: Algorithm, source: Source, scheme: WrapScheme) {
        let mut set = change_set(source, scheme, rule(0));
        let purpose = [Purpose::Encrypt, Purpose::Sign, Purpose::Mac].into_iter().find(|purpose| algorithm.serves(*purpose));
        for plan in set.placements.values_mut() {
            (plan.algorithm, plan.purpose) = (algorithm, purpose.unwrap());
        }
        (self.warrant.change_set, self.coordinates, self.scheme) = (set, coordinates_of(algorithm, source), scheme);
    }

    pub(super) async fn mint(&self) -> Minted {
        let request = MintRequest { step: MINT, coordinates: self.coordinates.clone() };
        self.custodian.mint(&self.warrant, &request).await.unwrap()
    }

    /// Wraps for a cloud and unwraps there. Returns the copy's bytes as they arrive.
    pub(super) async fn deliver(&self, minted: &Minted, cloud: &SoftwareKey) -> Vec<u8> {
        let wrapped = self.custodian.wrap(&self.warrant, &self.wrap_request(minted, cloud.spki())).await.unwrap();
        assert_eq!(wrapped.wrapped_under, Digest::of(cloud.spki()));
        cloud.unwrap(self.scheme, &wrapped.bytes).unwrap().to_vec()
    }

    pub(super) fn wrap_request(&self, minted: &Minted, spki: &[u8]) -> WrapRequest {
        WrapRequest {
            step: IMPORT,
            copy: CopyRecord {
                coordinates: self.coordinates.clone(),
                check_value: minted.check_value,
                blob: minted.blob.clone(),
                bytes_of: None,
                public_key: minted.public_key.clone(),
                material: None,
                wrapped_under: None,
                imported: None,
            },
            wrapping_key: WrappingKey { spki: spki.to_vec(), scheme: self.scheme, token: vec![], valid_until: None },
        }
    }
}

/// The key check value, computed without the token.
pub(super) fn check_value(key: &[u8]) -> CheckValue {
    let block = encrypt_block(key, [0; 16]);
    CheckValue([block[0], block[1], block[2]])
}

/// The key check value of a MAC key, computed without the token.
pub(super) fn mac_check_value(key: &[u8]) -> CheckValue {
    let hash = digest(&SHA1_FOR_LEGACY_USE_ONLY, key);
    CheckValue(hash.as_ref()[..3].try_into().unwrap())
}

pub(super) fn encrypt_block(key: &[u8], mut block: [u8; 16]) -> [u8; 16] {
    let key = UnboundCipherKey::new(&AES_256, key).unwrap();
    EncryptingKey::ecb(key).unwrap().encrypt(&mut block).unwrap();
    block
}
