//! Approvers, and the check that no person can count twice.

use std::collections::{BTreeMap, BTreeSet};

use keyplane_model::{Approver, ApproverName, GroupName};
use ssh_key::public::KeyData;
use ssh_key::{Algorithm, PublicKey};

use crate::read::At;
use crate::report::{Place, Report};
use crate::wire::ApproverDocument;

pub(crate) type Groups = BTreeMap<GroupName, BTreeSet<ApproverName>>;

/// In bits. NIST SP 800-131A disallows shorter RSA keys for signatures.
const LEAST_RSA_BITS: usize = 2048;

pub(crate) fn resolve(documents: &[ApproverDocument], report: &mut Report) -> (BTreeMap<ApproverName, Approver>, Groups) {
    let mut approvers = BTreeMap::new();
    let mut groups = Groups::new();
    let mut names: BTreeMap<&ApproverName, Place> = BTreeMap::new();
    let mut keys: BTreeMap<String, (ApproverName, Place)> = BTreeMap::new();
    let mut logins: BTreeMap<String, (ApproverName, Place)> = BTreeMap::new();
    for document in documents {
        let At { value: name, place } = &document.approver;
        if let Some(first) = names.get(name) {
            let first = report.location(*first);
            report.invalid(*place, format!("approver `{name}` is there already, at {first}: keep one of them"));
            continue;
        }
        names.insert(name, *place);
        for (group, _) in document.groups.iter() {
            groups.entry(group.clone()).or_default().insert(name.clone());
        }
        let own_logins = match &document.logins {
            Some(logins) => logins.iter().map(|(login, place)| (login.0.clone(), place)).collect(),
            None => BTreeMap::from([(name.to_string(), *place)]),
        };
        // INVARIANT: a login and a public key belong to one person. Otherwise somebody could approve twice, or approve an own proposal.
        for (login, place) in &own_logins {
            belongs_to_one("login", login, name, *place, &mut logins, report);
        }
        let mut own_keys = BTreeSet::new();
        for key in &document.keys.value.0 {
            if let Some(text) = public_key(key, report) {
                belongs_to_one("public key", &text, name, key.place, &mut keys, report);
                own_keys.insert(text);
            }
        }
        let approver = Approver { groups: document.groups.values(), logins: own_logins.into_keys().collect(), keys: own_keys };
        approvers.insert(name.clone(), approver);
    }
    (approvers, groups)
}

/// Reports a value that two approvers share or one approver lists twice.
fn belongs_to_one(
    what: &str,
    value: &str,
    name: &ApproverName,
    place: Place,
    owners: &mut BTreeMap<String, (ApproverName, Place)>,
    report: &mut Report,
) {
    match owners.get(value) {
        Some((owner, first)) => {
            let first = report.location(*first);
            report
                .invalid(place, format!("this {what} is there already, as approver `{owner}`'s, at {first}: it can be one person's only"));
        }
        None => {
            owners.insert(value.to_owned(), (name.clone(), place));
        }
    }
}

/// The key in OpenSSH's format, without its comment. A text that is no public key is not quoted: it could be a private key.
fn public_key(key: &At<String>, report: &mut Report) -> Option<String> {
    const PRIVATE: &str =
        "this is a private key, which only its owner may have: take the `.pub` file of a new pair, since this one is known now";
    const NO_KEY: &str = "this is no OpenSSH public key: take the line in the `.pub` file, as in `ssh-ed25519 AAAA… name`";
    const SEVERAL: &str = "this has several lines, and a key has one: write each key as an item of the list";
    let read = match PublicKey::from_openssh(key.value.trim()) {
        _ if key.value.trim().lines().nth(1).is_some() && !key.value.contains("PRIVATE KEY") => Err(SEVERAL.to_owned()),
        Ok(parsed) => usable(parsed.key_data())
            .and_then(|()| PublicKey::new(parsed.key_data().clone(), "").to_openssh().map_err(|_| NO_KEY.to_owned())),
        Err(_) if key.value.contains("PRIVATE KEY") => Err(PRIVATE.to_owned()),
        Err(_) => Err(NO_KEY.to_owned()),
    };
    read.map_err(|complaint| report.invalid(key.place, complaint)).ok()
}

/// Checks the key's algorithm and RSA length. The verifier checks more before a charter is adopted.
fn usable(key: &KeyData) -> Result<(), String> {
    match key.algorithm() {
        Algorithm::Ed25519 | Algorithm::SkEd25519 => Ok(()),
        Algorithm::Ecdsa { curve: ssh_key::EcdsaCurve::NistP256 | ssh_key::EcdsaCurve::NistP384 } => Ok(()),
        Algorithm::Rsa { .. } => {
            let modulus = key.rsa().and_then(|rsa| rsa.n.as_positive_bytes()).unwrap_or_default();
            let leading = modulus.first().map_or(0, |byte| byte.leading_zeros() as usize);
            let bits = (modulus.len() * 8).saturating_sub(leading);
            if bits >= LEAST_RSA_BITS {
                Ok(())
            } else {
                Err(format!("this RSA key has {bits} bits, fewer than {LEAST_RSA_BITS}: take `ssh-keygen -t ed25519`"))
            }
        }
        Algorithm::SkEcdsaSha2NistP256 => Err(not_taken(&key.algorithm(), "ed25519-sk")),
        other => Err(not_taken(&other, "ed25519")),
    }
}

fn not_taken(algorithm: &Algorithm, take: &str) -> String {
    format!("keys of kind `{}` are not taken: take `ssh-keygen -t {take}`", algorithm.as_str())
}
