//! Credential rules, PSD2 and strong customer authentication.

use super::*;
use crate::simulator::endpoints;
use crate::simulator::endpoints::Age;
use crate::simulator::endpoints::Credentials;
use crate::simulator::table::ENDPOINTS;

#[tokio::test]
async fn each_kind_of_credential_reaches_its_own_endpoints_only() {
    let house = House::open().await;
    let personal = personal_token();
    let (user, _) = house.grant(BUSINESS).await;
    let client = house.client_token().await;
    let contact = "/v1/users/9889627/contact-email".to_owned();
    let exists = "/v1/users/exists".to_owned();
    for (path, method, expected) in [
        ("/v1/me".to_owned(), "GET", [200, 200, 403, 401]),
        (contact, "GET", [403, 200, 403, 401]),
        (exists, "POST", [403, 403, 200, 401]),
        ("/v4/comparisons".to_owned(), "GET", [200, 200, 200, 200]),
        (
            format!("/v3/profiles/{BUSINESS}/subscriptions"),
            "GET",
            [403, 200, 403, 401],
        ),
        (
            "/v3/applications/simulated-client/subscriptions".to_owned(),
            "GET",
            [403, 403, 200, 401],
        ),
        (
            "/v3/applications/another/subscriptions".to_owned(),
            "GET",
            [403, 403, 403, 401],
        ),
        (
            "/v1/authenticated/playground".to_owned(),
            "GET",
            [200, 200, 200, 401],
        ),
    ] {
        let mut statuses = Vec::new();
        for token in [personal.as_str(), &user, &client, ""] {
            statuses.push(
                house
                    .call(token, method, &path, None)
                    .await
                    .status()
                    .as_u16(),
            );
        }
        assert_eq!(
            statuses, expected,
            "{method} {path}: personal, user, client, none"
        );
    }
}

