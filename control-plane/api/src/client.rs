//! A client of the API over any service of HTTP requests.

use bytes::{Buf as _, Bytes};
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use keyplane_model::{Problem, ProblemCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tower::{Service, ServiceExt as _};

use crate::{
    Applied, ApplyLine, ApplyRequest, ApprovalRequest, Approved, CharterRequest, CharterState, EnrollRequest, EvidenceTable,
    ExplainRequest, Failure, HsmReport, PlanRequest, Planned, Proposal, ShowRequest, StatusReport, ValidateRequest, Validated, paths,
};

/// The largest reply that is read, in bytes. A plan for ten thousand keys has about twenty million.
const LARGEST: usize = 64 << 20;

/// Why a request failed: at least one problem.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{}", .0.first().map_or_else(|| "the request failed".to_owned(), ToString::to_string))]
pub struct ClientError(pub Vec<Problem>);

/// A client of the API. `S` is a connection to a server, or the router itself.
#[derive(Clone, Debug)]
pub struct Client<S> {
    service: S,
}

impl<S, B> Client<S>
where
    S: Service<Request<Full<Bytes>>, Response = Response<B>> + Clone,
    S::Error: std::fmt::Display,
    B: http_body::Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    pub fn new(service: S) -> Self {
        Self { service }
    }

    /// Checks policy files.
    ///
    /// # Errors
    /// All problems of the files.
    pub async fn validate(&self, request: &ValidateRequest) -> Result<Validated, ClientError> {
        self.ask(Method::POST, paths::VALIDATE, Some(request)).await
    }

    /// The effective rules of a key and where each comes from: `text` for people, `explanation` for programs.
    ///
    /// # Errors
    /// The problems of the files, or that there is no such key.
    pub async fn explain(&self, request: &ExplainRequest) -> Result<serde_json::Value, ClientError> {
        self.ask(Method::POST, paths::EXPLAIN, Some(request)).await
    }

    /// Plans, and proposes the plan's change sets.
    ///
    /// # Errors
    /// When nothing could be planned. What could not be looked at is in [`Planned::warnings`].
    pub async fn plan(&self, request: &PlanRequest) -> Result<Planned, ClientError> {
        self.ask(Method::POST, paths::PLAN, Some(request)).await
    }

    /// A change set or a proposed charter, to be shown to its approvers.
    ///
    /// # Errors
    /// When there is none with that digest, or the charter in force is not the one that a proposed charter follows.
    pub async fn show(&self, request: &ShowRequest) -> Result<Proposal, ClientError> {
        self.ask(Method::POST, paths::SHOW, Some(request)).await
    }

    /// Sends an approval.
    ///
    /// # Errors
    /// When the approval does not count.
    pub async fn approve(&self, request: &ApprovalRequest) -> Result<Approved, ClientError> {
        self.ask(Method::POST, paths::APPROVE, Some(request)).await
    }

    /// Runs change sets. Calls `tell` with each line of progress as it arrives.
    ///
    /// # Errors
    /// When nothing could be run. What stops single change sets is in [`Applied::problems`].
    pub async fn apply(&self, request: &ApplyRequest, mut tell: impl FnMut(&ApplyLine)) -> Result<Applied, ClientError> {
        let response = self.send(Method::POST, paths::APPLY, Some(request)).await?;
        let mut body = std::pin::pin!(response.into_body());
        let mut rest: Vec<u8> = Vec::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| broken(&error.into()))?;
            let Ok(mut data) = frame.into_data() else { continue };
            while data.has_remaining() {
                let chunk = data.chunk();
                let end = chunk.iter().position(|byte| *byte == b'\n');
                let taken = end.map_or(chunk.len(), |end| end + 1);
                rest.extend_from_slice(chunk.get(..taken).unwrap_or_default());
                data.advance(taken);
                if rest.len() > LARGEST {
                    return Err(broken(&"a line is too long"));
                }
                if end.is_some() {
                    let line: ApplyLine = serde_json::from_slice(&rest).map_err(|error| broken(&error))?;
                    rest.clear();
                    tell(&line);
                    if let ApplyLine::Ended(applied) = line {
                        return Ok(applied);
                    }
                }
            }
        }
        Err(broken(&"the answer ended before the run did; it goes on, or is resumed by the next `keyplane apply`"))
    }

    /// The copies in the ledger, and the open change sets.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub async fn status(&self) -> Result<StatusReport, ClientError> {
        self.ask(Method::GET, paths::STATUS, None::<&()>).await
    }

    /// The evidence that the destinations hold the right keys.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub async fn evidence(&self) -> Result<EvidenceTable, ClientError> {
        self.ask(Method::GET, paths::EVIDENCE, None::<&()>).await
    }

    /// Enrols the token: proves its wrapping routes, makes the root epoch, adopts the charter.
    ///
    /// # Errors
    /// When the token cannot be enrolled.
    pub async fn hsm_enroll(&self, request: &EnrollRequest) -> Result<HsmReport, ClientError> {
        self.ask(Method::POST, paths::HSM_ENROLL, Some(request)).await
    }

    /// Proves the token's wrapping routes again.
    ///
    /// # Errors
    /// When the token cannot be reached.
    pub async fn hsm_test(&self) -> Result<HsmReport, ClientError> {
        self.ask(Method::POST, paths::HSM_TEST, None::<&()>).await
    }

    /// Proposes the policy's charter, or adopts it.
    ///
    /// # Errors
    /// When approvals were given before and do not suffice.
    pub async fn charter(&self, request: &CharterRequest) -> Result<CharterState, ClientError> {
        self.ask(Method::POST, paths::CHARTER, Some(request)).await
    }

    async fn ask<Q: Serialize, A: DeserializeOwned>(&self, method: Method, path: &str, request: Option<&Q>) -> Result<A, ClientError> {
        let response = self.send(method, path, request).await?;
        let body = read(response.into_body()).await?;
        serde_json::from_slice(&body).map_err(|error| broken(&error))
    }

    async fn send<Q: Serialize>(&self, method: Method, path: &str, request: Option<&Q>) -> Result<Response<B>, ClientError> {
        let body = match request {
            Some(request) => Bytes::from(serde_json::to_vec(request).map_err(|error| broken(&error))?),
            None => Bytes::new(),
        };
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .map_err(|error| broken(&error))?;
        let response = self.service.clone().oneshot(request).await.map_err(|error| broken(&error))?;
        if response.status() == StatusCode::OK {
            return Ok(response);
        }
        let body = read(response.into_body()).await?;
        let failure: Failure = serde_json::from_slice(&body).map_err(|error| broken(&error))?;
        Err(ClientError(failure.problems))
    }
}

async fn read<B>(body: B) -> Result<Bytes, ClientError>
where
    B: http_body::Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    Limited::new(body, LARGEST).collect().await.map(http_body_util::Collected::to_bytes).map_err(|error| broken(&error))
}

fn broken(error: &impl std::fmt::Display) -> ClientError {
    ClientError(vec![Problem::new(ProblemCode::Internal, format!("the answer makes no sense: {error}"), "keyplane status")])
}
