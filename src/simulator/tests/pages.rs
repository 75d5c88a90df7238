//! The pages for people and the control API for scripts.

use super::*;

#[tokio::test]
async fn a_person_grants_access_in_the_browser() {
    let house = House::open().await;
    house
        .wise
        .change_faults(|faults| faults.token.any_loopback_port = true);
    let url = house.wise.authorise_url();
    let path = url.strip_prefix(&house.wise.plain_url()).unwrap();
    let page = house
        .plain(request("", "GET", &format!("{path}&state=a%26b"), None))
        .await;
    assert_eq!(page.status(), 200);
    assert!(text(&page).contains("value=\"30000000\"") && text(&page).contains("a&amp;b"));
    let form = form_urlencoded::Serializer::new(String::new())
        .extend_pairs([
            ("client_id", "simulated-client"),
            ("redirect_uri", "http://127.0.0.1:4711/callback"),
            ("profile", "30000000"),
            ("state", "a&b"),
            ("decision", "grant"),
        ])
        .finish();
    let post = Request::post("/oauth/authorize/")
        .header(HOST, "localhost")
        .body(Full::new(form.into()))
        .unwrap();
    let answer = house.plain(post).await;
    assert_eq!(answer.status(), 303);
    let target = answer.headers()[LOCATION].to_str().unwrap();
    let (uri, query) = target.split_once('?').unwrap();
    assert_eq!(uri, "http://127.0.0.1:4711/callback");
    let query: std::collections::HashMap<_, _> = form_urlencoded::parse(query.as_bytes())
        .into_owned()
        .collect();
    assert_eq!(
        (query["profileId"].as_str(), query["state"].as_str()),
        ("30000000", "a&b")
    );
    let mut fields = code_fields(&query["code"]);
    fields[3].1 = "http://127.0.0.1:4711/callback";
    assert_eq!(house.token(&fields).await.status(), 200);
}

#[tokio::test]
async fn a_wrong_authorise_link_ends_on_a_page_and_never_redirects() {
    let house = House::open().await;
    for query in [
        "client_id=another&redirect_uri=http%3A%2F%2F127.0.0.1%2Fcallback",
        "client_id=simulated-client&redirect_uri=https%3A%2F%2Fevil.example%2F",
        "client_id=simulated-client",
    ] {
        for path in ["/oauth/authorize", "/oauth/authorize/"] {
            let answer = house
                .plain(request("", "GET", &format!("{path}?{query}"), None))
                .await;
            assert_eq!(answer.status(), 400);
            assert!(!answer.headers().contains_key(LOCATION));
        }
    }
}

#[tokio::test]
async fn the_developer_hub_page_signs_and_refuses() {
    let house = House::open().await;
    let csr = csr(&rcgen::KeyPair::generate().unwrap());
    let mut pages = Vec::new();
    for csr in [csr.as_str(), "nonsense"] {
        let form = form_urlencoded::Serializer::new(String::new())
            .extend_pairs([("name", "page"), ("csr", csr)])
            .finish();
        let post = Request::post("/developer-hub")
            .header(HOST, "localhost")
            .body(Full::new(form.into()))
            .unwrap();
        pages.push(text(&house.plain(post).await));
    }
    assert!(pages[0].contains("-----BEGIN CERTIFICATE-----"));
    assert!(pages[1].contains("Refused:"));
}

#[tokio::test]
async fn the_control_api_drives_what_a_test_can() {
    let house = House::open().await;
    let patch = json!({"token": {"lifetime": 3, "disturb": {"kind": "html", "times": 1}}});
    let faults = house
        .control(request("", "PATCH", "/faults", Some(patch)))
        .await;
    assert_eq!(faults.status(), 200, "{}", text(&faults));
    assert_eq!(house.wise.faults().token.lifetime, 3);
    assert_eq!(
        house
            .token(&[("grant_type", "client_credentials")])
            .await
            .status(),
        503
    );
    let wrong = house
        .control(request("", "PUT", "/faults", Some(json!({"tokens": {}}))))
        .await;
    assert_eq!(wrong.status(), 400);

    let code = house
        .control(request(
            "",
            "POST",
            "/authorise",
            Some(json!({"profile": BUSINESS})),
        ))
        .await;
    assert_eq!(
        house
            .token(&code_fields(&word(&body(&code)["code"])))
            .await
            .status(),
        200
    );
    let state = body(&house.control(request("", "GET", "/state", None)).await);
    assert_eq!(state["grants"][0]["generation"], 1);
    let revoked = house
        .control(request(
            "",
            "POST",
            "/revoke",
            Some(json!({"profile": BUSINESS})),
        ))
        .await;
    assert_eq!(body(&revoked)["ended"], 1);
    let exchanges = body(&house.control(request("", "GET", "/exchanges", None)).await);
    assert_eq!(
        exchanges[1]["outcome"],
        json!({"result": "minted", "generation": 1})
    );
    let requests = body(&house.control(request("", "GET", "/requests", None)).await);
    assert_eq!(requests[0]["target"], "/oauth/token");

    let csr = csr(&rcgen::KeyPair::generate().unwrap());
    let ask = json!({"name": "by curl", "csr": csr});
    let issued = house
        .control(request("", "POST", "/hub/certificates", Some(ask)))
        .await;
    assert_eq!(issued.status(), 201);
    let path = "/hub/certificates/by%20curl";
    assert_eq!(
        house
            .control(request("", "DELETE", path, None))
            .await
            .status(),
        204
    );
    assert_eq!(
        house
            .control(request("", "DELETE", path, None))
            .await
            .status(),
        404
    );
    assert_eq!(
        text(&house.control(request("", "GET", "/ca.pem", None)).await),
        house.wise.ca_pem()
    );
}

#[tokio::test]
async fn the_control_api_is_not_for_browsers() {
    let house = House::open().await;
    let mut ask = request("", "GET", "/state", None);
    ask.headers_mut()
        .insert("origin", "https://evil.example".parse().unwrap());
    assert_eq!(house.control(ask).await.status(), 403);
}
