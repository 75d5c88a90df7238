//! `webhook subscribe`: has Wise send events to a receiver, each once.

use anyhow::anyhow;
use serde_json::{Value, json};

use super::super::args::Global;
use super::super::failure::{Exit, Failure};
use super::super::line::Line;
use super::super::report::{self, Progress};
use super::super::run::control_runtime;
use super::args::{SubscribeArgs, Whose};
use super::desk::{Desk, holders};
use super::receiver::{self, is_same};
use super::{line, shown, subscription_json};
use crate::config::Config;
use crate::wise::webhook::{
    EVENTS, Event, Order, OrderedDelivery, Scope, Subscription, is_retiring,
};

pub(super) fn run(global: &Global, args: &SubscribeArgs) -> Result<(), Failure> {
    let config = global.load()?.config;
    receiver::check(&args.url, config.environment)?;
    let wishes = wishes(global, args)?;
    let line = line(&config)?;
    let mut outcomes = Vec::new();
    let failure = control_runtime()?.block_on(async {
        let mut progress = Progress::new();
        let desk = open(global, &config, &line, &args.whose, &mut progress).await?;
        let listed = progress
            .along("asking Wise what there is", desk.list(&line))
            .await;
        let there = listed
            .map_err(|error| desk.failed(global, "Wise does not show the subscriptions", error))?;
        for wish in &wishes {
            let work = wish.settle(global, args, &config, &line, &desk, &there);
            let doing = format!("subscribing to {}", wish.event);
            match progress.along(&doing, work).await {
                Ok(outcome) => outcomes.push((outcome, desk.scope.clone())),
                Err(failure) => return Ok(Some(failure)),
            }
        }
        Ok::<_, Failure>(None)
    })?;
    // Also what was done before one failed.
    for (outcome, _) in &outcomes {
        report::say(&outcome.told(args));
        if let Some(next) = outcome.next(global, &config) {
            report::say(&format!("next: {next}"));
        }
    }
    if args.json {
        let outcomes = outcomes.iter().map(|(outcome, scope)| outcome.json(scope));
        report::json(&json!({ "subscriptions": outcomes.collect::<Vec<_>>() }))?;
    } else if !outcomes.is_empty() {
        let ids: Vec<_> = outcomes
            .iter()
            .map(|(it, _)| shown(&it.subscription.id))
            .collect();
        report::data(&ids.join("\n"))?;
    }
    if let Some(failure) = failure {
        return Err(failure);
    }
    let differing = outcomes.iter().filter(|(it, _)| it.state == State::Differs);
    let differing: Vec<_> = differing.map(|(it, _)| it.difference(args)).collect();
    if differing.is_empty() {
        return Ok(());
    }
    let error = anyhow!(
        "what is there is not what was asked for\n  {}",
        differing.join("\n  ")
    );
    Err(Failure::new(Exit::Failed, error).hint(
        "--replace makes the new one and then ends the old: events come twice for a moment, and what \
         Wise still tries again for the old one ends with it",
    ))
}

/// An event that is wished for, in a version.
struct Wish {
    event: String,
    version: String,
}

/// What is wished for, once it is known to make sense: before Wise is asked for anything.
fn wishes(global: &Global, args: &SubscribeArgs) -> Result<Vec<Wish>, Failure> {
    let of_profile = args.whose.profile.is_some() || args.whose.grant.is_some();
    let mut wishes: Vec<Wish> = Vec::new();
    for name in &args.events {
        if wishes.iter().any(|wish| wish.event == *name) {
            continue;
        }
        let version = match Event::named(name) {
            Some(event) => version(event, args, of_profile)?,
            None if args.unlisted => args.version.clone().ok_or_else(|| {
                let error = anyhow!("it is not known which versions {name} has");
                Failure::new(Exit::Usage, error).hint("name one with --version")
            })?,
            None => return Err(unknown(global, name)),
        };
        wishes.push(Wish {
            event: name.clone(),
            version,
        });
    }
    Ok(wishes)
}

