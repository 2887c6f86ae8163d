//! What a change set was used for is on record in the token, so it is good for nothing once it ended, and for few wrapping keys before.

use aws_lc_rs::rsa::KeySize;
use cryptoki::object::{Attribute, AttributeType};
use keyplane_model::{ChangeSet, Digest, Source, Span, Timestamp, WrapScheme};
use keyplane_port::{Custodian as _, CustodianError, MOST_WRAPPING_KEYS, MintRequest, Minted, Spent, Usage, Wrap};

use super::fixture::*;
use crate::software::SoftwareKey;
use crate::token::{Fails, Token};
use crate::{HsmConfig, HsmCustodian, HsmError, usage};

const SCHEME: WrapScheme = WrapScheme::RsaOaepSha256;

fn cloud() -> SoftwareKey {
    SoftwareKey::make(KeySize::Rsa2048).unwrap()
}

fn start(config: &HsmConfig, now: Timestamp) -> HsmCustodian {
    HsmCustodian::start(config.clone(), at(now)).unwrap().quick()
}

/// The same desk at a custodian in another process: the first one ends before.
fn elsewhere(desk: Desk, config: &HsmConfig) -> Desk {
    let Desk { custodian, warrant, coordinates, scheme } = desk;
    drop(custodian);
    Desk { custodian: start(config, NOW), warrant, coordinates, scheme }
}

fn digest(desk: &Desk) -> Digest {
    desk.warrant.change_set.digest().unwrap()
}

fn unused(change_set: &ChangeSet) -> Usage {
    Usage::none(change_set, change_set.digest().unwrap())
}

/// The same steps under approvals with another end, and so another change set.
fn until(change_set: &ChangeSet, until: Timestamp) -> ChangeSet {
    ChangeSet { until, ..change_set.clone() }
}

fn wrap(number: u32) -> Wrap {
    Wrap { step: IMPORT, wrapped_under: Digest::of(&number.to_be_bytes()), at: NOW }
}

async fn refusal(desk: &Desk, minted: &Minted, cloud: &SoftwareKey) -> CustodianError {
    desk.custodian.wrap(&desk.warrant, &desk.wrap_request(minted, cloud.spki())).await.unwrap_err()
}

/// Wraps, finishes, and tries again: here, elsewhere, and for another change set.
pub(super) async fn a_finished_change_set_is_good_for_nothing(config: &HsmConfig, source: Source, scheme: WrapScheme) {
    let cloud = cloud();
    let desk = Desk::open(start(config, NOW), source, scheme).await;
    let minted = desk.mint().await;
    let bytes = desk.deliver(&minted, &cloud).await;
    assert_eq!(desk.deliver(&minted, &cloud).await, bytes);
    let finished = CustodianError::Spent(Spent::Finished(digest(&desk)));
    for _ in 0..2 {
        desk.custodian.finish(&desk.warrant.charter, &desk.warrant.change_set).await.unwrap();
        assert_eq!(refusal(&desk, &minted, &cloud).await, finished);
    }
    let request = MintRequest { step: MINT, coordinates: desk.coordinates.clone() };
    assert_eq!(desk.custodian.mint(&desk.warrant, &request).await.unwrap_err(), finished);
    let mut desk = elsewhere(desk, config);
    assert_eq!(refusal(&desk, &minted, &cloud).await, finished);
    let usages = desk.custodian.usages().await.unwrap();
    let [usage] = &usages.usages[..] else { panic!("{usages:?}") };
    assert!(usage.finished && usages.broken.is_empty() && !usages.more, "{usages:?}");
    assert_eq!(usage.wraps, [Wrap { step: IMPORT, wrapped_under: Digest::of(cloud.spki()), at: NOW }]);
    desk.warrant.change_set = until(&desk.warrant.change_set, tomorrow() + Span::seconds(1));
    assert_eq!(desk.deliver(&minted, &cloud).await, bytes, "another change set is not finished");
}

#[tokio::test]
async fn a_finished_change_set_is_good_for_nothing_here_and_in_another_process() {
    a_finished_change_set_is_good_for_nothing(&Lab::new().config, Source::Derived, SCHEME).await;
}

