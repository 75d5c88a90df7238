//! Deliveries to the application: one after the other, in order of arrival, each until it is taken.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use aws_lc_rs::rand;
use tokio_util::sync::CancellationToken;

use super::Webhook;
use super::post::{Verdict, post};
use super::queue::Queue;
use super::shelf::{Change, Waiting};
use crate::failpoint::{self, Point};
use crate::telemetry::events::Kind;

/// The first pause after a failure; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// And no longer than this, whatever the application asks for.
const LONGEST_PAUSE: Duration = Duration::from_mins(5);

/// So often the application may refuse a delivery before the next goes on.
const REFUSALS: u32 = 3;

/// The second refusal counts this long after the first, and the third twice as long after the second: what
/// a deploy of the application says in its confusion sets nothing aside.
const APART: Duration = Duration::from_mins(1);

/// Forwards until `stop`, and ends what is in flight then. Dropping it leaves what was in flight in the
/// queue.
pub(super) async fn run(webhook: Arc<Webhook>, queue: Arc<Queue>, stop: CancellationToken) {
    loop {
        let Some(first) = stop.run_until_cancelled(queue.first()).await else {
            return;
        };
        match first {
            Ok(Some(waiting)) => {
                if !insist(&webhook, &queue, &waiting, &stop).await {
                    return;
                }
            }
            Ok(None) => {
                if !pause(&webhook, None, &stop).await {
                    return;
                }
            }
            // The queue has said what is wrong, and says when it is not.
            Err(_) => {
                if !pause(&webhook, Some(FIRST_PAUSE), &stop).await {
                    return;
                }
            }
        }
    }
}

/// Tries until the application has the delivery or has refused it often enough. Says whether to go
/// on.
async fn insist(
    webhook: &Webhook,
    queue: &Queue,
    waiting: &Waiting,
    stop: &CancellationToken,
) -> bool {
    let mut failures = 0_u32;
    let mut refusals = Refusals::default();
    let counts = &webhook.counts;
    loop {
        // Before anything is asked: who hurries while it is under way is heard.
        let hurried = webhook.hurry.notified();
        let dress = webhook.dress.load_full();
        let asked = post(&dress.settings, &waiting.delivery).await;
        let (trouble, wait) = match asked {
            Ok(Verdict::Taken) => {
                failpoint::pass(Point::WebhookTaken);
                counts.forwarded.fetch_add(1, Ordering::Relaxed);
                webhook.tell(None);
                return settle(webhook, queue, &Change::Remove(waiting.entry()), stop).await;
            }
            Ok(Verdict::Refused(status)) => {
                let apart = refusals.another(webhook.clock.boot());
                let Some(apart) = apart else {
                    counts.set_aside.fetch_add(1, Ordering::Relaxed);
                    set_aside(webhook, waiting, status.as_u16());
                    let change = Change::SetAside(waiting.entry(), status.as_u16());
                    return settle(webhook, queue, &change, stop).await;
                };
                counts.failed.fetch_add(1, Ordering::Relaxed);
                (format!("the application answered {status}"), Some(apart))
            }
            Ok(Verdict::Later(status, wait)) => {
                counts.failed.fetch_add(1, Ordering::Relaxed);
                (format!("the application answered {status}"), wait)
            }
            Err(error) => {
                counts.failed.fetch_add(1, Ordering::Relaxed);
                (error.to_string(), None)
            }
        };
        let asked = wait.map(|wait| wait.clamp(FIRST_PAUSE, LONGEST_PAUSE));
        let wait = asked.unwrap_or_else(|| backoff(failures));
        tracing::warn!(
            webhook = webhook.name,
            delivery = waiting.delivery.fields.id,
            retry_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX),
            "a delivery waits: {trouble}"
        );
        webhook.tell(Some(trouble));
        failures += 1;
        // A reload or an operator's word may have mended what was wrong.
        let waited = stop.run_until_cancelled(tokio::time::timeout(wait, hurried));
        if waited.await.is_none() {
            return false;
        }
    }
}

/// How often a delivery was refused, and when that counted last, by the boot clock.
#[derive(Default)]
struct Refusals {
    count: u32,
    last: Duration,
}

impl Refusals {
    /// One more, which counts if it is far enough from the last. Returns how long the next is away, or
    /// `None` after the last that is allowed.
    fn another(&mut self, now: Duration) -> Option<Duration> {
        let apart = APART * self.count;
        let left = apart.saturating_sub(now.saturating_sub(self.last));
        if left > Duration::ZERO {
            return Some(left);
        }
        self.count += 1;
        self.last = now;
        (self.count < REFUSALS).then(|| APART * self.count)
    }
}

/// Has the queue know what became of a delivery before anything else happens: the next one would
/// otherwise be in flight when this one comes again.
async fn settle(
    webhook: &Webhook,
    queue: &Queue,
    change: &Change,
    stop: &CancellationToken,
) -> bool {
    loop {
        // A stop waits for it: it may be on the disk already.
        match queue.make(change.clone()).await {
            Ok(_) => return !stop.is_cancelled(),
            Err(error) => {
                let trouble = format!("what the application has cannot be noted: {error}");
                webhook.tell(Some(trouble));
                if !pause(webhook, Some(FIRST_PAUSE), stop).await {
                    return false;
                }
            }
        }
    }
}

fn set_aside(webhook: &Webhook, waiting: &Waiting, status: u16) {
    let id = &waiting.delivery.fields.id;
    tracing::error!(
        webhook = webhook.name,
        delivery = id,
        status,
        "a delivery was set aside: the application has refused it {REFUSALS} times"
    );
    let text = format!(
        "webhook {}: the application answered {status} to delivery {id} {REFUSALS} times; it was \
         set aside, and the next go on",
        webhook.name
    );
    webhook.events.note(Kind::DeliverySetAside, None, text);
}

/// Waits for news of the queue, or for `time` at most. Says whether to go on.
async fn pause(webhook: &Webhook, time: Option<Duration>, stop: &CancellationToken) -> bool {
    let wait = async {
        match time {
            None => webhook.news.notified().await,
            Some(time) => tokio::time::sleep(time).await,
        }
    };
    stop.run_until_cancelled(wait).await.is_some()
}

/// Twice as long each time; at random between half of that and the whole, so that many proxies do not
/// come back to one application at once.
fn backoff(failures: u32) -> Duration {
    let whole = FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(failures));
    let half = whole.min(LONGEST_PAUSE) / 2;
    let mut byte = [0];
    // Without randomness there is no jitter.
    let _ = rand::fill(&mut byte);
    half + half.mul_f64(f64::from(byte[0]) / 255.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_count_a_minute_and_two_apart() {
        let seconds = Duration::from_secs;
        let mut refusals = Refusals::default();
        for (at, next) in [
            (5, Some(60)),
            (5, Some(60)),
            (64, Some(1)),
            (65, Some(120)),
            (184, Some(1)),
            (185, None),
        ] {
            let next = next.map(seconds);
            assert_eq!(refusals.another(seconds(at)), next, "{at}");
        }
    }

    #[test]
    fn pauses_double_from_a_second_to_five_minutes() {
        for (failures, whole) in [(0, 1), (1, 2), (2, 4), (8, 256), (9, 300), (99, 300)] {
            let whole = Duration::from_secs(whole);
            for _ in 0..64 {
                let pause = backoff(failures);
                assert!(
                    whole / 2 <= pause && pause <= whole,
                    "{failures}: {pause:?}"
                );
            }
        }
    }
}