fn version(event: &Event, args: &SubscribeArgs, of_profile: bool) -> Result<String, Failure> {
    let name = event.name;
    let (allowed, only) = if of_profile {
        (
            event.profile,
            "applications alone: leave --profile and --grant out",
        )
    } else {
        (event.application, "profiles alone: name one with --profile")
    };
    if !allowed && !args.unlisted {
        let error = anyhow!("{name} is not for this kind of subscription");
        return Err(Failure::new(Exit::Usage, error).hint(format!("it is for {only}")));
    }
    let Some(asked) = &args.version else {
        return Ok(event.usual_version().to_owned());
    };
    let knows = event.versions.is_empty() || event.versions.contains(&asked.as_str());
    if !knows && !args.unlisted {
        let error = anyhow!("{name} has no schema version {asked}");
        let versions = event.versions.join(", ");
        return Err(Failure::new(Exit::Usage, error).hint(format!("it has {versions}")));
    }
    Ok(asked.clone())
}

fn unknown(global: &Global, name: &str) -> Failure {
    let group = name
        .split('#')
        .next()
        .unwrap_or_default()
        .to_ascii_lowercase();
    let group = group.trim_end_matches('s');
    let near = EVENTS.iter().filter(|event| {
        let own = event.name.split('#').next().unwrap_or_default();
        !group.is_empty() && own.trim_end_matches('s') == group
    });
    let near: Vec<_> = near.map(|event| event.name).collect();
    let all = format!(
        "{} names them all; --unlisted asks Wise all the same",
        global.spell("webhook events")
    );
    let failure = Failure::new(Exit::Usage, anyhow!("there is no event {}", shown(name)));
    if near.is_empty() {
        failure.hint(all)
    } else {
        let near = format!("there are {}", near.join(", "));
        failure.hint(near).hint(all)
    }
}

/// The desk that is meant: the application's, unless a profile or a grant is named.
async fn open(
    global: &Global,
    config: &Config,
    line: &Line,
    whose: &Whose,
    progress: &mut Progress,
) -> Result<Desk, Failure> {
    if whose.profile.is_none() && whose.grant.is_none() {
        let asking = Desk::application(line, config);
        return progress.along("asking Wise for a token", asking).await;
    }
    let holders = holders(config, &line.errand.store, whose)?;
    let holder = holders.first().ok_or_else(|| {
        let list = global.spell("config show");
        Failure::usage("there is no such grant").hint(format!("{list} lists those there are"))
    })?;
    Desk::profile(global, line, holder)
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    /// There was none.
    Made,
    /// There was one, and it is what is wished for.
    Exists,
    /// There was another, which is ended.
    Replaced,
    /// There is another, which must not end yet: a webhook takes its deliveries and not the new one's.
    Beside,
    /// There is another.
    Differs,
}

impl State {
    fn name(self) -> &'static str {
        match self {
            Self::Made => "made",
            Self::Exists => "exists",
            Self::Replaced => "replaced",
            Self::Beside => "beside",
            Self::Differs => "differs",
        }
    }
}

struct Outcome {
    state: State,
    event: String,
    /// Which was wished for.
    version: String,
    subscription: Subscription,
    /// The id of the one that was replaced, or is to be.
    old: Option<String>,
}

impl Wish {
    async fn settle(
        &self,
        global: &Global,
        args: &SubscribeArgs,
        config: &Config,
        line: &Line,
        desk: &Desk,
        there: &[Subscription],
    ) -> Result<Outcome, Failure> {
        let outcome = |state, subscription, old| Outcome {
            state,
            event: self.event.clone(),
            version: self.version.clone(),
            subscription,
            old,
        };
        let same = there
            .iter()
            .filter(|one| one.trigger_on == self.event && is_same(&one.delivery.url, &args.url));
        let same: Vec<_> = same.collect();
        if let Some(fits) = same.iter().find(|one| self.is_met(one, args)) {
            return Ok(outcome(State::Exists, (*fits).clone(), None));
        }
        let old = same.first().copied();
        if let Some(old) = old.filter(|_| !args.replace) {
            return Ok(outcome(State::Differs, old.clone(), None));
        }
        let usual = format!("wise-auth-proxy {}", self.event);
        let order = Order {
            name: args.name.as_deref().unwrap_or(&usual),
            trigger_on: &self.event,
            delivery: OrderedDelivery {
                version: &self.version,
                url: &args.url,
                mtls_enabled: args.mtls,
            },
        };
        let made = desk.make(line, &order).await.map_err(|error| {
            let what = format!("{} of {} is not subscribed to", self.event, desk.name());
            desk.failed(global, &what, error)
        })?;
        let Some(old) = old else {
            return Ok(outcome(State::Made, made, None));
        };
        if config.webhooks.iter().any(|webhook| webhook.names(&old.id)) {
            return Ok(outcome(State::Beside, made, Some(old.id.clone())));
        }
        desk.delete(line, &old.id).await.map_err(|error| {
            let (old, new) = (shown(&old.id), shown(&made.id));
            let what = format!("{new} is made, but {old}, which it replaces, is not ended");
            let failure = desk.failed(global, &what, error);
            failure.hint(format!(
                "end it with {}",
                global.spell(&format!("webhook delete {old}"))
            ))
        })?;
        Ok(outcome(State::Replaced, made, Some(old.id.clone())))
    }

