//! The log: lines for people or JSON, written by a thread of its own.
//!
//! A slow sink never holds a request: lines go through a bounded queue, and what finds no room is
//! dropped and counted.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::config::{Log, LogFormat};

/// Batches that may wait for the writer thread.
const QUEUE: usize = 4096;

/// A sink that never blocks its caller.
#[derive(Clone, Debug)]
pub(crate) struct Sink {
    queue: SyncSender<Message>,
    dropped: Arc<AtomicU64>,
}

enum Message {
    Lines(Vec<u8>),
    /// Written out, then answered by dropping the sender.
    Flush(SyncSender<()>),
}

impl Sink {
    /// A sink on standard error.
    pub(crate) fn stderr() -> io::Result<Self> {
        Self::over(Box::new(io::stderr()))
    }

    /// A sink that appends to a file.
    pub(crate) fn file(path: &Path) -> io::Result<Self> {
        Self::over(Box::new(append(path)?))
    }

    fn over(out: Box<dyn Write + Send>) -> io::Result<Self> {
        let (queue, messages) = sync_channel(QUEUE);
        let _: JoinHandle<()> = std::thread::Builder::new()
            .name("log".into())
            .spawn(move || write(out, &messages))?;
        Ok(Self {
            queue,
            dropped: Arc::default(),
        })
    }

    /// Queues whole lines. Returns whether there was room.
    pub(crate) fn send(&self, lines: Vec<u8>) -> bool {
        match self.queue.try_send(Message::Lines(lines)) {
            Ok(()) => true,
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => false,
        }
    }

    /// Waits until everything queued before has been written, for a second at most: nobody may be
    /// reading what we write.
    pub(crate) fn flush(&self) {
        let (done, wait) = sync_channel(1);
        if self.queue.try_send(Message::Flush(done)).is_ok() {
            let _ = wait.recv_timeout(Duration::from_secs(1));
        }
    }

    /// Lines of the log that found no room.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

fn write(mut out: Box<dyn Write + Send>, messages: &Receiver<Message>) {
    while let Ok(message) = messages.recv() {
        match message {
            // There is nobody to tell when the log itself cannot be written.
            Message::Lines(lines) => drop(out.write_all(&lines)),
            Message::Flush(done) => {
                let _ = out.flush();
                drop(done);
            }
        }
    }
}

/// Starts the process's log.
///
/// Directives that do not parse are an error, not silence.
pub(crate) fn start(log: &Log, sink: Sink, colour: bool) -> Result<(), StartError> {
    let filter = EnvFilter::builder()
        .parse(&log.level)
        .map_err(|_| StartError::Level)?;
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(Lines(sink))
        .with_target(false);
    let started = match log.format {
        LogFormat::Human => {
            tracing::subscriber::set_global_default(lines.with_ansi(colour).finish())
        }
        LogFormat::Json => tracing::subscriber::set_global_default(
            lines
                .json()
                .flatten_event(true)
                .with_current_span(false)
                .finish(),
        ),
    };
    started.map_err(|_| StartError::Twice)
}

/// The log could not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error("log.level is not a list of directives such as `info` or `info,wise_auth_proxy=debug`")]
    Level,
    #[error("the log was started twice")]
    Twice,
}

#[derive(Clone, Debug)]
struct Lines(Sink);

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        Line {
            sink: self.0.clone(),
            text: Vec::with_capacity(256),
        }
    }
}

/// One event's text, queued when dropped.
#[derive(Debug)]
struct Line {
    sink: Sink,
    text: Vec<u8>,
}

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if !self.text.is_empty() && !self.sink.send(std::mem::take(&mut self.text)) {
            self.sink.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}
