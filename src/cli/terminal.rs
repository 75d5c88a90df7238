//! What a person types unseen.

use std::io;

use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr,
};
use zeroize::Zeroizing;

/// Ctrl-C, as a terminal sends it.
const INTERRUPT: u8 = 3;

/// Longest line that is taken.
const LONGEST: usize = 4 * 1024;

/// A line of standard input, which is a terminal, without showing it. `ask` is called once nothing
/// is shown any more. Ctrl-C ends the process as ever, but only after the terminal is as before.
pub(crate) fn hidden_line(ask: impl FnOnce()) -> io::Result<Zeroizing<String>> {
    let quiet = Quiet::begin();
    ask();
    let line = line(io::stdin().lock());
    drop(quiet);
    if let Some(line) = line? {
        return Ok(line);
    }
    let this = rustix::process::getpid();
    rustix::process::kill_process(this, rustix::process::Signal::INT)?;
    Err(io::ErrorKind::Interrupted.into())
}

/// `None`: Ctrl-C.
fn line(mut from: impl io::BufRead) -> io::Result<Option<Zeroizing<String>>> {
    // Never grows: a copy left behind by growing would not be wiped.
    let mut line = Zeroizing::new(Vec::with_capacity(LONGEST));
    loop {
        let bytes = from.fill_buf()?;
        let end = bytes
            .iter()
            .position(|byte| matches!(*byte, b'\n' | INTERRUPT));
        let taken = end.unwrap_or(bytes.len());
        let interrupted = end.is_some_and(|end| bytes[end] == INTERRUPT);
        if line.len() + taken > LONGEST {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the line is too long",
            ));
        }
        line.extend_from_slice(&bytes[..taken]);
        let is_over = end.is_some() || bytes.is_empty();
        let used = taken + usize::from(end.is_some());
        from.consume(used);
        if interrupted {
            return Ok(None);
        }
        if is_over {
            let text = std::str::from_utf8(&line).map_err(|_| io::ErrorKind::InvalidData)?;
            return Ok(Some(Zeroizing::new(text.trim_end_matches('\r').to_owned())));
        }
    }
}

/// A terminal that shows nothing of what is typed, until dropped.
struct Quiet(Termios);

impl Quiet {
    /// `None` where the terminal cannot be made quiet.
    fn begin() -> Option<Self> {
        let before = tcgetattr(io::stdin()).ok()?;
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHO);
        quiet.local_modes.insert(LocalModes::ECHONL);
        // Ctrl-C ends the line in the place of the process, which has the terminal to mend first.
        quiet.local_modes.remove(LocalModes::ISIG);
        quiet.special_codes[SpecialCodeIndex::VEOL] = INTERRUPT;
        tcsetattr(io::stdin(), OptionalActions::Flush, &quiet).ok()?;
        Some(Self(before))
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        // A terminal that is gone needs no mending.
        let _gone = tcsetattr(io::stdin(), OptionalActions::Flush, &self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_ends_at_its_break_at_the_end_of_input_or_at_ctrl_c() {
        let read = |text: &'static str| line(text.as_bytes()).unwrap().map(|line| line.to_string());
        assert_eq!(read("a secret\nnext").as_deref(), Some("a secret"));
        assert_eq!(read("a secret\r\n").as_deref(), Some("a secret"));
        assert_eq!(read("a secret").as_deref(), Some("a secret"));
        assert_eq!(read("half\u{3}"), None);
    }

    #[test]
    fn what_is_longer_than_any_secret_is_refused() {
        assert!(line("x".repeat(LONGEST + 1).as_bytes()).is_err());
    }
}
