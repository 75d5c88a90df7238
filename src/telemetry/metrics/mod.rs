//! The metrics page: the workers' meters, added up at the scrape, and the control side's gauges.

mod family;
mod readings;

use std::sync::Arc;

use prometheus::core::Collector as _;
use prometheus::process_collector::ProcessCollector;
use prometheus::proto::{Metric, MetricFamily, MetricType};
use prometheus::{Encoder as _, TextEncoder};

use crate::telemetry::challenges::{self, KINDS, Outcome};
use crate::telemetry::meter::{
    self, BOUNDS_US, CLASSES, CallerTraffic, Durations, JOSE_METHODS, JOSE_OUTCOMES, Meter,
    REFUSALS,
};
use crate::telemetry::names;
use crate::wise::{CredentialKind, Lane};

use self::family::{counter, family, float, gauge, histogram, single};
pub(crate) use self::readings::{
    AuditReading, PolicyReading, Readings, TokenReading, WebhookReading,
};

/// A metric as the reference lists it.
#[derive(Debug)]
pub(crate) struct Described {
    pub(crate) name: String,
    pub(crate) kind: &'static str,
    pub(crate) labels: Vec<String>,
    pub(crate) help: String,
}

/// Every metric that a page can hold, in order of their names.
pub(crate) fn described(faults: &'static [&'static str]) -> Vec<Described> {
    let meter = Meter::new(1, faults.len());
    meter.answered(
        Lane::Personal,
        CredentialKind::Personal,
        http::StatusCode::OK,
    );
    meter.challenges.add(0, Outcome::Passed);
    for tally in meter.of_callers(std::iter::once("payroll")) {
        tally.answered(http::StatusCode::OK, std::time::SystemTime::UNIX_EPOCH);
    }
    let reading = || Readings {
        certificate_days: Some(0.0),
        certificate_end: Some(0.0),
        tokens: vec![TokenReading {
            age_seconds: Some(0.0),
            seconds_left: Some(0.0),
            refreshes: vec![("renewed", 0)],
            ..TokenReading::default()
        }],
        notifications: vec![("webhook", [0; 3])],
        audit: Some(AuditReading::default()),
        policy_refusals: vec![PolicyReading::default()],
        webhooks: vec![WebhookReading {
            deliveries: vec![("stored", 0)],
            forwards: vec![("taken", 0)],
            ..WebhookReading::default()
        }],
        ..Readings::default()
    };
    let page = Metrics::new(vec![Arc::new(meter)], faults, "", Box::new(reading));
    let families = page.families().into_iter();
    families
        .map(|family| {
            let metric = family.get_metric().first();
            let labels = metric.map(Metric::get_label).unwrap_or_default();
            Described {
                name: family.name().to_owned(),
                kind: match family.get_field_type() {
                    MetricType::COUNTER => "counter",
                    MetricType::GAUGE => "gauge",
                    MetricType::HISTOGRAM => "histogram",
                    MetricType::SUMMARY => "summary",
                    MetricType::UNTYPED => "untyped",
                },
                labels: labels.iter().map(|pair| pair.name().to_owned()).collect(),
                help: family.help().to_owned(),
            }
        })
        .collect()
}

type Read = Box<dyn Fn() -> Readings + Send + Sync>;

/// The metrics page. Nothing is registered globally: the page is made of what it is given.
pub(crate) struct Metrics {
    page: Page,
}

impl Metrics {
    /// A page over the workers' meters; `faults` names the problem types in meter order, `read`
    /// is asked once per scrape.
    pub(crate) fn new(
        meters: Vec<Arc<Meter>>,
        faults: &'static [&'static str],
        version: &'static str,
        read: Read,
    ) -> Self {
        Self {
            page: Page {
                meters,
                faults,
                version,
                read,
            },
        }
    }

    /// The page in Prometheus's text format.
    pub(crate) fn render(&self) -> Vec<u8> {
        let mut page = Vec::with_capacity(16 * 1024);
        let encoded = TextEncoder::new().encode(&self.families(), &mut page);
        if let Err(error) = encoded {
            tracing::error!(%error, "the metrics page could not be written");
        }
        page
    }
}

impl Metrics {
    /// What was counted of each caller.
    pub(crate) fn callers(&self) -> Vec<CallerTraffic> {
        self.page.callers()
    }

    fn families(&self) -> Vec<MetricFamily> {
        let mut families = self.page.families();
        families.extend(ProcessCollector::for_self().collect());
        families.sort_by(|a, b| a.name().cmp(b.name()));
        families
    }
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

struct Page {
    meters: Vec<Arc<Meter>>,
    faults: &'static [&'static str],
    version: &'static str,
    read: Read,
}

