//! The rows of `docs/failures.md`. `failures_table` says how they are held to the truth.

use crate::failures_table::{Again, Part, Row, Told};

const CHALLENGES: &str = "wise_proxy_sca_challenges_total";
const REFUSALS: &str = "wise_proxy_upstream_refusals_total";
const REQUESTS: &str = "wise_proxy_requests_total";
const REFRESHES: &str = "wise_proxy_token_refreshes_total";

/// Refused before anything was done: the application's own move, so nothing is logged about it but
/// its access line.
const DOOR: Row = Row {
    id: "",
    part: Part::Door,
    fault: "",
    told: &[],
    again: Again::NotSent,
    log: "",
    metric: ("", ""),
    unready: "",
    result: "",
};

const WAY: Row = Row {
    part: Part::Way,
    ..DOOR
};

const BROKEN: Row = Row {
    told: &[(
        "",
        Told::Problem(502, "upstream-broken", "http_response_incomplete"),
    )],
    again: Again::Never,
    log: "Wise closed the connection or broke the protocol before it answered",
    ..DOOR
};

const CUT: Row = Row {
    told: &[("", Told::Cut(200))],
    again: Again::Never,
    log: "complete=false",
    metric: (REQUESTS, "code=\"2xx\""),
    ..DOOR
};

const SLOW: Row = Row {
    told: &[(
        "",
        Told::Problem(504, "upstream-timeout", "http_response_timeout"),
    )],
    again: Again::Never,
    log: "Wise did not answer in time",
    ..DOOR
};

const SERVED: Row = Row {
    told: &[("", Told::Wise(200))],
    again: Again::Never,
    metric: (REQUESTS, "code=\"2xx\""),
    ..DOOR
};

/// Nothing of an answer is handed on that was not verified.
const UNVERIFIED: Row = Row {
    part: Part::Answer,
    told: &[(
        "",
        Told::Problem(502, "jose-unverified", "http_protocol_error"),
    )],
    again: Again::Never,
    log: "was not handed on: ",
    ..DOOR
};

/// The living token serves to its last second.
const TOKEN: Row = Row {
    part: Part::Token,
    told: &[
        ("while the token lives", Told::Wise(200)),
        (
            "then",
            Told::Problem(503, "token-unavailable", "proxy_internal_error"),
        ),
    ],
    again: Again::Exchange,
    unready: "grant main: ",
    ..DOOR
};

