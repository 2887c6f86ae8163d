//! Prints the bytes of copies, for tests that check that these bytes are found nowhere else.
//!
//! Builds only with the feature `reveal`. Nothing in the workspace enables that feature, so the example is built by itself and is part of
//! no program. Reads a [`Request`] as JSON from standard input, and prints one line for each copy, in hexadecimal digits.
#![expect(clippy::print_stdout, reason = "what it prints is all that it is for")]

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;

use keyplane_hsm::{HsmConfig, HsmCustodian, HsmError, Pin, PinSource};
use keyplane_model::{CopyCoordinates, SealedBlob, Span, Timestamp};
use keyplane_port::Clock;
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    module: PathBuf,
    token: String,
    init: Option<String>,
    pin_file: PathBuf,
    copies: Vec<Copy>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Copy {
    coordinates: CopyCoordinates,
    /// The blob of a generated copy. Absent: the copy is derived.
    blob: Option<SealedBlob>,
}

/// A clock that stands at the beginning of 1970. Only approvals are judged by the time, and this program uses none.
struct Never;

#[async_trait::async_trait]
impl Clock for Never {
    fn now(&self) -> Timestamp {
        Timestamp(0)
    }

    fn uptime(&self) -> Span {
        Span::ZERO
    }

    async fn sleep(&self, _: Span) {}
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let request: Request = serde_json::from_reader(std::io::stdin())?;
    let pin_file = request.pin_file;
    let read = move || Pin::new(std::fs::read_to_string(&pin_file).map_err(|error| HsmError::PinMissing(error.to_string()))?);
    let pin = Some(PinSource::new(read));
    let config = HsmConfig { module: request.module, token_label: request.token, init: request.init, pin };
    let custodian = HsmCustodian::start(config, Arc::new(Never))?;
    for copy in request.copies {
        let bytes = custodian.reveal_for_test(&copy.coordinates, copy.blob.as_ref()).await?;
        println!("{}", hex::encode(&*bytes));
    }
    Ok(())
}