impl Page {
    fn families(&self) -> Vec<MetricFamily> {
        let mut families = self.traffic();
        families.extend(self.jose());
        families.extend(self.upstream());
        families.extend(self.control());
        families.retain(|family| !family.get_metric().is_empty());
        families
    }

    fn callers(&self) -> Vec<CallerTraffic> {
        meter::callers(&self.meters)
    }

    fn sum(&self, read: impl Fn(&Meter) -> u64) -> u64 {
        self.meters.iter().map(|meter| read(meter)).sum()
    }

    fn level(&self, read: impl Fn(&Meter) -> i64) -> f64 {
        float(u64::try_from(self.meters.iter().map(|meter| read(meter)).sum::<i64>()).unwrap_or(0))
    }

    fn traffic(&self) -> Vec<MetricFamily> {
        let mut requests = Vec::new();
        let mut refusals = Vec::new();
        for lane in Lane::ALL {
            for kind in CredentialKind::ALL {
                for (class, name) in CLASSES.iter().enumerate() {
                    let count = self.sum(|meter| meter.requests(lane, kind, class));
                    if count > 0 {
                        let labels = [
                            ("lane", lane.name()),
                            ("credential", kind.name()),
                            ("code", name),
                        ];
                        requests.push(counter(&labels, count));
                    }
                }
            }
            for (refusal, name) in REFUSALS.iter().enumerate() {
                let labels = [("lane", lane.name()), ("reason", *name)];
                refusals.push(counter(
                    &labels,
                    self.sum(|meter| meter.refusals(lane, refusal)),
                ));
            }
        }
        let callers = self.callers();
        let callers = callers.iter().flat_map(|caller| {
            let classes = CLASSES.iter().zip(caller.requests);
            let heard = classes.filter(|(_, count)| *count > 0);
            heard.map(|(class, count)| {
                counter(&[("caller", caller.name.as_str()), ("code", class)], count)
            })
        });
        let callers = callers.collect();
        let faults = self.faults.iter().enumerate().map(|(index, name)| {
            counter(
                &[("type", name)],
                self.sum(|meter| meter.faults[index].read()),
            )
        });
        vec![
            family(
                names::REQUESTS,
                "Answers given to applications.",
                MetricType::COUNTER,
                requests,
            ),
            family(
                names::CALLER_REQUESTS,
                "Answers given to known callers.",
                MetricType::COUNTER,
                callers,
            ),
            self.durations(
                names::REQUEST_DURATION,
                "From a request's head to its answer's head.",
                |meter, lane| &meter.total[lane.index()],
            ),
            self.durations(
                names::ADDED_DURATION,
                "The proxy's own share of it, waits for renewals and connections included.",
                |meter, lane| &meter.added[lane.index()],
            ),
            family(
                names::FAULTS,
                "Problem documents of our own.",
                MetricType::COUNTER,
                faults.collect(),
            ),
            family(
                names::REFUSALS,
                "Refusals by Wise.",
                MetricType::COUNTER,
                refusals,
            ),
            family(
                names::SCA_CHALLENGES,
                "Wise's wishes for strong customer authentication, and what became of them.",
                MetricType::COUNTER,
                self.challenges(),
            ),
            single(
                names::REPLAYS,
                "Requests sent again after a 401, with a newer token.",
                MetricType::COUNTER,
                float(self.sum(|meter| meter.replays.read())),
            ),
            single(
                names::GATE_WAITS,
                "Requests that waited for a token renewal.",
                MetricType::COUNTER,
                float(self.sum(|meter| meter.gate_waits.read())),
            ),
            single(
                names::IN_FLIGHT,
                "Requests being served.",
                MetricType::GAUGE,
                self.level(|meter| meter.in_flight.read()),
            ),
            single(
                names::DOWNSTREAM,
                "Open connections of applications.",
                MetricType::GAUGE,
                self.level(|meter| meter.downstream.read()),
            ),
        ]
    }

    fn challenges(&self) -> Vec<Metric> {
        let outcomes = |kind| Outcome::ALL.into_iter().map(move |outcome| (kind, outcome));
        let counted = (0..KINDS).flat_map(outcomes).filter_map(|(kind, outcome)| {
            let count = self.sum(|meter| meter.challenges.read(kind, outcome));
            (count > 0).then(|| {
                let operation = challenges::operation(kind);
                let labels = [("operation", &*operation), ("outcome", outcome.name())];
                counter(&labels, count)
            })
        });
        counted.collect()
    }

