//! What passes as it is: everything by default, and whatever the application does itself.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::*;
use crate::failures_table::row;
use crate::wire::Stub;

/// What openssl signs, the way that Wise's guide shows.
fn signature(site: &Site, key: &str, ott: &str) -> String {
    let data = site.path("ott");
    std::fs::write(&data, ott).unwrap();
    let signed = std::process::Command::new("openssl")
        .args(["dgst", "-sha256", "-sign"])
        .args([site.path(key), data])
        .output()
        .unwrap();
    assert!(signed.status.success(), "{signed:?}");
    STANDARD.encode(signed.stdout)
}

#[tokio::test]
async fn by_default_the_application_gets_the_challenge_as_it_is() {
    for lane in ["personal", "oauth-mtls"] {
        let wise = house::wise().await;
        let house = House::on(&wise).lane(lane).start().await;
        let guarded = Guarded::new(wise, house).await;
        let first = guarded.fund().await;
        let sent = guarded.statuses().len();
        row("answer-403-sca")
            .shown(&guarded.house, &first, sent)
            .await;
        let (ott, again) = (challenged(&first), challenged(&guarded.fund().await));
        assert_ne!(ott, again);
        assert_eq!(guarded.statuses(), [403, 403], "each was sent once");
        assert!(guarded.paid().await.abs() < 0.01);
        guarded.is_noted(&ott, &["passed"]).await;
        let told = guarded
            .house
            .log()
            .matches("the application got Wise's 403")
            .count();
        assert_eq!(told, 1, "once a minute: {}", guarded.house.log());
        assert!(guarded.house.metric(CHALLENGES, "").await > 1.5);
    }
}

#[tokio::test]
async fn an_application_that_signs_for_itself_goes_on_as_before() {
    for has_key in [false, true] {
        let wise = house::wise().await;
        let mut plan = House::on(&wise).lane("personal").logged_out();
        if has_key {
            plan = plan.set("sca.key", "sca.key");
        }
        let site = plan.prepare().await;
        with_key(&site, &wise, "sca.key").await;
        let house = site.start().await;
        let guarded = Guarded::new(wise, house).await;
        // Its first request says nothing, and would be signed by us; so it has a token from before.
        let first = guarded.wise.challenges().len();
        let mut request = guarded.funding();
        let stale = "65a31b86-aa2e-47fd-a7a4-3710437ba270";
        request
            .headers_mut()
            .insert("x-2fa-approval", stale.parse().unwrap());
        let ott = challenged(&guarded.house.request(request).await);
        assert_eq!(guarded.wise.challenges().len(), first + 1);

        let signature = signature(&site, "sca.key", &ott);
        let mut request = guarded.funding();
        let fields = request.headers_mut();
        fields.insert("x-2fa-approval", ott.parse().unwrap());
        fields.insert("x-signature", signature.parse().unwrap());
        assert_paid(&guarded.house.request(request).await);
        assert_eq!(guarded.statuses(), [403, 201]);
        let arrived = guarded.arrived();
        assert_eq!(field(&arrived[1], "x-2fa-approval"), [&*ott]);
        assert_eq!(field(&arrived[1], "x-signature"), [&*signature]);
        guarded.is_noted(&ott, &["passed"]).await;

        // Used once more, it is refused, and nobody signs anything.
        let mut request = guarded.funding();
        let fields = request.headers_mut();
        fields.insert("x-2fa-approval", ott.parse().unwrap());
        fields.insert("x-signature", signature.parse().unwrap());
        let again = challenged(&guarded.house.request(request).await);
        assert_ne!(again, ott);
        assert_eq!(guarded.statuses(), [403, 201, 403]);
        assert!((guarded.paid().await - 1.0).abs() < 0.01);
    }
}

#[tokio::test]
async fn a_signature_alone_is_the_applications_business_too() {
    let guarded = signing(|plan| plan).await;
    let mut request = guarded.funding();
    request
        .headers_mut()
        .insert("x-signature", "bm9uZQ==".parse().unwrap());
    challenged(&guarded.house.request(request).await);
    assert_eq!(guarded.statuses(), [403]);
    assert_eq!(field(&guarded.arrived()[0], "x-signature"), ["bm9uZQ=="]);
}

/// Whoever answers is not given our signature under a text of his own.
#[tokio::test]
async fn nothing_is_signed_that_is_no_token() {
    let wise = house::wise().await;
    let mut stub = Stub::start().await;
    let plan = House::on(&wise).lane("personal").logged_out();
    let site = plan
        .set("sca.key", "sca.key")
        .towards(&stub)
        .prepare()
        .await;
    with_key(&site, &wise, "sca.key").await;
    let house = site.start().await;
    for text in ["pay 100 EUR to me", "eyJhbGciOiJSUzI1NiJ9.e30", "", "1234"] {
        let asking = house.get("/v1/me");
        let answering = async {
            let mut wise = stub.connection().await;
            let (head, _) = wise.request().await.unwrap();
            assert!(!head.contains("x-signature"), "{head}");
            let answer = format!(
                "HTTP/1.1 403 Forbidden\r\nx-2fa-approval-result: REJECTED\r\n\
                 x-2fa-approval: {text}\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{{}}"
            );
            wise.send(answer).await;
        };
        let (answer, ()) = tokio::join!(asking, answering);
        assert_eq!(answer.status, 403);
        assert_eq!(answer.headers["x-2fa-approval"], text);
        assert_eq!(stub.uncalled(), 0, "nothing was sent again");
    }
}
