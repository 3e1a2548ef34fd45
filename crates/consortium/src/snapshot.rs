//! A snapshot of the world: what a plan needs to know of it, for those who have no cluster to ask.
//!
//! Whoever may read it learns what the definition's repository and the channels' configurations say already. What else was
//! seen is left out: texts of conditions and of evidence, signatures, and who signed what. It is signed by an identity of an
//! organization, and believed only by those who know that organization's roots.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tenter_fabric::chaincode::lifecycle::{LifecycleCall, commit_call};
use tenter_fabric::chaincode::transaction::Call;
use tenter_fabric::chaincode::{Approved, Committed, Definition};
use tenter_fabric::config::{ApplicationOrganization, ChannelConfig, Consensus, RaftOptions};
use tenter_fabric::identity::{IdentityError, PublicIdentity, SigningIdentity};
use tenter_fabric::msp::{MspDefinition, NodeOus, Pem};
use tenter_fabric::policy::{Judge, SignedBytes, defaults};
use tenter_fabric::x509::CertificateInfo;

use crate::channel_config::chain;
use crate::document::Blob;
use crate::objects::{Kind, ObjectRef};
use crate::observation::Observation;
use crate::observed::{LiveNamespace, LiveObject, NodeRef, Observed, ObservedChaincode, ObservedChannel};

/// Version of the documents.
pub const API_VERSION: &str = "cli.tenter.dev/v1alpha1";
/// The kind of a signed snapshot.
pub const KIND: &str = "Snapshot";
/// What is signed begins with this, so that no other signature of the identity is one over a snapshot.
const DOMAIN: &[u8] = b"tenter snapshot v1\n";
/// What takes the place of evidence.
const REDACTED: &str = "said so when the snapshot was taken";

/// Why a snapshot is not believed, or cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// It is none, or of another version.
    #[error("it is no snapshot of this version: {0}")]
    Unreadable(String),
    /// The roots cannot be read.
    #[error("the roots cannot be read: {0}")]
    Roots(String),
    /// The signature is not one of an identity that the roots vouch for.
    #[error("its signature does not hold: {0}")]
    Signature(String),
    /// It cannot be signed.
    #[error("it cannot be signed")]
    Sign(#[from] IdentityError),
}

/// What was seen of the world at a time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Snapshot {
    /// Name of the Consortium object.
    pub consortium: String,
    /// Its namespace.
    pub namespace: String,
    /// The commit that was in force.
    pub revision: Option<String>,
    /// When it was taken, RFC 3339.
    pub taken: String,
    /// What the daemon's settings say it acts for: names, or `*`.
    pub organizations: Vec<String>,
    /// Whether objects of each kind could be listed.
    kinds: BTreeMap<Kind, Observation<()>>,
    /// The consortium's objects.
    #[serde(with = "crate::pairs")]
    #[schemars(with = "Vec<(ObjectRef, LiveObject)>")]
    objects: BTreeMap<ObjectRef, LiveObject>,
    /// The organizations' namespaces.
    namespaces: BTreeMap<String, Observation<LiveNamespace>>,
    /// The channels.
    channels: BTreeMap<String, ObservedChannel>,
    /// The chaincodes, as `channel/chaincode`.
    chaincodes: BTreeMap<String, Chaincode>,
    /// The channels of nodes that the definition does not name.
    #[serde(default, with = "crate::pairs")]
    #[schemars(with = "Vec<(ObjectRef, Observation<BTreeSet<String>>)>")]
    held: BTreeMap<ObjectRef, Observation<BTreeSet<String>>>,
    /// Public material of other daemons' organizations, by the name of its `ConfigMap`.
    #[serde(default)]
    materials: BTreeMap<String, Observation<BTreeMap<String, Blob>>>,
}

