//! The questions, in their order. Each says what is wrong with an answer that does not fit.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::super::args::{InitArgs, LOGIN_REDIRECT};
use super::super::failure::Failure;
use super::super::migrate::Start;
use super::answers::{Answers, Client, Grant, Keeping, Place, Source, simulated};
use super::before::{Before, DOOR, STATE};
use super::profiles::{any, name_grants, profiles};
use super::voice::{Question, Voice, yes_or_no};
use crate::secret::Secret;
use crate::tls::Subject;

/// Answers, and the secrets that were given for files.
pub(super) struct Heard {
    pub(super) answers: Answers,
    pub(super) client_secret: Option<Secret>,
    pub(super) personal_token: Option<Secret>,
}

/// Asks everything. Nothing has been written when it returns.
pub(super) fn interview(
    args: &InitArgs,
    before: &Before,
    voice: &mut Voice,
) -> Result<Heard, Failure> {
    let place = place(args, before, voice)?;
    let start = start(args, before, voice)?;
    let secrets = before.own("secrets");
    let id = client_id(args, before, voice, place.as_ref())?;
    let keeping = keeping(args, before, voice, place.as_ref())?;
    let (secret, client_secret) = match (&place, &id) {
        (Some(Place::Simulator(there)), _) => (Some(there.client_secret.clone()), None),
        (_, None) => (None, None),
        (_, Some(_)) => {
            let ask = Ask {
                what: "client secret",
                file: args.client_secret_file.as_ref(),
                file_flag: "client-secret-file",
                exec: args.client_secret_exec.as_deref(),
                exec_flag: "client-secret-exec",
                usual: format!("{secrets}/client_secret"),
                name: "client_secret",
                before: before.client_secret(),
            };
            ask.source(keeping, before, voice)?
        }
    };
    let is_without = id.is_none() && voice.is_complete();
    let has_token = has_personal(args, before, voice, place.as_ref(), start, is_without)?;
    let (personal, personal_token) = match &place {
        _ if !has_token => (None, None),
        Some(Place::Simulator(there)) => (Some(there.personal_token.clone()), None),
        _ => {
            let ask = Ask {
                what: "personal token",
                file: args.personal_token_file.as_ref(),
                file_flag: "personal-token-file",
                exec: args.personal_token_exec.as_deref(),
                exec_flag: "personal-token-exec",
                usual: format!("{secrets}/personal_token"),
                name: "personal_token",
                before: before.personal(),
            };
            ask.source(keeping, before, voice)?
        }
    };
    let (mut organisation, mut country, mut client) = (None, None, None);
    if let Some(id) = id {
        organisation = ask_organisation(args, before, voice)?;
        country = ask_country(args, before, voice)?;
        let redirect = ask_redirect(args, before, voice)?;
        let grants = grants(args, before, voice)?;
        client = secret.map(|secret| Client {
            id,
            secret,
            redirect,
            grants,
        });
    }
    let door = door(args, before)?;
    let state = state(args, before, voice)?;
    voice.complete()?;
    Ok(Heard {
        answers: Answers {
            // `complete` has seen to it that there is one.
            place: place.unwrap_or(Place::Sandbox),
            start,
            client,
            personal,
            organisation,
            country,
            door,
            state,
            secrets,
        },
        client_secret,
        personal_token,
    })
}

fn place(args: &InitArgs, before: &Before, voice: &mut Voice) -> Result<Option<Place>, Failure> {
    if let Some(dir) = &args.simulator {
        return Ok(Some(simulator(dir, before)?));
    }
    // Where there was a simulator, it is asked for again: its addresses change.
    let default = before.environment().filter(|name| *name != "custom");
    let mut question = Question::new(
        "environment",
        "Which of Wise's environments? sandbox or production",
    );
    question.default = default.map(str::to_owned);
    voice.answer(&question, args.environment.as_deref(), |text| match text {
        "sandbox" => Ok(Place::Sandbox),
        "production" => Ok(Place::Production),
        _ => Err("say sandbox or production; for a simulator there is --simulator PATH".to_owned()),
    })
}

fn simulator(dir: &std::path::Path, before: &Before) -> Result<Place, Failure> {
    let whole = std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned());
    let there = simulated(&whole, &before.base)?;
    Ok(Place::Simulator(Box::new(there)))
}

fn start(args: &InitArgs, before: &Before, voice: &mut Voice) -> Result<Start, Failure> {
    let before = before.begun.as_ref().map(|begun| begun.from);
    let question = Question::new(
        "from",
        "What do your programs use today? personal-token, or client-credentials without mutual TLS",
    )
    .or(before.unwrap_or(Start::PersonalToken).name());
    let start = voice.answer(&question, args.from.as_deref(), |text| match text {
        "personal-token" => Ok(Start::PersonalToken),
        "client-credentials" => Ok(Start::ClientCredentials),
        _ => Err("say personal-token or client-credentials".to_owned()),
    })?;
    Ok(start.unwrap_or(Start::PersonalToken))
}

