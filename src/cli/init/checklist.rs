//! The guide's steps as a page to keep, each with its command for this configuration.

use std::fmt::Write as _;

use super::super::args::Global;
use super::super::migrate::{Begun, Guide, Start, outline};
use super::answers::Place;
use crate::config::{Config, Lane};

/// The page. `config`: what is about to be written.
pub(super) fn written(
    global: &Global,
    file: &str,
    place: &Place,
    config: &Config,
    begun: &Begun,
) -> String {
    let guide = place.guide();
    let mut text = format!(
        "# {} in {}\n\n\
         Written by `wise-auth-proxy init` for {file}. The steps are those of Wise's migration guide.\n\
         `{}` judges each by evidence and says what is next.\n\n",
        match begun.from {
            Start::PersonalToken => "From a personal token to OAuth and mutual TLS",
            Start::ClientCredentials => "From client credentials to mutual TLS",
        },
        match place {
            Place::Sandbox => "Wise's sandbox",
            Place::Production => "production",
            Place::Simulator(_) => "a simulator",
        },
        global.typed("migrate status"),
    );
    let named = global.config_file().map(std::borrow::ToOwned::to_owned);
    for (number, item) in outline(config, guide, begun, named).into_iter().enumerate() {
        let (name, title) = (item.step.name(), item.step.title());
        let how = item
            .how
            .as_deref()
            .unwrap_or("done with this configuration");
        // Writing to a String cannot fail, here and below.
        let _ok = write!(text, "{}. **{name}**, {title}:\n   {how}\n", number + 1);
    }
    text.push_str("\n## When anything goes wrong\n\n");
    let back = if config.personal.is_some() {
        Lane::Personal
    } else {
        Lane::OAuth
    };
    let _ok = write!(
        text,
        "`{}`:\nevery new request goes as it went before, at once and without a restart. Tell Wise \
         what you saw;\n`{}` and the proxy's log say what there is to say. Once Wise enforces \
         mutual TLS, that way is closed.\n",
        global.typed(&format!("switch {back} --reason 'what you saw'")),
        global.typed("status"),
    );
    text.push_str(match guide {
        Guide::Sandbox => {
            "\n## Afterwards\n\nProduction is a configuration of its own, with credentials, \
             certificate and grants of its own:\n\
             `wise-auth-proxy init --environment production --config production.toml`.\n"
        }
        Guide::Production => {
            "\n## Afterwards\n\nThe certificate lasts a year; the proxy speaks up 30 days before \
             its end. A grant that has ended\nwants a new `login`; the proxy says that, too.\n"
        }
    });
    text
}
