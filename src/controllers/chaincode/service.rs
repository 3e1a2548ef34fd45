//! What serves a chaincode in one organization's namespace: a Deployment, its Service, and their TLS certificate.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Service;
use kube::ResourceExt as _;
use serde_json::{Value, json};
use tenter_consortium::chaincode::SERVICE_PORT;
use tenter_consortium::objects::LABEL_CHAINCODE;
use tenter_fabric::ca::{CertificateRequest, Usage};

use crate::controllers::children::Child;
use crate::controllers::labels::{self, Belonging};
use crate::controllers::materials::{CA_CRT, TLS_CRT, TLS_KEY, hours};
use crate::controllers::node::manifests::CERTIFICATES;

/// The component label of what serves a chaincode.
pub const COMPONENT: &str = "chaincode";
/// Who the program runs as: no user of the image, and not root.
const USER: i64 = 10001;
/// Where its certificate and key are mounted.
const TLS_DIR: &str = "/etc/hyperledger/chaincode";
/// Characters of the object's name in the certificate's subject, which has room for 64.
const COMMON_NAME: usize = 54;
/// Seconds that a program may take until it listens before Kubernetes starts it anew.
const START: i64 = 120;

/// A chaincode's service in one namespace.
pub struct Wanted<'a> {
    /// The Chaincode object's name.
    pub object: &'a str,
    /// Name of the Deployment and of the Service.
    pub name: &'a str,
    /// The image to pull.
    pub image: &'a str,
    /// Id of the package whose `connection.json` leads here: the program says it to the peer.
    pub package_id: &'a str,
    /// Hash of the certificate that is mounted.
    pub certificate: String,
    /// Whose the objects are.
    pub belonging: Belonging<'a>,
}

/// Name of the Secret of a chaincode's TLS certificate; all versions that run beside each other share it.
pub fn tls_secret(object: &str) -> String {
    format!("cc-{object}-tls")
}

/// What is asked of the authority: a certificate for all of these services.
pub fn request(object: &str, namespace: &str, services: &BTreeSet<String>, lifetime: u32) -> CertificateRequest {
    let names = |service: &String| {
        [format!("{service}.{namespace}.svc"), format!("{service}.{namespace}.svc.cluster.local"), service.clone()]
    };
    let usage = Usage::TlsNode { dns_names: services.iter().flat_map(names).collect(), ip_addresses: BTreeSet::new() };
    // Nobody looks at it: names are verified by the alternatives.
    let common_name = format!("chaincode-{}", object.get(..COMMON_NAME).unwrap_or(object));
    CertificateRequest { common_name, usage, lifetime: hours(lifetime) }
}

