//! `login`: from a person's approval at Wise to a stored grant.

use std::fmt;
use std::io::{self, IsTerminal as _, Read as _};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::anyhow;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderValue;
use http::uri::PathAndQuery;
use serde_json::{Value, json};

use super::admin_client::AdminClient;
use super::args::{Global, LOGIN_REDIRECT, LoginArgs};
use super::callback::{Callback, Redirect, RedirectError, plain};
use super::failure::{Exit, Failure};
use super::report::{self, Progress};
use super::run::control_runtime;
use crate::clock::System;
use crate::config::{Config, Grant, OAuth, ProfileId, SecretSource};
use crate::credentials::User;
use crate::secret::Secret;
use crate::server::Errand;
use crate::tokens::{EnrolError, Enrolled, Enrolment, ExchangeError, Proof, describe, enrol};

/// A person gets this long for Wise's page: as long as Wise keeps a code.
const WAIT: Duration = Duration::from_mins(30);

/// Longest code or pasted address.
const LONGEST: u64 = 16 * 1024;

pub(crate) fn run(global: &Global, args: &LoginArgs) -> Result<(), Failure> {
    let config = global.load()?.config;
    let oauth = config.oauth.as_ref().ok_or_else(|| {
        Failure::new(Exit::Config, anyhow!("the configuration has no [oauth]"))
            .hint("add the client id and secret that Wise gave you, under [oauth]")
    })?;
    // Before a person is asked: whatever is wrong here must not cost a code.
    let chosen = choose(&config, args.grant.as_deref(), args.profile.as_ref())?;
    let errand = Errand::prepare(&config)?;
    let redirect = args.redirect_uri.as_deref();
    let redirect = redirect.or(oauth.redirect_uri.as_deref());
    let redirect = redirect.unwrap_or(LOGIN_REDIRECT);
    control_runtime()?.block_on(async {
        let (proof, picked) = obtain(&config, oauth, args, redirect).await?;
        let (grant, profile) = settle(&config, chosen, args, picked)?;
        let chosen = Chosen { grant, profile };
        log_in(global, &config, oauth, &errand, chosen, proof, args.json).await
    })
}

/// The grant that the command line means.
fn choose<'a>(
    config: &'a Config,
    name: Option<&str>,
    profile: Option<&ProfileId>,
) -> Result<&'a Grant, Failure> {
    let names: Vec<_> = config.grants.iter().map(|grant| &*grant.name).collect();
    let names = names.join(", ");
    let fail = |text: String, hint: String| {
        Err(Failure::new(Exit::Config, anyhow::Error::msg(text)).hint(hint))
    };
    let found = match (name, profile) {
        (Some(name), _) => config.grants.iter().find(|grant| grant.name == name),
        (None, Some(profile)) => of_profile(config, profile),
        (None, None) => match config.grants.as_slice() {
            [only] => Some(only),
            several => several.iter().find(|grant| grant.default),
        },
    };
    match (found, name, profile) {
        (Some(grant), _, Some(wanted)) if foreign(grant, wanted) => fail(
            format!("grant {} is not for profile {wanted}", grant.name),
            "leave out --grant or --profile, or change the grant's profile in the configuration"
                .to_owned(),
        ),
        (Some(grant), _, _) => Ok(grant),
        (None, Some(name), _) => fail(
            format!("the configuration has no grant named {name}"),
            format!("the grants are: {names}"),
        ),
        (None, None, Some(profile)) => fail(
            format!("no grant of the configuration is for profile {profile}"),
            format!("add a [[grant]] with `profile = {profile}`"),
        ),
        (None, None, None) if names.is_empty() => fail(
            "the configuration has no grant".to_owned(),
            "add one: [[grant]] with `name = \"main\"`".to_owned(),
        ),
        (None, None, None) => fail(
            "there are several grants and none is the default".to_owned(),
            format!("say which with --grant: {names}"),
        ),
    }
}

