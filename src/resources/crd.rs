//! The CustomResourceDefinitions: schemas, rules, printer columns and names.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use schemars::JsonSchema;
use serde_json::{Value, json};
use tenter_consortium::objects::{
    CertificateAuthoritySpec, ChaincodeSpec, ChannelSpec, ConsortiumSpec, GROUP, IdentitySpec, MAX_ROOT_LIFETIME_HOURS,
    MembershipSpec, NodeSpec, OrganizationSpec, ProposalSpec, VERSION, VoteSpec,
};
use tenter_consortium::status::{
    CertificateAuthorityStatus, ChaincodeStatus, ChannelStatus, ConsortiumStatus, IdentityStatus, MembershipStatus,
    NodeStatus, OrganizationStatus, ProposalStatus, VoteStatus,
};

use super::schema;

/// `apiVersion` of every kind.
pub const API_VERSION: &str = "tenter.dev/v1alpha1";

/// Names of a member: an MSP ID, as Fabric's configuration validator takes it.
const MSP_ID: &str = "^[a-zA-Z0-9.-]{1,249}$";
/// `host:port`.
const ADDRESS: &str = r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?:[1-9][0-9]{0,4}$";
/// Channel names (`common/configtx/validator.go`).
const CHANNEL: &str = r"^[a-z][a-z0-9.-]{0,248}$";

/// Chaincode names (`core/chaincode/lifecycle/scc.go`).
const CHAINCODE: &str = "^[a-zA-Z0-9]+([-_][a-zA-Z0-9]+)*$";
/// Chaincode versions (`core/chaincode/lifecycle/scc.go`).
const CHAINCODE_VERSION: &str = "^[A-Za-z0-9_.+-]+$";
/// Longest PEM text of an external chaincode's roots.
const MAX_ROOTS: u32 = 64 << 10;

/// Longest update in a Proposal, base64: the API server takes objects of 1.5 MiB, and Fabric messages of 10 MiB by default.
const MAX_UPDATE: u32 = 1 << 20;

/// Why the definitions could not be made: a mistake in the types, which the tests find.
#[derive(Debug, thiserror::Error)]
pub enum CrdError {
    /// A rule names a field that the schema does not have.
    #[error("the schema of {kind} has no field {field}")]
    NoField {
        /// The kind.
        kind: &'static str,
        /// The field, with dots.
        field: String,
    },
    /// The schema is not one of a CustomResourceDefinition.
    #[error("the schema of {kind} is not one that a CustomResourceDefinition takes")]
    Schema {
        /// The kind.
        kind: &'static str,
        /// What serde says.
        source: serde_json::Error,
    },
    /// A definition could not be written as YAML.
    #[error("a CustomResourceDefinition could not be written as YAML")]
    Yaml(#[from] serde_yaml::Error),
}

/// One printer column: name, type, JSON path, and whether it is shown only with `-o wide`.
struct Column(&'static str, &'static str, &'static str, bool);

const READY: Column = Column("Ready", "string", r#".status.conditions[?(@.type=="Ready")].status"#, false);
const REASON: Column = Column("Reason", "string", r#".status.conditions[?(@.type=="Ready")].reason"#, false);
const WAITING: Column = Column("Message", "string", r#".status.conditions[?(@.type=="Ready")].message"#, true);
const PHASE: Column = Column("Phase", "string", ".status.phase", false);
const AGE: Column = Column("Age", "date", ".metadata.creationTimestamp", false);

/// What a field must be like, beyond its type.
enum Rule {
    /// It never changes.
    Immutable(&'static [&'static str]),
    /// Its text has this shape.
    Pattern(&'static [&'static str], &'static str),
    /// A list holds this many at most: the API server wants a bound where a condition walks a list.
    MaxItems(&'static [&'static str], u32),
    /// A text is this long at most.
    MaxLength(&'static [&'static str], u32),
    /// A number is in this range.
    Range(&'static [&'static str], u32, u32),
    /// A condition over the object's spec.
    Spec(&'static str, &'static str),
    /// A condition over the object, of whose metadata it sees the name.
    Object(&'static str, &'static str),
}

struct Definition {
    kind: &'static str,
    plural: &'static str,
    short: &'static [&'static str],
    columns: Vec<Column>,
    rules: Vec<Rule>,
    spec: Value,
    status: Value,
    object: serde_json::Map<String, Value>,
}

