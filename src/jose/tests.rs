//! Vectors of the RFCs and of an independent implementation, and what must be refused.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::Value;

use super::*;

fn vectors() -> Value {
    serde_json::from_str(include_str!("vectors/messages.json")).unwrap()
}

fn standard(value: &Value) -> Vec<u8> {
    STANDARD.decode(value.as_str().unwrap()).unwrap()
}

fn url_safe(value: &Value) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(value.as_str().unwrap()).unwrap()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

/// A message with another header or another part.
fn with_part(message: &str, at: usize, part: &str) -> String {
    let mut parts: Vec<_> = message.split('.').collect();
    parts[at] = part;
    parts.join(".")
}

/// A new private key and its public half.
fn new_decrypting() -> (zeroize::Zeroizing<Vec<u8>>, Vec<u8>) {
    let private = DecryptingKey::generate().unwrap();
    let public = DecryptingKey::from_pkcs8(&private).unwrap();
    let public = public.public_der().to_vec();
    (private, public)
}

fn header(json: &str) -> String {
    URL_SAFE_NO_PAD.encode(json)
}

#[test]
fn messages_that_others_signed_verify() {
    let vectors = vectors();
    let signed = vectors["signed"].as_array().unwrap();
    assert!(signed.len() >= 10);
    for vector in signed {
        let algorithm = Algorithm::named(text(&vector["algorithm"])).unwrap();
        let key = VerifyingKey::from_der(algorithm, &standard(&vector["key"])).unwrap();
        let message = Signed::parse(text(&vector["message"]).as_bytes()).unwrap();
        let payload = message.verify(&key).unwrap();
        assert_eq!(
            payload,
            url_safe(&vector["payload"]),
            "{}",
            vector["source"]
        );
    }
}

#[test]
fn messages_that_others_encrypted_decrypt() {
    let vectors = vectors();
    for vector in vectors["encrypted"].as_array().unwrap() {
        let key = DecryptingKey::from_pkcs8(&standard(&vector["key"])).unwrap();
        let message = Encrypted::parse(text(&vector["message"]).as_bytes()).unwrap();
        assert_eq!(message.kid(), Some("e87da464-8e5e-4380-8f2d-4e4e04052672"));
        let (payload, _) = message.decrypt(&key).unwrap();
        assert_eq!(payload, url_safe(&vector["payload"]));
    }
    let vector = &vectors["direct"];
    let key = jwe::ContentKey::of(&url_safe(&vector["key"]));
    let message = Encrypted::parse(text(&vector["message"]).as_bytes()).unwrap();
    assert!(message.is_direct());
    let payload = message.decrypt_directly(&key).unwrap();
    assert_eq!(payload, url_safe(&vector["payload"]));
}

#[test]
fn what_is_signed_verifies_with_its_own_public_key_and_no_other() {
    for algorithm in Algorithm::ALL {
        let generate = || {
            let der = SigningKey::generate(algorithm).unwrap();
            SigningKey::from_pkcs8(algorithm, Some("a-key".to_owned()), &der).unwrap()
        };
        let (ours, other) = (generate(), generate());
        let verifying = |key: &SigningKey| {
            VerifyingKey::from_der(algorithm, &key.public_der().unwrap()).unwrap()
        };
        let message = sign(&ours, "/v1/auth/jose/playground/jws", b"{}").unwrap();
        let parsed = Signed::parse(message.as_bytes()).unwrap();
        assert_eq!(parsed.url(), Some("/v1/auth/jose/playground/jws"));
        assert_eq!(parsed.kid(), Some("a-key"));
        assert_eq!(parsed.verify(&verifying(&ours)).unwrap(), b"{}");
        assert_eq!(
            parsed.verify(&verifying(&other)).unwrap_err(),
            JoseError::WrongSignature,
            "{algorithm:?}"
        );
        let shown = format!("{ours:?}");
        assert!(shown.contains("a-key") && shown.len() < 80, "{shown}");
    }
}