#[tokio::test]
async fn one_warrant_is_good_for_so_many_wrapping_keys() {
    let lab = Lab::new();
    let desk = Desk::open(lab.custodian(), Source::Derived, SCHEME).await;
    let minted = desk.mint().await;
    let (first, last, more) = (cloud(), cloud(), cloud());
    desk.deliver(&minted, &first).await;
    let Desk { custodian, warrant, coordinates, scheme } = desk;
    drop(custodian);
    {
        let (token, unused) = (lab.token(), unused(&warrant.change_set));
        for number in 2..u32::try_from(MOST_WRAPPING_KEYS).unwrap() {
            usage::wrapped(&token, &unused, wrap(number), NOW).unwrap();
        }
        // Some HSMs take no large objects, and few objects.
        let objects = usage::list(&token, 100).unwrap();
        assert!((2..=5).contains(&objects.len()), "{} objects", objects.len());
        assert!(objects.iter().all(|object| value(&token, *object).len() <= usage::MOST_BYTES));
    }
    let desk = Desk { custodian: lab.custodian(), warrant, coordinates, scheme };
    let bytes = desk.deliver(&minted, &last).await;
    assert_eq!(refusal(&desk, &minted, &more).await, CustodianError::Spent(Spent::WrappingKeys(digest(&desk))));
    // What is on record may be repeated: an import without a reply is sent again.
    for known in [&first, &last] {
        assert_eq!(desk.deliver(&minted, known).await, bytes);
    }
}

fn value(token: &Token, object: cryptoki::object::ObjectHandle) -> Vec<u8> {
    let [Attribute::Value(value)] = &token.attributes(object, &[AttributeType::Value]).unwrap()[..] else { panic!("no value") };
    value.clone()
}

/// An enrolled token, and the record of a change set that was wrapped for once.
async fn used(lab: &Lab) -> Usage {
    let desk = Desk::open(lab.custodian(), Source::Derived, SCHEME).await;
    let unused = unused(&desk.warrant.change_set);
    drop(desk);
    usage::wrapped(&lab.token(), &unused, wrap(1), NOW).unwrap();
    unused
}

#[tokio::test]
async fn a_record_that_was_changed_or_moved_ends_its_change_set() {
    let lab = Lab::new();
    let unused = used(&lab).await;
    let token = lab.token();
    let good = value(&token, usage::list(&token, 2).unwrap()[0]);
    let text = String::from_utf8(good.clone()).unwrap();
    let other = Usage { change_set: Digest::of(b"other"), ..unused.clone() };
    let replaced = |label: &Digest, value: &[u8]| {
        for object in usage::list(&token, 9).unwrap() {
            token.session().destroy_object(object).unwrap();
        }
        token.keep(&usage::template(label, value.to_vec())).unwrap();
    };
    let edits = [
        text.replacen(&wrap(1).wrapped_under.to_string(), &wrap(2).wrapped_under.to_string(), 1),
        text.replacen("\"mac\":\"", "\"mac\":\"00", 1),
        text.replacen("\"epoch\":1", "\"epoch\":2", 1),
        text.replacen(&INSTALLATION.to_string(), &uuid::Uuid::from_u128(9).to_string(), 1),
        text.replacen("{", "{\"more\":1,", 1),
        text[1..].to_owned(),
        " ".repeat(usage::MOST_BYTES + 1),
    ];
    for edit in &edits {
        assert_ne!(*edit, text);
        replaced(&unused.change_set, edit.as_bytes());
        let error = usage::read(&token, &unused).unwrap_err();
        assert!(matches!(error, HsmError::UsageBroken { change_set, .. } if change_set == unused.change_set), "{error}");
        assert!(usage::wrapped(&token, &unused, wrap(1), NOW).is_err(), "{edit}");
        let listed = usage::all(&token).unwrap();
        assert!(listed.usages.is_empty() && listed.broken.len() == 1 && listed.broken[0].contains("keyplane/usage/sha256:"), "{listed:?}");
    }
    // Under another change set's label.
    replaced(&other.change_set, &good);
    let error = usage::read(&token, &other).unwrap_err();
    assert!(matches!(error, HsmError::UsageBroken { why: "it is of another change set", .. }), "{error}");
    // It can still be finished, and then stays so when the broken object is removed.
    replaced(&unused.change_set, edits[0].as_bytes());
    let [broken] = usage::list(&token, 9).unwrap()[..] else { panic!("not one object") };
    usage::finish(&token, &unused, NOW).unwrap();
    assert!(matches!(usage::read(&token, &unused), Err(HsmError::UsageBroken { .. })));
    token.session().destroy_object(broken).unwrap();
    assert!(usage::read(&token, &unused).unwrap().finished);
}

