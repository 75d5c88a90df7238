//! The thread that owns a queue's file.
//!
//! What is asked of it while it syncs is done next, all of it in one transaction: many deliveries
//! that arrive at once wait for one sync. A file that cannot be used is tried again and again, so
//! that what an operator mends takes effect by itself; until then everything asked is refused.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::{Notify, oneshot};

use super::shelf::{Change, Outcome, Rules, Shelf, ShelfError, Stock, Waiting};

/// A file that could not be used is tried again after this long.
const AGAIN: Duration = Duration::from_secs(1);

/// So many things that were asked go into one transaction.
const AT_ONCE: usize = 64;

/// Nothing was done.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum QueueError {
    #[error(transparent)]
    Shelf(#[from] ShelfError),
    #[error("the queue has ended")]
    Ended,
}

enum Job {
    Change(Change, oneshot::Sender<Result<Outcome, QueueError>>),
    First(oneshot::Sender<Result<Option<Waiting>, QueueError>>),
}

/// How a queue stands.
#[derive(Clone, Debug, Default)]
pub(super) struct Standing {
    pub(super) stock: Stock,
    /// Why the file cannot be used.
    pub(super) error: Option<String>,
}

/// The way to the thread. It ends when the last of these is dropped.
#[derive(Debug)]
pub(super) struct Queue {
    jobs: Sender<Job>,
    standing: Arc<Mutex<Standing>>,
}

/// What the thread is made of.
pub(super) struct Setting {
    pub(super) name: String,
    pub(super) path: PathBuf,
    /// What holds at this moment.
    pub(super) rules: Box<dyn Fn() -> Rules + Send>,
    /// Told when there may be something to forward.
    pub(super) news: Arc<Notify>,
    /// Told what is wrong with the file, once for each trouble.
    pub(super) trouble: Box<dyn Fn(&str) + Send>,
}

impl Queue {
    /// Starts the thread. On return it has tried to open the file.
    pub(super) fn start(setting: Setting) -> std::io::Result<(Self, JoinHandle<()>)> {
        let standing = Arc::<Mutex<Standing>>::default();
        let (jobs, asked) = mpsc::channel();
        let (ready, opened) = mpsc::channel();
        let mut keeper = Keeper {
            setting,
            standing: Arc::clone(&standing),
            shelf: None,
            tried: None,
        };
        let name = format!("webhook-{}", keeper.setting.name);
        let thread = std::thread::Builder::new().name(name).spawn(move || {
            let _ = keeper.open();
            drop(ready);
            keeper.work(&asked);
        })?;
        // It ends with an error, as nothing is ever sent.
        let _ = opened.recv_timeout(Duration::from_secs(5)) as Result<(), _>;
        Ok((Self { jobs, standing }, thread))
    }

    /// Makes a change. When this returns it is on the disk.
    ///
    /// Dropping the future leaves the change being made.
    pub(super) async fn make(&self, change: Change) -> Result<Outcome, QueueError> {
        let (reply, outcome) = oneshot::channel();
        let sent = self.jobs.send(Job::Change(change, reply));
        sent.map_err(|_| QueueError::Ended)?;
        outcome.await.unwrap_or(Err(QueueError::Ended))
    }

    /// What has waited longest. Cancel safe.
    pub(super) async fn first(&self) -> Result<Option<Waiting>, QueueError> {
        let (reply, first) = oneshot::channel();
        let sent = self.jobs.send(Job::First(reply));
        sent.map_err(|_| QueueError::Ended)?;
        first.await.unwrap_or(Err(QueueError::Ended))
    }

