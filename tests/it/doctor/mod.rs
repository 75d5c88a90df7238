//! `doctor`: all green where all is well, and each failure named where one thing is broken, with the
//! rest still good.

mod answers;
mod breakers;
mod breaks;
mod certificates;
mod grants;
mod green;
mod hosts;
mod keys;
mod places;
mod report;
mod running;

use serde_json::Value;
use wise_auth_proxy::simulator::Simulator;

use crate::house::{CLIENT_SECRET, House, PERSONAL_TOKEN, Plan, Site};

/// A house whose names lead to where the simulator listens and nowhere else.
fn plan(wise: &Simulator) -> Plan<'_> {
    House::on(wise).set("upstream.resolve", "{ localhost = \"127.0.0.1\" }")
}

/// What `doctor --json` said.
pub struct Seen {
    code: i32,
    whole: Value,
}

pub async fn doctor(site: &Site, arguments: &[&str]) -> Seen {
    let output = site.cli(&[&["doctor", "--json"], arguments].concat()).await;
    let said = String::from_utf8(output.stdout).unwrap();
    let talk = String::from_utf8(output.stderr).unwrap();
    // Messages may name the first line of a key's file, which no key follows.
    let begun = ["PRIVATE KEY-----\n", "PRIVATE KEY-----\\n"];
    for secret in [CLIENT_SECRET, PERSONAL_TOKEN].into_iter().chain(begun) {
        assert!(
            !said.contains(secret) && !talk.contains(secret),
            "{said}{talk}"
        );
    }
    Seen {
        code: output.status.code().unwrap(),
        whole: serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}{talk}")),
    }
}

impl Seen {
    fn checks(&self) -> &[Value] {
        self.whole["checks"].as_array().unwrap()
    }

    pub fn check(&self, id: &str) -> &Value {
        let mut checks = self.checks().iter();
        let found = checks.find(|check| check["id"] == id);
        found.unwrap_or_else(|| panic!("there is no check {id}: {:#}", self.whole))
    }

    pub fn state(&self, id: &str) -> &str {
        self.check(id)["state"].as_str().unwrap()
    }

    fn text(&self, id: &str) -> &str {
        self.check(id)["text"].as_str().unwrap()
    }

    fn hint(&self, id: &str) -> &str {
        self.check(id)["hint"].as_str().unwrap_or_default()
    }

    pub fn says(&self, id: &str, text: &str, hint: &str) {
        assert!(self.text(id).contains(text), "{text}: {:#}", self.check(id));
        assert!(self.hint(id).contains(hint), "{hint}: {:#}", self.check(id));
    }

    /// Everything that hangs on a check that failed was left out, and names it.
    fn left_out(&self, because: &str) -> Vec<&str> {
        let checks = self.checks().iter();
        let left = checks.filter(|check| check["because"] == because);
        left.map(|check| check["id"].as_str().unwrap()).collect()
    }

    /// Only these checks are not good, in these states; what was left out hangs on one of them.
    ///
    /// `proxy.running` may be left out: not every test has one. Where the tests' directory is in
    /// memory, the file system is not good either.
    fn only(&self, wanted: &[(&str, &str)]) -> &Self {
        for (id, state) in wanted {
            assert_eq!(self.state(id), *state, "{:#}", self.check(id));
            let hint = self.hint(id);
            assert!(*state == "skipped" || !hint.is_empty(), "{id} has no hint");
        }
        for check in self.checks() {
            let id = check["id"].as_str().unwrap();
            let named = wanted.iter().any(|(wanted, _)| *wanted == id);
            let because = check["because"].as_str();
            let hangs = because.is_some_and(|root| wanted.iter().any(|(id, _)| *id == root));
            let elsewhere = ["proxy.running", "store.filesystem"].contains(&id);
            assert!(
                check["state"] == "good" || named || hangs || elsewhere,
                "{id} is not good, and should be: {check:#}"
            );
        }
        let failed = wanted.iter().any(|(_, state)| *state == "failed");
        assert_eq!(self.code, i32::from(failed), "{:#}", self.whole);
        assert_eq!(self.whole["passed"], !failed);
        self
    }
}

/// Breaks a healthy house in one way and looks at what doctor says.
async fn broken(plan: Plan<'_>, breaks: impl FnOnce(&Site)) -> Seen {
    let site = plan.prepare().await;
    breaks(&site);
    doctor(&site, &[]).await
}