#[test]
fn a_message_that_was_changed_anywhere_does_not_verify() {
    let der = SigningKey::generate(Algorithm::Es256).unwrap();
    let key = SigningKey::from_pkcs8(Algorithm::Es256, None, &der).unwrap();
    let public = VerifyingKey::from_der(Algorithm::Es256, &key.public_der().unwrap()).unwrap();
    let message = sign(&key, "/v1/transfers", br#"{"amount":1}"#).unwrap();
    for at in 0..message.len() {
        for letter in [b'A', b'_', b'.'] {
            let mut changed = message.clone().into_bytes();
            if changed[at] == letter {
                continue;
            }
            changed[at] = letter;
            let verified = Signed::parse(&changed).and_then(|it| it.verify(&public));
            assert!(verified.is_err(), "byte {at} as {}", letter as char);
        }
    }
}

#[test]
fn examples_in_algorithms_that_are_not_wises_are_refused_for_that() {
    let (private, public) = new_decrypting();
    let ours = DecryptingKey::from_pkcs8(&private).unwrap();
    let theirs = EncryptingKey::from_der(None, &public).unwrap();
    let (message, _) = theirs.encrypt(b"{}", false).unwrap();
    for head in [
        // RFC 7516, A.1, A.2 and A.3; RFC 7518, C.
        r#"{"alg":"RSA-OAEP","enc":"A256GCM"}"#,
        r#"{"alg":"RSA1_5","enc":"A128CBC-HS256"}"#,
        r#"{"alg":"A128KW","enc":"A128CBC-HS256"}"#,
        r#"{"alg":"ECDH-ES","enc":"A128GCM","apu":"QWxpY2U","apv":"Qm9i","epk":{"kty":"EC","crv":"P-256","x":"gI0GAILBdu7T53akrFmMyGcsF3n5dO7MmwNBHKW5SV0","y":"SLW_xSffzlPWrHEVI30DHM_4egVwt3NQqeUD7nMFpps"}}"#,
    ] {
        let example = with_part(&message, 0, &header(head));
        let refused = Encrypted::parse(example.as_bytes()).and_then(|it| it.decrypt(&ours));
        let refused = refused.unwrap_err();
        assert!(
            matches!(refused, JoseError::Unsupported(_)),
            "{head}: {refused}"
        );
    }
}

#[test]
fn a_signature_longer_than_any_is_not_even_decoded() {
    let message = format!("{}.e30.{}", header(r#"{"alg":"ES256"}"#), "A".repeat(1400));
    assert_eq!(
        Signed::parse(message.as_bytes()).unwrap_err(),
        JoseError::Malformed
    );
}

#[test]
fn a_header_chooses_neither_algorithm_nor_extension() {
    let der = SigningKey::generate(Algorithm::Ps256).unwrap();
    let key = SigningKey::from_pkcs8(Algorithm::Ps256, None, &der).unwrap();
    let public = VerifyingKey::from_der(Algorithm::Ps256, &key.public_der().unwrap()).unwrap();
    let message = sign(&key, "/v1/transfers", b"{}").unwrap();
    let refusal = |json: &str| {
        let changed = with_part(&message, 0, &header(json));
        Signed::parse(changed.as_bytes())
            .and_then(|it| it.verify(&public))
            .unwrap_err()
    };
    for json in [
        r#"{"alg":"none"}"#,
        r#"{"alg":"HS256"}"#,
        r#"{"alg":"PS384"}"#,
        r#"{"alg":"RS256"}"#,
        r#"{"alg":"PS256","crit":["exp"]}"#,
        r#"{"alg":"PS256","b64":false}"#,
    ] {
        assert!(matches!(refusal(json), JoseError::Unsupported(_)), "{json}");
    }
    for json in [
        "[]",
        "{}",
        r#"{"alg":"PS256","alg":"PS256"}"#,
        r#"{"alg":["PS256"]}"#,
        // Members without names, which a lax reader takes in their order.
        r#"["PS256"]"#,
        r#"["PS256",1,"a-key"]"#,
    ] {
        assert_eq!(refusal(json), JoseError::Malformed, "{json}");
    }
}

#[test]
fn what_is_no_compact_serialisation_is_malformed() {
    let alg = header(r#"{"alg":"ES256"}"#);
    for message in [
        "",
        ".",
        "..",
        "a.b.c",
        &format!("{alg}.e30"),
        &format!("{alg}.e30.AA.AA"),
        &format!("{alg}=.e30.AA"),
        &format!("{alg}.e30.A"),
        &format!("{alg}.e30.AB"),
        &format!("{}.e30.AA", "A".repeat(5000)),
    ] {
        let error = Signed::parse(message.as_bytes()).unwrap_err();
        assert_eq!(error, JoseError::Malformed, "{message}");
        assert!(Encrypted::parse(message.as_bytes()).is_err(), "{message}");
    }
}

#[test]
fn what_is_encrypted_is_read_by_its_key_and_no_other() {
    let (private, public) = new_decrypting();
    let (other, _) = new_decrypting();
    let encrypting = EncryptingKey::from_der(Some("its-key".to_owned()), &public).unwrap();
    let (message, content_key) = encrypting.encrypt(br#"{"pin":"1234"}"#, false).unwrap();
    assert!(!message.contains(&header(r#"{"pin"#)[..4]));

    let parse = || Encrypted::parse(message.as_bytes()).unwrap();
    let ours = DecryptingKey::from_pkcs8(&private).unwrap();
    assert_eq!(parse().kid(), Some("its-key"));
    let (payload, same) = parse().decrypt(&ours).unwrap();
    assert_eq!(payload, br#"{"pin":"1234"}"#);
    let theirs = DecryptingKey::from_pkcs8(&other).unwrap();
    assert_eq!(
        parse().decrypt(&theirs).unwrap_err(),
        JoseError::Undecryptable
    );

    // An answer may come under the same content key.
    let direct = with_part(&message, 0, &header(r#"{"enc":"A256GCM","alg":"dir"}"#));
    let direct = with_part(&direct, 1, "");
    for key in [&content_key, &same] {
        let refused = Encrypted::parse(direct.as_bytes())
            .unwrap()
            .decrypt_directly(key);
        assert_eq!(
            refused.unwrap_err(),
            JoseError::Undecryptable,
            "the header is authenticated"
        );
    }
    assert!(matches!(
        parse().decrypt_directly(&content_key).unwrap_err(),
        JoseError::Unsupported(_)
    ));
    assert_eq!(
        format!("{content_key:?}{ours:?}"),
        "ContentKeyDecryptingKey"
    );
}

#[test]
fn an_encrypted_message_that_was_changed_anywhere_is_refused() {
    let (private, public) = new_decrypting();
    let encrypting = EncryptingKey::from_der(None, &public).unwrap();
    let ours = DecryptingKey::from_pkcs8(&private).unwrap();
    let (message, _) = encrypting.encrypt(b"{}", true).unwrap();
    // Every twentieth byte: each try is a private-key operation.
    for at in (0..message.len()).step_by(20) {
        let mut changed = message.clone().into_bytes();
        changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
        let opened = Encrypted::parse(&changed).and_then(|it| it.decrypt(&ours));
        assert!(opened.is_err(), "byte {at}");
    }
    for json in [
        r#"{"alg":"RSA-OAEP","enc":"A256GCM"}"#,
        r#"{"alg":"RSA1_5","enc":"A256GCM"}"#,
        r#"{"alg":"RSA-OAEP-256","enc":"A128CBC-HS256"}"#,
        r#"{"alg":"RSA-OAEP-256","enc":"A256GCM","zip":"DEF"}"#,
        r#"{"alg":"RSA-OAEP-256","enc":"A256GCM","crit":["x"]}"#,
    ] {
        let changed = with_part(&message, 0, &header(json));
        let error = Encrypted::parse(changed.as_bytes()).unwrap_err();
        assert!(matches!(error, JoseError::Unsupported(_)), "{json}");
    }
}

#[test]
fn keys_of_another_kind_or_too_short_are_refused() {
    let es256 = SigningKey::generate(Algorithm::Es256).unwrap();
    let (rsa, public) = new_decrypting();
    for algorithm in [Algorithm::Es384, Algorithm::Es512, Algorithm::Ps256] {
        assert!(SigningKey::from_pkcs8(algorithm, None, &es256).is_err());
    }
    assert!(SigningKey::from_pkcs8(Algorithm::Es256, None, &rsa).is_err());
    assert!(SigningKey::from_pkcs8(Algorithm::Ps512, None, &rsa).is_ok());
    assert!(VerifyingKey::from_der(Algorithm::Es256, &public).is_err());
    assert!(DecryptingKey::from_pkcs8(&es256).is_err());
    assert!(EncryptingKey::from_der(None, b"\x30\x00").is_err());
}