fn of_profile<'a>(config: &'a Config, profile: &ProfileId) -> Option<&'a Grant> {
    let mut grants = config.grants.iter();
    grants
        .find(|grant| grant.profile.as_ref() == Some(profile))
        .or_else(|| match config.grants.as_slice() {
            [only] if only.profile.is_none() => Some(only),
            _ => None,
        })
}

fn foreign(grant: &Grant, profile: &ProfileId) -> bool {
    grant.profile.as_ref().is_some_and(|own| own != profile)
}

/// Holds what was picked on Wise's page against what was meant, before the code is used: a grant
/// for another profile would take the place of one that works.
fn settle<'a>(
    config: &'a Config,
    chosen: &'a Grant,
    args: &LoginArgs,
    picked: Option<ProfileId>,
) -> Result<(&'a Grant, Option<ProfileId>), Failure> {
    let Some(picked) = picked else {
        let meant = args.profile.clone().or_else(|| chosen.profile.clone());
        return Ok((chosen, meant));
    };
    let open = args.grant.is_none() && args.profile.is_none();
    let grant = if open {
        of_profile(config, &picked).unwrap_or(chosen)
    } else {
        chosen
    };
    let meant = args.profile.as_ref().or(grant.profile.as_ref());
    if let Some(meant) = meant.filter(|meant| **meant != picked) {
        let text = format!(
            "profile {picked} was picked on Wise's page, but grant {} is for profile {meant}; the \
             code has not been used",
            grant.name
        );
        let hint = match of_profile(config, &picked) {
            Some(other) => format!("log in with `--grant {}`, or pick {meant}", other.name),
            None => format!(
                "log in again and pick {meant}, or add a [[grant]] with `profile = {picked}`"
            ),
        };
        return Err(Failure::new(Exit::Failed, anyhow::Error::msg(text)).hint(hint));
    }
    Ok((grant, Some(picked)))
}

/// Gets what Wise wants to see, and the profile that was picked, where that is known.
async fn obtain(
    config: &Config,
    oauth: &OAuth,
    args: &LoginArgs,
    redirect_uri: &str,
) -> Result<(Proof, Option<ProfileId>), Failure> {
    if args.registration_code || args.registration_code_file.is_some() {
        let registration_code = match &args.registration_code_file {
            Some(path) => SecretSource::File(path.clone()).read().map_err(|error| {
                Failure::new(Exit::Failed, error).hint(
                    "put the code alone into a file of mode 0600, or give it on standard input",
                )
            })?,
            None => Secret::new(typed("the registration code").await?),
        };
        let email = args.email.clone().unwrap_or_default();
        let proof = Proof::RegistrationCode {
            email,
            registration_code,
        };
        return Ok((proof, None));
    }
    let code = |code: Secret, redirect_uri: &str| Proof::AuthorizationCode {
        code,
        redirect_uri: redirect_uri.to_owned(),
    };
    if let Some(given) = &args.code {
        let given = match given.as_str() {
            "-" => Secret::new(typed("the code").await?),
            given => Secret::new(given),
        };
        return Ok((code(given, redirect_uri), None));
    }
    let state = state()?;
    if args.paste {
        show(&authorise(config, oauth, redirect_uri, &state), args)?;
        let text = typed("the address that the browser ended on").await?;
        let redirect = Redirect::pasted(&text, &state)?;
        return Ok((code(redirect.code, redirect_uri), redirect.profile));
    }
    let listening = Callback::bind(redirect_uri).await.map_err(|error| {
        let error = anyhow::Error::new(error);
        let text = format!("cannot listen for the redirect to {redirect_uri}");
        Failure::new(Exit::Failed, error.context(text))
            .hint("end what uses that port, or run with --paste and copy the address by hand")
    })?;
    let listening = listening.ok_or_else(|| {
        let text = format!("{redirect_uri} does not lead to this machine");
        Failure::new(Exit::Usage, anyhow::Error::msg(text))
            .hint("add --paste: it takes the address that the browser ends on")
    })?;
    let redirect_uri = listening.uri.clone();
    show(&authorise(config, oauth, &redirect_uri, &state), args)?;
    report::say(&format!("waiting for the browser at {redirect_uri}"));
    let redirect = tokio::time::timeout(WAIT, listening.wait(&state)).await;
    let redirect = redirect.map_err(|_elapsed| {
        Failure::new(Exit::Failed, anyhow!("nobody came back from Wise's page"))
            .hint("run `login` again, and open the address soon")
    })??;
    Ok((code(redirect.code, &redirect_uri), redirect.profile))
}

