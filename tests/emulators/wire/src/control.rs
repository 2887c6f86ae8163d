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
    fault::Rule,
    frame::{Frame, Service},
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::{Failure, Inner, Shared};

type Handle<S> = Arc<Shared<Frame<S>>>;
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
struct Lose {
    region: String,
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

pub(crate) fn router<S: Service>(shared: Handle<S>) -> Router {
    Router::new()
        .route("/state", get(state::<S>))
        .route("/clock", post(clock::<S>))
        .route("/quotas", post(quotas::<S>))
        .route("/consistency", post(consistency::<S>))
        .route("/readings", get(readings::<S>).post(set_readings::<S>))
        .route("/faults", get(faults::<S>).post(add_faults::<S>).delete(clear_faults::<S>))
        .route("/late", post(late::<S>))
        .route("/resume", post(resume::<S>))
        .route("/lose", post(lose::<S>))
        .route("/dump", get(dump::<S>))
        .route("/requests", get(requests::<S>).delete(clear_requests::<S>))
        .with_state(shared)
}

async fn state<S: Service>(State(shared): State<Handle<S>>) -> Outcome {
    answer(shared, summary).await
}

async fn clock<S: Service>(State(shared): State<Handle<S>>, body: Bytes) -> Outcome {
    let Advance { advance_seconds } = parse(&body)?;
    answer(shared, move |inner, now| {
        let step = Duration::from_secs(advance_seconds.into());
        inner.offset += step;
        summary(inner, now + step)
    })
    .await
}

async fn quotas<S: Service>(State(shared): State<Handle<S>>, body: Bytes) -> Outcome {
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

async fn consistency<S: Service>(State(shared): State<Handle<S>>, body: Bytes) -> Outcome {
    let Consistency { seconds } = parse(&body)?;
    answer(shared, move |inner, _| {
        inner.cloud.set_consistency(Duration::from_secs(seconds.into()));
        json!({ "seconds": seconds })
    })
    .await
}

async fn readings<S: Service>(State(shared): State<Handle<S>>) -> Outcome {
    answer(shared, |inner, _| json!(inner.cloud.readings())).await
}

async fn set_readings<S: Service>(State(shared): State<Handle<S>>, body: Bytes) -> Outcome {
    let readings: S::Readings = parse(&body)?;
    answer(shared, move |inner, _| {
        *inner.cloud.readings() = readings;
        json!(inner.cloud.readings())
    })
    .await
}

async fn faults<S: Service>(State(shared): State<Handle<S>>) -> Outcome {
    answer(shared, |inner, _| json!(inner.cloud.faults().rules())).await
}

async fn add_faults<S: Service>(State(shared): State<Handle<S>>, body: Bytes) -> Outcome {
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

async fn clear_faults<S: Service>(State(shared): State<Handle<S>>) -> Outcome {
    answer(shared, |inner, _| {
        inner.cloud.faults().clear();
        json!([])
    })
    .await
}

async fn late<S: Service>(State(shared): State<Handle<S>>) -> Outcome {
    answer(shared, |inner, now| {
        inner.cloud.land_late(now, &mut inner.rng);
        summary(inner, now)
    })
    .await
}

async fn resume<S: Service>(State(shared): State<Handle<S>>, body: Bytes) -> Outcome {
    let Resume { apply } = if body.is_empty() { Resume { apply: false } } else { parse(&body)? };
    answer(shared, move |inner, now| {
        inner.cloud.resume(now, &mut inner.rng, apply);
        summary(inner, now)
    })
    .await
}

async fn lose<S: Service>(State(shared): State<Handle<S>>, body: Bytes) -> Outcome {
    let Lose { region } = parse(&body)?;
    answer(shared, move |inner, now| {
        inner.cloud.lose_imported_material(now, &mut inner.rng, &region);
        summary(inner, now)
    })
    .await
}

async fn dump<S: Service>(State(shared): State<Handle<S>>) -> Outcome {
    answer(shared, |inner, now| inner.cloud.dump(now, &mut inner.rng)).await
}

async fn requests<S: Service>(State(shared): State<Handle<S>>) -> Outcome {
    answer(shared, |inner, _| json!(inner.cloud.journal().entries().collect::<Vec<_>>())).await
}

async fn clear_requests<S: Service>(State(shared): State<Handle<S>>) -> Outcome {
    answer(shared, |inner, _| {
        inner.cloud.journal().clear();
        json!([])
    })
    .await
}

fn summary<S: Service>(inner: &mut Inner<Frame<S>>, now: Timestamp) -> Value {
    inner.cloud.tick(now, &mut inner.rng);
    json!({
        "now": now,
        "requests": inner.cloud.journal().count(),
        "mutations": inner.cloud.journal().mutations(),
        "halted": inner.cloud.halted(),
    })
}

async fn answer<S: Service>(shared: Handle<S>, work: impl FnOnce(&mut Inner<Frame<S>>, Timestamp) -> Value + Send + 'static) -> Outcome {
    Ok(Json(shared.with(work).await?))
}

/// The content type is not checked, so that `curl` works without options.
fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(body).map_err(|error| Failure { status: StatusCode::BAD_REQUEST, message: error.to_string() })
}
