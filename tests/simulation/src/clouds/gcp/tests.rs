//! The port with Google Cloud's core: the life of a key, and what is refused.

use std::sync::Arc;

use futures::channel::oneshot;
use keyplane_emulator_core::crypto::OaepHash;
use keyplane_emulator_core::fault::{Effect, Rule};
use keyplane_emulator_core::gcp::{BadMaterial, ExpiredJob};
use keyplane_model::{CopyCoordinates, EpochId, PublicKey, Source};

use super::*;
use crate::executor::{Parties, Sim, Stopped};
use crate::life::Life;
use crate::net::Site;

struct Rig {
    cloud: Gcp,
    site: Arc<Site<Project>>,
    sim: Arc<Sim>,
    symbols: Symbols,
}

/// Runs a test to its end in virtual time.
fn run<F: Future<Output = ()> + Send + 'static>(test: impl FnOnce(Rig) -> F) {
    let (sim, symbols, name) = (Sim::new(7, false), Symbols::default(), "gcp".parse().unwrap());
    let site = Site::new(frame(symbols.clone(), &name, Span::seconds(10)), 7);
    let line = Line::new(Life::new(0, Arc::clone(&sim), Arc::default()), Arc::clone(&site), "server>gcp");
    let cloud = Gcp::new(line, destination(name), id('1'));
    let mut parties = Parties::new(Arc::clone(&sim));
    let test = test(Rig { cloud, site, sim: Arc::clone(&sim), symbols });
    let (end, mut ended) = oneshot::channel();
    parties.spawn(1, async move {
        test.await;
        end.send(()).unwrap();
    });
    assert_eq!(parties.run(sim.now() + Span::days(30)), Stopped::Quiet);
    assert_eq!(ended.try_recv(), Ok(Some(())), "the test has not come to its end");
}

impl Rig {
    fn fault(&self, operation: &str, effect: Effect) {
        let rule = Rule { operation: Some(operation.to_owned()), mutation: None, skip: 0, times: Some(1), effect };
        self.site.inside(|frame, _| frame.faults().add(rule));
    }

    async fn act(&self, mutation: Mutation) -> Result<Acted, (Class, Cause)> {
        self.cloud.act(&mutation).await.map_err(|error| (error.class, error.cause))
    }

