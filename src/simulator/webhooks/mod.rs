//! Webhooks: what happened, sent to whoever subscribed, signed and tried again as Wise does it.

mod attempt;
mod identity;
mod journal;
mod schedule;
mod switches;

use std::pin::pin;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

use tokio::time::Instant;
use uuid::Uuid;

use self::attempt::Answer;
use self::identity::Certificate;
use self::identity::Signer;
pub use self::journal::Attempt;
pub use self::journal::Delivery;
pub use self::journal::DeliveryState;
pub(super) use self::journal::Journal;
pub use self::switches::Forgery;
pub use self::switches::Forging;
pub use self::switches::Receivers;
pub use self::switches::WebhookFaults;
use super::shared::Shared;
use super::world;
use super::world::Event;
use super::world::Subscription;

/// Why an attempt had no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    #[error("no such receiver as {0}")]
    Url(String),
    #[error("{0} is not on this machine; name its address in webhook.hosts")]
    Elsewhere(String),
    #[error("cannot read the authorities in webhook.ca-file: {0}")]
    Authorities(String),
    #[error("no connection: {0}")]
    Connect(std::io::Error),
    #[error("no TLS: {0}")]
    Tls(std::io::Error),
    #[error("no answer: {0}")]
    Http(hyper::Error),
    #[error("no answer within the limit")]
    TooSlow,
    #[error("{0}; this is a defect of the simulator, please report it")]
    Broken(&'static str),
}

/// The sender's keys, made when first needed.
#[derive(Default)]
pub(super) struct Sender {
    signer: Mutex<Option<Arc<Signer>>>,
    certificate: Mutex<Option<Arc<Certificate>>>,
}

impl Sender {
    fn signer(&self) -> Result<Arc<Signer>, Trouble> {
        kept(&self.signer, Signer::new)
    }

    fn certificate(&self, now: SystemTime) -> Result<Arc<Certificate>, Trouble> {
        kept(&self.certificate, || Certificate::new(now))
    }

    /// The public key that deliveries verify with, as PEM.
    pub(super) fn public_key(&self) -> Result<String, Trouble> {
        Ok(self.signer()?.public().to_owned())
    }

    /// The authorities of the client certificate, as PEM.
    pub(super) fn authorities(&self, now: SystemTime) -> Result<String, Trouble> {
        Ok(self.certificate(now)?.authorities().to_owned())
    }
}

fn kept<T>(
    place: &Mutex<Option<Arc<T>>>,
    make: impl FnOnce() -> Result<T, Trouble>,
) -> Result<Arc<T>, Trouble> {
    let mut place = place.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(made) = &*place {
        return Ok(Arc::clone(made));
    }
    let made = Arc::new(make()?);
    *place = Some(Arc::clone(&made));
    Ok(made)
}

/// Sends off what has happened since the last call.
pub(super) fn dispatch(shared: &Arc<Shared>) -> Vec<String> {
    let happened = std::mem::take(&mut shared.lock().world.outbox);
    happened
        .iter()
        .flat_map(|event| publish(shared, event))
        .collect()
}

/// Sends an event to every subscription that wants it; returns the deliveries' ids.
pub(super) fn publish(shared: &Arc<Shared>, event: &Event) -> Vec<String> {
    let now = shared.now();
    let mut state = shared.lock();
    let subscriptions = state.world.subscriptions.matching(event);
    let spaced = state.faults.webhook.spaced;
    let mut ids = Vec::new();
    for subscription in subscriptions {
        let body = world::event_body(event, &subscription.id, subscription.version, now);
        let Ok(mut body) = body else {
            continue;
        };
        if spaced {
            body = body.replace("\":", "\" : ");
        }
        let id = match &event.test {
            Some((id, _)) => id.clone(),
            None => Uuid::new_v4().to_string(),
        };
        state.journal.open(Delivery {
            id: id.clone(),
            subscription: subscription.id.clone(),
            event: event.name.clone(),
            url: subscription.url.clone(),
            test: event.test.is_some(),
            body,
            state: DeliveryState::Pending,
            attempts: Vec::new(),
        });
        shared
            .tracker
            .spawn(carry(Arc::clone(shared), subscription, id.clone()));
        ids.push(id);
    }
    ids
}

