//! What happens to the proxy meanwhile, in a fixed order, over and over.

use std::sync::Arc;
use std::time::Duration;

use wise_auth_proxy::simulator::{Disturb, Disturbance, Simulator};

use crate::house::House;
use crate::relay::Relay;
use crate::tally::Tally;

/// Operators' work, which nobody may notice.
const WORK: [Work; 6] = [
    Work::Switch("personal"),
    Work::Rotate,
    Work::Switch("oauth"),
    Work::Renew,
    Work::Switch("oauth-mtls"),
    Work::BadReload,
];

#[derive(Clone, Copy)]
enum Work {
    Switch(&'static str),
    /// A new client certificate, and a reload.
    Rotate,
    /// A renewal by hand.
    Renew,
    /// A certificate that does not fit, which must change nothing.
    BadReload,
}

/// Trouble at the token endpoint while a token lives, which nobody may notice either.
const AT_THE_TOKEN_ENDPOINT: [Disturbance; 5] = [
    Disturbance::ServerError,
    Disturbance::Html,
    Disturbance::Garbage,
    Disturbance::DropBefore,
    Disturbance::TooManyRequests,
];

/// Trouble that the application sees.
const AT_WISE: [Disturbance; 5] = [
    Disturbance::ServerError,
    Disturbance::DropBefore,
    Disturbance::TooManyRequests,
    Disturbance::LoseAnswer,
    Disturbance::FalseUnauthorized,
];

pub struct Trouble {
    wise: Arc<Simulator>,
    house: Arc<House>,
    relays: Arc<[Relay; 2]>,
    tally: Arc<Tally>,
    certificates: usize,
}

impl Trouble {
    pub fn new(
        wise: &Arc<Simulator>,
        house: &Arc<House>,
        relays: &Arc<[Relay; 2]>,
        tally: &Arc<Tally>,
    ) -> Self {
        Self {
            wise: Arc::clone(wise),
            house: Arc::clone(house),
            relays: Arc::clone(relays),
            tally: Arc::clone(tally),
            certificates: 0,
        }
    }

    /// Goes on until the run is over. Returns what was not as promised.
    pub async fn run(mut self) -> Vec<String> {
        let mut faults = Vec::new();
        for turn in 0.. {
            for work in WORK {
                faults.extend(self.work(work).await);
                if !self.tally.pause(Duration::from_millis(1_500)).await {
                    return faults;
                }
            }
            self.wise.change_faults(|faults| {
                let kind = AT_THE_TOKEN_ENDPOINT[turn % AT_THE_TOKEN_ENDPOINT.len()];
                faults.token.disturb = Some(Disturb::times(kind, 2));
            });
            self.tally.event("token endpoint in trouble");
            self.trouble(turn).await;
            if !self.tally.pause(Duration::from_secs(5)).await {
                return faults;
            }
        }
        faults
    }

    async fn work(&mut self, work: Work) -> Option<String> {
        match work {
            Work::Switch(lane) => {
                self.house.turn(lane).await;
                self.tally.event("switches");
            }
            Work::Rotate => {
                self.certificates += 1;
                let name = format!("soak{}", self.certificates);
                // The poll may read the pair half-way and keep the old one, as it should.
                self.house.site.certificate(&self.wise, &name);
                self.house.reload().await;
                // Ten may be active at Wise.
                if let Some(old) = self.certificates.checked_sub(8).filter(|old| *old > 0) {
                    self.wise.revoke_certificate(&format!("soak{old}")).unwrap();
                }
                self.tally.event("certificates");
            }
            Work::Renew => {
                let output = self.house.cli(&["token", "refresh", "main"]).await;
                self.tally.event("renewals by hand");
                if !output.status.success() {
                    let said = String::from_utf8_lossy(&output.stderr).into_owned();
                    // The endpoint may still be in the trouble of the last turn.
                    self.tally.event("renewals by hand refused");
                    if !said.contains("hint:") {
                        return Some(format!("token refresh: {said}"));
                    }
                }
            }
            Work::BadReload => {
                let good = std::fs::read(self.house.site.path("client.pem")).unwrap();
                std::fs::write(self.house.site.path("client.pem"), &good[..good.len() / 2])
                    .unwrap();
                let output = self.house.cli(&["reload"]).await;
                std::fs::write(self.house.site.path("client.pem"), good).unwrap();
                self.tally.event("refused reloads");
                if output.status.success() {
                    return Some("half a certificate was taken".into());
                }
            }
        }
        None
    }

    /// One stretch of trouble on the way to Wise, or at Wise.
    async fn trouble(&self, turn: usize) {
        self.tally.trouble_begins();
        if turn.is_multiple_of(2) {
            self.relays.iter().for_each(Relay::cut);
            tokio::time::sleep(Duration::from_millis(700)).await;
            self.relays.iter().for_each(Relay::mend);
            self.tally.event("upstream killed");
        } else {
            let kind = AT_WISE[turn / 2 % AT_WISE.len()];
            self.wise.change_faults(|faults| {
                faults.resource.disturb = Some(Disturb::times(kind, 20));
            });
            tokio::time::sleep(Duration::from_secs(1)).await;
            self.wise
                .change_faults(|faults| faults.resource.disturb = None);
            self.tally.event("trouble at Wise");
        }
        self.tally.trouble_ends();
    }
}
