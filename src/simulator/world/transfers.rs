//! Transfers and their states, and the payment that sets them going.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::time::SystemTime;

use http::StatusCode;
use serde_json::Value;
use serde_json::json;

use super::Call;
use super::World;
use super::events::Event;
use super::events::TransferState;
use super::money;
use super::profiles;
use super::statements;
use crate::simulator::errors;
use crate::simulator::faults::InsufficientFunds;
use crate::simulator::reply::Reply;
use crate::simulator::reply::json_reply;
use crate::simulator::reply::text;
use crate::simulator::reply::typed;
use crate::simulator::times;

const FIRST: u64 = 16_521_632;

#[derive(Default)]
pub(super) struct Transfers {
    all: BTreeMap<u64, Transfer>,
    by_transaction: HashMap<String, u64>,
    payments: u64,
}

pub(super) struct Transfer {
    id: u64,
    pub(super) profile: u64,
    recipient: u64,
    quote: String,
    transaction: String,
    pub(super) status: Status,
    source: &'static str,
    source_cents: i64,
    target: &'static str,
    target_cents: i64,
    rate: i64,
    reference: String,
    details: Value,
    created: SystemTime,
    payments: Vec<Value>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Status {
    IncomingPaymentWaiting,
    Processing,
    FundsConverted,
    OutgoingPaymentSent,
    Cancelled,
    BouncedBack,
    FundsRefunded,
}

impl Status {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::IncomingPaymentWaiting => "incoming_payment_waiting",
            Self::Processing => "processing",
            Self::FundsConverted => "funds_converted",
            Self::OutgoingPaymentSent => "outgoing_payment_sent",
            Self::Cancelled => "cancelled",
            Self::BouncedBack => "bounced_back",
            Self::FundsRefunded => "funds_refunded",
        }
    }

    /// Whether a transfer can go from here to `next` in one step.
    pub(super) fn leads_to(self, next: Self) -> bool {
        matches!(
            (self, next),
            (
                Self::IncomingPaymentWaiting,
                Self::Processing | Self::Cancelled
            ) | (Self::Processing, Self::FundsConverted | Self::Cancelled)
                | (Self::FundsConverted, Self::OutgoingPaymentSent)
                | (Self::OutgoingPaymentSent, Self::BouncedBack)
                | (
                    Self::BouncedBack | Self::Processing | Self::FundsConverted,
                    Self::FundsRefunded
                )
        )
    }

    pub(super) fn read(word: &str) -> Option<Self> {
        [
            Self::IncomingPaymentWaiting,
            Self::Processing,
            Self::FundsConverted,
            Self::OutgoingPaymentSent,
            Self::Cancelled,
            Self::BouncedBack,
            Self::FundsRefunded,
        ]
        .into_iter()
        .find(|status| status.word() == word)
    }
}

impl Transfers {
    pub(super) fn find_mut(&mut self, id: u64) -> Option<&mut Transfer> {
        self.all.get_mut(&id)
    }

    fn list(&self, call: &Call<'_>, profile: u64) -> Reply {
        let number = |name| call.query(name).and_then(|text| text.parse::<usize>().ok());
        let wanted = call.query("status");
        let list: Vec<Value> = self
            .all
            .values()
            .filter(|transfer| transfer.profile == profile)
            .filter(|transfer| wanted.is_none_or(|wanted| transfer.status.word() == wanted))
            .skip(number("offset").unwrap_or(0))
            .take(number("limit").unwrap_or(10).min(100))
            .map(Transfer::json)
            .collect();
        json_reply(StatusCode::OK, &list.into())
    }
}

impl Transfer {
    pub(super) fn json(&self) -> Value {
        json!({
            "id": self.id,
            "user": 9_889_627,
            "targetAccount": self.recipient,
            "sourceAccount": null,
            "quote": null,
            "quoteUuid": self.quote,
            "status": self.status.word(),
            "reference": self.reference,
            "rate": money::rate_number(self.rate),
            "created": times::spaced(self.created),
            "business": self.profile,
            "transferRequest": null,
            "details": self.details,
            "hasActiveIssues": false,
            "sourceCurrency": self.source,
            "sourceValue": money::number(self.source_cents),
            "targetCurrency": self.target,
            "targetValue": money::number(self.target_cents),
            "customerTransactionId": self.transaction,
        })
    }

