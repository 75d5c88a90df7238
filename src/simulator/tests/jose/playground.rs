//! The playground: what it answers, and what it refuses.

use super::*;

#[tokio::test]
async fn the_playground_answers_in_kind() {
    let partner = Partner::new().await;
    let hello = json!({"message": "hello"});
    let expected = |message: &str, method: &str| json!({"message": format!("jose-playground-response-{message}"), "method": method});

    let path = format!("{PLAYGROUND}/jws");
    let signed = partner.sign(&path, &hello);
    let answer = partner
        .send(&partner.token, post(&path, "jws", &signed))
        .await;
    let inside = partner.open(&answer, None).await;
    assert_eq!(inside.media_type, "application/jose+json");
    assert_eq!(inside.json(), expected("hello", "POST"));
    let header = text(&answer).split('.').next().unwrap().to_owned();
    let header = base64::engine::general_purpose::URL_SAFE_NO_PAD
        .decode(header)
        .unwrap();
    assert_eq!(header, br#"{"version":1,"alg":"ES512"}"#);

    let path = format!("{PLAYGROUND}/jwe");
    let read = Jose {
        method: "GET",
        kid: Some(ENCRYPTION_KID),
        ..post(&path, "jwe", "")
    };
    let answer = partner.send(&partner.token, read).await;
    assert!(Encrypted::parse(answer.body()).is_ok());
    let inside = partner.open(&answer, None).await;
    assert_eq!(inside.json(), expected("", "GET"));

    let (encrypted, content_key) = partner.encrypt(hello.to_string().as_bytes()).await;
    let answer = partner
        .send(&partner.token, post(&path, "jwe", &encrypted))
        .await;
    assert!(!Encrypted::parse(answer.body()).unwrap().is_direct());
    let inside = partner.open(&answer, None).await;
    assert_eq!(inside.json(), expected("hello", "POST"));

    let path = format!("{PLAYGROUND}/jwe-direct-encryption");
    let answer = partner
        .send(&partner.token, post(&path, "jwe", &encrypted))
        .await;
    assert!(Encrypted::parse(answer.body()).unwrap().is_direct());
    let inside = partner.open(&answer, Some(&content_key)).await;
    assert_eq!(inside.json(), expected("hello", "POST"));

    let path = format!("{PLAYGROUND}/jwsjwe");
    let signed = partner.sign(&path, &hello);
    let (nested, _) = partner.encrypt(signed.as_bytes()).await;
    let both = Jose {
        kid: Some(ENCRYPTION_KID),
        ..post(&path, "jws+jwe", &nested)
    };
    let answer = partner.send(&partner.token, both).await;
    let encrypted = Encrypted::parse(answer.body()).unwrap();
    let (inner, _) = encrypted.decrypt(&partner.decrypting).unwrap();
    assert!(Signed::parse(&inner).is_ok(), "a signed message inside");
    let inside = partner.open(&answer, None).await;
    assert_eq!(inside.json(), expected("hello", "POST"));

    let long = json!({"message": "x".repeat(101)});
    let path = format!("{PLAYGROUND}/jws");
    let signed = partner.sign(&path, &long);
    let answer = partner
        .send(&partner.token, post(&path, "jws", &signed))
        .await;
    assert_eq!(answer.status(), 400);
    assert_eq!(body(&answer)["errors"][0]["path"], "message");
}

#[tokio::test]
async fn what_is_not_signed_for_this_path_by_a_good_key_is_a_jws_error() {
    let partner = Partner::new().await;
    let path = format!("{PLAYGROUND}/jws");
    let hello = json!({"message": "hello"});
    let sign_with =
        |key: &SigningKey, url: &str| jose::sign(key, url, hello.to_string().as_bytes()).unwrap();
    let stranger = signing_key(Some(KID));
    let unknown = signing_key(Some("00000000-0000-4000-8000-000000000000"));
    let good = partner.sign(&path, &hello);
    let (head, rest) = good.split_once('.').unwrap();
    let (_, signature) = rest.split_once('.').unwrap();
    let other = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(r#"{"message":"bye"}"#);
    for (what, message) in [
        ("another path", sign_with(&partner.signing, "/v1/elsewhere")),
        (
            "with a query",
            sign_with(&partner.signing, &format!("{path}?a=b")),
        ),
        (
            "another host",
            sign_with(&partner.signing, &format!("https://localhost{path}")),
        ),
        ("a wrong key", sign_with(&stranger, &path)),
        ("an unknown id", sign_with(&unknown, &path)),
        ("another payload", format!("{head}.{other}.{signature}")),
        ("no signature", format!("{head}.{other}.")),
        ("plain JSON", hello.to_string()),
        ("nothing", String::new()),
    ] {
        let answer = partner
            .send(&partner.token, post(&path, "jws", &message))
            .await;
        assert_eq!(answer.status(), 400, "{what}");
        jws_error(&answer);
    }
    let answer = partner
        .send(&partner.token, post(&path, "jwe", &good))
        .await;
    jws_error(&answer);

    // Media types are looked at first.
    let mut request = post(&path, "jws", &good).request(&partner.token);
    request.headers_mut().remove("accept");
    assert_eq!(partner.house.plain(request).await.status(), 406);
    let mut request = post(&path, "jws", &good).request(&partner.token);
    request
        .headers_mut()
        .insert(CONTENT_TYPE, "text/plain".parse().unwrap());
    assert_eq!(partner.house.plain(request).await.status(), 415);
    assert_eq!(
        partner
            .send(&partner.token, post(&path, "jws", &good))
            .await
            .status(),
        200
    );
}

#[tokio::test]
async fn a_query_counts_where_the_switch_says_so() {
    let partner = Partner::new().await;
    let path = format!("{PLAYGROUND}/jws");
    let target = format!("{path}?a=b");
    let hello = json!({"message": "hello"});
    let (short, long) = (partner.sign(&path, &hello), partner.sign(&target, &hello));
    for (claim, expected) in [
        (UrlClaim::Path, [200, 400]),
        (UrlClaim::Target, [400, 200]),
        (UrlClaim::Anything, [200, 200]),
    ] {
        partner
            .house
            .wise
            .change_faults(|faults| faults.jose.url = claim);
        let mut statuses = Vec::new();
        for message in [&short, &long] {
            let answer = partner
                .send(&partner.token, post(&target, "jws", message))
                .await;
            statuses.push(answer.status().as_u16());
        }
        assert_eq!(statuses, expected, "{claim:?}");
    }
}

#[tokio::test]
async fn a_type_counts_unless_the_switch_says_otherwise() {
    let partner = Partner::new().await;
    let path = format!("{PLAYGROUND}/jws");
    let payload = json!({"message": "hello"}).to_string();
    let messages = ["", r#","typ":"JWT""#, r#","typ":"JOSE""#, r#","typ":"jwt""#].map(|typ| {
        let header = format!(r#"{{"alg":"ES512","url":"{path}","kid":"{KID}"{typ}}}"#);
        jose::sign_under(&partner.signing, header.as_bytes(), payload.as_bytes()).unwrap()
    });
    for (counts, expected) in [(true, [400, 200, 400, 400]), (false, [200; 4])] {
        let wise = &partner.house.wise;
        wise.change_faults(|faults| faults.jose.typ = counts);
        let mut statuses = Vec::new();
        for message in &messages {
            let answer = partner
                .send(&partner.token, post(&path, "jws", message))
                .await;
            statuses.push(answer.status().as_u16());
        }
        assert_eq!(statuses, expected, "{counts}");
    }
}

#[tokio::test]
async fn trouble_with_encryption_is_a_bare_500() {
    let partner = Partner::new().await;
    let path = format!("{PLAYGROUND}/jwe");
    let hello = json!({"message": "hello"}).to_string();
    let (good, _) = partner.encrypt(hello.as_bytes()).await;
    let (_, stranger) = pki::rsa_2048().unwrap();
    let stranger = EncryptingKey::from_der(None, &stranger).unwrap();
    let (misdirected, _) = stranger.encrypt(hello.as_bytes(), false).unwrap();
    let (head, _) = good.rsplit_once('.').unwrap();
    for message in [
        &misdirected,
        &format!("{head}.AAAAAAAAAAAAAAAAAAAAAA"),
        &partner.sign(&path, &json!({})),
        &hello,
    ] {
        let answer = partner
            .send(&partner.token, post(&path, "jwe", message))
            .await;
        bare_error(&answer);
    }
    for kid in [
        None,
        Some(KID),
        Some("00000000-0000-4000-8000-000000000000"),
    ] {
        let read = Jose {
            method: "GET",
            kid,
            ..post(&path, "jwe", "")
        };
        let answer = partner.send(&partner.token, read).await;
        assert_eq!(answer.status(), 500, "no encryption key: {kid:?}");
        bare_error(&answer);
    }
    let both = format!("{PLAYGROUND}/jwsjwe");
    let signed = partner.sign("/v1/elsewhere", &json!({"message": "hello"}));
    let (nested, _) = partner.encrypt(signed.as_bytes()).await;
    let answer = partner
        .send(&partner.token, post(&both, "jws+jwe", &nested))
        .await;
    jws_error(&answer);
    let signed = partner.sign(&both, &json!({"message": "hello"}));
    let (nested, _) = partner.encrypt(signed.as_bytes()).await;
    let answer = partner
        .send(&partner.token, post(&both, "jws+jwe", &nested))
        .await;
    bare_error(&answer);
}
