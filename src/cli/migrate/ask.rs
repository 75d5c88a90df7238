//! Asks Wise what neither files nor a running proxy can tell, once and without ending a token.

use http::StatusCode;

use super::super::failure::Failure;
use super::super::report::Progress;
use super::super::run::control_runtime;
use super::evidence::{Certificate, Client, Evidence, GrantState, Handshake, Proxy};
use crate::config::{Config, Lane};
use crate::secret::Secret;
use crate::server::Probe;
use crate::tokens::ExchangeError;

/// What is left to ask.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    /// Whether Wise takes client id and secret.
    client: bool,
    /// Whether it takes the certificate.
    handshake: bool,
    /// Whether it knows the tokens that rest in the store.
    grants: bool,
}

impl Wanted {
    pub(super) fn any(self) -> bool {
        self.client || self.handshake || self.grants
    }
}

pub(super) fn wanted(evidence: &Evidence) -> Wanted {
    let has_secret = matches!(evidence.client, Client::Accepted(_) | Client::Unasked(_));
    Wanted {
        client: matches!(evidence.client, Client::Unasked(_)),
        handshake: has_secret
            && matches!(evidence.handshake, Handshake::Unknown(_))
            && matches!(evidence.certificate, Certificate::Installed(_)),
        // A proxy that runs may have renewed them since.
        grants: matches!(evidence.proxy, Proxy::Stopped)
            && evidence.grants.iter().any(|grant| has_token(&grant.state)),
    }
}

fn has_token(state: &GrantState) -> bool {
    matches!(
        state,
        GrantState::Stored {
            access: Some(_),
            ..
        }
    )
}

/// Over mutual TLS one answer tells both; the plain host is asked where that did not.
pub(super) fn ask(config: &Config, wanted: Wanted, evidence: &mut Evidence) -> Result<(), Failure> {
    if wanted.handshake {
        match answer(config, Lane::OAuthMtls)? {
            Some((answer, true)) => {
                if wanted.client {
                    evidence.client = client(config, &answer);
                }
                evidence.handshake = handshake(&answer);
            }
            Some((answer, false)) => {
                evidence.client = client(config, &answer);
                let why = "the token endpoint is elsewhere, so only a request can tell";
                evidence.handshake = Handshake::Unknown(why.to_owned());
            }
            None => {}
        }
    }
    if wanted.client
        && matches!(evidence.client, Client::Unasked(_))
        && let Some((answer, _)) = answer(config, Lane::OAuth)?
    {
        evidence.client = client(config, &answer);
    }
    if wanted.grants {
        grants(config, evidence)?;
    }
    Ok(())
}

/// Tries the tokens as they rest: a renewal is the running proxy's alone.
fn grants(config: &Config, evidence: &mut Evidence) -> Result<(), Failure> {
    let is_installed = matches!(evidence.certificate, Certificate::Installed(_));
    let lane = if is_installed && config.switch.lanes.contains(Lane::OAuthMtls) {
        Lane::OAuthMtls
    } else {
        Lane::OAuth
    };
    let probe = match Probe::over(config, lane) {
        Ok(Some(probe)) => Ok(probe),
        Ok(None) => return Ok(()),
        Err(error) => Err(error.to_string()),
    };
    for grant in &mut evidence.grants {
        let GrantState::Stored {
            seen,
            access: Some(access),
        } = &grant.state
        else {
            continue;
        };
        let answer = match &probe {
            Ok(probe) => whose(config, probe, access)?,
            Err(why) => Err(why.clone()),
        };
        grant.state = match answer {
            Ok(StatusCode::OK) => GrantState::Alive(format!("{seen}; Wise knows its token")),
            Ok(StatusCode::UNAUTHORIZED) => GrantState::Broken(
                "Wise does not know its token any more; the connection was taken back".to_owned(),
            ),
            Ok(status) => untried(seen, access, &format!("Wise answered {status}")),
            Err(why) => untried(seen, access, &why),
        };
    }
    Ok(())
}

