//! The channel participation API (Fabric `orderer/common/channelparticipation/restapi.go`).

use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::Response;
use prost::Message as _;
use serde::Serialize;
use tenter_fabric_wire::common::{Block, Envelope};

use super::multipart;
use super::node::Node;
use super::registrar::{Registrar, RegistrarError};
use crate::block;
use crate::broadcast;
use crate::channel::{Bundle, check_channel_id};
use crate::configtx;
use crate::faults::Area;
use crate::net::PeerInfo;

const BASE: &str = "/participation/v1";
const CHANNELS: &str = "/participation/v1/channels";

#[derive(Serialize)]
struct Short {
    name: String,
    url: String,
}
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct List {
    system_channel: Option<Short>,
    channels: Option<Vec<Short>>,
}

/// What the handler needs.
#[derive(Debug, Clone)]
pub struct Admin {
    /// The node.
    pub node: Arc<Node>,
    /// Its channels.
    pub registrar: Arc<Registrar>,
}

/// The whole API as one service.
pub fn router(admin: Admin) -> axum::Router {
    axum::Router::new().fallback(handle).with_state(admin)
}

async fn handle(State(admin): State<Admin>, ConnectInfo(peer): ConnectInfo<PeerInfo>, request: Request) -> Response {
    if admin.node.faults.hit(Area::Participation).await {
        return failure(StatusCode::INTERNAL_SERVER_ERROR, "simulated fault");
    }
    let path = request.uri().path().to_owned();
    match path.as_str() {
        BASE => redirect(StatusCode::TEMPORARY_REDIRECT, "Temporary Redirect", "/participation/v1/"),
        "/participation/v1/" if request.method() == Method::GET => redirect(StatusCode::FOUND, "Found", CHANNELS),
        CHANNELS => admin.channels(&peer, request).await,
        _ => match path.strip_prefix("/participation/v1/channels/").map(|rest| rest.split('/').collect::<Vec<_>>()) {
            Some(parts) if parts.len() == 1 && !parts[0].is_empty() => admin.channel(&request, parts[0]),
            Some(parts) if parts.len() == 3 && parts[1] == "blocks" && !parts[0].is_empty() && !parts[2].is_empty() => {
                admin.block(&request, parts[0], parts[2])
            }
            _ => not_found(),
        },
    }
}

impl Admin {
    async fn channels(&self, peer: &PeerInfo, request: Request) -> Response {
        match *request.method() {
            Method::GET => {
                if let Some(refused) = refuse_accept(request.headers()) {
                    return refused;
                }
                let all: Vec<Short> =
                    self.registrar.list().into_iter().map(|info| Short { name: info.name, url: info.url }).collect();
                let list = List { system_channel: None, channels: (!all.is_empty()).then_some(all) };
                json(StatusCode::OK, &list, &[(header::CACHE_CONTROL, "no-store")])
            }
            Method::POST | Method::PUT if !is_multipart(request.headers()) => {
                let kinds: Vec<&str> = request
                    .headers()
                    .get_all(header::CONTENT_TYPE)
                    .iter()
                    .filter_map(|value| value.to_str().ok())
                    .collect();
                failure(StatusCode::BAD_REQUEST, &format!("unsupported Content-Type: [{}]", kinds.join(" ")))
            }
            Method::POST => self.join(peer, request).await,
            Method::PUT => self.update(request).await,
            ref other => not_allowed(&format!("invalid request method: {other}"), "GET, POST, PUT"),
        }
    }

    fn channel(&self, request: &Request, name: &str) -> Response {
        if *request.method() != Method::GET && *request.method() != Method::DELETE {
            return not_allowed(&format!("invalid request method: {}", request.method()), "GET, DELETE");
        }
        if let Some(refused) = refuse_accept(request.headers()) {
            return refused;
        }
        if let Err(text) = check_channel_id(name) {
            return failure(StatusCode::BAD_REQUEST, &format!("invalid channel ID: {text}"));
        }
        if *request.method() == Method::GET {
            return match self.registrar.info(name) {
                Ok(info) => json(StatusCode::OK, &info, &[(header::CACHE_CONTROL, "no-store")]),
                Err(error) => failure(StatusCode::NOT_FOUND, &error.to_string()),
            };
        }
        match self.registrar.remove(name) {
            Ok(()) => plain(StatusCode::NO_CONTENT, Body::empty(), &[]),
            Err(error) => {
                let status = match error {
                    RegistrarError::NotExist => StatusCode::NOT_FOUND,
                    RegistrarError::PendingRemoval => StatusCode::CONFLICT,
                    _ => StatusCode::BAD_REQUEST,
                };
                failure(status, &format!("cannot remove: {error}"))
            }
        }
    }

