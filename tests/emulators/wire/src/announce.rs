//! The first line on standard output: the address at which the emulator listens.

use std::io::{self, Write as _};

use serde_json::Value;

pub(crate) fn announce(line: &Value) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{line}")?;
    stdout.flush()
}
