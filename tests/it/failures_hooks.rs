//! The rows of `docs/failures.md` about webhooks: what comes in, and what becomes of it. As with the
//! other rows, a test takes one by its id and says what it saw; `failures_table` writes the page.

use std::cell::Cell;
use std::collections::BTreeSet;

use crate::house::{Answer, House};

const DELIVERIES: &str = "wise_proxy_webhook_deliveries_total";

/// Something that comes in at a webhook and is not kept.
#[derive(Clone, Copy, Debug)]
pub struct HookRow {
    pub id: &'static str,
    /// What comes.
    pub fault: &'static str,
    /// Status and type of what Wise gets.
    pub told: HookTold,
    /// A line of the log holds this. Empty: nothing at the default level.
    pub log: &'static str,
    /// Outcome in the counter of deliveries.
    pub outcome: &'static str,
    /// Whether there is an event `webhook_unkept`.
    pub event: bool,
}

#[derive(Clone, Copy, Debug)]
pub enum HookTold {
    /// It has been kept before.
    Taken,
    Problem(u16, &'static str),
    /// The connection is closed.
    Nothing,
}

pub const HOOK_ROWS: &[HookRow] = &[
    row(
        "hook-duplicate",
        "a delivery whose `X-Delivery-Id` was kept within `window`",
        HookTold::Taken,
        "",
        "duplicate",
    ),
    row(
        "hook-elsewhere",
        "another path than `webhook.path`",
        HookTold::Problem(404, "no-such-webhook"),
        "a delivery was not taken: Elsewhere",
        "misdirected",
    ),
    row(
        "hook-method",
        "another method than POST",
        HookTold::Problem(405, "method-not-allowed"),
        "a delivery was not taken: Method",
        "misdirected",
    ),
    row(
        "hook-malformed",
        "no, two or a garbled signature or delivery id; a body that breaks off",
        HookTold::Problem(400, "bad-delivery"),
        "a delivery was not taken: NoSignature",
        "malformed",
    ),
    row(
        "hook-too-large",
        "a body beyond `webhook.max_body`",
        HookTold::Problem(413, "delivery-too-large"),
        "a delivery was not taken: TooLarge",
        "too_large",
    ),
    row(
        "hook-too-slow",
        "a body that does not come within 5 s",
        HookTold::Problem(408, "request-timeout"),
        "a delivery was not taken: TooSlow",
        "too_slow",
    ),
    row(
        "hook-forged",
        "a signature by another key or over another body; or Wise has rotated its key, or `environment` is wrong",
        HookTold::Problem(503, "signature-wrong"),
        "a delivery was not taken: Forged",
        "forged",
    ),
    row(
        "hook-stranger",
        "a delivery that Wise signed, of a subscription that is not in `webhook.subscriptions`",
        HookTold::Problem(403, "subscription-unknown"),
        "a delivery was not taken: Strange",
        "stranger",
    ),
    row(
        "hook-no-certificate",
        "no TLS, or no client certificate of `webhook.client_ca`",
        HookTold::Nothing,
        "",
        "no_handshake",
    ),
    row(
        "hook-other-certificate",
        "a client certificate without one of `webhook.client_names`, or whose authority a reload has withdrawn",
        HookTold::Problem(503, "certificate-unknown"),
        "a delivery was not taken: Uncertified",
        "uncertified",
    ),
    row(
        "hook-no-place",
        "a connection while 256 are open, or 64 of its address (IPv6: its /64)",
        HookTold::Nothing,
        "connections are closed as they come",
        "crowded",
    ),
    HookRow {
        event: true,
        ..row(
            "hook-full",
            "a delivery while `webhook.max_queued` wait for the application",
            HookTold::Problem(503, "queue-full"),
            "a delivery was not taken: Full",
            "refused",
        )
    },
    HookRow {
        event: true,
        ..row(
            "hook-disk",
            "a delivery while the disk takes nothing, or the queue's file is damaged",
            HookTold::Problem(503, "queue-unavailable"),
            "deliveries cannot be kept and are answered 503",
            "refused",
        )
    },
];

const fn row(
    id: &'static str,
    fault: &'static str,
    told: HookTold,
    log: &'static str,
    outcome: &'static str,
) -> HookRow {
    HookRow {
        id,
        fault,
        told,
        log,
        outcome,
        event: false,
    }
}

/// The row of something that comes in, to be filled by the test that sends it.
pub fn hook_row(id: &str) -> HookCase {
    let found = HOOK_ROWS.iter().find(|row| row.id == id);
    HookCase {
        row: found.unwrap_or_else(|| panic!("no row is called {id}")),
        shown: Cell::new(false),
    }
}

/// A row and whether it has been seen. Dropping it unseen is a failed test.
#[must_use = "a row is there to be asserted"]
pub struct HookCase {
    row: &'static HookRow,
    shown: Cell<bool>,
}

impl HookCase {
    /// This was answered; the operator reads what the row says.
    pub async fn answered(&self, house: &House, answer: &Answer) {
        let problem = (answer.status != 200).then(|| answer.problem());
        self.told(house, answer.status.as_u16(), problem.as_deref())
            .await;
    }