    fn jose(&self) -> [MetricFamily; 2] {
        let requests = JOSE_METHODS.into_iter().flat_map(|method| {
            JOSE_OUTCOMES
                .iter()
                .enumerate()
                .map(move |(outcome, name)| {
                    let count = self.sum(|meter| meter.jose_requests(method, outcome));
                    counter(&[("method", method.name()), ("outcome", name)], count)
                })
        });
        let keys = ["ok", "failed"].into_iter().enumerate();
        let keys = keys.map(|(index, result)| {
            let count = self.sum(|meter| meter.jose_keys[index].read());
            counter(&[("result", result)], count)
        });
        [
            family(
                names::JOSE_REQUESTS,
                "Answers to requests that were signed or encrypted on their way.",
                MetricType::COUNTER,
                requests.collect(),
            ),
            family(
                names::JOSE_KEYS,
                "Public keys of Wise's that were asked for.",
                MetricType::COUNTER,
                keys.collect(),
            ),
        ]
    }

    fn durations(
        &self,
        name: &str,
        help: &str,
        of: impl Fn(&Meter, Lane) -> &Durations,
    ) -> MetricFamily {
        let lanes = Lane::ALL.into_iter().map(|lane| {
            let mut buckets = [0_u64; BOUNDS_US.len() + 1];
            let mut sum_us = 0;
            for meter in &self.meters {
                let (counts, sum) = of(meter, lane).read();
                for (total, count) in buckets.iter_mut().zip(counts) {
                    *total += count;
                }
                sum_us += sum;
            }
            histogram(lane, &buckets, sum_us)
        });
        family(name, help, MetricType::HISTOGRAM, lanes.collect())
    }

    fn upstream(&self) -> Vec<MetricFamily> {
        let dials = [("result", "ok"), ("result", "failed")];
        let failed = self.sum(|meter| meter.dials_failed.read());
        let dialled = self.sum(|meter| meter.dials.read());
        let handshakes = [("kind", "full"), ("kind", "resumed")];
        vec![
            single(
                names::CONNECTIONS,
                "Open connections to Wise.",
                MetricType::GAUGE,
                self.level(|meter| meter.connections.read()),
            ),
            family(
                names::DIALS,
                "Connections attempted to Wise.",
                MetricType::COUNTER,
                vec![
                    counter(&dials[..1], dialled.saturating_sub(failed)),
                    counter(&dials[1..], failed),
                ],
            ),
            family(
                names::HANDSHAKES,
                "TLS handshakes with Wise.",
                MetricType::COUNTER,
                vec![
                    counter(
                        &handshakes[..1],
                        self.sum(|meter| meter.handshakes_full.read()),
                    ),
                    counter(
                        &handshakes[1..],
                        self.sum(|meter| meter.handshakes_resumed.read()),
                    ),
                ],
            ),
        ]
    }

    fn control(&self) -> Vec<MetricFamily> {
        let readings = (self.read)();
        let lanes = Lane::ALL.into_iter().map(|lane| {
            gauge(
                &[("lane", lane.name())],
                if readings.lane == Some(lane) {
                    1.0
                } else {
                    0.0
                },
            )
        });
        let of_tokens = |read: &dyn Fn(&TokenReading) -> Option<f64>| -> Vec<Metric> {
            let tokens = readings.tokens.iter();
            tokens
                .filter_map(|token| Some(gauge(&[("grant", &token.grant)], read(token)?)))
                .collect()
        };
        let refreshes = readings.tokens.iter().flat_map(|token| {
            token.refreshes.iter().map(|(result, count)| {
                counter(&[("grant", &token.grant), ("result", result)], *count)
            })
        });
        let notifications = readings.notifications.iter().flat_map(|(way, counts)| {
            let results = ["delivered", "failed", "dropped"].into_iter().zip(counts);
            results.map(|(result, count)| counter(&[("way", way), ("result", result)], *count))
        });
        let policies = readings.policy_refusals.iter().map(|it| {
            let labels = [
                ("policy", it.policy.as_str()),
                ("reason", it.reason),
                ("mode", it.mode),
            ];
            counter(&labels, it.count)
        });
        let dropped = self.sum(|meter| meter.lines_dropped.read()) + readings.log_lines_dropped;
        let mut families = vec![
            family(
                names::LANE,
                "1 for the lane in use.",
                MetricType::GAUGE,
                lanes.collect(),
            ),
            single(
                names::READY,
                "Whether the proxy can serve.",
                MetricType::GAUGE,
                f64::from(u8::from(readings.ready)),
            ),
            family(
                names::TOKEN_AGE,
                "Age of the access token in use.",
                MetricType::GAUGE,
                of_tokens(&|token| token.age_seconds),
            ),
            family(
                names::TOKEN_LEFT,
                "Life left in the access token in use.",
                MetricType::GAUGE,
                of_tokens(&|token| token.seconds_left),
            ),
            family(
                names::TOKEN_GENERATION,
                "Access tokens this grant has had.",
                MetricType::GAUGE,
                of_tokens(&|token| Some(float(token.generation))),
            ),
            family(
                names::TOKEN_UNSAVED,
                "Whether the newest tokens are in memory only, because the store does not take them.",
                MetricType::GAUGE,
                of_tokens(&|token| Some(f64::from(u8::from(token.unsaved)))),
            ),
            family(
                names::REFRESHES,
                "Token renewals by result.",
                MetricType::COUNTER,
                refreshes.collect(),
            ),
            family(
                names::POLICY_REFUSALS,
                "Requests that a policy refused, or would have.",
                MetricType::COUNTER,
                policies.collect(),
            ),
            family(
                names::RELOADS,
                "Reloads of configuration, certificates and secrets.",
                MetricType::COUNTER,
                vec![
                    counter(&[("result", "ok")], readings.reloads[0]),
                    counter(&[("result", "failed")], readings.reloads[1]),
                ],
            ),
            single(
                names::SWITCHES,
                "Lane switches.",
                MetricType::COUNTER,
                float(readings.switches),
            ),
            family(
                names::NOTIFICATIONS,
                "Notifications by way and result.",
                MetricType::COUNTER,
                notifications.collect(),
            ),
            single(
                names::DOWNSTREAM_LIMIT,
                "Connections that came when runtime.max_connections were open.",
                MetricType::COUNTER,
                float(readings.limit_reached),
            ),
            single(
                names::LINES_DROPPED,
                "Log and access lines dropped because the sink was slower than the traffic.",
                MetricType::COUNTER,
                float(dropped),
            ),
            family(
                names::BUILD,
                "Version of the running program.",
                MetricType::GAUGE,
                vec![gauge(&[("version", self.version)], 1.0)],
            ),
        ];
        if let Some(audit) = &readings.audit {
            families.extend(recording(audit));
        }
        families.extend(webhooks(&readings.webhooks));
        if let Some(days) = readings.certificate_days {
            let help = "Days until the client certificate ends.";
            families.push(single(
                names::CERTIFICATE_DAYS,
                help,
                MetricType::GAUGE,
                days,
            ));
        }
        if let Some(end) = readings.certificate_end {
            let help = "When the client certificate ends, in Unix time.";
            families.push(single(names::CERTIFICATE_END, help, MetricType::GAUGE, end));
        }
        families
    }
}

