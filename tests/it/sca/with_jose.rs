//! Strong customer authentication on a JOSE route: the message that was sealed once is what leaves
//! again.

use http::StatusCode;
use wise_auth_proxy::simulator::{JoseMethod, JoseRoute};

use super::approving::Approver;
use super::*;
use crate::jose::prepared;

/// A guarded house in which fundings are signed and encrypted, beside a Wise that takes them no other
/// way.
async fn sealed(approver: &Approver) -> Guarded {
    let wise = house::wise().await;
    let plan = House::on(&wise).set("audit.file", "audit.log");
    let site = approver.site(plan).await;
    prepared(&site, "ES256").await;
    let config = std::fs::read_to_string(&site.config).unwrap();
    let route = "\n[[jose.route]]\nmatch = [\"funding\"]\nmethod = \"jws+jwe\"\n";
    std::fs::write(&site.config, config + route).unwrap();
    let house = site.start().await;
    let guarded = Guarded::new(wise, house).await;
    guarded.wise.change_faults(|faults| {
        faults.jose.required = vec![JoseRoute {
            prefix: "/v3/profiles/".into(),
            method: JoseMethod::JwsJwe,
        }];
    });
    guarded
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_token_a_sealed_message_and_an_approval_meet() {
    let approver = Approver::start().await;
    let guarded = sealed(&approver).await;
    guarded.wise.revoke_access(PROFILE);
    let answering = async {
        let asked = approver.asked(1).await;
        assert_eq!(asked.question["path"], guarded.path);
        let ott = word(&asked.question["one_time_token"]);
        assert_eq!(guarded.wise.approve(Some(&ott), None), 1);
        asked.answer.send(StatusCode::OK).unwrap();
        ott
    };
    let (answer, ott) = tokio::join!(guarded.fund(), answering);
    assert_paid(&answer);
    assert_eq!(answer.headers["content-type"], "application/json");
    assert_eq!(guarded.statuses(), [401, 403, 201]);
    let arrived = guarded.arrived();
    assert_eq!(
        field(&arrived[0], "content-type"),
        ["application/jose+json"]
    );
    // Neither a signature nor an encryption is ever the same twice: it was sealed once. Wise does not
    // read what comes under a dead token, but knows its length.
    assert_eq!(arrived[1].body, arrived[2].body);
    let but_the_token = |seen: &Recorded| {
        let mut fields = others(seen);
        fields.retain(|(name, _)| name != "authorization");
        fields
    };
    for seen in &arrived {
        assert_eq!(but_the_token(seen), but_the_token(&arrived[0]));
        assert_eq!(field(seen, "x-tw-jose-method"), ["jws+jwe"]);
    }
    assert_eq!(field(&arrived[2], "x-2fa-approval"), [&*ott]);
    assert!((guarded.paid().await - 1.0).abs() < 0.01, "paid once");
    guarded.is_noted(&ott, &["approved"]).await;
    let log = guarded.house.log();
    let line = log.lines().find(|line| line.contains(" sca=approved"));
    let line = line.unwrap();
    assert!(line.contains(" jose=jws+jwe"), "{line}");
    assert!(line.contains(" replayed=true"), "{line}");

    let generation = guarded.house.status().await["tokens"][0]["generation"].clone();
    assert!(guarded.house.stop().await.success());
    let record = recorded(&guarded);
    assert_eq!(record["sca"], "approved", "{record}");
    assert_eq!(record["jose"], "jws+jwe", "{record}");
    assert_eq!(record["replayed"], true, "{record}");
    assert_eq!(record["generation"], generation, "{record}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_approval_that_is_refused_leaves_wises_answer_to_a_sealed_message() {
    let approver = Approver::start().await;
    let guarded = sealed(&approver).await;
    let answering = async {
        let asked = approver.asked(1).await;
        asked.answer.send(StatusCode::FORBIDDEN).unwrap();
        word(&asked.question["one_time_token"])
    };
    let (answer, ott) = tokio::join!(guarded.fund(), answering);
    assert_eq!(challenged(&answer), ott);
    assert_eq!(guarded.statuses(), [403]);
    assert!(guarded.paid().await.abs() < 0.01);
    guarded.is_noted(&ott, &["refused"]).await;
}
