//! How many requests it takes to bring keys to the clouds, compared with the least that the contracts allow.

use std::collections::BTreeMap;

use keyplane_lab::{DESTINATIONS, Options, Place, Policy};
use keyplane_model::{Algorithm, CloudKind, Purpose};

use crate::world::World;

/// Requests by the cloud's own name of the operation.
type Counts = BTreeMap<String, u64>;

/// The most requests that may be sent for each one that has to be.
const MOST: f64 = 1.2;

/// The least that a first copy takes: each mutation once, one look before the first mutation, and one look that confirms each, which is
/// also the fresh one before the next (rule 4). `contracts/identity.md` says by what a look tells whether the placement's object exists,
/// whose it is, and what it holds.
fn least_of_a_copy(place: Place, algorithm: Algorithm, purpose: Purpose) -> Vec<(&'static str, u64)> {
    let is_pair = !algorithm.is_symmetric();
    match place {
        // CreateKey, CreateAlias for the claim, the import, CreateAlias for the users. A look describes the claim and the users' alias;
        // once there is a key, its tags, policy and materials; and the key itself before an alias leads to it.
        Place::Aws { .. } => vec![
            ("CreateKey", 1),
            ("CreateAlias", 2),
            ("GetParametersForImport", 1),
            ("ImportKeyMaterial", 1),
            ("DescribeKey", 2 + 3 + 2 + 2 + 2),
            ("ListResourceTags", 4),
            ("GetKeyPolicy", 4),
            ("ListKeyRotations", 4),
        ],
        // The key, the job, the version and, for encryption, the primary version. Reads have to show that there is no job yet, and then
        // that it is active, with its public key.
        Place::Gcp { .. } => {
            let publishes = u64::from(purpose == Purpose::Encrypt && !is_pair);
            vec![
                ("CreateCryptoKey", 1),
                ("CreateImportJob", 1),
                ("ImportCryptoKeyVersion", 1),
                ("UpdateCryptoKeyPrimaryVersion", publishes),
                ("GetCryptoKey", 3 + publishes),
                ("ListCryptoKeyVersions", 2 + publishes),
                ("GetImportJob", 2),
                ("GetPublicKey", u64::from(is_pair)),
            ]
        }
        // The key exchange key and the import. Before it, reads have to show that there is no such key, nor a deleted one.
        Place::Azure { kind, .. } => vec![
            ("CreateKey", 1),
            ("ImportKey", 1),
            ("GetKey", 1 + 2),
            ("GetDeletedKey", 1),
            ("GetKeyVersions", 1),
            ("GetKeyAttestation", u64::from(kind == "managed-hsm")),
        ],
    }
}

/// The least that a plan takes to say that nothing is left to do (ADR 5): each page of each list once, and each object once.
fn least_of_a_plan(place: Place, copies: &[(Algorithm, Purpose)]) -> Vec<(&'static str, u64)> {
    let all = copies.len() as u64;
    let pairs = copies.iter().filter(|(algorithm, _)| !algorithm.is_symmetric()).count() as u64;
    match place {
        // A key, and the targets of its two aliases.
        Place::Aws { .. } => {
            vec![("ListKeys", 1), ("ListResourceTags", all), ("DescribeKey", 3 * all), ("GetKeyPolicy", all), ("ListKeyRotations", all)]
        }
        // The list shows the keys.
        Place::Gcp { .. } => vec![("ListCryptoKeys", 1), ("ListCryptoKeyVersions", all), ("GetPublicKey", pairs)],
        // Key exchange keys are listed too, 25 on a page.
        Place::Azure { .. } => vec![("GetKeys", (2 * all).div_ceil(25).max(1)), ("GetKey", all), ("GetKeyVersions", all)],
    }
}

/// The requests to each emulator since its journal was emptied.
fn sent(world: &World) -> BTreeMap<String, Counts> {
    let of = |requests: &serde_json::Value| {
        let mut counts = Counts::new();
        for request in requests.as_array().unwrap() {
            *counts.entry(request["operation"].as_str().unwrap().to_owned()).or_default() += 1;
        }
        counts
    };
    world.emulators().map(|emulator| (emulator.name.clone(), of(&emulator.get("requests").unwrap()))).collect()
}

#[test]
fn the_example_company_takes_hardly_more_requests_than_the_contracts_ask_for() {
    let clouds = [CloudKind::Aws, CloudKind::Gcp, CloudKind::Azure].into();
    let world = World::raw(|_| Options { clouds, ..Options::fast(Policy::Example) });
    world.enrol();
    world.must(&["plan"]).unwrap();
    world.approve_all().unwrap();
    world.emulators().for_each(|emulator| drop(emulator.delete("requests").unwrap()));
    world.must(&["apply"]).unwrap();
    let applied = sent(&world);

    let mut wanted: BTreeMap<String, Counts> = BTreeMap::new();
    let status = world.status().unwrap();
    for there in DESTINATIONS {
        let copies = status.keys.iter().flat_map(|key| &key.copies).filter(|copy| copy.destination.as_str() == there.name);
        let copies: Vec<(Algorithm, Purpose)> = copies.map(|copy| (copy.algorithm, copy.purpose)).collect();
        let Ok(emulator) = world.emulator(there.name) else { continue };
        let counts = wanted.entry(emulator.name.clone()).or_default();
        let of_copies = copies.iter().flat_map(|(algorithm, purpose)| least_of_a_copy(there.place, *algorithm, *purpose));
        for (operation, count) in of_copies.chain(least_of_a_plan(there.place, &copies)) {
            *counts.entry(operation.to_owned()).or_default() += count;
        }
    }
    let (mut all, mut needed) = (0, 0);
    println!("{:<18} {:<30} {:>5} {:>5}", "where", "request", "sent", "least");
    for (name, applied) in &applied {
        for (operation, sent) in applied {
            let least = wanted[name].get(operation).copied().unwrap_or_default();
            println!("{name:<18} {operation:<30} {sent:>5} {least:>5}");
            assert!(*sent >= least, "{operation} at {name}: what is least is counted wrongly");
            (all, needed) = (all + sent, needed + least);
        }
        let unsent: Vec<_> = wanted[name].iter().filter(|(operation, count)| **count > 0 && !applied.contains_key(*operation)).collect();
        assert!(unsent.is_empty(), "what is least is counted wrongly: {unsent:?} at {name}");
    }
    let ratio = all as f64 / needed as f64;
    println!("{all} requests, {needed} at least: {ratio:.2}");
    assert!(ratio <= MOST, "{all} requests, where {needed} would do");
}
