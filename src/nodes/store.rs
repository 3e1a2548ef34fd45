//! Where the identities, certificates, pinned blocks and join records of organizations are kept.
//!
//! A trait, so that forming a channel can be driven against Fabric processes without a Kubernetes; the
//! program has one implementation, [`KubeStore`]. Nothing is kept: what is read lives as long as its reader.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::BoxFuture;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use tenter_consortium::objects::FIELD_MANAGER;
use tenter_consortium::observation::Observation;

use crate::controllers::cache::{Answer, Cache};

/// Longest wait for one answer of the API server.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The entries of a Secret or `ConfigMap`.
pub type Entries = BTreeMap<String, Vec<u8>>;

/// Why something could not be written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The API server refused, or could not be asked.
    #[error("ConfigMap {namespace}/{name} could not be written")]
    Write {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// What the client says.
        #[source]
        source: Box<kube::Error>,
    },
    /// The API server did not answer in time.
    #[error("writing ConfigMap {namespace}/{name} took longer than {} s", TIMEOUT.as_secs())]
    Timeout {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
}

/// What came of creating a thing that is never changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Created {
    /// It was made.
    Now,
    /// One of that name was there already, and was left alone.
    Before,
}

/// Reads and writes what the access to nodes and the forming of channels need.
pub trait Store: Send + Sync {
    /// The entries of a Secret.
    fn secret<'a>(&'a self, namespace: &'a str, name: &'a str) -> BoxFuture<'a, Observation<Entries>>;

    /// The entries of a `ConfigMap`, text and binary alike.
    fn config_map<'a>(&'a self, namespace: &'a str, name: &'a str) -> BoxFuture<'a, Observation<Entries>>;

    /// Makes an immutable `ConfigMap`; `binary` and `text` are its entries.
    fn create_immutable<'a>(
        &'a self,
        namespace: &'a str,
        name: &'a str,
        labels: BTreeMap<String, String>,
        binary: Entries,
        text: BTreeMap<String, String>,
    ) -> BoxFuture<'a, Result<Created, StoreError>>;

    /// Adds one entry to a `ConfigMap`, which is made if it is not there; other entries stay.
    fn record<'a>(
        &'a self,
        namespace: &'a str,
        name: &'a str,
        labels: BTreeMap<String, String>,
        key: &'a str,
        value: &'a str,
    ) -> BoxFuture<'a, Result<(), StoreError>>;
}

/// The store in a Kubernetes cluster.
#[derive(Clone)]
pub struct KubeStore {
    client: Client,
    cache: Cache,
}

impl KubeStore {
    /// A store that asks through this client, where the copies do not tell.
    pub const fn new(client: Client, cache: Cache) -> Self {
        Self { client, cache }
    }

    fn config_maps(&self, namespace: &str) -> Api<ConfigMap> {
        Api::namespaced(self.client.clone(), namespace)
    }
}

/// What a failed question to the API server says about the thing that was asked for.
pub fn classify<T>(what: &str, error: &kube::Error) -> Observation<T> {
    match error {
        kube::Error::Api(status) if status.code == 404 => {
            Observation::Absent { evidence: format!("the API server has no {what}") }
        }
        kube::Error::Api(status) if status.code == 401 || status.code == 403 => {
            Observation::Forbidden { evidence: format!("the API server refused to show {what}: {}", status.message) }
        }
        error => Observation::Unreachable { evidence: format!("asking the API server for {what}: {error}") },
    }
}

/// Waits for an answer about `what` for a bounded time.
async fn ask<T>(what: &str, question: impl Future<Output = Result<T, kube::Error>>) -> Observation<T> {
    match tokio::time::timeout(TIMEOUT, question).await {
        Ok(Ok(value)) => Observation::Present { value },
        Ok(Err(error)) => classify(what, &error),
        Err(_) => Observation::Unreachable {
            evidence: format!("the API server did not answer for {what} in {} s", TIMEOUT.as_secs()),
        },
    }
}

async fn write<T>(
    namespace: &str,
    name: &str,
    request: impl Future<Output = Result<T, kube::Error>>,
) -> Result<Result<T, kube::Error>, StoreError> {
    tokio::time::timeout(TIMEOUT, request)
        .await
        .map_err(|_| StoreError::Timeout { namespace: namespace.to_owned(), name: name.to_owned() })
}

