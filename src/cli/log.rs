//! The log on standard error. It names instances and quotes reasons, so that it is made safe for a terminal like all else.

use std::io::{self, Write};

use super::text;

/// Unless it is asked for, nothing may stand beside an error that is JSON.
pub(crate) fn to_stderr(as_json: bool) {
    let usual = if as_json { "off" } else { "error" };
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| usual.into());
    // Colours would be made safe too.
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(|| Lines).with_ansi(false).init();
}

/// Takes whole lines.
struct Lines;

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        io::stderr().lock().write_all(text::block(&String::from_utf8_lossy(line)).as_bytes())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}
