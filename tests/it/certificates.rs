//! A client certificate that was good when the proxy started, or is somebody else's.

use std::time::Duration;

use wise_auth_proxy::simulator::TlsVersions;

use crate::failures_table::row;
use crate::house::{self, House};

/// A call that needs the client token, which is fetched at the plain host.
const CALL: &str = "/v3/applications/acme/subscriptions";

#[tokio::test]
async fn a_client_certificate_that_has_ended_is_said_to_be_refused() {
    for versions in [TlsVersions::Tls12, TlsVersions::Tls13] {
        let wise = house::wise().await;
        wise.change_faults(|faults| faults.tls.versions = versions);
        let token_url = format!("{}/oauth/token", wise.plain_url());
        let plan = House::on(&wise).set("wise.token_url", &token_url);
        let site = plan.prepare().await;
        wise.change_faults(|faults| faults.hub.certificate_lifetime = 0);
        site.certificate(&wise, "short");
        // Its end is written in whole seconds, and only time passes it.
        tokio::time::sleep(Duration::from_secs(2)).await;
        let house = site.start().await;
        wise.clear();

        let answer = house.get(CALL).await;

        println!("{versions:?}: {answer:?}");
        let calls = wise.recorded();
        let calls = calls.iter().filter(|seen| seen.target != "/oauth/token");
        let case = row("way-our-certificate-expired");
        case.shown(&house, &answer, calls.count()).await;
    }
}

#[tokio::test]
async fn another_clients_certificate_is_refused_by_wise_and_named_in_the_status() {
    let wise = house::wise().await;
    let token_url = format!("{}/oauth/token", wise.plain_url());
    let plan = House::on(&wise).set("wise.token_url", &token_url);
    let site = plan.prepare().await;
    wise.change_faults(|faults| faults.hub.common_name = Some("somebody-else".into()));
    site.certificate(&wise, "other");
    let house = site.start().await;
    wise.clear();

    let answer = house.get(CALL).await;

    let findings = &house.status().await["certificate"]["findings"];
    assert!(findings.to_string().contains("somebody-else"), "{findings}");
    let calls = wise.recorded();
    let calls = calls.iter().filter(|seen| seen.target != "/oauth/token");
    let case = row("way-our-certificate-foreign");
    case.shown(&house, &answer, calls.count()).await;
}
