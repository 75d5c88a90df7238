//! Strong customer authentication: the old way by signature, the new way by a human, and all that
//! does not get past it.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa;
use aws_lc_rs::signature::RSA_PKCS1_SHA256;

use super::*;

/// A simulator that asks before every protected call, and a transfer to be paid.
struct Guarded {
    house: House,
    clock: Arc<Manual>,
    personal: String,
    user: String,
    pay: String,
    key: rsa::KeyPair,
}

impl Guarded {
    async fn new() -> Self {
        let clock = Arc::new(Manual::at(
            SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_000_000),
        ));
        let options = Options {
            business_profiles: vec![BUSINESS, OTHER],
            ..Options::default()
        };
        let wise = Simulator::start_at(options, Arc::clone(&clock) as Arc<dyn Clock>)
            .await
            .unwrap();
        let house = House {
            wise,
            identity: None,
            http2: false,
        };
        let (user, _) = house.grant(BUSINESS).await;
        let transfer = house.transfer(&user, 100, "guarded").await;
        house
            .wise
            .change_faults(|faults| faults.resource.sca = Sca::All);
        let (private, public) = pki::rsa_2048().unwrap();
        let guarded = Self {
            house,
            clock,
            personal: personal_token(),
            user,
            pay: format!(
                "/v3/profiles/{BUSINESS}/transfers/{}/payments",
                transfer["id"]
            ),
            key: rsa::KeyPair::from_pkcs8(&private).unwrap(),
        };
        let encoded = STANDARD.encode(public);
        let pem = format!("-----BEGIN PUBLIC KEY-----\n{encoded}\n-----END PUBLIC KEY-----\n");
        guarded.house.wise.upload_public_key("ours", &pem).unwrap();
        guarded
    }

    fn sign(&self, text: &str) -> String {
        let mut signature = vec![0; 256];
        self.key
            .sign(
                &RSA_PKCS1_SHA256,
                &SystemRandom::new(),
                text.as_bytes(),
                &mut signature,
            )
            .unwrap();
        STANDARD.encode(signature)
    }

    async fn send(&self, ask: Ask<'_>) -> Answer {
        let mut request = request(ask.token, ask.method, ask.path, ask.body.clone());
        for (name, value) in [("x-2fa-approval", ask.ott), ("X-Signature", ask.signature)] {
            if let Some(value) = value {
                let name: http::HeaderName = name.parse().unwrap();
                request.headers_mut().insert(name, value.parse().unwrap());
            }
        }
        self.house.plain(request).await
    }

    fn pay<'a>(&'a self, token: &'a str) -> Ask<'a> {
        Ask {
            token,
            method: "POST",
            path: &self.pay,
            body: Some(json!({"type": "BALANCE"})),
            ott: None,
            signature: None,
        }
    }

    fn one_time<'a>(&'a self, method: &'a str, path: &'a str) -> Ask<'a> {
        Ask {
            method,
            path,
            body: None,
            ..self.pay(&self.user)
        }
    }

    async fn status(&self, ott: &str) -> Answer {
        let mut request = request(&self.user, "GET", "/v1/one-time-token/status", None);
        request
            .headers_mut()
            .insert("one-time-token", ott.parse().unwrap());
        self.house.plain(request).await
    }

    async fn verify(&self, ott: &str, code: &str) -> Answer {
        let path = "/v1/one-time-token/sms/verify";
        let mut request = request(&self.user, "POST", path, Some(json!({"otpCode": code})));
        request
            .headers_mut()
            .insert("one-time-token", ott.parse().unwrap());
        self.house.plain(request).await
    }
}

#[derive(Clone)]
struct Ask<'a> {
    token: &'a str,
    method: &'a str,
    path: &'a str,
    body: Option<Value>,
    ott: Option<&'a str>,
    signature: Option<&'a str>,
}

/// The token of a challenge.
fn challenged(answer: &Answer) -> String {
    assert_eq!(answer.status(), 403, "{}", text(answer));
    assert_eq!(answer.headers()["x-2fa-approval-result"], "REJECTED");
    let token = answer.headers()["x-2fa-approval"].to_str().unwrap();
    assert_eq!(token.len(), 36);
    token.to_owned()
}

#[tokio::test]
async fn a_signed_token_opens_the_identical_request_once() {
    let guarded = Guarded::new().await;
    let ott = challenged(&guarded.send(guarded.pay(&guarded.personal)).await);
    let signature = guarded.sign(&ott);
    let signed = Ask {
        ott: Some(&ott),
        signature: Some(&signature),
        ..guarded.pay(&guarded.personal)
    };
    let paid = guarded.send(signed.clone()).await;
    assert_eq!(paid.status(), 201, "{}", text(&paid));
    assert_eq!(paid.headers()["x-2fa-approval-result"], "APPROVED");
    let replayed = guarded.send(signed).await;
    assert_ne!(challenged(&replayed), ott, "another token for the next try");
}

