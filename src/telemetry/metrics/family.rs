//! Families of metrics in Prometheus's data model, and the samples in them.

use prometheus::proto::{
    Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType,
};

use crate::telemetry::meter::BOUNDS_US;
use crate::wise::Lane;

pub(super) fn family(
    name: &str,
    help: &str,
    kind: MetricType,
    metrics: Vec<Metric>,
) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(name.into());
    family.set_help(help.into());
    family.set_field_type(kind);
    family.set_metric(metrics);
    family
}

pub(super) fn single(name: &str, help: &str, kind: MetricType, value: f64) -> MetricFamily {
    let metric = match kind {
        MetricType::COUNTER => {
            let mut counter = Counter::default();
            counter.set_value(value);
            let mut metric = Metric::from_label(Vec::new());
            metric.set_counter(counter);
            metric
        }
        MetricType::GAUGE | MetricType::SUMMARY | MetricType::UNTYPED | MetricType::HISTOGRAM => {
            gauge(&[], value)
        }
    };
    family(name, help, kind, vec![metric])
}

fn labels(pairs: &[(&str, &str)]) -> Vec<LabelPair> {
    let pair = |(name, value): &(&str, &str)| {
        let mut pair = LabelPair::default();
        pair.set_name((*name).into());
        pair.set_value((*value).into());
        pair
    };
    pairs.iter().map(pair).collect()
}

pub(super) fn counter(pairs: &[(&str, &str)], value: u64) -> Metric {
    let mut counter = Counter::default();
    counter.set_value(float(value));
    let mut metric = Metric::from_label(labels(pairs));
    metric.set_counter(counter);
    metric
}

pub(super) fn gauge(pairs: &[(&str, &str)], value: f64) -> Metric {
    let mut gauge = Gauge::default();
    gauge.set_value(value);
    let mut metric = Metric::from_label(labels(pairs));
    metric.set_gauge(gauge);
    metric
}

pub(super) fn histogram(lane: Lane, counts: &[u64; BOUNDS_US.len() + 1], sum_us: u64) -> Metric {
    let mut cumulative = 0;
    let buckets = BOUNDS_US.iter().zip(counts).map(|(bound, count)| {
        cumulative += count;
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(float(*bound) / 1e6);
        bucket.set_cumulative_count(cumulative);
        bucket
    });
    let mut histogram = Histogram::default();
    histogram.set_bucket(buckets.collect());
    histogram.set_sample_count(counts.iter().sum());
    histogram.set_sample_sum(float(sum_us) / 1e6);
    let mut metric = Metric::from_label(labels(&[("lane", lane.name())]));
    metric.set_histogram(histogram);
    metric
}

#[allow(
    clippy::cast_precision_loss,
    reason = "a metric is a float; counts stay far below 2^52"
)]
pub(super) fn float(value: u64) -> f64 {
    value as f64
}
