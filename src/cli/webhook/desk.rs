//! Where subscriptions of one kind are asked for, and the token that Wise wants to see there.

use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Request, StatusCode};

use super::super::args::Global;
use super::super::failure::{Exit, Failure};
use super::super::line::{CallError, Line, refused};
use super::args::Whose;
use crate::clock::{Clock as _, System};
use crate::config::{Config, Grant, ProfileId};
use crate::credentials::{FileStore, Record};
use crate::upstream::{Answer, OnceError};
use crate::wise::webhook::{Order, Scope, Subscription, TestNotification};
use crate::wise::wire;

/// New tokens of a running proxy are on the disk this soon after they came.
const SAVE: Duration = Duration::from_secs(2);

/// From one look at the store to the next.
const LOOK: Duration = Duration::from_millis(50);

/// Subscriptions of one kind.
pub(super) struct Desk {
    pub(super) scope: Scope,
    pass: Pass,
}

/// What is shown at a desk.
enum Pass {
    /// A client-credentials token of this command's own.
    Client(HeaderValue),
    /// The user token that the store has. It is never renewed here: that would end the one which a
    /// running proxy serves.
    Grant(Arc<FileStore>, Box<Record>),
}

impl Desk {
    pub(super) async fn application(line: &Line, config: &Config) -> Result<Self, Failure> {
        let client = config.oauth.as_ref().map(|oauth| oauth.client_id.clone());
        Ok(Self {
            scope: Scope::Application {
                client_key: client.unwrap_or_default(),
            },
            pass: Pass::Client(line.client_token(config).await?),
        })
    }

    pub(super) fn profile(global: &Global, line: &Line, of: &Holder<'_>) -> Result<Self, Failure> {
        let name = &of.grant.name;
        let login = global.spell(&format!("login --grant {name}"));
        let store = &line.errand.store;
        let found = store.peek(name).map_err(|error| {
            Failure::advised(Exit::Failed, &error, "`wise-auth-proxy doctor` says more")
        })?;
        let record = found.ok_or_else(|| {
            let error = anyhow!("nobody has logged in for grant {name} yet");
            Failure::new(Exit::Failed, error).hint(login.clone())
        })?;
        let profile = of.profile.clone().or_else(|| record.profile.clone());
        let profile = profile.ok_or_else(|| {
            let error = anyhow!("it is not known which profile grant {name} is for");
            Failure::new(Exit::Failed, error).hint("set grant.profile in the configuration")
        })?;
        if record.expires <= System.wall() {
            let error = anyhow!("the access token of grant {name} has ended");
            return Err(Failure::new(Exit::Failed, error).hint(format!(
                "{} renews it as it starts; {} says why a running one does not",
                global.spell("run"),
                global.spell("status")
            )));
        }
        Ok(Self {
            scope: Scope::Profile(profile),
            pass: Pass::Grant(Arc::clone(store), Box::new(record)),
        })
    }

    /// In words.
    pub(super) fn name(&self) -> String {
        name(&self.scope)
    }

    pub(super) async fn list(&self, line: &Line) -> Result<Vec<Subscription>, CallError> {
        let answer = self.call(line, Method::GET, self.scope.all(), None).await?;
        serde_json::from_slice(&answer.body)
            .map_err(|_| CallError::Without("list of subscriptions"))
    }

    /// Makes one. Not repeated when the answer is lost: Wise would make a second.
    pub(super) async fn make(
        &self,
        line: &Line,
        order: &Order<'_>,
    ) -> Result<Subscription, CallError> {
        let body = serde_json::to_vec(order).unwrap_or_default();
        let call = self.call(line, Method::POST, self.scope.all(), Some(body));
        wire::object(&call.await?.body).ok_or(CallError::Without("subscription"))
    }

    pub(super) async fn test(
        &self,
        line: &Line,
        id: &str,
    ) -> Result<Vec<TestNotification>, CallError> {
        let call = self.call(line, Method::POST, self.scope.test(id), Some(Vec::new()));
        serde_json::from_slice(&call.await?.body).map_err(|_| CallError::Without("delivery"))
    }

    pub(super) async fn delete(&self, line: &Line, id: &str) -> Result<(), CallError> {
        self.call(line, Method::DELETE, self.scope.one(id), None)
            .await
            .map(drop)
    }

    /// Sends a call; a refusal is an error. A 401 says that Wise has done nothing: with a newer token
    /// it is made again.
    async fn call(
        &self,
        line: &Line,
        method: Method,
        path: String,
        body: Option<Vec<u8>>,
    ) -> Result<Answer, CallError> {
        let body = body.map(Bytes::from);
        let request = || {
            let request = Request::builder().method(&method).uri(path.as_str());
            let request = match &body {
                Some(body) if !body.is_empty() => request.header(CONTENT_TYPE, "application/json"),
                Some(_) | None => request,
            };
            request.body(body.clone().unwrap_or_default())
        };
        let mut newer = None;
        loop {
            let authorization = match (&self.pass, &newer) {
                (Pass::Client(token), _) => token.clone(),
                (Pass::Grant(_, record), None) => bearer(record)?,
                (Pass::Grant(..), Some(record)) => bearer(record)?,
            };
            let answer = line.send(request()?, authorization).await?;
            if answer.status.is_success() {
                return Ok(answer);
            }
            let Pass::Grant(store, record) = &self.pass else {
                return Err(refused(&answer));
            };
            if answer.status != StatusCode::UNAUTHORIZED {
                return Err(refused(&answer));
            }
            let spent = newer.as_ref().unwrap_or(record);
            match renewed(store, spent).await {
                Some(record) => newer = Some(record),
                None => return Err(refused(&answer)),
            }
        }
    }

