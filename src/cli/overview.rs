//! The admin API's answers as a person reads them.

use std::time::Duration;

use serde_json::Value;

use super::report;

/// Events that are shown; `--json` has more.
const EVENTS: usize = 8;

/// Renewals that are shown, likewise.
const RENEWALS: usize = 4;

/// `/status`.
pub(crate) fn status(status: &Value) -> String {
    let mut rows = vec![
        row("lane", &lane(status)),
        row("ready", if status["ready"] == true { "yes" } else { "NO" }),
    ];
    for reason in list(&status["reasons"]) {
        rows.push(row("", reason));
    }
    rows.extend(busy(&status["traffic"]));
    rows.push(row("environment", word(&status["environment"])));
    rows.push(row("doors", &list(&status["doors"]).join(", ")));
    for pinned in status["pinned"].as_array().into_iter().flatten() {
        let (door, lane) = (word(&pinned["door"]), word(&pinned["lane"]));
        rows.push(row("", &format!("{door} always takes lane {lane}")));
    }
    let callers = status["callers"].as_array().into_iter().flatten();
    for (number, caller) in callers.enumerate() {
        let title = if number == 0 { "callers" } else { "" };
        rows.push(row(title, &known_caller(caller)));
    }
    if status["certificate"].is_object() {
        let certificate = &status["certificate"];
        let days = &certificate["days_left"];
        let name = word(&certificate["common_name"]);
        let until = word(&certificate["not_after"]);
        rows.push(row(
            "certificate",
            &format!("{name}, {days} days left, until {until}"),
        ));
        for finding in list(&certificate["findings"]) {
            rows.push(row("", finding));
        }
    }
    if status["last_reload"].is_object() {
        rows.push(row("reload", &reload(&status["last_reload"])));
        let waiting = list(&status["last_reload"]["needs_restart"]);
        if !waiting.is_empty() {
            let waiting = waiting.join(", ");
            rows.push(row(
                "",
                &format!("changed but read at the start only: {waiting}"),
            ));
        }
    }
    let confinement = &status["confinement"];
    if confinement.is_object() {
        let measures = list(&confinement["in_force"]).join(", ");
        rows.push(row("confined", or_none(&measures)));
        for left_out in list(&confinement["left_out"]) {
            rows.push(row("", &format!("left out: {left_out}")));
        }
    }
    for (index, webhook) in status["webhooks"]
        .as_array()
        .into_iter()
        .flatten()
        .enumerate()
    {
        let label = if index == 0 { "webhooks" } else { "" };
        rows.push(row(label, &waiting(webhook)));
        for trouble in ["error", "trouble"] {
            if let Some(why) = webhook[trouble].as_str() {
                rows.push(row("", &format!("NOT MOVING: {why}")));
            }
        }
    }
    if status["audit"].is_object() {
        rows.extend(record(&status["audit"]));
    }
    rows.push(row(
        "proxy",
        &format!(
            "version {}, up {}",
            word(&status["version"]),
            span(&status["uptime_seconds"])
        ),
    ));
    let mut text = format!("{}\n\n{}", report::table(&rows), tokens(&status["tokens"]));
    let below = [
        traffic(status),
        renewals(&status["refresh_history"]),
        events(&status["events"]),
    ];
    for part in below {
        if !part.is_empty() {
            text.push_str("\n\n");
            text.push_str(&part);
        }
    }
    text
}

/// What goes on at this moment.
fn busy(traffic: &Value) -> Option<Vec<String>> {
    let requests = counted(traffic["in_flight"].as_u64()?, "request");
    let to_us = counted(traffic["downstream_connections"].as_u64()?, "connection");
    let to_wise = &traffic["upstream_connections"];
    let text = format!("{requests}; {to_us} from applications, {to_wise} to Wise");
    Some(row("in flight", &text))
}

fn counted(number: u64, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {what}{plural}")
}

fn known_caller(caller: &Value) -> String {
    let by = list(&caller["known_by"]).join(", ");
    let seen = match caller["last_seen"].as_str() {
        Some(at) => format!("last seen {at}"),
        None => "not seen since the start".to_owned(),
    };
    format!("{} by {by}, {seen}", word(&caller["name"]))
}

/// What lies in a webhook's queue.
fn waiting(webhook: &Value) -> String {
    let count = |key: &str| webhook[key].as_u64().unwrap_or(0);
    let oldest = webhook["oldest_seconds"].is_u64();
    let oldest = oldest.then(|| format!(" for up to {}", span(&webhook["oldest_seconds"])));
    let set_aside = match count("set_aside") {
        0 => String::new(),
        count => format!(", {count} set aside"),
    };
    format!(
        "{} at {}, {} waiting{}{set_aside}",
        word(&webhook["name"]),
        word(&webhook["address"]),
        count("queued"),
        oldest.unwrap_or_default()
    )
}

