//! The port with AWS's core: the life of a key, and what is refused.

use std::sync::Arc;

use futures::channel::oneshot;
use keyplane_emulator_core::crypto::{Crypto as _, OaepHash};
use keyplane_emulator_core::fault::{Effect, Rule};
use keyplane_model::{CopyCoordinates, EpochId, Source};

use super::*;
use crate::executor::{Parties, Sim, Stopped};
use crate::life::Life;
use crate::net::Site;

struct Rig {
    cloud: Aws,
    site: Arc<Site<Kms>>,
    symbols: Symbols,
}

/// Runs a test to its end in virtual time.
fn run<F: Future<Output = ()> + Send + 'static>(test: impl FnOnce(Rig) -> F) {
    let (sim, symbols) = (Sim::new(7, false), Symbols::default());
    let site = Site::new(frame(symbols.clone(), Span::ZERO, 7), 7);
    let line = Line::new(Life::new(0, Arc::clone(&sim), Arc::default()), Arc::clone(&site), "server aws");
    let cloud = Aws::new(line, destination("aws".parse().unwrap()), id('1'));
    let mut parties = Parties::new(Arc::clone(&sim));
    let (end, mut ended) = oneshot::channel();
    let test = test(Rig { cloud, site, symbols });
    parties.spawn(1, async move {
        test.await;
        end.send(()).unwrap();
    });
    assert_eq!(parties.run(sim.now() + Span::days(1)), Stopped::Quiet);
    assert_eq!(ended.try_recv(), Ok(Some(())), "the test has to come to its end");
}

impl Rig {
    fn unlimited(&self) {
        self.site.inside(|frame, _| frame.quotas().turn(false));
    }

    fn fault(&self, operation: Operation, effect: Effect) {
        let rule = Rule { operation: Some(operation.name().to_owned()), mutation: None, skip: 0, times: Some(1), effect };
        self.site.inside(|frame, _| frame.faults().add(rule));
    }

    async fn create(&self) -> ObjectId {
        match self.cloud.act(&creation()).await {
            Ok(Acted::Created(object)) => object,
            other => panic!("{other:?}"),
        }
    }

    async fn wrapping_key(&self, object: &ObjectId, scheme: WrapScheme) -> WrappingKey {
        self.cloud.wrapping_key(&WrapFor::Object(object.clone()), scheme).await.unwrap()
    }

    /// Wraps as the HSM would.
    fn wrap(&self, under: &WrappingKey, material: &[u8]) -> Vec<u8> {
        let oaep = |plaintext: &[u8]| self.symbols.oaep(&under.spki, OaepHash::Sha256, plaintext);
        match under.scheme {
            WrapScheme::RsaOaepSha256 => oaep(material),
            _ => {
                let kek = self.symbols.key("kek");
                [oaep(&kek), self.symbols.kwp(&kek, material)].concat()
            }
        }
    }

    async fn act(&self, mutation: Mutation) -> Result<Acted, (Class, Cause)> {
        self.cloud.act(&mutation).await.map_err(|error| (error.class, error.cause))
    }

    async fn state(&self, object: &ObjectId) -> ObjectState {
        self.cloud.inspect(object).await.unwrap().unwrap().state
    }
}

fn id<T: std::str::FromStr<Err: std::fmt::Debug>>(digit: char) -> T {
    "xxxxxxxx-0000-8000-8000-000000000000".replace('x', &digit.to_string()).parse().unwrap()
}

fn target() -> Target {
    let (name, key) = ("payments-db".to_owned(), "payments".parse().unwrap());
    let (algorithm, purpose) = (Algorithm::Aes256, Purpose::Encrypt);
    Target { installation: id('1'), placement: id('2'), incarnation: 3, name, algorithm, purpose, key }
}

fn ours() -> Marks {
    Marks { installation: id('1'), placement: id('2'), incarnation: 3, attempt: id('4') }
}

fn creation() -> Mutation {
    Mutation::Create { target: target(), marks: ours() }
}

fn import(object: &ObjectId, wrapping_key: &WrappingKey, wrapped: Vec<u8>) -> Mutation {
    let (target, object, marks, version) = (target(), Some(object.clone()), ours(), Version(1));
    let wrapping_key = wrapping_key.clone();
    Mutation::Import { target, object, marks, again: None, version, public_key: None, wrapping_key, wrapped }
}

