//! Names and labels of what the controllers make in an organization's namespace.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::Resource;
use tenter_consortium::objects::{FIELD_MANAGER, LABEL_CONSORTIUM, LABEL_NODE, LABEL_ORGANIZATION};

use super::apply::MANAGED_BY;

/// Annotation of an Orderer or Peer: the uid of its Pod that is to be restarted as soon as the others can do without it. It says
/// nothing any more once another Pod is there.
pub const RESTART: &str = "tenter.dev/restart";
/// Label that says what part of the network an object is: `orderer`, `peer`, `certificate-authority`, ...
pub const COMPONENT: &str = "app.kubernetes.io/component";
/// Label of Kubernetes' convention: which of several of its kind an object is.
pub const INSTANCE: &str = "app.kubernetes.io/instance";
/// Label of Kubernetes' convention: the application that an object belongs to.
const NAME: &str = "app.kubernetes.io/name";

/// Secret of the root that issues identities.
pub const ROOT_ENROLMENT: &str = "ca-enrolment";
/// Secret of the root that issues the nodes' TLS certificates.
pub const ROOT_TLS: &str = "ca-tls";
/// Secret of the root that issues certificates for the admin and operations ports.
pub const ROOT_CLIENTS: &str = "ca-clients";
/// Secret of the identity that reads and submits.
pub const IDENTITY_READER: &str = "identity-reader";
/// Secret of the identity that administers the organization's own nodes.
pub const IDENTITY_NODE_ADMIN: &str = "identity-node-admin";
/// Secret of the identity that signs configuration updates.
pub const IDENTITY_CONFIG_ADMIN: &str = "identity-config-admin";
/// Secret of the TLS client certificate for the admin and operations ports.
pub const CLIENT_OPERATIONS: &str = "client-operations";
/// `ConfigMap` of the organization's public MSP.
pub const MSP: &str = "msp";
/// Key of the `ConfigMap` [`MSP`]: roots of the identities.
pub const MSP_CACERTS: &str = "cacerts.pem";
/// Key of the `ConfigMap` [`MSP`]: roots of the nodes' TLS certificates.
pub const MSP_TLSCACERTS: &str = "tlscacerts.pem";
/// Key of the `ConfigMap` [`MSP`]: roots of the clients of the admin and operations ports.
pub const MSP_CLIENTCACERTS: &str = "clientcacerts.pem";
/// Key of the `ConfigMap` [`MSP`]: certificates of the nodes' administrators.
pub const MSP_NODE_ADMINS: &str = "node-admins.pem";
/// Key of the `ConfigMap` [`MSP`]: the revocation list of the root of the identities; absent while nothing is revoked.
pub const MSP_CRLS: &str = "crls.pem";
/// Key of the `ConfigMap` [`MSP`]: the roles, as Fabric's `config.yaml` says them.
pub const MSP_CONFIG: &str = "config.yaml";

/// `ConfigMap` of what was revoked: serial numbers of certificates of the root of the identities, and since when. The
/// certificate authority makes its revocation list of it; nothing is ever taken out.
pub const REVOCATIONS: &str = "revocations";
/// The component label of what the certificate authority keeps, and of what concerns it.
pub const CERTIFICATE_AUTHORITY: &str = "certificate-authority";

/// Name of the `ConfigMap` that holds the certificates that were issued to an identity.
pub fn identity_record(identity: &str) -> String {
    format!("identity-{identity}")
}

/// Name of the Secret of an identity whose spec does not name another.
pub fn identity_secret(identity: &str) -> String {
    format!("identity-{identity}")
}

/// Name of a node's Service for members in other clusters.
pub fn external_service(node: &str) -> String {
    format!("{node}-external")
}

/// Name of the Service of a node's admin and operations ports.
pub fn admin_service(node: &str) -> String {
    format!("{node}-admin")
}

/// Name of the `ConfigMap` of a node's configuration file.
pub fn config_map(node: &str) -> String {
    format!("{node}-config")
}

/// Name of the `ConfigMap` of a node's join record.
pub fn ledgers(node: &str) -> String {
    format!("{node}-ledgers")
}

/// Name of the Secret of a node's identity.
pub fn enrolment_secret(node: &str) -> String {
    format!("{node}-enrolment")
}

/// Name of the Secret of a node's TLS certificate.
pub fn tls_secret(node: &str) -> String {
    format!("{node}-tls")
}

/// Name of a node's Pod.
pub fn pod(node: &str) -> String {
    format!("{node}-0")
}

/// Name of a node's volume claim.
pub fn volume_claim(node: &str) -> String {
    format!("data-{node}-0")
}

/// Whose an object is.
#[derive(Clone, Copy, Debug)]
pub struct Belonging<'a> {
    /// The Consortium object's name.
    pub consortium: &'a str,
    /// The organization's name.
    pub organization: &'a str,
    /// The organization's namespace.
    pub namespace: &'a str,
    /// What part it is.
    pub component: &'a str,
    /// The node that it belongs to, if it belongs to one.
    pub node: Option<&'a str>,
}

impl Belonging<'_> {
    /// The labels.
    pub fn labels(&self) -> BTreeMap<String, String> {
        let mut labels = BTreeMap::from([
            (NAME.to_owned(), "tenter".to_owned()),
            (MANAGED_BY.to_owned(), FIELD_MANAGER.to_owned()),
            (COMPONENT.to_owned(), self.component.to_owned()),
            (LABEL_CONSORTIUM.to_owned(), self.consortium.to_owned()),
            (LABEL_ORGANIZATION.to_owned(), self.organization.to_owned()),
        ]);
        if let Some(node) = self.node {
            labels.insert(LABEL_NODE.to_owned(), node.to_owned());
        }
        labels
    }

    /// Metadata of an object of this name.
    pub fn metadata(&self, name: &str) -> ObjectMeta {
        ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some(self.namespace.to_owned()),
            labels: Some(self.labels()),
            ..ObjectMeta::default()
        }
    }

    /// Metadata of an object of this name that goes when its owner goes.
    pub fn owned(&self, name: &str, owner: &impl Resource<DynamicType = ()>) -> ObjectMeta {
        let owners: Vec<OwnerReference> = owner.controller_owner_ref(&()).into_iter().collect();
        ObjectMeta { owner_references: Some(owners), ..self.metadata(name) }
    }
}