/// The record: how far it has come, to be noted elsewhere, and what is wrong with it.
fn record(audit: &Value) -> Vec<Vec<String>> {
    let hash = audit["hash"].as_str().unwrap_or("none yet");
    let sequence = audit["sequence"].as_u64().unwrap_or(0);
    let mut rows = vec![row("record", &format!("line {sequence}, hash {hash}"))];
    if let Some(error) = audit["error"].as_str() {
        rows.push(row("", &format!("NOT WRITTEN: {error}")));
    }
    if let Some(lost @ 1..) = audit["lost"].as_u64() {
        rows.push(row(
            "",
            &format!("{lost} records were lost since the start"),
        ));
    }
    rows
}

/// The last minutes by lane; lanes that nobody can use or has used are left out.
fn traffic(status: &Value) -> String {
    let traffic = &status["traffic"];
    let lanes = traffic["lanes"].as_array().into_iter().flatten();
    let lanes: Vec<_> = lanes
        .filter(|lane| {
            let usable = list(&status["lanes"]).contains(&word(&lane["lane"]));
            usable || lane["requests"].as_u64() > Some(0)
        })
        .collect();
    let head = [
        "lane",
        "now",
        "requests",
        "4xx",
        "5xx",
        "p50",
        "p99",
        "ours, p99",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for lane in &lanes {
        rows.push(vec![
            word(&lane["lane"]).to_owned(),
            format!(
                "{:.1}/s",
                lane["requests_per_second"].as_f64().unwrap_or(0.0)
            ),
            lane["requests"].to_string(),
            lane["status_4xx"].to_string(),
            lane["status_5xx"].to_string(),
            latency(&lane["latency"]["p50_ms"]),
            latency(&lane["latency"]["p99_ms"]),
            latency(&lane["added"]["p99_ms"]),
        ]);
    }
    if rows.len() == 1 {
        return String::new();
    }
    let window = span(&traffic["window_seconds"]);
    let refused = lanes.iter().filter_map(|lane| refused(lane));
    let table = report::table(&rows);
    let lines = [table, format!("(the last {window}; now: the last 10s)")];
    lines
        .into_iter()
        .chain(refused)
        .collect::<Vec<_>>()
        .join("\n")
}

/// Wise's refusals on a lane, by their meaning.
fn refused(lane: &Value) -> Option<String> {
    let kinds = [
        ("401", "unauthorised"),
        ("403", "forbidden"),
        ("403 for SCA", "sca"),
        ("429", "throttled"),
    ];
    let counts = kinds.into_iter().filter_map(|(what, key)| {
        let count = lane["refusals"][key].as_u64().filter(|count| *count > 0)?;
        Some(format!("{count} × {what}"))
    });
    let counts = counts.collect::<Vec<_>>().join(", ");
    (!counts.is_empty()).then(|| format!("Wise refused on {}: {counts}", word(&lane["lane"])))
}

/// The last tries to renew a token, oldest first as the events below them.
fn renewals(tries: &Value) -> String {
    let newest_first = tries.as_array().map_or(&[][..], Vec::as_slice);
    let shown = newest_first.iter().take(RENEWALS).rev();
    shown.map(ended_try).collect::<Vec<_>>().join("\n")
}

fn ended_try(ended: &Value) -> String {
    let result = word(&ended["result"]);
    let grant = ended["grant"].as_str().unwrap_or("client");
    let outcome = match ended["text"].as_str() {
        Some(text) => text.to_owned(),
        None => format!("generation {}", ended["generation"]),
    };
    let at = at(word(&ended["at"]));
    format!(
        "{at}  renewal  {}: {grant}: {outcome}",
        result.replace('_', " ")
    )
}

/// A moment as it stands before a line, to the second.
fn at(at: &str) -> String {
    let (day, clock) = at.split_once('T').unwrap_or(("", at));
    format!("{day} {}", clock.get(..8).unwrap_or(clock))
}

fn latency(ms: &Value) -> String {
    ms.as_f64().map_or("-".to_owned(), |ms| format!("{ms} ms"))
}

/// The last events, oldest first, as a log reads.
fn events(events: &Value) -> String {
    let events = events.as_array().map_or(&[][..], Vec::as_slice);
    let last = &events[events.len().saturating_sub(EVENTS)..];
    last.iter().map(event).collect::<Vec<_>>().join("\n")
}

/// One event in a line.
pub(crate) fn event(event: &Value) -> String {
    let [moment, severity, kind, text] =
        ["at", "severity", "kind", "text"].map(|key| word(&event[key]));
    let grant = event["grant"].as_str().map(|grant| format!(" {grant}:"));
    let kind = kind.replace('_', " ");
    format!(
        "{}  {severity:7}  {kind}:{} {text}",
        at(moment),
        grant.unwrap_or_default()
    )
}

fn or_none(text: &str) -> &str {
    if text.is_empty() { "no" } else { text }
}

fn lane(status: &Value) -> String {
    let lane = word(&status["lane"]);
    let turn = &status["switched"];
    if turn.is_object() {
        let [at, by, reason] = ["at", "by", "reason"].map(|key| word(&turn[key]));
        format!("{lane} since {at}, by {by}: {reason}")
    } else {
        format!("{lane}, as configured")
    }
}

fn reload(note: &Value) -> String {
    let at = word(&note["at"]);
    match note["error"].as_str() {
        Some(error) => format!("FAILED at {at}: {error}"),
        None => format!("at {at}"),
    }
}

/// `/tokens`, or a part of it.
pub(crate) fn tokens(tokens: &Value) -> String {
    let one = std::slice::from_ref(tokens);
    let tokens = tokens.as_array().map_or(one, Vec::as_slice);
    let head = [
        "grant",
        "state",
        "generation",
        "age",
        "left",
        "renewal in",
        "profile",
        "user",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    let mut notes = Vec::new();
    for token in tokens {
        let name = token["grant"].as_str().unwrap_or("client");
        let mut state = word(&token["state"]).to_owned();
        if token["renewing"] == true {
            state.push_str(", renewing");
        }
        rows.push(vec![
            name.to_owned(),
            state,
            token["generation"].to_string(),
            span(&token["age"]),
            span(&token["seconds_left"]),
            span(&token["next_renewal_in"]),
            word(&token["profile"]).to_owned(),
            who(&token["user"]),
        ]);
        if let Some(reason) = token["reason"].as_str() {
            notes.push(format!("{name}: {reason}"));
        }
        if token["unsaved"] == true {
            notes.push(format!(
                "{name}: ALARM: the newest tokens are not in the store; a restart may lose the grant"
            ));
        }
        let error = &token["last_error"];
        if error.is_object() {
            let [at, text] = ["at", "text"].map(|key| word(&error[key]));
            notes.push(format!("{name}: last failure at {at}: {text}"));
        }
    }
    let table = report::table(&rows);
    if notes.is_empty() {
        table
    } else {
        format!("{table}\n{}", notes.join("\n"))
    }
}

fn who(user: &Value) -> String {
    let name = user["name"].as_str().or_else(|| user["id"].as_str());
    name.unwrap_or("-").to_owned()
}

fn row(name: &str, value: &str) -> Vec<String> {
    vec![name.to_owned(), value.to_owned()]
}

fn word(value: &Value) -> &str {
    value.as_str().unwrap_or("-")
}

fn list(value: &Value) -> Vec<&str> {
    let items = value.as_array().into_iter().flatten();
    items.filter_map(Value::as_str).collect()
}

/// Seconds in the two largest units.
fn span(seconds: &Value) -> String {
    let Some(seconds) = seconds.as_u64() else {
        return "-".to_owned();
    };
    let text = humantime::format_duration(Duration::from_secs(seconds)).to_string();
    let units: Vec<_> = text.split(' ').take(2).collect();
    units.join(" ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_status_reads_from_the_lane_down() {
        let text = status(&json!({
            "version": "0.1.0",
            "environment": "sandbox",
            "ready": false,
            "reasons": ["grant other: nobody has logged in for this grant yet; run `login`"],
            "lane": "oauth-mtls",
            "lanes": ["personal", "oauth-mtls"],
            "switched": {
                "at": "2026-11-22T10:00:00Z", "by": "ada (uid 1000)", "from": "personal",
                "to": "oauth-mtls", "reason": "migration, step 2",
            },
            "tokens": [{
                "kind": "user", "grant": "main", "profile": "30000000",
                "user": { "id": "101", "name": "Ada Example" }, "state": "live", "absence": null,
                "reason": null, "renewing": true, "generation": 7, "seconds_left": 21_599,
                "age": 21_600, "next_renewal_in": 12,
                "last_error": { "at": "2026-11-22T09:00:00Z", "result": "unreachable",
                    "text": "the token endpoint cannot be reached" },
                "unsaved": true,
            }, {
                "kind": "user", "grant": "other", "profile": null, "user": null,
                "state": "absent", "absence": "never_logged_in",
                "reason": "nobody has logged in for this grant yet; run `login`",
                "renewing": false, "generation": 0, "seconds_left": null, "age": null,
                "next_renewal_in": null, "last_error": null, "unsaved": false,
            }],
            "certificate": {
                "common_name": "acme", "issuer": "CN=CA", "serial": "01",
                "not_after": "2026-11-30T00:00:00Z", "days_left": 7,
                "fingerprint_sha256": "00", "findings": ["the client certificate expires in 7 days"],
            },
            "doors": ["127.0.0.1:8080"],
            "last_reload": { "at": "2026-11-22T09:30:00Z", "error": null, "needs_restart": ["store"] },
            "confinement": {
                "in_force": ["core dumps off", "no new privileges"],
                "left_out": ["hardening.files: it is \"off\""],
            },
            "started": "2026-11-21T00:00:00Z",
            "uptime_seconds": 93_784,
        }));
        insta::assert_snapshot!(text, @r#"
        lane         oauth-mtls since 2026-11-22T10:00:00Z, by ada (uid 1000): migration, step 2
        ready        NO
                     grant other: nobody has logged in for this grant yet; run `login`
        environment  sandbox
        doors        127.0.0.1:8080
        certificate  acme, 7 days left, until 2026-11-30T00:00:00Z
                     the client certificate expires in 7 days
        reload       at 2026-11-22T09:30:00Z
                     changed but read at the start only: store
        confined     core dumps off, no new privileges
                     left out: hardening.files: it is "off"
        proxy        version 0.1.0, up 1day 2h

        grant  state           generation  age  left    renewal in  profile   user
        main   live, renewing  7           6h   5h 59m  12s         30000000  Ada Example
        other  absent          0           -    -       -           -         -
        main: ALARM: the newest tokens are not in the store; a restart may lose the grant
        main: last failure at 2026-11-22T09:00:00Z: the token endpoint cannot be reached
        other: nobody has logged in for this grant yet; run `login`
        "#);
    }

    #[test]
    fn traffic_and_the_last_events_stand_below() {
        let lane = |lane: &str, requests: u64, p99: serde_json::Value| {
            json!({ "lane": lane, "requests_per_second": 14.797, "requests": requests,
                "status_4xx": 1, "status_5xx": 2, "refusals": {
                    "unauthorised": 3, "forbidden": 0, "sca": 1, "throttled": 2,
                }, "latency": { "p50_ms": 0.92, "p99_ms": p99 },
                "added": null })
        };
        let event = |number: u64| {
            json!({ "number": number, "at": "2026-11-22T10:00:00.5Z", "kind": "token_renewed",
                "severity": "info", "grant": "main", "text": format!("generation {number}") })
        };
        let text = status(&json!({
            "lane": "oauth", "ready": true, "tokens": [], "lanes": ["oauth"],
            "refresh_history": [
                { "at": "2026-11-22T09:59:58.2Z", "grant": null, "result": "invalid_client",
                    "generation": 0, "text": "Wise does not accept the client" },
                { "at": "2026-11-22T09:59:57Z", "grant": "main", "result": "renewed",
                    "generation": 7, "text": null },
            ],
            "traffic": { "window_seconds": 300, "in_flight": 1, "downstream_connections": 4,
                "upstream_connections": 2, "lanes": [
                lane("personal", 0, json!(null)), lane("oauth", 74, json!(31.5)),
            ] },
            "events": (1..=EVENTS as u64 + 1).map(event).collect::<Vec<_>>(),
        }));
        assert!(
            text.contains("in flight    1 request; 4 connections from applications, 2 to Wise\n"),
            "{text}"
        );
        let below = text.split_once("user\n\n").unwrap().1;
        insta::assert_snapshot!(below, @"
        lane   now     requests  4xx  5xx  p50      p99      ours, p99
        oauth  14.8/s  74        1    2    0.92 ms  31.5 ms  -
        (the last 5m; now: the last 10s)
        Wise refused on oauth: 3 × 401, 1 × 403 for SCA, 2 × 429

        2026-11-22 09:59:57  renewal  renewed: main: generation 7
        2026-11-22 09:59:58  renewal  invalid client: client: Wise does not accept the client

        2026-11-22 10:00:00  info     token renewed: main: generation 2
        2026-11-22 10:00:00  info     token renewed: main: generation 3
        2026-11-22 10:00:00  info     token renewed: main: generation 4
        2026-11-22 10:00:00  info     token renewed: main: generation 5
        2026-11-22 10:00:00  info     token renewed: main: generation 6
        2026-11-22 10:00:00  info     token renewed: main: generation 7
        2026-11-22 10:00:00  info     token renewed: main: generation 8
        2026-11-22 10:00:00  info     token renewed: main: generation 9
        ");
    }

    #[test]
    fn a_start_without_certificate_or_switch_says_so_little() {
        let text = status(&json!({ "lane": "personal", "ready": true, "tokens": [] }));
        insta::assert_snapshot!(text, @"
        lane         personal, as configured
        ready        yes
        environment  -
        doors
        proxy        version -, up -

        grant  state  generation  age  left  renewal in  profile  user
        ");
    }
}