impl Wanted<'_> {
    /// The labels of everything that serves the chaincode.
    pub fn labels(&self) -> BTreeMap<String, String> {
        let mut labels = self.belonging.labels();
        labels.insert(LABEL_CHAINCODE.to_owned(), self.object.to_owned());
        labels
    }

    fn selector(&self) -> BTreeMap<String, String> {
        BTreeMap::from([
            (labels::COMPONENT.to_owned(), COMPONENT.to_owned()),
            (LABEL_CHAINCODE.to_owned(), self.object.to_owned()),
            (labels::INSTANCE.to_owned(), self.name.to_owned()),
        ])
    }

    /// The objects in the order in which they are applied.
    pub fn children(&self) -> Result<Vec<Child>, serde_json::Error> {
        let spec = json!({
            "type": "ClusterIP",
            "selector": self.selector(),
            "ports": [{"name": "grpc", "port": SERVICE_PORT, "targetPort": "grpc", "protocol": "TCP"}],
        });
        let mut metadata = self.belonging.metadata(self.name);
        metadata.labels = Some(self.labels());
        let service =
            Service { metadata: metadata.clone(), spec: Some(serde_json::from_value(spec)?), ..Service::default() };
        let mut labels = self.labels();
        labels.extend(self.selector());
        let spec = json!({
            "replicas": 1,
            "revisionHistoryLimit": 2,
            "progressDeadlineSeconds": 300,
            "selector": {"matchLabels": self.selector()},
            // A new certificate: the old program serves until the new one does.
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
            "template": {
                "metadata": {"labels": labels, "annotations": {CERTIFICATES: self.certificate}},
                "spec": self.pod(),
            },
        });
        let deployment = Deployment { metadata, spec: serde_json::from_value(spec)?, ..Deployment::default() };
        Ok(vec![service.into(), deployment.into()])
    }

    fn pod(&self) -> Value {
        let variable = |name: &str, value: &str| json!({"name": name, "value": value});
        let item = |key: &str| json!({"key": key, "path": key});
        json!({
            "automountServiceAccountToken": false,
            "enableServiceLinks": false,
            "securityContext": {
                "runAsNonRoot": true,
                "runAsUser": USER,
                "runAsGroup": USER,
                "fsGroup": USER,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [{
                "name": COMPONENT,
                "image": self.image,
                "imagePullPolicy": "IfNotPresent",
                // The names that the sample contracts of Fabric read; the id has two that are common.
                "env": [
                    variable("CHAINCODE_ID", self.package_id),
                    variable("CORE_CHAINCODE_ID_NAME", self.package_id),
                    variable("CHAINCODE_SERVER_ADDRESS", &format!("0.0.0.0:{SERVICE_PORT}")),
                    variable("CHAINCODE_TLS_DISABLED", "false"),
                    variable("CHAINCODE_TLS_CERT", &format!("{TLS_DIR}/{TLS_CRT}")),
                    variable("CHAINCODE_TLS_KEY", &format!("{TLS_DIR}/{TLS_KEY}")),
                ],
                "ports": [{"name": "grpc", "containerPort": SERVICE_PORT, "protocol": "TCP"}],
                "resources": {"requests": {"cpu": "20m", "memory": "64Mi"}, "limits": {"memory": "512Mi"}},
                "securityContext": {
                    "allowPrivilegeEscalation": false,
                    "privileged": false,
                    "readOnlyRootFilesystem": true,
                    "capabilities": {"drop": ["ALL"]},
                },
                "startupProbe": {
                    "tcpSocket": {"port": "grpc"}, "periodSeconds": 1, "timeoutSeconds": 1, "failureThreshold": START,
                },
                "readinessProbe": {"tcpSocket": {"port": "grpc"}, "periodSeconds": 5, "timeoutSeconds": 2},
                "terminationMessagePolicy": "FallbackToLogsOnError",
                "volumeMounts": [
                    {"name": "tls", "mountPath": TLS_DIR, "readOnly": true},
                    {"name": "tmp", "mountPath": "/tmp"},
                ],
            }],
            "volumes": [
                {"name": "tls", "secret": {
                    "secretName": tls_secret(self.object),
                    "items": [item(TLS_CRT), item(TLS_KEY), item(CA_CRT)],
                    "defaultMode": 0o440,
                }},
                {"name": "tmp", "emptyDir": {"sizeLimit": "64Mi"}},
            ],
        })
    }
}

/// Whether a Deployment runs its newest template, and if not, why.
pub fn progress(deployment: &Deployment) -> Result<(), String> {
    let name = deployment.name_any();
    let Some(status) = &deployment.status else { return Err(format!("Deployment {name} was just made")) };
    if status.observed_generation != deployment.metadata.generation {
        return Err(format!("Deployment {name} was just changed"));
    }
    let wanted = deployment.spec.replicas.unwrap_or(1);
    if status.updated_replicas.unwrap_or(0) >= wanted && status.available_replicas.unwrap_or(0) >= wanted {
        return Ok(());
    }
    // A Pod that could not even be made, for want of quota for example, says more than that there is no progress.
    let condition =
        |kind: &str, value: &str| {
            status.conditions.iter().flatten().find(|condition| {
                condition.type_.as_deref() == Some(kind) && condition.status.as_deref() == Some(value)
            })
        };
    let failed = condition("ReplicaFailure", "True").or_else(|| condition("Progressing", "False"));
    Err(failed.and_then(|condition| condition.message.clone()).unwrap_or_else(|| {
        format!("{} of {wanted} Pods of Deployment {name} are available", status.available_replicas.unwrap_or(0))
    }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_deployment_says_what_keeps_it() {
        let check = |conditions: Value, available: u32, expect: Result<(), &str>| {
            let deployment = json!({
                "metadata": {"name": "cc-assets", "generation": 2}, "spec": {"replicas": 1, "selector": {}, "template": {}},
                "status": {
                    "observedGeneration": 2, "updatedReplicas": 1, "availableReplicas": available, "conditions": conditions,
                },
            });
            let deployment: Deployment = serde_json::from_value(deployment).unwrap();
            assert_eq!(progress(&deployment), expect.map_err(str::to_owned));
        };
        let condition =
            |kind: &str, value: &str, message: &str| json!({"type": kind, "status": value, "message": message});
        check(json!([]), 1, Ok(()));
        check(json!([]), 0, Err("0 of 1 Pods of Deployment cc-assets are available"));
        check(
            json!([condition("Progressing", "True", "it goes on")]),
            0,
            Err("0 of 1 Pods of Deployment cc-assets are available"),
        );
        let stuck = condition("Progressing", "False", "deadline exceeded");
        check(json!([stuck.clone()]), 0, Err("deadline exceeded"));
        let quota = condition("ReplicaFailure", "True", "exceeded quota: tenter");
        check(json!([stuck, quota]), 0, Err("exceeded quota: tenter"));
    }
}
