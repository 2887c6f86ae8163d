//! The port with the core of a Managed HSM: the life of a key, and what is refused.

use std::sync::Arc;

use futures::channel::oneshot;
use keyplane_emulator_core::crypto::OaepHash;
use keyplane_emulator_core::fault::{Effect, Rule};
use keyplane_model::{CopyCoordinates, EpochId, Source};

use super::*;
use crate::executor::{Parties, Sim, Stopped};
use crate::life::Life;
use crate::net::Site;

const SHA1: WrapScheme = WrapScheme::RsaAesKeyWrapSha1;

struct World {
    sim: Arc<Sim>,
    site: Arc<Site<emulated::Azure>>,
    symbols: Symbols,
    hsm: Azure,
}

/// Runs one task to its end, at a Managed HSM.
fn run<F: Future<Output = ()> + Send + 'static>(consistency: Span, task: impl FnOnce(World) -> F) {
    run_at(false, consistency, task);
}

fn run_at<F: Future<Output = ()> + Send + 'static>(key_vault: bool, consistency: Span, task: impl FnOnce(World) -> F) {
    let (sim, symbols) = (Sim::new(7, false), Symbols::default());
    let destination = destination("corp".parse().unwrap(), key_vault);
    let site = Site::new(frame(symbols.clone(), &destination, consistency), 7);
    let line = Line::new(Life::new(0, Arc::clone(&sim), Arc::default()), Arc::clone(&site), "test");
    let hsm = Azure::new(line, destination, target().installation);
    let mut parties = Parties::new(Arc::clone(&sim));
    let task = task(World { sim: Arc::clone(&sim), site, symbols, hsm });
    let (end, mut ended) = oneshot::channel();
    parties.spawn(0, async move {
        task.await;
        end.send(()).unwrap();
    });
    assert_eq!(parties.run(sim.now() + Span::days(1)), Stopped::Quiet);
    assert_eq!(ended.try_recv(), Ok(Some(())), "the task has not come to its end");
}

fn id<T: FromStr<Err: std::fmt::Debug>>(digit: u8) -> T {
    format!("{digit}0000000-0000-8000-8000-000000000000").parse().unwrap()
}

fn target() -> Target {
    Target {
        installation: id(1),
        placement: id(2),
        incarnation: 1,
        name: "payments-db".into(),
        algorithm: Algorithm::Aes256,
        purpose: Purpose::Encrypt,
        key: "payments-db".parse().unwrap(),
    }
}

fn object() -> ObjectId {
    ObjectId(target().name)
}

fn copy(version: u32, material: Option<&str>) -> CopyRecord {
    let coordinates = CopyCoordinates {
        installation: id(1),
        key: id(5),
        version: Version(version),
        placement: id(2),
        algorithm: Algorithm::Rsa2048,
        source: Source::Generated,
        epoch: EpochId(1),
        profile: "standard".parse().unwrap(),
        approvals: keyplane_model::ApprovalRule { need: 0, from: std::collections::BTreeSet::new() },
    };
    let material = material.map(str::to_owned);
    let (bytes_of, check_value, blob, public_key) = (None, None, None, None);
    CopyRecord { coordinates, bytes_of, check_value, blob, public_key, material, wrapped_under: None, imported: None }
}

impl World {
    /// A mutation, and then a pause for the quota.
    async fn act(&self, mutation: Mutation) -> Result<Acted, CloudError> {
        let acted = self.hsm.act(&mutation).await;
        self.sim.sleep(Span::seconds(1)).await;
        acted
    }

    /// Makes a key exchange key.
    async fn kek(&self, version: u32) -> ObjectId {
        match self.act(Mutation::Prepare { target: target(), version: Version(version), scheme: SHA1 }).await {
            Ok(Acted::Created(kek)) => kek,
            other => panic!("{other:?}"),
        }
    }

    /// Wraps as the HSM would, and imports.
    async fn import(&self, version: u32, kek: &ObjectId, hash: OaepHash) -> Result<Acted, CloudError> {
        let spki = self.hsm.wrapping_key(&WrapFor::Prepared(kek.clone()), SHA1).await?.spki;
        let aes = self.symbols.key("transport");
        let material = self.symbols.kwp(&aes, &self.symbols.key("material"));
        self.send(version, kek, [self.symbols.oaep(&spki, hash, &aes), material].concat()).await
    }

