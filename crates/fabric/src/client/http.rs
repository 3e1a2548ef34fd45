//! One HTTP/1.1 request on its own connection.

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, CONTENT_TYPE, HOST};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::time::timeout;

use super::connect::{Endpoint, TransportError};

/// An answer, its body bounded.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) body: Bytes,
}

/// A body to send with its content type.
pub(crate) struct Content {
    pub(crate) kind: String,
    pub(crate) bytes: Bytes,
}

/// Sends one request and reads at most `max_body` bytes of the answer, all within the endpoint's limits.
pub(crate) async fn request(
    endpoint: &Endpoint,
    method: Method,
    path: &str,
    content: Option<Content>,
    max_body: usize,
) -> Result<Answer, TransportError> {
    let limit = endpoint.limits().request;
    match timeout(limit, exchange(endpoint, method, path, content, max_body)).await {
        Ok(result) => result,
        Err(_) => Err(endpoint.timed_out("an HTTP request", limit)),
    }
}

async fn exchange(
    endpoint: &Endpoint,
    method: Method,
    path: &str,
    content: Option<Content>,
    max_body: usize,
) -> Result<Answer, TransportError> {
    let failed = |error: hyper::Error| TransportError::from_chain(endpoint.target(), &error);
    let stream = endpoint.open("http/1.1").await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
    let mut builder = Request::builder()
        .method(method)
        .uri(path)
        .header(HOST, endpoint.target().to_string())
        .header(ACCEPT, "application/json, */*;q=0.1");
    let body = match content {
        Some(content) => {
            builder = builder.header(CONTENT_TYPE, content.kind);
            Full::new(content.bytes)
        }
        None => Full::default(),
    };
    let request = builder.body(body).map_err(|error| endpoint.protocol(error.to_string()))?;
    let answer = async {
        let response = sender.send_request(request).await.map_err(failed)?;
        let status = response.status();
        let body = Limited::new(response.into_body(), max_body).collect().await.map_err(|error| {
            if error.is::<LengthLimitError>() {
                endpoint.protocol(format!("its answer is larger than {max_body} bytes"))
            } else {
                TransportError::from_chain(endpoint.target(), error.as_ref())
            }
        })?;
        Ok(Answer { status, body: body.to_bytes() })
    };
    // The connection is driven here, not in a task of its own, so that nothing outlives the request.
    let mut connection = std::pin::pin!(connection);
    let mut answer = std::pin::pin!(answer);
    tokio::select! {
        biased;
        result = &mut answer => result,
        driven = &mut connection => match driven {
            Ok(()) => answer.await,
            Err(error) => Err(failed(error)),
        },
    }
}