/// 256 random bits, so that nobody else's redirect fits (RFC 6749 §10.12).
fn state() -> Result<Secret, Failure> {
    let mut bytes = [0; 32];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| {
        Failure::new(Exit::Failed, anyhow!("the system gives no random bytes"))
            .hint("this machine cannot keep secrets; look at its system log")
    })?;
    Ok(Secret::new(URL_SAFE_NO_PAD.encode(bytes)))
}

/// Wise's page for this login.
fn authorise(config: &Config, oauth: &OAuth, redirect_uri: &str, state: &Secret) -> String {
    let query = form_urlencoded::Serializer::new(String::new())
        .append_pair("client_id", &oauth.client_id)
        .append_pair("redirect_uri", redirect_uri)
        .append_pair("state", state.expose())
        .finish();
    format!("{}?{query}", config.hosts.authorise)
}

fn show(url: &str, args: &LoginArgs) -> Result<(), Failure> {
    report::say("open this address, log in to Wise, pick one profile and approve:");
    if args.json {
        report::say(url);
    } else {
        report::data(url)?;
    }
    if !args.no_browser && io::stderr().is_terminal() {
        let program = if cfg!(target_os = "macos") {
            "open"
        } else {
            "xdg-open"
        };
        let mut command = Command::new(program);
        let command = command.arg(url).stdin(Stdio::null());
        // Where there is no browser, the person has the address all the same.
        let _unopened = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    }
    Ok(())
}

/// The first line of standard input, which is asked for at a terminal.
async fn typed(what: &'static str) -> Result<String, Failure> {
    let read = tokio::task::spawn_blocking(move || {
        if io::stdin().is_terminal() {
            report::say(&format!("paste {what} here:"));
            let mut line = String::new();
            return io::stdin().read_line(&mut line).map(|_| line);
        }
        let mut text = String::new();
        let read = io::stdin().take(LONGEST).read_to_string(&mut text);
        read.map(|_| text)
    });
    let failed = |error: anyhow::Error| {
        Failure::new(Exit::Failed, error).hint(format!("give {what} on standard input"))
    };
    let text = read.await.map_err(|error| failed(error.into()))?;
    let text = text.map_err(|error| failed(error.into()))?;
    let line = text.trim().lines().next().unwrap_or_default();
    if line.is_empty() {
        return Err(failed(anyhow!("{what} is missing")));
    }
    Ok(line.to_owned())
}

/// What is logged in, and for which profile, where that is known.
struct Chosen<'a> {
    grant: &'a Grant,
    profile: Option<ProfileId>,
}

