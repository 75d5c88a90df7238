//! A new configuration: every key that is set, with its reason.

use std::fmt::Write as _;

use toml_edit::Value;

use super::answers::{Answers, Client, Place, Source};
use crate::config::Lane;

/// The whole file.
pub(super) fn render(answers: &Answers) -> String {
    let mut text = String::from(
        "# Written by `wise-auth-proxy init`, which can be run again; yours to edit.\n\
         # `wise-auth-proxy config show` prints every key that is in force and who set it, and\n\
         # `wise-auth-proxy config schema` describes them all. Paths start at this file's directory.\n\n",
    );
    place(&mut text, &answers.place);
    section(
        &mut text,
        "Where your programs reach the proxy: this address in the place of Wise's, over plain HTTP.",
        "[[door]]",
        &[("address", &quoted(&answers.door))],
    );
    let lane = answers.lane(None);
    let why = match lane {
        Lane::Personal => {
            "The lane of the first start: the one that you are on today. Afterwards the last\n\
             # `switch` counts; it takes effect at once and survives restarts."
        }
        Lane::OAuth => {
            "The lane of the first start: OAuth over ordinary TLS, as today. Afterwards the last\n\
             # `switch` counts; it takes effect at once and survives restarts."
        }
        Lane::OAuthMtls => {
            "The lane of the first start: the destination, as there is nothing to come from here.\n\
             # Afterwards the last `switch` counts."
        }
    };
    section(
        &mut text,
        why,
        "[switch]",
        &[("lane", &quoted(lane.name()))],
    );
    match &answers.client {
        Some(client) => oauth(&mut text, client),
        None => text.push_str(
            "# Wise has given no client id yet. Once it has, `wise-auth-proxy init` adds [oauth],\n\
             # [[grant]] and [mtls] here.\n\n",
        ),
    }
    if let Some(personal) = &answers.personal {
        section(
            &mut text,
            "The personal token: the way back, until the migration is behind you.",
            "[personal]",
            &[("token", &source(personal))],
        );
    }
    if answers.client.is_some() {
        let [certificate, key] = pair(&answers.secrets);
        section(
            &mut text,
            "The client certificate and its key: `csr` makes the key, `cert install` puts the\n\
             # certificate here.",
            "[mtls]",
            &[
                ("certificate", &quoted(&certificate)),
                ("key", &quoted(&key)),
            ],
        );
    }
    section(
        &mut text,
        "Grants and the switch rest here. Keep it: refresh tokens are in it, sealed.",
        "[store]",
        &[("path", &quoted(&answers.state))],
    );
    text.push_str(
        "# Everything else is at its default: config/default.toml gives each key and its reason.\n",
    );
    text
}

/// Where certificate and key go.
pub(super) fn pair(secrets: &str) -> [String; 2] {
    ["pem", "key"].map(|ending| format!("{secrets}/client.{ending}"))
}

fn place(text: &mut String, place: &Place) {
    let why = match place {
        Place::Sandbox => "Wise's sandbox: invented money. Production has a file of its own.",
        Place::Production => "Real money.",
        Place::Simulator(_) => "A simulator on this machine, in the place of Wise.",
    };
    let environment = quoted(place.environment());
    let _ok = write!(text, "# {why}\nenvironment = {environment}\n\n");
    if let Place::Simulator(there) = place {
        section(
            text,
            "Its addresses and its authority. It makes a new authority at every start: run `init`,\n\
             # `csr` and `cert install` again then.",
            "[wise]",
            &[
                ("plain", &quoted(&there.plain)),
                ("mtls", &quoted(&there.mtls)),
                ("authorise", &quoted(&there.authorise)),
                ("extra_ca", &quoted(&there.extra_ca)),
                ("roots", &quoted("only-extra")),
            ],
        );
    }
}

fn oauth(text: &mut String, client: &Client) {
    section(
        text,
        "The OAuth client that Wise gave you, and the redirect address as on file there.",
        "[oauth]",
        &[
            ("client_id", &quoted(&client.id)),
            ("client_secret", &source(&client.secret)),
            ("redirect_uri", &quoted(&client.redirect)),
        ],
    );
    let several = client.grants.len() > 1;
    for (number, grant) in client.grants.iter().enumerate() {
        let why = match (number, several) {
            (0, false) => "The profile to act for; `login` fills it.",
            (0, true) => {
                "The profiles to act for, one `login` each. This one serves requests that name none."
            }
            _ => "",
        };
        let name = quoted(&grant.name);
        let mut keys = vec![("name", name.as_str())];
        let id = grant.profile.as_deref().map(profile);
        keys.extend(id.as_deref().map(|id| ("profile", id)));
        if several && number == 0 {
            keys.push(("default", "true"));
        }
        section(text, why, "[[grant]]", &keys);
    }
}

fn section(text: &mut String, why: &str, head: &str, keys: &[(&str, &str)]) {
    // Writing to a String cannot fail.
    if !why.is_empty() {
        let _ok = writeln!(text, "# {why}");
    }
    let _ok = writeln!(text, "{head}");
    for (key, value) in keys {
        let _ok = writeln!(text, "{key} = {value}");
    }
    text.push('\n');
}

/// A text as TOML.
pub(super) fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

/// A profile's id: a number where it is one.
pub(super) fn profile(id: &str) -> String {
    match id.parse::<i64>() {
        Ok(number) if number.to_string() == id => id.to_owned(),
        _ => quoted(id),
    }
}

/// A secret's source as TOML.
fn source(source: &Source) -> String {
    match source {
        Source::File(path) => format!("{{ file = {} }}", quoted(path)),
        Source::Env(name) => format!("{{ env = {} }}", quoted(name)),
        Source::Credential(name) => format!("{{ credential = {} }}", quoted(name)),
        Source::Exec(words) => {
            let words: Vec<_> = words.iter().map(|word| quoted(word)).collect();
            format!("{{ exec = [{}] }}", words.join(", "))
        }
    }
}

/// The same as a value, for a file that is there.
pub(super) fn source_value(named: &Source) -> Option<Value> {
    source(named).parse().ok()
}