/// Whoever can log in to the token can also remove the record, and is not stopped by it.
#[tokio::test]
async fn an_old_record_beside_the_new_one_takes_nothing_back() {
    let lab = Lab::new();
    let unused = used(&lab).await;
    let token = lab.token();
    let old = value(&token, usage::list(&token, 2).unwrap()[0]);
    usage::finish(&token, &unused, NOW).unwrap();
    let [new] = usage::list(&token, 9).unwrap()[..] else { panic!("the old object is still there") };
    token.keep(&usage::template(&unused.change_set, old.clone())).unwrap();
    token.session().copy_object(new, &[]).unwrap();
    let read = usage::read(&token, &unused).unwrap();
    assert!(read.finished);
    assert_eq!(read.wraps, [wrap(1)]);
}

#[tokio::test]
async fn two_custodians_that_write_at_once_lose_nothing() {
    let lab = Lab::new();
    let desk = Desk::open(lab.custodian(), Source::Derived, SCHEME).await;
    let unused = unused(&desk.warrant.change_set);
    drop(desk);
    let token = lab.token();
    // Each reads, then each writes: first without a record, then both replacing the same one.
    for numbers in [[1, 2], [3, 4]] {
        let read = numbers.map(|_| usage::objects(&token, &unused).unwrap());
        for (there, number) in read.iter().zip(numbers) {
            usage::add(&token, there, &unused, wrap(number)).unwrap();
        }
    }
    let mut wraps = usage::read(&token, &unused).unwrap().wraps;
    wraps.sort_by_key(|wrap| wrap.wrapped_under);
    let mut all = [1, 2, 3, 4].map(wrap);
    all.sort_by_key(|wrap| wrap.wrapped_under);
    assert_eq!(wraps, all);
    // One reads, the other finishes, the first writes: it does not wrap.
    let there = usage::objects(&token, &unused).unwrap();
    usage::finish(&token, &unused, NOW).unwrap();
    let error = usage::add(&token, &there, &unused, wrap(5)).unwrap_err();
    assert!(matches!(error, HsmError::Spent(Spent::Finished(_))), "{error}");
    assert!(usage::read(&token, &unused).unwrap().finished);
}

/// Both found room for one more key.
#[tokio::test]
async fn two_custodians_that_write_at_once_wrap_under_no_key_too_many() {
    let lab = Lab::new();
    let desk = Desk::open(lab.custodian(), Source::Derived, SCHEME).await;
    let unused = unused(&desk.warrant.change_set);
    drop(desk);
    let token = lab.token();
    let most = u32::try_from(MOST_WRAPPING_KEYS).unwrap();
    (1..most).for_each(|number| usage::wrapped(&token, &unused, wrap(number), NOW).unwrap());
    let there = [(); 2].map(|()| usage::objects(&token, &unused).unwrap());
    usage::add(&token, &there[0], &unused, wrap(most)).unwrap();
    let error = usage::add(&token, &there[1], &unused, wrap(most + 1)).unwrap_err();
    assert!(matches!(error, HsmError::Spent(Spent::WrappingKeys(_))), "{error}");
    let error = usage::wrapped(&token, &unused, wrap(most + 1), NOW).unwrap_err();
    assert!(matches!(error, HsmError::Spent(Spent::WrappingKeys(_))), "its record is there, and entitles to nothing: {error}");
}

#[tokio::test]
async fn the_end_of_a_change_set_is_not_recorded_in_another_token() {
    let [here, there] = [Lab::new(), Lab::new()];
    let desk = Desk::open(here.custodian(), Source::Derived, SCHEME).await;
    let Desk { custodian, warrant, .. } = desk;
    drop(custodian);
    let other = Desk::open(there.custodian(), Source::Derived, SCHEME).await;
    let error = other.custodian.finish(&warrant.charter, &warrant.change_set).await.unwrap_err();
    assert!(matches!(&error, CustodianError::Broken(why) if why.contains("charter")), "{error}");
    let foreign = ChangeSet { installation: keyplane_model::InstallationId(uuid::Uuid::from_u128(9)), ..warrant.change_set.clone() };
    let error = other.custodian.finish(&other.warrant.charter, &foreign).await.unwrap_err();
    assert!(matches!(error, CustodianError::Refused(_)), "{error}");
    assert_eq!(other.custodian.usages().await.unwrap().usages, []);
    drop(other);
    here.custodian().finish(&warrant.charter, &warrant.change_set).await.unwrap();
}