async fn log_in(
    global: &Global,
    config: &Config,
    oauth: &OAuth,
    errand: &Errand,
    Chosen { grant, profile }: Chosen<'_>,
    proof: Proof,
    json: bool,
) -> Result<(), Failure> {
    let endpoint = errand.tokens.as_ref().ok_or_else(|| {
        Failure::new(
            Exit::Config,
            anyhow!("the configuration has no OAuth client"),
        )
        .hint("set oauth.client_id and oauth.client_secret")
    })?;
    let timeout = config.tokens.exchange_timeout;
    let enrolment = Enrolment {
        grant: grant.name.clone(),
        profile: profile.clone(),
        client_id: oauth.client_id.clone(),
        timeout,
    };
    let exchange = enrol(errand.store.clone(), endpoint, &System, enrolment, proof);
    let mut progress = Progress::new();
    let enrolled = progress
        .along("exchanging the code for tokens", exchange)
        .await?;

    // From here on nothing may fail: the grant is stored.
    let mut warnings = Vec::new();
    if let Some(path) = &enrolled.set_aside {
        warnings.push(format!(
            "the record before could not be opened and was moved to {}",
            path.display()
        ));
    }
    let asking = Identified::ask(errand, &enrolled, profile, timeout, &mut warnings);
    let known = progress.along("asking Wise who it is", asking).await;
    if let Err(error) = describe(
        errand.store.clone(),
        &grant.name,
        known.user.clone(),
        known.profile.clone(),
    )
    .await
    {
        warnings.push(format!(
            "who it is could not be noted in the store: {error}"
        ));
    }
    AdminClient::at(config.admin.socket.clone()).look().await;
    for warning in &warnings {
        report::say(&format!("warning: {warning}"));
    }
    report::say(&format!(
        "grant {} is stored, by way of lane {}: {known}",
        grant.name, errand.lane
    ));
    let doctor = global.typed("doctor");
    report::say(&format!(
        "next: `{doctor}` proves everything else that a request needs"
    ));
    if json {
        return report::json(&json!({
            "grant": grant.name,
            "generation": enrolled.generation,
            "lane": errand.lane,
            "user": known.user,
            "profile": known.profile.as_ref().map(|id| json!({
                "id": id.as_str(), "type": known.kind, "name": known.name,
            })),
            "warnings": warnings,
            "next": { "command": doctor },
        }));
    }
    Ok(())
}

/// Who granted it and for whom, as far as Wise told.
#[derive(Default)]
struct Identified {
    user: Option<User>,
    profile: Option<ProfileId>,
    kind: Option<String>,
    name: Option<String>,
}

impl Identified {
    /// Asks Wise with the new token. People log in to the wrong account; this shows it.
    async fn ask(
        errand: &Errand,
        enrolled: &Enrolled,
        profile: Option<ProfileId>,
        timeout: Duration,
        warnings: &mut Vec<String>,
    ) -> Self {
        let mut known = Self {
            profile,
            ..Self::default()
        };
        let get = |path: String| get(errand, &enrolled.authorization, path, timeout);
        match get("/v1/me".to_owned()).await {
            Ok(me) => {
                known.user = text(&me["id"]).map(|id| User {
                    id,
                    name: text(&me["name"]).or_else(|| text(&me["email"])),
                });
            }
            Err(why) => warnings.push(format!("Wise does not say who this is: {why}")),
        }
        let (path, list) = match &known.profile {
            Some(id) => (format!("/v2/profiles/{id}"), false),
            None => ("/v2/profiles".to_owned(), true),
        };
        match get(path).await {
            Ok(answer) if list => match answer.as_array().map(Vec::as_slice) {
                Some([only]) => {
                    known.profile = text(&only["id"]).and_then(|id| id.parse().ok());
                    known.describe(only);
                }
                _ => warnings.push(
                    "Wise does not say which profile was picked; name it in the configuration \
                     (grant.profile)"
                        .to_owned(),
                ),
            },
            Ok(answer) => known.describe(&answer),
            Err(why) => {
                let which = known.profile.as_ref();
                let which = which.map_or_else(String::new, |id| format!(" {id}"));
                warnings.push(format!(
                    "Wise does not show profile{which} to the new token: {why}; if another profile \
                     was picked, log in again and pick the right one"
                ));
            }
        }
        known
    }

    fn describe(&mut self, profile: &Value) {
        self.kind = text(&profile["type"]).map(|kind| kind.to_ascii_uppercase());
        self.name = ["fullName", "businessName"]
            .iter()
            .find_map(|key| text(&profile[key]))
            .or_else(|| text(&profile["details"]["name"]));
    }
}

