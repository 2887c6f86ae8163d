//! The token's records of what each change set was used for. With them the custodian refuses a change set that is finished, and names the
//! wrapping keys that it was given, even if a server or database was taken over.
//!
//! Owns how records are written, read and removed. A record is a data object under the change set's digest, sealed by the HSM.
//!
//! PKCS#11 has no compare-and-swap, and several processes may share a token. So a record is never changed: a new object, which says more,
//! is made before the old one is destroyed, and several objects of one change set count as their union. A process destroys only objects
//! that it has read, and whose content its own new object has.

use cryptoki::error::{Error as Pkcs11Error, RvError};
use cryptoki::object::{Attribute, AttributeInfo, AttributeType, ObjectClass, ObjectHandle};
use keyplane_model::{Digest, EpochId, Span, Timestamp};
use keyplane_port::{Spent, Usage, Usages, Wrap};
use serde::{Deserialize, Serialize};

use crate::root::Root;
use crate::token::Token;
use crate::{HsmError, seal};

/// Before the change set's digest.
const LABEL: &str = "keyplane/usage/";

/// The attribute by which all records are found.
const APPLICATION: &[u8] = b"keyplane/usage";

/// The longest object that is written or read, in bytes: some HSMs take no larger ones. About 25 wraps fit; more go into further objects.
pub(crate) const MOST_BYTES: usize = 4096;

/// The most objects of one change set. Together they hold more wraps than any change set needs.
const MOST_OBJECTS: usize = 64;

/// The most objects that one listing takes from the token.
const LISTED: usize = 10_000;

/// How many records each write looks at, to remove those that are over. A write adds one at most, so they do not pile up.
const LOOKED_AT: usize = 8;

/// How long a record is kept after its change set's approvals ended, in case the clock is set back.
pub(crate) const KEPT: Span = Span::days(1);

/// How often a record is read again because another process was writing it.
const READS: u32 = 8;

/// The form in the token: the record and the HSM's MAC over it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sealed {
    usage: Usage,
    /// Whose MAC key sealed it.
    epoch: EpochId,
    /// In hexadecimal digits.
    mac: String,
}

/// An object of one change set.
pub(crate) struct Object {
    handle: ObjectHandle,
    usage: Result<Usage, &'static str>,
}

/// Whether a change set's approvals ended so long ago that it needs no record.
pub(crate) fn is_over(usage: &Usage, now: Timestamp) -> bool {
    usage.until + KEPT <= now
}

/// What is on record of a change set. `unused`: its record before it was used.
pub(crate) fn read(token: &Token, unused: &Usage) -> Result<Usage, HsmError> {
    union(&objects(token, unused)?, unused)
}

/// Records a wrap, if the change set may be used for it.
pub(crate) fn wrapped(token: &Token, unused: &Usage, wrap: Wrap, now: Timestamp) -> Result<(), HsmError> {
    let there = objects(token, unused)?;
    let before = union(&there, unused)?;
    before.admits(&wrap)?;
    if before.has(&wrap) { Ok(()) } else { with_room(token, now, || add(token, &there, unused, wrap)) }
}

/// Records a wrap beside what was `there`, and reads the record again: another process may have finished the change set meanwhile, or
/// recorded the last wrapping key that there may be.
pub(crate) fn add(token: &Token, there: &[Object], unused: &Usage, wrap: Wrap) -> Result<(), HsmError> {
    write(token, there, &Usage { wraps: vec![wrap], ..unused.clone() })?;
    let after = read(token, unused)?;
    after.admits(&wrap)?;
    if after.has(&wrap) {
        Ok(())
    } else {
        Err(HsmError::UsageBroken { change_set: unused.change_set, why: "what was just written is not there" })
    }
}

/// Records that a change set is finished.
pub(crate) fn finish(token: &Token, unused: &Usage, now: Timestamp) -> Result<(), HsmError> {
    let there = objects(token, unused)?;
    // A broken object may be removed some day, so it does not count as this record.
    if there.iter().any(|object| object.usage.as_ref().is_ok_and(|usage| usage.finished)) {
        return remove_old(token, now, LOOKED_AT).map(drop);
    }
    with_room(token, now, || write(token, &there, &Usage { finished: true, ..unused.clone() }))
}

