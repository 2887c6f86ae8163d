//! Requests of people who change keys at the clouds without Keyplane.

use keyplane_emulator_core::gcp::Method;
use keyplane_emulator_core::{aws, azure, gcp};
use serde_json::{Value, json};

use crate::schedule::Meddling;

/// At AWS, by the users' alias; `None`: there is no such key.
pub(crate) fn aws(dump: &Value, name: &str, what: Meddling) -> Option<aws::Request> {
    let alias = format!("alias/{name}");
    let target = &dump["aliases"].as_array()?.iter().find(|there| there["name"] == alias.as_str())?["target"];
    let (operation, body) = match what {
        Meddling::Disable => ("DisableKey", json!({ "KeyId": target })),
        Meddling::Delete => ("ScheduleKeyDeletion", json!({ "KeyId": target, "PendingWindowInDays": 7 })),
    };
    Some(aws::Request { region: None, operation: operation.to_owned(), body: body.to_string().into_bytes() })
}

/// At Google Cloud, its last version; `None`: there is no such key, or nothing in it.
pub(crate) fn gcp(dump: &Value, name: &str, what: Meddling) -> Option<gcp::Request> {
    let key = object(dump, name)?;
    let (id, version) = (key["name"].as_str()?, key["materials"].as_array()?.last()?["id"].as_str()?);
    let path = format!("/v1/{id}/cryptoKeyVersions/{version}");
    Some(match what {
        Meddling::Disable => gcp::Request {
            method: Method::Patch,
            path,
            query: vec![("updateMask".to_owned(), "state".into())],
            body: json!({ "state": "DISABLED" }).to_string().into_bytes(),
        },
        Meddling::Delete => gcp::Request { method: Method::Post, path: format!("{path}:destroy"), query: Vec::new(), body: b"{}".to_vec() },
    })
}

/// At Azure, its last version, or the whole key; `None`: there is no such key.
pub(crate) fn azure(dump: &Value, name: &str, what: Meddling) -> Option<azure::Request> {
    let key = object(dump, name)?;
    let version = key["materials"].as_array()?.last()?["id"].as_str()?;
    let query = "api-version=2025-07-01";
    Some(match what {
        Meddling::Disable => {
            let body = json!({ "attributes": { "enabled": false } }).to_string().into_bytes();
            azure::Request::new("PATCH", None, &format!("/keys/{name}/{version}"), query, body)
        }
        Meddling::Delete => azure::Request::new("DELETE", None, &format!("/keys/{name}"), query, Vec::new()),
    })
}

/// A key by the last part of its id.
fn object<'a>(dump: &'a Value, name: &str) -> Option<&'a Value> {
    dump["keys"].as_array()?.iter().find(|key| key["id"].as_str().is_some_and(|id| id.rsplit('/').next() == Some(name)))
}
