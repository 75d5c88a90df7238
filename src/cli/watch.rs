//! `status --watch`: the running proxy, as it changes.

use std::io;
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use rustix::process::{Signal as Kill, getpid, kill_process};
use serde_json::Value;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Interval, MissedTickBehavior};

use super::admin_client::AdminClient;
use super::failure::Failure;
use super::run::single_runtime;
use super::screen::Screen;
use super::{overview, report};

/// How often the proxy is asked.
const EVERY: Duration = Duration::from_secs(1);

/// A proxy that takes longer to say how it is has gone silent.
const PATIENCE: Duration = Duration::from_secs(5);

const GOOD: Style = AnsiColor::Green.on_default().bold();
const BAD: Style = AnsiColor::Red.on_default().bold();
const STRONG: Style = Style::new().bold();
const SOFT: Style = Style::new().dimmed();

/// Follows the proxy until Ctrl-C. One that does not answer at the beginning is a failure; one that
/// goes later is waited for.
pub(crate) fn run(client: &AdminClient, json: bool) -> Result<(), Failure> {
    let runtime = single_runtime()?;
    runtime.block_on(async {
        let mut signals = Signals::listen().map_err(Failure::starved)?;
        let first = client.fetch("/status").await?;
        let screen = if json { None } else { Screen::open() };
        if let Some(screen) = screen {
            return in_place(client, screen, first, signals).await;
        }
        tokio::select! {
            done = in_lines(client, first, json) => done,
            () = signals.end() => Ok(()),
        }
    })
}

/// What the terminal and its user say.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Signals {
    fn listen() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    async fn end(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hangup.recv() => {}
        }
    }
}

async fn in_place(
    client: &AdminClient,
    screen: Screen,
    first: Value,
    mut signals: Signals,
) -> Result<(), Failure> {
    let mut resized = signal(SignalKind::window_change()).map_err(Failure::starved)?;
    let mut put_aside =
        signal(SignalKind::from_raw(Kill::TSTP.as_raw())).map_err(Failure::starved)?;
    let mut screen = Some(screen);
    let (mut last, mut trouble) = (first, None);
    let mut tick = ticks();
    tick.tick().await;
    loop {
        if let Some(screen) = &screen {
            screen
                .show(&picture(&last, trouble.as_deref()))
                .map_err(report::unheard)?;
        }
        tokio::select! {
            () = signals.end() => return Ok(()),
            _ = resized.recv() => {}
            _ = put_aside.recv() => {
                // The shell gets its screen back until `fg`.
                drop(screen.take());
                let _ = kill_process(getpid(), Kill::STOP);
                screen = Screen::open();
            }
            answer = next(client, &mut tick) => match answer {
                Ok(status) => (last, trouble) = (status, None),
                Err(silence) => trouble = Some(silence),
            },
        }
    }
}

/// The status a second later, or why there is none. Cancel safe.
async fn next(client: &AdminClient, tick: &mut Interval) -> Result<Value, String> {
    tick.tick().await;
    match tokio::time::timeout(PATIENCE, client.fetch("/status")).await {
        Ok(answer) => answer.map_err(|error| error.to_string()),
        Err(_elapsed) => Err(format!(
            "the proxy has not answered for {} s",
            PATIENCE.as_secs()
        )),
    }
}

/// A whole screen.
fn picture(status: &Value, trouble: Option<&str>) -> String {
    let at = status["at"].as_str().unwrap_or_default();
    let clock = at.get(11..19).unwrap_or_default();
    let head = match trouble {
        None => format!("{SOFT}{clock} UTC, Ctrl-C ends{SOFT:#}"),
        Some(silence) => format!("{BAD}{silence}; this was so at {clock} UTC{BAD:#}"),
    };
    let lines = overview::status(status);
    let lines = lines.lines().map(|line| {
        let style = match line.split_whitespace().next() {
            Some("lane") if line.contains("since") || line.contains("configured") => STRONG,
            Some("ready") if status["ready"] == true => GOOD,
            Some("ready") => BAD,
            _ => Style::new(),
        };
        format!("{style}{line}{style:#}")
    });
    [head, String::new()]
        .into_iter()
        .chain(lines)
        .collect::<Vec<_>>()
        .join("\n")
}

async fn in_lines(client: &AdminClient, first: Value, json: bool) -> Result<(), Failure> {
    let mut told = Told::default();
    let (mut answer, mut tick) = (Ok(first), ticks());
    tick.tick().await;
    loop {
        let news = match &answer {
            Ok(status) if json => told.document(status).into_iter().collect(),
            Ok(status) => told.lines(status),
            Err(silence) => {
                if !std::mem::replace(&mut told.is_gone, true) {
                    report::say(&format!("warning: {silence}; waiting for it"));
                }
                Vec::new()
            }
        };
        for line in news {
            if !report::is_heard(&line)? {
                return Ok(());
            }
        }
        answer = next(client, &mut tick).await;
    }
}