impl Definition {
    fn new<Spec: JsonSchema, Status: JsonSchema>(
        kind: &'static str,
        plural: &'static str,
        short: &'static [&'static str],
    ) -> Self {
        Self {
            kind,
            plural,
            short,
            columns: Vec::new(),
            rules: Vec::new(),
            spec: schema::structural::<Spec>(),
            status: schema::structural::<Status>(),
            object: serde_json::Map::new(),
        }
    }

    /// `own` between the phase and the age.
    fn columns(mut self, own: Vec<Column>) -> Self {
        self.columns = [PHASE, READY, REASON].into_iter().chain(own).chain([WAITING, AGE]).collect();
        self
    }

    fn rules(mut self, rules: Vec<Rule>) -> Self {
        self.rules = rules;
        self
    }

    fn build(mut self) -> Result<CustomResourceDefinition, CrdError> {
        let kind = self.kind;
        for rule in std::mem::take(&mut self.rules) {
            self.apply(&rule)?;
        }
        if let Some(conditions) = schema::at(&mut self.status, &["conditions"]) {
            conditions.insert("x-kubernetes-list-type".to_owned(), json!("map"));
            conditions.insert("x-kubernetes-list-map-keys".to_owned(), json!(["type"]));
        }
        serde_json::from_value(self.document()).map_err(|source| CrdError::Schema { kind, source })
    }

    fn document(self) -> Value {
        let singular = self.kind.to_lowercase();
        let columns: Vec<Value> = self
            .columns
            .iter()
            .map(|Column(name, kind, path, wide)| {
                json!({"name": name, "type": kind, "jsonPath": path, "priority": i32::from(*wide)})
            })
            .collect();
        let mut object = self.object;
        object.insert("type".to_owned(), json!("object"));
        object.insert("required".to_owned(), json!(["spec"]));
        object.insert("properties".to_owned(), json!({"spec": self.spec, "status": self.status}));
        json!({
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {
                "name": format!("{}.{GROUP}", self.plural),
                "labels": {"app.kubernetes.io/name": "tenter", "app.kubernetes.io/component": "crd"},
            },
            "spec": {
                "group": GROUP,
                "scope": "Namespaced",
                "names": {
                    "kind": self.kind,
                    "listKind": format!("{}List", self.kind),
                    "plural": self.plural,
                    "singular": singular,
                    "shortNames": self.short,
                    "categories": ["tenter", "fabric"],
                },
                "versions": [{
                    "name": VERSION,
                    "served": true,
                    "storage": true,
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": columns,
                    "schema": {"openAPIV3Schema": object},
                }],
            },
        })
    }

    fn apply(&mut self, rule: &Rule) -> Result<(), CrdError> {
        match rule {
            Rule::Immutable(path) => {
                let name = ["spec"].iter().chain(*path).copied().collect::<Vec<_>>().join(".");
                validation(self.field(path)?, "self == oldSelf", &format!("{name} can never change"));
            }
            Rule::Pattern(path, pattern) => {
                self.field(path)?.insert("pattern".to_owned(), json!(pattern));
            }
            Rule::MaxItems(path, most) => {
                self.field(path)?.insert("maxItems".to_owned(), json!(most));
            }
            Rule::MaxLength(path, most) => {
                self.field(path)?.insert("maxLength".to_owned(), json!(most));
            }
            Rule::Range(path, least, most) => {
                let field = self.field(path)?;
                field.insert("minimum".to_owned(), json!(least));
                field.insert("maximum".to_owned(), json!(most));
            }
            Rule::Spec(rule, message) => validation(self.field(&[])?, rule, message),
            Rule::Object(rule, message) => validation(&mut self.object, rule, message),
        }
        Ok(())
    }

    fn field(&mut self, path: &[&str]) -> Result<&mut serde_json::Map<String, Value>, CrdError> {
        let kind = self.kind;
        schema::at(&mut self.spec, path).ok_or_else(|| CrdError::NoField { kind, field: path.join(".") })
    }
}

fn validation(field: &mut serde_json::Map<String, Value>, rule: &str, message: &str) {
    let entry = field.entry("x-kubernetes-validations").or_insert_with(|| json!([]));
    if let Value::Array(rules) = entry {
        rules.push(json!({"rule": rule, "message": message}));
    }
}

