//! An emulator's process and its control interface.

use std::fs::OpenOptions;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Deserialize;
use serde_json::Value;

use crate::{LabError, http};

/// An emulator: one AWS account in one region. It ends with the process that started it, or when this is dropped.
pub struct Emulator {
    /// The destination that it is.
    pub destination: String,
    /// The region that it plays.
    pub region: String,
    /// Where it listens; the same after [`Emulator::restart`].
    pub address: SocketAddr,
    program: PathBuf,
    args: Vec<String>,
    secret: String,
    log: PathBuf,
    process: Mutex<Option<Child>>,
}

/// The first line that an emulator prints.
#[derive(Deserialize)]
struct Ready {
    listening: SocketAddr,
}

impl Emulator {
    pub(crate) fn start(
        program: PathBuf,
        destination: &str,
        region: &str,
        args: Vec<String>,
        secret: String,
        log: PathBuf,
    ) -> Result<Self, LabError> {
        let mut emulator = Self {
            destination: destination.to_owned(),
            region: region.to_owned(),
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            program,
            args,
            secret,
            log,
            process: Mutex::new(None),
        };
        emulator.address = emulator.spawn()?;
        Ok(emulator)
    }

    /// What the configuration and SDKs call it.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Asks the control interface: `get("state")` is `GET /_emulator/state`.
    ///
    /// # Errors
    /// When it does not answer, or refuses.
    pub fn get(&self, path: &str) -> Result<Value, LabError> {
        self.control("GET", path, None)
    }

    /// Tells the control interface something.
    ///
    /// # Errors
    /// When it does not answer, or refuses.
    pub fn post(&self, path: &str, body: &Value) -> Result<Value, LabError> {
        self.control("POST", path, Some(body))
    }

    /// Makes it forget something: `faults`, `requests`.
    ///
    /// # Errors
    /// When it does not answer, or refuses.
    pub fn delete(&self, path: &str) -> Result<Value, LabError> {
        self.control("DELETE", path, None)
    }

    /// Ends it: whoever calls it then is refused the connection.
    pub fn stop(&self) {
        if let Some(mut child) = self.process().take() {
            // It is gone already: that is what was wanted.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Ends it, if it runs, and starts it again at the same address. It keeps its keys in memory: they are gone.
    ///
    /// # Errors
    /// When it does not start.
    pub fn restart(&self) -> Result<(), LabError> {
        self.stop();
        self.spawn().map(drop)
    }

    fn spawn(&self) -> Result<SocketAddr, LabError> {
        let file = |source| LabError::File { doing: "written", path: self.log.clone(), source };
        let log = OpenOptions::new().create(true).append(true).mode(0o600).open(&self.log).map_err(file)?;
        let mut child = Command::new(&self.program)
            .args(["aws", "--listen", &self.address.to_string(), "--exit-with-stdin"])
            .args(&self.args)
            // Not an argument: everyone on this machine can see those.
            .env("KEYPLANE_EMULATOR_SECRET_KEY", &self.secret)
            // INVARIANT: its input ends when this process does, however that ends, and the emulator with it.
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .map_err(|source| LabError::Run { program: self.program.display().to_string(), source })?;
        let mut line = String::new();
        let read = child.stdout.take().map(|stdout| BufReader::new(stdout).read_line(&mut line));
        *self.process() = Some(child);
        match (read, serde_json::from_str::<Ready>(&line)) {
            (Some(Ok(_)), Ok(ready)) => Ok(ready.listening),
            _ => {
                self.stop();
                Err(LabError::Emulator { destination: self.destination.clone(), log: self.log.clone() })
            }
        }
    }

    fn control(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value, LabError> {
        let path = format!("/_emulator/{path}");
        let body = body.map(ToString::to_string).unwrap_or_default();
        let (status, answer) = http::request(self.address, method, &path, body.as_bytes()).map_err(|source| LabError::Control {
            destination: self.destination.clone(),
            path: path.clone(),
            source,
        })?;
        if status != 200 {
            let said = String::from_utf8_lossy(&answer).trim().to_owned();
            return Err(LabError::Refused { destination: self.destination.clone(), path, status, said });
        }
        serde_json::from_slice(&answer).map_err(|source| LabError::Answer { what: path, source })
    }

    fn process(&self) -> MutexGuard<'_, Option<Child>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        self.stop();
    }
}

impl std::fmt::Debug for Emulator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Emulator({} at {})", self.destination, self.address)
    }
}
