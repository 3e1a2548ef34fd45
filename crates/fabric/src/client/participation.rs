//! The orderer's admin API for joining and removing channels
//! (`orderer/common/channelparticipation/restapi.go`).
//!
//! PUT is never used: between 3.1.2 and 3.1.5 it can leave a lock held that hangs the whole node.

use bytes::Bytes;
use hyper::{Method, StatusCode};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::FailureKind;
use super::connect::{Endpoint, Target, TransportError};
use super::http::{self, Answer, Content};

const CHANNELS: &str = "/participation/v1/channels";
/// Answers of this API are lists of channels and short texts.
const MAX_ANSWER: usize = 4 * 1024 * 1024;
/// How much of a node's error text is kept.
const MAX_TEXT: usize = 2000;

/// What an orderer is to a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ConsensusRelation {
    /// Takes part in ordering.
    Consenter,
    /// Copies the channel, serves nobody.
    Follower,
    /// Follows the configuration only (old versions).
    ConfigTracker,
    /// Anything else (old versions).
    Other,
}

/// How an orderer is doing with a channel. There is no status for "cannot pull": such a node stays onboarding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChannelStatus {
    /// Serving, or following and caught up with the block it joined by. Says nothing of a quorum.
    Active,
    /// Catching up to the block it joined by.
    Onboarding,
    /// Being removed, or not running.
    Inactive,
    /// Removal failed.
    Failed,
}

/// A channel as an orderer reports it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OrdererChannel {
    /// Name.
    pub name: String,
    /// What the orderer is to it.
    pub consensus_relation: ConsensusRelation,
    /// How it is doing.
    pub status: ChannelStatus,
    /// Number of blocks.
    pub height: u64,
}

/// What became of a removal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removal {
    /// It has begun; poll until the channel is absent. The WAL and snapshots stay on the volume.
    Started,
    /// The channel was not there.
    AlreadyAbsent,
}

/// Why a request to the admin API failed.
#[derive(Debug, thiserror::Error)]
pub enum ParticipationError {
    /// The orderer has no such channel.
    #[error("{target} does not have the channel {channel}")]
    NotFound {
        /// Who was asked.
        target: Target,
        /// About what.
        channel: String,
    },
    /// The orderer has the channel (whatever its genesis block was).
    #[error("{target} already has a channel of this name; compare its block 0 before relying on it")]
    AlreadyExists {
        /// Who was asked.
        target: Target,
    },
    /// A removal is under way.
    #[error("{target} is still removing this channel; ask again later")]
    PendingRemoval {
        /// Who was asked.
        target: Target,
    },
    /// The orderer refused the request.
    #[error("{target} refused: {text}")]
    BadRequest {
        /// Who was asked.
        target: Target,
        /// Why.
        text: String,
    },
    /// The API is switched off.
    #[error("{target} has channel participation switched off; set ChannelParticipation.Enabled")]
    Disabled {
        /// Who was asked.
        target: Target,
    },
    /// The orderer does not let this client in.
    #[error("{target} forbids this: {text}")]
    Forbidden {
        /// Who was asked.
        target: Target,
        /// Why.
        text: String,
    },
    /// The orderer failed.
    #[error("{target} failed: {text}")]
    Internal {
        /// Who was asked.
        target: Target,
        /// What it says.
        text: String,
    },
    /// The answer makes no sense: perhaps another program listens there.
    #[error("{target} gave an answer that is not one of an orderer's admin API: {evidence}")]
    Protocol {
        /// Who was asked.
        target: Target,
        /// What came.
        evidence: String,
    },
    /// No answer.
    #[error(transparent)]
    Transport(#[from] TransportError),
}

impl ParticipationError {
    /// What the failure says about the channel.
    pub fn kind(&self) -> FailureKind {
        match self {
            Self::NotFound { .. } => FailureKind::Absent,
            Self::AlreadyExists { .. }
            | Self::PendingRemoval { .. }
            | Self::BadRequest { .. }
            | Self::Disabled { .. } => FailureKind::Refused,
            Self::Forbidden { .. } => FailureKind::Forbidden,
            Self::Internal { .. } => FailureKind::Unreachable,
            Self::Protocol { .. } => FailureKind::Protocol,
            Self::Transport(error) => error.kind(),
        }
    }
}

#[derive(Deserialize)]
struct ChannelList {
    // Null, not an empty list, when there is none.
    channels: Option<Vec<ListedChannel>>,
}

#[derive(Deserialize)]
struct ListedChannel {
    name: String,
}

#[derive(Deserialize)]
struct ErrorBody {
    error: String,
}

/// A client of one orderer's admin port.
#[derive(Debug, Clone)]
pub struct ParticipationClient {
    endpoint: Endpoint,
}

impl ParticipationClient {
    /// The endpoint needs a client certificate of the root that `Admin.TLS.ClientRootCAs` names.
    pub fn new(endpoint: Endpoint) -> Self {
        Self { endpoint }
    }

    /// Names of the orderer's channels, sorted.
    pub async fn list(&self) -> Result<Vec<String>, ParticipationError> {
        let answer = self.send(Method::GET, CHANNELS, None).await?;
        if answer.status != StatusCode::OK {
            return Err(self.refused(&answer));
        }
        let list: ChannelList = self.json(&answer)?;
        let mut names: Vec<String> = list.channels.unwrap_or_default().into_iter().map(|one| one.name).collect();
        names.sort();
        Ok(names)
    }