/// People write it, so the API server refuses what can be refused at once. What makes a certificate another one never
/// changes: a new Identity is made for it, and the old one revoked.
fn identity() -> Definition {
    let columns = vec![
        Column("Role", "string", ".spec.role", false),
        Column("Secret", "string", ".status.secret", false),
        Column("Expires", "string", ".status.notAfter", false),
        Column("Revoked", "boolean", ".spec.revoked", true),
        Column("Serial", "string", ".status.serial", true),
    ];
    let rules = vec![
        Rule::Immutable(&["consortium"]),
        Rule::Immutable(&["organization"]),
        Rule::MaxLength(&["commonName"], 64),
        Rule::Pattern(&["secretName"], "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"),
        Rule::MaxLength(&["secretName"], 63),
        Rule::Range(&["lifetimeHours"], 1, MAX_ROOT_LIFETIME_HOURS),
        Rule::MaxLength(&["subject", "name"], 253),
        Rule::MaxLength(&["subject", "namespace"], 63),
        Rule::Spec(
            "(has(self.role) ? self.role : 'client') == (has(oldSelf.role) ? oldSelf.role : 'client')",
            "spec.role can never change",
        ),
        Rule::Spec(
            "has(self.commonName) == has(oldSelf.commonName) && (!has(self.commonName) || self.commonName == \
             oldSelf.commonName)",
            "spec.commonName can never change",
        ),
        Rule::Spec(
            "has(self.secretName) == has(oldSelf.secretName) && (!has(self.secretName) || self.secretName == \
             oldSelf.secretName)",
            "spec.secretName can never change",
        ),
        Rule::Spec(
            "!has(oldSelf.revoked) || !oldSelf.revoked || (has(self.revoked) && self.revoked)",
            "a revocation is for ever: make another Identity",
        ),
        Rule::Spec(
            "!has(self.subject) || self.subject.kind != 'ServiceAccount' || (has(self.subject.__namespace__) && \
             self.subject.__namespace__ != '')",
            "a subject of kind ServiceAccount needs its namespace",
        ),
        Rule::Spec(
            "!has(self.role) || self.role != 'admin' || has(self.subject)",
            "an identity of role admin needs a subject",
        ),
        Rule::Object(
            "self.metadata.name.matches('^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$') && !(self.metadata.name in ['reader', \
             'node-admin', 'config-admin'])",
            "the name must be at most 40 letters, digits and hyphens, and none of an identity that Tenter makes itself",
        ),
    ];
    Definition::new::<IdentitySpec, IdentityStatus>("Identity", "identities", &["fid"]).columns(columns).rules(rules)
}

fn membership() -> Definition {
    Definition::new::<MembershipSpec, MembershipStatus>("Membership", "memberships", &["mem"])
        .columns(vec![
            Column("Channel", "string", ".spec.channel", false),
            Column("Role", "string", ".spec.role", false),
            Column("Joined", "string", ".status.joined", false),
        ])
        .rules(vec![
            Rule::Immutable(&["consortium"]),
            Rule::Immutable(&["channel"]),
            Rule::Immutable(&["organization"]),
            Rule::Immutable(&["mspID"]),
        ])
}

fn chaincode() -> Definition {
    Definition::new::<ChaincodeSpec, ChaincodeStatus>("Chaincode", "chaincodes", &["cc"])
        .columns(vec![
            Column("Channel", "string", ".spec.channel", false),
            Column("Version", "string", ".status.version", false),
            Column("Sequence", "integer", ".status.sequence", false),
            Column("Approved", "string", ".status.approved", false),
            Column("Package", "string", ".status.packageID", true),
        ])
        .rules(vec![
            Rule::Immutable(&["consortium"]),
            Rule::Immutable(&["channel"]),
            Rule::Immutable(&["name"]),
            Rule::Pattern(&["channel"], CHANNEL),
            Rule::Pattern(&["name"], CHAINCODE),
            Rule::Pattern(&["version"], CHAINCODE_VERSION),
            Rule::Pattern(&["source", "external", "address"], ADDRESS),
            Rule::MaxLength(&["source", "external", "rootCertificates"], MAX_ROOTS),
            Rule::Pattern(&["members", "*", "mspID"], MSP_ID),
            Rule::Spec(
                "(has(self.source.image) ? 1 : 0) + (has(self.source.__package__) ? 1 : 0) + (has(self.source.external) \
                 ? 1 : 0) == 1",
                "spec.source is one of image, package and external",
            ),
        ])
}

