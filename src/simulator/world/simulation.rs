//! The sandbox's own levers: money from nowhere, and transfers pushed along one state at a time.

use http::StatusCode;
use serde_json::json;

use super::Call;
use super::World;
use super::money;
use super::transfers::Status;
use crate::simulator::errors;
use crate::simulator::reply::Reply;
use crate::simulator::reply::json_reply;

impl World {
    pub(super) fn simulate(&mut self, call: &Call<'_>) -> Reply {
        match call.found.endpoint.path {
            "/simulation/balance/topup" => self.top_up(call),
            "/simulation/transfers/{transferId}/{status}" => self.push(call),
            _ => super::generic(call),
        }
    }

    fn top_up(&mut self, call: &Call<'_>) -> Reply {
        let profile = call.body["profileId"].as_u64();
        let profile = profile.unwrap_or_else(|| call.default_profile());
        if !self.may_use(call.caller, profile) {
            return call.foreign();
        }
        let id = call.body["balanceId"].as_u64().unwrap_or_default();
        let Some(cents) = money::cents(&call.body["amount"]).filter(|cents| *cents > 0) else {
            let message = "must be greater than zero";
            return errors::field(
                StatusCode::BAD_REQUEST,
                "error.greaterThanZero",
                "amount",
                message,
            );
        };
        match self.balances.top_up(profile, id, cents, call.now) {
            Some(balance) => json_reply(
                StatusCode::OK,
                &json!({"transactionId": id, "state": "COMPLETED", "balancesAfter": [balance["amount"]]}),
            ),
            None => call.missing("Balance"),
        }
    }

    fn push(&mut self, call: &Call<'_>) -> Reply {
        let id = call.found.id("transferId");
        let Some(profile) = self.transfers.find_mut(id).map(|transfer| transfer.profile) else {
            return call.missing("Transfer");
        };
        if !self.may_use(call.caller, profile) {
            return call.foreign();
        }
        let next = call.found.text("status").and_then(Status::read);
        let Some(next) = next.filter(|next| *next != Status::Cancelled) else {
            return call.missing("State");
        };
        let Some(transfer) = self.transfers.find_mut(id) else {
            return call.missing("Transfer");
        };
        if !transfer.status.leads_to(next) {
            return errors::field(
                StatusCode::CONFLICT,
                "transfer.state.invalid",
                "status",
                "The transfer cannot go to this state from its present one",
            );
        }
        self.outbox.push(transfer.enter(next, call.now));
        let reply = json_reply(StatusCode::OK, &transfer.json());
        if next == Status::FundsRefunded {
            let (profile, currency, cents) = transfer.refund();
            self.balances.credit(profile, currency, cents);
        }
        reply
    }
}