    async fn send(&self, version: u32, kek: &ObjectId, wrapped: Vec<u8>) -> Result<Acted, CloudError> {
        let wrapping_key = WrappingKey { spki: Vec::new(), scheme: SHA1, token: kek.0.clone().into_bytes(), valid_until: None };
        let marks = Marks { installation: id(1), placement: id(2), incarnation: 1, attempt: id(4) };
        let (version, object, again, public_key) = (Version(version), None, None, None);
        self.act(Mutation::Import { target: target(), object, marks, again, version, public_key, wrapping_key, wrapped }).await
    }

    async fn look(&self) -> PlacementSeen {
        self.hsm.look(&target()).await.unwrap()
    }

    /// The names that a whole sweep finds.
    async fn swept(&self) -> Vec<String> {
        let (mut names, mut cursor) = (Vec::new(), None);
        loop {
            let page = self.hsm.sweep(cursor.as_ref()).await.unwrap();
            assert_eq!(page.broken, 0);
            names.extend(page.objects.into_iter().map(|object| object.object.0));
            cursor = page.next;
            if cursor.is_none() {
                return names;
            }
        }
    }

    /// Makes a key as others would; returns its id.
    async fn make(&self, name: &str, kty: &str) -> ObjectId {
        let path = format!("/keys/{name}/create");
        let made = self.hsm.call(Operation::CreateKey, "POST", &path, json!({ "kty": kty })).await.unwrap();
        self.sim.sleep(Span::seconds(1)).await;
        ObjectId(made["key"]["kid"].as_str().unwrap().to_owned())
    }
}

#[test]
fn a_key_comes_to_be_and_goes() {
    run(Span::ZERO, |world| async move {
        assert_eq!(world.look().await, PlacementSeen::default());
        let claim = world.act(Mutation::Claim { target: target(), object: object() }).await;
        assert_eq!(claim.unwrap_err().class, Class::Unsupported, "a name is a claim");
        let mut ids = Vec::new();
        for version in [1, 2] {
            let kek = world.kek(version).await;
            let prepared = world.hsm.prepared(&target(), Version(version), Some(&kek)).await.unwrap();
            assert_eq!(prepared, Some(Prepared { wrapping: kek.clone(), ready: true }));
            assert_eq!(world.import(version, &kek, OaepHash::Sha1).await, Ok(Acted::Done));
            let seen = world.look().await;
            let claimed = seen.claimed.clone().unwrap();
            assert!(claimed.fits(&target()) && claimed.state == ObjectState::Usable && seen.published == seen.claimed, "{claimed:?}");
            let current = claimed.current().unwrap();
            assert!(current.version == Some(Version(version)) && current.is_present(), "{current:?}");
            ids.push(current.id.clone().unwrap());
        }
        assert_eq!(world.swept().await, ["payments-db"], "and no key to wrap under");

        for (material, state) in ids.iter().zip([ObjectState::Usable, ObjectState::Disabled]) {
            world.act(Mutation::Disable { object: object(), material: Some(material.clone()) }).await.unwrap();
            let seen = world.hsm.inspect(&object()).await.unwrap().unwrap();
            let disabled = seen.materials.iter().find(|one| one.id.as_ref() == Some(material)).unwrap();
            assert!(seen.state == state && disabled.presence == Presence::Disabled, "{seen:?}");
        }
        world.act(Mutation::Enable { object: object(), material: ids.pop() }).await.unwrap();
        assert_eq!(world.look().await.claimed.unwrap().state, ObjectState::Usable);

        let early = world.act(Mutation::ScheduleDeletion { object: object(), material: None, days: 7 }).await;
        assert_eq!(early.unwrap_err().class, Class::Invalid, "the vault keeps it for longer");
        world.act(Mutation::ScheduleDeletion { object: object(), material: None, days: DELETION_DAYS }).await.unwrap();
        let PlacementSeen { claimed, published } = world.look().await;
        let ObjectState::DeletionScheduled(Some(purge)) = claimed.unwrap().state else { panic!("it is deleted") };
        assert!(purge > world.sim.now() + Span::days(DELETION_DAYS - 1) && published.is_none());
        assert!(world.swept().await.is_empty());
        let taken = world.import(3, &world.kek(3).await, OaepHash::Sha1).await;
        assert_eq!(taken.unwrap_err().class, Class::AlreadyExists, "a deleted key keeps its name");
        let gone = world.act(Mutation::Disable { object: ObjectId("other".into()), material: ids.pop() }).await;
        assert_eq!(gone.unwrap_err().class, Class::NotFound);
    });
}

