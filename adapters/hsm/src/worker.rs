//! The thread that owns the token: PKCS#11 blocks, and a session belongs to one thread.
//!
//! Owns opening the token on the first job, replacing a lost session, and remembering that a PIN was refused. Must not
//! know what jobs do.

use std::thread::JoinHandle;

use tokio::sync::{mpsc, oneshot};

use crate::vault::Vault;
use crate::{HsmConfig, HsmError};

/// Jobs that may wait. More callers than that wait for a place: a token does one thing at a time anyway.
const QUEUE: usize = 64;

type Job = Box<dyn FnOnce(&mut Seat) + Send>;

/// Hands jobs to the thread, one at a time, in order.
pub(crate) struct Worker {
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    /// Starts the thread; the token is opened by the first job.
    pub(crate) fn start(config: HsmConfig) -> Result<Self, HsmError> {
        let (jobs, mut queue) = mpsc::channel::<Job>(QUEUE);
        let thread = std::thread::Builder::new()
            .name("keyplane-hsm".to_owned())
            .spawn(move || {
                let mut seat = Seat { config, vault: None, pin_refused: false };
                while let Some(job) = queue.blocking_recv() {
                    job(&mut seat);
                }
            })
            .map_err(|_| HsmError::Stopped)?;
        Ok(Self { jobs: Some(jobs), thread: Some(thread) })
    }

    /// Runs a job on the token. When its session is lost the job runs once more in a new one, so a job may be repeated:
    /// it leaves nothing durable half done that it would not find again.
    pub(crate) async fn run<T, F>(&self, job: F) -> Result<T, HsmError>
    where
        T: Send + 'static,
        F: Fn(&Vault) -> Result<T, HsmError> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let job: Job = Box::new(move |seat| {
            // Nobody waits any more: what was asked for is not done.
            if !reply.is_closed() {
                let _ = reply.send(seat.run(&job));
            }
        });
        self.jobs.as_ref().ok_or(HsmError::Stopped)?.send(job).await.map_err(|_| HsmError::Stopped)?;
        answer.await.map_err(|_| HsmError::Stopped)?
    }
}

impl Drop for Worker {
    /// Waits for the running job: afterwards the module is finalised, and the token's file is nobody's.
    fn drop(&mut self) {
        self.jobs = None;
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the custodian's thread had died");
        }
    }
}

/// What the thread holds.
struct Seat {
    config: HsmConfig,
    vault: Option<Vault>,
    // INVARIANT: once true, no login is tried again with this PIN.
    pin_refused: bool,
}

impl Seat {
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

    /// The vault, logged in: a token that was logged out under us hides its keys instead of saying so.
    fn vault(&mut self) -> Result<&Vault, HsmError> {
        match &self.vault {
            Some(vault) if vault.token().is_logged_in() => {}
            Some(_) => self.replace_session()?,
            None => self.vault = Some(self.login(Vault::open)?),
        }
        self.vault.as_ref().ok_or(HsmError::Stopped)
    }

    fn replace_session(&mut self) -> Result<(), HsmError> {
        // A vault whose session cannot be replaced is dropped: the next job opens the token anew.
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
