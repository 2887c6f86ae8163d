//! The thread that owns the token, because PKCS#11 calls block and the session stays on one thread.
//!
//! Owns opening the token for the first job, replacing a lost session, and remembering that a PIN was refused. Must not know what jobs do.

use std::thread::JoinHandle;

use tokio::sync::{mpsc, oneshot};

use crate::vault::Vault;
use crate::{HsmConfig, HsmError};

/// The most jobs that wait. Further callers wait for a place in the queue; the token does one job at a time.
const QUEUE: usize = 64;

type Job = Box<dyn FnOnce(&mut State) + Send>;

/// Sends jobs to the thread, which runs them one at a time and in order.
pub(crate) struct Worker {
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    /// The first job opens the token.
    pub(crate) fn start(config: HsmConfig) -> Result<Self, HsmError> {
        let (jobs, mut queue) = mpsc::channel::<Job>(QUEUE);
        let thread = std::thread::Builder::new()
            .name("keyplane-hsm".to_owned())
            .spawn(move || {
                let mut state = State { config, vault: None, pin_refused: false };
                while let Some(job) = queue.blocking_recv() {
                    job(&mut state);
                }
            })
            .map_err(HsmError::Thread)?;
        Ok(Self { jobs: Some(jobs), thread: Some(thread) })
    }

    /// Runs a job on the token. If the session is lost, the job runs once more in a new session, so it has to find and complete what its
    /// first run left half done in the token.
    pub(crate) async fn run<T, F>(&self, job: F) -> Result<T, HsmError>
    where
        T: Send + 'static,
        F: Fn(&Vault) -> Result<T, HsmError> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let job: Job = Box::new(move |state| {
            // A caller that has gone needs no answer, so the job is not run.
            if !reply.is_closed() {
                let _ = reply.send(state.run(&job));
            }
        });
        self.jobs.as_ref().ok_or(HsmError::Stopped)?.send(job).await.map_err(|_| HsmError::Stopped)?;
        answer.await.map_err(|_| HsmError::Stopped)?
    }
}

impl Drop for Worker {
    /// Waits for the running job. Then the module is finalised, and another process can open the token's file.
    fn drop(&mut self) {
        self.jobs = None;
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the custodian's thread had died");
        }
    }
}

struct State {
    config: HsmConfig,
    vault: Option<Vault>,
    // INVARIANT: once true, no PIN is tried again: it may be the same wrong one.
    pin_refused: bool,
}

impl State {
    fn run<T>(&mut self, job: &dyn Fn(&Vault) -> Result<T, HsmError>) -> Result<T, HsmError> {
        let result = job(self.vault()?);
        match result {
            Err(error) if error.lost_session() => {
                tracing::warn!(%error, "the session with the token was lost; a new one takes its place");
                self.replace_session()?;
                job(self.vault()?)
            }
            result => result,
        }
    }

    /// The vault, logged in. The login is checked each time, because a token that was logged out hides its keys instead of reporting an
    /// error.
    fn vault(&mut self) -> Result<&Vault, HsmError> {
        match &self.vault {
            Some(vault) if vault.token().is_logged_in() => {}
            Some(_) => self.replace_session()?,
            None => self.vault = Some(self.login(Vault::open)?),
        }
        self.vault.as_ref().ok_or(HsmError::Stopped)
    }

    fn replace_session(&mut self) -> Result<(), HsmError> {
        // If the session cannot be replaced, the vault is dropped, and the next job opens the token again.
        if let Some(mut vault) = self.vault.take() {
            self.vault = Some(self.login(|config| vault.replace_session(config).map(|()| vault))?);
        }
        Ok(())
    }

    fn login(&mut self, open: impl FnOnce(&HsmConfig) -> Result<Vault, HsmError>) -> Result<Vault, HsmError> {
        if self.pin_refused {
            return Err(HsmError::PinWrong);
        }
        let result = open(&self.config);
        self.pin_refused = matches!(result, Err(HsmError::PinWrong));
        result
    }
}