/// `None`: Wise has not given one yet.
fn client_id(
    args: &InitArgs,
    before: &Before,
    voice: &mut Voice,
    place: Option<&Place>,
) -> Result<Option<String>, Failure> {
    if let Some(Place::Simulator(there)) = place {
        return Ok(Some(there.client_id.clone()));
    }
    let mut question = Question::new(
        "client-id",
        "Client id, as Wise gave it to you; later, if it has not yet",
    );
    question.default = before.client_id();
    let id = voice.answer(&question, args.client_id.as_deref(), |text| {
        if text.is_empty() || text.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err("a client id is one word".to_owned());
        }
        Ok((text != "later").then(|| text.to_owned()))
    })?;
    Ok(id.flatten())
}

fn keeping(
    args: &InitArgs,
    before: &Before,
    voice: &mut Voice,
    place: Option<&Place>,
) -> Result<Keeping, Failure> {
    if let Some(Place::Simulator(_)) = place {
        return Ok(Keeping::Files);
    }
    let known = before.client_secret().or_else(|| before.personal());
    let known = known.map_or(Keeping::Files, |source| source.keeping());
    let question = Question::new(
        "secrets",
        "How are secrets kept? files (mode 0600), env (variables), systemd (credentials) or exec \
         (a program prints them)",
    )
    .or(known.name());
    let keeping = voice.answer(&question, args.secrets.as_deref(), Keeping::read)?;
    Ok(keeping.unwrap_or(known))
}

/// Where one secret is.
struct Ask<'a> {
    what: &'static str,
    file: Option<&'a PathBuf>,
    file_flag: &'static str,
    exec: Option<&'a str>,
    exec_flag: &'static str,
    /// The usual file.
    usual: String,
    /// The usual name elsewhere.
    name: &'static str,
    before: Option<Source>,
}

impl Ask<'_> {
    /// The source, and the secret where it was given for a file.
    fn source(
        &self,
        keeping: Keeping,
        before: &Before,
        voice: &mut Voice,
    ) -> Result<(Option<Source>, Option<Secret>), Failure> {
        let known = self.before.clone();
        let known = known.filter(|source| source.keeping() == keeping);
        match keeping {
            Keeping::Files => {
                let path = match known {
                    Some(Source::File(path)) => path,
                    _ => self.usual.clone(),
                };
                let is_there = before.has(&path);
                let file = self.file.map(PathBuf::as_path);
                let secret = voice.secret(self.what, self.file_flag, file, is_there)?;
                Ok((Some(Source::File(path)), secret))
            }
            Keeping::Env => {
                let name = format!("WISE_{}", self.name.to_uppercase());
                Ok((Some(known.unwrap_or(Source::Env(name))), None))
            }
            Keeping::Systemd => {
                let name = self.name.to_owned();
                Ok((Some(known.unwrap_or(Source::Credential(name))), None))
            }
            Keeping::Exec => {
                let mut question = Question::new(
                    self.exec_flag,
                    format!("Program that prints the {}, and its arguments", self.what),
                );
                if let Some(Source::Exec(words)) = known {
                    question.default = Some(words.join(" "));
                }
                let words = voice.answer(&question, self.exec, |text| {
                    let words: Vec<_> = text.split_whitespace().map(str::to_owned).collect();
                    match words.first() {
                        Some(program) if program.starts_with('/') => Ok(words),
                        _ => Err("begin with the program's absolute path".to_owned()),
                    }
                })?;
                Ok((words.map(Source::Exec), None))
            }
        }
    }
}

fn has_personal(
    args: &InitArgs,
    before: &Before,
    voice: &mut Voice,
    place: Option<&Place>,
    start: Start,
    is_without_client: bool,
) -> Result<bool, Failure> {
    let wanted = args.personal_token_file.is_some() || args.personal_token_exec.is_some();
    if wanted && args.personal_token.is_none() {
        return Ok(true);
    }
    if let (Some(Place::Simulator(_)), None) = (place, &args.personal_token) {
        return Ok(start == Start::PersonalToken);
    }
    let known = match (&before.text, start) {
        (Some(_), _) if !is_without_client => before.personal().is_some(),
        (_, Start::PersonalToken) => true,
        (_, Start::ClientCredentials) => false,
    };
    let question = Question::new(
        "personal-token",
        "Is there a personal token to fall back on? yes or no",
    )
    .or(if known { "yes" } else { "no" });
    let has = voice.answer(&question, args.personal_token.as_deref(), |text| {
        let has = yes_or_no(text)?;
        if !has && is_without_client {
            return Err(
                "without a client id and without a personal token there is nothing to reach Wise \
                 with"
                    .to_owned(),
            );
        }
        Ok(has)
    })?;
    Ok(has.unwrap_or(known))
}

