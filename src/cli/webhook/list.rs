//! `webhook list`: what Wise sends where, what of it can move, and what is of an old version.

use anyhow::anyhow;
use serde_json::{Value, json};

use super::super::args::Global;
use super::super::failure::{Exit, Failure};
use super::super::line::Line;
use super::super::report::{self, Progress};
use super::super::run::control_runtime;
use super::super::spelling;
use super::args::{ListArgs, Whose};
use super::desk::{Desk, Holder, holders};
use super::receiver::is_same;
use super::{desk, line, scope_json, shown, subscription_json};
use crate::config::Config;
use crate::wise::webhook::{Event, Scope, Subscription, is_retiring};

pub(super) fn run(global: &Global, args: &ListArgs) -> Result<(), Failure> {
    let config = global.load()?.config;
    let line = line(&config)?;
    let all = control_runtime()?.block_on(look(global, &config, &line, &args.whose))?;
    if args.json {
        report::json(&all.json())?;
    } else {
        let head = [
            "id", "whose", "event", "version", "mtls", "created", "url", "note",
        ];
        let mut rows = vec![head.map(str::to_owned).to_vec()];
        rows.extend(all.found.iter().map(|found| all.row(found)));
        report::data(&report::table(&rows))?;
    }
    for advice in all.advice(global, &config) {
        report::say(&advice);
    }
    all.complete()
}

/// A subscription, and whose it is.
pub(super) struct Found {
    pub(super) scope: Scope,
    pub(super) subscription: Subscription,
}

/// What Wise showed, and what it did not.
pub(super) struct All {
    pub(super) desks: Vec<Desk>,
    pub(super) found: Vec<Found>,
    pub(super) unread: Vec<Unread>,
    /// Whether the application's own were looked at.
    knows_application: bool,
}

/// Subscriptions that Wise did not show.
pub(super) struct Unread {
    whose: String,
    failure: Failure,
}

/// Asks for all that are meant. What cannot be had of one scope hides no other.
pub(super) async fn look(
    global: &Global,
    config: &Config,
    line: &Line,
    whose: &Whose,
) -> Result<All, Failure> {
    let mut all = All {
        desks: Vec::new(),
        found: Vec::new(),
        unread: Vec::new(),
        knows_application: false,
    };
    let mut progress = Progress::new();
    let of_profiles = whose.profile.is_some() || whose.grant.is_some();
    if !of_profiles {
        let asking = Desk::application(line, config);
        let desk = progress.along("asking Wise for a token", asking).await;
        all.read(global, line, &mut progress, "application", desk)
            .await;
    }
    if !whose.application {
        for holder in holders(config, &line.errand.store, whose)? {
            let desk = Desk::profile(global, line, &holder);
            all.read(global, line, &mut progress, &of(&holder), desk)
                .await;
        }
    }
    Ok(all)
}

fn of(holder: &Holder<'_>) -> String {
    match &holder.profile {
        Some(profile) => format!("profile {profile}"),
        None => format!("grant {}", holder.grant.name),
    }
}

impl All {
    async fn read(
        &mut self,
        global: &Global,
        line: &Line,
        progress: &mut Progress,
        whose: &str,
        desk: Result<Desk, Failure>,
    ) {
        let listed = match desk {
            Err(failure) => Err(failure),
            Ok(desk) => {
                let doing = format!("asking Wise what it sends of {whose}");
                let listed = progress.along(&doing, desk.list(line)).await;
                let what = "Wise does not show the subscriptions";
                let listed = listed.map_err(|error| desk.failed(global, what, error));
                listed.map(|listed| (desk, listed))
            }
        };
        match listed {
            Err(failure) => self.unread.push(Unread {
                whose: whose.to_owned(),
                failure,
            }),
            // Several grants may be for one profile.
            Ok((desk, _)) if self.desks.iter().any(|other| other.scope == desk.scope) => {}
            Ok((desk, listed)) => {
                self.knows_application |= matches!(desk.scope, Scope::Application { .. });
                self.found
                    .extend(listed.into_iter().map(|subscription| Found {
                        scope: desk.scope.clone(),
                        subscription,
                    }));
                self.desks.push(desk);
            }
        }
    }

    /// The application's subscription of the same event and receiver.
    fn twin(&self, of: &Subscription) -> Option<&Subscription> {
        let mut found = self.found.iter();
        let twin = found.find(|other| {
            matches!(other.scope, Scope::Application { .. })
                && other.subscription.trigger_on == of.trigger_on
                && is_same(&other.subscription.delivery.url, &of.delivery.url)
        });
        twin.map(|twin| &twin.subscription)
    }

