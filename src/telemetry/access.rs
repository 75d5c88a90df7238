//! One line for each request.
//!
//! A worker collects its lines in a buffer of its own and hands the buffer on when it is full or
//! when its tick comes: formatting is the only cost on the way of a request.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use time::OffsetDateTime;

use crate::config::LogFormat;
use crate::telemetry::log::Sink;
use crate::telemetry::meter::Meter;
use crate::wise::{CredentialKind, Lane};

/// A batch is handed on when it is this long.
const BATCH: usize = 64 * 1024;

/// What is said about one request. No ids, no query, no secret can be in it.
#[derive(Debug)]
pub(crate) struct Line<'a> {
    pub(crate) at: SystemTime,
    pub(crate) method: &'a str,
    /// The path as it came; ids are masked on the way out, see [`template`].
    pub(crate) path: &'a str,
    pub(crate) status: u16,
    /// Name of the caller, at doors that know theirs.
    pub(crate) caller: Option<&'a str>,
    pub(crate) lane: Lane,
    pub(crate) credential: Option<CredentialKind>,
    pub(crate) grant: Option<&'a str>,
    pub(crate) generation: Option<u64>,
    /// Wait for Wise, from the request's first byte out to the answer's head.
    pub(crate) upstream: Option<Duration>,
    /// Our own share until the answer's head.
    pub(crate) added: Duration,
    /// From the request's head to the answer's last byte.
    pub(crate) total: Duration,
    /// Wise's `x-trace-id`.
    pub(crate) trace_id: Option<&'a str>,
    /// Type of our own problem document.
    pub(crate) fault: Option<&'static str>,
    /// Sent twice, after a 401.
    pub(crate) replayed: bool,
    /// Wise asked for strong customer authentication, and what became of that.
    pub(crate) sca: Option<&'static str>,
    /// The answer's body reached its end.
    pub(crate) complete: bool,
    /// A policy that is only tried out, and what it had against the request.
    pub(crate) would_refuse: Option<(&'a str, &'static str)>,
    /// How the bodies were signed or encrypted here.
    pub(crate) jose: Option<&'static str>,
}

/// The access lines of one worker.
#[derive(Debug)]
pub(crate) struct AccessLog {
    sink: Option<Sink>,
    format: LogFormat,
    meter: Arc<Meter>,
    batch: RefCell<String>,
    second: RefCell<Second>,
}

impl AccessLog {
    pub(crate) fn new(sink: Option<Sink>, format: LogFormat, meter: Arc<Meter>) -> Self {
        Self {
            sink,
            format,
            meter,
            batch: RefCell::default(),
            second: RefCell::default(),
        }
    }

    /// Adds one line.
    pub(crate) fn add(&self, line: &Line<'_>) {
        if self.sink.is_none() {
            return;
        }
        let mut batch = self.batch.borrow_mut();
        if batch.capacity() == 0 {
            batch.reserve(BATCH + 1024);
        }
        let mut second = self.second.borrow_mut();
        match self.format {
            LogFormat::Human => {
                second.timestamp(&mut batch, line.at);
                human(&mut batch, line);
            }
            LogFormat::Json => {
                batch.push_str("{\"timestamp\":\"");
                second.timestamp(&mut batch, line.at);
                json(&mut batch, line);
            }
        }
        if batch.len() >= BATCH {
            drop(batch);
            self.flush();
        }
    }

    /// Hands on what was collected.
    pub(crate) fn flush(&self) {
        let batch = self.batch.take();
        if batch.is_empty() {
            return;
        }
        let lines = batch.bytes().filter(|byte| *byte == b'\n').count();
        if let Some(sink) = &self.sink
            && !sink.send(batch.into_bytes())
        {
            self.meter.lines_dropped.add(lines as u64);
        }
    }
}

/// A line in the making. Numbers and texts go straight into the batch: the formatting machinery of
/// the standard library costs more than all the rest of a line.
struct Text<'a> {
    out: &'a mut String,
    format: LogFormat,
}

impl Text<'_> {
    fn name(&mut self, name: &str) {
        match self.format {
            LogFormat::Human => {
                self.out.push(' ');
                self.out.push_str(name);
                self.out.push('=');
            }
            LogFormat::Json => {
                self.out.push_str(",\"");
                self.out.push_str(name);
                self.out.push_str("\":");
            }
        }
    }

    /// Every text is of our own making or was reduced to safe characters: nothing to escape.
    fn text(&mut self, name: &str, value: &str) {
        self.name(name);
        if self.format == LogFormat::Json {
            self.out.push('"');
            self.out.push_str(value);
            self.out.push('"');
        } else {
            self.out.push_str(value);
        }
    }

    fn number(&mut self, name: &str, value: u64) {
        self.name(name);
        self.out.push_str(itoa::Buffer::new().format(value));
    }

    fn flag(&mut self, name: &str, value: bool) {
        self.name(name);
        self.out.push_str(if value { "true" } else { "false" });
    }
}

fn human(out: &mut String, line: &Line<'_>) {
    out.push_str(" ACCESS ");
    out.push_str(line.method);
    out.push(' ');
    template(out, line.path);
    out.push(' ');
    out.push_str(itoa::Buffer::new().format(line.status));
    let mut text = Text {
        out,
        format: LogFormat::Human,
    };
    rest(&mut text, line);
    if line.replayed {
        text.flag("replayed", true);
    }
    if !line.complete {
        text.flag("complete", false);
    }
    out.push('\n');
}

