//! The token endpoint, over the wire.

use super::*;

#[tokio::test]
async fn each_of_the_four_grants_gives_a_working_token() {
    let house = House::open().await;
    let (access, refresh) = house.grant(BUSINESS).await;
    assert_eq!(
        house.call(&access, "GET", "/v1/me", None).await.status(),
        200
    );

    let renewed = body(&house.token(&refresh_fields(&refresh)).await);
    let access = word(&renewed["access_token"]);
    assert_eq!(
        house.call(&access, "GET", "/v1/me", None).await.status(),
        200
    );
    assert_eq!(renewed["expires_in"], 43_199);
    assert!(renewed["expires_at"].as_str().unwrap().ends_with('Z'));

    let client = house.client_token().await;
    let secret = "at-least-32-characters-of-secret";
    let user = json!({"email": "new@example.com", "registrationCode": secret, "language": "EN"});
    let path = "/v1/user/signup/registration_code";
    let answer = house.call(&client, "POST", path, Some(user.clone())).await;
    assert_eq!(
        (answer.status().as_u16(), body(&answer)["active"].clone()),
        (200, json!(true))
    );
    assert_eq!(
        house.call(&client, "POST", path, Some(user)).await.status(),
        409
    );

    let fields = [
        ("grant_type", "registration_code"),
        ("client_id", "simulated-client"),
        ("email", "new@example.com"),
        ("registration_code", secret),
    ];
    let access = word(&body(&house.token(&fields).await)["access_token"]);
    let me = body(&house.call(&access, "GET", "/v1/me", None).await);
    assert_eq!(me["email"], "new@example.com");
}

#[tokio::test]
async fn a_refresh_answers_401_to_the_previous_access_token() {
    let house = House::open().await;
    let (access, refresh) = house.grant(BUSINESS).await;
    house.token(&refresh_fields(&refresh)).await;
    let answer = house.call(&access, "GET", "/v1/me", None).await;
    assert_eq!(answer.status(), 401);
    assert_eq!(
        body(&answer),
        json!({"error": "invalid_token", "error_description": "Invalid token"})
    );
}

#[tokio::test]
async fn token_errors_have_their_documented_shapes() {
    let house = House::open().await;
    let wrong = house
        .plain(token_request(
            "wrong",
            &[("grant_type", "client_credentials")],
        ))
        .await;
    assert_eq!(
        (wrong.status().as_u16(), body(&wrong)["error"].clone()),
        (401, json!("invalid_client"))
    );

    let missing = house.token(&[]).await;
    assert_eq!(missing.status(), 400);
    assert_eq!(
        body(&missing),
        json!({"error": "invalid_request", "error_description": "Missing grant type"})
    );

    let unknown = house.token(&[("grant_type", "password")]).await;
    assert_eq!(body(&unknown)["error"], "unsupported_grant_type");

    let dead = house.token(&refresh_fields("nonsense")).await;
    assert_eq!(dead.status(), 400);
    assert_eq!(
        body(&dead),
        json!({"error": "invalid_grant", "error_description": "Invalid user credentials."})
    );
    house.wise.change_faults(|faults| {
        faults.token.invalid_grant_status = InvalidGrantStatus::Unauthorized;
    });
    assert_eq!(house.token(&refresh_fields("nonsense")).await.status(), 401);
}

#[tokio::test]
async fn a_lost_answer_minted_all_the_same() {
    let house = House::open().await;
    let (access, refresh) = house.grant(BUSINESS).await;
    house.wise.change_faults(|faults| {
        faults.token.disturb = Some(Disturb::times(Disturbance::LoseAnswer, 1));
    });
    let lost = token_request("simulated-client-secret", &refresh_fields(&refresh));
    assert!(house.send(house.wise.plain_address(), lost).await.is_err());
    assert_eq!(
        house.wise.exchanges()[1].outcome,
        Outcome::Lost { generation: 2 }
    );
    assert_eq!(house.wise.generation(BUSINESS), Some(2));
    assert_eq!(
        house.call(&access, "GET", "/v1/me", None).await.status(),
        401
    );

    let again = house.token(&refresh_fields(&refresh)).await;
    assert_eq!(
        body(&again)["error"],
        "invalid_grant",
        "always: the old value ended the grant"
    );
    assert_eq!(house.wise.exchanges()[2].presented, Some(1));
}

#[tokio::test]
async fn with_grace_a_lost_answer_can_be_asked_for_again() {
    let house = House::open().await;
    house
        .wise
        .change_faults(|faults| faults.token.rotation = Rotation::Grace);
    let (_, refresh) = house.grant(BUSINESS).await;
    house.wise.change_faults(|faults| {
        faults.token.disturb = Some(Disturb::times(Disturbance::LoseAnswer, 1));
    });
    let lost = token_request("simulated-client-secret", &refresh_fields(&refresh));
    assert!(house.send(house.wise.plain_address(), lost).await.is_err());
    assert_eq!(house.token(&refresh_fields(&refresh)).await.status(), 200);
}

