//! Reloading: on a wish (SIGHUP, the `reload` command) or when the content of a file has changed.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::admin::{Notes, ReloadAsk, ReloadNote, Reloaded};
use crate::clock::Clock;
use crate::config::{self, Config, Lane, Sources};
use crate::confinement::Confinement;
use crate::failpoint::{self, Part, Point};
use crate::proxy::{Directory, Published};
use crate::server::build::Server;
use crate::server::outfit::{self, Digest, Outfit};
use crate::server::seats::Seats;
use crate::server::token_seal::TokenSeal;
use crate::telemetry::events::{Events, Kind};
use crate::tokens::KeeperHandle;
use crate::upstream::TokenEndpoint;
use crate::webhook::Webhooks;

/// The one owner of what can be replaced while running.
pub(crate) struct Reloader {
    sources: Sources,
    clock: Arc<dyn Clock>,
    published: Published,
    endpoint: Option<Arc<TokenEndpoint>>,
    keepers: Arc<[KeeperHandle]>,
    notes: Arc<Mutex<Notes>>,
    events: Events,
    webhooks: Arc<Webhooks>,
    /// The configuration at the start: what can only change with a restart is compared with it.
    first: Config,
    /// Held by a turn of the switch: the lane in use must not change while it is looked at.
    turning: Arc<tokio::sync::Mutex<()>>,
    /// Also read at a switch, to aim the token endpoint at the new lane's host.
    current: Arc<Mutex<Current>>,
    path: Option<PathBuf>,
    confinement: Arc<Confinement>,
    token_seal: Arc<TokenSeal>,
    /// The files as they were last read, so that a poll reads nothing but them, and a lasting
    /// fault is told once.
    seen: Digest,
}

struct Current {
    /// As it stands in the file.
    config: Config,
    /// As it is in use, door by door.
    seats: Seats,
    outfit: Arc<Outfit>,
}

impl Reloader {
    pub(crate) fn new(
        server: &Server,
        keepers: Arc<[KeeperHandle]>,
        notes: Arc<Mutex<Notes>>,
        turning: Arc<tokio::sync::Mutex<()>>,
    ) -> Self {
        let current = Current {
            config: server.config.clone(),
            seats: Seats::first(&server.config),
            outfit: Arc::clone(&server.outfit),
        };
        Self {
            sources: server.sources.clone(),
            clock: Arc::clone(&server.clock),
            published: server.published.clone(),
            endpoint: server.endpoint.clone(),
            keepers,
            notes,
            events: server.events.clone(),
            webhooks: Arc::clone(&server.webhooks),
            first: server.config.clone(),
            turning,
            current: Arc::new(Mutex::new(current)),
            path: server.path.clone(),
            confinement: Arc::clone(&server.confinement),
            token_seal: Arc::clone(&server.token_seal),
            seen: outfit::files(&server.config, server.path.as_deref()),
        }
    }

    /// Makes the token endpoint follow the switch.
    pub(crate) fn follow(&self) -> impl Fn(Lane) + Send + Sync + use<> {
        let (endpoint, current) = (self.endpoint.clone(), Arc::clone(&self.current));
        move |lane| {
            let current = current.lock().unwrap_or_else(PoisonError::into_inner);
            aim(
                endpoint.as_deref(),
                &current.seats.config,
                &current.outfit,
                lane,
            );
        }
    }

