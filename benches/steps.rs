//! What the steps of a request cost, one by one and together: `cargo bench --bench steps --features
//! benchmarks`.
//!
//! Each step is the very function that requests run. Their sum is our share of a request: what
//! stands between hyper's two halves. It runs with warm caches, so it is a floor; sockets, TLS,
//! HTTP itself, timers and the pool are not ours and not in it. Of steps that come in two kinds
//! the dearer one counts.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    missing_docs,
    reason = "a benchmark fails loudly and prints its table"
)]

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::Duration;

use criterion::{BatchSize, Criterion};
use http::header::AUTHORIZATION;
use http::{HeaderMap, Request};
use wise_auth_proxy::config::{self, Config, FileChoice, LogFormat, Sources};
use wise_auth_proxy::internal::{JoseSteps, Signature, Steps, WebhookSteps};

/// Small enough for a batch to stay in the processor's nearest caches.
const BATCH: BatchSize = BatchSize::NumIterations(64);

const CONFIG: &str = r#"
environment = "production"
[oauth]
client_id = "acme"
client_secret = { file = "client_secret" }
[mtls]
certificate = "client.pem"
key = "client.key"
[switch]
lane = "oauth-mtls"
[[grant]]
name = "main"
profile = 30000000
default = true
[[grant]]
name = "branch"
profile = 30000001
[[door]]
address = "127.0.0.1:8080"
[[door]]
address = "127.0.0.1:8082"
callers = ["payroll", "reports", "payouts"]
policy = "usual"
[[caller]]
name = "payroll"
hashes = ["sha256:1068003856eb9a560860272f094fd681dee23f2e8625364a16633eef55cc6a13"]
[[caller]]
name = "reports"
hashes = ["sha256:cde2380c07237d0b087e8d940f65da86b4675449fc9b45a0442540bd6c65cb09"]
[[caller]]
name = "payouts"
hashes = ["sha256:2b459dd76e64d3e9155a3bb3d3a83c5b439cad8d01a492ebbde9279adb8fba80"]
[[policy]]
name = "usual"
allow = ["reads", "quotes", "transfers", "POST /v3/profiles/*/contacts/**"]
deny = ["funding"]
profiles = [30000000, 30000001]
requests_per_minute = 600
"#;

/// What the last of the callers shows.
const KEY: &str = "Bearer the-key-of-payouts-0123456789";

/// The door that lets in whoever comes, and the one with callers and a policy.
const OPEN: usize = 0;
const KEPT: usize = 1;

/// No request of a benchmark is one too many, though it comes every few nanoseconds.
const NEVER_TOO_MANY: u32 = 4_000_000_000;

/// An application: its name, what it asks for, and the fields it does that with.
type Application = (
    &'static str,
    &'static str,
    &'static [(&'static str, &'static str)],
);

