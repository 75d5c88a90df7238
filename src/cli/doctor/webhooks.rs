//! Webhooks: do their keys and certificates belong together, and does what comes in go on?

use serde_json::Value;

use super::bench::Bench;
use super::check::{Check, Finding, Group};
use super::rounds::Rounds;
use crate::cli::spelling;
use crate::config::{Environment, Origin, Webhook};
use crate::webhook::Dress;

/// Three checks for each webhook; the last asks the running proxy.
pub(super) async fn look(rounds: &mut Rounds, bench: &Bench) {
    let environment = bench.config.environment;
    for webhook in &bench.config.webhooks {
        let name = webhook.name.as_str();
        let keys = format!("webhook.{name}.keys");
        let check = Check::new(Group::Doors, keys, format!("keys of webhook {name}"));
        let settings = webhook.clone();
        rounds
            .look(check, move || readable(&settings, environment))
            .await;
        let forward = format!("webhook.{name}.forward");
        let check = Check::new(Group::Doors, forward, format!("way on of webhook {name}"));
        let origin = webhook.forward.clone();
        rounds.look(check, move || unread(&origin)).await;
        let Some(status) = &bench.running else {
            continue;
        };
        let all = status["webhooks"].as_array().into_iter().flatten();
        let Some(standing) = all.into_iter().find(|it| it["name"] == name).cloned() else {
            continue;
        };
        let queue = format!("webhook.{name}.queue");
        let check = Check::new(Group::Doors, queue, format!("queue of webhook {name}"));
        rounds.look(check, move || moving(&standing)).await;
    }
}

fn readable(webhook: &Webhook, environment: Environment) -> Finding {
    let client_ca = webhook
        .tls
        .as_ref()
        .is_some_and(|tls| tls.client_ca.is_some());
    match Dress::read(webhook, environment) {
        Ok(_) if webhook.subscriptions.is_empty() => {
            let shown = if client_ca {
                "Wise's signature and certificate prove Wise, and not that a delivery is for you"
            } else {
                "Wise's signature, and it alone, is believed; it does not say for whom a delivery is"
            };
            let text = format!(
                "the keys are in order, but deliveries of every subscription are taken: {shown}, and \
                 another customer of Wise can point a subscription here"
            );
            let hint = "put the ids that `wise-auth-proxy webhook list` shows into \
                        webhook.subscriptions, and reload";
            Finding::warning(text, hint)
        }
        Ok(_) if webhook.tls.is_some() && !client_ca => Finding::good(
            "signature key and certificate are in order; whoever connects is believed by signature alone",
        ),
        Ok(_) => Finding::good("signature key and certificates are in order"),
        Err(error) => {
            let hint =
                "mend the file, or name another; the proxy does not start, or reload, until then";
            Finding::failed(error.to_string(), hint)
        }
    }
}

/// Deliveries go on by plain HTTP.
fn unread(forward: &Origin) -> Finding {
    if forward.is_loopback() {
        return Finding::good(format!("deliveries stay on this machine: {forward}"));
    }
    let text = format!(
        "deliveries go to {forward} by plain HTTP: whoever is on the way reads them, and can take \
         them in the application's place"
    );
    let hint = "run the proxy beside the application, with webhook.forward on 127.0.0.1; or see to \
                it that only the two are on that network";
    Finding::warning(text, hint)
}

fn moving(standing: &Value) -> Finding {
    let count = |key: &str| standing[key].as_u64().unwrap_or(0);
    let (queued, set_aside) = (count("queued"), count("set_aside"));
    if let Some(error) = standing["error"].as_str() {
        let hint = "deliveries are answered 503 until then, and Wise tries again for two weeks";
        return Finding::failed(error.to_owned(), hint);
    }
    if let Some(trouble) = standing["trouble"].as_str() {
        let hint = "mend the application; nothing is lost meanwhile, and the order is kept";
        return Finding::warning(format!("{queued} wait: {trouble}"), hint);
    }
    if set_aside > 0 {
        let text = format!("the application has refused {set_aside}, which are kept");
        let name = spelling::word(standing["name"].as_str().unwrap_or_default());
        let hint = format!("once it takes them, `wise-auth-proxy webhook retry {name}`");
        return Finding::warning(text, hint);
    }
    Finding::good(format!("{queued} wait")).fact("queued", queued)
}