#[tokio::test]
async fn the_token_endpoint_can_be_disturbed() {
    let house = House::open().await;
    let ask = [("grant_type", "client_credentials")];
    for (kind, status) in [
        (Disturbance::TooManyRequests, 429),
        (Disturbance::ServerError, 500),
        (Disturbance::Html, 503),
        (Disturbance::Redirect, 302),
        (Disturbance::Garbage, 200),
    ] {
        house
            .wise
            .change_faults(|faults| faults.token.disturb = Some(Disturb::times(kind, 1)));
        let answer = house.token(&ask).await;
        assert_eq!(answer.status(), status, "{kind:?}");
        if status == 429 {
            assert_eq!(answer.headers()[RETRY_AFTER], "5");
            assert_eq!(answer.headers()["x-rate-limited-by"], "wise-public-api");
        }
    }
    assert_eq!(house.token(&ask).await.status(), 200, "used up");
}

#[tokio::test]
async fn a_token_expires_by_the_clock_it_was_given() {
    let clock = Arc::new(Manual::at(
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_000_000),
    ));
    let wise = Simulator::start_at(
        Options {
            tls_plain: false,
            ..Options::default()
        },
        Arc::clone(&clock) as Arc<dyn Clock>,
    )
    .await
    .unwrap();
    let send = async |request| {
        let stream = TcpStream::connect(wise.plain_address()).await.unwrap();
        exchange(stream, false, request).await.unwrap()
    };
    let code = wise.authorise(BUSINESS).unwrap();
    let answer = send(token_request(
        "simulated-client-secret",
        &code_fields(&code),
    ))
    .await;
    let access = word(&body(&answer)["access_token"]);
    assert_eq!(
        send(request(&access, "GET", "/v1/me", None)).await.status(),
        200
    );
    clock.advance(Duration::from_secs(43_199));
    assert_eq!(
        send(request(&access, "GET", "/v1/me", None)).await.status(),
        401
    );
}

#[tokio::test]
async fn the_token_endpoint_answers_on_both_hosts_and_under_the_calendar_prefix() {
    let house = House::open().await.certified();
    let ask = |path: &str| {
        let fields = [("grant_type", "client_credentials")];
        let mut request = token_request("simulated-client-secret", &fields);
        *request.uri_mut() = path.parse().unwrap();
        request
    };
    assert_eq!(house.plain(ask("/2026Q3/oauth/token")).await.status(), 200);
    assert_eq!(house.plain(ask("/2027Q1/oauth/token")).await.status(), 404);
    assert_eq!(house.mtls(ask("/oauth/token")).await.unwrap().status(), 200);
    let last = house.wise.exchanges().pop().unwrap();
    assert_eq!(
        (last.door, last.certificate.as_deref()),
        (Door::Mtls, Some("simulated-client"))
    );
}

#[tokio::test]
async fn tokens_come_in_the_chosen_form_and_work_in_each() {
    let house = House::open().await;
    for (form, length) in [
        (TokenForm::Uuid, 36),
        (TokenForm::Jwe, 800),
        (TokenForm::FourKib, 4_096),
    ] {
        house.wise.change_faults(|faults| faults.token.form = form);
        let (access, _) = house.grant(BUSINESS).await;
        assert_eq!(access.len(), length);
        assert_eq!(
            house.call(&access, "GET", "/v1/me", None).await.status(),
            200
        );
    }
    assert_eq!(
        house.client_token().await.split('.').count(),
        5,
        "the form since 2026"
    );
}

#[tokio::test]
async fn optional_fields_can_be_left_out() {
    let house = House::open().await;
    house.wise.change_faults(|faults| {
        faults.token.expires_at = false;
        faults.token.rotation = Rotation::Never;
        faults.token.repeat_refresh_token = false;
    });
    let (_, refresh) = house.grant(BUSINESS).await;
    let renewed = body(&house.token(&refresh_fields(&refresh)).await);
    for absent in ["expires_at", "refresh_token_expires_at", "refresh_token"] {
        assert!(renewed.get(absent).is_none(), "{absent} in {renewed}");
    }
    assert!(renewed["refresh_token_expires_in"].is_u64());
}

#[tokio::test]
async fn a_disconnected_app_must_ask_the_person_again() {
    let house = House::open().await;
    let (access, refresh) = house.grant(BUSINESS).await;
    let (other, _) = house.grant(OTHER).await;
    assert_eq!(house.wise.disconnect(BUSINESS), 1);
    assert_eq!(
        house.call(&access, "GET", "/v1/me", None).await.status(),
        401
    );
    let dead = house.token(&refresh_fields(&refresh)).await;
    assert_eq!(body(&dead)["error"], "invalid_grant");
    assert_eq!(
        house.call(&other, "GET", "/v1/me", None).await.status(),
        200,
        "another grant"
    );
}

#[tokio::test]
async fn a_revoked_access_token_leaves_its_grant_alive() {
    let house = House::open().await;
    let (access, refresh) = house.grant(BUSINESS).await;
    assert_eq!(house.wise.revoke_access(BUSINESS), 1);
    assert_eq!(
        house.call(&access, "GET", "/v1/me", None).await.status(),
        401
    );
    assert_eq!(house.token(&refresh_fields(&refresh)).await.status(), 200);
}