const APPLICATIONS: [Application; 3] = [
    (
        "curl",
        "/v2/profiles/30000000",
        &[
            ("host", "localhost:8080"),
            ("user-agent", "curl/8.14.1"),
            ("accept", "*/*"),
        ],
    ),
    // A service on Apache's client, with tracing, that still sends its old token.
    (
        "java",
        "/v1/transfers?profile=30000001&limit=20&status=processing",
        &[
            ("host", "localhost:8080"),
            ("connection", "keep-alive"),
            ("user-agent", "Apache-HttpClient/5.4.1 (Java/21.0.5)"),
            ("accept", "application/json, application/*+json"),
            ("accept-encoding", "gzip, x-gzip, deflate"),
            (
                "authorization",
                "Bearer 00000000-0000-4000-8000-000000000000",
            ),
            ("content-type", "application/json"),
            (
                "x-external-correlation-id",
                "7c4a8d09-ca37-4e3b-9b7c-1d0f3a5b6c7d",
            ),
            ("x-idempotence-uuid", "e9b5a1d2-0c7f-4f5e-8a6b-2c3d4e5f6a7b"),
            (
                "traceparent",
                "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            ),
            ("tracestate", "acme=00f067aa0ba902b7"),
            ("baggage", "service=payouts,tenant=acme"),
        ],
    ),
    // Java's own client offers HTTP/2 with every first request; something before it adds a name.
    (
        "named",
        "/v3/profiles/30000000/quotes/8fa9be20-ba43-4b15-abbb-9424e1481050",
        &[
            ("host", "localhost:8080"),
            ("connection", "Upgrade, HTTP2-Settings, X-Request-Start"),
            ("upgrade", "h2c"),
            ("http2-settings", "AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA"),
            ("x-request-start", "t=1700000000.123"),
            ("user-agent", "Java-http-client/21.0.5"),
            ("accept", "application/json"),
        ],
    ),
];

/// The fields of an answer that came through a content network.
const ANSWER: [(&str, &str); 14] = [
    ("date", "Tue, 24 Nov 2026 10:00:00 GMT"),
    ("content-type", "application/json"),
    ("content-length", "1337"),
    ("connection", "keep-alive"),
    (
        "cache-control",
        "no-cache, no-store, max-age=0, must-revalidate",
    ),
    ("pragma", "no-cache"),
    ("expires", "0"),
    (
        "strict-transport-security",
        "max-age=31536000; includeSubDomains; preload",
    ),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("x-trace-id", "5b8aa5a2d2c872e8321cf37308d69df2"),
    ("x-envoy-upstream-service-time", "23"),
    ("server", "cloudflare"),
    ("cf-ray", "8e7a1b2c3d4e5f60-LHR"),
];

/// What a request goes through, in order; where a step has two kinds, both.
const STEPS: [&[&str]; 11] = [
    &["note"],
    &["admit"],
    &["caller-none", "caller"],
    &["policy-none", "policy"],
    &["choose"],
    &["take"],
    &["fields"],
    &["prepare-http1", "prepare-http2"],
    &["answered"],
    &["answer-fields"],
    &["line-human", "line-json"],
];

fn main() {
    let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join("steps");
    let mut criterion = Criterion::default()
        .output_directory(&home)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    let config = configuration();
    for application in APPLICATIONS {
        measure(&mut criterion, &config, application);
    }
    // For a challenge only, and beside the worker's thread: no part of the sum.
    let signature = Signature::of_2048_bits();
    criterion.bench_function("sca/sign-rsa-2048", |bencher| {
        bencher.iter(|| signature.sign());
    });
    jose(&mut criterion);
    // For a delivery of Wise's, which is no request of an application's.
    let delivery = WebhookSteps::of_one_kibibyte();
    criterion.bench_function("webhook/verify-rsa-2048-1-kib", |bencher| {
        bencher.iter(|| delivery.verify());
    });
    criterion.final_summary();
    // Asked for a part or for a look only, there is no sum.
    if std::env::args()
        .skip(1)
        .all(|argument| argument == "--bench")
    {
        print_share(&home);
    }
}

fn configuration() -> Config {
    let sources = Sources {
        file: FileChoice::Text {
            name: "steps".into(),
            text: CONFIG.into(),
            directory: PathBuf::from("/"),
        },
        variables: Vec::new(),
        flags: Vec::new(),
    };
    let mut config = config::load(&sources).unwrap().config;
    for policy in &mut config.policies {
        policy.requests_per_minute = Some(NEVER_TOO_MANY);
    }
    config
}

fn measure(criterion: &mut Criterion, config: &Config, (name, target, fields): Application) {
    let came = || {
        let request = Request::get(target);
        let with = |request: http::request::Builder, (name, value): &(&str, &str)| {
            request.header(*name, *value)
        };
        fields.iter().fold(request, with).body(()).unwrap()
    };
    let answer: HeaderMap = ANSWER
        .iter()
        .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
        .collect();
    let steps = Steps::new(config, LogFormat::Human, came());
    let json = Steps::new(config, LogFormat::Json, came());
    let head = steps.head();
    let mut leaving = steps.leaving();
    assert!(steps.admit(&head) && steps.choose(&head) && steps.take(&mut steps.note()));

    let mut group = criterion.benchmark_group(name);
    group.bench_function("note", |bencher| {
        bencher.iter_batched(|| (), |()| steps.note(), BATCH);
    });
    group.bench_function("admit", |bencher| {
        bencher.iter(|| steps.admit(black_box(&head)));
    });
    let mut keyed = steps.head();
    keyed.headers.insert(AUTHORIZATION, KEY.parse().unwrap());
    for (id, head, door) in [("caller-none", &head, OPEN), ("caller", &keyed, KEPT)] {
        group.bench_function(id, |bencher| {
            bencher.iter(|| steps.recognise(black_box(head), door).is_ok());
        });
    }
    let recognised = |head, door| steps.recognise(head, door).unwrap();
    let (nobody, caller) = (recognised(&head, OPEN), recognised(&keyed, KEPT));
    assert!(nobody.is_none() && caller.is_some() && steps.recognise(&head, KEPT).is_err());
    for (id, head, who) in [
        ("policy-none", &head, (OPEN, nobody)),
        ("policy", &keyed, (KEPT, caller)),
    ] {
        group.bench_function(id, |bencher| {
            bencher.iter_batched_ref(
                || steps.note(),
                |noted| steps.judge(noted, black_box(head), who),
                BATCH,
            );
        });
        assert!(steps.judge(&mut steps.note(), head, who), "{name}: {id}");
    }
    group.bench_function("choose", |bencher| {
        bencher.iter(|| steps.choose(black_box(&head)));
    });
    group.bench_function("take", |bencher| {
        bencher.iter_batched_ref(|| steps.note(), |noted| steps.take(noted), BATCH);
    });
    group.bench_function("fields", |bencher| {
        bencher.iter_batched_ref(|| steps.head(), |head| steps.fields(head), BATCH);
    });
    for (id, http2) in [("prepare-http1", false), ("prepare-http2", true)] {
        group.bench_function(id, |bencher| {
            bencher.iter(|| steps.prepare(black_box(&mut leaving), http2));
        });
    }
    group.bench_function("answered", |bencher| {
        bencher.iter_batched_ref(
            || steps.under_way(),
            |noted| steps.answered(noted, black_box(&answer)),
            BATCH,
        );
    });
    group.bench_function("answer-fields", |bencher| {
        bencher.iter_batched_ref(
            || answer.clone(),
            |headers| steps.answer_fields(headers),
            BATCH,
        );
    });
    for (id, steps) in [("line-human", &steps), ("line-json", &json)] {
        group.bench_function(id, |bencher| {
            bencher.iter_batched(|| steps.done(&answer), drop, BATCH);
        });
    }
    group.finish();
}

/// What signed and encrypted bodies cost: everybody, the look at the routes; those on a route, what
/// runs beside the worker. None of it is in the sum.
fn jose(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("jose");
    let algorithms = ["ES256", "ES512", "PS256"].map(|name| (name, JoseSteps::new(name)));
    let (_, steps) = &algorithms[0];
    assert!(!steps.without_routes() && !steps.other_routes());
    group.bench_function("without-routes", |bencher| {
        bencher.iter(|| black_box(steps).without_routes());
    });
    group.bench_function("other-routes", |bencher| {
        bencher.iter(|| black_box(steps).other_routes());
    });
    for (name, steps) in &algorithms {
        group.bench_function(format!("sign-{name}"), |bencher| {
            bencher.iter(|| steps.sign());
        });
        let message = steps.sign();
        assert_eq!(steps.verify(&message), 1024);
        group.bench_function(format!("verify-{name}"), |bencher| {
            bencher.iter(|| steps.verify(black_box(&message)));
        });
    }
    group.bench_function("encrypt", |bencher| bencher.iter(|| steps.encrypt()));
    let message = steps.encrypt();
    assert_eq!(steps.decrypt(&message), 1024);
    group.bench_function("decrypt", |bencher| {
        bencher.iter(|| steps.decrypt(black_box(&message)));
    });
    group.finish();
}

/// The medians of all steps and their sums, as a table.
fn print_share(home: &Path) {
    print!("| ns, median |");
    for (name, ..) in APPLICATIONS {
        print!(" {name} |");
    }
    println!("\n|---|{}", "---:|".repeat(APPLICATIONS.len()));
    let mut sums = [0.0; APPLICATIONS.len()];
    for kinds in STEPS {
        let mut dearest = [0.0_f64; APPLICATIONS.len()];
        for step in kinds {
            print!("| {step} |");
            for ((application, ..), most) in APPLICATIONS.iter().zip(&mut dearest) {
                let ns = median(home, application, step);
                *most = most.max(ns);
                print!(" {ns:.0} |");
            }
            println!();
        }
        for (sum, most) in sums.iter_mut().zip(dearest) {
            *sum += most;
        }
    }
    print!("| **our share** |");
    for sum in sums {
        print!(" **{sum:.0}** |");
    }
    println!();
}

/// What criterion has found, in nanoseconds.
fn median(home: &Path, application: &str, step: &str) -> f64 {
    let file = home.join(application).join(step).join("new/estimates.json");
    let text = std::fs::read_to_string(&file).unwrap();
    let estimates: serde_json::Value = serde_json::from_str(&text).unwrap();
    estimates["median"]["point_estimate"].as_f64().unwrap()
}
