//! The guide's steps for a configuration in which nothing is done yet: a page to keep.

use std::path::PathBuf;

use super::evidence::{
    Certificate, Client, Evidence, Grant, GrantState, Guide, Personal, Request, Start, WayBack,
};
use super::record::Begun;
use super::step::Step;
use super::steps::how;
use super::{files, next};
use crate::clock::{Clock as _, System};
use crate::config::{Config, Lane, SecretSource};

/// One line of the page.
pub(crate) struct Item {
    pub(crate) step: Step,
    /// What to do; `None`: nothing, with this configuration.
    pub(crate) how: Option<String>,
}

/// Every step of the guide's half, in its order.
pub(crate) fn outline(
    config: &Config,
    guide: Guide,
    begun: &Begun,
    named: Option<PathBuf>,
) -> Vec<Item> {
    let evidence = nothing_done(config, guide, begun, named);
    let items = Step::of(guide, begun.from).map(|step| {
        let next = if step == Step::Unused {
            Some(next::wait(&evidence.typed, None))
        } else {
            how(step, &evidence)
        };
        let is_of_init = [Step::Credentials, Step::WayBack].contains(&step);
        let has_client = config.oauth.is_some();
        Item {
            step,
            how: next.map(|next| {
                if is_of_init && has_client {
                    format!("unless you gave it to `init`, {}", next.text)
                } else {
                    next.text
                }
            }),
        }
    });
    items.collect()
}

fn nothing_done(config: &Config, guide: Guide, begun: &Begun, named: Option<PathBuf>) -> Evidence {
    let typed = files::typed(config, Some(begun), named, None);
    let file = |source: &SecretSource| match source {
        SecretSource::File(path) => Some(files::short(path)),
        SecretSource::Env(_) | SecretSource::Exec(_) | SecretSource::Credential(_) => None,
    };
    let token = config.personal.as_ref();
    let back = match (token, begun.from) {
        (Some(_), Start::PersonalToken) => Lane::Personal,
        _ => Lane::OAuth,
    };
    let mtls = config.mtls.as_ref();
    let absent = |name: &str| Grant {
        name: name.to_owned(),
        state: GrantState::Absent,
    };
    Evidence {
        configuration: Some(String::new()),
        client: match &config.oauth {
            Some(oauth) => Client::NoSecret {
                why: String::new(),
                file: file(&oauth.client_secret),
            },
            None => Client::Unconfigured,
        },
        request: mtls.map_or(Request::Unconfigured, |mtls| Request::None {
            key: files::short(&mtls.key),
        }),
        certificate: mtls.map_or(Certificate::Unconfigured, |mtls| Certificate::Missing {
            path: files::short(&mtls.certificate),
        }),
        grants: config
            .grants
            .iter()
            .map(|grant| absent(&grant.name))
            .collect(),
        way_back: WayBack {
            lane: back,
            shut: token.map(|token| (String::new(), file(token))),
        },
        lane: Some((back, String::new())),
        is_turned: true,
        personal: Personal {
            configured: token.is_some(),
            file: token.and_then(file),
        },
        ..Evidence::none(guide, begun.from, System.wall(), typed)
    }
}
