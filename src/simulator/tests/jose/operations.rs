//! Operations behind protection, and answers that are spoilt.

use super::*;

#[tokio::test]
async fn an_operation_behind_jose_does_what_it_does_in_plain() {
    let partner = Partner::new().await;
    let (user, _) = partner.house.grant(BUSINESS).await;
    let path = format!("/v3/profiles/{BUSINESS}/quotes");
    let ask = json!({"sourceCurrency": "GBP", "targetCurrency": "USD", "sourceAmount": 100});
    let plain = partner
        .house
        .call(&user, "POST", &path, Some(ask.clone()))
        .await;
    let plain = body(&plain);
    for (protection, method) in [
        (JoseMethod::Jws, "jws"),
        (JoseMethod::Jwe, "jwe"),
        (JoseMethod::JwsJwe, "jws+jwe"),
    ] {
        partner.house.wise.change_faults(|faults| {
            faults.jose.required = vec![JoseRoute {
                prefix: "/v3/profiles/".to_owned(),
                method: protection,
            }];
        });
        let refused = partner
            .house
            .call(&user, "POST", &path, Some(ask.clone()))
            .await;
        if protection == JoseMethod::Jws {
            jws_error(&refused);
        } else {
            bare_error(&refused);
        }
        let mut message = ask.to_string();
        if method != "jwe" {
            message = partner.sign(&path, &ask);
        }
        if method != "jws" {
            message = partner.encrypt(message.as_bytes()).await.0;
        }
        let jose = Jose {
            kid: Some(ENCRYPTION_KID),
            ..post(&path, method, &message)
        };
        let answer = partner.send(&user, jose).await;
        let inside = partner.open(&answer, None).await;
        assert_eq!(
            (inside.status, inside.media_type.as_str()),
            (200, "application/jose+json")
        );
        let quote = inside.json();
        assert_eq!(quote["targetAmount"], plain["targetAmount"]);
        assert_eq!(quote["rate"], plain["rate"]);

        // Read back without a body, under the same protection.
        let one = format!("{path}/{}", word(&quote["id"]));
        let read = Jose {
            method: "GET",
            ..Jose {
                body: "",
                path: &one,
                ..jose
            }
        };
        let answer = partner.send(&user, read).await;
        assert_eq!(partner.open(&answer, None).await.json()["id"], quote["id"]);

        // Refusals are plain JSON.
        let missing = format!("{path}/no-such-quote");
        let answer = partner
            .send(
                &user,
                Jose {
                    path: &missing,
                    ..read
                },
            )
            .await;
        assert_eq!(answer.status(), 404);
        assert_eq!(answer.headers()[CONTENT_TYPE], "application/json");
        assert_eq!(body(&answer)["status"], 404);
    }
}

#[tokio::test]
async fn an_empty_answer_is_not_protected_and_a_transaction_inside_is_recorded() {
    let partner = Partner::new().await;
    let (user, _) = partner.house.grant(BUSINESS).await;
    let path = format!("/v3/profiles/{BUSINESS}/subscriptions");
    let create = json!({
        "name": "mine",
        "trigger_on": "transfers#state-change",
        "delivery": {"version": "2.0.0", "url": "https://hooks.example.com/"},
    });
    let made = body(&partner.house.call(&user, "POST", &path, Some(create)).await);
    let one = format!("{path}/{}", word(&made["id"]));
    let remove = Jose {
        method: "DELETE",
        kid: Some(ENCRYPTION_KID),
        ..post(&one, "jwe", "")
    };
    let answer = partner.send(&user, remove).await;
    assert_eq!(answer.status(), 204);
    assert!(answer.body().is_empty());
    assert!(!answer.headers().contains_key(CONTENT_TYPE));

    let create = json!({"customerTransactionId": "sealed"});
    let message = partner.sign("/v1/transfers", &create);
    let answer = partner
        .send(&user, post("/v1/transfers", "jws", &message))
        .await;
    assert_eq!(answer.status(), 422, "{}", text(&answer));
    assert_eq!(partner.house.wise.counters().transactions["sealed"], 1);
}

#[tokio::test]
async fn answers_are_spoilt_on_wish_and_rotation_makes_another_version() {
    let partner = Partner::new().await;
    let path = format!("{PLAYGROUND}/jws");
    let message = partner.sign(&path, &json!({"message": "hello"}));
    let ask = async || {
        partner
            .send(&partner.token, post(&path, "jws", &message))
            .await
    };
    let spoil = |kind| {
        partner.house.wise.change_faults(|faults| {
            faults.jose.tamper = Some(Tampering {
                kind,
                times: Some(1),
            });
        });
    };
    let first = partner.wise_signing_key(1).await;
    for kind in [
        Tamper::Content,
        Tamper::Signature,
        Tamper::WrongKey,
        Tamper::NoAlgorithm,
    ] {
        spoil(kind);
        let answer = ask().await;
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()[CONTENT_TYPE], "application/jose+json");
        let verified = Signed::parse(answer.body()).and_then(|it| it.verify(&first));
        assert!(verified.is_err(), "{kind:?}");
        let answer = ask().await;
        let verified = Signed::parse(answer.body()).and_then(|it| it.verify(&first));
        assert!(verified.is_ok(), "spoilt once only");
    }
    spoil(Tamper::Plain);
    assert_eq!(ask().await.headers()[CONTENT_TYPE], "application/json");

    partner.house.wise.rotate_jose_key("ES512");
    let answer = ask().await;
    let signed = Signed::parse(answer.body()).unwrap();
    assert_eq!(signed.version(), Some(2));
    assert!(signed.verify(&first).is_err(), "the stored key is outdated");
    let second = partner.wise_signing_key(2).await;
    assert!(signed.verify(&second).is_ok());

    let path = format!("{PLAYGROUND}/jwe");
    let (message, _) = partner.encrypt(br#"{"message":"hello"}"#).await;
    for kind in [Tamper::Content, Tamper::Signature, Tamper::WrongKey] {
        spoil(kind);
        let answer = partner
            .send(&partner.token, post(&path, "jwe", &message))
            .await;
        assert_eq!(answer.status(), 200);
        let encrypted = Encrypted::parse(answer.body()).unwrap();
        assert_eq!(encrypted.kid(), Some(ENCRYPTION_KID));
        assert!(encrypted.decrypt(&partner.decrypting).is_err(), "{kind:?}");
    }
    // A body to the version before can be read, unless the switch says otherwise.
    partner.house.wise.rotate_jose_key("RSA_OAEP_256");
    for (earlier, status) in [(true, 200), (false, 500)] {
        partner
            .house
            .wise
            .change_faults(|faults| faults.jose.earlier_keys = earlier);
        let answer = partner
            .send(&partner.token, post(&path, "jwe", &message))
            .await;
        assert_eq!(answer.status(), status);
    }
}