    /// Reloads on wishes and on changed content until `stop`.
    pub(crate) async fn run(
        mut self,
        mut wishes: mpsc::Receiver<ReloadAsk>,
        interval: Duration,
        stop: CancellationToken,
    ) {
        let mut poll = tokio::time::interval(interval);
        poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
        poll.tick().await; // The first tick is at once, and the start has just read everything.
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                wish = wishes.recv() => {
                    let Some(reply) = wish else { return };
                    let _ = reply.send(self.reload().await);
                }
                _ = poll.tick() => {
                    failpoint::hold(Part::Control);
                    self.poll().await;
                }
            }
        }
    }

    /// Reloads if the content of any file has changed since it was last read.
    async fn poll(&mut self) {
        let (config, path) = (self.config(), self.path.clone());
        let look = tokio::task::spawn_blocking(move || outfit::files(&config, path.as_deref()));
        if let Ok(now) = look.await
            && now != self.seen
        {
            // What came of it is in the log and in the status.
            let _ = self.reload().await;
        }
    }

    fn config(&self) -> Config {
        self.current
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .config
            .clone()
    }

    /// Reads everything anew, checks it as a whole, and puts it to use or changes nothing.
    async fn reload(&mut self) -> Result<Reloaded, String> {
        let (before, old_config, old_seats) = {
            let current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
            let (config, seats) = (current.config.clone(), current.seats.clone());
            (Arc::clone(&current.outfit), config, seats)
        };
        let directory = Arc::clone(&self.published.load().directory);
        let (sources, clock, old) = (
            self.sources.clone(),
            Arc::clone(&self.clock),
            Arc::clone(&before),
        );
        let (path, last, seated) = (self.path.clone(), old_config, old_seats.clone());
        let confinement = Arc::clone(&self.confinement);
        let seal = Arc::clone(&self.token_seal);
        let read = move || {
            // Taken before the reading: a file that changes meanwhile is seen by the next poll.
            let seen = outfit::files(&last, path.as_deref());
            let config = load(&sources, path.as_deref(), &confinement);
            let outcome = config.and_then(|config| {
                let seats = seated.under(&config);
                let outfit = read(&config, &seats, &directory, &old, clock.as_ref(), &seal)?;
                Ok((config, seats, outfit))
            });
            (seen, outcome)
        };
        let outcome = match tokio::task::spawn_blocking(read).await {
            Ok((seen, outcome)) => {
                self.seen = seen;
                outcome
            }
            Err(_) => Err("the reload was interrupted".to_owned()),
        };
        failpoint::pass(Point::ReloadRead);
        let turning = Arc::clone(&self.turning);
        let held = turning.lock().await;
        let outcome = outcome.and_then(|(config, seats, outfit)| {
            self.publish(config, seats, &old_seats.config, outfit, &before)
        });
        drop(held);
        if outcome.is_ok() {
            for keeper in self.keepers.iter() {
                // What was refused before may be right now.
                keeper.nudge().await;
            }
        }
        if let Err(error) = &outcome {
            self.note(Some(error.clone()), &[]);
            tracing::error!("reload failed, everything stays as it was: {error}");
            self.events.note(
                Kind::ReloadFailed,
                None,
                format!("everything stays as it was: {error}"),
            );
        }
        outcome
    }

    fn publish(
        &mut self,
        config: Config,
        seats: Seats,
        old: &Config,
        outfit: Outfit,
        before: &Outfit,
    ) -> Result<Reloaded, String> {
        let lane = self.published.load().lane;
        if outfit.ways[lane.index()].is_none() {
            return Err(format!(
                "the lane in use, `{lane}`, would be gone; switch to another first"
            ));
        }
        if config.environment != self.first.environment {
            // Credentials of one would go to the other, and what is said to be invented money
            // would be real.
            return Err(format!(
                "environment is another, `{}`, and the credentials in use belong to `{}`; \
                 restart the proxy to use it",
                config.environment, self.first.environment
            ));
        }
        if client_id(&config) != client_id(&self.first) {
            // The new client's exchanges with the old client's grants would end those.
            return Err(
                "oauth.client_id is another, and the grants in use belong to the one \
                 before; restart the proxy to use it"
                    .to_owned(),
            );
        }
        let outfit = Arc::new(outfit);
        let replaced = replaced(before, &outfit, self.clock.as_ref());
        let mut needs_restart = seats.wanting();
        needs_restart.extend(self::needs_restart(&self.first, &config));
        let changed = changed(old, &seats.config, before, &outfit);
        let upstream = Arc::new(config.upstream.clone());
        self.published.update(|snapshot| {
            snapshot.ways.clone_from(&outfit.ways);
            snapshot.personal.clone_from(&outfit.personal);
            // By place: which doors are open, and where, is fixed at the start.
            snapshot.doors = Arc::clone(&outfit.doors);
            snapshot.policies = Arc::clone(&outfit.policies);
            snapshot.callers = Arc::clone(&outfit.callers);
            snapshot.jose = Arc::clone(&outfit.jose);
            snapshot.upstream = Arc::clone(&upstream);
            snapshot.signer.clone_from(&outfit.signer);
        });
        aim(self.endpoint.as_deref(), &seats.config, &outfit, lane);
        self.webhooks.wear(&outfit.webhooks);
        failpoint::pass(Point::ReloadPublished);
        {
            let mut notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
            notes.identity.clone_from(&outfit.identity);
            notes.admin_key.clone_from(&outfit.admin_key);
        }
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = Current {
            config,
            seats,
            outfit,
        };
        self.note(None, &needs_restart);
        tracing::info!(
            changed = changed.join(" "),
            needs_restart = needs_restart.join(" "),
            "reloaded"
        );
        let what = if changed.is_empty() {
            "nothing has changed".to_owned()
        } else {
            format!("now in use: {}", changed.join(", "))
        };
        self.events.note(Kind::Reloaded, None, what);
        if let Some(identity) = replaced {
            self.events.note(Kind::CertificateReplaced, None, identity);
        }
        Ok(Reloaded {
            changed,
            needs_restart,
        })
    }

    fn note(&self, error: Option<String>, needs_restart: &[String]) {
        let at = OffsetDateTime::from(self.clock.wall())
            .format(&Rfc3339)
            .unwrap_or_default();
        let mut notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        notes.reloads[usize::from(error.is_some())] += 1;
        notes.last_reload = Some(ReloadNote {
            at,
            error,
            needs_restart: needs_restart.to_vec(),
        });
    }
}

