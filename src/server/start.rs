//! The start: sockets first, then keepers, workers and doors.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::admin::{self, Control, Gallery, Guesses, LaneLedger, Notes};
use crate::audit::Audit;
use crate::config::DoorAddress;
use crate::guard::{Caps, Ledger};
use crate::listener::{self, Bound, Limit, WorkerPort};
use crate::notify::{Approver, Notifier};
use crate::proxy::{self, Shared};
use crate::sca::Office;
use crate::server::build::{Server, StartError};
use crate::server::expiry;
use crate::server::readings::readings;
use crate::server::reload::Reloader;
use crate::server::running::{LAST_WORDS, Running, Thread};
use crate::server::sockets::Sockets;
use crate::server::workers::{self, Accepting, Plan};
use crate::switch::UsageStore;
use crate::telemetry::events::{Event, Kind};
use crate::telemetry::meter::Meter;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::pulse::Pulse;
use crate::telemetry::traffic::Traffic;
use crate::tokens::{Hooks, KeeperHandle, Subject, TokenView, keeper};
use crate::wise::ProfileId;

/// A store on a disk that hangs must not keep the personal lane from opening.
pub(super) const FIRST_LOOK: Duration = Duration::from_secs(2);

/// What a keeper may need at a stop beside an exchange: a lock, and tries to save.
const LONGEST_SAVE: Duration = Duration::from_secs(15);

/// A crash forgets the lanes' use of so long.
const REMEMBERED_EVERY: Duration = Duration::from_mins(1);

