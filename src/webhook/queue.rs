//! The thread that owns a queue's file.
//!
//! What is asked of it while it syncs is done next, all of it in one transaction: many deliveries
//! that arrive at once wait for one sync. A file that cannot be used is tried again and again, so
//! that what an operator mends takes effect by itself; until then everything asked is refused.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::{Notify, oneshot};

use super::shelf::{Change, Made, Outcome, Rules, Shelf, ShelfError, Stock, Waiting};
use crate::clock::Clock;

/// A file that could not be used is tried again after this long.
const AGAIN: Duration = Duration::from_secs(1);

/// So many things that were asked go into one transaction.
const AT_ONCE: usize = 64;

/// Who asks for a change is told nothing good after this long: Wise waits five seconds for its answer.
const LIMIT: Duration = Duration::from_secs(3);

/// Without any change the file's time goes on, and what is old is forgotten, this often.
const TURN: Duration = Duration::from_hours(1);

const OVERDUE: &str = "the disk has not taken a change for 3 s; what was asked may still be done";
const DEAD: &str = "what keeps deliveries has died; start the proxy again, and report it";

/// Nothing was done, as far as is known.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum QueueError {
    #[error(transparent)]
    Shelf(#[from] ShelfError),
    #[error("{OVERDUE}")]
    TimedOut,
    #[error("the disk has failed, and whether it has the delivery is not known")]
    Unsure,
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
pub(super) struct Queue {
    jobs: Sender<Job>,
    board: Arc<Board>,
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Queue").finish_non_exhaustive()
    }
}

/// What the thread is made of.
pub(super) struct Setting {
    pub(super) name: String,
    pub(super) path: PathBuf,
    pub(super) clock: Arc<dyn Clock>,
    /// What holds at this moment.
    pub(super) limits: Box<dyn Fn() -> Limits + Send>,
    /// Told when there may be something to forward.
    pub(super) news: Arc<Notify>,
    /// Told what is wrong with the file, once for each trouble.
    pub(super) trouble: Box<dyn Fn(&str) + Send + Sync>,
    /// Told the id of each delivery that had been set aside and was deleted.
    pub(super) expired: Box<dyn Fn(&str) + Send>,
}

/// How much is kept, and how long.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) window: Duration,
    pub(super) most: usize,
}

/// What both sides of the thread know.
struct Board {
    name: String,
    state: Mutex<State>,
    trouble: Box<dyn Fn(&str) + Send + Sync>,
}

#[derive(Default)]
struct State {
    standing: Standing,
    /// When each change that has no answer was asked for.
    asked: VecDeque<Instant>,
    /// It was told that the first of them is overdue.
    told: bool,
}

impl State {
    fn is_overdue(&self) -> bool {
        self.asked.front().is_some_and(|at| at.elapsed() >= LIMIT)
    }
}

impl Board {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that a change is asked for. While another is overdue nothing more is: it would only lie in
    /// memory.
    fn ask(&self) -> Result<(), QueueError> {
        let mut state = self.lock();
        if state.is_overdue() {
            return Err(QueueError::TimedOut);
        }
        state.asked.push_back(Instant::now());
        Ok(())
    }

    /// Notes that so many have their answer.
    fn answered(&self, count: usize) {
        let mut state = self.lock();
        let count = count.min(state.asked.len());
        state.asked.drain(..count);
        if state.told && !state.is_overdue() {
            state.told = false;
            tracing::info!(webhook = self.name, "the disk takes changes again");
        }
    }

    /// Tells once that a change is overdue.
    fn late(&self) {
        let is_news = {
            let mut state = self.lock();
            let is_news = state.is_overdue() && !state.told;
            state.told |= is_news;
            is_news
        };
        if is_news {
            (self.trouble)(OVERDUE);
        }
    }

    fn fail(&self, text: &str) {
        let before = self.lock().standing.error.replace(text.to_owned());
        if before.as_deref() != Some(text) {
            (self.trouble)(text);
        }
    }

    fn recovered(&self, stock: Stock) {
        let mut state = self.lock();
        state.standing.stock = stock;
        if state.standing.error.take().is_some() {
            tracing::info!(webhook = self.name, "the queue can be used again");
        }
    }
}

impl Queue {
    /// Starts the thread. On return it has tried to open the file.
    pub(super) fn start(setting: Setting) -> std::io::Result<(Self, JoinHandle<()>)> {
        let board = Arc::new(Board {
            name: setting.name,
            state: Mutex::default(),
            trouble: setting.trouble,
        });
        let (jobs, asked) = mpsc::channel();
        let (ready, opened) = mpsc::channel();
        let mut keeper = Keeper {
            path: setting.path,
            limits: setting.limits,
            news: setting.news,
            expired: setting.expired,
            board: Arc::clone(&board),
            changed: setting.clock.boot(),
            clock: setting.clock,
            shelf: None,
            tried: None,
        };
        let name = format!("webhook-{}", board.name);
        let witness = Arc::clone(&board);
        let thread = std::thread::Builder::new().name(name).spawn(move || {
            let life = catch_unwind(AssertUnwindSafe(move || {
                let _ = keeper.open();
                drop(ready);
                keeper.work(&asked);
            }));
            // What was asked of it is refused by then, and so is what comes.
            if life.is_err() {
                witness.lock().asked.clear();
                witness.fail(DEAD);
            }
        })?;
        // It ends with an error, as nothing is ever sent.
        let _ = opened.recv_timeout(Duration::from_secs(5)) as Result<(), _>;
        Ok((Self { jobs, board }, thread))
    }