    /// The connection was closed without an answer.
    pub async fn closed(&self, house: &House) {
        self.told(house, 0, None).await;
    }

    /// As [`Self::answered`], of an answer that was read by hand.
    pub async fn told(&self, house: &House, status: u16, problem: Option<&str>) {
        let HookRow { id, log, .. } = *self.row;
        let wanted = match self.row.told {
            HookTold::Taken => (200, None),
            HookTold::Problem(status, kind) => (status, Some(kind)),
            HookTold::Nothing => (0, None),
        };
        assert_eq!((status, problem), wanted, "{id}");
        if !log.is_empty() {
            house.logs(log).await;
        }
        let label = format!("outcome=\"{}\"", self.row.outcome);
        let counted = house.metric(DELIVERIES, &label).await;
        assert!(counted >= 1.0, "{id}: {DELIVERIES}{{{label}}}");
        let status = house.status().await;
        let mut events = status["events"].as_array().unwrap().iter();
        let told = events.any(|event| event["kind"] == "webhook_unkept");
        assert_eq!(told, self.row.event, "{id}: {status:#}");
        self.shown.set(true);
    }
}

impl Drop for HookCase {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert!(self.shown.get(), "{}: it was not looked at", self.row.id);
        }
    }
}

impl HookRow {
    pub const HEADING: &'static str = "\n## Webhooks\n\n\
        What comes in and is not kept; of what is kept nothing is lost. Wise tries a delivery 25 times in some two \
        weeks, but gives it up with the third 400, 403, 404 or 405, within minutes.\n\n\
        | what comes in | Wise gets | what becomes of it | the operator reads | shown by |\n\
        |---|---|---|---|---|\n";

    pub fn render(&self, tests: &BTreeSet<String>) -> String {
        let again = "not kept; Wise tries again for two weeks";
        let (told, becomes) = match self.told {
            HookTold::Taken => ("200".to_owned(), "dropped: the application has it, or will"),
            HookTold::Nothing => ("no answer, closed".to_owned(), again),
            HookTold::Problem(status, kind) => {
                let is_final = [400, 403, 404, 405].contains(&status);
                let becomes = if is_final {
                    "not kept; Wise tries twice more"
                } else {
                    again
                };
                (format!("{status} `{kind}`"), becomes)
            }
        };
        let mut reads = Vec::new();
        if !self.log.is_empty() {
            reads.push(format!("log: `{}`", self.log));
        }
        reads.push(format!("`{DELIVERIES}{{outcome=\"{}\"}}`", self.outcome));
        if self.event {
            reads.push("event `webhook_unkept`".to_owned());
        }
        let tests: Vec<String> = tests.iter().map(|test| format!("`{test}`")).collect();
        format!(
            "| {} | {told} | {becomes} | {} | {} |\n",
            self.fault,
            reads.join("; "),
            tests.join(", ")
        )
    }
}
