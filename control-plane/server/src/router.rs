//! HTTP around the service. Handlers only translate.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use futures::StreamExt as _;
use futures::channel::mpsc;
use http::{StatusCode, header};
use keyplane_api::{
    ApplyLine, ApplyRequest, ApprovalRequest, CharterRequest, EnrollRequest, ExplainRequest, Failure, PlanRequest, ShowRequest,
    ValidateRequest, paths,
};
use keyplane_engine::{Event, Progress};
use keyplane_model::{Actor, Class, Problem};
use keyplane_service::Service;
use serde::Serialize;

/// The largest request, in bytes. The policy files in it have their own limits.
const LARGEST: usize = 16 << 20;

type Shared = State<Arc<Service>>;

/// The caller sets the `Extension<Actor>` that says who asks. No request can set it.
pub(crate) fn router(service: Arc<Service>) -> Router {
    Router::new()
        .route(paths::VALIDATE, post(validate))
        .route(paths::EXPLAIN, post(explain))
        .route(paths::PLAN, post(plan))
        .route(paths::SHOW, post(show))
        .route(paths::APPROVE, post(approve))
        .route(paths::APPLY, post(apply))
        .route(paths::STATUS, get(status))
        .route(paths::EVIDENCE, get(evidence))
        .route(paths::HSM_ENROLL, post(enroll))
        .route(paths::HSM_TEST, post(test))
        .route(paths::CHARTER, post(charter))
        .layer(DefaultBodyLimit::max(LARGEST))
        .with_state(service)
}

async fn validate(State(service): Shared, Json(request): Json<ValidateRequest>) -> Response {
    answer(service.validate(&request))
}

async fn explain(State(service): Shared, Json(request): Json<ExplainRequest>) -> Response {
    answer(service.explain(&request))
}

async fn plan(State(service): Shared, Extension(actor): Extension<Actor>, Json(request): Json<PlanRequest>) -> Response {
    answer(service.plan(&request, &actor).await)
}

async fn show(State(service): Shared, Json(request): Json<ShowRequest>) -> Response {
    answer(service.proposal(&request.digest).await.map_err(one))
}

async fn approve(State(service): Shared, Extension(actor): Extension<Actor>, Json(request): Json<ApprovalRequest>) -> Response {
    answer(service.approve(&request, &actor).await.map_err(one))
}

async fn status(State(service): Shared) -> Response {
    answer(service.status().await.map_err(one))
}

async fn evidence(State(service): Shared) -> Response {
    answer(service.evidence().await.map_err(one))
}

async fn enroll(State(service): Shared, Extension(actor): Extension<Actor>, Json(request): Json<EnrollRequest>) -> Response {
    answer(service.enroll(&request, &actor).await)
}

async fn test(State(service): Shared) -> Response {
    answer(service.test_hsm().await.map_err(one))
}

async fn charter(State(service): Shared, Extension(actor): Extension<Actor>, Json(request): Json<CharterRequest>) -> Response {
    answer(service.change_charter(&request, &actor).await)
}

/// Runs while the client listens. If the client disconnects, the run stops as if the server had crashed; the next run resumes it.
async fn apply(State(service): Shared, Extension(actor): Extension<Actor>, Json(request): Json<ApplyRequest>) -> Response {
    let (lines, told) = mpsc::unbounded();
    let run = async move {
        let lines = Lines(lines);
        let applied =
            service.apply(&request, &actor, &lines).await.unwrap_or_else(|problems| keyplane_api::Applied { done: Vec::new(), problems });
        lines.send(ApplyLine::Ended(applied));
    };
    let run = futures::stream::once(run).filter_map(|()| async { None });
    let stream = futures::stream::select(told, run).map(Ok::<Bytes, std::convert::Infallible>);
    ([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(stream)).into_response()
}

/// Sends progress to the client, as lines of JSON.
struct Lines(mpsc::UnboundedSender<Bytes>);

impl Lines {
    fn send(&self, line: ApplyLine) {
        if let Ok(mut bytes) = serde_json::to_vec(&line) {
            bytes.push(b'\n');
            // A client that has disconnected needs no progress.
            let _ = self.0.unbounded_send(bytes.into());
        }
    }
}

impl Progress for Lines {
    fn event(&self, event: &Event<'_>) {
        self.send(match *event {
            Event::Acting { key, destination, act, attempt } => {
                ApplyLine::Acting { key: key.clone(), destination: destination.clone(), act: act.to_owned(), attempt }
            }
            Event::Waiting { key, destination, act, until, why } => {
                ApplyLine::Waiting { key: key.clone(), destination: destination.clone(), act: act.to_owned(), until, why: why.to_owned() }
            }
            Event::Watching { destination, holder, longest } => ApplyLine::Watching { destination: destination.clone(), holder, longest },
            Event::Again { problem, .. } => ApplyLine::Again { problem: problem.clone() },
            Event::Received { key, destination, act, found } => {
                ApplyLine::Received { key: key.clone(), destination: destination.clone(), act: act.to_owned(), found }
            }
            Event::Completed { key, digest } => ApplyLine::Completed { key: key.clone(), digest: *digest },
        });
    }
}

fn one(problem: Problem) -> Vec<Problem> {
    vec![problem]
}

fn answer<T: Serialize>(result: Result<T, Vec<Problem>>) -> Response {
    let problems = match result {
        Ok(value) => return Json(value).into_response(),
        Err(problems) => problems,
    };
    let status = problems.first().map_or(StatusCode::INTERNAL_SERVER_ERROR, |problem| status_of(problem.class));
    let failure = Failure {
        r#type: problems.first().map(|problem| format!("urn:keyplane:problem:{}", problem.code)).unwrap_or_default(),
        title: problems.first().map(|problem| problem.detail.clone()).unwrap_or_default(),
        status: status.as_u16(),
        problems,
    };
    (status, [(header::CONTENT_TYPE, "application/problem+json")], Json(failure)).into_response()
}

fn status_of(class: Class) -> StatusCode {
    match class {
        Class::Invalid => StatusCode::UNPROCESSABLE_ENTITY,
        Class::Denied => StatusCode::FORBIDDEN,
        Class::NotFound => StatusCode::NOT_FOUND,
        Class::AlreadyExists | Class::Stale => StatusCode::CONFLICT,
        Class::Unsupported => StatusCode::NOT_IMPLEMENTED,
        Class::Throttled => StatusCode::TOO_MANY_REQUESTS,
        Class::Transient | Class::Ambiguous => StatusCode::SERVICE_UNAVAILABLE,
        Class::Broken => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