fn ticks() -> Interval {
    let mut tick = tokio::time::interval(EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    tick
}

/// What has been said so far, so that only changes are.
#[derive(Default)]
struct Told {
    still: Value,
    last_event: u64,
    ready: Option<(bool, String)>,
    is_gone: bool,
}

impl Told {
    /// The status in one line, if anything but time and traffic has moved on.
    fn document(&mut self, status: &Value) -> Option<String> {
        self.is_gone = false;
        let still = without_clocks(status);
        let is_new = still != self.still;
        self.still = still;
        is_new.then(|| status.to_string())
    }

    /// A line for each change: what stands at the beginning, each event, readiness.
    fn lines(&mut self, status: &Value) -> Vec<String> {
        let at = status["at"].as_str().unwrap_or_default();
        let (day, clock) = (
            at.get(..10).unwrap_or_default(),
            at.get(11..19).unwrap_or_default(),
        );
        let mut lines = Vec::new();
        let is_first = self.still.is_null();
        // Another process counts its events anew.
        let is_another = self.still["started"] != status["started"];
        if is_another {
            self.last_event = 0;
        }
        if is_first || std::mem::take(&mut self.is_gone) {
            let lane = status["lane"].as_str().unwrap_or("-");
            lines.push(format!(
                "{day} {clock}  lane {lane}, version {}",
                status["version"].as_str().unwrap_or("-")
            ));
        }
        let events = status["events"].as_array().map_or(&[][..], Vec::as_slice);
        let number = |event: &Value| event["number"].as_u64().unwrap_or(0);
        if !is_first {
            let new = events
                .iter()
                .filter(|event| number(event) > self.last_event);
            lines.extend(new.map(overview::event));
        }
        self.last_event = events.last().map_or(self.last_event, number);
        let reasons = status["reasons"].as_array().into_iter().flatten();
        let reasons: Vec<_> = reasons.filter_map(Value::as_str).collect();
        let ready = (status["ready"] == true, reasons.join("; "));
        if self.ready.as_ref() != Some(&ready) {
            let word = if ready.0 { "ready" } else { "NOT READY: " };
            lines.push(format!("{day} {clock}  {word}{}", ready.1));
            self.ready = Some(ready);
        }
        self.still = without_clocks(status);
        lines
    }
}

/// The status without what changes by itself.
fn without_clocks(status: &Value) -> Value {
    let mut still = status.clone();
    let forget = |table: &mut Value, keys: &[&str]| {
        if let Some(table) = table.as_object_mut() {
            for key in keys {
                table.remove(*key);
            }
        }
    };
    forget(&mut still, &["at", "uptime_seconds", "traffic"]);
    for token in still["tokens"].as_array_mut().into_iter().flatten() {
        forget(token, &["age", "seconds_left", "next_renewal_in"]);
    }
    still
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn status(second: u32) -> Value {
        json!({
            "at": format!("2026-11-22T10:00:{second:02}.5Z"),
            "version": "0.1.0",
            "lane": "oauth-mtls",
            "lanes": ["personal", "oauth-mtls"],
            "ready": true,
            "reasons": [],
            "started": "2026-11-22T09:00:00Z",
            "uptime_seconds": 3600 + second,
            "tokens": [{ "grant": "main", "state": "live", "age": second, "seconds_left": 60,
                "next_renewal_in": 30, "generation": 1 }],
            "traffic": { "lanes": [{ "lane": "oauth-mtls", "requests": second }] },
            "events": [{ "number": 1, "at": "2026-11-22T09:00:00Z", "kind": "started",
                "severity": "info", "grant": null, "text": "serving" }],
        })
    }

    fn switched(second: u32) -> Value {
        let mut status = status(second);
        status["lane"] = json!("personal");
        let event = json!({ "number": 2, "at": "2026-11-22T10:00:02.25Z", "kind": "lane_switched",
            "severity": "warning", "grant": null, "text": "oauth-mtls to personal, by ada: 401s" });
        status["events"].as_array_mut().unwrap().push(event);
        status
    }

    #[test]
    fn time_and_traffic_alone_are_no_change() {
        let mut told = Told::default();
        assert_eq!(told.document(&status(0)), Some(status(0).to_string()));
        assert_eq!(told.document(&status(1)), None);
        assert_eq!(told.document(&switched(2)), Some(switched(2).to_string()));
        assert_eq!(told.document(&switched(3)), None);
    }

    #[test]
    fn each_change_is_a_line() {
        let mut told = Told::default();
        let mut lines = told.lines(&status(0));
        lines.extend(told.lines(&status(1)));
        lines.extend(told.lines(&switched(2)));
        let mut dead = switched(3);
        dead["ready"] = json!(false);
        dead["reasons"] = json!(["grant main: run `login`"]);
        lines.extend(told.lines(&dead));
        lines.extend(told.lines(&dead));
        insta::assert_snapshot!(lines.join("\n"), @"
        2026-11-22 10:00:00  lane oauth-mtls, version 0.1.0
        2026-11-22 10:00:00  ready
        2026-11-22 10:00:02  warning  lane switched: oauth-mtls to personal, by ada: 401s
        2026-11-22 10:00:03  NOT READY: grant main: run `login`
        ");
    }

    #[test]
    fn a_proxy_that_was_started_again_has_its_events_told_from_the_first() {
        let mut told = Told::default();
        told.lines(&switched(0));
        told.is_gone = true;
        let mut again = status(5);
        again["started"] = json!("2026-11-22T10:00:04Z");
        let lines = told.lines(&again);
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(lines[0].contains("lane oauth-mtls"), "{lines:?}");
        assert!(lines[1].contains("started: serving"), "{lines:?}");
    }

    #[test]
    fn a_picture_says_when_it_is_old() {
        let text = picture(&status(7), Some("no proxy listens on /run/admin.sock"));
        let text = anstream::adapter::strip_str(&text).to_string();
        assert!(
            text.starts_with("no proxy listens on /run/admin.sock; this was so at 10:00:07 UTC\n"),
            "{text}"
        );
    }
}