    /// Goes to another state, which subscribers hear of.
    pub(super) fn enter(&mut self, status: Status, now: SystemTime) -> Event {
        let before = std::mem::replace(&mut self.status, status);
        self.event(Some(before), now)
    }

    fn event(&self, before: Option<Status>, now: SystemTime) -> Event {
        TransferState {
            id: self.id,
            profile: self.profile,
            recipient: self.recipient,
            now: self.status.word(),
            before: before.map(Status::word),
            occurred: now,
        }
        .event()
    }

    pub(super) fn refund(&self) -> (u64, &'static str, i64) {
        (self.profile, self.source, self.source_cents)
    }
}

impl World {
    /// Everything under `/transfers`.
    pub(super) fn transfer(&mut self, call: &Call<'_>) -> Reply {
        let endpoint = call.found.endpoint;
        match (endpoint.method, endpoint.path) {
            ("POST", "/transfers") => return self.create_transfer(call),
            ("GET", "/transfers") => {
                // Without a profile Wise means the personal one, whatever the token is for.
                let named = call
                    .query("profile")
                    .map(|profile| profile.parse().unwrap_or(0));
                let profile = named.unwrap_or(profiles::PERSONAL);
                if !self.may_use(call.caller, profile) {
                    return match named {
                        Some(_) => call.foreign(),
                        None => json_reply(StatusCode::OK, &json!([])),
                    };
                }
                return self.transfers.list(call, profile);
            }
            _ => {}
        }
        let id = call.found.id("transferId");
        let Some(transfer) = self.transfers.all.get(&id) else {
            return call.missing("Transfer");
        };
        if !self.may_use(call.caller, transfer.profile) {
            return call.foreign();
        }
        match (endpoint.method, endpoint.path) {
            ("GET", "/transfers/{transferId}") => json_reply(StatusCode::OK, &transfer.json()),
            ("PUT", "/transfers/{transferId}/cancel") => self.cancel(id, call.now),
            ("GET", "/transfers/{transferId}/payments") => {
                json_reply(StatusCode::OK, &transfer.payments.clone().into())
            }
            ("GET", path) if endpoint.is_pdf() || path.ends_with("/noc") => {
                let title = format!("Transfer {id}");
                typed(
                    StatusCode::OK,
                    "application/pdf",
                    statements::pdf(&title, 2_048),
                )
            }
            _ => super::generic(call),
        }
    }

    fn create_transfer(&mut self, call: &Call<'_>) -> Reply {
        let bad = |path, message| {
            errors::field(StatusCode::UNPROCESSABLE_ENTITY, "NOT_VALID", path, message)
        };
        let Some(transaction) = call.body["customerTransactionId"].as_str() else {
            return bad(
                "customerTransactionId",
                "Please specify customerTransactionId",
            );
        };
        if let Some(transfer) = self
            .transfers
            .by_transaction
            .get(transaction)
            .and_then(|id| self.transfers.all.get(id))
        {
            // The same transaction is the same transfer.
            if !self.may_use(call.caller, transfer.profile) {
                return call.foreign();
            }
            return json_reply(StatusCode::OK, &transfer.json());
        }
        let quote = call.body["quoteUuid"]
            .as_str()
            .and_then(|id| self.quotes.find(id))
            .cloned();
        let Some((quote, profile)) =
            quote.and_then(|quote| quote.profile().map(|profile| (quote, profile)))
        else {
            return bad("quoteUuid", "Quote not found");
        };
        if !self.may_use(call.caller, profile) {
            return call.foreign();
        }
        if quote.transfer().is_some() {
            return bad("quoteUuid", "Quote is already used by another transfer");
        }
        if quote.is_expired(call.now) {
            return bad("quoteUuid", "Quote has expired");
        }
        let recipient = call.body["targetAccount"].as_u64().unwrap_or_default();
        if self.recipients.owner(recipient) != Some(profile) {
            return bad("targetAccount", "Recipient not found");
        }
        let id = self
            .transfers
            .all
            .keys()
            .next_back()
            .map_or(FIRST, |last| last + 1);
        let transfer = Transfer {
            id,
            profile,
            recipient,
            quote: quote.id().to_owned(),
            transaction: transaction.to_owned(),
            status: Status::IncomingPaymentWaiting,
            source: quote.source_currency(),
            source_cents: quote.source_cents(),
            target: quote.target_currency(),
            target_cents: quote.target_cents(),
            rate: quote.rate(),
            reference: call.body["details"]["reference"]
                .as_str()
                .unwrap_or_default()
                .to_owned(),
            details: call.body["details"].clone(),
            created: call.now,
            payments: Vec::new(),
        };
        let reply = json_reply(StatusCode::OK, &transfer.json());
        self.outbox.push(transfer.event(None, call.now));
        self.quotes.uses(quote.id(), id);
        self.transfers
            .by_transaction
            .insert(transaction.to_owned(), id);
        self.transfers.all.insert(id, transfer);
        reply
    }