pub const ROWS: &[Row] = &[
    Row {
        id: "door-malformed",
        fault: "a malformed request, a smuggling attempt",
        told: &[("", Told::Problem(400, "bad-request", "http_request_error"))],
        ..DOOR
    },
    Row {
        id: "door-host-missing",
        fault: "no `Host`, two of them, or one that is none; a target of another form",
        told: &[("", Told::Problem(400, "bad-request", "http_request_error"))],
        ..DOOR
    },
    Row {
        id: "door-head-too-long",
        fault: "a head that is too long",
        told: &[("", Told::Problem(431, "bad-request", "http_request_error"))],
        ..DOOR
    },
    Row {
        id: "door-target-too-long",
        fault: "a target that is too long",
        told: &[("", Told::Problem(414, "bad-request", "http_request_error"))],
        ..DOOR
    },
    Row {
        id: "door-wrong-host",
        fault: "a `Host` that is not ours (DNS rebinding)",
        told: &[("", Told::Problem(421, "wrong-host", "http_request_denied"))],
        ..DOOR
    },
    Row {
        id: "door-origin",
        fault: "a web page of another origin",
        told: &[("", Told::Problem(403, "wrong-host", "http_request_denied"))],
        ..DOOR
    },
    Row {
        id: "door-foreign-target",
        fault: "a target beyond Wise's hosts",
        told: &[("", Told::Problem(403, "wrong-host", "http_request_denied"))],
        ..DOOR
    },
    Row {
        id: "door-key",
        fault: "the caller's key is missing, wrong or ended",
        told: &[(
            "",
            Told::Problem(407, "caller-unknown", "http_request_denied"),
        )],
        ..DOOR
    },
    Row {
        id: "door-policy",
        fault: "a policy does not let it pass: its operation, profile or lane, or a request that could be read in two ways",
        told: &[("", Told::Problem(403, "not-allowed", "http_request_denied"))],
        log: "refused: no rule of the policy ",
        ..DOOR
    },
    Row {
        id: "door-body-too-large",
        fault: "a body longer than the policy's `max_body`",
        told: &[(
            "",
            Told::Problem(413, "body-too-large", "http_request_denied"),
        )],
        log: "refused: the request's body is longer than ",
        ..DOOR
    },
    Row {
        id: "door-rate",
        fault: "more in a minute than the policy's `requests_per_minute`",
        told: &[(
            "",
            Told::Problem(429, "rate-limited", "http_request_denied"),
        )],
        log: " requests a minute pass, and this is more",
        ..DOOR
    },
    Row {
        id: "door-at-once",
        fault: "more at once than the policy's `concurrent_requests`",
        told: &[(
            "",
            Told::Problem(429, "too-many-at-once", "http_request_denied"),
        )],
        log: " requests be served at once, and as many are",
        ..DOOR
    },
    Row {
        id: "door-funding-cap",
        fault: "more fundings in an hour than the policy's `fundings_per_hour`",
        told: &[("", Told::Problem(429, "funding-cap", "http_request_denied"))],
        log: " fundings pass in any hour, and as many were tried",
        ..DOOR
    },
    Row {
        id: "door-funding-unrecorded",
        fault: "fundings are capped, and this one cannot be written down",
        told: &[(
            "",
            Told::Problem(503, "funding-unrecorded", "http_request_denied"),
        )],
        log: "fundings cannot be written down",
        ..DOOR
    },
    Row {
        id: "tunnel-not-offered",
        fault: "CONNECT where the door does not offer it, or a request in a tunnel that it offers no more",
        told: &[("", Told::Problem(403, "not-allowed", "http_request_denied"))],
        ..DOOR
    },
    Row {
        id: "tunnel-foreign",
        fault: "CONNECT to a host or port that is not Wise's",
        told: &[("", Told::Problem(403, "wrong-host", "http_request_denied"))],
        ..DOOR
    },
    Row {
        id: "tunnel-other-host",
        fault: "another host inside a tunnel than the one that it leads to",
        told: &[("", Told::Problem(421, "wrong-host", "http_request_denied"))],
        ..DOOR
    },
    Row {
        id: "tunnel-caller",
        fault: "CONNECT without a caller's key",
        told: &[(
            "",
            Told::Problem(407, "caller-unknown", "http_request_denied"),
        )],
        ..DOOR
    },
    Row {
        id: "door-body-stalls",
        fault: "the application stops sending its body",
        told: &[(
            "",
            Told::Problem(408, "request-timeout", "http_request_error"),
        )],
        again: Again::Never,
        ..DOOR
    },
    Row {
        id: "door-no-grant",
        fault: "no grant acts for the profile",
        told: &[(
            "",
            Told::Problem(503, "no-grant", "proxy_configuration_error"),
        )],
        log: "no grant acts for profile 999",
        ..DOOR
    },
    Row {
        id: "door-never-logged-in",
        fault: "nobody has logged in yet",
        told: &[(
            "",
            Told::Problem(503, "no-grant", "proxy_configuration_error"),
        )],
        log: "no grant has been authorised yet",
        unready: "grant main: ",
        ..DOOR
    },
    Row {
        id: "door-overloaded",
        fault: "too much at once",
        told: &[(
            "",
            Told::Problem(503, "overloaded", "connection_limit_reached"),
        )],
        log: "too many requests at once",
        ..DOOR
    },
    Row {
        id: "door-audit",
        fault: "requests must be recorded (`audit.required`), and the record cannot be written",
        told: &[(
            "",
            Told::Problem(503, "audit-unavailable", "proxy_internal_error"),
        )],
        log: "the record ",
        unready: "the record ",
        ..DOOR
    },
    Row {
        id: "door-stopping",
        fault: "the proxy is stopping",
        told: &[(
            "",
            Told::Problem(503, "shutting-down", "proxy_internal_error"),
        )],
        log: "stopping",
        ..DOOR
    },
    Row {
        id: "way-refused",
        fault: "Wise's host refuses the connection",
        told: &[(
            "",
            Told::Problem(502, "upstream-unreachable", "connection_refused"),
        )],
        log: "`localhost` refused the connection",
        ..WAY
    },
    Row {
        id: "way-no-connection",
        fault: "the connection is not taken",
        told: &[(
            "",
            Told::Problem(502, "upstream-unreachable", "connection_timeout"),
        )],
        log: "`127.0.0.1` did not answer in time while connecting",
        ..WAY
    },
    Row {
        id: "way-slow-handshake",
        fault: "a handshake that is slow or never comes",
        told: &[(
            "",
            Told::Problem(502, "upstream-unreachable", "connection_timeout"),
        )],
        log: "`localhost` did not answer in time while shaking hands",
        ..WAY
    },
    Row {
        id: "way-no-name",
        fault: "the name does not resolve",
        told: &[("", Told::Problem(502, "upstream-unreachable", "dns_error"))],
        log: "the name `wise.test` could not be resolved",
        ..WAY
    },
    Row {
        id: "way-name-lost",
        fault: "the name no longer resolves",
        told: &[("the last addresses are used", Told::Wise(200))],
        again: Again::Never,
        metric: (REQUESTS, "code=\"2xx\""),
        ..WAY
    },
    Row {
        id: "way-name-server-silent",
        fault: "the name server says nothing",
        told: &[(
            "the last addresses are used, a second later at most",
            Told::Wise(200),
        )],
        again: Again::Never,
        metric: (REQUESTS, "code=\"2xx\""),
        ..WAY
    },
    Row {
        id: "way-name-server-slow",
        fault: "the name server takes longer than `upstream.connect_timeout`, and no address is known yet",
        told: &[
            (
                "until it answers",
                Told::Problem(502, "upstream-unreachable", "dns_timeout"),
            ),
            ("from then on", Told::Wise(200)),
        ],
        log: "the name `wise.test` was not resolved in time",
        ..WAY
    },
    Row {
        id: "way-name-moves",
        fault: "the name gets another address",
        told: &[("the new one is used within 30 s", Told::Wise(200))],
        again: Again::Never,
        metric: (REQUESTS, "code=\"2xx\""),
        ..WAY
    },
    Row {
        id: "way-dead-address-first",
        fault: "dead addresses stand first",
        told: &[("from the first that answers", Told::Wise(200))],
        again: Again::Never,
        metric: (REQUESTS, "code=\"2xx\""),
        ..WAY
    },
    Row {
        id: "way-all-addresses-dead",
        fault: "every address is dead",
        told: &[(
            "",
            Told::Problem(502, "upstream-unreachable", "connection_refused"),
        )],
        log: "`wise.test` refused the connection",
        ..WAY
    },
    Row {
        id: "way-unknown-ca",
        fault: "Wise's certificate is of an unknown authority",
        told: &[(
            "",
            Told::Problem(502, "tls-failed", "tls_certificate_error"),
        )],
        log: "TLS with `localhost` failed: ",
        ..WAY
    },
    Row {
        id: "way-wrong-name",
        fault: "Wise's certificate is for another name",
        told: &[(
            "",
            Told::Problem(502, "tls-failed", "tls_certificate_error"),
        )],
        log: "TLS with `wise.test` failed: ",
        ..WAY
    },
    Row {
        id: "way-expired",
        fault: "Wise's certificate has ended",
        told: &[(
            "",
            Told::Problem(502, "tls-failed", "tls_certificate_error"),
        )],
        log: "TLS with `localhost` failed: ",
        ..WAY
    },
    Row {
        id: "way-no-tls",
        fault: "what answers does not speak TLS",
        told: &[("", Told::Problem(502, "tls-failed", "tls_protocol_error"))],
        log: "TLS with `localhost` failed: ",
        ..WAY
    },
    Row {
        id: "way-our-certificate-refused",
        fault: "our certificate is revoked or of an unknown authority, and refused by alert",
        told: &[(
            "",
            Told::Problem(502, "client-certificate-rejected", "tls_alert_received"),
        )],
        log: "problem=\"client-certificate-rejected\"",
        ..WAY
    },
    Row {
        id: "way-our-certificate-expired",
        fault: "our certificate has ended, and is refused by alert",
        told: &[(
            "",
            Told::Problem(502, "client-certificate-rejected", "tls_alert_received"),
        )],
        log: "problem=\"client-certificate-rejected\"",
        unready: "client certificate: ",
        ..WAY
    },
    Row {
        id: "way-our-certificate-foreign",
        fault: "our certificate is another client's; `status` names it",
        told: &[("", Told::Wise(403))],
        again: Again::Never,
        metric: (REFUSALS, "reason=\"forbidden\""),
        ..WAY
    },
    Row {
        id: "way-no-certificate-400",
        fault: "our certificate is refused by HTTP 400",
        told: &[("", Told::Wise(400))],
        again: Again::Never,
        metric: (REQUESTS, "code=\"4xx\""),
        ..WAY
    },
    Row {
        id: "way-no-certificate-403",
        fault: "our certificate is refused by HTTP 403",
        told: &[("", Told::Wise(403))],
        again: Again::Never,
        metric: (REFUSALS, "reason=\"forbidden\""),
        ..WAY
    },
    Row {
        id: "answer-5xx-burst",
        part: Part::Answer,
        fault: "a burst of 5xx",
        told: &[("", Told::Wise(500))],
        log: "/v1/transfers 500 ",
        metric: (REQUESTS, "code=\"5xx\""),
        ..SERVED
    },
    Row {
        id: "answer-429",
        part: Part::Answer,
        fault: "429, with `Retry-After` in seconds or as a date",
        told: &[("", Told::Wise(429))],
        log: "/v1/transfers 429 ",
        metric: (REFUSALS, "reason=\"throttled\""),
        ..SERVED
    },
    Row {
        id: "answer-401-newer",
        part: Part::Answer,
        fault: "401: the token was replaced or has died",
        told: &[("", Told::Wise(200))],
        again: Again::NewToken,
        log: "replayed=true",
        metric: ("wise_proxy_replays_total", ""),
        ..SERVED
    },
    Row {
        id: "answer-401-storm",
        part: Part::Answer,
        fault: "401 to everything, whatever the token (an IP allow list): one forced exchange in 30 s for a grant",
        told: &[("", Told::Wise(401))],
        log: "/v1/transfers 401 ",
        metric: (REFUSALS, "reason=\"unauthorised\""),
        ..SERVED
    },
    Row {
        id: "answer-403",
        part: Part::Answer,
        fault: "403",
        told: &[("", Told::Wise(403))],
        metric: (REFUSALS, "reason=\"forbidden\""),
        ..SERVED
    },
    Row {
        id: "answer-403-sca",
        part: Part::Answer,
        fault: "403 with an SCA challenge, where `[sca]` does not clear it",
        told: &[("", Told::Wise(403))],
        metric: (REFUSALS, "reason=\"sca\""),
        ..SERVED
    },
    Row {
        id: "sca-lost",
        part: Part::Answer,
        fault: "no answer to what left again, signed or approved, after a 403 with an SCA challenge: it may have been \
                carried out",
        again: Again::OneTimeToken,
        log: " sca=lost",
        metric: (CHALLENGES, "outcome=\"lost\""),
        ..BROKEN
    },
    Row {
        id: "answer-closed",
        part: Part::Answer,
        fault: "closed, reset or half-closed before the head",
        ..BROKEN
    },
    Row {
        id: "answer-closed-in-head",
        part: Part::Answer,
        fault: "closed or reset in the head",
        ..BROKEN
    },
    Row {
        id: "answer-closed-in-body",
        part: Part::Answer,
        fault: "closed or reset in the body",
        ..CUT
    },
    Row {
        id: "answer-closed-after",
        part: Part::Answer,
        fault: "closed after the answer",
        ..SERVED
    },
    Row {
        id: "answer-silence",
        part: Part::Answer,
        fault: "silence, or a head that does not end in time (`upstream.answer_timeout`)",
        ..SLOW
    },
    Row {
        id: "answer-slow-head",
        part: Part::Answer,
        fault: "a slow head that ends in time",
        ..SERVED
    },
    Row {
        id: "answer-slow-body",
        part: Part::Answer,
        fault: "a slow body that goes on",
        ..SERVED
    },
    Row {
        id: "answer-stalled-body",
        part: Part::Answer,
        fault: "a body that stands still (`upstream.body_idle_timeout`)",
        ..CUT
    },
    Row {
        id: "h1-garbage",
        part: Part::Http1,
        fault: "no HTTP, a bad status line or field, contradicting lengths",
        ..BROKEN
    },
    Row {
        id: "h1-short",
        part: Part::Http1,
        fault: "a body shorter than its length, a bad chunk, no last chunk",
        ..CUT
    },
    Row {
        id: "h1-long",
        part: Part::Http1,
        fault: "bytes after the body, even a whole second answer: dropped with the connection",
        ..SERVED
    },
    Row {
        id: "h2-refused",
        part: Part::Http2,
        fault: "`REFUSED_STREAM` before the head",
        again: Again::Disclaimed,
        ..SERVED
    },
    Row {
        id: "h2-refused-twice",
        part: Part::Http2,
        fault: "`REFUSED_STREAM` before the head, twice",
        again: Again::DisclaimedTwice,
        ..BROKEN
    },
    Row {
        id: "h2-goaway-below",
        part: Part::Http2,
        fault: "GOAWAY with `NO_ERROR` whose last stream is before ours",
        again: Again::Disclaimed,
        ..SERVED
    },
    Row {
        id: "h2-goaway-above",
        part: Part::Http2,
        fault: "GOAWAY with `NO_ERROR` whose last stream is ours or a later one",
        ..SERVED
    },
    Row {
        id: "h2-goaway-then-close",
        part: Part::Http2,
        fault: "the same, and then the connection closes without an answer",
        ..BROKEN
    },
    Row {
        id: "h2-goaway-error",
        part: Part::Http2,
        fault: "GOAWAY with an error, whatever its last stream",
        ..BROKEN
    },
    Row {
        id: "h2-stream-error",
        part: Part::Http2,
        fault: "a stream ended before the head, with any other code",
        ..BROKEN
    },
    Row {
        id: "h2-stream-error-later",
        part: Part::Http2,
        fault: "a stream ended after the head or in the body, with any code",
        ..CUT
    },
    Row {
        id: "h2-reset-after-answer",
        part: Part::Http2,
        fault: "a stream ended by `NO_ERROR` after its whole answer (RFC 9113 §8.1)",
        ..SERVED
    },
    Row {
        id: "h2-short",
        part: Part::Http2,
        fault: "a body shorter than its `content-length`",
        ..CUT
    },
    Row {
        id: "h2-long",
        part: Part::Http2,
        fault: "a body longer than its `content-length`: the rest is dropped",
        ..SERVED
    },
    Row {
        id: "h2-malformed",
        part: Part::Http2,
        fault: "a frame or head that RFC 9113 forbids",
        ..BROKEN
    },
    Row {
        id: "token-down",
        fault: "the endpoint refuses connections",
        log: "no new token: the token endpoint cannot be reached: ",
        result: "unreachable",
        ..TOKEN
    },
    Row {
        id: "token-mute",
        fault: "it takes the connection, and nothing comes in time (`upstream.connect_timeout`)",
        log: "no new token: the token endpoint cannot be reached: `127.0.0.1` did not answer in time while shaking hands",
        result: "unreachable",
        ..TOKEN
    },
    Row {
        id: "token-slow",
        fault: "its answer does not come in time (`tokens.exchange_timeout`)",
        log: "no new token: the answer of the token endpoint was lost: no answer within ",
        result: "answer_lost",
        ..TOKEN
    },
    Row {
        id: "token-lost",
        fault: "it hangs up without an answer",
        log: "no new token: the answer of the token endpoint was lost: ",
        result: "answer_lost",
        ..TOKEN
    },
    Row {
        id: "token-500",
        fault: "500",
        log: "no new token: the token endpoint has trouble of its own (status 500)",
        result: "server_error",
        ..TOKEN
    },
    Row {
        id: "token-429",
        fault: "429 with `Retry-After`, in seconds or as a date",
        log: "no new token: the token endpoint asks to slow down (429)",
        again: Again::RestedExchange,
        result: "throttled",
        ..TOKEN
    },
    Row {
        id: "token-html",
        fault: "an HTML page",
        log: "the token endpoint's answer is unusable: it is not JSON; is a gateway or a captive portal in between?",
        result: "garbled",
        ..TOKEN
    },
    Row {
        id: "token-empty",
        fault: "nothing in a 200",
        log: "the token endpoint's answer is unusable: it is empty",
        result: "garbled",
        ..TOKEN
    },
    Row {
        id: "token-huge",
        fault: "an answer of 1 GiB: no more than 64 KiB of it are read",
        log: "the token endpoint's answer is unusable: it is too long",
        result: "garbled",
        ..TOKEN
    },
    Row {
        id: "token-redirect",
        fault: "a redirect, 307 among them: never followed",
        log: "the token endpoint's answer is unusable: it is a redirect, which is never followed; check wise.token_url",
        result: "garbled",
        ..TOKEN
    },
    Row {
        id: "token-bad",
        fault: "a token with a line break, or longer than a header may be",
        log: "the token endpoint's answer is unusable: a token in it is empty, too long or holds characters that no header can carry",
        result: "garbled",
        ..TOKEN
    },
    Row {
        id: "token-invalid-client",
        fault: "`invalid_client`",
        log: "check oauth.client_id, oauth.client_secret and that they belong to this environment",
        again: Again::RareExchange,
        result: "invalid_client",
        ..TOKEN
    },
    Row {
        id: "token-invalid-grant",
        fault: "`invalid_grant`, as 400 or 401: the grant is over",
        told: &[
            ("the request that met it", Told::Wise(401)),
            (
                "from then on",
                Told::Problem(503, "reauthorisation-required", "proxy_configuration_error"),
            ),
        ],
        again: Again::NoExchange,
        log: "run `wise-auth-proxy login` for grant `main`",
        metric: (REFRESHES, "result=\"invalid_grant\""),
        result: "invalid_grant",
        ..TOKEN
    },
    Row {
        id: "token-odd-expiry",
        fault: "a lifetime that is missing, nought, negative, text or absurd",
        told: &[("", Told::Wise(200))],
        again: Again::OnSchedule,
        metric: (REFRESHES, "result=\"renewed\""),
        unready: "",
        ..TOKEN
    },
    Row {
        id: "jose-request-large",
        fault: "a body longer than `jose.max_body` where it is to be signed or encrypted",
        told: &[(
            "",
            Told::Problem(413, "body-too-large", "http_request_error"),
        )],
        ..DOOR
    },
    Row {
        id: "jose-request-encoded",
        fault: "a compressed body where it is to be signed or encrypted",
        told: &[("", Told::Problem(415, "bad-request", "http_request_error"))],
        ..DOOR
    },
    Row {
        id: "jose-full",
        fault: "bodies that are signed or encrypted fill the 128 MiB that a worker has for them",
        told: &[("", Told::Problem(503, "overloaded", "proxy_internal_error"))],
        log: "fill all the memory that there is for bodies",
        ..DOOR
    },
    Row {
        id: "jose-no-key",
        fault: "Wise's key cannot be had that a body is to be encrypted to, or none that answers are verified with",
        told: &[(
            "",
            Told::Problem(503, "jose-unsealed", "proxy_internal_error"),
        )],
        log: "the request was not sent: Wise's key for it cannot be had",
        ..WAY
    },
    Row {
        id: "jose-answer-plain",
        fault: "a plain answer where it must be signed or encrypted",
        ..UNVERIFIED
    },
    Row {
        id: "jose-answer-forged",
        fault: "an answer whose signature does not fit Wise's key, nor the key that is fetched then",
        ..UNVERIFIED
    },
    Row {
        id: "jose-answer-undecryptable",
        fault: "an encrypted answer that was changed, or is for another key",
        ..UNVERIFIED
    },
    Row {
        id: "jose-no-key-to-verify",
        fault: "a signed answer that needs another of Wise's keys than those known, which cannot be had",
        ..UNVERIFIED
    },
    Row {
        id: "jose-answer-large",
        fault: "an answer longer than `jose.max_body` where it must be verified",
        told: &[(
            "",
            Told::Problem(502, "jose-unverified", "http_response_body_size"),
        )],
        ..UNVERIFIED
    },
    Row {
        id: "jose-answer-encoded",
        fault: "a compressed answer where it must be verified",
        told: &[(
            "",
            Told::Problem(502, "jose-unverified", "http_response_content_coding"),
        )],
        ..UNVERIFIED
    },
    Row {
        id: "jose-error-plain",
        part: Part::Answer,
        fault: "an error that Wise tells in the open, also where answers must be verified",
        told: &[("", Told::Wise(400))],
        again: Again::Never,
        metric: ("wise_proxy_jose_requests_total", "outcome=\"plain_error\""),
        ..DOOR
    },
];