    pub(super) fn standing(&self) -> Standing {
        let standing = self.standing.lock();
        standing.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

struct Keeper {
    setting: Setting,
    standing: Arc<Mutex<Standing>>,
    shelf: Option<Shelf>,
    /// When the file was last tried in vain, and what was wrong.
    tried: Option<(Instant, ShelfError)>,
}

impl Keeper {
    fn work(&mut self, asked: &Receiver<Job>) {
        loop {
            let job = match asked.recv_timeout(AGAIN) {
                Ok(job) => job,
                Err(RecvTimeoutError::Timeout) => {
                    let _ = self.open();
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => return,
            };
            match job {
                Job::First(reply) => {
                    let first = self.on_shelf(Shelf::first);
                    let _ = reply.send(first.map_err(QueueError::from));
                }
                Job::Change(change, reply) => self.make(change, reply, asked),
            }
        }
    }

    /// Makes a change, and with it all that were asked meanwhile.
    fn make(
        &mut self,
        change: Change,
        reply: oneshot::Sender<Result<Outcome, QueueError>>,
        asked: &Receiver<Job>,
    ) {
        let (mut changes, mut replies) = (vec![change], vec![reply]);
        let mut readers = Vec::new();
        while changes.len() < AT_ONCE
            && let Ok(job) = asked.try_recv()
        {
            match job {
                Job::Change(change, reply) => {
                    changes.push(change);
                    replies.push(reply);
                }
                Job::First(reply) => readers.push(reply),
            }
        }
        let rules = (self.setting.rules)();
        match self.on_shelf(|shelf| shelf.make(&changes, rules)) {
            Ok((outcomes, stock)) => {
                self.recovered(stock);
                for (reply, outcome) in replies.into_iter().zip(outcomes) {
                    let _ = reply.send(Ok(outcome));
                }
                self.setting.news.notify_one();
            }
            Err(error) => {
                for reply in replies {
                    let _ = reply.send(Err(error.clone().into()));
                }
            }
        }
        for reply in readers {
            let first = self.on_shelf(Shelf::first);
            let _ = reply.send(first.map_err(QueueError::from));
        }
    }

    /// Does something with the file, a second time after an error: what the last change has freed can be
    /// written to only by the next one, and on a full disk that is all the room there is. A change that
    /// was made although the library saw an error is a duplicate then, and none is made twice.
    fn on_shelf<T>(
        &mut self,
        work: impl Fn(&Shelf) -> Result<T, ShelfError>,
    ) -> Result<T, ShelfError> {
        self.open()?;
        if let Ok(done) = self.attempt(&work) {
            return Ok(done);
        }
        self.open()?;
        let again = self.attempt(&work);
        if let Err(error) = &again {
            self.fail(error);
        }
        again
    }

    /// Does something with the open file. After an error it is closed: the library trusts it no more.
    fn attempt<T>(
        &mut self,
        work: &impl Fn(&Shelf) -> Result<T, ShelfError>,
    ) -> Result<T, ShelfError> {
        let path = &self.setting.path;
        let Some(shelf) = self.shelf.take() else {
            let why = "it is closed".to_owned();
            return Err(ShelfError::Disk {
                path: path.clone(),
                why,
            });
        };
        // The library panics on what it finds damaged in places where it expects no damage.
        let done = catch_unwind(AssertUnwindSafe(|| work(&shelf)));
        let done = done.unwrap_or_else(|_| Err(unreadable(path)));
        if done.is_ok() {
            self.shelf = Some(shelf);
        } else {
            let _ = catch_unwind(AssertUnwindSafe(move || drop(shelf)));
        }
        done
    }

    /// Opens the file, unless it is open or was tried just now.
    fn open(&mut self) -> Result<(), ShelfError> {
        if self.shelf.is_some() {
            return Ok(());
        }
        if let Some((at, error)) = &self.tried
            && at.elapsed() < AGAIN
        {
            return Err(error.clone());
        }
        let path = &self.setting.path;
        let opened = catch_unwind(AssertUnwindSafe(|| {
            let shelf = Shelf::open(path)?;
            let stock = shelf.stock()?;
            Ok((shelf, stock))
        }));
        let opened = opened.unwrap_or_else(|_| Err(unreadable(path)));
        match opened {
            Ok((shelf, stock)) => {
                self.shelf = Some(shelf);
                if self.tried.take().is_some() {
                    self.recovered(stock);
                } else {
                    // That it can be opened does not say that it can be written to.
                    self.lock().stock = stock;
                }
                self.setting.news.notify_one();
                Ok(())
            }
            Err(error) => {
                self.fail(&error);
                self.tried = Some((Instant::now(), error.clone()));
                Err(error)
            }
        }
    }

    fn fail(&self, error: &ShelfError) {
        let text = error.to_string();
        let is_news = {
            let mut standing = self.lock();
            let is_news = standing.error.as_ref() != Some(&text);
            standing.error = Some(text.clone());
            is_news
        };
        if is_news {
            (self.setting.trouble)(&text);
        }
    }

    fn recovered(&self, stock: Stock) {
        let mut standing = self.lock();
        standing.stock = stock;
        if standing.error.take().is_some() {
            let webhook = self.setting.name.as_str();
            tracing::info!(webhook, "the queue can be used again");
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn unreadable(path: &Path) -> ShelfError {
    ShelfError::Damaged {
        path: path.to_owned(),
        why: "it could not be read".into(),
    }
}
