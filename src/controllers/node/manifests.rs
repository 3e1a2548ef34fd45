//! The objects that a node is made of, as pure functions of its spec and its certificates.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, Service};
use kube::ResourceExt as _;
use serde_json::{Value, json};
use tenter_consortium::objects::{
    Expose, ExposeType, LABEL_CONSORTIUM, LABEL_NODE, LABEL_ORGANIZATION, NodeResources, NodeStorage,
};

use super::{ConfigInput, NodeKind, OPERATIONS_PORT, Port};
use crate::controllers::children::Child;
use crate::controllers::labels::{self, Belonging};
use crate::controllers::materials::{CA_CRT, TLS_CRT, TLS_KEY};

/// Annotation of a Pod: hash of the certificates that it was started with.
pub const CERTIFICATES: &str = "tenter.dev/certificates";
/// Annotation of a Pod: hash of the configuration file that it was started with.
pub const CONFIGURATION: &str = "tenter.dev/configuration";
/// Annotation of a node's `ConfigMap`: the addresses that its certificate covers, with commas between them.
pub const ADDRESS: &str = "tenter.dev/address";

/// Who the program runs as: no user of the image, and not root.
const USER: i64 = 10001;
/// Where the configuration file stands.
pub const CONFIG_DIR: &str = "/etc/hyperledger/fabric";
/// Where the node's MSP stands.
pub const MSP_DIR: &str = "/etc/hyperledger/msp";
/// Where the TLS files stand.
pub const TLS_DIR: &str = "/etc/hyperledger/tls";
/// File with the roots of clients of the admin and operations ports, beside the TLS files.
pub const CLIENT_ROOTS: &str = "clients.crt";

/// What the objects of a node are made of.
pub struct Wanted<'a> {
    /// What the configuration file is made of.
    pub config: ConfigInput<'a>,
    /// Whose the objects are.
    pub belonging: Belonging<'a>,
    /// The image to pull.
    pub image: &'a str,
    /// CPU and memory.
    pub resources: &'a NodeResources,
    /// The volume: as it was made, for a node that has one.
    pub storage: NodeStorage,
    /// Hash of all certificates that are mounted.
    pub certificates: String,
    /// The addresses that the certificate covers, the newest first.
    pub addresses: &'a [String],
    /// Whether the organization's MSP has a revocation list. Once it has one it keeps it.
    pub revocations: bool,
    /// Whether there is a Service for members in other clusters already.
    pub was_exposed: bool,
}

