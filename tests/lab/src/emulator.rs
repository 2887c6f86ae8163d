//! An emulator's process and its control interface.

use std::fs::OpenOptions;
use std::io::{BufRead as _, BufReader};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use keyplane_model::CloudKind;
use serde::Deserialize;
use serde_json::Value;

use crate::{LabError, http};

/// An emulator's process. It ends with the process that started it, or when this is dropped.
pub struct Emulator {
    /// The lab's name for it: that of its destination, or of the cloud if several destinations share it.
    pub name: String,
    /// Its address, which [`Emulator::restart`] keeps.
    pub address: SocketAddr,
    /// The address of its control interface, without TLS.
    control: SocketAddr,
    start: Start,
    process: Mutex<Option<Child>>,
}

/// How an emulator is started.
pub(crate) struct Start {
    pub(crate) program: PathBuf,
    pub(crate) name: String,
    /// Its subcommand: `aws`, `gcp`, `azure`.
    pub(crate) cloud: CloudKind,
    pub(crate) args: Vec<String>,
    /// Environment variables, because everybody on this machine can read arguments.
    pub(crate) secrets: Vec<(&'static str, String)>,
    pub(crate) log: PathBuf,
}

/// The first line that an emulator prints.
#[derive(Deserialize)]
struct Ready {
    listening: SocketAddr,
    /// Its address without TLS, if that is another one.
    metadata: Option<SocketAddr>,
}

const ANY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

impl Emulator {
    pub(crate) fn start(start: Start) -> Result<Self, LabError> {
        let mut emulator = Self { name: start.name.clone(), address: ANY, control: ANY, start, process: Mutex::new(None) };
        let Ready { listening, metadata } = emulator.spawn()?;
        (emulator.address, emulator.control) = (listening, metadata.unwrap_or(listening));
        Ok(emulator)
    }

    /// Its URL for configuration and SDKs, if it speaks without TLS.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The URL of its control interface, for people.
    #[must_use]
    pub fn control_url(&self) -> String {
        format!("http://{}/_emulator", self.control)
    }

    /// A `GET` of the control interface: `get("state")` is `GET /_emulator/state`.
    ///
    /// # Errors
    /// When it does not answer, or refuses.
    pub fn get(&self, path: &str) -> Result<Value, LabError> {
        self.control("GET", path, None)
    }

    /// The answer of the control interface as plain text.
    pub(crate) fn text(&self, path: &str) -> Result<String, LabError> {
        let answer = self.ask("GET", path, None)?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }

    /// A `POST` to the control interface.
    ///
    /// # Errors
    /// When it does not answer, or refuses.
    pub fn post(&self, path: &str, body: &Value) -> Result<Value, LabError> {
        self.control("POST", path, Some(body))
    }

    /// A `DELETE` of the control interface: `faults`, `requests`.
    ///
    /// # Errors
    /// When it does not answer, or refuses.
    pub fn delete(&self, path: &str) -> Result<Value, LabError> {
        self.control("DELETE", path, None)
    }

    /// Ends it. Connections to it are refused then.
    pub fn stop(&self) {
        if let Some(mut child) = self.process().take() {
            // If it is gone already, nothing is left to do.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Ends it, if it runs, and starts it again at the same address. Its keys were in memory, and are gone.
    ///
    /// # Errors
    /// When it does not start.
    pub fn restart(&self) -> Result<(), LabError> {
        self.stop();
        self.spawn().map(drop)
    }

    fn spawn(&self) -> Result<Ready, LabError> {
        let Start { program, name, cloud, args, secrets, log } = &self.start;
        let file = |source| LabError::File { doing: "written", path: log.clone(), source };
        let output = OpenOptions::new().create(true).append(true).mode(0o600).open(log).map_err(file)?;
        let mut command = Command::new(program);
        command.args([&cloud.to_string(), "--listen", &self.address.to_string(), "--exit-with-stdin"]).args(args);
        if *cloud == CloudKind::Azure {
            command.args(["--metadata-listen", &self.control.to_string()]);
        }
        let mut child = command
            .envs(secrets.iter().map(|(name, value)| (*name, value)))
            // INVARIANT: its standard input ends with this process, however that ends, and so does the emulator.
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(output)
            .spawn()
            .map_err(|source| LabError::Run { program: program.display().to_string(), source })?;
        let mut line = String::new();
        let read = child.stdout.take().map(|stdout| BufReader::new(stdout).read_line(&mut line));
        *self.process() = Some(child);
        match (read, serde_json::from_str(&line)) {
            (Some(Ok(_)), Ok(ready)) => Ok(ready),
            _ => {
                self.stop();
                Err(LabError::Emulator { name: name.clone(), log: log.clone() })
            }
        }
    }

    fn control(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value, LabError> {
        let answer = self.ask(method, path, body)?;
        serde_json::from_slice(&answer).map_err(|source| LabError::Answer { what: path.to_owned(), source })
    }

    fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Vec<u8>, LabError> {
        let path = format!("/_emulator/{path}");
        let body = body.map(ToString::to_string).unwrap_or_default();
        let (status, answer) = http::request(self.control, method, &path, body.as_bytes()).map_err(|source| LabError::Control {
            name: self.name.clone(),
            path: path.clone(),
            source,
        })?;
        if status != 200 {
            let said = String::from_utf8_lossy(&answer).trim().to_owned();
            return Err(LabError::Refused { name: self.name.clone(), path, status, said });
        }
        Ok(answer)
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
        write!(f, "Emulator({} at {})", self.name, self.address)
    }
}