impl Server {
    /// Opens the doors. On return every door listens, every worker runs, and every keeper has
    /// looked into the store.
    ///
    /// Must be called within a multi-threaded runtime, which becomes the control runtime.
    pub async fn start(mut self) -> Result<Running, StartError> {
        let mut sockets = Sockets::adopt(std::mem::take(&mut self.handed))?;
        let config = &self.config;
        let doors = config.doors.iter().map(|door| sockets.open(&door.address));
        let doors: Vec<Bound> = doors.collect::<Result<_, _>>()?;
        let webhooks = config.webhooks.iter().map(|webhook| {
            let address = DoorAddress::Tcp(webhook.address);
            let opened = sockets.open(&address);
            opened.map_err(|error| StartError::Door(format!("webhook {}: {error}", webhook.name)))
        });
        let webhooks: Vec<Bound> = webhooks.collect::<Result<_, _>>()?;
        let socket = operators_socket(&config.admin.socket, &mut sockets)?;
        let page = config.admin.address;
        let page = page.map(|address| page_socket(address, &mut sockets));
        let page = page.transpose()?;
        sockets.all_used()?;
        let names: Vec<String> = doors
            .iter()
            .map(|door| door.local_address().to_string())
            .collect();
        let door_addresses = doors
            .iter()
            .filter_map(|door| door.local_address().tcp())
            .collect();
        let admin_address = page.as_ref().and_then(|page| page.local_address().tcp());

        let audit = self.audit().await?;
        let tasks = TaskTracker::new();
        // Before anything can happen: a grant that is dead at the start is told, too.
        let news = self.events.subscribe();
        let stop_scribe = CancellationToken::new();
        if let Some(audit) = audit.clone() {
            let news = self.events.subscribe();
            tasks.spawn(record(audit, news, stop_scribe.clone()));
        }
        let keepers = self.keepers(&tasks);
        // The first request finds a token, and readiness tells the truth from the start.
        let awake = futures_util::future::join_all(keepers.iter().map(KeeperHandle::awake));
        let _ = tokio::time::timeout(FIRST_LOOK, awake).await;
        let notes = Arc::new(Mutex::new(Notes {
            identity: self.outfit.identity.clone(),
            client_id: config.oauth.as_ref().map(|oauth| oauth.client_id.clone()),
            admin_key: self.outfit.admin_key.clone(),
            switch: self.last_switch.clone(),
            doors: names.clone(),
            ..Notes::default()
        }));
        let limit = Arc::new(Limit::new(listener::affordable(
            config.runtime.max_connections,
        )));
        let pulses: Arc<[Pulse]> = self.meters.iter().map(|_| Pulse::new()).collect();
        let keepers_timeout =
            config.upstream.connect_timeout + config.tokens.exchange_timeout + LONGEST_SAVE;
        let lanes = Arc::new(LaneLedger::open(
            UsageStore::new(&config.store.path),
            Arc::clone(&self.store),
            self.meters.clone(),
            Arc::clone(&self.clock),
        ));
        let notifier = Arc::new(Notifier::new(config));
        let (reloads, wishes) = mpsc::channel(4);
        let turning = Arc::default();
        let (held, told) = (Arc::clone(&turning), Arc::clone(&notes));
        let reloader = Reloader::new(&self, Arc::clone(&keepers), told, held);
        let stop_admin = CancellationToken::new();
        let traffic = Traffic::new(self.meters.clone(), Arc::clone(&self.clock));
        let traffic = Arc::new(traffic);
        let control = Arc::new_cyclic(|control: &std::sync::Weak<Control>| Control {
            published: self.published.clone(),
            keepers: Arc::clone(&keepers),
            clock: Arc::clone(&self.clock),
            store: Arc::clone(&self.store),
            switch: self.switch.clone(),
            metrics: self.metrics(control.clone(), Arc::clone(&limit)),
            traffic: Arc::clone(&traffic),
            gallery: Gallery::new(stop_admin.clone()),
            guesses: Guesses::default(),
            lanes: Arc::clone(&lanes),
            notes,
            events: self.events.clone(),
            notifier: Arc::clone(&notifier),
            audit: audit.clone(),
            webhooks: Arc::clone(&self.webhooks),
            reloads,
            on_switch: Box::new(reloader.follow()),
            turning,
            confinement: Arc::clone(&self.confinement),
            environment: config.environment,
            started: self.clock.wall(),
            pulses: Arc::clone(&pulses),
            stop_wished: CancellationToken::new(),
            longest_stop: config.runtime.drain_timeout + keepers_timeout + 2 * LAST_WORDS,
        });

        let stop_doors = CancellationToken::new();
        // A start that fails half-way takes the tasks that it has begun down again.
        let unfinished =
            [&stop_doors, &stop_admin, &stop_scribe].map(|stop| stop.clone().drop_guard());
        let drain = CancellationToken::new();
        let hurry = CancellationToken::new();
        tasks.spawn(remember(lanes, stop_doors.clone()));
        let interval = config.runtime.reload_interval;
        tasks.spawn(reloader.run(wishes, interval, stop_doors.clone()));
        tasks.spawn(expiry::watch(
            Arc::clone(&control),
            interval,
            stop_doors.clone(),
        ));

        let ledger = Ledger::at(&config.store.path);
        let (caps, fundings) = Caps::new(ledger, Arc::clone(&self.clock), self.events.clone());
        tasks.spawn(fundings.run(stop_admin.clone()));

        let office = match Approver::new(config) {
            Some(approver) => {
                let sca = &config.sca;
                let (office, desk) = Office::with_approvals(sca.approval_wait, sca.max_waiting);
                tasks.spawn(approver.run(desk, stop_admin.clone()));
                office
            }
            None => Office::without_approvals(),
        };

        let ends = Ends {
            stop_doors: &stop_doors,
            drain: &drain,
            hurry: &hurry,
        };
        let clerks = Clerks {
            audit: audit.clone(),
            doors: names.clone().into(),
        };
        let shared = Shared {
            published: self.published.clone(),
            clock: Arc::clone(&self.clock),
            keepers: Arc::clone(&keepers),
            tokens: config.tokens.clone(),
            connect_timeout: config.upstream.connect_timeout,
            caps,
            office,
        };
        let mut workers = self.workers(&shared, doors, &limit, &pulses, &ends, &clerks)?;
        // On a machine that is too busy for it they come later.
        let all_begun = futures_util::future::join_all(pulses.iter().map(Pulse::begun));
        let _ = tokio::time::timeout(FIRST_LOOK, all_begun).await;
        none_is_dead(&mut workers)?;

        let opened = self.webhooks.open(webhooks, &stop_doors).await;
        opened.map_err(|source| StartError::Io {
            what: "a webhook",
            source,
        })?;
        tasks.spawn(traffic.watch(stop_admin.clone()));
        let (clock, stop) = (Arc::clone(&self.clock), stop_admin.clone());
        tasks.spawn(async move { notifier.run(news, clock, stop).await });

        let watch = |source| StartError::Io {
            what: "the admin listener",
            source,
        };
        if let Some(socket) = socket {
            let routes = admin::over_socket(Arc::clone(&control));
            tasks.spawn(admin::serve(
                socket.incoming().map_err(watch)?,
                routes,
                stop_admin.clone(),
            ));
        }
        if let Some(page) = page {
            let routes = admin::over_tcp(Arc::clone(&control));
            tasks.spawn(admin::serve(
                page.incoming().map_err(watch)?,
                routes,
                stop_admin.clone(),
            ));
        }
        let lane = self.published.load().lane;
        tracing::info!(%lane, doors = names.join(" "), environment = %config.environment, "serving");
        let serving = format!("serving on {} in lane {lane}", names.join(", "));
        self.events.note(Kind::Started, None, serving);
        for guard in unfinished {
            guard.disarm();
        }
        Ok(Running {
            doors: names,
            door_addresses,
            admin_address,
            control,
            keepers,
            tasks,
            stop_doors,
            drain,
            hurry,
            stop_admin,
            workers,
            meters: self.meters.clone(),
            drain_timeout: config.runtime.drain_timeout,
            keepers_timeout,
            sinks: self.access.iter().chain([&self.log]).cloned().collect(),
            audit,
            stop_scribe,
        })
    }