impl Wanted<'_> {
    /// The objects in the order in which they are applied: the program last.
    pub fn children<K: NodeKind>(&self, owner: &K::Object) -> Vec<Child> {
        let text = K::config(&self.config);
        let configuration = crate::controllers::apply::hash(&Value::String(text.clone()));
        let mut children = vec![self.config_map::<K>(owner, text)];
        children.push(self.service::<K>(owner, self.config.name, K::PORTS, false));
        children.push(self.service::<K>(owner, &labels::admin_service(self.config.name), K::ADMIN_PORTS, true));
        children.extend(self.external::<K>(owner));
        children.extend(self.stateful_set::<K>(owner, &configuration));
        children
    }

    fn selector(&self) -> BTreeMap<String, String> {
        let keep = [labels::COMPONENT, LABEL_NODE, LABEL_ORGANIZATION, LABEL_CONSORTIUM];
        self.belonging.labels().into_iter().filter(|(key, _)| keep.contains(&key.as_str())).collect()
    }

    fn config_map<K: NodeKind>(&self, owner: &K::Object, text: String) -> Child {
        let mut metadata = self.belonging.owned(&labels::config_map(self.config.name), owner);
        metadata.annotations = Some(BTreeMap::from([(ADDRESS.to_owned(), self.addresses.join(","))]));
        let data = BTreeMap::from([(K::CONFIG_FILE.to_owned(), text)]);
        ConfigMap { metadata, data: Some(data), ..ConfigMap::default() }.into()
    }

    /// `unready` publishes the node before it is ready: the daemon asks it how far it is.
    fn service<K: NodeKind>(&self, owner: &K::Object, name: &str, ports: &[Port], unready: bool) -> Child {
        let ports: Vec<Value> = ports
            .iter()
            .map(|port| json!({"name": port.name, "port": port.number, "targetPort": port.name, "protocol": "TCP"}))
            .collect();
        let spec = json!({
            "type": "ClusterIP",
            "selector": self.selector(),
            "ports": ports,
            "publishNotReadyAddresses": unready,
        });
        let metadata = self.belonging.owned(name, owner);
        Service { metadata, spec: serde_json::from_value(spec).ok(), ..Service::default() }.into()
    }

    /// The Service for members in other clusters: the gRPC port and nothing else. One that is no longer asked for becomes a
    /// Service inside the cluster.
    fn external<K: NodeKind>(&self, owner: &K::Object) -> Option<Child> {
        let expose = self.config.spec.expose;
        if expose.is_none() && !self.was_exposed {
            return None;
        }
        let grpc = &K::PORTS[0];
        let mut port = json!({"name": grpc.name, "port": grpc.number, "targetPort": grpc.name, "protocol": "TCP"});
        let kind = match expose {
            None => "ClusterIP",
            Some(Expose { expose_type: ExposeType::NodePort, port: number }) => {
                port["nodePort"] = json!(number);
                "NodePort"
            }
            Some(Expose { expose_type: ExposeType::LoadBalancer, port: number }) => {
                port["port"] = json!(number);
                "LoadBalancer"
            }
        };
        let spec = json!({"type": kind, "selector": self.selector(), "ports": [port]});
        let metadata = self.belonging.owned(&labels::external_service(self.config.name), owner);
        Some(Service { metadata, spec: serde_json::from_value(spec).ok(), ..Service::default() }.into())
    }

    fn stateful_set<K: NodeKind>(&self, owner: &K::Object, configuration: &str) -> Option<Child> {
        let labels = self.belonging.labels();
        let mut claim = json!({
            "metadata": {"name": "data", "labels": self.selector()},
            "spec": {
                "accessModes": ["ReadWriteOnce"],
                "resources": {"requests": {"storage": self.storage.size}},
            },
        });
        if let Some(class) = &self.storage.class {
            claim["spec"]["storageClassName"] = json!(class);
        }
        let spec = json!({
            "replicas": 1,
            "serviceName": self.config.name,
            "podManagementPolicy": "Parallel",
            // The controller restarts the Pod, when the other nodes can do without it.
            "updateStrategy": {"type": "OnDelete"},
            "revisionHistoryLimit": 3,
            "persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Retain", "whenScaled": "Retain"},
            "selector": {"matchLabels": self.selector()},
            "volumeClaimTemplates": [claim],
            "template": {
                "metadata": {
                    "labels": labels,
                    "annotations": {CERTIFICATES: self.certificates, CONFIGURATION: configuration},
                },
                "spec": self.pod::<K>(),
            },
        });
        let spec = serde_json::from_value(spec).ok()?;
        let metadata = self.belonging.owned(self.config.name, owner);
        Some(StatefulSet { metadata, spec, ..StatefulSet::default() }.into())
    }

    fn pod<K: NodeKind>(&self) -> Value {
        json!({
            "automountServiceAccountToken": false,
            // Variables of Services named like a node would change the program's settings (ORDERER_...).
            "enableServiceLinks": false,
            "terminationGracePeriodSeconds": 30,
            "securityContext": {
                "runAsNonRoot": true,
                "runAsUser": USER,
                "runAsGroup": USER,
                "fsGroup": USER,
                "fsGroupChangePolicy": "OnRootMismatch",
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "affinity": {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{
                "weight": 100,
                "podAffinityTerm": {
                    "topologyKey": "kubernetes.io/hostname",
                    // The orderers of a channel stand in several namespaces, all of them labelled.
                    "namespaceSelector": {"matchExpressions": [{"key": LABEL_ORGANIZATION, "operator": "Exists"}]},
                    "labelSelector": {"matchLabels": {
                        labels::COMPONENT: self.belonging.component,
                        LABEL_CONSORTIUM: self.belonging.consortium,
                    }},
                },
            }]}},
            "containers": [self.container::<K>()],
            "volumes": self.volumes::<K>(),
        })
    }

    fn container<K: NodeKind>(&self) -> Value {
        let mut ports: Vec<Port> = K::PORTS.to_vec();
        ports.extend(K::ADMIN_PORTS);
        let ports: Vec<Value> = ports
            .iter()
            .map(|port| json!({"name": port.name, "containerPort": port.number, "protocol": "TCP"}))
            .collect();
        // It demands no client certificate for this path (`core/operations/system.go`).
        let health = json!({"path": "/healthz", "port": OPERATIONS_PORT, "scheme": "HTTPS"});
        let mut environment = vec![
            json!({"name": "FABRIC_CFG_PATH", "value": CONFIG_DIR}),
            json!({"name": "FABRIC_LOGGING_SPEC", "value": "info"}),
            json!({"name": "TMPDIR", "value": "/tmp"}),
        ];
        let mut mounts = vec![
            json!({"name": "config", "mountPath": CONFIG_DIR, "readOnly": true}),
            json!({"name": "msp", "mountPath": MSP_DIR, "readOnly": true}),
            json!({"name": "tls", "mountPath": TLS_DIR, "readOnly": true}),
            json!({"name": "data", "mountPath": K::DATA}),
            json!({"name": "tmp", "mountPath": "/tmp"}),
        ];
        let scratch = K::SCRATCH.iter();
        mounts.extend(scratch.map(|(name, path)| json!({"name": name, "mountPath": format!("{}/{path}", K::DATA)})));
        let own = K::environment(&self.config);
        environment.extend(own.into_iter().map(|(name, value)| json!({"name": name, "value": value})));
        json!({
            "name": K::COMPONENT,
            "image": self.image,
            "imagePullPolicy": "IfNotPresent",
            "command": K::COMMAND,
            "env": environment,
            "ports": ports,
            "resources": {
                "requests": {"cpu": self.resources.cpu, "memory": self.resources.memory},
                "limits": {"memory": self.resources.memory},
            },
            "securityContext": {
                "allowPrivilegeEscalation": false,
                "privileged": false,
                "readOnlyRootFilesystem": true,
                "capabilities": {"drop": ["ALL"]},
            },
            // The program listens for clients last: a long ledger takes minutes to open.
            "startupProbe": {
                "tcpSocket": {"port": K::PORTS[0].name}, "periodSeconds": 1, "timeoutSeconds": 1, "failureThreshold": 900,
            },
            "readinessProbe": {"httpGet": health, "periodSeconds": 2, "timeoutSeconds": 2, "failureThreshold": 5},
            "livenessProbe": {"httpGet": health, "periodSeconds": 20, "timeoutSeconds": 5, "failureThreshold": 6},
            "terminationMessagePolicy": "FallbackToLogsOnError",
            "volumeMounts": mounts,
        })
    }

    fn volumes<K: NodeKind>(&self) -> Value {
        let item = |key: &str, path: &str| json!({"key": key, "path": path});
        let name = self.config.name;
        let mut msp = vec![
            item(labels::MSP_CACERTS, "cacerts/ca.pem"),
            item(labels::MSP_TLSCACERTS, "tlscacerts/tlsca.pem"),
            item(labels::MSP_NODE_ADMINS, "admincerts/node-admin.pem"),
            item(labels::MSP_CONFIG, "config.yaml"),
        ];
        // A volume with a key that is not there is never mounted.
        msp.extend(self.revocations.then(|| item(labels::MSP_CRLS, "crls/crl.pem")));
        let mut volumes = vec![
            json!({"name": "config", "configMap": {
                "name": labels::config_map(name), "items": [item(K::CONFIG_FILE, K::CONFIG_FILE)], "defaultMode": 0o444,
            }}),
            json!({"name": "msp", "projected": {"defaultMode": 0o440, "sources": [
                {"configMap": {"name": labels::MSP, "items": msp}},
                {"secret": {"name": labels::enrolment_secret(name), "items": [
                    item(TLS_CRT, "signcerts/node.pem"),
                    item(TLS_KEY, "keystore/key.pem"),
                ]}},
            ]}}),
            json!({"name": "tls", "projected": {"defaultMode": 0o440, "sources": [
                {"secret": {"name": labels::tls_secret(name), "items": [item(TLS_CRT, TLS_CRT), item(TLS_KEY, TLS_KEY)]}},
                {"configMap": {"name": labels::MSP, "items": [
                    item(labels::MSP_TLSCACERTS, CA_CRT),
                    item(labels::MSP_CLIENTCACERTS, CLIENT_ROOTS),
                ]}},
            ]}}),
        ];
        let scratch = K::SCRATCH.iter().map(|(volume, _)| *volume);
        let empty = |name: &str| json!({"name": name, "emptyDir": {"sizeLimit": "256Mi"}});
        volumes.extend(scratch.chain(["tmp"]).map(empty));
        json!(volumes)
    }
}

/// The volume that a node was made with.
pub fn live_storage(stateful_set: &StatefulSet) -> Option<NodeStorage> {
    let claim = stateful_set.spec.volume_claim_templates.as_ref()?.first()?.spec.as_ref()?;
    let size = claim.resources.as_ref()?.requests.as_ref()?.get("storage")?.0.clone();
    Some(NodeStorage { size, class: claim.storage_class_name.clone() })
}

/// The addresses that a node's certificate covers, the newest first.
pub fn live_addresses(config_map: &ConfigMap) -> Option<&str> {
    config_map.annotations().get(ADDRESS).map(String::as_str)
}
