//! Every metric and every event.

use std::fmt::Write as _;

use super::MADE;
use crate::config::EventKind;
use crate::proxy;
use crate::telemetry::metrics::described;

pub(super) fn page() -> String {
    let mut text = format!(
        "{MADE}\n\n# Metrics and events\n\n## Metrics\n\n`GET /metrics` on `admin.address`, in \
         Prometheus's text format. Where a metric has no label, there is one sample\nof it; one \
         without a value yet, such as the age of a token before the first login, is left out.\n\n\
         | metric | type | labels | meaning |\n|---|---|---|---|\n"
    );
    for metric in described(proxy::Kind::NAMES) {
        let labels: Vec<_> = metric
            .labels
            .iter()
            .map(|label| format!("`{label}`"))
            .collect();
        // Writing to a String cannot fail.
        let _ok = writeln!(
            text,
            "| `{}` | {} | {} | {} |",
            metric.name,
            metric.kind,
            labels.join(", "),
            metric.help
        );
    }
    text.push_str(
        "\n## Events\n\nShown by `status` and the status page; `notify.events` chooses those that \
         are told.\n\n| event | severity | meaning |\n|---|---|---|\n",
    );
    for kind in EventKind::ALL {
        let severity = format!("{:?}", kind.severity()).to_lowercase();
        let _ok = writeln!(text, "| `{kind}` | {severity} | {} |", kind.meaning());
    }
    text
}