/// Sends a delivery of the journal once more, under its own id; `false` when there is none.
pub(super) fn repeat(shared: &Arc<Shared>, id: &str) -> bool {
    let state = shared.lock();
    let Some(delivery) = state.journal.find(id).cloned() else {
        return false;
    };
    let Some(subscription) = state.world.subscriptions.find(&delivery.subscription) else {
        return false;
    };
    drop(state);
    let again = Arc::clone(shared);
    shared.tracker.spawn(async move {
        tokio::select! {
            () = again.stop.cancelled() => {}
            _ = once(&again, &subscription, &delivery) => {}
        }
    });
    true
}

/// Tries until the receiver takes it, or Wise gives up, or the subscription or simulator ends.
async fn carry(shared: Arc<Shared>, subscription: Subscription, id: String) {
    let work = async {
        loop {
            let delivery = shared.lock().journal.find(&id).cloned();
            let Some(delivery) = delivery else {
                return;
            };
            let Some(pause) = once(&shared, &subscription, &delivery).await else {
                break;
            };
            let minute = shared.lock().faults.webhook.minute;
            let gone = until_gone(&shared, &subscription.id);
            if tokio::time::timeout(schedule::scaled(pause, minute), gone)
                .await
                .is_ok()
            {
                let abandon = |delivery: &mut Delivery| delivery.state = DeliveryState::Abandoned;
                shared.lock().journal.change(&id, abandon);
                shared.happened.notify_waiters();
                return;
            }
        }
        let (delivery, duplicates) = {
            let state = shared.lock();
            let delivery = state.journal.find(&id).cloned();
            (delivery, state.faults.webhook.duplicates)
        };
        if let Some(delivery) = delivery
            && delivery.state == DeliveryState::Delivered
        {
            for _ in 0..duplicates {
                once(&shared, &subscription, &delivery).await;
            }
        }
    };
    tokio::select! {
        () = shared.stop.cancelled() => {}
        () = work => {}
    }
}

/// Waits until there is no such subscription.
async fn until_gone(shared: &Shared, subscription: &str) {
    loop {
        let mut happened = pin!(shared.happened.notified());
        happened.as_mut().enable();
        if !shared.lock().world.subscriptions.contains(subscription) {
            return;
        }
        happened.await;
    }
}

/// One attempt, written down; says when to try again.
async fn once(
    shared: &Arc<Shared>,
    subscription: &Subscription,
    delivery: &Delivery,
) -> Option<Duration> {
    let (switches, forgery) = {
        let mut state = shared.lock();
        let forgery = Forging::take(&mut state.faults.webhook.forge);
        (state.faults.webhook.clone(), forgery)
    };
    let (begun, at) = (Instant::now(), shared.now());
    let (signature, answer) =
        attempt::send(shared, subscription, delivery, &switches, forgery).await;
    let took = milliseconds(begun.elapsed());
    let taken = answer.as_ref().is_ok_and(Answer::is_success);
    let status = answer.as_ref().ok().map(|answer| answer.status);
    let mut pause = None;
    {
        let mut state = shared.lock();
        state.journal.change(&delivery.id, |known| {
            let attempts = u32::try_from(known.attempts.len() + 1).unwrap_or(u32::MAX);
            if taken {
                known.state = DeliveryState::Delivered;
            } else if known.state == DeliveryState::Pending {
                let own = schedule::pause(attempts, status);
                // The receiver may say when, but not that there are more attempts.
                let asked = answer.as_ref().ok().and_then(|answer| {
                    let value = answer.retry_after.as_deref()?;
                    schedule::retry_after(value, shared.now())
                });
                pause = own.map(|own| asked.unwrap_or(own));
                if pause.is_none() {
                    known.state = DeliveryState::Failed;
                }
            }
            known.attempts.push(Attempt {
                at: milliseconds(at.duration_since(UNIX_EPOCH).unwrap_or_default()),
                took,
                signature,
                status,
                error: answer.err().map(|trouble| trouble.to_string()),
                next_in: pause.map(milliseconds),
            });
        });
    }
    shared.happened.notify_waiters();
    pause
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