/// What was seen of a chaincode. Definitions are bytes of `lifecycle.CommitChaincodeDefinitionArgs`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Chaincode {
    committed: Observation<Defined>,
    approvals: BTreeMap<String, Observation<Defined>>,
    readiness: Observation<BTreeMap<String, bool>>,
    #[serde(with = "crate::pairs")]
    #[schemars(with = "Vec<(NodeRef, Observation<BTreeSet<String>>)>")]
    installed: BTreeMap<NodeRef, Observation<BTreeSet<String>>>,
    package: Observation<()>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Defined {
    definition: Blob,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    approvals: BTreeMap<String, bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    package: Option<String>,
}

/// A snapshot with a signature over its exact text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SignedSnapshot {
    /// Version of this format.
    pub api_version: String,
    /// `Snapshot`.
    pub kind: String,
    /// The snapshot, as JSON text.
    pub snapshot: String,
    /// Who signed: `msp.SerializedIdentity`, in hexadecimal digits.
    pub identity: Blob,
    /// The signature, in hexadecimal digits.
    pub signature: Blob,
}

fn redacted<T>(seen: Observation<T>) -> Observation<T> {
    let evidence = REDACTED.to_owned();
    match seen {
        Observation::Present { value } => Observation::Present { value },
        Observation::Absent { .. } => Observation::Absent { evidence },
        Observation::Forbidden { .. } => Observation::Forbidden { evidence },
        Observation::Unreachable { .. } => Observation::Unreachable { evidence },
    }
}

fn object(mut live: LiveObject) -> LiveObject {
    for condition in &mut live.conditions {
        condition.message.clear();
    }
    live
}

fn channel(seen: &ObservedChannel) -> ObservedChannel {
    let mut seen = seen.clone();
    seen.signatures.clear();
    seen.foreign.clear();
    seen.refused = seen.refused.map(|_| REDACTED.to_owned());
    seen.genesis = redacted(seen.genesis);
    seen.config = redacted(seen.config).map(|mut live| {
        live.author = None;
        live
    });
    seen.orderers.values_mut().for_each(|view| view.live = redacted(view.live.clone()));
    seen.peers.values_mut().for_each(|view| view.live = redacted(view.live.clone()));
    seen
}

impl Snapshot {
    /// What is told of a world. `desired` is what it was looked at for, `taken` when.
    pub fn of(
        desired: &crate::desired::Desired,
        revision: Option<&str>,
        observed: &Observed,
        taken: Timestamp,
    ) -> Self {
        let Observed { kinds, objects, namespaces, channels, chaincodes, held, materials, at: _ } = observed;
        Self {
            consortium: desired.consortium.clone(),
            namespace: desired.namespace.clone(),
            revision: revision.map(str::to_owned),
            taken: taken.to_string(),
            organizations: desired.scope.clone(),
            kinds: kinds.iter().map(|(kind, seen)| (*kind, redacted(seen.clone()))).collect(),
            objects: objects.iter().map(|(reference, live)| (reference.clone(), object(live.clone()))).collect(),
            namespaces: namespaces.iter().map(|(name, seen)| (name.clone(), redacted(seen.clone()))).collect(),
            channels: channels.iter().map(|(name, seen)| (name.clone(), channel(seen))).collect(),
            chaincodes: chaincodes.iter().map(|(key, seen)| (key.clone(), Chaincode::of(key, seen))).collect(),
            held: held.iter().map(|(node, seen)| (node.clone(), redacted(seen.clone()))).collect(),
            materials: materials.iter().map(|(name, seen)| (name.clone(), redacted(seen.clone()))).collect(),
        }
    }

    /// The world that it tells of.
    pub fn observed(self) -> Result<Observed, SnapshotError> {
        let chaincodes = self.chaincodes.into_iter().map(|(key, seen)| Ok((key.clone(), seen.observed(&key)?)));
        Ok(Observed {
            kinds: self.kinds,
            objects: self.objects,
            namespaces: self.namespaces,
            channels: self.channels,
            chaincodes: chaincodes.collect::<Result<_, SnapshotError>>()?,
            held: self.held,
            materials: self.materials,
            at: self.taken.parse().ok(),
        })
    }
}

