//! Wise's keys and the partner's.

use super::*;

#[tokio::test]
async fn a_registered_key_is_repeated_with_its_clients_and_wrong_ones_are_refused() {
    let house = House::open().await;
    let token = house.client_token().await;
    let der = signing_key(None).public_der().unwrap();
    let good = registration(KID, "PAYLOAD_SIGNING", "ES512", &der, FAR_OFF);
    let register = async |body: Value| house.call(&token, "POST", REGISTER, Some(body)).await;
    let (algorithm, material) = (
        "publicKeyMaterial.algorithm",
        "publicKeyMaterial.keyMaterial",
    );
    for (at, value, path) in [
        ("/keyId", "mine", "keyId"),
        ("/scope", "ANYTHING", "scope"),
        ("/scope", "PAYLOAD_ENCRYPTION", algorithm),
        ("/validFrom", "2023-04-27T00:00:00Z", "validFrom"),
        ("/validTill", LONG_AGO, "validTill"),
        ("/publicKeyMaterial/algorithm", "RS256", algorithm),
        ("/publicKeyMaterial/algorithm", "ES384", material),
        ("/publicKeyMaterial/keyMaterial", "AAAA", material),
    ] {
        let mut body = good.clone();
        *body.pointer_mut(at).unwrap() = value.into();
        let answer = register(body).await;
        assert_eq!(answer.status(), 400, "{at} {value}");
        assert_eq!(super::body(&answer)["errors"][0]["path"], path);
    }
    let answer = register(good.clone()).await;
    assert_eq!(answer.status(), 201, "{}", text(&answer));
    let mut expected = good.clone();
    expected["clientId"] = Value::Null;
    expected["deactivationTimestamp"] = Value::Null;
    assert_eq!(body(&answer), expected);
    assert_eq!(
        register(good.clone()).await.status(),
        409,
        "the id is taken"
    );

    let user = house.grant(BUSINESS).await.0;
    let answer = house
        .call(&user, "POST", REGISTER, Some(good.clone()))
        .await;
    assert_eq!(answer.status(), 403, "for the client's own token alone");
}

#[tokio::test]
async fn wises_keys_are_read_by_algorithm_scope_and_version() {
    let partner = Partner::new().await;
    for algorithm in Algorithm::ALL {
        let key = partner
            .wise_key(algorithm.name(), "PAYLOAD_SIGNING", "")
            .await;
        assert_eq!(key["version"], 1);
        assert_eq!(key["scope"], "PAYLOAD_SIGNING");
        assert_eq!(key["keyMaterial"]["algorithm"], algorithm.name());
        VerifyingKey::from_der(algorithm, &material(&key)).unwrap();
    }
    for query in [
        "",
        "?algorithm=ES512",
        "?algorithm=ES512&scope=PAYLOAD_ENCRYPTION",
        "?algorithm=RSA-OAEP-256&scope=PAYLOAD_ENCRYPTION",
        "?algorithm=RS256&scope=PAYLOAD_SIGNING",
        "?algorithm=ES512&scope=PAYLOAD_SIGNING&version=2",
        "?algorithm=ES512&scope=PAYLOAD_SIGNING&version=0",
    ] {
        let path = format!("/v1/auth/jose/response/public-keys{query}");
        let answer = partner.house.call(&partner.token, "GET", &path, None).await;
        assert_eq!(answer.status(), 400, "{query}");
    }
    let before = material(&partner.wise_key("ES512", "PAYLOAD_SIGNING", "").await);
    assert_eq!(partner.house.wise.rotate_jose_key("ES512"), Some(2));
    assert_eq!(partner.house.wise.rotate_jose_key("HS256"), None);
    let now = partner.wise_key("ES512", "PAYLOAD_SIGNING", "").await;
    assert_eq!(now["version"], 2);
    assert_ne!(material(&now), before);
    let first = partner
        .wise_key("ES512", "PAYLOAD_SIGNING", "&version=1")
        .await;
    assert_eq!(material(&first), before);
}

#[tokio::test]
async fn several_keys_are_good_at_a_time_and_each_only_in_its_time() {
    let clock = Arc::new(Manual::at(
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_000_000),
    ));
    let wise = Simulator::start_at(Options::default(), Arc::clone(&clock) as Arc<dyn Clock>)
        .await
        .unwrap();
    let house = House {
        wise,
        identity: None,
        http2: false,
    };
    let token = house.client_token().await;
    let (old, new) = (signing_key(None), signing_key(None));
    let second = "7a7e35ba-6b4f-4f52-8b0f-3f5c7f9d2a10";
    // The clock stands at 2026-11-18 11:06:40.
    for (key, id, from, till) in [
        (&old, KID, LONG_AGO, "2026-11-18 12:00:00"),
        (&new, second, "2026-11-18 11:30:00", FAR_OFF),
    ] {
        let der = key.public_der().unwrap();
        let mut body = registration(id, "PAYLOAD_SIGNING", "ES512", &der, till);
        body["validFrom"] = from.into();
        let answer = house.call(&token, "POST", REGISTER, Some(body)).await;
        assert_eq!(answer.status(), 201);
    }
    let path = format!("{PLAYGROUND}/jws");
    let statuses = async || {
        let mut statuses = Vec::new();
        for key in [&old, &new] {
            let message = jose::sign(key, &path, br#"{"message":"hello"}"#).unwrap();
            let answer = house
                .plain(post(&path, "jws", &message).request(&token))
                .await;
            statuses.push(answer.status().as_u16());
        }
        statuses
    };
    assert_eq!(statuses().await, [200, 400], "the second is not yet valid");
    clock.advance(Duration::from_mins(30));
    assert_eq!(statuses().await, [200, 200], "they overlap");
    clock.advance(Duration::from_mins(30));
    assert_eq!(statuses().await, [400, 200], "the first is over");
    assert!(house.wise.deactivate_jose_key(second));
    assert_eq!(
        statuses().await,
        [400, 400],
        "the second was taken out of use"
    );
}

#[tokio::test]
async fn the_control_api_rotates_lists_and_deactivates() {
    let partner = Partner::new().await;
    let control = async |method: &str, path: &str, json: Option<Value>| {
        partner.house.control(request("", method, path, json)).await
    };
    let answer = control("POST", "/jose/rotate", Some(json!({"algorithm": "ES256"}))).await;
    assert_eq!(body(&answer), json!({"algorithm": "ES256", "version": 2}));
    let wrong = control("POST", "/jose/rotate", Some(json!({"algorithm": "RS256"}))).await;
    assert_eq!(wrong.status(), 400);
    let keys = body(&control("GET", "/jose/keys", None).await);
    assert_eq!(keys["wise"], json!({"ES256": 2}));
    assert_eq!(keys["client"][0]["keyId"], KID);
    let path = format!("/jose/keys/{KID}");
    assert_eq!(control("DELETE", &path, None).await.status(), 204);
    assert_eq!(
        control("DELETE", "/jose/keys/none", None).await.status(),
        404
    );
    let keys = body(&control("GET", "/jose/keys", None).await);
    assert!(keys["client"][0]["deactivationTimestamp"].is_string());
    let patch = json!({"jose": {"required": [{"prefix": "/v1/transfers", "method": "jws+jwe"}]}});
    let answer = control("PATCH", "/faults", Some(patch)).await;
    assert_eq!(answer.status(), 200, "{}", text(&answer));
    let (user, _) = partner.house.grant(BUSINESS).await;
    let plain = partner
        .house
        .call(&user, "GET", "/v1/transfers", None)
        .await;
    bare_error(&plain);
}