/// Controllers write it, and it never changes: another update is another Proposal.
fn proposal() -> Definition {
    Definition::new::<ProposalSpec, ProposalStatus>("Proposal", "proposals", &["prop"])
        .columns(vec![
            Column("Channel", "string", ".spec.channel", false),
            Column("Topic", "string", ".spec.topic", false),
            Column("Signed", "string", ".status.signed", false),
            Column("Missing", "string", ".status.missing", false),
            Column("Block", "integer", ".status.block", false),
        ])
        .rules(vec![
            Rule::Pattern(&["channel"], CHANNEL),
            Rule::Pattern(&["digest"], "^[0-9a-f]{64}$"),
            Rule::MaxLength(&["update"], MAX_UPDATE),
            Rule::Immutable(&[]),
        ])
}

/// Administrators of organizations write it. What it is about never changes: another update is voted on by another Vote.
fn vote() -> Definition {
    Definition::new::<VoteSpec, VoteStatus>("Vote", "votes", &[])
        .columns(vec![
            Column("Proposal", "string", ".spec.proposal", false),
            Column("Choice", "string", ".spec.choice", false),
            Column("Why", "string", ".spec.reason", true),
        ])
        .rules(vec![
            Rule::Immutable(&["consortium"]),
            Rule::Immutable(&["organization"]),
            Rule::Immutable(&["proposal"]),
            Rule::Immutable(&["digest"]),
            Rule::Pattern(&["digest"], "^[0-9a-f]{64}$"),
            Rule::MaxLength(&["proposal"], 63),
            // One line, as other members are shown it.
            Rule::Pattern(&["reason"], "^[^\\x00-\\x1f\\x7f]*$"),
            Rule::MaxLength(&["reason"], 250),
        ])
}

/// The definitions of all kinds, in the order in which they are to be read.
pub fn crds() -> Result<Vec<CustomResourceDefinition>, CrdError> {
    let node_columns = || {
        vec![
            Column("Address", "string", ".spec.address", false),
            Column("Version", "string", ".status.version", false),
            Column("Channels", "string", ".status.channels", true),
            Column("Image", "string", ".status.image", true),
        ]
    };
    let node_rules = || {
        vec![
            Rule::Immutable(&["organization"]),
            Rule::Immutable(&["mspID"]),
            Rule::Pattern(&["mspID"], MSP_ID),
            Rule::Pattern(&["address"], ADDRESS),
            Rule::Object(
                "self.metadata.name != 'ca' && !self.metadata.name.endsWith('-admin')",
                "this name is taken by objects that Tenter makes itself",
            ),
        ]
    };
    vec![
        Definition::new::<ConsortiumSpec, ConsortiumStatus>("Consortium", "consortia", &["con"]).columns(vec![
            Column("Revision", "string", ".status.lastAppliedRevision", false),
            Column("Repository", "string", ".spec.source.repository", true),
        ]),
        Definition::new::<OrganizationSpec, OrganizationStatus>("Organization", "organizations", &["org"])
            .columns(vec![
                Column("MSP", "string", ".spec.mspID", false),
                Column("Namespace", "string", ".spec.namespace", false),
                Column("Running", "string", ".status.running", false),
            ])
            .rules(vec![
                Rule::Immutable(&["consortium"]),
                Rule::Immutable(&["mspID"]),
                Rule::Immutable(&["namespace"]),
                Rule::Pattern(&["mspID"], MSP_ID),
                Rule::MaxItems(&["admins"], 100),
                Rule::MaxLength(&["admins", "*", "name"], 253),
                Rule::MaxLength(&["admins", "*", "namespace"], 63),
                Rule::Spec(
                    "!has(self.admins) || self.admins.all(a, a.kind != 'ServiceAccount' || (has(a.__namespace__) && \
                     a.__namespace__ != ''))",
                    "an administrator of kind ServiceAccount needs its namespace",
                ),
            ]),
        Definition::new::<CertificateAuthoritySpec, CertificateAuthorityStatus>(
            "CertificateAuthority",
            "certificateauthorities",
            &["fca"],
        )
        .columns(vec![
            Column("Issued", "integer", ".status.issued", false),
            Column("First expiry", "string", ".status.firstExpiry", false),
        ])
        .rules(vec![
            Rule::Immutable(&["organization"]),
            Rule::Immutable(&["mspID"]),
            Rule::Immutable(&["domain"]),
            Rule::Pattern(&["mspID"], MSP_ID),
            Rule::Range(&["certificateLifetimeHours"], 1, MAX_ROOT_LIFETIME_HOURS),
            Rule::Range(&["rootLifetimeHours"], 1, MAX_ROOT_LIFETIME_HOURS),
            Rule::Spec(
                "self.certificateLifetimeHours <= self.rootLifetimeHours",
                "certificates would live longer than their root",
            ),
        ]),
        identity(),
        Definition::new::<NodeSpec, NodeStatus>("Orderer", "orderers", &["ord"])
            .columns(node_columns())
            .rules(node_rules()),
        Definition::new::<NodeSpec, NodeStatus>("Peer", "peers", &[]).columns(node_columns()).rules(node_rules()),
        Definition::new::<ChannelSpec, ChannelStatus>("Channel", "channels", &["ch"])
            .columns(vec![
                Column("Consenters", "string", ".status.consenters", false),
                Column("Peers", "string", ".status.peers", false),
                Column("Sequence", "integer", ".status.configSequence", false),
                Column("Consensus", "string", ".spec.consensus.type", true),
            ])
            .rules(vec![
                Rule::Immutable(&["consortium"]),
                Rule::Immutable(&["channel"]),
                Rule::Pattern(&["channel"], CHANNEL),
            ]),
        membership(),
        chaincode(),
        proposal(),
        vote(),
    ]
    .into_iter()
    .map(Definition::build)
    .collect()
}

