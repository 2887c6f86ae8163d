//! The requests that are sent: exactly those of the contract, and no more than declared.

use std::collections::BTreeMap;

use keyplane_conformance::{Subject as _, wrap};
use keyplane_model::{Marks, ObjectId, Purpose, Target, Version, WrapScheme};
use keyplane_port::{Acted, Cloud as _, Mutation, WrapFor, WrappingKey};
use serde_json::{Value, json};

use crate::emulated::{Emulated, begin, config};

pub(crate) fn marks() -> Marks {
    Marks {
        installation: "11111111-1111-8111-8111-111111111111".parse().unwrap(),
        placement: "33333333-3333-8333-8333-333333333333".parse().unwrap(),
        incarnation: 2,
        attempt: "44444444-4444-8444-8444-444444444444".parse().unwrap(),
    }
}

/// The import of wrapped bytes into a key.
pub(crate) fn import(object: &ObjectId, version: Version, wrapping_key: WrappingKey, wrapped: Vec<u8>) -> Mutation {
    Mutation::Import {
        target: target(),
        object: Some(object.clone()),
        marks: marks(),
        again: None,
        version,
        public_key: None,
        wrapping_key,
        wrapped,
    }
}

pub(crate) fn target() -> Target {
    Target {
        installation: marks().installation,
        placement: marks().placement,
        incarnation: marks().incarnation,
        name: "team/payments_db".into(),
        algorithm: keyplane_model::Algorithm::Aes256,
        purpose: Purpose::Encrypt,
        key: "payments-db".parse().unwrap(),
    }
}

async fn bodies(emulated: &Emulated, operation: &str) -> Vec<Value> {
    let requests = emulated.control.call("GET", "requests", None).await;
    requests.as_array().unwrap().iter().filter(|request| request["operation"] == operation).map(|request| request["body"].clone()).collect()
}

#[tokio::test]
async fn the_requests_are_those_of_the_contract() {
    let emulated = begin().await;
    let cloud = &emulated.cloud;
    let Acted::Created(object) = cloud.act(&Mutation::Create { target: target(), marks: marks() }).await.unwrap() else {
        unreachable!("creating gives an object")
    };
    cloud.act(&Mutation::Claim { target: target(), object: object.clone() }).await.unwrap();
    let wrapping_key = cloud.wrapping_key(&WrapFor::Object(object.clone()), WrapScheme::RsaOaepSha256).await.unwrap();
    let wrapped = wrap(&wrapping_key, &[7; 32]);
    cloud.act(&import(&object, Version(3), wrapping_key, wrapped.clone())).await.unwrap();
    cloud.act(&Mutation::Publish { target: target(), object: object.clone(), material: None }).await.unwrap();

    let tag = |key: &str, value: &str| json!({ "TagKey": key, "TagValue": value });
    let mut create = bodies(&emulated, "CreateKey").await.remove(0);
    let policy: Value = serde_json::from_str(create["Policy"].take().as_str().unwrap()).unwrap();
    assert_eq!(policy["Statement"][0]["Principal"]["AWS"], "arn:aws:iam::111122223333:root");
    assert_eq!(
        create,
        json!({
            "Policy": null,
            "Description": "keyplane payments-db",
            "KeyUsage": "ENCRYPT_DECRYPT",
            "KeySpec": "SYMMETRIC_DEFAULT",
            "Origin": "EXTERNAL",
            "Tags": [
                tag("keyplane:installation", "11111111-1111-8111-8111-111111111111"),
                tag("keyplane:placement", "33333333-3333-8333-8333-333333333333"),
                tag("keyplane:incarnation", "2"),
                tag("keyplane:attempt", "44444444-4444-8444-8444-444444444444"),
                tag("keyplane:key", "payments-db"),
            ],
        })
    );
    let alias = |name: &str| json!({ "AliasName": name, "TargetKeyId": object.0 });
    assert_eq!(
        bodies(&emulated, "CreateAlias").await,
        [alias("alias/keyplane/33333333-3333-8333-8333-333333333333/2"), alias("alias/team/payments_db")]
    );
    let parameters = json!({ "KeyId": object.0, "WrappingAlgorithm": "RSAES_OAEP_SHA_256", "WrappingKeySpec": "RSA_4096" });
    assert_eq!(bodies(&emulated, "GetParametersForImport").await, [parameters]);
    let mut import = bodies(&emulated, "ImportKeyMaterial").await.remove(0);
    assert!(import["ImportToken"].take().is_string() && import["EncryptedKeyMaterial"].take().is_string());
    assert_eq!(
        import,
        json!({
            "KeyId": object.0,
            "ImportToken": null,
            "EncryptedKeyMaterial": null,
            "ExpirationModel": "KEY_MATERIAL_DOES_NOT_EXPIRE",
            "KeyMaterialDescription": "keyplane 11111111-1111-8111-8111-111111111111 v3",
        })
    );
}