    fn block(&self, request: &Request, name: &str, which: &str) -> Response {
        if *request.method() != Method::GET {
            return not_allowed(&format!("invalid request method: {}", request.method()), "GET");
        }
        if let Some(refused) = refuse_accept(request.headers()) {
            return refused;
        }
        if let Err(text) = check_channel_id(name) {
            return failure(StatusCode::BAD_REQUEST, &format!("invalid channel ID: {text}"));
        }
        let number = which.parse::<i64>();
        if number.is_err() && !["newest", "oldest", "config"].contains(&which) {
            // Fabric writes this answer twice.
            let text = format!("invalid block ID: '{which}' not equal <newest|oldest|config|(number)>");
            let line = error_line(&text);
            return plain(
                StatusCode::BAD_REQUEST,
                Body::from(format!("{line}{line}")),
                &[(header::CONTENT_TYPE, "application/json")],
            );
        }
        let chain = match self.registrar.ready_chain(name) {
            Ok(chain) => chain,
            Err(error) => return failure(StatusCode::NOT_FOUND, &error.to_string()),
        };
        let found = match which {
            "newest" => chain.ledger.newest(),
            "oldest" => chain.ledger.block(0),
            "config" => chain.ledger.config_block(),
            _ => {
                number.ok().and_then(|number| u64::try_from(number).ok()).and_then(|number| chain.ledger.block(number))
            }
        };
        match found {
            Some(found) => plain(
                StatusCode::OK,
                Body::from(found.encode_to_vec()),
                &[(header::CONTENT_TYPE, "application/octet-stream"), (header::CACHE_CONTROL, "no-store")],
            ),
            None => failure(StatusCode::NOT_FOUND, &format!("no such block number [{which}] in index")),
        }
    }

    /// The one file part of a form, or the answer that refuses it.
    async fn part(&self, request: Request, key: &str) -> Result<Vec<u8>, Response> {
        let bad = |text: &str| failure(StatusCode::BAD_REQUEST, text);
        if let Some(refused) = refuse_accept(request.headers()) {
            return Err(refused);
        }
        let boundary = multipart::boundary(request.headers());
        let most = self.node.settings.max_join;
        let body = to_bytes(request.into_body(), most)
            .await
            .map_err(|_| bad("cannot read form from request body: http: request body too large"))?;
        let form = multipart::parse(&boundary, &body)
            .map_err(|text| bad(&format!("cannot read form from request body: {text}")))?;
        let file = form.files.get(key).ok_or_else(|| bad(&format!("form does not contains part key: {key}")))?;
        if form.files.len() != 1 || form.has_fields {
            return Err(bad("form contains too many parts"));
        }
        Ok(file.clone())
    }

    async fn join(&self, peer: &PeerInfo, request: Request) -> Response {
        let bytes = match self.part(request, "config-block").await {
            Ok(bytes) => bytes,
            Err(refused) => return refused,
        };
        let Ok(join) = Block::decode(&bytes[..]) else {
            return failure(
                StatusCode::BAD_REQUEST,
                "cannot unmarshal file part config-block into a block: proto:\u{a0}cannot parse invalid wire-format data",
            );
        };
        let bundle = match judge_join(&join) {
            Ok(Some(bundle)) => bundle,
            Ok(None) => {
                // Fabric's handler panics here: the connection ends without an answer, the node goes on.
                peer.cut();
                return failure(StatusCode::INTERNAL_SERVER_ERROR, "block without header");
            }
            Err(text) => return failure(StatusCode::BAD_REQUEST, &format!("invalid join block: {text}")),
        };
        let joined = self.registrar.join(&join, bundle);
        if joined.is_ok() && self.node.faults.loses_join_reply() {
            peer.cut();
        }
        match joined {
            Ok(info) => json(StatusCode::CREATED, &info, &[(header::LOCATION, &info.url)]),
            Err(RegistrarError::Exists) => not_allowed("cannot join: channel already exists", "GET, DELETE"),
            Err(error @ RegistrarError::PendingRemoval) => {
                failure(StatusCode::CONFLICT, &format!("cannot join: {error}"))
            }
            Err(error) => failure(StatusCode::BAD_REQUEST, &format!("cannot join: {error}")),
        }
    }