/// All definitions as one YAML stream, each after `---`.
pub fn to_yaml(definitions: &[CustomResourceDefinition]) -> Result<String, CrdError> {
    let mut text = String::new();
    for definition in definitions {
        text.push_str("---\n");
        text.push_str(&serde_yaml::to_string(definition)?);
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// The files in `deploy/crds` are the ones that the types give; `UPDATE_CRDS=1` writes them.
    #[test]
    fn checked_in_definitions_are_current() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/crds");
        let update = std::env::var_os("UPDATE_CRDS").is_some();
        let mut names = Vec::new();
        for definition in crds().unwrap() {
            let name = format!("{}.yaml", definition.spec.names.plural);
            let wanted = serde_yaml::to_string(&definition).unwrap();
            let path = folder.join(&name);
            if update {
                std::fs::write(&path, &wanted).unwrap();
            }
            let found = std::fs::read_to_string(&path).unwrap_or_default();
            assert_eq!(found, wanted, "{name} is not what the types give: run the tests with UPDATE_CRDS=1");
            names.push(name);
        }
        let mut found: Vec<String> = std::fs::read_dir(&folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name != "kustomization.yaml")
            .collect();
        found.sort();
        names.sort();
        assert_eq!(found, names);
    }

    /// What the API server demands of a structural schema: a type everywhere, nothing but plain keywords.
    #[test]
    fn schemas_are_structural() {
        fn check(path: &str, schema: &Value) {
            let object = schema.as_object().unwrap();
            let typed = object.contains_key("type") || object.contains_key("x-kubernetes-int-or-string");
            assert!(typed, "{path} has no type: {schema}");
            for key in ["$ref", "anyOf", "oneOf", "allOf", "not", "const", "default", "definitions"] {
                assert!(!object.contains_key(key), "{path} has {key}");
            }
            assert!(!matches!(object.get("additionalProperties"), Some(Value::Bool(_))), "{path} is closed");
            if let Some(Value::Object(properties)) = object.get("properties") {
                for (name, inner) in properties {
                    check(&format!("{path}.{name}"), inner);
                }
            }
            for key in ["items", "additionalProperties"] {
                if let Some(inner) = object.get(key) {
                    check(&format!("{path}[]"), inner);
                }
            }
        }
        for definition in crds().unwrap() {
            let value = serde_json::to_value(&definition).unwrap();
            check(&definition.spec.names.kind, &value["spec"]["versions"][0]["schema"]["openAPIV3Schema"]);
        }
    }

    #[test]
    fn api_version_is_group_and_version() {
        assert_eq!(API_VERSION, format!("{GROUP}/{VERSION}"));
    }
}
