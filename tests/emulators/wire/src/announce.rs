//! The first line on standard output: where the emulator listens.

use std::io::{self, Write as _};

use serde_json::Value;

/// Says on standard output where the emulator listens.
pub(crate) fn announce(line: &Value) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{line}")?;
    stdout.flush()
}