fn untried(seen: &str, access: &Secret, why: &str) -> GrantState {
    GrantState::Stored {
        seen: format!("{seen}; {why}"),
        access: Some(access.clone()),
    }
}

fn whose(
    config: &Config,
    probe: &Probe,
    access: &Secret,
) -> Result<Result<StatusCode, String>, Failure> {
    let Ok(bearer) = access.bearer() else {
        return Ok(Err("what is stored cannot be sent".to_owned()));
    };
    let answer = within(config, "asking Wise whose the token is", probe.who(bearer))?;
    Ok(match answer {
        Ok(Ok(answer)) => Ok(answer.status),
        Ok(Err(error)) => Err(error.to_string()),
        Err(why) => Err(why),
    })
}

/// Waits for Wise as long as for a token, and shows that it does.
fn within<T>(
    config: &Config,
    doing: &str,
    asking: impl Future<Output = T>,
) -> Result<Result<T, String>, Failure> {
    let patience = config.tokens.exchange_timeout;
    control_runtime()?.block_on(async {
        let asking = tokio::time::timeout(patience, asking);
        let answer = Progress::new().along(doing, asking).await;
        Ok(answer.map_err(|_elapsed| {
            format!("no answer within {}", humantime::format_duration(patience))
        }))
    })
}

/// What came back, or did not.
enum Heard {
    Answer(Result<(), ExchangeError>),
    /// Nothing could be asked.
    Nothing(String),
}

fn answer(config: &Config, lane: Lane) -> Result<Option<(Heard, bool)>, Failure> {
    let probe = match Probe::over(config, lane) {
        Ok(Some(probe)) => probe,
        Ok(None) => return Ok(None),
        Err(error) => {
            let nothing = Heard::Nothing(error.to_string());
            return Ok(Some((nothing, lane == Lane::OAuthMtls)));
        }
    };
    let doing = "asking Wise for a token of its own";
    let heard = match within(config, doing, probe.ask())? {
        Ok(answer) => Heard::Answer(answer),
        Err(why) => Heard::Nothing(why),
    };
    Ok(Some((heard, probe.is_mutual)))
}

fn client(config: &Config, heard: &Heard) -> Client {
    let id = config.oauth.as_ref().map_or("", |oauth| &oauth.client_id);
    match heard {
        Heard::Answer(Ok(())) => {
            Client::Accepted(format!("client {id}: Wise gave a token just now"))
        }
        Heard::Answer(Err(error)) => match error {
            ExchangeError::InvalidClient { .. }
            | ExchangeError::InvalidGrant { .. }
            | ExchangeError::Refused { .. } => Client::Refused(error.to_string()),
            ExchangeError::NotSent(_)
            | ExchangeError::AnswerLost(_)
            | ExchangeError::Throttled { .. }
            | ExchangeError::ServerTrouble { .. }
            | ExchangeError::Garbled(_) => Client::Unasked(error.to_string()),
        },
        Heard::Nothing(why) => Client::Unasked(why.clone()),
    }
}

fn handshake(heard: &Heard) -> Handshake {
    match heard {
        Heard::Answer(Ok(())) => {
            Handshake::Done("Wise gave a token over mutual TLS just now".to_owned())
        }
        Heard::Answer(Err(error)) => match error {
            // It looked at what was sent over the connection.
            ExchangeError::InvalidClient { .. } | ExchangeError::InvalidGrant { .. } => {
                Handshake::Done("Wise answered over mutual TLS just now".to_owned())
            }
            ExchangeError::NotSent(_) | ExchangeError::AnswerLost(_) => {
                Handshake::Failed(error.to_string())
            }
            // An edge in front of Wise may refuse a certificate in HTTP.
            ExchangeError::Refused { .. } => Handshake::Failed(error.to_string()),
            ExchangeError::Throttled { .. }
            | ExchangeError::ServerTrouble { .. }
            | ExchangeError::Garbled(_) => Handshake::Unknown(error.to_string()),
        },
        Heard::Nothing(why) => Handshake::Unknown(why.clone()),
    }
}