    /// The webhook that takes deliveries of a profile's subscription by its name, and not of the
    /// application's; with both.
    fn refused<'a>(
        &'a self,
        config: &'a Config,
        found: &'a Found,
    ) -> Option<(&'a str, &'a Subscription, &'a Subscription)> {
        let own = &found.subscription;
        let twin = self.twin(own)?;
        let mut webhooks = config.webhooks.iter();
        let webhook = webhooks.find(|it| it.names(&own.id) && !it.names(&twin.id))?;
        Some((&webhook.name, own, twin))
    }

    fn row(&self, found: &Found) -> Vec<String> {
        let subscription = &found.subscription;
        let delivery = &subscription.delivery;
        let mut notes = Vec::new();
        if found.can_move() {
            notes.push(match self.twin(subscription) {
                Some(_) => "the application has it too",
                None => "can move to the application",
            });
        }
        if found.is_retiring() {
            notes.push("version is being retired");
        }
        let text = |text: Option<&String>| text.map_or_else(|| "-".to_owned(), |it| shown(it));
        vec![
            shown(&subscription.id),
            desk::name(&found.scope),
            shown(&subscription.trigger_on),
            text(delivery.version.as_ref()),
            match delivery.mtls_enabled {
                Some(true) => "yes".to_owned(),
                Some(false) => "no".to_owned(),
                None => "-".to_owned(),
            },
            text(subscription.created_at.as_ref()),
            shown(&delivery.url),
            notes.join("; "),
        ]
    }

    fn json(&self) -> Value {
        let found = self.found.iter().map(|found| {
            let twin = self.twin(&found.subscription);
            let twin = twin.filter(|_| found.can_move());
            let mut json = subscription_json(&found.scope, &found.subscription);
            json.insert("can_move".into(), found.can_move().into());
            json.insert("moved_to".into(), json!(twin.map(|twin| &twin.id)));
            json.insert("retiring".into(), found.is_retiring().into());
            Value::Object(json)
        });
        let unread = self.unread.iter().map(|unread| {
            let hint = unread.failure.hints().first();
            json!({ "whose": unread.whose, "error": unread.why(), "hint": hint })
        });
        let scopes = self.desks.iter().map(|desk| scope_json(&desk.scope));
        json!({
            "subscriptions": found.collect::<Vec<_>>(),
            "read": scopes.collect::<Vec<_>>(),
            "unread": unread.collect::<Vec<_>>(),
        })
    }

    /// What there is to do about them.
    fn advice(&self, global: &Global, config: &Config) -> Vec<String> {
        let mut advice = Vec::new();
        let moving = self.found.iter().filter(|found| found.can_move());
        let (done, open): (Vec<_>, Vec<_>) =
            moving.partition(|found| self.twin(&found.subscription).is_some());
        if let Some(first) = open.first() {
            let subscription = &first.subscription;
            let command = format!(
                "webhook subscribe {} --url {}",
                spelling::word(&shown(&subscription.trigger_on)),
                spelling::word(&shown(&subscription.delivery.url))
            );
            let which = if self.knows_application {
                "can move to the application"
            } else {
                "can move to the application, if it has them not yet"
            };
            let between = if config.webhooks.iter().all(|it| it.subscriptions.is_empty()) {
                ""
            } else {
                " its id into webhook.subscriptions, a reload,"
            };
            advice.push(format!(
                "{} of profiles {which}, which hears of every profile that it acts for; such as {},{between} \
                 and then {}",
                open.len(),
                global.spell(&command),
                global.spell(&format!("webhook delete {}", shown(&subscription.id)))
            ));
        }
        // Who ends these first loses what comes until somebody sees it.
        let shut: Vec<_> = done
            .iter()
            .filter_map(|it| self.refused(config, it))
            .collect();
        if let Some((webhook, own, twin)) = shut.first() {
            let (own, twin) = (shown(&own.id), shown(&twin.id));
            advice.push(format!(
                "{} of profiles the application has too, and a webhook refuses the application's: put {twin} \
                 beside {own} in webhook.subscriptions of `{webhook}`, {}, and only then {}",
                shut.len(),
                global.spell("reload"),
                global.spell(&format!("webhook delete {own}"))
            ));
        }
        let twice = done.iter().filter(|it| self.refused(config, it).is_none());
        let twice: Vec<_> = twice.collect();
        if let Some(first) = twice.first() {
            advice.push(format!(
                "{} of profiles the application has too: each event comes twice until {}",
                twice.len(),
                global.spell(&format!("webhook delete {}", shown(&first.subscription.id)))
            ));
        }
        let old = self.found.iter().filter(|found| found.is_retiring());
        let old: Vec<_> = old.collect();
        if let Some(first) = old.first() {
            let whose = match &first.scope {
                Scope::Application { .. } => String::new(),
                Scope::Profile(profile) => format!(" --profile {profile}"),
            };
            let command = format!(
                "webhook subscribe {} --url {}{whose} --replace",
                spelling::word(&shown(&first.subscription.trigger_on)),
                spelling::word(&shown(&first.subscription.delivery.url))
            );
            advice.push(format!(
                "{} of a schema version that Wise is retiring: once the receiver reads the newer one, \
                 such as {}",
                old.len(),
                global.spell(&command)
            ));
        }
        advice
    }

    /// Fails if Wise did not show everything that was meant.
    pub(super) fn complete(self) -> Result<(), Failure> {
        let mut unread = self.unread;
        if unread.len() == 1 {
            let Unread { whose, mut failure } = unread.remove(0);
            failure.error = failure.error.context(format!("not shown: {whose}"));
            return Err(failure);
        }
        let mut hints: Vec<String> = Vec::new();
        let mut missing = Vec::new();
        for Unread { whose, failure } in unread {
            missing.push(format!("{whose}: {}", Unread::said(&failure)));
            let new = failure.hints().iter().filter(|hint| !hints.contains(hint));
            let new: Vec<_> = new.cloned().collect();
            hints.extend(new);
        }
        if missing.is_empty() {
            return Ok(());
        }
        let error = anyhow!("not everything is shown\n  {}", missing.join("\n  "));
        Err(Failure::new(Exit::Failed, error).hints(hints, "try again"))
    }
}

impl Unread {
    fn why(&self) -> String {
        Self::said(&self.failure)
    }

    fn said(failure: &Failure) -> String {
        let causes: Vec<_> = failure.error.chain().map(ToString::to_string).collect();
        causes.join(": ")
    }
}

impl Found {
    /// Whether the application could have it in the place of the profile.
    fn can_move(&self) -> bool {
        matches!(self.scope, Scope::Profile(_))
            && Event::named(&self.subscription.trigger_on).is_some_and(|event| event.application)
    }

    fn is_retiring(&self) -> bool {
        let version = self.subscription.delivery.version.as_deref();
        version.is_some_and(is_retiring)
    }
}