    /// PUT, which nobody should call: real nodes lock up on it for channels that they do not order.
    async fn update(&self, request: Request) -> Response {
        let bytes = match self.part(request, "config-update-envelope").await {
            Ok(bytes) => bytes,
            Err(refused) => return refused,
        };
        let opened = Envelope::decode(&bytes[..])
            .map_err(|error| error.to_string())
            .and_then(|envelope| Ok((configtx::update_of(&envelope)?.channel_id, envelope)));
        let (name, envelope) = match opened {
            Ok(opened) => opened,
            Err(text) => {
                return failure(StatusCode::BAD_REQUEST, &format!("invalid config update envelope: {text}"));
            }
        };
        let chain = match self.registrar.ready_chain(&name) {
            Ok(chain) => chain,
            Err(error) => {
                let text = format!("cannot update: {error}");
                return match error {
                    RegistrarError::PendingRemoval => failure(StatusCode::CONFLICT, &text),
                    RegistrarError::Follower => failure(StatusCode::FORBIDDEN, &text),
                    _ => failure(StatusCode::METHOD_NOT_ALLOWED, &text),
                };
            }
        };
        let refused = |text: &str| {
            failure(StatusCode::BAD_REQUEST, &format!("cannot update: failed update config of channel {name}{text}"))
        };
        let (message, sequence) = match chain.judge_update(&envelope) {
            Ok(judged) => judged,
            Err(broadcast::Failure::Rejected(rejection)) => return refused(&format!(": {}", rejection.info)),
            Err(broadcast::Failure::Panic(text)) => return failure(StatusCode::INTERNAL_SERVER_ERROR, &text),
        };
        if let Err(text) = chain.order(&message.envelope, sequence).await {
            return refused(&format!(" with SERVICE_UNAVAILABLE: rejected by Configure: {text}"));
        }
        match self.registrar.info(&name) {
            Ok(info) => json(StatusCode::CREATED, &info, &[(header::LOCATION, &info.url)]),
            Err(error) => failure(StatusCode::METHOD_NOT_ALLOWED, &format!("cannot update: {error}")),
        }
    }
}

/// `None` for a block on which Fabric's own check crashes.
fn judge_join(join: &Block) -> Result<Option<Bundle>, String> {
    if block::config_transaction(join).is_none() {
        return Err("block is not a config block".to_owned());
    }
    if join.metadata.as_ref().is_none_or(|metadata| metadata.metadata.is_empty()) {
        return Err("invalid block: does not have metadata".to_owned());
    }
    let (Some(header), Some(data)) = (&join.header, &join.data) else {
        return Ok(None);
    };
    if block::data_hash(data) != header.data_hash {
        return Err("invalid block: Header.DataHash is different from Hash(block.Data)".to_owned());
    }
    let bundle = Bundle::from_block(join)?;
    bundle.consenters()?;
    if bundle.consortiums.is_some() {
        return Err("invalid config: contains consortiums: system channel not supported".to_owned());
    }
    if bundle.application_orgs.is_none() {
        return Err("invalid config: must contain application config".to_owned());
    }
    Ok(Some(bundle))
}

fn is_multipart(headers: &HeaderMap) -> bool {
    headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|kind| kind.contains("multipart/form-data"))
}

fn refuse_accept(headers: &HeaderMap) -> Option<Response> {
    let accept = headers.get(header::ACCEPT)?.to_str().ok()?;
    let fits =
        accept.is_empty() || ["application/json", "application/*", "*/*"].iter().any(|kind| accept.contains(kind));
    (!fits).then(|| failure(StatusCode::NOT_ACCEPTABLE, "response Content-Type is application/json only"))
}

fn plain(status: StatusCode, body: Body, headers: &[(header::HeaderName, &str)]) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    for (name, value) in headers {
        if let Ok(value) = header::HeaderValue::from_str(value) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

/// JSON as Go's encoder writes it: a newline at the end, and no angle brackets or ampersands.
fn json(status: StatusCode, content: &impl Serialize, headers: &[(header::HeaderName, &str)]) -> Response {
    let text = serde_json::to_string(content).unwrap_or_default();
    let text = text.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026");
    let mut all = vec![(header::CONTENT_TYPE, "application/json")];
    all.extend(headers.iter().cloned());
    plain(status, Body::from(format!("{text}\n")), &all)
}

#[derive(Serialize)]
struct Failure<'a> {
    error: &'a str,
}

fn error_line(text: &str) -> String {
    let text = serde_json::to_string(&Failure { error: text }).unwrap_or_default();
    format!("{}\n", text.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026"))
}

fn failure(status: StatusCode, text: &str) -> Response {
    json(status, &Failure { error: text }, &[])
}

fn not_allowed(text: &str, allow: &str) -> Response {
    json(StatusCode::METHOD_NOT_ALLOWED, &Failure { error: text }, &[(header::ALLOW, allow)])
}

fn not_found() -> Response {
    plain(
        StatusCode::NOT_FOUND,
        Body::from("404 page not found\n"),
        &[(header::CONTENT_TYPE, "text/plain; charset=utf-8"), (header::X_CONTENT_TYPE_OPTIONS, "nosniff")],
    )
}

fn redirect(status: StatusCode, text: &str, to: &str) -> Response {
    plain(
        status,
        Body::from(format!("<a href=\"{to}\">{text}</a>.\n\n")),
        &[(header::CONTENT_TYPE, "text/html; charset=utf-8"), (header::LOCATION, to)],
    )
}