impl Chaincode {
    fn of(key: &str, seen: &ObservedChaincode) -> Self {
        let channel = key.split('/').next().unwrap_or(key);
        let bytes = |definition: &Definition, sequence: i64| {
            Blob(commit_call(channel, definition, sequence).args.into_iter().nth(1).unwrap_or_default())
        };
        let ObservedChaincode { committed, author: _, approvals, readiness, installed, package } = seen;
        let approved = |value: Approved| Defined {
            definition: bytes(&value.definition, value.sequence),
            approvals: BTreeMap::new(),
            package: value.package_id.map(|id| id.to_string()),
        };
        Self {
            committed: redacted(committed.clone()).map(|value| Defined {
                definition: bytes(&value.definition, value.sequence),
                approvals: value.approvals,
                package: None,
            }),
            approvals: approvals
                .iter()
                .map(|(msp_id, seen)| (msp_id.clone(), redacted(seen.clone()).map(approved)))
                .collect(),
            readiness: redacted(readiness.clone()),
            installed: installed
                .iter()
                .map(|(peer, seen)| {
                    let ids = redacted(seen.clone()).map(|ids| ids.iter().map(ToString::to_string).collect());
                    (peer.clone(), ids)
                })
                .collect(),
            package: redacted(package.clone()),
        }
    }

    fn observed(self, key: &str) -> Result<ObservedChaincode, SnapshotError> {
        let failed = |why: String| SnapshotError::Unreadable(format!("chaincode {key}: {why}"));
        let channel = key.split('/').next().unwrap_or(key);
        let read = |defined: &Defined| -> Result<(Definition, i64), String> {
            // The call is made as a peer gets it, with the bytes of the snapshot in it.
            let mut call: Call = commit_call(channel, &Definition::new("x", "x"), 1);
            if let Some(place) = call.args.get_mut(1) {
                place.clone_from(&defined.definition.0);
            }
            match LifecycleCall::of(&call) {
                Ok(Some(LifecycleCall::Commit { definition, sequence })) => Ok((definition, sequence)),
                Ok(_) => Err("it is no definition".to_owned()),
                Err(error) => Err(chain(&error)),
            }
        };
        let committed = self.committed.try_map(|defined| {
            let (definition, sequence) = read(&defined)?;
            Ok(Committed { sequence, definition, approvals: defined.approvals })
        });
        let approvals = self.approvals.into_iter().map(|(msp_id, seen)| {
            let seen = seen.try_map(|defined| {
                let (definition, sequence) = read(&defined)?;
                let package_id = defined.package.as_ref().map(|id| id.parse().map_err(|error| chain(&error)));
                Ok(Approved { sequence, definition, package_id: package_id.transpose()? })
            });
            (msp_id, seen)
        });
        let mut installed = BTreeMap::new();
        for (peer, seen) in self.installed {
            let ids = seen.try_map(|ids| {
                ids.iter().map(|id| id.parse().map_err(|error| chain(&error))).collect::<Result<BTreeSet<_>, String>>()
            });
            installed.insert(peer, ids);
        }
        if let Observation::Unreachable { evidence } = &committed
            && evidence != REDACTED
        {
            return Err(failed(evidence.clone()));
        }
        Ok(ObservedChaincode {
            committed,
            author: None,
            approvals: approvals.collect(),
            readiness: self.readiness,
            installed,
            package: self.package,
        })
    }
}

impl SignedSnapshot {
    /// Signs a snapshot.
    pub fn sign(snapshot: &Snapshot, identity: &SigningIdentity) -> Result<Self, SnapshotError> {
        let text = serde_json::to_string(snapshot).map_err(|error| SnapshotError::Unreadable(error.to_string()))?;
        let signature = identity.sign(&signed(&text))?;
        Ok(Self {
            api_version: API_VERSION.to_owned(),
            kind: KIND.to_owned(),
            snapshot: text,
            identity: Blob(identity.creator().to_vec()),
            signature: Blob(signature),
        })
    }

    /// Reads a document.
    pub fn read(bytes: &[u8]) -> Result<Self, SnapshotError> {
        let read: Self = serde_json::from_slice(bytes).map_err(|error| SnapshotError::Unreadable(error.to_string()))?;
        if read.api_version == API_VERSION && read.kind == KIND {
            Ok(read)
        } else {
            Err(SnapshotError::Unreadable(format!("{} {}", read.api_version, read.kind)))
        }
    }

