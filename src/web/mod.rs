//! Health, metrics and a plain status page over HTTP. Read-only; nothing here is secret.

pub mod metrics;
mod page;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Path as UrlPath, State};
use axum::http::{HeaderName, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use self::metrics::Telemetry;

/// Why the page is not served.
#[derive(Debug, thiserror::Error)]
pub enum WebError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
}

/// Listens on an address; port 0 takes any that is free. The log names the one that was taken.
pub async fn listen(address: SocketAddr) -> Result<TcpListener, WebError> {
    let listener = TcpListener::bind(address).await.map_err(|source| WebError::Listen { address, source })?;
    let taken = listener.local_addr().map_err(|source| WebError::Listen { address, source })?;
    tracing::info!("listening on http://{taken}");
    Ok(listener)
}

/// Serves until `stop`.
pub async fn serve(listener: TcpListener, telemetry: Arc<Telemetry>, stop: CancellationToken) {
    let served = axum::serve(listener, router(telemetry)).with_graceful_shutdown(stop.cancelled_owned()).await;
    if let Err(error) = served {
        tracing::warn!("the status page ended: {error}");
    }
}

fn router(telemetry: Arc<Telemetry>) -> Router {
    Router::new()
        .route("/", get(status_page))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(render_metrics))
        .route("/snapshots/{consortium}", get(snapshot))
        .with_state(telemetry)
}

async fn ready(State(telemetry): State<Arc<Telemetry>>) -> (StatusCode, &'static str) {
    if telemetry.is_ready() {
        (StatusCode::OK, "ready\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready: the API server has not answered yet\n")
    }
}

/// The signed snapshot of a Consortium: see [`crate::sync::publish`].
async fn snapshot(
    State(telemetry): State<Arc<Telemetry>>,
    UrlPath(consortium): UrlPath<String>,
) -> Result<impl IntoResponse, (StatusCode, &'static str)> {
    let snapshot = telemetry.snapshot(&consortium);
    let snapshot = snapshot.ok_or((StatusCode::NOT_FOUND, "there is no snapshot of such a Consortium\n"))?;
    Ok(([(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")], snapshot.to_string()))
}

async fn render_metrics(State(telemetry): State<Arc<Telemetry>>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], telemetry.render())
}

/// What a browser may do with the page: show it.
const POLICY: (HeaderName, &str) =
    (header::CONTENT_SECURITY_POLICY, "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'");

async fn status_page(State(telemetry): State<Arc<Telemetry>>) -> impl IntoResponse {
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CACHE_CONTROL, "no-store"),
        POLICY,
    ];
    (headers, page::render(&telemetry.consortia()))
}