    /// The record of who called what, if there is to be one.
    async fn audit(&self) -> Result<Option<Audit>, StartError> {
        let (config, store) = (self.config.audit.clone(), self.config.store.path.clone());
        let clock = Arc::clone(&self.clock);
        let start = move || Audit::start(&config, &store, clock);
        let started = tokio::task::spawn_blocking(start).await;
        let started = started.map_err(|source| StartError::Io {
            what: "the record",
            source: source.into(),
        })?;
        started.map_err(|error| StartError::Audit(error.to_string()))
    }

    /// One keeper a grant and one for client credentials, each in a task of its own.
    fn keepers(&self, tasks: &TaskTracker) -> Arc<[KeeperHandle]> {
        let (Some(oauth), Some(endpoint)) = (&self.config.oauth, &self.endpoint) else {
            return Arc::new([]);
        };
        let users = self.config.grants.iter().map(|grant| Subject::User {
            grant: grant.name.clone(),
            profile: grant.profile.clone(),
            client_id: oauth.client_id.clone(),
        });
        let start = |(slot, subject): (usize, Subject)| {
            let (published, meters) = (self.published.clone(), self.meters.clone());
            let hooks = Hooks {
                publish: Box::new(move |view: TokenView, profile: Option<&ProfileId>| {
                    published.update(|snapshot| snapshot.take_token(slot, &view, profile));
                }),
                unanswered: Box::new(move || {
                    let levels = meters
                        .iter()
                        .map(|meter: &Arc<Meter>| meter.unanswered[slot].read());
                    usize::try_from(levels.sum::<i64>()).unwrap_or(0)
                }),
                events: self.events.clone(),
            };
            let (handle, task) = keeper(
                subject,
                Some(Arc::clone(&self.store)),
                Arc::clone(endpoint),
                Arc::clone(&self.clock),
                self.config.tokens.clone(),
                hooks,
            );
            tasks.spawn(task);
            handle
        };
        users
            .chain([Subject::Client])
            .enumerate()
            .map(start)
            .collect()
    }

