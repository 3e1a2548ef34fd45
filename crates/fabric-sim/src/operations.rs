//! The operations listener: health, version, metrics, log level (Fabric `core/operations`).

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;

use crate::faults::{FaultSet, Faults, control_enabled};
use crate::net::PeerInfo;

/// The version that the simulator says it is.
pub const VERSION: &str = "v3.1.5-sim";

/// What the listener shows.
#[derive(Clone)]
pub struct Operations {
    /// Writes the metrics in Prometheus' text form; `None` when the provider is disabled.
    pub metrics: Option<Arc<dyn Fn() -> String + Send + Sync>>,
    /// Whether the listener uses TLS: then metrics and log level need a client certificate.
    pub tls: bool,
    /// The node's faults.
    pub faults: Arc<Faults>,
}

/// The listener's paths.
pub fn router(operations: Operations) -> Router {
    let mut router = Router::new()
        .route("/healthz", get(health))
        .route("/version", get(version))
        .route("/metrics", get(metrics))
        .route("/logspec", get(log_spec).put(set_log_spec));
    if control_enabled() {
        router = router.route("/sim/faults", get(faults).post(set_faults));
    }
    router.with_state(operations)
}

fn json(status: StatusCode, text: String) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], text).into_response()
}

async fn health() -> Response {
    let now = crate::deliver::now_seconds();
    json(StatusCode::OK, format!("{{\"status\":\"OK\",\"time\":\"{}\"}}", rfc3339(now)))
}

/// Seconds since 1970 as a date and time in UTC (the civil calendar from days, by eras of 400 years).
pub fn rfc3339(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_index = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_index + 2) / 5 + 1;
    let month = if month_index < 10 { month_index + 3 } else { month_index - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", rest / 3600, rest / 60 % 60, rest % 60)
}

async fn version() -> Response {
    json(StatusCode::OK, format!("{{\"CommitSHA\":\"simulated\",\"Version\":\"{VERSION}\"}}"))
}

fn forbidden(operations: &Operations, peer: &PeerInfo) -> Option<Response> {
    (operations.tls && peer.certificate.is_none()).then(|| StatusCode::UNAUTHORIZED.into_response())
}

async fn metrics(State(operations): State<Operations>, ConnectInfo(peer): ConnectInfo<PeerInfo>) -> Response {
    if let Some(refused) = forbidden(&operations, &peer) {
        return refused;
    }
    match &operations.metrics {
        Some(write) => ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], write()).into_response(),
        None => (StatusCode::NOT_FOUND, "404 page not found\n").into_response(),
    }
}

async fn log_spec(State(operations): State<Operations>, ConnectInfo(peer): ConnectInfo<PeerInfo>) -> Response {
    forbidden(&operations, &peer).unwrap_or_else(|| json(StatusCode::OK, "{\"spec\":\"info\"}".to_owned()))
}

/// Accepts a well-formed request; the level stays as it was started with.
async fn set_log_spec(
    State(operations): State<Operations>,
    ConnectInfo(peer): ConnectInfo<PeerInfo>,
    body: String,
) -> Response {
    if let Some(refused) = forbidden(&operations, &peer) {
        return refused;
    }
    match serde_json::from_str::<serde_json::Value>(&body) {
        Ok(value) if value.get("spec").is_some_and(serde_json::Value::is_string) => {
            StatusCode::NO_CONTENT.into_response()
        }
        _ => json(StatusCode::BAD_REQUEST, "{\"error\":\"invalid logging specification\"}".to_owned()),
    }
}

async fn faults(State(operations): State<Operations>) -> Response {
    match serde_json::to_string(&operations.faults.current()) {
        Ok(text) => json(StatusCode::OK, text),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn set_faults(State(operations): State<Operations>, body: String) -> Response {
    match serde_json::from_str::<FaultSet>(&body) {
        Ok(set) => {
            operations.faults.replace(set);
            Response::builder().status(StatusCode::NO_CONTENT).body(Body::empty()).unwrap_or_default()
        }
        Err(error) => (StatusCode::BAD_REQUEST, error.to_string()).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_dates() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(1_709_210_096), "2024-02-29T12:34:56Z");
    }
}