    fn cancel(&mut self, id: u64, now: SystemTime) -> Reply {
        let Some(transfer) = self.transfers.all.get_mut(&id) else {
            return crate::simulator::reply::empty(StatusCode::NOT_FOUND);
        };
        if !transfer.status.leads_to(Status::Cancelled) {
            return errors::field(
                StatusCode::CONFLICT,
                "transfer.cancellation.not.allowed",
                "transferId",
                "Transfer can not be cancelled",
            );
        }
        let was_paid = transfer.status != Status::IncomingPaymentWaiting;
        self.outbox.push(transfer.enter(Status::Cancelled, now));
        let reply = json_reply(StatusCode::OK, &transfer.json());
        if was_paid {
            let (profile, currency, cents) = transfer.refund();
            self.balances.credit(profile, currency, cents);
        }
        reply
    }

    /// Pays for a transfer. Too little money is answered with 201 and a `REJECTED` in the body.
    pub(super) fn fund(&mut self, call: &Call<'_>) -> Reply {
        let id = call.found.id("transferId");
        let Some(transfer) = self.transfers.all.get_mut(&id) else {
            return text(StatusCode::NOT_FOUND, "transfer.not-found");
        };
        if transfer.profile != call.profile() {
            return text(StatusCode::FORBIDDEN, "transfer.not-owned-by-profile");
        }
        let Some(kind @ ("BALANCE" | "TRUSTED_PRE_FUND_BULK" | "TRUSTED_PRE_FUND_TX")) =
            call.body["type"].as_str()
        else {
            return text(StatusCode::BAD_REQUEST, "payment.type-invalid");
        };
        if transfer.status != Status::IncomingPaymentWaiting {
            return text(StatusCode::CONFLICT, "transfer.invalid-state");
        }
        if kind == "BALANCE"
            && !self.balances.debit(
                transfer.profile,
                transfer.source,
                transfer.source_cents,
                &format!("TRANSFER-{id}"),
                call.now,
            )
        {
            let (status, code) = match call.faults.resource.insufficient_funds {
                InsufficientFunds::Created => (StatusCode::CREATED, "balance.insufficient-funds"),
                InsufficientFunds::Unprocessable => (
                    StatusCode::UNPROCESSABLE_ENTITY,
                    "balance.payment-option-unavailable",
                ),
            };
            let body = json!({
                "type": kind,
                "status": "REJECTED",
                "errorCode": code,
                "errorMessage": null,
            });
            return json_reply(status, &body);
        }
        self.transfers.payments += 1;
        let payment = json!({
            "type": kind,
            "status": "COMPLETED",
            "errorCode": null,
            "balanceTransactionId": 987_654_320 + self.transfers.payments,
        });
        self.outbox
            .push(transfer.enter(Status::Processing, call.now));
        transfer.payments.push(payment.clone());
        json_reply(StatusCode::CREATED, &payment)
    }
}