#[tokio::test]
async fn a_user_token_acts_for_one_profile_and_the_personal_token_for_all() {
    let house = House::open().await;
    let (user, _) = house.grant(BUSINESS).await;
    let path = |profile| format!("/v2/profiles/{profile}");
    assert_eq!(
        house
            .call(&user, "GET", &path(BUSINESS), None)
            .await
            .status(),
        200
    );
    for profile in [OTHER, PERSONAL] {
        let answer = house.call(&user, "GET", &path(profile), None).await;
        assert_eq!(
            (answer.status().as_u16(), body(&answer)["message"].clone()),
            (403, json!("Unauthorized"))
        );
    }
    let personal = personal_token();
    for profile in [BUSINESS, OTHER, PERSONAL] {
        assert_eq!(
            house
                .call(&personal, "GET", &path(profile), None)
                .await
                .status(),
            200
        );
    }
    let all = body(&house.call(&personal, "GET", "/v2/profiles", None).await);
    assert_eq!(all.as_array().unwrap().len(), 3);
    let own = body(&house.call(&user, "GET", "/v2/profiles", None).await);
    assert_eq!(own.as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn both_path_styles_answer_and_unknown_versions_do_not() {
    let house = House::open().await;
    let token = personal_token();
    for (path, status) in [
        ("/v2/profiles", 200),
        ("/2026Q3/profiles", 200),
        ("/2026Q4/profiles", 200),
        ("/2027Q1/profiles", 404),
        ("/v7/profiles", 404),
        ("/profiles", 404),
    ] {
        assert_eq!(
            house.call(&token, "GET", path, None).await.status(),
            status,
            "{path}"
        );
    }
    assert_eq!(
        house.call(&token, "DELETE", "/v1/me", None).await.status(),
        405
    );
}

#[tokio::test]
async fn the_personal_token_obeys_the_rules_of_its_account() {
    let house = House::open().await;
    let token = personal_token();
    let (user, _) = house.grant(BUSINESS).await;
    let transfer = house.transfer(&user, 100, "psd2").await;
    let pay = format!(
        "/v3/profiles/{BUSINESS}/transfers/{}/payments",
        transfer["id"]
    );

    house
        .wise
        .change_faults(|faults| faults.personal.psd2 = true);
    let answer = house
        .call(&token, "POST", &pay, Some(json!({"type": "BALANCE"})))
        .await;
    assert_eq!(answer.status(), 403);
    assert_eq!(answer.headers()["x-2fa-approval-result"], "REJECTED");
    let answer = house
        .call(&user, "POST", &pay, Some(json!({"type": "BALANCE"})))
        .await;
    assert_eq!(answer.status(), 201, "PSD2 stops the personal token alone");

    house
        .wise
        .change_faults(|faults| faults.personal.read_only = true);
    assert_eq!(
        house.call(&token, "GET", "/v1/me", None).await.status(),
        200
    );
    assert_eq!(
        house
            .call(&token, "POST", "/v1/addresses", Some(json!({})))
            .await
            .status(),
        403
    );

    house.wise.change_faults(|faults| {
        faults.personal.allowed_addresses = vec!["192.0.2.0/24".parse().unwrap()];
    });
    assert_eq!(
        house.call(&token, "GET", "/v1/me", None).await.status(),
        401
    );
}

#[tokio::test]
async fn a_dead_token_is_answered_in_the_chosen_shape() {
    let house = House::open().await;
    let missing = house.call("", "GET", "/v1/me", None).await;
    assert_eq!(
        (missing.status().as_u16(), body(&missing)["error"].clone()),
        (401, json!("missing_token"))
    );
    for (shape, expected) in [
        (UnauthorizedShape::InvalidToken, "Invalid token"),
        (UnauthorizedShape::EchoesToken, "no-such-token"),
        (UnauthorizedShape::UpperCase, "UNAUTHORIZED"),
        (UnauthorizedShape::Empty, ""),
    ] {
        house
            .wise
            .change_faults(|faults| faults.resource.unauthorized = shape);
        let answer = house.call("no-such-token", "GET", "/v1/me", None).await;
        assert_eq!(answer.status(), 401);
        assert!(
            text(&answer).contains(expected),
            "{shape:?}: {}",
            text(&answer)
        );
    }
}

#[tokio::test]
async fn a_challenge_is_cleared_once_and_opens_one_call() {
    let house = House::open().await;
    let (user, _) = house.grant(BUSINESS).await;
    house
        .wise
        .change_faults(|faults| faults.resource.sca = Sca::Funding);
    let transfer = house.transfer(&user, 100, "sca").await;
    let path = format!(
        "/v3/profiles/{BUSINESS}/transfers/{}/payments",
        transfer["id"]
    );
    let pay = |ott: Option<&str>| {
        let mut request = request(&user, "POST", &path, Some(json!({"type": "BALANCE"})));
        if let Some(ott) = ott {
            request
                .headers_mut()
                .insert("x-2fa-approval", ott.parse().unwrap());
        }
        request
    };
    let refused = house.plain(pay(None)).await;
    assert_eq!(refused.status(), 403);
    assert_eq!(refused.headers()["x-2fa-approval-result"], "REJECTED");
    let ott = refused.headers()["x-2fa-approval"]
        .to_str()
        .unwrap()
        .to_owned();
    assert_eq!(
        house.plain(pay(Some(&ott))).await.status(),
        403,
        "not cleared yet"
    );

    let mut verify = request(
        &user,
        "POST",
        "/v1/one-time-token/sms/verify",
        Some(json!({"otpCode": "111111"})),
    );
    verify
        .headers_mut()
        .insert("one-time-token", ott.parse().unwrap());
    assert_eq!(house.plain(verify).await.status(), 200);

    let paid = house.plain(pay(Some(&ott))).await;
    assert_eq!(paid.status(), 201);
    assert_eq!(paid.headers()["x-2fa-approval-result"], "APPROVED");
    assert_eq!(
        house.plain(pay(Some(&ott))).await.status(),
        403,
        "single use"
    );
}

#[tokio::test]
async fn every_endpoint_of_the_reference_obeys_its_credential_rule_in_both_path_styles() {
    let house = House::with(Options {
        tls_plain: false,
        ..Options::default()
    })
    .await;
    house
        .wise
        .change_faults(|faults| faults.personal.quotes_and_recipients = false);
    let stream = TcpStream::connect(house.wise.plain_address())
        .await
        .unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake::<_, Full<Bytes>>(TokioIo::new(stream))
            .await
            .unwrap();
    TaskTracker::new().spawn(connection);
    let mut send = async |request: Request<Full<Bytes>>| {
        sender.ready().await.unwrap();
        let (head, body) = sender.send_request(request).await.unwrap().into_parts();
        Response::from_parts(head, body.collect().await.unwrap().to_bytes())
    };
    let code = house.wise.authorise(BUSINESS).unwrap();
    let secret = "simulated-client-secret";
    let user = body(&send(token_request(secret, &code_fields(&code))).await);
    let client = body(
        &send(token_request(
            secret,
            &[("grant_type", "client_credentials")],
        ))
        .await,
    );
    let tokens = [
        (personal_token(), Credentials::PERSONAL),
        (word(&user["access_token"]), Credentials::USER),
        (word(&client["access_token"]), Credentials::CLIENT),
        (String::new(), Credentials::NONE),
    ];
    for endpoint in ENDPOINTS {
        let path = filled(endpoint.path);
        let styles = match endpoint.age {
            Age::V(number) => vec![format!("/v{number}{path}"), format!("/2026Q3{path}")],
            Age::New => vec![format!("/2026Q3{path}")],
            Age::Unversioned => vec![path],
        };
        for (path, (token, kind)) in styles
            .iter()
            .flat_map(|path| tokens.iter().map(move |token| (path, token)))
        {
            // In the calendar style two old versions can share a path; the first is the rule.
            let found = endpoints::find(endpoint.method, path).unwrap();
            let allowed = found.endpoint.credentials.include(*kind);
            let answer = send(request(token, endpoint.method, path, None)).await;
            let status = answer.status().as_u16();
            let (method, refused) = (endpoint.method, matches!(status, 401 | 403));
            assert_eq!(refused, !allowed, "{method} {path} by {kind:?}: {status}");
        }
    }
}

/// A path with an id of our own in the place of each parameter.
fn filled(template: &str) -> String {
    template
        .replace("{profileId}", &BUSINESS.to_string())
        .replace("{userId}", "9889627")
        .replace("{clientKey}", "simulated-client")
        .replace("{clientId}", "simulated-client")
        .split('/')
        .map(|segment| {
            segment
                .split_once('{')
                .map_or(segment.to_owned(), |(head, _)| format!("{head}1"))
        })
        .collect::<Vec<_>>()
        .join("/")
}
