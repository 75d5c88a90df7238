//! Strong customer authentication: Wise's 403 passes as it is, is signed, or is approved; and nobody
//! pays twice.

mod approving;
mod changing;
mod commands;
mod passing;
mod signing;
mod with_jose;

use bytes::Bytes;
use http::Request;
use serde_json::{Value, json};
use wise_auth_proxy::simulator::{Recorded, Sca, Simulator};

use crate::house::{self, Answer, House, PROFILE, Plan, Site, post};

const CHALLENGES: &str = "wise_proxy_sca_challenges_total";
const FUND: &str = "POST /profiles/{profileId}/transfers/{transferId}/payments";

/// A house beside a Wise that wants every funding strongly authenticated, and a transfer to fund.
struct Guarded {
    wise: Simulator,
    house: House,
    path: String,
    /// What the account held before.
    gbp: f64,
}

impl Guarded {
    async fn new(wise: Simulator, house: House) -> Self {
        let ask = json!({"sourceCurrency": "GBP", "targetCurrency": "USD", "sourceAmount": 100});
        let quote = format!("/v3/profiles/{PROFILE}/quotes");
        let quote = house.request(post(&quote, &ask)).await.json()["id"].clone();
        let ask = json!({
            "currency": "USD",
            "type": "aba",
            "profile": PROFILE,
            "accountHolderName": "A B",
            "details": {"abartn": "111000025", "accountNumber": "12345678"},
        });
        let recipient = house.request(post("/v1/accounts", &ask)).await.json()["id"].clone();
        let ask = json!({
            "targetAccount": recipient,
            "quoteUuid": quote,
            "customerTransactionId": "9e5e4df2-6d61-4ab4-8fb1-0c16c1a3b5f0",
            "details": {"reference": "Invoice 1"},
        });
        let transfer = house.request(post("/v1/transfers", &ask)).await.json();
        let path = format!(
            "/v3/profiles/{PROFILE}/transfers/{}/payments",
            transfer["id"]
        );
        let gbp = gbp(&house).await;
        wise.change_faults(|faults| faults.resource.sca = Sca::Funding);
        wise.clear();
        Self {
            wise,
            house,
            path,
            gbp,
        }
    }

    /// The funding, with a field of the application's own.
    fn funding(&self) -> Request<Bytes> {
        let mut request = post(&self.path, &json!({"type": "BALANCE"}));
        let fields = request.headers_mut();
        fields.insert("x-of-the-application", "1".parse().unwrap());
        request
    }

    async fn fund(&self) -> Answer {
        self.house.request(self.funding()).await
    }

    /// The fundings that arrived at Wise.
    fn arrived(&self) -> Vec<Recorded> {
        let mut all = self.wise.recorded();
        all.retain(|it| it.target == self.path);
        all
    }

    fn statuses(&self) -> Vec<u16> {
        let arrived = self.arrived();
        arrived.iter().filter_map(|it| it.status).collect()
    }

    /// How often the transfer was paid.
    async fn paid(&self) -> f64 {
        (self.gbp - gbp(&self.house).await) / 100.0
    }

    /// Nothing that the proxy says has the token, and each outcome is counted and logged.
    async fn is_noted(&self, ott: &str, outcomes: &[&str]) {
        for outcome in outcomes {
            let label = format!("operation=\"{FUND}\",outcome=\"{outcome}\"");
            let count = self.house.metric(CHALLENGES, &label).await;
            assert!(count > 0.5, "{outcome} is not counted");
            self.house.logs(&format!("outcome=\"{outcome}\"")).await;
            // The access line, which comes later.
            self.house.logs(&format!(" sca={outcome}")).await;
        }
        let metrics = self.house.admin("/metrics").await.body;
        let metrics = String::from_utf8(metrics.to_vec()).unwrap();
        let status = self.house.status().await.to_string();
        let page = self.house.admin("/").await.body;
        let page = String::from_utf8_lossy(&page).into_owned();
        for said in [self.house.log(), metrics, status, page] {
            assert!(!said.contains(ott), "{said}");
        }
    }
}

async fn gbp(house: &House) -> f64 {
    let list = format!("/v4/profiles/{PROFILE}/balances?types=STANDARD");
    let list = house.get(&list).await.json();
    let mut list = list.as_array().unwrap().iter();
    let gbp = list.find(|balance| balance["currency"] == "GBP").unwrap();
    gbp["amount"]["value"].as_f64().unwrap()
}

/// The token of a challenge that reached the application.
#[track_caller]
fn challenged(answer: &Answer) -> String {
    assert_eq!(answer.status, 403, "{answer:?}");
    assert_eq!(answer.headers["x-2fa-approval-result"], "REJECTED");
    assert!(!answer.headers.contains_key("proxy-status"), "{answer:?}");
    let ott = answer.headers["x-2fa-approval"].to_str().unwrap();
    assert_eq!(ott.len(), 36, "{answer:?}");
    ott.to_owned()
}

#[track_caller]
fn assert_paid(answer: &Answer) {
    assert_eq!(answer.status, 201, "{answer:?}");
    assert_eq!(answer.headers["x-2fa-approval-result"], "APPROVED");
    assert_eq!(answer.json()["status"], "COMPLETED");
}

/// Makes a key and gives Wise its public half.
async fn with_key(site: &Site, wise: &Simulator, file: &str) {
    let made = site.cli(&["sca", "keygen", "--out", file]).await;
    let said = String::from_utf8_lossy(&made.stderr);
    assert!(made.status.success(), "{said}");
    let public = String::from_utf8(made.stdout).unwrap();
    wise.upload_public_key(file, &public).unwrap();
}

/// A house in lane `personal` whose key signs there.
async fn signing(plan: impl FnOnce(Plan<'_>) -> Plan<'_>) -> Guarded {
    let wise = house::wise().await;
    let base = House::on(&wise).lane("personal");
    let site = plan(base)
        .set("sca.key", "sca.key")
        .logged_out()
        .prepare()
        .await;
    with_key(&site, &wise, "sca.key").await;
    let house = site.start().await;
    Guarded::new(wise, house).await
}

/// A field's values, of what Wise got.
fn field<'a>(seen: &'a Recorded, name: &'a str) -> Vec<&'a str> {
    seen.header(name).collect()
}

/// All fields but those of strong authentication.
fn others(seen: &Recorded) -> Vec<(String, String)> {
    let mut fields = seen.headers.0.clone();
    fields.retain(|(name, _)| name != "x-2fa-approval" && name != "x-signature");
    fields.sort();
    fields
}

/// The record of the funding, once the proxy has stopped.
fn recorded(guarded: &Guarded) -> Value {
    let record = std::fs::read_to_string(guarded.house.site.path("audit.log")).unwrap();
    let line = record.lines().find(|line| line.contains(&guarded.path));
    serde_json::from_str(line.unwrap_or_else(|| panic!("{record}"))).unwrap()
}

/// A text of the answer's JSON.
fn word(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