/// The configuration as it is now, if it names nothing that this process has given up.
fn load(
    sources: &Sources,
    path: Option<&Path>,
    confinement: &Confinement,
) -> Result<Config, String> {
    if let Some(path) = path {
        let reach = confinement.check_file(path);
        reach.map_err(|out| out.to_string())?;
    }
    let loaded = config::load(sources).map_err(|error| error.to_string())?;
    let reach = confinement.check(&loaded.config);
    reach.map_err(|out| out.to_string())?;
    Ok(loaded.config)
}

fn read(
    config: &Config,
    seats: &Seats,
    directory: &Directory,
    before: &Outfit,
    clock: &dyn Clock,
    seal: &TokenSeal,
) -> Result<Outfit, String> {
    let before_that = Some((before, &*seats.gone));
    let outfit = outfit::check(config, &seats.waiting)
        .and_then(|()| Outfit::read(&seats.config, directory, before_that, seal));
    let outfit = outfit.map_err(|error| error.to_string())?;
    // The one in use may have ended: then everything else can still be mended.
    if fingerprint(&outfit) != fingerprint(before)
        && let Some(grave) = outfit.grave_findings(config, clock).first()
    {
        return Err(format!("client certificate: {grave}"));
    }
    Ok(outfit)
}

fn aim(endpoint: Option<&TokenEndpoint>, config: &Config, outfit: &Outfit, lane: Lane) {
    let Some(endpoint) = endpoint else { return };
    match outfit.aim(config, lane) {
        Ok(Some(aim)) => endpoint.aim(aim),
        Ok(None) => {}
        Err(error) => tracing::error!("the token endpoint stays where it was: {error}"),
    }
}