    /// A call's failure with what to do about it; `what` was to be done.
    pub(super) fn failed(&self, global: &Global, what: &str, error: CallError) -> Failure {
        let hint = hint(&self.scope, global, &error);
        Failure::new(Exit::Failed, anyhow!(error).context(what.to_owned())).hint(hint)
    }
}

fn bearer(record: &Record) -> Result<HeaderValue, CallError> {
    let bearer = record.access_token.bearer();
    bearer.map_err(|_| CallError::Without("usable token of this grant"))
}

/// The record after `spent`: a running proxy may have renewed it between our look and our call, and
/// its next one is on the disk a moment after.
async fn renewed(store: &Arc<FileStore>, spent: &Record) -> Option<Record> {
    let until = System.boot() + SAVE;
    loop {
        let found = store.peek(&spent.grant).ok().flatten();
        let newer = found.filter(|found| found.supersedes(spent));
        if newer.is_some() || System.boot() >= until {
            return newer;
        }
        tokio::time::sleep(LOOK).await;
    }
}

pub(super) fn name(scope: &Scope) -> String {
    match scope {
        Scope::Application { .. } => "application".to_owned(),
        Scope::Profile(profile) => format!("profile {profile}"),
    }
}

fn hint(scope: &Scope, global: &Global, error: &CallError) -> String {
    let of_application = matches!(scope, Scope::Application { .. });
    match error {
        CallError::NoAnswer(OnceError::NotSent(_) | OnceError::CertificateRefused(_)) => {
            format!("{} says what is in the way", global.spell("doctor"))
        }
        CallError::NoAnswer(_) | CallError::TimedOut(_) | CallError::Without(_) => format!(
            "Wise may have done it or not: {} shows it",
            global.spell("webhook list")
        ),
        CallError::Refused { status, .. } => match status.as_u16() {
            401 => format!(
                "{} says whether Wise knows the token",
                global.spell("doctor")
            ),
            403 if of_application => {
                "ask Wise whether this client may have application subscriptions".to_owned()
            }
            403 => "the grant's user may not do this for the profile: see whose grant it is, and \
                    what the profile lets its user do"
                .to_owned(),
            404 => format!("{} shows what there is", global.spell("webhook list")),
            429 => "Wise has heard too much at once: try again in a minute".to_owned(),
            500.. => "Wise has trouble of its own: try again later".to_owned(),
            _ => format!(
                "Wise judges by rules of its own; {} has the events and versions that were known",
                global.spell("webhook events")
            ),
        },
        CallError::Request(_) => "report it".to_owned(),
    }
}

/// A grant, and the profile that it is for, where that is known.
pub(super) struct Holder<'a> {
    pub(super) grant: &'a Grant,
    pub(super) profile: Option<ProfileId>,
}

/// The grants that are meant: one, if one is named, else every one.
pub(super) fn holders<'a>(
    config: &'a Config,
    store: &FileStore,
    whose: &Whose,
) -> Result<Vec<Holder<'a>>, Failure> {
    let known = |grant: &'a Grant| {
        let stored = || store.peek(&grant.name).ok().flatten()?.profile;
        let profile = grant.profile.clone().or_else(stored);
        Holder { grant, profile }
    };
    let mut holders: Vec<_> = config.grants.iter().map(known).collect();
    if let Some(name) = &whose.grant {
        holders.retain(|holder| holder.grant.name == *name);
        if holders.is_empty() {
            let names: Vec<_> = config
                .grants
                .iter()
                .map(|grant| grant.name.as_str())
                .collect();
            let error = anyhow!("the configuration has no grant {name}");
            let hint = format!("the grants are: {}", names.join(", "));
            return Err(Failure::new(Exit::Usage, error).hint(hint));
        }
    }
    if let Some(profile) = &whose.profile {
        let others = holders.iter().filter_map(|holder| holder.profile.clone());
        let others: Vec<_> = others.map(|id| id.to_string()).collect();
        holders.retain(|holder| holder.profile.as_ref() == Some(profile));
        if holders.is_empty() {
            let error = anyhow!("no grant is for profile {profile}");
            let hint = if others.is_empty() {
                "log in for it first: a profile's subscriptions want its user's token".to_owned()
            } else {
                format!("there are grants for: {}", others.join(", "))
            };
            return Err(Failure::new(Exit::Failed, error).hint(hint));
        }
    }
    Ok(holders)
}