    /// Whether one that is there is all that was asked for.
    fn is_met(&self, one: &Subscription, args: &SubscribeArgs) -> bool {
        let version = one.delivery.version.as_deref();
        // Unsaid, the version that is there does, unless Wise is retiring it.
        let stays = !args.replace || !version.is_some_and(is_retiring);
        let version_fits = match &args.version {
            Some(asked) => version == Some(asked),
            None if stays => true,
            None => version == Some(&self.version),
        };
        version_fits && (!args.mtls || one.delivery.mtls_enabled == Some(true))
    }
}

impl Outcome {
    fn told(&self, args: &SubscribeArgs) -> String {
        let (event, id) = (&self.event, shown(&self.subscription.id));
        let url = &args.url;
        match self.state {
            State::Made => format!(
                "Wise sends {event}, version {}, to {url}: {id}",
                self.version
            ),
            State::Exists => {
                let delivery = &self.subscription.delivery;
                let old = delivery.version.as_deref().filter(|it| is_retiring(it));
                let old = old.map_or_else(String::new, |old| {
                    format!(
                        ", of version {old}, which Wise is retiring: --replace makes a newer one"
                    )
                });
                format!("{event} to {url}: there is a subscription already, {id}{old}")
            }
            State::Replaced => format!(
                "Wise sends {event}, version {}, to {url}: {id}, in the place of {}",
                self.version,
                self.shown_old()
            ),
            State::Beside => format!(
                "Wise sends {event}, version {}, to {url}: {id}, beside {}, which goes on",
                self.version,
                self.shown_old()
            ),
            State::Differs => format!("{event} to {url}: there is another subscription, {id}"),
        }
    }

    fn shown_old(&self) -> String {
        shown(self.old.as_deref().unwrap_or_default())
    }

    /// What has deliveries of the subscription taken, where a webhook takes those it names alone.
    fn next(&self, global: &Global, config: &Config) -> Option<String> {
        let id = &self.subscription.id;
        let (new, old) = (shown(id), self.shown_old());
        let reload = global.spell("reload");
        let mut webhooks = config.webhooks.iter();
        match self.state {
            State::Beside => webhooks
                .find(|it| self.old.as_deref().is_some_and(|old| it.names(old)))
                .map(|it| {
                    let delete = global.spell(&format!("webhook delete {old}"));
                    format!(
                        "put {new} beside {old} in webhook.subscriptions of `{}`, {reload}, and only then \
                         {delete}: until then deliveries of {new} are refused",
                        it.name
                    )
                }),
            State::Made | State::Exists => {
                // Which of them the address leads to is not known here.
                let known = config.webhooks.iter().any(|webhook| webhook.names(id));
                webhooks
                    .find(|it| !known && !it.subscriptions.is_empty())
                    .map(|it| {
                        format!(
                            "`{}` takes deliveries of the subscriptions it names alone: where it is the \
                             receiver, put {new} into its webhook.subscriptions, and {reload}",
                            it.name
                        )
                    })
            }
            State::Replaced | State::Differs => None,
        }
    }

    /// What is there in the place of what was asked for.
    fn difference(&self, args: &SubscribeArgs) -> String {
        let delivery = &self.subscription.delivery;
        let version = delivery.version.as_deref().unwrap_or("unknown");
        let mtls = if args.mtls && delivery.mtls_enabled != Some(true) {
            ", without a client certificate"
        } else {
            ""
        };
        format!(
            "{} {}: version {}{mtls}",
            self.event,
            shown(&self.subscription.id),
            shown(version)
        )
    }

    fn json(&self, scope: &Scope) -> Value {
        let mut json = subscription_json(scope, &self.subscription);
        json.insert("state".into(), self.state.name().into());
        let (beside, replaced) = match self.state {
            State::Beside => (&self.old, &None),
            State::Made | State::Exists | State::Replaced | State::Differs => (&None, &self.old),
        };
        json.insert("replaced".into(), json!(replaced));
        json.insert("beside".into(), json!(beside));
        Value::Object(json)
    }
}
