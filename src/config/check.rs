//! The rules between keys: from the file as typed to a [`Config`] that can be run.

use std::path::Path;
use std::time::Duration;

use super::file::{self, File};
use super::leaf::{List, Parsed};
use super::secrets::Named;
use super::url;
use super::{
    Config, Door, Environment, Hardening, Hosts, Lane, LaneSet, Measure, Mtls, Notify, OAuth,
    Origin, Policy, Roots, SecretSource, Store, Switch, TokenUrl, Trust,
};
use crate::wise::hosts::{PRODUCTION, Preset, SANDBOX};

/// A key and what would be right there.
#[derive(Clone, Debug)]
pub(super) struct Finding {
    pub(super) key: Vec<String>,
    pub(super) message: String,
}

/// Applies every rule; all that are broken are returned.
///
/// Relative paths become absolute: they start at `base`.
pub(super) fn check(file: &File, base: &Path) -> Result<Config, Vec<Finding>> {
    let mut check = Check {
        base,
        findings: Vec::new(),
    };
    let environment = file.environment.map(|Parsed(environment)| environment);
    if environment.is_none() {
        check.refuse(
            "environment",
            "say \"sandbox\", \"production\" or \"custom\"",
        );
    }
    let grants = check.grants(&file.grant);
    let doors = check.doors(&file.door, &file.grant);
    let callers = check.callers(&file.caller);
    let policies = check.policies(&file.policy);
    check.names(&doors, &callers, &policies, &Policy::BUILT_IN);
    let hosts = environment.and_then(|environment| check.hosts(environment, &file.wise));
    let trust = check.trust(&file.wise);
    let switch = check.switch(file);
    check.pinned(&doors, switch.as_ref());
    let oauth = check.oauth(file.oauth.as_ref());
    let personal = check.personal(file.personal.as_ref());
    let mtls = check.mtls(file.mtls.as_ref());
    let store = Store {
        path: base.join(&file.store.path.0),
        seal_key: check.source(file.store.seal_key.as_ref()),
    };
    let upstream = check.upstream(&file.upstream);
    let tokens = check.tokens(&file.tokens);
    let runtime = check.runtime(&file.runtime);
    let admin = check.admin(&file.admin, &store, &doors);
    let ca = check.ca(&file.ca, &store);
    let jose = check.jose(&file.jose, file.oauth.is_some());
    let sca = check.sca(&file.sca);
    let webhooks = check.webhooks(&file.webhook, environment);
    let audit = check.audit(&file.audit);
    let log = check.log(&file.log);
    let notify = check.notify(&file.notify);
    let hardening = check.hardening(file);

    match (environment, hosts, switch) {
        (Some(environment), Some(hosts), Some(switch)) if check.findings.is_empty() => Ok(Config {
            environment,
            hosts,
            trust,
            doors,
            callers,
            policies,
            switch,
            oauth,
            grants,
            personal,
            mtls,
            store,
            upstream,
            tokens,
            runtime,
            admin,
            ca,
            jose,
            sca,
            webhooks,
            audit,
            log,
            notify,
            hardening,
        }),
        _ => Err(check.findings),
    }
}

/// What is being found out.
pub(super) struct Check<'a> {
    pub(super) base: &'a Path,
    findings: Vec<Finding>,
}