fn copy(material: Option<String>) -> CopyRecord {
    let coordinates = CopyCoordinates {
        installation: id('1'),
        key: id('5'),
        version: Version(1),
        placement: id('2'),
        algorithm: Algorithm::Aes256,
        source: Source::Generated,
        epoch: EpochId(1),
        profile: "standard".parse().unwrap(),
        approvals: keyplane_model::ApprovalRule { need: 0, from: std::collections::BTreeSet::new() },
    };
    let (bytes_of, check_value, blob, public_key) = (None, None, None, None);
    CopyRecord { coordinates, bytes_of, check_value, blob, public_key, material, wrapped_under: None, imported: None }
}

#[test]
fn a_key_comes_is_seen_and_goes() {
    for scheme in destination("aws".parse().unwrap()).capabilities.algorithms[&Algorithm::Aes256].clone() {
        run(move |rig| async move {
            let (target, material) = (target(), rig.symbols.key("copy"));
            assert_eq!(rig.cloud.look(&target).await.unwrap(), PlacementSeen::default());
            let object = rig.create().await;
            let shell = rig.cloud.inspect(&object).await.unwrap().unwrap();
            assert!(shell.fits(&target) && shell.is_empty(), "{shell:?}");
            rig.act(Mutation::Claim { target: target.clone(), object: object.clone() }).await.unwrap();
            let under = rig.wrapping_key(&object, scheme).await;
            rig.act(import(&object, &under, rig.wrap(&under, &material))).await.unwrap();
            rig.act(Mutation::Publish { target: target.clone(), object: object.clone(), material: None }).await.unwrap();

            let PlacementSeen { claimed: Some(seen), published } = rig.cloud.look(&target).await.unwrap() else { panic!() };
            assert_eq!((&seen.object, &published), (&object, &Some(seen.clone())));
            for alias in ["alias/keyplane/22222222-0000-8000-8000-000000000000/3", "alias/payments-db"] {
                assert_eq!(rig.cloud.inspect(&ObjectId(alias.to_owned())).await, Ok(Some(seen.clone())));
            }
            assert!(seen.fits(&target) && seen.state == ObjectState::Usable, "{seen:?}");
            // The cloud computes a material's id from the key's id and the bytes: so it has the HSM's bytes.
            let bytes = hex::encode(rig.symbols.hash(&[b"key material", object.0.as_bytes(), &material]));
            let (state, presence) = (MaterialState::Current, Presence::Present);
            let current = MaterialSeen { id: Some(bytes), version: Some(Version(1)), state, presence, public_key: None };
            assert_eq!(seen.materials, std::slice::from_ref(&current));
            for (recorded, strength) in [(current.id, EvidenceStrength::SameObject), (Some("another".to_owned()), EvidenceStrength::None)] {
                assert_eq!(rig.cloud.evidence(&target, &copy(recorded), Timestamp(0)).await.unwrap().strength, strength);
            }
            assert_eq!(rig.cloud.sweep(None).await.unwrap().objects, std::slice::from_ref(&seen));

            rig.act(Mutation::Disable { object: object.clone(), material: None }).await.unwrap();
            assert_eq!(rig.state(&object).await, ObjectState::Disabled);
            rig.act(Mutation::Enable { object: object.clone(), material: None }).await.unwrap();
            assert_eq!(rig.state(&object).await, ObjectState::Usable);
            rig.act(Mutation::ScheduleDeletion { object: object.clone(), material: None, days: 7 }).await.unwrap();
            let ObjectState::DeletionScheduled(Some(at)) = rig.state(&object).await else { panic!() };
            let days = at - seen.created.unwrap();
            assert!(days > Span::days(7) && days < Span::days(8));
        });
    }
}

#[test]
fn what_is_foreign_is_not_ours() {
    run(|rig| async move {
        let made = rig.cloud.ask(Operation::CreateKey, json!({})).await.unwrap();
        let foreign = ObjectId(text(&made["KeyMetadata"], "KeyId").to_owned());
        rig.act(Mutation::Publish { target: target(), object: foreign.clone(), material: None }).await.unwrap();
        let PlacementSeen { claimed: None, published: Some(seen) } = rig.cloud.look(&target()).await.unwrap() else { panic!() };
        assert_eq!((seen.object.clone(), &seen.marks, seen.external), (foreign, &None, false));
        assert!(!seen.fits(&target()));
        assert!(rig.cloud.sweep(None).await.unwrap().objects.is_empty());
        // A key of another installation is swept, and its marks say so.
        let marks = Marks { installation: id('9'), ..ours() };
        rig.act(Mutation::Create { target: target(), marks }).await.unwrap();
        let swept = rig.cloud.sweep(None).await.unwrap().objects;
        assert!(swept.len() == 1 && !swept[0].fits(&target()), "{swept:?}");
        assert_eq!(material_version(id('9'), &material_description(id('1'), Version(1))), None);
    });
}