#[tokio::test]
async fn how_answers_are_made_is_a_switch() {
    let partner = Partner::new().await;
    let (user, _) = partner.house.grant(BUSINESS).await;
    let path = format!("/v3/profiles/{BUSINESS}/quotes");
    let ask = json!({"sourceCurrency": "GBP", "targetCurrency": "USD", "sourceAmount": 100});
    partner.house.wise.change_faults(|faults| {
        faults.jose.direct = true;
        faults.jose.errors = true;
        faults.jose.answer_algorithm = Some(SigningAlgorithm::Es256);
    });
    // Nobody demands protection here: the header alone brings it.
    let (message, content_key) = partner.encrypt(ask.to_string().as_bytes()).await;
    let answer = partner.send(&user, post(&path, "jwe", &message)).await;
    assert!(Encrypted::parse(answer.body()).unwrap().is_direct());
    let inside = partner.open(&answer, Some(&content_key)).await;
    assert_eq!(inside.json()["sourceAmount"], 100.0);

    let message = partner.sign(&path, &json!({}));
    let answer = partner.send(&user, post(&path, "jws", &message)).await;
    assert!(answer.status().is_client_error(), "{}", answer.status());
    assert_eq!(answer.headers()[CONTENT_TYPE], "application/jose+json");
    let signed = Signed::parse(answer.body()).unwrap();
    assert_eq!(signed.algorithm(), Some(Algorithm::Es256));
    let key = partner.wise_key("ES256", "PAYLOAD_SIGNING", "").await;
    let key = VerifyingKey::from_der(Algorithm::Es256, &material(&key)).unwrap();
    let refusal: Value = serde_json::from_slice(&signed.verify(&key).unwrap()).unwrap();
    assert!(refusal["errors"].is_array(), "{refusal}");
}

#[tokio::test]
async fn a_pin_comes_encrypted_and_clears_its_challenge() {
    let partner = Partner::new().await;
    let (user, _) = partner.house.grant(BUSINESS).await;
    partner.house.wise.change_faults(|faults| {
        faults.resource.sca = Sca::Funding;
        faults.sca.challenges = vec![ChallengeKind::Pin];
    });
    let transfer = partner.house.transfer(&user, 100, "pin").await;
    let pay = format!(
        "/v3/profiles/{BUSINESS}/transfers/{}/payments",
        transfer["id"]
    );
    let refused = partner
        .house
        .call(&user, "POST", &pay, Some(json!({"type": "BALANCE"})))
        .await;
    let ott = refused.headers()["x-2fa-approval"].clone();

    let path = format!("/v2/profiles/{BUSINESS}/pin");
    let verify = format!("{path}/verify");
    let plain = Some(json!({"pin": "1234"}));
    bare_error(&partner.house.call(&user, "POST", &path, plain).await);
    let send = async |path: &str, pin: &str| {
        let body = json!({"pin": pin}).to_string();
        let (message, _) = partner.encrypt(body.as_bytes()).await;
        let jose = Jose {
            kid: Some(ENCRYPTION_KID),
            ..post(path, "jwe", &message)
        };
        let mut request = jose.request(&user);
        request.headers_mut().insert("one-time-token", ott.clone());
        partner.house.plain(request).await
    };
    assert_eq!(send(&verify, "1234").await.status(), 404, "there is none");
    assert_eq!(send(&path, "12").await.status(), 400);
    let made = send(&path, "1234").await;
    assert_eq!((made.status().as_u16(), made.body().len()), (200, 0));
    assert_eq!(send(&path, "1234").await.status(), 409, "there is one");
    assert_eq!(send(&verify, "4321").await.status(), 400);
    let verified = send(&verify, "1234").await;
    let verified = partner.open(&verified, None).await.json();
    assert_eq!(verified["challenges"], json!([]));
    assert_eq!(verified["oneTimeToken"], ott.to_str().unwrap());

    let mut again = request(&user, "POST", &pay, Some(json!({"type": "BALANCE"})));
    again.headers_mut().insert("x-2fa-approval", ott.clone());
    assert_eq!(partner.house.plain(again).await.status(), 201);
    let removed = partner.house.call(&user, "DELETE", &path, None).await;
    assert_eq!(removed.status(), 204);
    let removed = partner.house.call(&user, "DELETE", &path, None).await;
    assert_eq!(removed.status(), 404);
}
