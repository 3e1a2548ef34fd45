//! Carries out what was decided about an organization.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Namespace, ResourceQuota};
use kube::api::PostParams;
use kube::core::ObjectMeta;
use kube::{Api, ResourceExt as _};
use tenter_consortium::objects::{FIELD_MANAGER, LABEL_CONSORTIUM, LABEL_ORGANIZATION};

use super::OrganizationAction;
use super::decide::QUOTA;
use crate::controllers::apply::{self, MANAGED_BY};
use crate::controllers::context::Context;
use crate::controllers::failure::Failure;
use crate::resources::Organization;

pub async fn act(ctx: &Context, object: &Organization, action: &OrganizationAction) -> Result<(), Failure> {
    match action {
        OrganizationAction::CreateNamespace => create_namespace(ctx, object).await,
        OrganizationAction::Apply(child) => child.apply(ctx).await,
        OrganizationAction::RemoveQuota => {
            apply::delete::<ResourceQuota>(ctx, &object.spec.namespace, QUOTA).await.map(drop)
        }
    }
}

async fn create_namespace(ctx: &Context, object: &Organization) -> Result<(), Failure> {
    let name = &object.spec.namespace;
    let labels = BTreeMap::from([
        (MANAGED_BY.to_owned(), FIELD_MANAGER.to_owned()),
        (LABEL_ORGANIZATION.to_owned(), object.name_any()),
        (LABEL_CONSORTIUM.to_owned(), object.spec.consortium.clone()),
        // Everything that Tenter runs there keeps to it, and so must everything else.
        ("pod-security.kubernetes.io/enforce".to_owned(), "restricted".to_owned()),
    ]);
    let metadata = ObjectMeta { name: Some(name.clone()), labels: Some(labels), ..ObjectMeta::default() };
    let namespace = Namespace { metadata, ..Namespace::default() };
    let parameters = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
    ctx.writes.count("Namespace");
    match Api::<Namespace>::all(ctx.client.clone()).create(&parameters, &namespace).await {
        Ok(_) => Ok(()),
        // Whose it is, is looked at in the next round.
        Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(()),
        Err(error) => Err(Failure::kube("CreateNamespace", format!("create Namespace {name}"), &error)),
    }
}