impl fmt::Display for Identified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.user {
            Some(User {
                id,
                name: Some(name),
            }) => write!(f, "{name} (user {id}), ")?,
            Some(User { id, name: None }) => write!(f, "user {id}, ")?,
            None => f.write_str("an unknown user, ")?,
        }
        let profile = self.profile.as_ref().map(ProfileId::as_str);
        let profile = profile.map_or_else(|| "unknown".to_owned(), str::to_owned);
        let kind = self.kind.as_ref().map(|kind| format!(", {kind}"));
        let kind = kind.unwrap_or_default();
        match &self.name {
            Some(name) => write!(f, "acting for {name} (profile {profile}{kind})"),
            None => write!(f, "acting for profile {profile}{kind}"),
        }
    }
}

/// A number or text, as text.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(plain(text)).filter(|text| !text.is_empty()),
        Value::Number(number) => Some(number.to_string()),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

/// GETs JSON with the new token, or says why not in words that are safe to show.
async fn get(
    errand: &Errand,
    authorization: &HeaderValue,
    path: String,
    timeout: Duration,
) -> Result<Value, String> {
    let path = PathAndQuery::try_from(path).map_err(|error| error.to_string())?;
    let asking = errand.get(path, authorization.clone());
    let answer = tokio::time::timeout(timeout, asking).await;
    let answer = answer
        .map_err(|_elapsed| format!("no answer within {} s", timeout.as_secs()))?
        .map_err(|error| error.to_string())?;
    if !answer.status.is_success() {
        return Err(format!("it answers {}", answer.status));
    }
    serde_json::from_slice(&answer.body).map_err(|_| "its answer is not JSON".to_owned())
}

impl From<RedirectError> for Failure {
    fn from(error: RedirectError) -> Self {
        let hint = match &error {
            RedirectError::WrongState => {
                "run `login` again and use the address it prints then; a code from elsewhere goes \
                 with --code"
            }
            RedirectError::Refused(_) => "run `login` again and approve on Wise's page",
            RedirectError::NoCode | RedirectError::BadProfile => {
                "copy the whole address from the browser, as it is after approving"
            }
        };
        Self::new(Exit::Failed, error).hint(hint)
    }
}

impl From<EnrolError> for Failure {
    fn from(error: EnrolError) -> Self {
        match error {
            // A code's refusal reads like a grant's, and means something else.
            EnrolError::Exchange(ExchangeError::InvalidGrant { status }) => {
                let text =
                    format!("Wise does not accept the code (invalid_grant, status {status})");
                Self::new(Exit::Failed, anyhow::Error::msg(text)).hint(
                    "it was used before, is too old, or was made for another redirect address or \
                     client id: run `login` again for a fresh one",
                )
            }
            EnrolError::Store(_)
            | EnrolError::NotAsked(_)
            | EnrolError::Exchange(_)
            | EnrolError::NotStored(_) => Self::advised(Exit::Failed, &error, "run `login` again"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_login_has_a_state_of_its_own() {
        let (one, two) = (state().unwrap(), state().unwrap());
        assert_eq!(one.expose().len(), 43);
        assert!(!one.matches(&two));
    }

    #[test]
    fn who_it_is_reads_as_a_sentence_also_when_little_is_known() {
        let mut known = Identified {
            user: Some(User {
                id: "101".into(),
                name: Some("Ada Example".into()),
            }),
            profile: Some("30000000".parse().unwrap()),
            ..Identified::default()
        };
        known.describe(&json!({ "type": "business", "fullName": "Example\u{1b} Ltd" }));
        insta::assert_snapshot!(known, @"Ada Example (user 101), acting for Example  Ltd (profile 30000000, BUSINESS)");
        insta::assert_snapshot!(Identified::default(), @"an unknown user, acting for profile unknown");
    }
}