/// What there is to say of the record of who called what.
fn recording(audit: &AuditReading) -> [MetricFamily; 3] {
    [
        single(
            names::AUDIT_RECORDS,
            "Records of who called what.",
            MetricType::COUNTER,
            float(audit.records),
        ),
        single(
            names::AUDIT_LOST,
            "Records that were lost: the record has a gap.",
            MetricType::COUNTER,
            float(audit.lost),
        ),
        single(
            names::AUDIT_FAILING,
            "Whether the record cannot be written just now.",
            MetricType::GAUGE,
            f64::from(u8::from(audit.failing)),
        ),
    ]
}

/// What there is to say of webhooks.
fn webhooks(webhooks: &[WebhookReading]) -> [MetricFamily; 6] {
    let counted = |read: &dyn Fn(&WebhookReading) -> &[(&'static str, u64)]| -> Vec<Metric> {
        let each = webhooks.iter().flat_map(|webhook| {
            let outcomes = read(webhook).iter();
            outcomes.map(|(outcome, count)| {
                let labels = [("webhook", webhook.webhook.as_str()), ("outcome", *outcome)];
                counter(&labels, *count)
            })
        });
        each.collect()
    };
    let measured = |read: &dyn Fn(&WebhookReading) -> f64| -> Vec<Metric> {
        let each = webhooks.iter();
        each.map(|webhook| gauge(&[("webhook", &webhook.webhook)], read(webhook)))
            .collect()
    };
    [
        family(
            names::WEBHOOK_DELIVERIES,
            "Webhook deliveries that came in, by what became of them.",
            MetricType::COUNTER,
            counted(&|webhook| &webhook.deliveries),
        ),
        family(
            names::WEBHOOK_FORWARDS,
            "Attempts to give a webhook delivery to the application.",
            MetricType::COUNTER,
            counted(&|webhook| &webhook.forwards),
        ),
        family(
            names::WEBHOOK_QUEUED,
            "Webhook deliveries that wait for the application.",
            MetricType::GAUGE,
            measured(&|webhook| float(webhook.queued)),
        ),
        family(
            names::WEBHOOK_OLDEST,
            "How long the first of them has waited; 0 where none waits.",
            MetricType::GAUGE,
            measured(&|webhook| float(webhook.oldest_seconds)),
        ),
        family(
            names::WEBHOOK_SET_ASIDE,
            "Webhook deliveries that the application has refused and that are kept.",
            MetricType::GAUGE,
            measured(&|webhook| float(webhook.set_aside)),
        ),
        family(
            names::WEBHOOK_FAILING,
            "Whether a webhook's deliveries cannot be kept just now.",
            MetricType::GAUGE,
            measured(&|webhook| f64::from(u8::from(webhook.failing))),
        ),
    ]
}