    /// The snapshot, and who signed it, if an identity did that one of these enrolment roots (PEM) vouches for.
    pub fn verify(&self, roots: &str) -> Result<(Snapshot, String), SnapshotError> {
        let failed = |why: String| SnapshotError::Signature(why);
        let (identity, signature) = (self.identity.0.clone(), self.signature.0.clone());
        let public = PublicIdentity::from_creator(&identity).map_err(|error| failed(chain(&error)))?;
        let judge = judge(&public.msp_id, roots)?;
        let signer = judge
            .signer(&SignedBytes { data: signed(&self.snapshot), identity, signature })
            .map_err(|error| failed(chain(&error)))?;
        if let Some(problem) = &signer.problem {
            return Err(failed(problem.to_string()));
        }
        let snapshot =
            serde_json::from_str(&self.snapshot).map_err(|error| SnapshotError::Unreadable(error.to_string()))?;
        Ok((snapshot, format!("{} ({})", signer.msp_id, signer.certificate.subject)))
    }
}

fn signed(text: &str) -> Vec<u8> {
    [DOMAIN, text.as_bytes()].concat()
}

/// Judges identities of an MSP with these roots.
fn judge(msp_id: &str, roots: &str) -> Result<Judge, SnapshotError> {
    let failed = |error: &dyn std::error::Error| SnapshotError::Roots(chain(error));
    let certificates = CertificateInfo::all_from_pem(roots).map_err(|error| failed(&error))?;
    let pems = certificates.iter().map(|certificate| certificate.to_pem().map(Pem::new));
    let root_certs: Vec<Pem> = pems.collect::<Result<_, _>>().map_err(|error| failed(&error))?;
    if root_certs.is_empty() {
        return Err(SnapshotError::Roots("there is no certificate in it".to_owned()));
    }
    let msp = MspDefinition {
        msp_id: msp_id.to_owned(),
        root_certs,
        intermediate_certs: Vec::new(),
        admins: Vec::new(),
        revocation_list: Vec::new(),
        organizational_units: Vec::new(),
        tls_root_certs: Vec::new(),
        tls_intermediate_certs: Vec::new(),
        node_ous: Some(NodeOus::usual(None)),
        crypto: None,
    };
    let nobody = Consensus::EtcdRaft { consenters: Vec::new(), options: RaftOptions::default() };
    let mut config = ChannelConfig::new(nobody);
    let policies = defaults::application_organization(msp_id);
    let organization = ApplicationOrganization { msp, anchors: Vec::new(), policies };
    config.application.organizations.insert("signer".to_owned(), organization);
    Ok(Judge::new(&config))
}

#[cfg(test)]
mod tests {
    use tenter_fabric::ca::{
        Authority, CertificateRequest, CertificateRoot, LEAF_LIFETIME, ROOT_LIFETIME, Role, RootKind, Usage,
    };

    use super::*;
    use crate::desired::{Desired, desired};
    use crate::document::{RepositoryFacts, load};
    use crate::model::{Certificates, converged};
    use crate::planner::plan;
    use crate::settings::Settings;

    const TEXT: &str = "apiVersion: tenter.dev/v1alpha1\nkind: Network\nmetadata: {name: trade}\nspec:\n  organizations:\n    \
                        - {name: hub, orderers: [orderer1]}\n    - {name: acme, peers: [peer1]}\n  channels:\n    \
                        - {name: settlement, members: [acme]}\n  chaincodes:\n    \
                        - {name: asset, channel: settlement, version: v1, source: {image: \"ghcr.io/example/asset:1\"}}\n";

    fn wanted(text: &str) -> Desired {
        let network = load(text.as_bytes(), "network.yaml", &RepositoryFacts::default()).network.unwrap();
        desired(&network, &Settings::of_definitions("trade", "tenter-system", &[&network]))
    }

