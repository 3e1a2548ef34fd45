//! The world that a plan writes to for real: the API server.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Namespace;
use kube::api::PostParams;
use kube::{Api, ResourceExt as _};
use serde_json::json;
use tenter_consortium::objects::{FIELD_MANAGER, Kind, LABEL_ORGANIZATION, ObjectRef};

use super::{StepOutcome, World};
use crate::controllers::apply::{self, MANAGED_BY, Written};
use crate::controllers::context::Context;
use crate::controllers::failure::Failure;
use crate::resources::{CertificateAuthority, Channel, Membership, Orderer, Organization, Peer, TenterObject};

/// Writes through the API server.
pub struct Cluster<'a> {
    /// The API server and the count of writes.
    pub ctx: &'a Context,
    /// The namespace patterns that may be made; the plan was made by the same settings, and asking again costs nothing.
    pub namespaces: &'a tenter_consortium::objects::NamespaceSettings,
}

impl World for Cluster<'_> {
    async fn create_namespace(&self, namespace: &str, organization: &str) -> Result<StepOutcome, Failure> {
        let allowed = tenter_consortium::settings::namespace_allowed(namespace, self.namespaces);
        if !self.namespaces.create || !allowed {
            let message = format!("the Consortium's settings do not let this daemon make namespace {namespace}");
            return Err(Failure::terminal("NamespaceNotAllowed", message));
        }
        let object: Namespace = decode(json!({
            "metadata": { "name": namespace, "labels": { LABEL_ORGANIZATION: organization, MANAGED_BY: FIELD_MANAGER } },
        }))?;
        let api = Api::<Namespace>::all(self.ctx.client.clone());
        let parameters = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
        self.ctx.writes.count("Namespace");
        match api.create(&parameters, &object).await {
            Ok(_) => Ok(StepOutcome::Done),
            Err(kube::Error::Api(status)) if status.is_already_exists() => {
                let live = api
                    .get(namespace)
                    .await
                    .map_err(|error| Failure::kube("ReadNamespace", format!("read Namespace {namespace}"), &error))?;
                let owner = live.labels().get(LABEL_ORGANIZATION);
                if owner.map(String::as_str) == Some(organization) {
                    return Ok(StepOutcome::AlreadyTrue);
                }
                let message = format!(
                    "namespace {namespace} exists and is not {organization}'s: label it {LABEL_ORGANIZATION}={organization} \
                     if it should be"
                );
                Err(Failure::terminal("ForeignNamespace", message))
            }
            Err(error) => Err(Failure::kube("CreateNamespace", format!("create Namespace {namespace}"), &error)),
        }
    }

    async fn apply_object(
        &self,
        object: &ObjectRef,
        labels: &BTreeMap<String, String>,
        spec: &serde_json::Value,
    ) -> Result<StepOutcome, Failure> {
        let written = match object.kind {
            Kind::Organization => apply_as::<Organization>(self.ctx, object, labels, spec).await,
            Kind::CertificateAuthority => apply_as::<CertificateAuthority>(self.ctx, object, labels, spec).await,
            Kind::Orderer => apply_as::<Orderer>(self.ctx, object, labels, spec).await,
            Kind::Peer => apply_as::<Peer>(self.ctx, object, labels, spec).await,
            Kind::Channel => apply_as::<Channel>(self.ctx, object, labels, spec).await,
            Kind::Membership => apply_as::<Membership>(self.ctx, object, labels, spec).await,
        }?;
        Ok(match written {
            Written::Changed => StepOutcome::Done,
            Written::Unchanged => StepOutcome::AlreadyTrue,
        })
    }
}

async fn apply_as<K: TenterObject>(
    ctx: &Context,
    object: &ObjectRef,
    labels: &BTreeMap<String, String>,
    spec: &serde_json::Value,
) -> Result<Written, Failure> {
    let mut labels = labels.clone();
    labels.insert(MANAGED_BY.to_owned(), FIELD_MANAGER.to_owned());
    let wanted: K = decode(json!({
        "metadata": { "namespace": object.namespace, "name": object.name, "labels": labels },
        "spec": spec,
    }))?;
    apply::apply(ctx, &wanted).await
}

fn decode<T: serde::de::DeserializeOwned>(value: serde_json::Value) -> Result<T, Failure> {
    serde_json::from_value(value)
        .map_err(|error| Failure::terminal("PlanInvalid", format!("the plan holds a spec that is none: {error}")))
}