fn json(out: &mut String, line: &Line<'_>) {
    out.push_str("\",\"level\":\"ACCESS\"");
    let format = LogFormat::Json;
    let mut text = Text { out, format };
    text.text("method", line.method);
    text.name("path");
    text.out.push('"');
    template(text.out, line.path);
    text.out.push('"');
    text.number("status", u64::from(line.status));
    rest(&mut text, line);
    text.flag("replayed", line.replayed);
    text.flag("complete", line.complete);
    out.push_str("}\n");
}

fn rest(text: &mut Text<'_>, line: &Line<'_>) {
    let micros = |duration: Duration| u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    if let Some(caller) = line.caller {
        text.text("caller", caller);
    }
    text.text("lane", line.lane.name());
    if let Some(kind) = line.credential {
        text.text("credential", kind.name());
    }
    if let Some(grant) = line.grant {
        text.text("grant", grant);
    }
    if let Some(generation) = line.generation {
        text.number("generation", generation);
    }
    if let Some(upstream) = line.upstream {
        text.number("upstream_us", micros(upstream));
    }
    text.number("added_us", micros(line.added));
    text.number("total_us", micros(line.total));
    if let Some(trace_id) = line.trace_id {
        text.text("trace_id", trace_id);
    }
    if let Some(fault) = line.fault {
        text.text("problem", fault);
    }
    if let Some(sca) = line.sca {
        text.text("sca", sca);
    }
    if let Some((policy, reason)) = line.would_refuse {
        text.text("would_refuse", reason);
        text.text("policy", policy);
    }
    if let Some(method) = line.jose {
        text.text("jose", method);
    }
}

/// The date and time of the second that lines are written in: made once a second.
#[derive(Debug, Default)]
pub(crate) struct Second {
    since_epoch: u64,
    text: String,
}

impl Second {
    /// Appends the moment, with milliseconds, in RFC 3339.
    pub(crate) fn timestamp(&mut self, out: &mut String, at: SystemTime) {
        let since = at
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        if since.as_secs() != self.since_epoch || self.text.is_empty() {
            self.since_epoch = since.as_secs();
            self.text.clear();
            let at = OffsetDateTime::from(at);
            let (year, month, day) = (at.year(), u8::from(at.month()), at.day());
            let (hour, minute, second) = at.to_hms();
            // Writing to a String cannot fail.
            let _ = write!(
                self.text,
                "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}."
            );
        }
        out.push_str(&self.text);
        let millis = since.subsec_millis();
        for digit in [millis / 100, millis / 10 % 10, millis % 10] {
            out.push(char::from_digit(digit, 10).unwrap_or('0'));
        }
        out.push('Z');
    }
}

/// The path with everything that may be an id replaced by `{id}`, appended to `out`.
///
/// A segment is kept when it is made of letters, hyphens and underscores only, or is a version or
/// one of Wise's own words that hold a digit or a dot. All else is masked: a log must not say who
/// was paid. Clients choose paths, so what is kept is safe inside a line and inside JSON.
pub(crate) fn template(out: &mut String, path: &str) {
    let start = out.len();
    let mut masks_next = false;
    for segment in path.split('/').skip(1).take(16) {
        out.push('/');
        let keep = !masks_next && is_word(segment);
        out.push_str(if keep { segment } else { "{id}" });
        // The segment behind `applications` is the client id, which may look like a word.
        masks_next = segment == "applications";
    }
    if out.len() == start {
        out.push('/');
    }
}

fn is_word(segment: &str) -> bool {
    if segment.len() > 40 {
        return false;
    }
    if segment
        .bytes()
        .all(|byte| byte.is_ascii_alphabetic() || matches!(byte, b'-' | b'_'))
    {
        return true;
    }
    match segment.as_bytes() {
        [b'v', digits @ ..] if digits.len() <= 2 => digits.iter().all(u8::is_ascii_digit),
        [years @ .., b'Q', b'1'..=b'4'] if years.len() == 4 => years.iter().all(u8::is_ascii_digit),
        b"3dsecure"
        | b"statement.json"
        | b"statement.csv"
        | b"statement.pdf"
        | b"statement.xlsx"
        | b"statement.xml"
        | b"statement.mt940"
        | b"statement.qif"
        | b"receipt.pdf"
        | b"us-combined-receipt.pdf" => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(path: &str) -> String {
        let mut out = String::new();
        template(&mut out, path);
        out
    }

    #[test]
    fn an_access_path_says_the_operation_and_no_id() {
        assert_eq!(
            of("/v3/profiles/30000000/quotes"),
            "/v3/profiles/{id}/quotes"
        );
        assert_eq!(
            of("/2026Q3/profiles/1/balance-statements/9/statement.json"),
            "/2026Q3/profiles/{id}/balance-statements/{id}/statement.json"
        );
        assert_eq!(
            of("/v3/applications/acme/subscriptions"),
            "/v3/applications/{id}/subscriptions"
        );
        assert_eq!(
            of("/v1/rates/\"x\\"),
            "/v1/rates/{id}",
            "nothing that could break a line"
        );
        assert_eq!(of("/"), "/");
    }
}