    /// How the orderer is doing with a channel. [`ParticipationError::NotFound`] is the one proof of absence.
    pub async fn info(&self, channel: &str) -> Result<OrdererChannel, ParticipationError> {
        let answer = self.send(Method::GET, &self.path(channel)?, None).await?;
        match answer.status {
            StatusCode::OK => self.json(&answer),
            StatusCode::NOT_FOUND if error_text(&answer).is_some_and(|text| text == "channel does not exist") => {
                Err(ParticipationError::NotFound {
                    target: self.endpoint.target().clone(),
                    channel: channel.to_owned(),
                })
            }
            _ => Err(self.refused(&answer)),
        }
    }

    /// Joins the channel of this config block. The orderer checks neither the block's signatures nor that the other
    /// orderers have the same one, so the caller must.
    pub async fn join(&self, config_block: &[u8]) -> Result<OrdererChannel, ParticipationError> {
        let answer = self.send(Method::POST, CHANNELS, Some(multipart(config_block))).await?;
        let target = || self.endpoint.target().clone();
        match (answer.status, error_text(&answer)) {
            (StatusCode::CREATED, _) => self.json(&answer),
            (StatusCode::METHOD_NOT_ALLOWED, Some(text)) if text.contains("channel already exists") => {
                Err(ParticipationError::AlreadyExists { target: target() })
            }
            _ => Err(self.refused(&answer)),
        }
    }

    /// Begins to remove a channel. The caller has made sure that the orderer is no consenter of it any more: the node
    /// does not check.
    pub async fn remove(&self, channel: &str) -> Result<Removal, ParticipationError> {
        let answer = self.send(Method::DELETE, &self.path(channel)?, None).await?;
        match (answer.status, error_text(&answer)) {
            (StatusCode::NO_CONTENT, _) => Ok(Removal::Started),
            (StatusCode::NOT_FOUND, Some(text)) if text.contains("channel does not exist") => {
                Ok(Removal::AlreadyAbsent)
            }
            _ => Err(self.refused(&answer)),
        }
    }

    async fn send(&self, method: Method, path: &str, content: Option<Content>) -> Result<Answer, ParticipationError> {
        Ok(http::request(&self.endpoint, method, path, content, MAX_ANSWER).await?)
    }

    /// Only names that Fabric takes are put in a path, so that a name cannot reach another resource.
    fn path(&self, channel: &str) -> Result<String, ParticipationError> {
        let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '-');
        if !channel.starts_with(|c: char| c.is_ascii_lowercase()) || !channel.chars().all(legal) || channel.len() > 249
        {
            return Err(ParticipationError::BadRequest {
                target: self.endpoint.target().clone(),
                text: format!(
                    "{channel:?} is no channel name: expected a lower-case letter, then at most 248 lower-case letters, \
                     digits, dots and hyphens"
                ),
            });
        }
        Ok(format!("{CHANNELS}/{channel}"))
    }

    fn json<T: serde::de::DeserializeOwned>(&self, answer: &Answer) -> Result<T, ParticipationError> {
        serde_json::from_slice(&answer.body).map_err(|error| ParticipationError::Protocol {
            target: self.endpoint.target().clone(),
            evidence: format!("status {}, {error} in {:?}", answer.status, excerpt(&answer.body)),
        })
    }

    fn refused(&self, answer: &Answer) -> ParticipationError {
        let target = self.endpoint.target().clone();
        let Some(text) = error_text(answer) else {
            return ParticipationError::Protocol {
                target,
                evidence: format!("status {} with {:?}", answer.status, excerpt(&answer.body)),
            };
        };
        match answer.status {
            StatusCode::CONFLICT => ParticipationError::PendingRemoval { target },
            StatusCode::SERVICE_UNAVAILABLE => ParticipationError::Disabled { target },
            StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED => ParticipationError::Forbidden { target, text },
            status if status.is_server_error() => ParticipationError::Internal { target, text },
            status if status.is_client_error() => ParticipationError::BadRequest { target, text },
            status => ParticipationError::Protocol { target, evidence: format!("status {status}: {text}") },
        }
    }
}

/// The text of an error as this API writes it. A 404 of another program has none, and so proves no absence.
fn error_text(answer: &Answer) -> Option<String> {
    // A long invalid body can come twice in a row, so only the first value is read.
    let first = serde_json::Deserializer::from_slice(&answer.body).into_iter::<ErrorBody>().next()?;
    first.ok().map(|body| body.error.chars().take(MAX_TEXT).collect())
}

fn excerpt(body: &[u8]) -> String {
    String::from_utf8_lossy(body).chars().take(200).collect()
}

/// A form with the one file part that the API takes. The boundary comes from the content, so that it is not in it.
fn multipart(block: &[u8]) -> Content {
    let mut boundary = format!("tenter-{}", hex::encode(Sha256::digest(block)));
    boundary.truncate(60);
    let mut bytes = format!(
        "--{boundary}\r\nContent-Disposition: form-data; name=\"config-block\"; filename=\"config.block\"\r\n\
         Content-Type: application/octet-stream\r\n\r\n"
    )
    .into_bytes();
    bytes.extend_from_slice(block);
    bytes.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
    Content { kind: format!("multipart/form-data; boundary={boundary}"), bytes: Bytes::from(bytes) }
}