/// Writes after a few records that are over were removed, and once more after all of them were, if the token had no room.
fn with_room(token: &Token, now: Timestamp, write: impl Fn() -> Result<(), HsmError>) -> Result<(), HsmError> {
    remove_old(token, now, LOOKED_AT)?;
    match write() {
        Err(full @ HsmError::UsageUnwritten { .. }) => {
            if remove_old(token, now, LISTED)? {
                write()
            } else {
                Err(full)
            }
        }
        done => done,
    }
}

/// All records.
pub(crate) fn all(token: &Token) -> Result<Usages, HsmError> {
    let handles = list(token, LISTED + 1)?;
    let mut all = Usages { more: handles.len() > LISTED, ..Usages::default() };
    for handle in handles.into_iter().take(LISTED) {
        match content(token, handle)? {
            None => {}
            Some(Ok(usage)) => all.add(usage),
            Some(Err(why)) => all.broken.push(format!("`{}`: {why}", label_of(token, handle)?)),
        }
    }
    Ok(all)
}

fn union(objects: &[Object], unused: &Usage) -> Result<Usage, HsmError> {
    if objects.len() > MOST_OBJECTS {
        return Err(HsmError::UsageBroken { change_set: unused.change_set, why: "there are more objects than it writes" });
    }
    let mut all = unused.clone();
    for Object { usage, .. } in objects {
        match usage {
            Ok(usage) => all.add(usage),
            Err(why) => return Err(HsmError::UsageBroken { change_set: unused.change_set, why }),
        }
    }
    Ok(all)
}

/// Adds to the smallest object if there is room, and otherwise makes another one.
fn write(token: &Token, there: &[Object], news: &Usage) -> Result<(), HsmError> {
    let change_set = news.change_set;
    let epoch = Root::newest(token)?.ok_or(HsmError::NotEnrolled)?;
    let root = Root::open(token, epoch)?;
    let encoded = |usage: &Usage| -> Result<Vec<u8>, HsmError> {
        let mac = hex::encode(seal::seal(token, &root, &seal::usage_message(usage, epoch)?)?);
        Ok(keyplane_model::canonical_bytes(&Sealed { usage: usage.clone(), epoch, mac })?)
    };
    let smallest = there.iter().filter_map(|object| object.usage.as_ref().ok()).min_by_key(|usage| usage.wraps.len());
    let mut new = news.clone();
    if let Some(smallest) = smallest {
        new = smallest.clone();
        new.add(news);
    }
    let mut value = encoded(&new)?;
    if value.len() > MOST_BYTES {
        new = news.clone();
        value = encoded(&new)?;
        // The last one is for the end.
        if there.len() + 1 >= MOST_OBJECTS && !news.finished {
            return Err(Spent::WrappingKeys(change_set).into());
        }
    }
    token.keep(&template(&change_set, value)).map_err(|source| HsmError::UsageUnwritten { change_set, source })?;
    for object in there {
        if object.usage.as_ref().is_ok_and(|usage| new.includes(usage)) {
            destroy(token, object.handle)?;
        }
    }
    Ok(())
}

/// Removes those of some records that are over, and says whether there were any. Which ones are looked at depends on the time, so that each
/// has its turn.
fn remove_old(token: &Token, now: Timestamp, looked_at: usize) -> Result<bool, HsmError> {
    let handles = list(token, LISTED)?;
    let mut removed = false;
    let seconds = usize::try_from(now.0.div_euclid(Span::seconds(1).micros())).unwrap_or_default();
    let from = seconds.checked_rem(handles.len()).unwrap_or_default();
    for handle in handles.iter().cycle().skip(from).take(looked_at.min(handles.len())) {
        if let Some(Ok(usage)) = content(token, *handle)?
            && is_over(&usage, now)
        {
            destroy(token, *handle)?;
            removed = true;
        }
    }
    Ok(removed)
}

/// Another process may have destroyed it already.
fn destroy(token: &Token, handle: ObjectHandle) -> Result<(), HsmError> {
    match token.session().destroy_object(handle) {
        Ok(()) | Err(Pkcs11Error::Pkcs11(RvError::ObjectHandleInvalid, _)) => Ok(()),
        Err(error) => Err(HsmError::token("removing a record of use")(error)),
    }
}

pub(crate) fn template(change_set: &Digest, value: Vec<u8>) -> Vec<Attribute> {
    vec![
        Attribute::Class(ObjectClass::DATA),
        Attribute::Token(true),
        Attribute::Private(true),
        Attribute::Modifiable(false),
        Attribute::Label(label(change_set)),
        Attribute::Application(APPLICATION.to_vec()),
        Attribute::Value(value),
    ]
}

