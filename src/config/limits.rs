//! Numbers and durations within what can work.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::thread;
use std::time::Duration;

use super::check::Check;
use super::file;
use super::leaf::Parsed;
use super::url;
use super::values::Size;
use super::{AccessLog, Log, Runtime, Tokens, Upstream, Via};

const MILLISECOND: Duration = Duration::from_millis(1);
const HOUR: Duration = Duration::from_hours(1);
/// A connection to the token endpoint is open meanwhile, and servers end idle ones.
const LONGEST_QUIET: Duration = Duration::from_secs(10);
pub(super) const DAY: Duration = Duration::from_hours(24);

impl Check<'_> {
    pub(super) fn upstream(&mut self, typed: &file::Upstream) -> Upstream {
        let mut resolve = BTreeMap::new();
        for (name, Parsed(address)) in &typed.resolve {
            if !url::is_host(name) {
                self.refuse(
                    "upstream.resolve",
                    "each key must be a host name without scheme and port",
                );
            }
            resolve.insert(name.to_ascii_lowercase(), *address);
        }
        let credentials = self.source(typed.via_credentials.as_ref());
        if credentials.is_some() && typed.via.is_none() {
            self.refuse(
                "upstream.via",
                "via_credentials are for a CONNECT proxy; say which",
            );
        }
        let via = typed.via.clone().map(|Parsed(origin)| {
            if origin.tls {
                // What goes through the tunnel is TLS in any case.
                self.refuse(
                    "upstream.via",
                    "must begin with http://, as CONNECT proxies do",
                );
            }
            Via {
                origin,
                credentials,
            }
        });
        let Parsed(Size(replay_limit)) = typed.replay_limit;
        let Parsed(Size(replay_budget)) = typed.replay_budget;
        if replay_budget < replay_limit {
            self.refuse(
                "upstream.replay_budget",
                "must be at least upstream.replay_limit",
            );
        }
        Upstream {
            http: typed.http.0,
            resolve,
            via,
            connect_timeout: self.duration(
                "upstream.connect_timeout",
                typed.connect_timeout,
                MILLISECOND,
                HOUR,
            ),
            answer_timeout: self.duration(
                "upstream.answer_timeout",
                typed.answer_timeout,
                MILLISECOND,
                HOUR,
            ),
            body_idle_timeout: self.duration(
                "upstream.body_idle_timeout",
                typed.body_idle_timeout,
                MILLISECOND,
                HOUR,
            ),
            max_connections: self.count(
                "upstream.max_connections",
                typed.max_connections,
                &(1..=65_535),
            ),
            warm_connections: self.count(
                "upstream.warm_connections",
                typed.warm_connections,
                &(0..=65_535),
            ),
            max_waiting: self.count("upstream.max_waiting", typed.max_waiting, &(0..=1_000_000)),
            idle_timeout: self.duration(
                "upstream.idle_timeout",
                typed.idle_timeout,
                MILLISECOND,
                DAY,
            ),
            max_age: self.duration("upstream.max_age", typed.max_age, MILLISECOND, DAY),
            dns_ttl: self.duration("upstream.dns_ttl", typed.dns_ttl, Duration::ZERO, DAY),
            replay_limit,
            replay_budget,
        }
    }

    pub(super) fn tokens(&mut self, typed: &file::Tokens) -> Tokens {
        let Parsed(renew_at) = typed.renew_at;
        if !(renew_at > 0.0 && renew_at < 1.0) {
            self.refuse(
                "tokens.renew_at",
                "must lie between 0 and 1, without either",
            );
        }
        Tokens {
            renew_at,
            wait: self.duration("tokens.wait", typed.wait, Duration::ZERO, HOUR),
            quiet: self.duration("tokens.quiet", typed.quiet, Duration::ZERO, LONGEST_QUIET),
            forced_interval: self.duration(
                "tokens.forced_interval",
                typed.forced_interval,
                Duration::ZERO,
                HOUR,
            ),
            exchange_timeout: self.duration(
                "tokens.exchange_timeout",
                typed.exchange_timeout,
                MILLISECOND,
                HOUR,
            ),
        }
    }

    pub(super) fn runtime(&mut self, typed: &file::Runtime) -> Runtime {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let workers = typed.workers.unwrap_or(Parsed(cores.min(4)));
        let Parsed(Size(max_header_size)) = typed.max_header_size;
        // hyper's buffer has a least size of its own.
        if !(8 * 1024..=1024 * 1024).contains(&max_header_size) {
            self.refuse(
                "runtime.max_header_size",
                "must be from \"8 KiB\" to \"1 MiB\"",
            );
        }
        Runtime {
            workers: self.count("runtime.workers", workers, &(1..=64)),
            drain_timeout: self.duration(
                "runtime.drain_timeout",
                typed.drain_timeout,
                Duration::ZERO,
                HOUR,
            ),
            header_timeout: self.duration(
                "runtime.header_timeout",
                typed.header_timeout,
                MILLISECOND,
                HOUR,
            ),
            idle_timeout: self.duration(
                "runtime.idle_timeout",
                typed.idle_timeout,
                MILLISECOND,
                DAY,
            ),
            max_header_size,
            max_headers: self.count("runtime.max_headers", typed.max_headers, &(16..=4096)),
            max_connections: self.count(
                "runtime.max_connections",
                typed.max_connections,
                &(1..=1_000_000),
            ),
            reload_interval: self.duration(
                "runtime.reload_interval",
                typed.reload_interval,
                MILLISECOND,
                DAY,
            ),
        }
    }

    pub(super) fn log(&self, typed: &file::Log) -> Log {
        Log {
            format: typed.format.0,
            level: typed.level.0.0.clone(),
            access: match &typed.access.0 {
                AccessLog::Off => AccessLog::Off,
                AccessLog::Stderr => AccessLog::Stderr,
                AccessLog::File(path) => AccessLog::File(self.base.join(path)),
            },
        }
    }

    pub(super) fn duration(
        &mut self,
        key: &str,
        value: Parsed<Duration>,
        least: Duration,
        most: Duration,
    ) -> Duration {
        if !(least..=most).contains(&value.0) {
            let least = humantime::format_duration(least);
            let most = humantime::format_duration(most);
            self.refuse(key, format!("must be from \"{least}\" to \"{most}\""));
        }
        value.0
    }

    pub(super) fn count(
        &mut self,
        key: &str,
        value: Parsed<usize>,
        range: &RangeInclusive<usize>,
    ) -> usize {
        if !range.contains(&value.0) {
            let (least, most) = (range.start(), range.end());
            self.refuse(key, format!("must be from {least} to {most}"));
        }
        value.0
    }
}
