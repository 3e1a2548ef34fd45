//! Who signs config updates for an organization.

use futures::future::BoxFuture;
use tenter_consortium::observation::Observation;
use tenter_fabric::config::update::{ConfigSignature, ConfigUpdate, Rejection};
use tenter_fabric::identity::SigningIdentity;

use crate::controllers::Failure;
use crate::controllers::labels::IDENTITY_CONFIG_ADMIN;
use crate::nodes::identity::signing_identity;
use crate::nodes::store::Store;
use crate::nodes::{chain, nonce};

/// Signs for one organization. What is signed was checked before: a signer only decides whether, and with which key.
pub trait Signer: Send + Sync {
    /// The organization's MSP ID.
    fn msp_id(&self) -> &str;

    /// Whether it could sign now. Absent: its key is kept elsewhere, and its signature has to come from there.
    fn ready(&self) -> BoxFuture<'_, Observation<()>>;

    /// Its word that it does not want the update.
    fn reject<'a>(&'a self, update: &'a ConfigUpdate, reason: &'a str) -> BoxFuture<'a, Result<Rejection, Failure>>;

    /// Its signature.
    fn sign<'a>(&'a self, update: &'a ConfigUpdate) -> BoxFuture<'a, Result<ConfigSignature, Failure>>;
}

/// An organization whose configuration administrator's key is in its namespace.
pub struct Hosted<'a> {
    /// Where the key is read from. It is in memory only while it signs.
    pub store: &'a dyn Store,
    /// The organization's namespace.
    pub namespace: String,
    /// The organization's MSP ID.
    pub msp_id: String,
}

impl Hosted<'_> {
    async fn identity(&self) -> Observation<SigningIdentity> {
        signing_identity(self.store, &self.namespace, IDENTITY_CONFIG_ADMIN, &self.msp_id).await
    }

    fn failed(&self, why: &str) -> Failure {
        let place = format!("Secret {}/{IDENTITY_CONFIG_ADMIN}", self.namespace);
        Failure::new("Sign", format!("could not sign for {} with {place}: {why}", self.msp_id))
    }

    async fn key(&self) -> Result<SigningIdentity, Failure> {
        match self.identity().await {
            Observation::Present { value } => Ok(value),
            other => Err(self.failed(other.evidence().unwrap_or_default())),
        }
    }
}

impl Signer for Hosted<'_> {
    fn msp_id(&self) -> &str {
        &self.msp_id
    }

    fn ready(&self) -> BoxFuture<'_, Observation<()>> {
        Box::pin(async { self.identity().await.map(drop) })
    }

    fn sign<'a>(&'a self, update: &'a ConfigUpdate) -> BoxFuture<'a, Result<ConfigSignature, Failure>> {
        Box::pin(async move {
            let identity = self.key().await?;
            let nonce = nonce().map_err(|error| self.failed(&error.to_string()))?;
            update.sign(&identity, nonce).map_err(|error| self.failed(&chain(&error)))
        })
    }

    fn reject<'a>(&'a self, update: &'a ConfigUpdate, reason: &'a str) -> BoxFuture<'a, Result<Rejection, Failure>> {
        Box::pin(async move {
            let identity = self.key().await?;
            let nonce = nonce().map_err(|error| self.failed(&error.to_string()))?;
            update.reject(&identity, nonce, reason).map_err(|error| self.failed(&chain(&error)))
        })
    }
}
