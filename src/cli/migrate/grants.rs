//! Whether the grants live: as the running proxy shows them, or as they rest in the store.

use serde_json::Value;

use super::evidence::{Grant, GrantState};
use super::gather::Scene;
use super::words::{rfc3339, since, span};
use crate::config;
use crate::credentials::Record;
use crate::server::open_store;

/// Every grant of the configuration, in its order.
pub(super) fn found(scene: &Scene) -> Vec<Grant> {
    let tokens = match &scene.status {
        Ok(status) => Some(&status["tokens"]),
        Err(_) => None,
    };
    let grants = scene.config.grants.iter().map(|grant| Grant {
        name: grant.name.clone(),
        state: match tokens {
            Some(tokens) => shown(tokens, &grant.name),
            None => stored(scene, grant),
        },
    });
    grants.collect()
}

/// As the running proxy shows it.
fn shown(tokens: &Value, name: &str) -> GrantState {
    let mut tokens = tokens.as_array().into_iter().flatten();
    let Some(token) = tokens.find(|token| token["grant"] == name) else {
        let why = "the running proxy does not know it; start it again";
        return GrantState::Broken(why.to_owned());
    };
    if token["state"] == "live" {
        let left = token["seconds_left"].as_u64().unwrap_or_default();
        let left = span(std::time::Duration::from_secs(left));
        let profile = token["profile"].as_str();
        let who = who(profile, token["user"]["name"].as_str());
        return GrantState::Alive(format!("{who}, token for another {left}, then renewed"));
    }
    if token["absence"] == "never_logged_in" {
        return GrantState::Absent;
    }
    let reason = token["reason"].as_str().unwrap_or("it has no token");
    GrantState::Broken(reason.to_owned())
}

/// As it rests in the store, which is opened only where a record is: opening makes one.
fn stored(scene: &Scene, grant: &config::Grant) -> GrantState {
    let dir = &scene.config.store.path;
    let is_there = |ending: &str| dir.join(format!("{}.{ending}", grant.name)).exists();
    if !["grant", "next"].into_iter().any(is_there) {
        return GrantState::Absent;
    }
    let record = open_store(&scene.config)
        .map_err(|error| error.to_string())
        .and_then(|store| store.load(&grant.name).map_err(|error| error.to_string()));
    match record {
        Ok(Some(record)) => judged(scene, &record),
        Ok(None) => GrantState::Absent,
        Err(why) => GrantState::Broken(why),
    }
}

fn judged(scene: &Scene, record: &Record) -> GrantState {
    let oauth = scene.config.oauth.as_ref();
    if oauth.is_some_and(|oauth| oauth.client_id != record.client_id) {
        let why = "it was granted to another client id; log in again";
        return GrantState::Broken(why.to_owned());
    }
    if let Some(end) = record.refresh_expires.filter(|end| *end <= scene.now) {
        return GrantState::Broken(format!("its refresh token ended {}", rfc3339(end)));
    }
    let profile = record.profile.as_ref().map(ToString::to_string);
    let user = record.user.as_ref().and_then(|user| user.name.as_deref());
    let issued = rfc3339(record.issued);
    let is_live = record.expires > scene.now;
    GrantState::Stored {
        seen: format!(
            "{}, stored {}",
            who(profile.as_deref(), user),
            since(Some(&issued), scene.now)
        ),
        access: is_live.then(|| record.access_token.clone()),
    }
}

fn who(profile: Option<&str>, user: Option<&str>) -> String {
    let profile = match profile {
        Some(profile) => format!("profile {profile}"),
        None => "some profile".to_owned(),
    };
    match user {
        Some(user) => format!("{profile}, granted by {user}"),
        None => profile,
    }
}
