//! A payment from quote to money.

use anyhow::Context as _;
use serde_json::{Value, json};

use super::super::super::report;
use super::super::application::Request;
use super::super::stage::{PROFILE, Stage};
use super::super::verdict::Step;
use super::{arrivals, balance_of, balances, sha256, word};

/// What the transfer sends, in GBP.
const AMOUNT: f64 = 125.5;

pub(super) async fn payment(stage: &Stage, step: &mut Step) -> anyhow::Result<()> {
    let transaction = uuid::Uuid::new_v4().to_string();
    let before = pounds(stage).await?;
    stage.wise.clear();
    let mut rows = Vec::new();

    let quote = json!({ "sourceCurrency": "GBP", "targetCurrency": "EUR", "sourceAmount": AMOUNT });
    let path = format!("/v3/profiles/{PROFILE}/quotes");
    let quote = post(stage, step, &mut rows, "quote", &path, &quote, 200).await?;
    let recipient = json!({
        "profile": PROFILE,
        "currency": "EUR",
        "type": "iban",
        "accountHolderName": "Ada Lovelace",
        "details": { "legalType": "PRIVATE", "iban": "DE89370400440532013000" },
    });
    let path = "/v1/accounts";
    let recipient = post(stage, step, &mut rows, "recipient", path, &recipient, 200).await?;
    let transfer = json!({
        "targetAccount": recipient["id"],
        "quoteUuid": quote["id"],
        "customerTransactionId": transaction,
        "details": { "reference": "Invoice 4711" },
    });
    let path = "/v1/transfers";
    let transfer = post(stage, step, &mut rows, "transfer", path, &transfer, 200).await?;
    let path = format!(
        "/v3/profiles/{PROFILE}/transfers/{}/payments",
        transfer["id"]
    );
    let funding = json!({ "type": "BALANCE" });
    let funding = post(stage, step, &mut rows, "funding", &path, &funding, 201).await?;

    step.show("from quote to money", report::table(&rows));
    step.check("funding", "COMPLETED", word(&funding["status"]));
    let counters = stage.wise.counters();
    let times = counters.transactions.get(&transaction).copied();
    let promise = "transfers at Wise with this customerTransactionId";
    step.check(promise, 1, times.unwrap_or_default());
    let spent = format!("{:.2} GBP", before - pounds(stage).await?);
    step.check("the balance fell by", format!("{AMOUNT:.2} GBP"), spent);
    Ok(())
}

/// A POST, with what was sent held against what arrived.
async fn post(
    stage: &Stage,
    step: &mut Step,
    rows: &mut Vec<Vec<String>>,
    what: &str,
    path: &str,
    body: &Value,
    expected: u16,
) -> anyhow::Result<Value> {
    let request = Request::post(stage.door, path, body);
    let answer = request.send().await?;
    let arrived = arrivals(stage, path);
    let id = &answer.json()["id"];
    let id = if id.is_null() {
        String::new()
    } else {
        word(id)
    };
    rows.push(vec![
        what.to_owned(),
        format!("POST {path}"),
        answer.status.to_string(),
        id,
    ]);
    step.check(
        &format!("{what}: the application's answer"),
        expected,
        answer.status,
    );
    let bodies: Vec<_> = arrived
        .iter()
        .map(|seen| seen.body.sha256.as_str())
        .collect();
    let sent = sha256(body.to_string().as_bytes());
    let same = if bodies == [sent] {
        "once, every byte as sent"
    } else {
        "otherwise"
    };
    step.check(
        &format!("{what}: at Wise"),
        "once, every byte as sent",
        same,
    );
    Ok(answer.json())
}

async fn pounds(stage: &Stage) -> anyhow::Result<f64> {
    let balance = balance_of(&balances(stage).await?, "GBP");
    balance["amount"]["value"]
        .as_f64()
        .context("the answer has no balance in GBP")
}
