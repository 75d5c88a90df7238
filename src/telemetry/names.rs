//! The name of each metric, once.

pub(crate) const REQUESTS: &str = "wise_proxy_requests_total";
pub(crate) const REQUEST_DURATION: &str = "wise_proxy_request_duration_seconds";
pub(crate) const ADDED_DURATION: &str = "wise_proxy_added_duration_seconds";
pub(crate) const FAULTS: &str = "wise_proxy_faults_total";
pub(crate) const IN_FLIGHT: &str = "wise_proxy_requests_in_flight";
pub(crate) const REFUSALS: &str = "wise_proxy_upstream_refusals_total";
pub(crate) const REPLAYS: &str = "wise_proxy_replays_total";
pub(crate) const GATE_WAITS: &str = "wise_proxy_renewal_waits_total";
pub(crate) const CONNECTIONS: &str = "wise_proxy_upstream_connections";
pub(crate) const DIALS: &str = "wise_proxy_upstream_dials_total";
pub(crate) const HANDSHAKES: &str = "wise_proxy_upstream_handshakes_total";
pub(crate) const DOWNSTREAM: &str = "wise_proxy_downstream_connections";
pub(crate) const DOWNSTREAM_LIMIT: &str = "wise_proxy_downstream_limit_reached_total";
pub(crate) const LANE: &str = "wise_proxy_lane";
pub(crate) const TOKEN_AGE: &str = "wise_proxy_token_age_seconds";
pub(crate) const TOKEN_LEFT: &str = "wise_proxy_token_seconds_left";
pub(crate) const TOKEN_GENERATION: &str = "wise_proxy_token_generation";
pub(crate) const TOKEN_UNSAVED: &str = "wise_proxy_token_unsaved";
pub(crate) const REFRESHES: &str = "wise_proxy_token_refreshes_total";
pub(crate) const CERTIFICATE_DAYS: &str = "wise_proxy_certificate_days_left";
pub(crate) const RELOADS: &str = "wise_proxy_reloads_total";
pub(crate) const SWITCHES: &str = "wise_proxy_lane_switches_total";
pub(crate) const NOTIFICATIONS: &str = "wise_proxy_notifications_total";
pub(crate) const READY: &str = "wise_proxy_ready";
pub(crate) const LINES_DROPPED: &str = "wise_proxy_log_lines_dropped_total";
pub(crate) const BUILD: &str = "wise_proxy_build_info";
