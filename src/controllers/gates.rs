//! What this daemon's own settings allow, whatever an object's spec says.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, ResourceExt as _};
use tenter_consortium::objects::{ConsortiumSpec, LABEL_CONSORTIUM, LABEL_ORGANIZATION};
use tenter_consortium::settings::{namespace_allowed, organization_allowed};

use super::apply::bounded;
use super::cache::Answer;
use super::conditions::Verdict;
use super::context::Context;
use super::failure::Failure;

/// What is known of a namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NamespaceFacts {
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Whether it is being deleted.
    pub deleting: bool,
}

/// Reads a namespace; `None` only when the API server says that there is none.
pub async fn namespace(ctx: &Context, name: &str) -> Result<Option<NamespaceFacts>, Failure> {
    let namespace = match ctx.cache.get::<Namespace>("", name) {
        Answer::Known(namespace) => namespace,
        Answer::Unknown => bounded(Api::<Namespace>::all(ctx.client.clone()).get_opt(name))
            .await
            .map_err(|error| Failure::kube("ReadNamespace", format!("read Namespace {name}"), &error))?,
    };
    Ok(namespace.map(|namespace| NamespaceFacts {
        labels: namespace.labels().clone(),
        deleting: namespace.metadata.deletion_timestamp.is_some(),
    }))
}

/// Whether this daemon acts for the organization, in this namespace. The refusal says what to change, and where.
pub fn admit(settings: &ConsortiumSpec, organization: &str, namespace: &str) -> Result<(), Verdict> {
    if !organization_allowed(organization, &settings.organizations) {
        return Err(Verdict::stalled(
            "OrganizationNotAllowed",
            format!(
                "this daemon does not act for organization {organization}: add it to spec.organizations of the \
                 Consortium, or let its own daemon act"
            ),
        ));
    }
    if !namespace_allowed(namespace, &settings.namespaces) {
        return Err(Verdict::stalled(
            "NamespaceNotAllowed",
            format!(
                "this daemon may not use namespace {namespace}: add it to spec.namespaces.allowed of the Consortium, \
                 or give organization {organization} another namespace"
            ),
        ));
    }
    Ok(())
}

/// Whether a node may have this name: what is made for some would be taken for what is made for others.
pub fn node_name(name: &str) -> Result<(), Verdict> {
    // The Secrets of the roots are `ca-enrolment` and `ca-tls`; the Services of a node `x` are also `x-admin` and `x-external`.
    if name != "ca" && !name.ends_with("-admin") && !name.ends_with("-external") {
        return Ok(());
    }
    let message = format!("the name {name} is taken by objects that Tenter makes itself: give the node another name");
    Err(Verdict::stalled("ReservedName", message))
}

/// Whether an identity may have this name, and its Secret that one: a Secret that Tenter makes for something else is never
/// given to a subject, not even before it is made.
pub fn identity_names(name: &str, secret: &str) -> Result<(), Verdict> {
    let own = ["reader", "node-admin", "config-admin"];
    let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if name.len() > 40 || !name.chars().all(legal) || own.contains(&name) {
        let message = format!(
            "{name} is no name of an identity: expected at most 40 letters, digits and hyphens, and none of {}",
            own.join(", ")
        );
        return Err(Verdict::stalled("ReservedName", message));
    }
    let taken = own.iter().any(|own| secret.strip_prefix("identity-") == Some(own))
        || ["ca-", "client-"].iter().any(|prefix| secret.starts_with(prefix))
        || ["-enrolment", "-tls"].iter().any(|suffix| secret.ends_with(suffix));
    if taken {
        let message =
            format!("the name {secret} is one of Secrets that Tenter makes itself: set another spec.secretName");
        return Err(Verdict::stalled("ReservedSecretName", message));
    }
    Ok(())
}

/// Whether a namespace is the organization's own: it is there, stays, and carries its labels.
pub fn own_namespace(
    facts: Option<&NamespaceFacts>,
    consortium: &str,
    organization: &str,
    namespace: &str,
) -> Result<(), Verdict> {
    let Some(facts) = facts else {
        return Err(Verdict::reconciling(
            "NamespaceMissing",
            format!(
                "namespace {namespace} does not exist: create it with the label {LABEL_ORGANIZATION}={organization}"
            ),
        ));
    };
    if facts.deleting {
        let message = format!("namespace {namespace} is being deleted");
        return Err(Verdict::stalled("NamespaceDeleting", message));
    }
    match facts.labels.get(LABEL_ORGANIZATION) {
        Some(label) if label == organization => {}
        Some(label) => {
            return Err(Verdict::stalled(
                "NamespaceTaken",
                format!("namespace {namespace} belongs to organization {label}; {organization} needs one of its own"),
            ));
        }
        None => {
            return Err(Verdict::stalled(
                "NamespaceNotLabelled",
                format!(
                    "namespace {namespace} has no label {LABEL_ORGANIZATION}={organization}: set it to hand it over"
                ),
            ));
        }
    }
    match facts.labels.get(LABEL_CONSORTIUM) {
        Some(label) if label != consortium => Err(Verdict::stalled(
            "NamespaceTaken",
            format!("namespace {namespace} belongs to consortium {label}; consortium {consortium} needs another"),
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(labels: &[(&str, &str)]) -> NamespaceFacts {
        let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        NamespaceFacts { labels, deleting: false }
    }

    #[test]
    fn some_names_are_taken() {
        let check = |name: &str, expect: bool| assert_eq!(node_name(name).is_ok(), expect, "{name}");
        check("orderer0", true);
        check("ca1", true);
        check("admin", true);
        check("ca", false);
        check("peer0-admin", false);
    }

    #[test]
    fn an_identity_never_gets_a_secret_of_something_else() {
        let check = |name: &str, secret: &str, expect: Option<&str>| {
            let verdict = identity_names(name, secret).err();
            assert_eq!(verdict.as_ref().map(Verdict::reason), expect, "{name} {secret}");
        };
        check("jane", "identity-jane", None);
        check("jane", "wallet", None);
        for name in ["reader", "config-admin", "Jane", "a.b", &"x".repeat(41)] {
            check(name, "wallet", Some("ReservedName"));
        }
        for secret in
            ["ca-enrolment", "ca-tls", "client-operations", "identity-config-admin", "peer0-tls", "x-enrolment"]
        {
            check("jane", secret, Some("ReservedSecretName"));
        }
    }

    #[test]
    fn a_namespace_must_be_handed_over_by_its_label() {
        let check = |found: Option<NamespaceFacts>, expect: Option<&str>| {
            let verdict = own_namespace(found.as_ref(), "trade", "acme", "trade-acme").err();
            assert_eq!(verdict.as_ref().map(Verdict::reason), expect, "{found:?}");
        };
        check(Some(facts(&[(LABEL_ORGANIZATION, "acme")])), None);
        check(Some(facts(&[(LABEL_ORGANIZATION, "acme"), (LABEL_CONSORTIUM, "trade")])), None);
        check(Some(facts(&[(LABEL_ORGANIZATION, "acme"), (LABEL_CONSORTIUM, "other")])), Some("NamespaceTaken"));
        check(Some(facts(&[(LABEL_ORGANIZATION, "globex")])), Some("NamespaceTaken"));
        check(Some(facts(&[])), Some("NamespaceNotLabelled"));
        check(None, Some("NamespaceMissing"));
        let deleting = NamespaceFacts { deleting: true, ..facts(&[(LABEL_ORGANIZATION, "acme")]) };
        check(Some(deleting), Some("NamespaceDeleting"));
    }
}
