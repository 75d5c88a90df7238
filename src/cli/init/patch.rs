//! A configuration that is there: only what was answered otherwise is changed; everything else,
//! comments included, stays as a person wrote it.

use toml_edit::{ArrayOfTables, DocumentMut, Item, Table, Value};

use super::super::args::LOGIN_REDIRECT;
use super::super::sheet::{put, set};
use super::answers::{Answers, Client, Grant, Place};
use super::before::{Before, DOOR, STATE};
use super::render::{pair, profile, source_value};

/// The file with today's answers in it.
pub(super) fn patched(before: &Before, answers: &Answers) -> String {
    let mut document = before.document().clone();
    let was_custom = before.environment() == Some("custom");
    set(
        document.as_table_mut(),
        "environment",
        answers.place.environment().into(),
    );
    match &answers.place {
        Place::Simulator(there) => {
            put(&mut document, "wise", "plain", &there.plain);
            put(&mut document, "wise", "mtls", &there.mtls);
            put(&mut document, "wise", "authorise", &there.authorise);
            put(&mut document, "wise", "extra_ca", &there.extra_ca);
            put(&mut document, "wise", "roots", "only-extra");
        }
        Place::Sandbox | Place::Production if was_custom => {
            // They named the other place's hosts and authority.
            document.remove("wise");
        }
        Place::Sandbox | Place::Production => {}
    }
    door(&mut document, answers);
    let lane = answers.lane(before.lane());
    put(&mut document, "switch", "lane", lane.name());
    if let Some(client) = &answers.client {
        oauth(&mut document, before, client);
        if before.grants() != client.grants {
            grants(&mut document, &client.grants);
        }
        if !document.contains_key("mtls") {
            let [certificate, key] = pair(&answers.secrets);
            put(&mut document, "mtls", "certificate", certificate);
            put(&mut document, "mtls", "key", key);
        }
    }
    match answers.personal.as_ref().and_then(source_value) {
        Some(token) => put(&mut document, "personal", "token", token),
        None => drop(document.remove("personal")),
    }
    if before.state().is_some() || answers.state != STATE {
        put(&mut document, "store", "path", &answers.state);
    }
    document.to_string()
}

fn door(document: &mut DocumentMut, answers: &Answers) {
    let address = Value::from(answers.door.as_str());
    match document.get_mut("door") {
        Some(Item::ArrayOfTables(doors)) => {
            if let Some(first) = doors.get_mut(0) {
                set(first, "address", address);
            }
        }
        // Written in one line: a person's own way, and left to them.
        Some(_) => {}
        None if answers.door == DOOR => {}
        None => {
            let mut first = Table::new();
            set(&mut first, "address", address);
            let mut doors = ArrayOfTables::new();
            doors.push(first);
            document.insert("door", Item::ArrayOfTables(doors));
        }
    }
}

fn oauth(document: &mut DocumentMut, before: &Before, client: &Client) {
    put(document, "oauth", "client_id", &client.id);
    if let Some(secret) = source_value(&client.secret) {
        put(document, "oauth", "client_secret", secret);
    }
    let named = before.redirect().is_some();
    if named || client.redirect != LOGIN_REDIRECT {
        put(document, "oauth", "redirect_uri", &client.redirect);
    }
}

/// Those that stay keep their other keys.
fn grants(document: &mut DocumentMut, wanted: &[Grant]) {
    let old = match document.get("grant") {
        Some(Item::ArrayOfTables(old)) => old.clone(),
        Some(_) | None => ArrayOfTables::new(),
    };
    let several = wanted.len() > 1;
    let mut grants = ArrayOfTables::new();
    for (number, grant) in wanted.iter().enumerate() {
        let named =
            |table: &&Table| table.get("name").and_then(Item::as_str) == Some(grant.name.as_str());
        let mut table = old.iter().find(named).cloned().unwrap_or_default();
        set(&mut table, "name", grant.name.as_str().into());
        match grant.profile.as_deref().map(|id| profile(id).parse()) {
            Some(Ok(id)) => set(&mut table, "profile", id),
            Some(Err(_)) | None => drop(table.remove("profile")),
        }
        if several && number == 0 {
            set(&mut table, "default", true.into());
        } else {
            table.remove("default");
        }
        grants.push(table);
    }
    document.insert("grant", Item::ArrayOfTables(grants));
}
