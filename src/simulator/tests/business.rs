//! Money, transfers and statements behave as Wise says.

use super::*;

#[tokio::test]
async fn funding_without_enough_money_says_201_and_rejected() {
    let house = House::open().await;
    let (user, _) = house.grant(BUSINESS).await;
    let transfer = house.transfer(&user, 2_000_000, "too much").await;
    let path = format!(
        "/v3/profiles/{BUSINESS}/transfers/{}/payments",
        transfer["id"]
    );
    let before = house.gbp(&user).await;
    let answer = house
        .call(&user, "POST", &path, Some(json!({"type": "BALANCE"})))
        .await;
    assert_eq!(answer.status(), 201);
    let result = body(&answer);
    assert_eq!(
        (&result["status"], &result["errorCode"]),
        (&json!("REJECTED"), &json!("balance.insufficient-funds"))
    );
    assert!(
        (house.gbp(&user).await - before).abs() < 0.001,
        "nothing was taken"
    );
    let state = body(
        &house
            .call(
                &user,
                "GET",
                &format!("/v1/transfers/{}", transfer["id"]),
                None,
            )
            .await,
    );
    assert_eq!(state["status"], "incoming_payment_waiting");
}

#[tokio::test]
async fn a_paid_transfer_costs_its_source_amount_and_walks_through_its_states() {
    let house = House::open().await;
    let (user, _) = house.grant(BUSINESS).await;
    let id = house.transfer(&user, 100, "walk").await["id"].clone();
    let pay = format!("/v3/profiles/{BUSINESS}/transfers/{id}/payments");
    let before = house.gbp(&user).await;
    let paid = house
        .call(&user, "POST", &pay, Some(json!({"type": "BALANCE"})))
        .await;
    assert_eq!(body(&paid)["status"], "COMPLETED");
    assert!((before - house.gbp(&user).await - 100.0).abs() < 0.001);
    let again = house
        .call(&user, "POST", &pay, Some(json!({"type": "BALANCE"})))
        .await;
    assert_eq!(
        (again.status().as_u16(), text(&again)),
        (409, "transfer.invalid-state".to_owned())
    );

    let push = async |state: &str| {
        let path = format!("/v1/simulation/transfers/{id}/{state}");
        house
            .call(&user, "GET", &path, None)
            .await
            .status()
            .as_u16()
    };
    assert_eq!(
        push("outgoing_payment_sent").await,
        409,
        "one state at a time"
    );
    assert_eq!(push("funds_converted").await, 200);
    assert_eq!(push("outgoing_payment_sent").await, 200);
    let cancel = house
        .call(&user, "PUT", &format!("/v1/transfers/{id}/cancel"), None)
        .await;
    assert_eq!(cancel.status(), 409);
    assert_eq!(
        body(&cancel)["errors"][0]["code"],
        "transfer.cancellation.not.allowed"
    );
    let missing = house
        .call(
            &user,
            "POST",
            &format!("/v3/profiles/{BUSINESS}/transfers/1/payments"),
            Some(json!({})),
        )
        .await;
    assert_eq!(missing.headers()[CONTENT_TYPE], "text/plain;charset=UTF-8");
    assert_eq!(
        (missing.status().as_u16(), text(&missing)),
        (404, "transfer.not-found".to_owned())
    );
}

#[tokio::test]
async fn the_same_customer_transaction_is_the_same_transfer() {
    let house = House::open().await;
    let (user, _) = house.grant(BUSINESS).await;
    let first = house.transfer(&user, 100, "once").await;
    let second = house.transfer(&user, 100, "once").await;
    assert_eq!(first["id"], second["id"]);
    let list = format!("/v1/transfers?profile={BUSINESS}&limit=10&offset=0");
    let list = body(&house.call(&user, "GET", &list, None).await);
    assert_eq!(list.as_array().unwrap().len(), 1);
    assert_eq!(house.wise.counters().repeated(), ["once"]);
}

#[tokio::test]
async fn a_quote_is_patched_only_as_a_merge_patch() {
    let house = House::open().await;
    let (user, _) = house.grant(BUSINESS).await;
    let path = format!(
        "/v3/profiles/{BUSINESS}/quotes/{}",
        house.quote(&user, 100).await
    );
    let patch = || request(&user, "PATCH", &path, Some(json!({"targetAmount": 50})));
    assert_eq!(house.plain(patch()).await.status(), 415);
    let mut right = patch();
    right.headers_mut().insert(
        CONTENT_TYPE,
        "application/merge-patch+json".parse().unwrap(),
    );
    let quote = body(&house.plain(right).await);
    assert_eq!(
        (&quote["targetAmount"], &quote["providedAmountType"]),
        (&json!(50.0), &json!("TARGET"))
    );

    let wrong = json!({"sourceCurrency": "GBP", "targetCurrency": "USD", "sourceAmount": 1, "targetAmount": 1});
    let path = format!("/v3/profiles/{BUSINESS}/quotes");
    let answer = house.call(&user, "POST", &path, Some(wrong)).await;
    assert_eq!(answer.status(), 400);
    assert_eq!(
        body(&answer)["errors"][0]["code"],
        "error.quote.amount.onlySingle"
    );
}

#[tokio::test]
async fn a_conversion_needs_an_idempotence_id_and_happens_once() {
    let house = House::open().await;
    let (user, _) = house.grant(BUSINESS).await;
    let path = format!("/v2/profiles/{BUSINESS}/balance-movements");
    let quote = house.quote(&user, 100).await;
    let ask = || request(&user, "POST", &path, Some(json!({"quoteId": quote})));
    assert_eq!(house.plain(ask()).await.status(), 400);
    let before = house.gbp(&user).await;
    for _ in 0..2 {
        let mut ask = ask();
        ask.headers_mut()
            .insert("x-idempotence-uuid", "one".parse().unwrap());
        assert_eq!(house.plain(ask).await.status(), 201);
    }
    assert!((before - house.gbp(&user).await - 100.0).abs() < 0.001);
}

#[tokio::test]
async fn statements_come_as_json_csv_and_a_pdf_of_any_size() {
    let house = House::open().await;
    let (user, _) = house.grant(BUSINESS).await;
    let list = format!("/v4/profiles/{BUSINESS}/balances?types=STANDARD");
    let balance = body(&house.call(&user, "GET", &list, None).await)[0].clone();
    let path = |format: &str| {
        format!(
            "/v1/profiles/{BUSINESS}/balance-statements/{}/statement.{format}?currency={}&intervalStart=2000-01-01T00:00:00.000Z&intervalEnd=2100-01-01T00:00:00.000Z",
            balance["id"],
            balance["currency"].as_str().unwrap()
        )
    };
    let json = body(&house.call(&user, "GET", &path("json"), None).await);
    assert_eq!(json["transactions"].as_array().unwrap().len(), 1);
    assert_eq!(json["endOfStatementBalance"], balance["amount"]);
    let csv = house.call(&user, "GET", &path("csv"), None).await;
    assert_eq!(
        (
            csv.headers()[CONTENT_TYPE].to_str().unwrap(),
            text(&csv).lines().count()
        ),
        ("text/csv", 2)
    );
    house
        .wise
        .change_faults(|faults| faults.resource.pdf_bytes = 3_000_000);
    let pdf = house.call(&user, "GET", &path("pdf"), None).await;
    assert!(pdf.body().starts_with(b"%PDF-1.4") && pdf.body().len() > 2_999_000);
}