    /// Makes an import job, and returns its key as soon as it is active.
    async fn wrapping_key(&self, scheme: WrapScheme) -> WrappingKey {
        let Ok(Acted::Created(job)) = self.act(prepare(scheme)).await else { panic!() };
        let prepared = self.cloud.prepared(&target(), Version(1), None).await.unwrap();
        assert_eq!(prepared, Some(Prepared { wrapping: job.clone(), ready: false }));
        let from = WrapFor::Prepared(job.clone());
        assert_eq!(self.cloud.wrapping_key(&from, scheme).await.unwrap_err().class, Class::Transient);
        self.sim.sleep(Span::seconds(1)).await;
        let prepared = self.cloud.prepared(&target(), Version(1), None).await.unwrap();
        assert_eq!(prepared, Some(Prepared { wrapping: job, ready: true }));
        self.cloud.wrapping_key(&from, scheme).await.unwrap()
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

    async fn fits(&self, version: u32, recorded: Option<&str>) -> bool {
        self.cloud.evidence(&target(), &copy(version, recorded), Timestamp(0)).await.unwrap().fits
    }

    /// The materials of the key, once the cloud has finished its imports.
    async fn materials(&self) -> Vec<MaterialSeen> {
        self.sim.sleep(Span::seconds(1)).await;
        self.cloud.inspect(&object()).await.unwrap().unwrap().materials
    }
}

fn id<T: std::str::FromStr<Err: std::fmt::Debug>>(digit: char) -> T {
    "xxxxxxxx-0000-8000-8000-000000000000".replace('x', &digit.to_string()).parse().unwrap()
}

fn target() -> Target {
    let (ObjectId(name), key) = (object(), "payments".parse().unwrap());
    let (algorithm, purpose) = (Algorithm::Aes256, Purpose::Encrypt);
    Target { installation: id('1'), placement: id('2'), incarnation: 3, name, algorithm, purpose, key }
}

fn object() -> ObjectId {
    ObjectId("payments-db".to_owned())
}

fn ours() -> Marks {
    Marks { installation: id('1'), placement: id('2'), incarnation: 3, attempt: id('4') }
}

fn creation() -> Mutation {
    Mutation::Create { target: target(), marks: ours() }
}

fn prepare(scheme: WrapScheme) -> Mutation {
    Mutation::Prepare { target: target(), version: Version(1), scheme }
}

fn import(again: Option<&str>, wrapping_key: WrappingKey, wrapped: Vec<u8>) -> Mutation {
    let (target, object, marks, again) = (target(), Some(object()), ours(), again.map(str::to_owned));
    Mutation::Import { target, object, marks, again, version: Version(1), public_key: None, wrapping_key, wrapped }
}

fn publication(number: &str) -> Mutation {
    Mutation::Publish { target: target(), object: object(), material: Some(number.to_owned()) }
}

fn seen(number: &str, state: MaterialState, presence: Presence) -> MaterialSeen {
    MaterialSeen { id: Some(number.to_owned()), version: Some(Version(1)), state, presence, public_key: None }
}

fn copy(version: u32, material: Option<&str>) -> CopyRecord {
    let coordinates = CopyCoordinates {
        installation: id('1'),
        key: id('5'),
        version: Version(version),
        placement: id('2'),
        algorithm: Algorithm::Aes256,
        source: Source::Generated,
        epoch: EpochId(1),
        profile: "standard".parse().unwrap(),
        approvals: keyplane_model::ApprovalRule { need: 0, from: std::collections::BTreeSet::new() },
    };
    let material = material.map(str::to_owned);
    let (bytes_of, check_value, blob, public_key) = (None, None, None, None);
    CopyRecord { coordinates, bytes_of, check_value, blob, public_key, material, wrapped_under: None, imported: None }
}

#[test]
fn a_key_comes_is_seen_and_is_switched_but_never_goes() {
    for scheme in destination("gcp".parse().unwrap()).capabilities.algorithms[&Algorithm::Aes256].clone() {
        run(move |rig| async move {
            let material = rig.symbols.key("copy");
            assert_eq!(rig.cloud.look(&target()).await.unwrap(), PlacementSeen::default());
            assert_eq!(rig.act(creation()).await, Ok(Acted::Created(object())));
            let PlacementSeen { claimed: Some(shell), published: None } = rig.cloud.look(&target()).await.unwrap() else { panic!() };
            assert!(shell.fits(&target()) && shell.is_empty() && shell.created.is_some(), "{shell:?}");
            let under = rig.wrapping_key(scheme).await;
            assert!(under.valid_until.is_some_and(|end| end > rig.sim.now() + Span::days(2)));
            rig.act(import(None, under.clone(), rig.wrap(&under, &material))).await.unwrap();
            assert_eq!(rig.materials().await, [seen("1", MaterialState::Pending, Presence::Present)]);
            rig.act(publication("1")).await.unwrap();

            let PlacementSeen { claimed: Some(key), published } = rig.cloud.look(&target()).await.unwrap() else { panic!() };
            assert_eq!(published.as_ref(), Some(&key));
            assert!(key.fits(&target()) && key.state == ObjectState::Usable, "{key:?}");
            assert_eq!(key.materials, [seen("1", MaterialState::Current, Presence::Present)]);
            assert_eq!(rig.cloud.sweep(None).await.unwrap().objects, [key]);
            for (version, recorded, fits) in [(1, Some("1"), true), (2, Some("1"), false), (1, Some("2"), false), (1, None, false)] {
                assert_eq!(rig.fits(version, recorded).await, fits, "{version} as {recorded:?}");
            }

            // Sent twice, it makes two versions. The second one can be disabled by itself.
            rig.act(import(None, under.clone(), rig.wrap(&under, &material))).await.unwrap();
            let (first, second) =
                (seen("1", MaterialState::Current, Presence::Present), |presence| seen("2", MaterialState::Pending, presence));
            assert_eq!(rig.materials().await, [first.clone(), second(Presence::Present)]);
            rig.act(Mutation::Disable { object: object(), material: Some("2".to_owned()) }).await.unwrap();
            assert_eq!(rig.materials().await, [first, second(Presence::Disabled)]);
            rig.act(Mutation::Disable { object: object(), material: Some("1".to_owned()) }).await.unwrap();
            assert_eq!(rig.cloud.inspect(&object()).await.unwrap().unwrap().state, ObjectState::Disabled);
            assert!(rig.fits(1, Some("1")).await, "unusable is not gone");
            rig.act(Mutation::Enable { object: object(), material: Some("2".to_owned()) }).await.unwrap();
            rig.act(publication("2")).await.unwrap();
            let (former, current) = (MaterialState::Former, MaterialState::Current);
            assert_eq!(rig.materials().await, [seen("1", former, Presence::Disabled), seen("2", current, Presence::Present)]);

            assert_eq!((rig.fits(1, Some("1")).await, rig.fits(1, Some("2")).await), (false, true), "another one took its place");

            let (target, object) = (target(), object());
            for mutation in
                [Mutation::ScheduleDeletion { object: object.clone(), material: None, days: 30 }, Mutation::Claim { target, object }]
            {
                assert_eq!(rig.act(mutation).await, Err((Class::Unsupported, Cause::Plain)), "Google Cloud has no such thing");
            }
        });
    }
}

#[test]
fn what_is_foreign_is_not_ours() {
    run(|rig| async move {
        let key = json!({ "purpose": ENCRYPT_DECRYPT });
        rig.cloud.send("CreateCryptoKey", Method::Post, "cryptoKeys", &[("cryptoKeyId", "payments-db")], &key).await.unwrap();
        let PlacementSeen { claimed: Some(foreign), published: Some(_) } = rig.cloud.look(&target()).await.unwrap() else { panic!() };
        assert_eq!((&foreign.object, &foreign.marks, foreign.external), (&object(), &None, false));
        assert!(!foreign.fits(&target()));
        assert!(rig.cloud.sweep(None).await.unwrap().objects.is_empty());
        assert_eq!(rig.act(creation()).await, Err((Class::AlreadyExists, Cause::Plain)));
        // A key of another installation is swept, and is not taken for ours, whatever it holds.
        let (target, marks) = (Target { name: "theirs".to_owned(), ..target() }, Marks { installation: id('9'), ..ours() });
        let Ok(Acted::Created(theirs)) = rig.act(Mutation::Create { target: target.clone(), marks }).await else { panic!() };
        let under = rig.wrapping_key(WrapScheme::RsaOaepSha256).await;
        let mut sent = import(None, under.clone(), rig.wrap(&under, &rig.symbols.key("copy")));
        if let Mutation::Import { object, .. } = &mut sent {
            *object = Some(theirs);
        }
        rig.act(sent).await.unwrap();
        let swept = rig.cloud.sweep(None).await.unwrap().objects;
        assert!(swept.len() == 1 && !swept[0].fits(&target) && swept[0].materials[0].version.is_none(), "{swept:?}");
        let job = job_id(id('2'), Version(1), 1).0;
        assert_eq!([job_version(id('2'), &job), job_version(id('3'), &job)], [Some(Version(1)), None]);
    });
}

#[test]
fn a_wrong_wrapping_is_refused_and_the_right_one_may_follow() {
    run(|rig| async move {
        rig.act(creation()).await.unwrap();
        let (material, other) = (rig.symbols.key("copy"), rig.symbols.key("copy"));
        let under = rig.wrapping_key(WrapScheme::RsaOaepSha256).await;
        let next = rig.wrapping_key(WrapScheme::RsaOaepSha256).await;
        rig.act(import(None, under.clone(), rig.wrap(&next, &material))).await.unwrap();
        assert!(matches!(rig.materials().await[0].presence, Presence::Failed(_)), "under another job's key");
        assert_eq!(rig.act(publication("1")).await, Err((Class::Stale, Cause::Plain)));
        rig.act(import(Some("1"), under.clone(), rig.wrap(&under, &material))).await.unwrap();
        assert_eq!(rig.materials().await, [seen("1", MaterialState::Pending, Presence::Present)]);
        let exchanged = rig.act(import(Some("1"), under.clone(), rig.wrap(&under, &other))).await;
        assert_eq!(exchanged, Err((Class::Stale, Cause::Plain)), "it holds its bytes already");
        rig.site.inside(|frame, _| frame.readings().bad_material = BadMaterial::AtOnce);
        let refused = rig.act(import(None, under.clone(), rig.wrap(&next, &material))).await;
        assert_eq!(refused, Err((Class::Invalid, Cause::Plain)));
    });
}

#[test]
fn a_job_that_ran_out_is_not_used_any_more() {
    run(|rig| async move {
        rig.act(creation()).await.unwrap();
        let (scheme, expired) = (WrapScheme::RsaAesKeyWrapSha256, (Class::Stale, Cause::ImportTokenExpired));
        let under = rig.wrapping_key(scheme).await;
        let from = WrapFor::Prepared(job_id(id('2'), Version(1), 1));
        let other = rig.cloud.wrapping_key(&from, WrapScheme::RsaOaepSha256).await.unwrap_err();
        assert_eq!(other.class, Class::Stale, "it unwraps something else");
        rig.sim.sleep(Span::days(4)).await;
        assert_eq!(rig.cloud.prepared(&target(), Version(1), None).await, Ok(None));
        let asked = rig.cloud.wrapping_key(&from, scheme).await.unwrap_err();
        assert_eq!((asked.class, asked.cause), expired);
        for reading in [ExpiredJob::FailedPrecondition, ExpiredJob::InvalidArgument, ExpiredJob::NotFound] {
            rig.site.inside(|frame, _| frame.readings().expired_job = reading);
            let imported = rig.act(import(None, under.clone(), rig.wrap(&under, &[7; 32]))).await;
            assert_eq!(imported, Err(expired), "{reading:?}");
        }
        rig.wrapping_key(scheme).await;
    });
}

#[test]
fn failures_have_their_class() {
    run(|rig| async move {
        assert_eq!(rig.cloud.inspect(&object()).await, Ok(None));
        assert_eq!(rig.act(publication("1")).await, Err((Class::NotFound, Cause::Plain)));
        let from = WrapFor::Prepared(ObjectId("nothing".to_owned()));
        assert_eq!(rig.cloud.wrapping_key(&from, WrapScheme::RsaOaepSha256).await.unwrap_err().class, Class::NotFound);
        let error = |code: &str| Effect::Error { code: code.to_owned(), status: 400 };
        let effects = [
            (Effect::Throttle, Class::Throttled, Class::Throttled),
            (Effect::Deny, Class::Denied, Class::Denied),
            (error("UNIMPLEMENTED"), Class::Unsupported, Class::Unsupported),
            (error("ABORTED"), Class::Stale, Class::Stale),
            (error("CANCELLED"), Class::Transient, Class::Ambiguous),
            (error("nonsense"), Class::Broken, Class::Ambiguous),
            (Effect::ServerError { applied: false }, Class::Transient, Class::Ambiguous),
            (Effect::LostReply, Class::Transient, Class::Ambiguous),
        ];
        for (effect, read, mutation) in effects {
            rig.fault("GetCryptoKey", effect.clone());
            assert_eq!(rig.cloud.inspect(&object()).await.unwrap_err().class, read, "{effect:?}");
            rig.fault("CreateCryptoKey", effect.clone());
            assert_eq!(rig.act(creation()).await, Err((mutation, Cause::Plain)), "{effect:?}");
        }
        assert_eq!(rig.cloud.sweep(None).await.unwrap().objects.len(), 1, "of the last one only the reply was lost");
        assert_eq!(rig.act(creation()).await, Err((Class::AlreadyExists, Cause::Plain)));
        rig.fault("ListCryptoKeyVersions", error("NOT_FOUND"));
        assert_eq!(rig.cloud.inspect(&object()).await.unwrap_err().class, Class::Transient, "two reads contradict each other");
        rig.fault("GetCryptoKey", error("UNAUTHENTICATED"));
        assert_eq!(rig.cloud.inspect(&object()).await.unwrap_err().cause, Cause::Credentials);
        rig.site.inside(|frame, _| frame.quotas().limit("Read", 1));
        assert!(rig.cloud.inspect(&object()).await.unwrap_err().retry_after.is_some(), "the cloud says how long to wait");
    });
}

#[test]
fn a_sweep_goes_on_to_the_last_page_and_counts_what_it_cannot_read() {
    run(|rig| async move {
        for n in 0..14 {
            let target = Target { name: format!("key-{n}"), ..target() };
            rig.act(Mutation::Create { target, marks: ours() }).await.unwrap();
        }
        rig.fault("ListCryptoKeyVersions", Effect::Deny);
        let first = rig.cloud.sweep(None).await.unwrap();
        assert_eq!((first.objects.len(), first.broken), (SWEEP_KEYS - 1, 1));
        let last = rig.cloud.sweep(first.next.as_ref()).await.unwrap();
        assert_eq!((last.objects.len(), last.broken, last.next), (2, 0, None));
        rig.fault("ListCryptoKeyVersions", Effect::LostReply);
        assert_eq!(rig.cloud.sweep(None).await.unwrap_err().class, Class::Transient, "that says nothing about the key");
    });
}

/// Only pairs have public keys, and only symmetric encryption has a primary version.
#[test]
fn every_kind_is_seen_as_what_it_is_with_the_public_key_that_it_has() {
    for (algorithm, purpose) in [
        (Algorithm::Rsa2048, Purpose::Encrypt),
        (Algorithm::Rsa3072, Purpose::Sign),
        (Algorithm::Rsa4096, Purpose::Sign),
        (Algorithm::EcP256, Purpose::Sign),
        (Algorithm::EcP384, Purpose::Sign),
        (Algorithm::HmacSha256, Purpose::Mac),
    ] {
        run(move |rig| async move {
            let target = Target { algorithm, purpose, ..target() };
            let scheme = schemes(algorithm)[0];
            let material = if algorithm.is_symmetric() { rig.symbols.key("copy").to_vec() } else { rig.symbols.pair(algorithm) };
            let public = crate::symbols::public_half(&material).map(|(_, public)| PublicKey(public));
            rig.act(Mutation::Create { target: target.clone(), marks: ours() }).await.unwrap();
            let under = rig.wrapping_key(scheme).await;
            let wrapped = rig.wrap(&under, &material);
            let (object, wrapping_key) = (Some(object()), under);
            let version = Version(1);
            let (marks, public_key) = (ours(), public.clone());
            let import =
                Mutation::Import { target: target.clone(), object, marks, again: None, version, public_key, wrapping_key, wrapped };
            rig.act(import).await.unwrap();
            let digest = public.as_ref().map(PublicKey::digest);
            let shown = MaterialSeen { public_key: digest, ..seen("1", MaterialState::Current, Presence::Present) };
            assert_eq!(rig.materials().await, [shown]);
            let PlacementSeen { claimed: Some(key), published: Some(_) } = rig.cloud.look(&target).await.unwrap() else { panic!() };
            assert!(key.fits(&target), "{key:?}");
            let publication = Mutation::Publish { target: target.clone(), object: key.object, material: Some("1".to_owned()) };
            assert_eq!(rig.act(publication).await, Err((Class::Unsupported, Cause::Plain)), "{algorithm}");

            let record = CopyRecord { public_key: public.clone(), ..copy(1, Some("1")) };
            let evidence = rig.cloud.evidence(&target, &record, Timestamp(0)).await.unwrap();
            let strength = if public.is_some() { EvidenceStrength::Equality } else { EvidenceStrength::None };
            assert_eq!((evidence.fits, evidence.strength), (true, strength), "{algorithm}");
            let other = CopyRecord { public_key: public.map(|_| PublicKey(vec![1])), ..record };
            let evidence = rig.cloud.evidence(&target, &other, Timestamp(0)).await.unwrap();
            assert_eq!(evidence.fits, algorithm.is_symmetric(), "another public key is another key");
        });
    }
}