impl Check<'_> {
    pub(super) fn refuse(&mut self, key: &str, message: impl Into<String>) {
        self.findings.push(Finding {
            key: key.split('.').map(str::to_owned).collect(),
            message: message.into(),
        });
    }

    pub(super) fn source(&self, named: Option<&Named>) -> Option<SecretSource> {
        named.map(|Named(source)| source.clone().below(self.base))
    }

    fn hosts(&mut self, environment: Environment, wise: &file::Wise) -> Option<Hosts> {
        let custom = environment == Environment::Custom;
        let mut encrypted = |key: &str, origin: &Origin| {
            if !(origin.tls || custom && origin.is_loopback()) {
                self.refuse(
                    key,
                    "must begin with https://; http:// is for a loopback host with \
                     environment = \"custom\"",
                );
            }
        };
        let url = |parsed: &Option<Parsed<Origin>>| parsed.clone().map(|Parsed(origin)| origin);
        let (plain, mtls) = (url(&wise.plain), url(&wise.mtls));
        let token_url = wise.token_url.clone().map(|Parsed(url)| url);
        let authorise = wise.authorise.as_ref().map(|Parsed(page)| page);
        for (key, origin) in [
            ("wise.plain", plain.as_ref()),
            ("wise.mtls", mtls.as_ref()),
            ("wise.token_url", token_url.as_ref().map(|url| &url.origin)),
            ("wise.authorise", authorise.map(|page| &page.0)),
        ] {
            if let Some(origin) = origin {
                encrypted(key, origin);
            }
        }
        let authorise = authorise.map(|page| page.1.clone());
        let preset = match environment {
            Environment::Sandbox => &SANDBOX,
            Environment::Production => &PRODUCTION,
            Environment::Custom => {
                for (key, missing) in [
                    ("wise.plain", plain.is_none()),
                    ("wise.mtls", mtls.is_none()),
                ] {
                    if missing {
                        self.refuse(
                            key,
                            "environment = \"custom\" needs it, such as \"https://localhost:8443\"",
                        );
                    }
                }
                let plain = plain?;
                return Some(Hosts {
                    authorise: authorise.unwrap_or_else(|| format!("{plain}/oauth/authorize")),
                    plain,
                    mtls: mtls?,
                    aliases: Vec::new(),
                    token_url,
                });
            }
        };
        for (key, given) in [
            ("wise.plain", plain.is_some()),
            ("wise.authorise", authorise.is_some()),
        ] {
            if given {
                self.refuse(
                    key,
                    "needs environment = \"custom\"; elsewhere leave it out",
                );
            }
        }
        preset_hosts(preset, mtls, token_url)
    }

    fn trust(&mut self, wise: &file::Wise) -> Trust {
        let Parsed(roots) = wise.roots;
        let extra_ca = wise
            .extra_ca
            .as_ref()
            .map(|Parsed(path)| self.base.join(path));
        if roots == Roots::OnlyExtra && extra_ca.is_none() {
            self.refuse(
                "wise.extra_ca",
                "roots = \"only-extra\" needs it: a PEM file of authorities",
            );
        }
        Trust { roots, extra_ca }
    }

    fn switch(&mut self, file: &File) -> Option<Switch> {
        let needs = |lane| -> Option<&'static str> {
            match lane {
                Lane::Personal => file.personal.is_none().then_some("[personal]"),
                Lane::OAuth | Lane::OAuthMtls if file.oauth.is_none() => Some("[oauth]"),
                Lane::OAuth | Lane::OAuthMtls if file.grant.is_empty() => Some("a [[grant]]"),
                Lane::OAuth => None,
                Lane::OAuthMtls => file.mtls.is_none().then_some("[mtls]"),
            }
        };
        let allowed = file.switch.allow.as_ref().map(|list| &list.0);
        if let Some(allowed) = allowed {
            for lane in allowed {
                if let Some(needed) = needs(*lane) {
                    self.refuse(
                        "switch.allow",
                        format!("lane {lane} needs {needed}; add it, or take the lane out"),
                    );
                }
            }
        }
        let Some(Parsed(lane)) = file.switch.lane else {
            self.refuse(
                "switch.lane",
                "say \"personal\", \"oauth\" or \"oauth-mtls\"",
            );
            return None;
        };
        let lanes: LaneSet = match allowed {
            Some(allowed) => allowed.iter().copied().collect(),
            None => Lane::ALL
                .into_iter()
                .filter(|lane| needs(*lane).is_none())
                .collect(),
        };
        if allowed.is_some() && !lanes.contains(lane) {
            self.refuse("switch.lane", "must be one of the lanes in switch.allow");
        } else if let Some(needed) = needs(lane) {
            self.refuse("switch.lane", format!("lane {lane} needs {needed}"));
        }
        Some(Switch { lane, lanes })
    }

    /// A door with a lane of its own must be able to use it.
    fn pinned(&mut self, doors: &[Door], switch: Option<&Switch>) {
        let Some(switch) = switch else { return };
        for (i, door) in doors.iter().enumerate() {
            let Some(lane) = door.lane.filter(|lane| !switch.lanes.contains(*lane)) else {
                continue;
            };
            self.refuse(
                &format!("door.{i}.lane"),
                format!(
                    "lane {lane} cannot be used: it lacks a section that it needs, or \
                     switch.allow leaves it out"
                ),
            );
        }
    }

    fn oauth(&mut self, typed: Option<&file::OAuth>) -> Option<OAuth> {
        let typed = typed?;
        let client_id = typed.client_id.clone().map(|Parsed(id)| id);
        let client_secret = self.source(typed.client_secret.as_ref());
        let redirect_uri = typed.redirect_uri.clone().map(|Parsed(uri)| uri.0);
        if client_id.is_none() {
            self.refuse("oauth.client_id", "say the client id that Wise gave you");
        }
        if client_secret.is_none() {
            self.refuse("oauth.client_secret", SECRET_MISSING);
        }
        Some(OAuth {
            client_id: client_id?,
            client_secret: client_secret?,
            redirect_uri,
        })
    }

    fn hardening(&mut self, file: &File) -> Hardening {
        let typed = &file.hardening;
        let hardening = Hardening {
            memory: typed.memory.0,
            privileges: typed.privileges.0,
            files: typed.files.0,
        };
        let sources = [
            file.personal.as_ref().and_then(|it| it.token.as_ref()),
            file.oauth.as_ref().and_then(|it| it.client_secret.as_ref()),
            file.mtls.as_ref().and_then(|it| it.key_passphrase.as_ref()),
            file.upstream.via_credentials.as_ref(),
            file.store.seal_key.as_ref(),
            file.admin.key.as_ref(),
            file.notify.webhook.as_ref(),
            file.notify.authorization.as_ref(),
            file.sca.approval_webhook.as_ref(),
            file.sca.approval_authorization.as_ref(),
        ];
        let keys = file.caller.iter().filter_map(|caller| caller.key.as_ref());
        let mut sources = sources.into_iter().flatten().chain(keys);
        if hardening.files == Measure::Required
            && sources.any(|Named(source)| matches!(source, SecretSource::Exec(_)))
        {
            self.refuse(
                "hardening.files",
                "\"required\" is impossible with a secret from a program (exec), which would be \
                 confined with the proxy; name a file, or say \"auto\"",
            );
        }
        if hardening.files == Measure::Required && file.notify.command.is_some() {
            self.refuse(
                "hardening.files",
                "\"required\" is impossible with notify.command, which would be confined with the \
                 proxy; use notify.webhook, or say \"auto\"",
            );
        }
        if hardening.files == Measure::Required && file.sca.approval_command.is_some() {
            self.refuse(
                "hardening.files",
                "\"required\" is impossible with sca.approval_command, which would be confined with \
                 the proxy; use sca.approval_webhook, or say \"auto\"",
            );
        }
        hardening
    }

    fn notify(&mut self, typed: &file::Notify) -> Notify {
        let webhook = self.source(typed.webhook.as_ref());
        let authorization = self.source(typed.authorization.as_ref());
        if authorization.is_some() && webhook.is_none() {
            self.refuse(
                "notify.webhook",
                "notify.authorization is for a webhook; say where its URL is",
            );
        }
        Notify {
            webhook,
            authorization,
            command: self.command("notify.command", typed.command.as_ref()),
            events: typed.events.0.clone(),
            repeat: self.duration("notify.repeat", typed.repeat, MINUTE, WEEK),
        }
    }

    /// A program and its arguments.
    pub(super) fn command(
        &mut self,
        key: &str,
        typed: Option<&List<String>>,
    ) -> Option<Vec<String>> {
        let words = typed.map(|List(words)| words.clone())?;
        let first = words.first();
        if !first.is_some_and(|word| Path::new(word).is_absolute()) {
            self.refuse(
                key,
                "must begin with the absolute path of a program, such as [\"/usr/local/bin/page\"]",
            );
        }
        Some(words)
    }

    fn personal(&mut self, typed: Option<&file::Personal>) -> Option<SecretSource> {
        let token = self.source(typed?.token.as_ref());
        if token.is_none() {
            self.refuse("personal.token", SECRET_MISSING);
        }
        token
    }

    fn mtls(&mut self, typed: Option<&file::Mtls>) -> Option<Mtls> {
        let typed = typed?;
        if typed.certificate.is_none() {
            self.refuse(
                "mtls.certificate",
                "say the PEM file of the client certificate",
            );
        }
        if typed.key.is_none() {
            self.refuse("mtls.key", "say the PEM file of its private key");
        }
        Some(Mtls {
            certificate: self.base.join(&typed.certificate.as_ref()?.0),
            key: self.base.join(&typed.key.as_ref()?.0),
            key_passphrase: self.source(typed.key_passphrase.as_ref()),
        })
    }
}

pub(super) const MINUTE: Duration = Duration::from_mins(1);
const WEEK: Duration = Duration::from_hours(7 * 24);

const SECRET_MISSING: &str = "say where it is: { file = \"path\" }, { env = \"NAME\" }, \
     { exec = [\"/absolute/program\"] } or { credential = \"name\" }";

/// `None` never: the presets are URLs (a test says so).
fn preset_hosts(
    preset: &Preset,
    mtls: Option<Origin>,
    token_url: Option<TokenUrl>,
) -> Option<Hosts> {
    let plain = url::parse(preset.plain)?.0;
    let usual = url::parse(preset.mtls)?.0;
    let mtls = mtls.unwrap_or_else(|| usual.clone());
    // Applications may go on using the preset's name after it was replaced.
    let names = preset.aliases.iter().map(|&name| name.to_owned());
    let aliases = names
        .chain([usual.host])
        .filter(|name| *name != plain.host && *name != mtls.host)
        .collect();
    Some(Hosts {
        plain,
        mtls,
        aliases,
        authorise: preset.authorise.to_owned(),
        token_url,
    })
}