    /// Starts the workers. They end when nobody accepts for them any more.
    fn workers(
        &self,
        shared: &Shared,
        doors: Vec<Bound>,
        limit: &Arc<Limit>,
        pulses: &Arc<[Pulse]>,
        ends: &Ends<'_>,
        clerks: &Clerks,
    ) -> Result<Vec<Thread>, StartError> {
        let channels = self.meters.iter().map(|_| mpsc::unbounded_channel());
        let (mut ports, arrivals): (Vec<_>, Vec<_>) = channels
            .map(|(port, arrivals)| (WorkerPort::new(port), arrivals))
            .unzip();
        if let Some(first) = ports.first_mut() {
            *first = first.clone().of_who_accepts();
        }
        let doors = doors.into_iter().enumerate().map(|(number, bound)| {
            let (ports, limit) = (ports.clone(), Arc::clone(limit));
            let stop = ends.stop_doors.clone();
            let accept = move || listener::accept(bound, number, ports, limit, stop).boxed_local();
            Box::new(accept) as Accepting
        });
        let mut doors: Vec<Accepting> = doors.collect();
        drop(ports);
        let workers = self.meters.iter().zip(arrivals).enumerate();
        let start = |(number, (meter, arrivals)): (usize, (&Arc<Meter>, _))| {
            workers::start(Plan {
                number,
                shared: shared.clone(),
                meter: Arc::clone(meter),
                sink: self.access.clone(),
                format: self.config.log.format,
                clerk: Audit::clerk(clerks.audit.as_ref(), &clerks.doors),
                runtime: self.config.runtime.clone(),
                arrivals,
                doors: std::mem::take(&mut doors),
                drain: ends.drain.clone(),
                hurry: ends.hurry.clone(),
                pulses: Arc::clone(pulses),
            })
        };
        let started: io::Result<Vec<Thread>> = workers.map(start).collect();
        started.map_err(|source| StartError::Io {
            what: "a worker",
            source,
        })
    }

    fn metrics(&self, control: std::sync::Weak<Control>, limit: Arc<Limit>) -> Metrics {
        let log = self.log.clone();
        let read = move || {
            control
                .upgrade()
                .map(|control| readings(&control, &log, &limit))
                .unwrap_or_default()
        };
        Metrics::new(
            self.meters.clone(),
            proxy::Kind::NAMES,
            env!("CARGO_PKG_VERSION"),
            Box::new(read),
        )
    }
}

/// What makes the workers' clerks.
struct Clerks {
    audit: Option<Audit>,
    doors: Arc<[String]>,
}

/// What ends the workers, one after the other.
struct Ends<'a> {
    stop_doors: &'a CancellationToken,
    drain: &'a CancellationToken,
    hurry: &'a CancellationToken,
}

/// A worker without a runtime ends as soon as it begins.
fn none_is_dead(workers: &mut Vec<Thread>) -> Result<(), StartError> {
    let Some(dead) = workers.iter().position(JoinHandle::is_finished) else {
        return Ok(());
    };
    let outcome = workers.swap_remove(dead).join();
    let source = match outcome {
        Ok(Err(source)) => source,
        Ok(Ok(())) | Err(_) => io::Error::other("it ended at once"),
    };
    Err(StartError::Io {
        what: "a worker",
        source,
    })
}

/// The admin address, unless it was handed in.
fn page_socket(address: SocketAddr, sockets: &mut Sockets) -> Result<Bound, StartError> {
    if let Some(handed) = sockets.take(&DoorAddress::Tcp(address))? {
        return Ok(handed);
    }
    Ok(admin::bind_tcp(address)?)
}

/// Records events until there are none to come.
async fn record(audit: Audit, mut news: broadcast::Receiver<Arc<Event>>, stop: CancellationToken) {
    loop {
        let event = tokio::select! {
            biased;
            event = news.recv() => event,
            () = stop.cancelled() => return,
        };
        match event {
            Ok(event) => audit.note(&event),
            Err(RecvError::Lagged(missed)) => audit.missed(missed),
            Err(RecvError::Closed) => return,
        }
    }
}

/// Writes down what went over the lanes, while there is something to write.
async fn remember(lanes: Arc<LaneLedger>, stop: CancellationToken) {
    let pause = || tokio::time::sleep(REMEMBERED_EVERY);
    while stop.run_until_cancelled(pause()).await.is_some() {
        let lanes = Arc::clone(&lanes);
        let _ = tokio::task::spawn_blocking(move || lanes.save()).await;
    }
}

/// The admin socket; `None` on a disk that takes no new file, for which no application must wait.
fn operators_socket(path: &Path, sockets: &mut Sockets) -> Result<Option<Bound>, StartError> {
    let address = DoorAddress::Unix {
        path: path.to_owned(),
        mode: 0o600,
        owner: None,
    };
    if let Some(handed) = sockets.take(&address)? {
        return Ok(Some(handed));
    }
    match admin::bind_socket(path) {
        Err(error) if error.is_full_or_read_only() => {
            tracing::error!(
                "{error}; commands cannot reach this proxy until it is started again, with \
                 admin.socket on another disk such as /run"
            );
            Ok(None)
        }
        bound => Ok(bound.map(Some)?),
    }
}