/// Sections whose new values are in use now; of doors, those that are open.
fn changed(old: &Config, new: &Config, before: &Outfit, outfit: &Outfit) -> Vec<String> {
    let differs = |section: &dyn Fn(&Config) -> String| section(old) != section(new);
    let rows = [
        (
            "client certificate",
            fingerprint(before) != fingerprint(outfit),
        ),
        ("door", differs(&|c| format!("{:?}", c.doors))),
        ("caller", differs(&|c| format!("{:?}", c.callers))),
        ("jose", differs(&|c| format!("{:?}", c.jose))),
        ("policy", differs(&|c| format!("{:?}", c.policies))),
        (
            "door certificates",
            before.certificates != outfit.certificates,
        ),
        ("webhook", before.of_webhooks != outfit.of_webhooks),
        ("wise", differs(&|c| format!("{:?}{:?}", c.hosts, c.trust))),
        ("upstream", differs(&|c| format!("{:?}", c.upstream))),
        (
            "sca",
            differs(&|c| format!("{:?}", (&c.sca.key, c.sca.lanes))),
        ),
        (
            "switch.allow",
            differs(&|c| format!("{:?}", c.switch.lanes)),
        ),
        ("secrets", outfit.digest != before.digest),
    ];
    let mut names: Vec<String> = rows
        .into_iter()
        .filter(|(_, changed)| *changed)
        .map(|(name, _)| name.to_owned())
        .collect();
    // The digest covers the rest too; only alone does it mean the secrets.
    if names.len() > 1 {
        names.retain(|name| name != "secrets");
    }
    names
}

fn fingerprint(outfit: &Outfit) -> Option<&str> {
    let identity = outfit.identity.as_ref()?;
    Some(&identity.certificate().fingerprint)
}

/// What is said of a client certificate that has taken another's place.
fn replaced(before: &Outfit, outfit: &Outfit, clock: &dyn Clock) -> Option<String> {
    let [old, new] = [before, outfit].map(|outfit| outfit.identity.as_deref());
    let (old, new) = (old?, new?);
    let leaf = new.certificate();
    (old.certificate().fingerprint != leaf.fingerprint).then(|| {
        let name = leaf.common_name.as_deref().unwrap_or("nobody");
        let days = new.days_left(clock);
        format!("the client certificate of {name}, {days} days left, is in use")
    })
}

fn client_id(config: &Config) -> Option<&str> {
    config.oauth.as_ref().map(|oauth| oauth.client_id.as_str())
}

/// Which webhooks there are, and where: what of them is fixed at the start.
fn seats_of_webhooks(config: &Config) -> Vec<(&str, SocketAddr)> {
    let webhooks = config.webhooks.iter();
    webhooks
        .map(|webhook| (webhook.name.as_str(), webhook.address))
        .collect()
}

/// Sections that are read at the start only; doors are told one by one.
fn needs_restart(first: &Config, new: &Config) -> Vec<String> {
    let rows: [(&str, String, String); 12] = [
        (
            "upstream.replay_budget",
            first.upstream.replay_budget.to_string(),
            new.upstream.replay_budget.to_string(),
        ),
        (
            "grant",
            format!("{:?}", first.grants),
            format!("{:?}", new.grants),
        ),
        (
            "store",
            format!("{:?}", first.store),
            format!("{:?}", new.store),
        ),
        (
            "tokens",
            format!("{:?}", first.tokens),
            format!("{:?}", new.tokens),
        ),
        (
            "runtime",
            format!("{:?}", first.runtime),
            format!("{:?}", new.runtime),
        ),
        (
            "admin",
            format!("{:?}", (&first.admin.socket, first.admin.address)),
            format!("{:?}", (&new.admin.socket, new.admin.address)),
        ),
        (
            "audit",
            format!("{:?}", first.audit),
            format!("{:?}", new.audit),
        ),
        (
            "webhook",
            format!("{:?}", seats_of_webhooks(first)),
            format!("{:?}", seats_of_webhooks(new)),
        ),
        ("log", format!("{:?}", first.log), format!("{:?}", new.log)),
        (
            "notify",
            format!("{:?}", first.notify),
            format!("{:?}", new.notify),
        ),
        (
            "sca.approval_…",
            format!("{:?}", approvals(first)),
            format!("{:?}", approvals(new)),
        ),
        (
            "hardening",
            format!("{:?}", first.hardening),
            format!("{:?}", new.hardening),
        ),
    ];
    rows.into_iter()
        .filter(|(_, a, b)| a != b)
        .map(|(name, ..)| name.to_owned())
        .collect()
}

/// What the asking for approvals is made of.
fn approvals(config: &Config) -> impl std::fmt::Debug {
    let sca = &config.sca;
    (
        &sca.approval_command,
        &sca.approval_webhook,
        &sca.approval_authorization,
        sca.approval_wait,
        sca.max_waiting,
    )
}
