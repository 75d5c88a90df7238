//! Which host lets whom in.

use super::*;

#[tokio::test]
async fn the_mtls_host_knows_its_client_by_certificate() {
    let house = House::open().await.certified();
    let (access, _) = house.grant(BUSINESS).await;
    let answer = house
        .mtls(request(&access, "GET", "/v1/me", None))
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
    let record = house.wise.recorded().pop().unwrap();
    let tls = record.tls.unwrap();
    let certificate = tls.client_certificate.unwrap();
    assert_eq!((record.door, tls.version.as_str()), (Door::Mtls, "TLSv1_3"));
    assert_eq!(tls.sni.as_deref(), Some("localhost"));
    assert_eq!(certificate.common_name, "simulated-client");
    assert_eq!(certificate.serial, house.wise.certificates()[0].serial);
}

#[tokio::test]
async fn without_a_certificate_the_mtls_host_refuses_in_the_chosen_way() {
    let house = House::open().await;
    let (access, _) = house.grant(BUSINESS).await;
    let ask = || request(&access, "GET", "/v1/me", None);
    assert!(house.mtls(ask()).await.is_err(), "TLS alert");

    house.wise.change_faults(|faults| {
        faults.tls.missing_certificate = MissingCertificate::BadRequest;
    });
    let answer = house.mtls(ask()).await.unwrap();
    assert_eq!(answer.status(), 400);
    assert!(text(&answer).contains("No required SSL certificate was sent"));

    house.wise.change_faults(|faults| {
        faults.tls.missing_certificate = MissingCertificate::Forbidden;
    });
    let answer = house.mtls(ask()).await.unwrap();
    assert_eq!(
        (answer.status().as_u16(), body(&answer)["status"].clone()),
        (403, json!(403))
    );
}

#[tokio::test]
async fn a_certificate_of_another_client_is_refused_unless_nobody_checks() {
    let house = House::open().await;
    house
        .wise
        .change_faults(|faults| faults.hub.common_name = Some("somebody-else".to_owned()));
    let house = house.certified();
    let (access, _) = house.grant(BUSINESS).await;
    let answer = house
        .mtls(request(&access, "GET", "/v1/me", None))
        .await
        .unwrap();
    assert_eq!(answer.status(), 403);
    house
        .wise
        .change_faults(|faults| faults.tls.check_common_name = false);
    let answer = house
        .mtls(request(&access, "GET", "/v1/me", None))
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
}

#[tokio::test]
async fn a_revoked_certificate_no_longer_connects() {
    let house = House::open().await.certified();
    let (access, _) = house.grant(BUSINESS).await;
    house.wise.revoke_certificate("ours").unwrap();
    assert!(
        house
            .mtls(request(&access, "GET", "/v1/me", None))
            .await
            .is_err()
    );
}

#[tokio::test]
async fn a_revoked_certificate_ends_its_open_connections_too() {
    let house = House::open().await.certified();
    let (access, _) = house.grant(BUSINESS).await;
    let stream = house.dial(house.wise.mtls_address()).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake::<_, Full<Bytes>>(TokioIo::new(stream))
            .await
            .unwrap();
    TaskTracker::new().spawn(connection);
    let ask = || request(&access, "GET", "/v1/me", None);
    let first = sender.send_request(ask()).await.unwrap();
    assert_eq!(first.status(), 200);
    first.into_body().collect().await.unwrap();
    house.wise.revoke_certificate("ours").unwrap();
    sender.ready().await.unwrap();
    assert_eq!(sender.send_request(ask()).await.unwrap().status(), 403);
}

#[tokio::test]
async fn the_client_can_speak_http2_and_tls_1_2() {
    let mut house = House::open().await.certified();
    house.http2 = true;
    house
        .wise
        .change_faults(|faults| faults.tls.versions = TlsVersions::Tls12);
    let answer = house
        .mtls(request(
            &personal_token(),
            "GET",
            "https://localhost/v1/me",
            None,
        ))
        .await;
    assert_eq!(
        answer.unwrap().status(),
        403,
        "a personal token has no business on this host"
    );
    let record = house.wise.recorded().pop().unwrap();
    let tls = record.tls.unwrap();
    assert_eq!(
        (record.version.as_str(), tls.version.as_str()),
        ("HTTP/2.0", "TLSv1_2")
    );
    assert_eq!(
        (tls.alpn.as_deref(), record.target.as_str()),
        (Some("h2"), "/v1/me")
    );
    assert_eq!(record.authority.as_deref(), Some("localhost"));

    house
        .wise
        .change_faults(|faults| faults.tls.http1_only = true);
    assert!(
        house.dial(house.wise.mtls_address()).await.is_err(),
        "no protocol in common"
    );
}

#[tokio::test]
async fn after_enforcement_the_plain_host_refuses_everything() {
    let house = House::open().await;
    house
        .wise
        .change_faults(|faults| faults.tls.enforced = true);
    assert_eq!(
        house
            .call(&personal_token(), "GET", "/v1/me", None)
            .await
            .status(),
        403
    );
    assert_eq!(
        house
            .token(&[("grant_type", "client_credentials")])
            .await
            .status(),
        403
    );
}

#[tokio::test]
async fn a_bound_token_works_only_with_its_certificate() {
    let house = House::open().await.certified();
    house
        .wise
        .change_faults(|faults| faults.tls.bound_tokens = true);
    let (access, _) = house.grant(BUSINESS).await;
    let answer = house
        .mtls(request(&access, "GET", "/v1/me", None))
        .await
        .unwrap();
    assert_eq!(answer.status(), 401, "it was fetched without a certificate");
    let code = house.wise.authorise(BUSINESS).unwrap();
    let fields = code_fields(&code);
    let bound = house
        .mtls(token_request("simulated-client-secret", &fields))
        .await
        .unwrap();
    let bound = word(&body(&bound)["access_token"]);
    let answer = house
        .mtls(request(&bound, "GET", "/v1/me", None))
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(
        house.call(&bound, "GET", "/v1/me", None).await.status(),
        401
    );
}