    /// Makes a change. When this returns well it is on the disk.
    ///
    /// Dropping the future leaves the change being made, and so does the limit: what was asked for in vain
    /// may be done, and asking again does it once.
    pub(super) async fn make(&self, change: Change) -> Result<Outcome, QueueError> {
        self.board.ask()?;
        let (reply, outcome) = oneshot::channel();
        let sent = self.jobs.send(Job::Change(change, reply));
        if sent.is_err() {
            self.board.answered(1);
            return Err(QueueError::Ended);
        }
        let Ok(outcome) = tokio::time::timeout(LIMIT, outcome).await else {
            self.board.late();
            return Err(QueueError::TimedOut);
        };
        outcome.unwrap_or(Err(QueueError::Ended))
    }

    /// What has waited longest. Cancel safe.
    pub(super) async fn first(&self) -> Result<Option<Waiting>, QueueError> {
        let (reply, first) = oneshot::channel();
        let sent = self.jobs.send(Job::First(reply));
        sent.map_err(|_| QueueError::Ended)?;
        first.await.unwrap_or(Err(QueueError::Ended))
    }

    pub(super) fn standing(&self) -> Standing {
        let state = self.board.lock();
        let mut standing = state.standing.clone();
        if state.is_overdue() {
            standing.error.get_or_insert_with(|| OVERDUE.to_owned());
        }
        standing
    }
}

struct Keeper {
    path: PathBuf,
    clock: Arc<dyn Clock>,
    limits: Box<dyn Fn() -> Limits + Send>,
    news: Arc<Notify>,
    expired: Box<dyn Fn(&str) + Send>,
    board: Arc<Board>,
    /// When the file was last changed, by the boot clock.
    changed: Duration,
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
                    if self.open().is_ok() && self.elapsed() >= TURN {
                        let _ = self.apply(&[]);
                    }
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => return,
            };
            match job {
                Job::First(reply) => {
                    let _ = reply.send(self.first());
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
        let applied = self.apply(&changes);
        self.board.answered(replies.len());
        match applied {
            Ok((outcomes, again)) => {
                for (reply, outcome) in replies.into_iter().zip(outcomes) {
                    // What is here may be of the attempt that failed, and then only in memory. When Wise
                    // sends it again, it is judged anew.
                    let unsure = again && outcome == Outcome::Duplicate;
                    let said = if unsure {
                        Err(QueueError::Unsure)
                    } else {
                        Ok(outcome)
                    };
                    let _ = reply.send(said);
                }
            }
            Err(error) => {
                for reply in replies {
                    let _ = reply.send(Err(error.clone().into()));
                }
            }
        }
        for reply in readers {
            let _ = reply.send(self.first());
        }
    }

    fn first(&mut self) -> Result<Option<Waiting>, QueueError> {
        Ok(self.on_shelf(Shelf::first)?.0)
    }

    /// Makes changes in one transaction. Says as well whether it took a second attempt.
    fn apply(&mut self, changes: &[Change]) -> Result<(Vec<Outcome>, bool), ShelfError> {
        let Limits { window, most } = (self.limits)();
        // In whole milliseconds, as the file counts: what is left over counts the next time.
        let elapsed = u64::try_from(self.elapsed().as_millis()).unwrap_or(u64::MAX);
        let elapsed = Duration::from_millis(elapsed);
        let rules = Rules {
            now: self.clock.wall(),
            elapsed,
            window,
            most,
        };
        let (made, again) = self.on_shelf(|shelf| shelf.make(changes, rules))?;
        let Made {
            outcomes,
            stock,
            expired,
        } = made;
        self.changed += elapsed;
        // First told, then gone from what is shown.
        for id in &expired {
            (self.expired)(id);
        }
        self.board.recovered(stock);
        self.news.notify_one();
        Ok((outcomes, again))
    }

    fn elapsed(&self) -> Duration {
        self.clock.boot().saturating_sub(self.changed)
    }

    /// Does something with the file, a second time after an error: what the last change has freed can be
    /// written to only by the next one, and on a full disk that is all the room there is. A change that
    /// was made although the library saw an error is a duplicate then, and none is made twice. Says as well
    /// whether it took the second.
    fn on_shelf<T>(
        &mut self,
        work: impl Fn(&Shelf) -> Result<T, ShelfError>,
    ) -> Result<(T, bool), ShelfError> {
        self.open()?;
        if let Ok(done) = self.attempt(&work) {
            return Ok((done, false));
        }
        self.open()?;
        let again = self.attempt(&work);
        if let Err(error) = &again {
            self.board.fail(&error.to_string());
        }
        again.map(|done| (done, true))
    }

    /// Does something with the open file. After an error it is closed: the library trusts it no more.
    fn attempt<T>(
        &mut self,
        work: &impl Fn(&Shelf) -> Result<T, ShelfError>,
    ) -> Result<T, ShelfError> {
        let path = &self.path;
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
        let path = &self.path;
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
                    self.board.recovered(stock);
                } else {
                    // That it can be opened does not say that it can be written to.
                    self.board.lock().standing.stock = stock;
                }
                self.news.notify_one();
                Ok(())
            }
            Err(error) => {
                self.board.fail(&error.to_string());
                self.tried = Some((Instant::now(), error.clone()));
                Err(error)
            }
        }
    }
}

fn unreadable(path: &Path) -> ShelfError {
    ShelfError::Damaged {
        path: path.to_owned(),
        why: "it could not be read".into(),
    }
}