#[test]
fn what_others_made_is_not_ours() {
    run(Span::ZERO, |world| async move {
        for name in ["a", "b", "c", "d", "payments-db"] {
            world.make(name, "oct-HSM").await;
        }
        let seen = world.look().await.claimed.unwrap();
        assert!(seen.marks.is_none() && !seen.fits(&target()), "{seen:?}");
        assert!(world.swept().await.is_empty());
        world.import(1, &world.kek(1).await, OaepHash::Sha1).await.unwrap();
        assert_eq!(world.swept().await, ["payments-db"], "on the second page");
        let seen = world.look().await.claimed.unwrap();
        assert_eq!(seen.materials.iter().map(|one| one.version).collect::<Vec<_>>(), [Some(Version(1)), None]);
    });
}

#[test]
fn what_is_not_wrapped_as_agreed_is_refused_and_makes_nothing() {
    run(Span::ZERO, |world| async move {
        let (kek, other) = (world.kek(1).await, world.kek(2).await);
        let refused = world.import(1, &kek, OaepHash::Sha256).await;
        assert_eq!(refused.unwrap_err().class, Class::Invalid);
        let spki = world.hsm.kek(&kek).await.unwrap();
        assert_ne!(spki, world.hsm.kek(&other).await.unwrap());
        let wrapped = [world.symbols.oaep(&spki, OaepHash::Sha1, &[1; 32]), world.symbols.kwp(&[1; 32], &[2; 32])].concat();
        assert_eq!(world.send(1, &other, wrapped.clone()).await.unwrap_err().class, Class::Invalid, "it is under another key");
        assert_eq!(world.look().await.claimed, None);
        assert_eq!(world.send(1, &kek, wrapped).await, Ok(Acted::Done));
    });
}

#[test]
fn what_could_decrypt_or_is_switched_off_is_not_wrapped_under() {
    run(Span::ZERO, |world| async move {
        let (usual, off) = (world.make("keyplane-kek-usual", "RSA-HSM").await, world.kek(1).await);
        let off_id = json!(off);
        let (name, version) = named(&off_id);
        world.hsm.switch(&ObjectId(name.into()), version, false).await.unwrap();
        for kid in [usual, off] {
            assert_eq!(world.hsm.kek(&kid).await.unwrap_err().cause, Cause::ImportTokenExpired);
            assert_eq!(world.hsm.prepared(&target(), Version(1), Some(&kid)).await, Ok(None));
        }
    });
}

#[test]
fn a_failure_is_ambiguous_exactly_where_it_may_have_had_its_effect() {
    use Effect::{Deny, LostReply, ServerError, Throttle};
    run(Span::ZERO, |world| async move {
        let kek = world.kek(1).await;
        for (effect, mutation, read) in [
            (Throttle, Class::Throttled, Class::Throttled),
            (Deny, Class::Denied, Class::Denied),
            (ServerError { applied: false }, Class::Ambiguous, Class::Transient),
            (LostReply, Class::Ambiguous, Class::Transient),
        ] {
            assert_eq!(world.look().await.claimed, None);
            for operation in ["ImportKey", "GetKeys"] {
                world.site.inside(|frame, _| frame.faults().add(Rule::on_operation(operation, effect.clone())));
            }
            let failed = world.import(1, &kek, OaepHash::Sha1).await.unwrap_err();
            assert_eq!((failed.class, failed.retry_after.is_some()), (mutation, mutation == Class::Throttled), "{effect:?}");
            assert_eq!(world.hsm.sweep(None).await.unwrap_err().class, read, "{effect:?}");
        }
        assert!(world.look().await.claimed.is_some(), "the reply was lost, the import was not");
    });
}