#[test]
fn a_wrong_wrapping_is_refused() {
    run(|rig| async move {
        rig.unlimited();
        let (object, other) = (rig.create().await, rig.create().await);
        let (first, second) = (rig.symbols.key("copy"), rig.symbols.key("copy"));
        let scheme = WrapScheme::RsaOaepSha256;
        let (under, next) = (rig.wrapping_key(&object, scheme).await, rig.wrapping_key(&object, scheme).await);
        let invalid = Err((Class::Invalid, Cause::Plain));
        assert_eq!(rig.act(import(&object, &under, rig.wrap(&next, &first))).await, invalid, "under another key");
        assert_eq!(rig.act(import(&other, &under, rig.wrap(&under, &first))).await, invalid, "into another key");
        assert!(rig.cloud.inspect(&object).await.unwrap().unwrap().is_empty());
        for _ in 0..2 {
            assert_eq!(rig.act(import(&object, &under, rig.wrap(&under, &first))).await, Ok(Acted::Done));
        }
        let exchanged = rig.act(import(&object, &under, rig.wrap(&under, &second))).await;
        assert_eq!(exchanged, Err((Class::Invalid, Cause::OtherMaterial)));
    });
}

#[test]
fn failures_have_their_class() {
    run(|rig| async move {
        let nothing = ObjectId("nothing".to_owned());
        assert_eq!(rig.cloud.inspect(&nothing).await, Ok(None));
        let disabled = rig.act(Mutation::Disable { object: nothing, material: None }).await;
        assert_eq!(disabled, Err((Class::NotFound, Cause::Plain)));
        let object = rig.create().await;
        let disabled = rig.act(Mutation::Disable { object: object.clone(), material: None }).await;
        assert_eq!(disabled, Err((Class::Stale, Cause::Plain)));
        let claim = Mutation::Claim { target: target(), object: object.clone() };
        rig.act(claim.clone()).await.unwrap();
        assert_eq!(rig.act(claim).await, Err((Class::AlreadyExists, Cause::Plain)));

        rig.wrapping_key(&object, WrapScheme::RsaOaepSha256).await;
        let asked = rig.cloud.wrapping_key(&WrapFor::Object(object.clone()), WrapScheme::RsaOaepSha256).await;
        assert_eq!(asked.unwrap_err().class, Class::Throttled, "the published quota is one a second");
        rig.fault(Operation::ListResourceTags, Effect::Error { code: "NotFoundException".to_owned(), status: 400 });
        assert_eq!(rig.cloud.inspect(&object).await.unwrap_err().class, Class::Transient, "it was there a moment ago");
        let effects = [
            (Effect::Deny, Class::Denied, Class::Denied),
            (Effect::ServerError { applied: false }, Class::Transient, Class::Ambiguous),
            (Effect::LostReply, Class::Transient, Class::Ambiguous),
        ];
        for (effect, read, mutation) in effects {
            rig.fault(Operation::DescribeKey, effect.clone());
            assert_eq!(rig.cloud.inspect(&object).await.unwrap_err().class, read, "{effect:?}");
            rig.fault(Operation::CreateKey, effect.clone());
            assert_eq!(rig.act(creation()).await, Err((mutation, Cause::Plain)), "{effect:?}");
        }
        assert_eq!(rig.cloud.sweep(None).await.unwrap().objects.len(), 2, "of the last one only the reply was lost");
    });
}

#[test]
fn a_sweep_goes_on_to_the_last_page_and_counts_what_it_cannot_read() {
    run(|rig| async move {
        rig.unlimited();
        for _ in 0..12 {
            rig.create().await;
        }
        rig.fault(Operation::GetKeyPolicy, Effect::Deny);
        let first = rig.cloud.sweep(None).await.unwrap();
        assert_eq!((first.objects.len(), first.broken), (9, 1));
        let last = rig.cloud.sweep(first.next.as_ref()).await.unwrap();
        assert_eq!((last.objects.len(), last.broken, last.next), (2, 0, None));
    });
}