fn failed(namespace: &str, name: &str, source: kube::Error) -> StoreError {
    StoreError::Write { namespace: namespace.to_owned(), name: name.to_owned(), source: Box::new(source) }
}

fn has_code(error: &kube::Error, code: u16) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == code)
}

fn merge(text: Option<BTreeMap<String, String>>, binary: Option<BTreeMap<String, ByteString>>) -> Entries {
    let text = text.unwrap_or_default().into_iter().map(|(key, value)| (key, value.into_bytes()));
    let binary = binary.unwrap_or_default().into_iter().map(|(key, value)| (key, value.0));
    text.chain(binary).collect()
}

impl Store for KubeStore {
    fn secret<'a>(&'a self, namespace: &'a str, name: &'a str) -> BoxFuture<'a, Observation<Entries>> {
        Box::pin(async move {
            let api: Api<Secret> = Api::namespaced(self.client.clone(), namespace);
            let what = format!("Secret {namespace}/{name}");
            ask(&what, api.get(name)).await.map(|secret| merge(secret.string_data, secret.data))
        })
    }

    fn config_map<'a>(&'a self, namespace: &'a str, name: &'a str) -> BoxFuture<'a, Observation<Entries>> {
        Box::pin(async move {
            if let Answer::Known(Some(map)) = self.cache.get::<ConfigMap>(namespace, name) {
                return Observation::Present { value: merge(map.data, map.binary_data) };
            }
            let what = format!("ConfigMap {namespace}/{name}");
            ask(&what, self.config_maps(namespace).get(name)).await.map(|map| merge(map.data, map.binary_data))
        })
    }

    fn create_immutable<'a>(
        &'a self,
        namespace: &'a str,
        name: &'a str,
        labels: BTreeMap<String, String>,
        binary: Entries,
        text: BTreeMap<String, String>,
    ) -> BoxFuture<'a, Result<Created, StoreError>> {
        Box::pin(async move {
            let map = ConfigMap {
                metadata: ObjectMeta { name: Some(name.to_owned()), labels: Some(labels), ..ObjectMeta::default() },
                immutable: Some(true),
                data: Some(text),
                binary_data: Some(binary.into_iter().map(|(key, value)| (key, ByteString(value))).collect()),
            };
            let params = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
            match write(namespace, name, self.config_maps(namespace).create(&params, &map)).await? {
                Ok(answer) => {
                    self.cache.wrote(&answer);
                    Ok(Created::Now)
                }
                Err(error) if has_code(&error, 409) => {
                    self.cache.exists::<ConfigMap>(namespace, name);
                    Ok(Created::Before)
                }
                Err(error) => Err(failed(namespace, name, error)),
            }
        })
    }

    fn record<'a>(
        &'a self,
        namespace: &'a str,
        name: &'a str,
        labels: BTreeMap<String, String>,
        key: &'a str,
        value: &'a str,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            let api = self.config_maps(namespace);
            // A merge patch, because an apply by one channel's controller would take away what another's wrote.
            let patch = serde_json::json!({"data": {key: value}});
            let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
            let merge = || async { write(namespace, name, api.patch(name, &params, &Patch::Merge(&patch))).await };
            let noted = |answer: ConfigMap| -> Result<(), StoreError> {
                self.cache.wrote(&answer);
                Ok(())
            };
            match merge().await? {
                Ok(answer) => return noted(answer),
                Err(error) if has_code(&error, 404) => {}
                Err(error) => return Err(failed(namespace, name, error)),
            }
            let map = ConfigMap {
                metadata: ObjectMeta { name: Some(name.to_owned()), labels: Some(labels), ..ObjectMeta::default() },
                data: Some(BTreeMap::from([(key.to_owned(), value.to_owned())])),
                ..ConfigMap::default()
            };
            let params = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
            match write(namespace, name, api.create(&params, &map)).await? {
                Ok(answer) => noted(answer),
                // Another channel's controller made it in between.
                Err(error) if has_code(&error, 409) => {
                    merge().await?.map_err(|error| failed(namespace, name, error)).and_then(noted)
                }
                Err(error) => Err(failed(namespace, name, error)),
            }
        })
    }
}