#[tokio::test]
async fn a_token_is_for_no_other_request() {
    let guarded = Guarded::new().await;
    let query = format!("{}?a=b", guarded.pay);
    let other = format!("/v3/profiles/{OTHER}/transfers/1/payments");
    let ott = challenged(&guarded.send(guarded.pay(&guarded.personal)).await);
    let signature = guarded.sign(&ott);
    let signed = Ask {
        ott: Some(&ott),
        signature: Some(&signature),
        ..guarded.pay(&guarded.personal)
    };
    for (what, ask) in [
        (
            "another body",
            Ask {
                body: Some(json!({"type": "BALANCE", "a": 1})),
                ..signed.clone()
            },
        ),
        (
            "another query",
            Ask {
                path: &query,
                ..signed.clone()
            },
        ),
        (
            "another path",
            Ask {
                path: &other,
                ..signed.clone()
            },
        ),
    ] {
        let answer = guarded.send(ask).await;
        assert_ne!(challenged(&answer), ott, "{what}");
    }
    guarded
        .house
        .wise
        .change_faults(|faults| faults.sca.identical = false);
    let answer = guarded
        .send(Ask {
            path: &query,
            ..signed
        })
        .await;
    assert_eq!(answer.status(), 201, "{}", text(&answer));
}

#[tokio::test]
async fn whose_signature_counts_is_a_switch() {
    let guarded = Guarded::new().await;
    for (rule, expected) in [
        (ScaSigning::Off, [403, 403]),
        (ScaSigning::Personal, [201, 403]),
        (ScaSigning::Anyone, [409, 409]),
    ] {
        guarded
            .house
            .wise
            .change_faults(|faults| faults.sca.signing = rule);
        let mut statuses = Vec::new();
        for token in [&guarded.personal, &guarded.user] {
            let ott = challenged(&guarded.send(guarded.pay(token)).await);
            let signature = guarded.sign(&ott);
            let answer = guarded
                .send(Ask {
                    ott: Some(&ott),
                    signature: Some(&signature),
                    ..guarded.pay(token)
                })
                .await;
            statuses.push(answer.status().as_u16());
        }
        // 409: it was paid before, so the request got through.
        assert_eq!(statuses, expected, "{rule:?}");
    }
}

#[tokio::test]
async fn five_wrong_signatures_lock_for_fifteen_minutes() {
    let guarded = Guarded::new().await;
    for _ in 0..5 {
        let ott = challenged(&guarded.send(guarded.pay(&guarded.personal)).await);
        let signature = guarded.sign("another token");
        let answer = guarded
            .send(Ask {
                ott: Some(&ott),
                signature: Some(&signature),
                ..guarded.pay(&guarded.personal)
            })
            .await;
        assert_eq!(answer.status(), 403);
    }
    let locked = guarded.send(guarded.pay(&guarded.personal)).await;
    assert_eq!(locked.status(), 403);
    assert_eq!(locked.headers()["x-2fa-approval-result"], "REJECTED");
    assert!(!locked.headers().contains_key("x-2fa-approval"), "no token");
    guarded.clock.advance(Duration::from_mins(14));
    let locked = guarded.send(guarded.pay(&guarded.personal)).await;
    assert!(!locked.headers().contains_key("x-2fa-approval"));
    guarded.clock.advance(Duration::from_mins(1));
    challenged(&guarded.send(guarded.pay(&guarded.personal)).await);
}

#[tokio::test]
async fn a_human_approves_in_the_meantime_and_the_status_says_so() {
    let guarded = Guarded::new().await;
    guarded.house.wise.change_faults(|faults| {
        faults.sca.challenges = vec![ChallengeKind::Pin, ChallengeKind::Sms];
    });
    let ott = challenged(&guarded.send(guarded.pay(&guarded.user)).await);
    let status = body(&guarded.status(&ott).await);
    let properties = &status["oneTimeTokenProperties"];
    assert_eq!(properties["oneTimeToken"], ott.as_str());
    assert_eq!(properties["validity"], 3_600);
    assert_eq!(properties["actionType"], "TRANSFER__FUND");
    let challenges = properties["challenges"].as_array().unwrap();
    assert_eq!(challenges.len(), 2);
    assert_eq!(challenges[0]["primaryChallenge"]["type"], "PIN");
    assert_eq!(challenges[1]["alternatives"], json!(["VOICE", "WHATSAPP"]));

    let verified = body(&guarded.verify(&ott, "111111").await);
    assert_eq!(verified["challenges"].as_array().unwrap().len(), 1);
    let retry = Ask {
        ott: Some(&ott),
        ..guarded.pay(&guarded.user)
    };
    challenged(&guarded.send(retry.clone()).await);
    let listed = guarded.house.wise.challenges();
    assert_eq!(listed[0]["target"], guarded.pay.as_str());
    assert_eq!(listed[0]["challenges"], json!(["PIN"]));

    let approve = json!({"token": ott, "challenge": "PIN"});
    let approve = request("", "POST", "/sca/approve", Some(approve));
    let answer = guarded.house.control(approve).await;
    assert_eq!(body(&answer), json!({"cleared": 1}));
    let status = body(&guarded.status(&ott).await);
    assert_eq!(status["oneTimeTokenProperties"]["challenges"], json!([]));
    let paid = guarded.send(retry.clone()).await;
    assert_eq!(paid.status(), 201, "{}", text(&paid));
    assert_ne!(challenged(&guarded.send(retry).await), ott);
    assert_eq!(guarded.status(&ott).await.status(), 400, "it is used up");
}