/// Otherwise the newest version could be taken for a former one.
#[test]
fn two_reads_that_contradict_each_other_are_no_answer() {
    run(Span::seconds(10), |world| async move {
        let keks = (world.kek(1).await, world.kek(2).await);
        world.sim.sleep(Span::seconds(10)).await;
        world.import(1, &keks.0, OaepHash::Sha1).await.unwrap();
        world.sim.sleep(Span::seconds(10)).await;
        world.import(2, &keks.1, OaepHash::Sha1).await.unwrap();
        let mut contradictions = 0;
        for _ in 0..20 {
            match world.hsm.look(&target()).await {
                Ok(seen) => {
                    let object = seen.claimed.unwrap();
                    assert_eq!(object.current().unwrap().version, object.materials.iter().filter_map(|one| one.version).max());
                }
                Err(error) => {
                    assert_eq!(error.class, Class::Transient, "{error}");
                    contradictions += 1;
                }
            }
        }
        assert!(contradictions > 0);
    });
}

#[test]
fn every_kind_is_seen_as_what_it_is_with_the_public_key_that_it_has() {
    let pairs = [
        (Algorithm::Rsa2048, Purpose::Encrypt),
        (Algorithm::Rsa3072, Purpose::Sign),
        (Algorithm::Rsa4096, Purpose::Sign),
        (Algorithm::EcP256, Purpose::Sign),
        (Algorithm::EcP384, Purpose::Sign),
    ];
    for ((algorithm, purpose), key_vault) in pairs.into_iter().flat_map(|pair| [(pair, false), (pair, true)]) {
        run_at(key_vault, Span::ZERO, move |world| async move {
            let target = Target { algorithm, purpose, ..target() };
            let material = world.symbols.pair(algorithm);
            let public = crate::symbols::public_half(&material).map(|(_, public)| PublicKey(public)).unwrap();
            let mut ids = Vec::new();
            for version in [1, 2] {
                let kek = world.kek(version).await;
                let under = world.hsm.wrapping_key(&WrapFor::Prepared(kek), SHA1).await.unwrap();
                let aes = world.symbols.key("transport");
                let wrapped = [world.symbols.oaep(&under.spki, OaepHash::Sha1, &aes), world.symbols.kwp(&aes, &material)].concat();
                let marks = Marks { installation: id(1), placement: id(2), incarnation: 1, attempt: id(4) };
                let (object, again, public_key, wrapping_key) = (None, None, None, under);
                let version = Version(version);
                let import = Mutation::Import { target: target.clone(), object, marks, again, version, public_key, wrapping_key, wrapped };
                assert_eq!(world.act(import).await, Ok(Acted::Done), "{algorithm}");
                let seen = world.hsm.look(&target).await.unwrap().claimed.unwrap();
                assert!(seen.fits(&target), "{seen:?}");
                ids.push(seen.current().unwrap().id.clone());
                // The former version shows its public key too.
                assert!(seen.materials.iter().all(|material| material.public_key == Some(public.digest())), "{seen:?}");
            }
            let seen = world.hsm.look(&Target { purpose: Purpose::Mac, ..target.clone() }).await.unwrap().claimed.unwrap();
            assert!(!seen.fits(&Target { purpose: Purpose::Mac, ..target.clone() }));
            let mut copy = copy(2, ids[1].as_deref());
            copy.public_key = Some(public);
            let evidence = world.hsm.evidence(&target, &copy, Timestamp(0)).await.unwrap();
            assert_eq!((evidence.fits, evidence.strength), (true, EvidenceStrength::Equality), "{algorithm}");
            copy.public_key = Some(PublicKey(vec![1]));
            assert!(!world.hsm.evidence(&target, &copy, Timestamp(0)).await.unwrap().fits, "another public key is another key");
        });
    }
}
