//! The control interface under `/_emulator/`; the crate's documentation says what it offers.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::State,
    response::Json,
    routing::{get, post},
};
use bytes::Bytes;
use http::StatusCode;
use keyplane_emulator_core::{
    Timestamp,
    aws::{Aws, Readings},
    fault::Rule,
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::{Failure, Inner, Shared};

type Handle = Arc<Shared<Aws>>;
type Outcome = Result<Json<Value>, Failure>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Advance {
    advance_seconds: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Quotas {
    on: Option<bool>,
    #[serde(default)]
    limits: BTreeMap<String, u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Consistency {
    seconds: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Resume {
    #[serde(default)]
    apply: bool,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Rules {
    Many(Vec<Rule>),
    One(Rule),
}

pub(crate) fn router(shared: Handle) -> Router {
    Router::new()
        .route("/state", get(state))
        .route("/clock", post(clock))
        .route("/quotas", post(quotas))
        .route("/consistency", post(consistency))
        .route("/readings", get(readings).post(set_readings))
        .route("/faults", get(faults).post(add_faults).delete(clear_faults))
        .route("/resume", post(resume))
        .route("/dump", get(dump))
        .route("/requests", get(requests).delete(clear_requests))
        .with_state(shared)
}

async fn state(State(shared): State<Handle>) -> Outcome {
    answer(shared, summary).await
}

async fn clock(State(shared): State<Handle>, body: Bytes) -> Outcome {
    let Advance { advance_seconds } = parse(&body)?;
    answer(shared, move |inner, now| {
        let step = Duration::from_secs(advance_seconds.into());
        inner.offset += step;
        summary(inner, now + step)
    })
    .await
}

async fn quotas(State(shared): State<Handle>, body: Bytes) -> Outcome {
    let Quotas { on, limits } = parse(&body)?;
    answer(shared, move |inner, _| {
        let buckets = inner.cloud.quotas();
        for (name, limit) in limits {
            buckets.limit(&name, limit);
        }
        if let Some(on) = on {
            buckets.turn(on);
        }
        json!({ "limits": buckets.limits() })
    })
    .await
}

async fn consistency(State(shared): State<Handle>, body: Bytes) -> Outcome {
    let Consistency { seconds } = parse(&body)?;
    answer(shared, move |inner, _| {
        inner.cloud.set_consistency(Duration::from_secs(seconds.into()));
        json!({ "seconds": seconds })
    })
    .await
}

async fn readings(State(shared): State<Handle>) -> Outcome {
    answer(shared, |inner, _| json!(inner.cloud.readings())).await
}

async fn set_readings(State(shared): State<Handle>, body: Bytes) -> Outcome {
    let readings: Readings = parse(&body)?;
    answer(shared, move |inner, _| {
        *inner.cloud.readings() = readings;
        json!(inner.cloud.readings())
    })
    .await
}

async fn faults(State(shared): State<Handle>) -> Outcome {
    answer(shared, |inner, _| json!(inner.cloud.faults().rules())).await
}

async fn add_faults(State(shared): State<Handle>, body: Bytes) -> Outcome {
    let rules = match parse(&body)? {
        Rules::Many(rules) => rules,
        Rules::One(rule) => vec![rule],
    };
    answer(shared, move |inner, _| {
        let faults = inner.cloud.faults();
        for rule in rules {
            faults.add(rule);
        }
        json!(faults.rules())
    })
    .await
}

async fn clear_faults(State(shared): State<Handle>) -> Outcome {
    answer(shared, |inner, _| {
        inner.cloud.faults().clear();
        json!([])
    })
    .await
}

async fn resume(State(shared): State<Handle>, body: Bytes) -> Outcome {
    let Resume { apply } = if body.is_empty() { Resume { apply: false } } else { parse(&body)? };
    answer(shared, move |inner, now| {
        inner.cloud.resume(now, &mut inner.rng, apply);
        summary(inner, now)
    })
    .await
}

async fn dump(State(shared): State<Handle>) -> Outcome {
    answer(shared, |inner, now| inner.cloud.dump(now, &mut inner.rng)).await
}

async fn requests(State(shared): State<Handle>) -> Outcome {
    answer(shared, |inner, _| json!(inner.cloud.journal().entries().collect::<Vec<_>>())).await
}

async fn clear_requests(State(shared): State<Handle>) -> Outcome {
    answer(shared, |inner, _| {
        inner.cloud.journal().clear();
        json!([])
    })
    .await
}

fn summary(inner: &mut Inner<Aws>, now: Timestamp) -> Value {
    inner.cloud.tick(now, &mut inner.rng);
    json!({
        "now": now,
        "requests": inner.cloud.journal().count(),
        "mutations": inner.cloud.journal().mutations(),
        "halted": inner.cloud.halted(),
    })
}

async fn answer(shared: Handle, work: impl FnOnce(&mut Inner<Aws>, Timestamp) -> Value + Send + 'static) -> Outcome {
    Ok(Json(shared.with(work).await?))
}

/// Whatever its content type says: a person with `curl` is welcome.
fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(body).map_err(|error| Failure { status: StatusCode::BAD_REQUEST, message: error.to_string() })
}