#[tokio::test]
async fn no_call_sends_more_of_what_is_scarce_than_it_declares() {
    let emulated = begin().await;
    let cloud = &emulated.cloud;
    let mut object = None;
    for placement in 0..25 {
        let mut marks = marks();
        marks.placement = format!("33333333-3333-8333-8333-{placement:012}").parse().unwrap();
        let target = Target { placement: marks.placement, name: format!("key-{placement}"), ..target() };
        let Acted::Created(made) = cloud.act(&Mutation::Create { target: target.clone(), marks }).await.unwrap() else {
            unreachable!("creating gives an object")
        };
        cloud.act(&Mutation::Claim { target: target.clone(), object: made.clone() }).await.unwrap();
        cloud.act(&Mutation::Publish { target: target.clone(), object: made.clone(), material: None }).await.unwrap();
        object = Some((target, made));
    }
    emulated.crowd(120).await;
    let (target, object) = object.unwrap();

    let sent = async |word: &str| {
        emulated.control.call("DELETE", "requests", None).await;
        match word {
            "look" => drop(cloud.look(&target).await.unwrap()),
            "inspect" => drop(cloud.inspect(&object).await.unwrap()),
            "sweep" => drop(cloud.sweep(None).await.unwrap()),
            "wrapping-key" => drop(cloud.wrapping_key(&WrapFor::Object(object.clone()), WrapScheme::RsaOaepSha256).await.unwrap()),
            other => unreachable!("{other}"),
        }
        let mut counts = BTreeMap::<String, usize>::new();
        for operation in emulated.control.operations().await {
            *counts.entry(operation).or_default() += 1;
        }
        counts
    };
    let capabilities = &cloud.destination().capabilities;
    for word in ["look", "inspect", "sweep", "wrapping-key"] {
        let counts = sent(word).await;
        assert!(!counts.is_empty());
        let declared = |name: &str| capabilities.draws[word].iter().filter(|drawn| *drawn == name).count();
        // In seconds of each quota: the requests never cost more than what is declared.
        let cost = |name: &str, calls: usize| calls as f64 / f64::from(capabilities.quotas[name].calls);
        let scarcest = capabilities.draws[word].iter().map(|name| cost(name, declared(name))).fold(0.0, f64::max);
        for (name, calls) in counts {
            assert!(calls <= declared(&name) || cost(&name, calls) <= scarcest, "{word} sends {calls} times {name}");
        }
    }
}

#[tokio::test]
async fn a_policy_that_is_only_written_differently_fits() {
    let emulated = begin().await;
    emulated.control.call("POST", "readings", Some(json!({ "policy_text": "reformatted" }))).await;
    let Acted::Created(object) = emulated.cloud.act(&Mutation::Create { target: target(), marks: marks() }).await.unwrap() else {
        unreachable!("creating gives an object")
    };
    assert!(emulated.cloud.inspect(&object).await.unwrap().unwrap().policy_fits);

    let mut other = config(&emulated.endpoint);
    other.key_policy = Some(
        json!({
            "Version": "2012-10-17",
            "Statement": [{
                "Effect": "Allow",
                "Principal": { "AWS": "arn:aws:iam::111122223333:role/keys" },
                "Action": "kms:*",
                "Resource": "*",
            }],
        })
        .to_string(),
    );
    let other = keyplane_aws::AwsKms::connect(other).await.unwrap();
    assert!(!other.inspect(&object).await.unwrap().unwrap().policy_fits, "the policy of another configuration");
}

#[tokio::test]
async fn the_order_of_materials_does_not_matter() {
    let emulated = begin().await;
    let Acted::Created(object) = emulated.cloud.act(&Mutation::Create { target: target(), marks: marks() }).await.unwrap() else {
        unreachable!("creating gives an object")
    };
    let wrapping_key = emulated.cloud.wrapping_key(&WrapFor::Object(object.clone()), WrapScheme::RsaOaepSha256).await.unwrap();
    let wrapped = wrap(&wrapping_key, &[7; 32]);
    emulated.cloud.act(&import(&object, Version(1), wrapping_key, wrapped)).await.unwrap();
    emulated.tamper(&object, keyplane_conformance::Tampering::OtherMaterial).await;
    let oldest_first = emulated.cloud.inspect(&object).await.unwrap().unwrap();
    emulated.control.call("POST", "readings", Some(json!({ "rotations_order": "newest_first" }))).await;
    let newest_first = emulated.cloud.inspect(&object).await.unwrap().unwrap();
    assert_eq!(oldest_first.current(), newest_first.current());
    assert_eq!(oldest_first.materials.len(), 2);
    let former: Vec<_> = oldest_first.materials.iter().filter(|material| material.state == keyplane_model::MaterialState::Former).collect();
    assert_eq!(former.iter().map(|material| material.version).collect::<Vec<_>>(), [Some(Version(1))]);
    assert_eq!(oldest_first.current().unwrap().version, None, "material that is not ours");
}