fn label(change_set: &Digest) -> Vec<u8> {
    format!("{LABEL}{change_set}").into_bytes()
}

fn label_of(token: &Token, handle: ObjectHandle) -> Result<String, HsmError> {
    let seen = token.attributes(handle, &[AttributeType::Label])?;
    let label = seen.into_iter().find_map(|attribute| if let Attribute::Label(label) = attribute { Some(label) } else { None });
    Ok(String::from_utf8_lossy(&label.unwrap_or_default()).into_owned())
}

/// The objects of a change set. Reads again if one disappears: another process made a new one before it destroyed that.
pub(crate) fn objects(token: &Token, unused: &Usage) -> Result<Vec<Object>, HsmError> {
    let search = [
        Attribute::Class(ObjectClass::DATA),
        Attribute::Token(true),
        // A private object can only have been made by a user who was logged in. A public one under this label is not ours.
        Attribute::Private(true),
        Attribute::Label(label(&unused.change_set)),
    ];
    'again: for _ in 0..READS {
        let handles = find(token, &search, MOST_OBJECTS + 1)?;
        let mut objects = Vec::new();
        for handle in &handles {
            let Some(usage) = content(token, *handle)? else { continue 'again };
            let usage = usage.and_then(|usage| if usage.is_of(unused) { Ok(usage) } else { Err("it is of another change set") });
            objects.push(Object { handle: *handle, usage });
        }
        return Ok(objects);
    }
    Err(HsmError::UsageBusy(unused.change_set))
}

pub(crate) fn list(token: &Token, most: usize) -> Result<Vec<ObjectHandle>, HsmError> {
    let search = [
        Attribute::Class(ObjectClass::DATA),
        Attribute::Token(true),
        Attribute::Private(true),
        Attribute::Application(APPLICATION.to_vec()),
    ];
    find(token, &search, most)
}

fn find(token: &Token, search: &[Attribute], most: usize) -> Result<Vec<ObjectHandle>, HsmError> {
    let failed = || HsmError::token("looking for records of use");
    token.session().iter_objects(search).map_err(failed())?.take(most).map(|found| found.map_err(failed())).collect()
}

/// What an object says, or why it cannot be believed. `None`: it is gone.
///
/// INVARIANT: nothing that an object says is used before its seal was checked.
fn content(token: &Token, handle: ObjectHandle) -> Result<Option<Result<Usage, &'static str>>, HsmError> {
    let failed = || HsmError::token("reading a record of use");
    let gone = |error: &Pkcs11Error| matches!(error, Pkcs11Error::Pkcs11(RvError::ObjectHandleInvalid, _));
    match token.session().get_attribute_info(handle, &[AttributeType::Value]) {
        Err(error) if gone(&error) => return Ok(None),
        Err(error) => return Err(failed()(error)),
        Ok(lengths) => match lengths[..] {
            [AttributeInfo::Available(length)] if length <= MOST_BYTES => {}
            _ => return Ok(Some(Err("it is too long, or has no value"))),
        },
    }
    let wanted = [AttributeType::Private, AttributeType::Modifiable, AttributeType::Value];
    let seen = match token.session().get_attributes(handle, &wanted) {
        Err(error) if gone(&error) => return Ok(None),
        seen => seen.map_err(failed())?,
    };
    if !seen.contains(&Attribute::Private(true)) || !seen.contains(&Attribute::Modifiable(false)) {
        return Ok(Some(Err("anybody could change it")));
    }
    let value = seen.into_iter().find_map(|attribute| if let Attribute::Value(value) = attribute { Some(value) } else { None });
    let Some(Sealed { usage, epoch, mac }) = value.and_then(|bytes| serde_json::from_slice(&bytes).ok()) else {
        return Ok(Some(Err("it cannot be read")));
    };
    let Ok(mac) = hex::decode(mac) else { return Ok(Some(Err("it is not sealed"))) };
    let root = match Root::open(token, epoch) {
        Ok(root) => root,
        Err(HsmError::EpochMissing(_)) => return Ok(Some(Err("it is not sealed"))),
        // The token failed, which says nothing about the record.
        Err(error) => return Err(error),
    };
    match seal::check(token, &root, &seal::usage_message(&usage, epoch)?, &mac, "the record of use") {
        Ok(()) => Ok(Some(Ok(usage))),
        Err(HsmError::Unsealed(_)) => Ok(Some(Err("it is not sealed"))),
        Err(error) => Err(error),
    }
}