#[tokio::test]
async fn records_are_removed_after_the_end_of_their_approvals_and_not_before() {
    let lab = Lab::new();
    let desk = Desk::open(lab.custodian(), Source::Derived, SCHEME).await;
    let minted = desk.mint().await;
    desk.deliver(&minted, &cloud()).await;
    let (change_set, charter, later) = (desk.warrant.change_set.clone(), desk.warrant.charter.clone(), NOW + Span::days(20));
    desk.custodian.finish(&desk.warrant.charter, &until(&change_set, later)).await.unwrap();
    drop(desk);
    let over = tomorrow() + usage::KEPT;
    for (now, left) in [(tomorrow(), true), (tomorrow() + (usage::KEPT - Span::seconds(1)), true), (over, false)] {
        let custodian = start(&lab.config, now);
        custodian.finish(&charter, &until(&change_set, later + Span::seconds(1))).await.unwrap();
        let kept: Vec<Digest> = custodian.usages().await.unwrap().usages.iter().map(|usage| usage.change_set).collect();
        assert_eq!(kept.contains(&change_set.digest().unwrap()), left, "at {now}");
        assert!(kept.contains(&until(&change_set, later).digest().unwrap()), "at {now}");
        // Nothing is written for what is over.
        custodian.finish(&charter, &change_set).await.unwrap();
        assert_eq!(custodian.usages().await.unwrap().usages.len(), if left { 3 } else { 2 }, "at {now}");
    }
}

#[tokio::test]
async fn a_token_without_room_gets_rid_of_what_is_over() {
    let lab = Lab::new();
    let desk = Desk::open(lab.custodian(), Source::Derived, SCHEME).await;
    let (change_set, charter) = (desk.warrant.change_set.clone(), desk.warrant.charter.clone());
    // More than a write looks at otherwise.
    for number in 0..10 {
        desk.custodian.finish(&desk.warrant.charter, &until(&change_set, tomorrow() + Span::seconds(number))).await.unwrap();
    }
    drop(desk);
    let custodian = start(&lab.config, tomorrow() + usage::KEPT + Span::days(1));
    custodian.fail_for_test(Some(Fails::Room)).await;
    let next = until(&change_set, NOW + Span::days(20));
    let error = custodian.finish(&charter, &next).await.unwrap_err();
    assert!(matches!(error, CustodianError::Full(_)), "{error}");
    assert_eq!(custodian.usages().await.unwrap().usages, []);
    custodian.fail_for_test(None).await;
    custodian.finish(&charter, &next).await.unwrap();
}

#[tokio::test]
async fn a_change_set_that_ends_too_late_gets_no_record() {
    let lab = Lab::new();
    let desk = Desk::open(lab.custodian(), Source::Derived, SCHEME).await;
    let error = desk.custodian.finish(&desk.warrant.charter, &until(&desk.warrant.change_set, NOW + Span::days(40))).await.unwrap_err();
    assert!(matches!(error, CustodianError::Refused(_)), "{error}");
    assert_eq!(desk.custodian.usages().await.unwrap().usages, []);
}

#[tokio::test]
async fn the_record_is_written_before_anything_is_wrapped() {
    let lab = Lab::new();
    let desk = Desk::open(lab.custodian(), Source::Derived, SCHEME).await;
    let (minted, cloud) = (desk.mint().await, cloud());
    // It stops before it wraps, as in a crash.
    desk.custodian.fail_for_test(Some(Fails::Wraps)).await;
    assert!(matches!(refusal(&desk, &minted, &cloud).await, CustodianError::Failed(_)));
    let desk = elsewhere(desk, &lab.config);
    let wraps = |usages: keyplane_port::Usages| usages.usages.iter().map(|usage| usage.wraps.len()).collect::<Vec<_>>();
    assert_eq!(wraps(desk.custodian.usages().await.unwrap()), [1]);
    desk.deliver(&minted, &cloud).await;
    assert_eq!(wraps(desk.custodian.usages().await.unwrap()), [1], "the same key again is the same wrap");
}

#[tokio::test]
async fn a_token_without_room_wraps_nothing_and_says_so() {
    let lab = Lab::new();
    let desk = Desk::open(lab.custodian(), Source::Derived, SCHEME).await;
    let (minted, cloud) = (desk.mint().await, cloud());
    desk.custodian.fail_for_test(Some(Fails::Room)).await;
    let error = refusal(&desk, &minted, &cloud).await;
    assert!(matches!(&error, CustodianError::Full(why) if why.contains(&digest(&desk).to_string())), "{error}");
    assert!(error.problem().next.contains("make room"), "{:?}", error.problem());
    let error = desk.custodian.finish(&desk.warrant.charter, &desk.warrant.change_set).await.unwrap_err();
    assert!(matches!(error, CustodianError::Full(_)), "{error}");
    desk.custodian.fail_for_test(None).await;
    desk.deliver(&minted, &cloud).await;
}