fn ask_organisation(
    args: &InitArgs,
    before: &Before,
    voice: &mut Voice,
) -> Result<Option<String>, Failure> {
    let mut question = Question::new(
        "organisation",
        "Name of your company, for the certificate request",
    );
    let begun = before.begun.as_ref();
    question.default = begun.and_then(|begun| begun.organisation.clone());
    voice.answer(&question, args.organisation.as_deref(), |text| {
        subject(text, None)?;
        Ok(text.to_owned())
    })
}

fn ask_country(
    args: &InitArgs,
    before: &Before,
    voice: &mut Voice,
) -> Result<Option<String>, Failure> {
    let begun = before.begun.as_ref();
    let known = begun.and_then(|begun| begun.country.clone());
    let question = Question::new("country", "Its country in two capital letters, or none")
        .or(known.unwrap_or_else(|| "none".to_owned()));
    let country = voice.answer(&question, args.country.as_deref(), |text| {
        if text == "none" {
            return Ok(None);
        }
        subject("x", Some(text))?;
        Ok(Some(text.to_owned()))
    })?;
    Ok(country.flatten())
}

fn subject(organisation: &str, country: Option<&str>) -> Result<(), String> {
    let subject = Subject::new(organisation, country, None);
    subject.map(drop).map_err(|error| error.to_string())
}

fn ask_redirect(args: &InitArgs, before: &Before, voice: &mut Voice) -> Result<String, Failure> {
    let known = before
        .redirect()
        .unwrap_or_else(|| LOGIN_REDIRECT.to_owned());
    let question = Question::new(
        "redirect-uri",
        "Redirect address, exactly as on file at Wise",
    )
    .or(known.clone());
    let redirect = voice.answer(&question, args.redirect_uri.as_deref(), |text| {
        let uri: Option<http::Uri> = text.parse().ok();
        let scheme = uri.as_ref().and_then(http::Uri::scheme_str);
        if !matches!(scheme, Some("http" | "https")) || text.contains('#') {
            return Err(format!("write it as a URL, such as {LOGIN_REDIRECT}"));
        }
        Ok(text.to_owned())
    })?;
    Ok(redirect.unwrap_or(known))
}

fn grants(args: &InitArgs, before: &Before, voice: &mut Voice) -> Result<Vec<Grant>, Failure> {
    let known = before.grants();
    let shown: Vec<_> = known
        .iter()
        .filter_map(|grant| Some(format!("{}={}", grant.name, grant.profile.as_ref()?)))
        .collect();
    let question = Question::new(
        "profile",
        "Profiles to authorise, as ids or name=id; any, to pick one on Wise's page",
    )
    .or(if shown.is_empty() {
        "any".to_owned()
    } else {
        shown.join(" ")
    });
    let given = (!args.profile.is_empty()).then(|| args.profile.join(" "));
    let named = |profiles: Vec<(Option<String>, String)>| name_grants(profiles, &known);
    let grants = voice.answer(&question, given.as_deref(), |text| {
        if text == "any" {
            return Ok(any(&known));
        }
        named(profiles(text)?)
    })?;
    Ok(grants.unwrap_or_else(|| any(&known)))
}

fn door(args: &InitArgs, before: &Before) -> Result<String, Failure> {
    let known = before.door().unwrap_or_else(|| DOOR.to_owned());
    let Some(given) = &args.door else {
        return Ok(known);
    };
    let is_socket = given
        .strip_prefix("unix:")
        .is_some_and(|path| !path.is_empty());
    let address = given.parse::<SocketAddr>();
    let is_here = address.is_ok_and(|address| address.ip().is_loopback());
    if is_socket || is_here {
        return Ok(given.clone());
    }
    Err(Failure::usage("--door is no loopback address and no socket").hint(
        "write 127.0.0.1:8080, or unix: and a path; a door beyond this machine needs a key, which \
         only a person should add: see `expose` in config/default.toml",
    ))
}

fn state(args: &InitArgs, before: &Before, voice: &mut Voice) -> Result<String, Failure> {
    let usual = if before.is_of_system() {
        before.own("/var/lib/wise-auth-proxy")
    } else {
        before.own(STATE)
    };
    let known = before.state().unwrap_or(usual);
    let question = Question::new(
        "state",
        "Directory for grants and the switch, kept over restarts",
    )
    .or(known.clone());
    let state = voice.answer(&question, args.state.as_deref(), |text| {
        if text.is_empty() || text.contains(char::is_control) {
            return Err("write a path".to_owned());
        }
        Ok(text.to_owned())
    })?;
    Ok(state.unwrap_or(known))
}