#[tokio::test]
async fn a_token_is_over_when_its_validity_is() {
    let guarded = Guarded::new().await;
    let ott = challenged(&guarded.send(guarded.pay(&guarded.user)).await);
    assert_eq!(guarded.house.wise.approve(Some(&ott), None), 1);
    guarded.clock.advance(Duration::from_secs(3_599));
    let status = body(&guarded.status(&ott).await);
    assert_eq!(status["oneTimeTokenProperties"]["validity"], 1);
    guarded.clock.advance(Duration::from_secs(1));
    assert_eq!(guarded.status(&ott).await.status(), 400);
    let retry = Ask {
        ott: Some(&ott),
        ..guarded.pay(&guarded.user)
    };
    assert_ne!(challenged(&guarded.send(retry).await), ott);
}

#[tokio::test]
async fn five_wrong_codes_lock_as_well_and_the_control_api_forgives() {
    let guarded = Guarded::new().await;
    let ott = challenged(&guarded.send(guarded.pay(&guarded.user)).await);
    for _ in 0..5 {
        assert_eq!(guarded.verify(&ott, "000000").await.status(), 400);
    }
    assert_eq!(guarded.verify(&ott, "111111").await.status(), 403);
    let forgive = request("", "POST", "/sca/forgive", None);
    assert_eq!(guarded.house.control(forgive).await.status(), 204);
    assert_eq!(guarded.verify(&ott, "111111").await.status(), 200);
}

#[tokio::test]
async fn an_approved_statement_is_remembered_for_ninety_days() {
    let guarded = Guarded::new().await;
    let list = format!("/v4/profiles/{BUSINESS}/balances?types=STANDARD");
    let list = guarded.house.call(&guarded.user, "GET", &list, None).await;
    let first = body(&list)[0].clone();
    let (balance, currency) = (&first["id"], word(&first["currency"]));
    let path = format!(
        "/v1/profiles/{BUSINESS}/balance-statements/{balance}/statement.json?currency={currency}&intervalStart=2026-10-01T00:00:00Z&intervalEnd=2026-11-01T00:00:00Z&type=COMPACT"
    );
    let read = guarded.one_time("GET", &path);
    let ott = challenged(&guarded.send(read.clone()).await);
    guarded.house.wise.approve(None, None);
    let approved = Ask {
        ott: Some(&ott),
        ..read.clone()
    };
    let answer = guarded.send(approved).await;
    assert_eq!(answer.status(), 200, "{}", text(&answer));
    let again = guarded.send(read.clone()).await;
    assert_eq!(again.status(), 200);
    assert!(!again.headers().contains_key("x-2fa-approval-result"));
    challenged(&guarded.send(guarded.pay(&guarded.user)).await);
    guarded
        .house
        .wise
        .change_faults(|faults| faults.token.lifetime = 90 * 86_400);
    let (user, _) = guarded.house.grant(BUSINESS).await;
    guarded
        .clock
        .advance(Duration::from_hours(24 * 90) - Duration::from_secs(1));
    let later = Ask {
        token: &user,
        ..read
    };
    assert_eq!(guarded.send(later.clone()).await.status(), 200);
    guarded.clock.advance(Duration::from_secs(1));
    guarded
        .house
        .wise
        .change_faults(|faults| faults.token.lifetime = 86_400);
    let (user, _) = guarded.house.grant(BUSINESS).await;
    challenged(
        &guarded
            .send(Ask {
                token: &user,
                ..later
            })
            .await,
    );
}

#[tokio::test]
async fn public_keys_are_managed_at_the_control_api() {
    let guarded = Guarded::new().await;
    let control = async |method: &str, path: &str, json: Option<Value>| {
        guarded.house.control(request("", method, path, json)).await
    };
    let names = body(&control("GET", "/hub/public-keys", None).await);
    assert_eq!(names, json!(["ours"]));
    let wrong = json!({"name": "x", "key": "no key"});
    let wrong = control("POST", "/hub/public-keys", Some(wrong)).await;
    assert_eq!(wrong.status(), 422);
    assert!(
        text(&wrong).contains("BEGIN PUBLIC KEY"),
        "{}",
        text(&wrong)
    );
    let gone = control("DELETE", "/hub/public-keys/ours", None).await;
    assert_eq!(gone.status(), 204);
    let ott = challenged(&guarded.send(guarded.pay(&guarded.personal)).await);
    let signature = guarded.sign(&ott);
    let signed = Ask {
        ott: Some(&ott),
        signature: Some(&signature),
        ..guarded.pay(&guarded.personal)
    };
    assert_eq!(guarded.send(signed).await.status(), 403, "the key is gone");
}
