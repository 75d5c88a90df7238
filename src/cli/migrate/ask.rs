//! Asks Wise what neither files nor a running proxy can tell, once and without ending a token.

use std::time::Duration;

use super::super::failure::Failure;
use super::super::report::Progress;
use super::super::run::control_runtime;
use super::evidence::{Certificate, Client, Evidence, Handshake};
use crate::config::{Config, Lane};
use crate::server::Probe;
use crate::tokens::ExchangeError;

/// What is left to ask.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    /// Whether Wise takes client id and secret.
    client: bool,
    /// Whether it takes the certificate.
    handshake: bool,
}

impl Wanted {
    pub(super) fn any(self) -> bool {
        self.client || self.handshake
    }
}

pub(super) fn wanted(evidence: &Evidence) -> Wanted {
    let has_secret = matches!(evidence.client, Client::Accepted(_) | Client::Unasked(_));
    Wanted {
        client: matches!(evidence.client, Client::Unasked(_)),
        handshake: has_secret
            && matches!(evidence.handshake, Handshake::Unknown(_))
            && matches!(evidence.certificate, Certificate::Installed(_)),
    }
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
    Ok(())
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
    let patience: Duration = config.tokens.exchange_timeout;
    let heard = control_runtime()?.block_on(async {
        let asking = tokio::time::timeout(patience, probe.ask());
        let mut progress = Progress::new();
        let answer = progress.along("asking Wise for a token of its own", asking);
        match answer.await {
            Ok(answer) => Heard::Answer(answer),
            Err(_) => Heard::Nothing(format!(
                "no answer within {}",
                humantime::format_duration(patience)
            )),
        }
    });
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
