//! The OAuth client: does Wise know this id and secret?
//!
//! Asked by an exchange of client credentials, never by a refresh. A refresh token belongs to the
//! proxy that serves its grant: Wise ends the access token in use the moment one is shown, and may
//! end the grant at a second use. A client-credentials exchange shows none and touches no grant. Wise
//! keeps several such tokens side by side and advises one for each worker ("Client credentials
//! token"); should it end the proxy's own after all, the proxy meets a 401 and fetches another, as
//! it does every twelve hours. The token that comes is dropped unused.

use std::sync::Arc;

use super::bench::{Bench, Host};
use super::check::{Check, Finding, Group};
use super::rounds::Rounds;
use crate::config::Lane;
use crate::tokens::{Exchange as _, ExchangeError, GrantRequest};
use crate::upstream::{Aim, TokenEndpoint};

const SECRET: &str = "secret.oauth.client_secret";

pub(super) async fn look(rounds: &mut Rounds, bench: &Bench) {
    let mut asked: Vec<Host> = Vec::new();
    if bench.config.oauth.is_none() {
        return;
    }
    // The lane in use first, then where a switch would send exchanges.
    let lanes = bench.config.switch.lanes.iter();
    for lane in [bench.lane].into_iter().chain(lanes) {
        let (host, _) = bench.token_endpoint(lane);
        if !asked.contains(&host) {
            asked.push(host);
            exchange(rounds, bench, lane).await;
        }
    }
}

async fn exchange(rounds: &mut Rounds, bench: &Bench, lane: Lane) {
    let (host, path) = bench.token_endpoint(lane);
    let lanes = bench.config.switch.lanes.iter();
    let served = lanes.filter(|lane| lane.is_oauth() && bench.token_endpoint(*lane).0 == host);
    let id = format!("oauth.client.{}", host.name());
    let check = Check::new(Group::Client, id, "the client id and secret")
        .after([SECRET.to_owned()].into_iter().chain(host.ground()))
        .serving(served)
        .over_network();
    let work = async {
        let (Some(oauth), Some(secret)) = (&bench.config.oauth, bench.secrets.get(SECRET)) else {
            return (Finding::skipped("there is no client secret"), None::<()>);
        };
        let endpoint = match bench.way(host) {
            Ok((endpoint, _)) => Arc::new(endpoint),
            Err(finding) => return (finding, None),
        };
        let aim = match Aim::new(endpoint, path, &oauth.client_id, secret) {
            Ok(aim) => aim,
            Err(error) => {
                let hint = format!("write the secret anew into {}", oauth.client_secret);
                return (Finding::failed(error.to_string(), hint), None);
            }
        };
        let ttl = bench.config.upstream.dns_ttl;
        let tokens = TokenEndpoint::new(aim, bench.connect_timeout(), ttl);
        let name = &bench.origin(host).host;
        let exchange = tokens.exchange(GrantRequest::ClientCredentials);
        let finding = match Box::pin(exchange).await {
            Ok(answer) => Finding::good(format!("{name} knows client {}", oauth.client_id))
                .fact("expires_in", answer.expires_in),
            Err(error) => refused(bench, name, &error),
        };
        (
            finding
                .fact("host", name)
                .fact("client_id", &oauth.client_id),
            None,
        )
    };
    rounds.check(check, work).await;
}

fn refused(bench: &Bench, host: &str, error: &ExchangeError) -> Finding {
    let oauth = bench.config.oauth.as_ref();
    let source = oauth.map_or_else(String::new, |oauth| oauth.client_secret.to_string());
    let again = format!("run {} again in a while", bench.command("doctor"));
    match error {
        ExchangeError::InvalidClient { status, error } => Finding::failed(
            format!("{host} does not accept the client ({error}, status {status})"),
            format!(
                "compare oauth.client_id and what is in {source} with the Developer Hub of {}: each \
                 environment has its own pair, and a rotated secret ends the old one; then {}",
                bench.config.environment,
                bench.command("reload"),
            ),
        ),
        ExchangeError::Throttled { .. } | ExchangeError::ServerTrouble { .. } => {
            Finding::warning(format!("{host}: {error}"), again)
        }
        ExchangeError::Refused { status: 403, .. } => Finding::failed(
            format!("{host} does not serve us here: {error}"),
            format!(
                "once Wise enforces mutual TLS the plain host refuses everything: {}, and take the \
                 other lanes out of switch.allow",
                bench.command("switch oauth-mtls --reason \"mutual TLS is enforced\"")
            ),
        ),
        ExchangeError::NotSent(_) | ExchangeError::AnswerLost(_) => {
            Finding::failed(format!("{host}: {error}"), again)
        }
        ExchangeError::InvalidGrant { .. }
        | ExchangeError::Refused { .. }
        | ExchangeError::Garbled(_) => Finding::failed(
            format!("{host}: {error}"),
            "check that wise.token_url, where it is set, is a token endpoint of Wise's; ask Wise \
             which grants this client may use",
        ),
    }
}
