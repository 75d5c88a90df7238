//! A terminal while something is shown in place.

use std::io;
use std::io::IsTerminal as _;

use rustix::termios::{
    LocalModes, OptionalActions, QueueSelector, Termios, tcflush, tcgetattr, tcgetwinsize,
    tcsetattr,
};

use super::report;

/// Another screen, no cursor, and lines end at the edge.
const ENTER: &str = "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[2J";
const LEAVE: &str = "\x1b[?7h\x1b[?25h\x1b[?1049l";

/// Terminals that know these show a frame only once it is whole; others ignore them.
const BEGIN: &str = "\x1b[?2026h\x1b[H";
const END: &str = "\x1b[J\x1b[?2026l";

/// Lines where a terminal does not say how many it has.
const LINES: usize = 24;

/// The terminal on standard output. Dropping it gives back what was there before.
#[derive(Debug)]
pub(crate) struct Screen {
    /// The keyboard as it was.
    keyboard: Option<Termios>,
    with_colour: bool,
}

impl Screen {
    /// Takes the terminal over; none if standard output is something else.
    pub(crate) fn open() -> Option<Self> {
        if !io::stdout().is_terminal() {
            return None;
        }
        let keyboard = tcgetattr(io::stdin()).ok();
        if let Some(was) = &keyboard {
            // A key pressed meanwhile must not end up in the picture.
            let mut quiet = was.clone();
            quiet.local_modes.remove(LocalModes::ECHO);
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, &quiet);
        }
        let choice = anstream::AutoStream::choice(&io::stdout());
        let with_colour = choice != anstream::ColorChoice::Never;
        let screen = Self {
            keyboard,
            with_colour,
        };
        report::terminal(ENTER).ok().map(|()| screen)
    }

    /// Shows a text from the upper left corner on, without a moment in which nothing is there.
    pub(crate) fn show(&self, text: &str) -> io::Result<()> {
        let rows = tcgetwinsize(io::stdout()).map_or(0, |size| usize::from(size.ws_row));
        let rows = if rows == 0 { LINES } else { rows };
        if self.with_colour {
            report::terminal(&frame(text, rows))
        } else {
            let plain = anstream::adapter::strip_str(text).to_string();
            report::terminal(&frame(&plain, rows))
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // Nobody is left to be told if the terminal is gone.
        let _ = report::terminal(LEAVE);
        if let Some(was) = &self.keyboard {
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, was);
            // What was typed at the picture was not meant for the shell.
            let _ = tcflush(io::stdin(), QueueSelector::IFlush);
        }
    }
}

/// The bytes that put `text` on a screen of so many rows, over whatever is there.
fn frame(text: &str, rows: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let fits = lines.len() <= rows;
    let shown = if fits {
        lines.len()
    } else {
        rows.saturating_sub(1)
    };
    let mut shown: Vec<String> = lines[..shown]
        .iter()
        .map(|line| format!("{line}\x1b[K"))
        .collect();
    if !fits {
        let more = lines.len() - shown.len();
        shown.push(format!("… {more} more lines in a higher window\x1b[K"));
    }
    format!("{BEGIN}{}{END}", shown.join("\r\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_written_over_the_last_one_and_clears_only_what_is_left_of_it() {
        assert_eq!(
            frame("one\ntwo", 24),
            "\x1b[?2026h\x1b[Hone\x1b[K\r\ntwo\x1b[K\x1b[J\x1b[?2026l"
        );
    }

    #[test]
    fn a_frame_never_scrolls_and_says_what_is_left_out() {
        let text = "1\n2\n3\n4\n5";
        let drawn = frame(text, 3);
        assert_eq!(drawn.matches("\r\n").count(), 2, "{drawn:?}");
        assert!(drawn.contains("… 3 more lines"), "{drawn:?}");
        assert_eq!(frame(text, 5).matches("\r\n").count(), 4);
    }
}