    fn taken() -> Timestamp {
        "2026-05-01T12:00:00Z".parse().unwrap()
    }

    fn snapshot() -> (Desired, Observed, Snapshot) {
        let desired = wanted(TEXT);
        let world = converged(&desired, &Certificates::of(&[&desired]).unwrap()).unwrap();
        let snapshot = Snapshot::of(&desired, Some("0123abc"), &world, taken());
        (desired, world, snapshot)
    }

    /// The signer of another organization's root: the same names, another key.
    fn identity() -> (SigningIdentity, String) {
        let mut random = getrandom::rand_core::UnwrapErr(getrandom::SysRng);
        let root =
            CertificateRoot::generate(RootKind::Enrolment, "acme.trade", ROOT_LIFETIME, taken(), &mut random).unwrap();
        let authority = Authority::load(&root).unwrap();
        let request = CertificateRequest {
            common_name: "reader.acme.trade".to_owned(),
            usage: Usage::Enrolment(Role::Client),
            lifetime: LEAF_LIFETIME,
        };
        let issued = authority.issue(&request, taken(), &mut random).unwrap();
        (SigningIdentity::load("AcmeMSP", &issued.cert_pem, &issued.key_pem).unwrap(), root.cert_pem)
    }

    #[test]
    fn a_plan_from_a_snapshot_is_the_plan_from_the_world() {
        let (desired, world, snapshot) = snapshot();
        let text = serde_json::to_string(&snapshot).unwrap();
        let seen = serde_json::from_str::<Snapshot>(&text).unwrap().observed().unwrap();
        assert_eq!(plan(&desired, &seen, None).steps.len(), 0);
        let more =
            wanted(&TEXT.replace("peers: [peer1]", "peers: [peer1, peer2]").replace("version: v1", "version: v2"));
        let (mut world, mut seen) = (world, seen);
        for observed in [&mut world, &mut seen] {
            crate::model::look(observed, &more, "it is new");
        }
        assert_eq!(plan(&more, &seen, None).steps, plan(&more, &world, None).steps);
    }

    #[test]
    fn what_is_nobodys_business_is_left_out() {
        let (desired, mut world, _) = snapshot();
        let live = world.objects.values_mut().next().unwrap();
        live.conditions[0].message = "the Pod says: s3cret".to_owned();
        let channel = world.channels.get_mut("settlement").unwrap();
        channel.signatures.insert("00".to_owned(), vec![Blob(b"s3cret".to_vec())]);
        channel.genesis = Observation::Unreachable { evidence: "s3cret".to_owned() };
        let text = serde_json::to_string(&Snapshot::of(&desired, None, &world, taken())).unwrap();
        assert!(!text.contains("s3cret") && !text.contains(&hex::encode("s3cret")), "{text}");
        assert!(!text.contains("PRIVATE KEY"));
    }

    #[test]
    fn only_who_has_the_roots_key_is_believed() {
        let (_, _, snapshot) = snapshot();
        let ((signer, roots), (stranger, _)) = (identity(), identity());
        let good = SignedSnapshot::sign(&snapshot, &signer).unwrap();
        let bytes = serde_json::to_vec(&good).unwrap();
        let (read, by) = SignedSnapshot::read(&bytes).unwrap().verify(&roots).unwrap();
        assert_eq!(read, snapshot);
        assert!(by.starts_with("AcmeMSP (") && by.contains("reader.acme.trade"), "{by}");
        let forged = SignedSnapshot::sign(&snapshot, &stranger).unwrap();
        assert!(matches!(forged.verify(&roots), Err(SnapshotError::Signature(_))));
        let mut changed = good.clone();
        changed.snapshot = changed.snapshot.replace("tenter-system", "tenter-sysxem");
        assert!(matches!(changed.verify(&roots), Err(SnapshotError::Signature(_))));
        assert!(matches!(good.verify("no certificate"), Err(SnapshotError::Roots(_))));
        let other = SignedSnapshot { api_version: "v9".to_owned(), ..good };
        assert!(SignedSnapshot::read(&serde_json::to_vec(&other).unwrap()).is_err());
    }
}
