//! For tests: a channel on Fabric processes, and what the controllers do about it without a Kubernetes in between.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tenter_consortium::objects::{
    Batch, Capabilities, ChannelConsensus, ChannelMember, ChannelPolicies, ChannelSpec, ConsensusType, ConsenterRef,
    MembershipRole, MembershipSpec, OrdererOrganization,
};
use tenter_consortium::observed::NodeRef;
use tenter_consortium::repository::material::config_map;
use tenter_consortium::status::{ChannelPhase, MembershipPhase};
use tenter_fabric::ca::{Issued, Role};
use tenter_fabric::client::{Dialer, DirectDialer, Target};
use tenter_fabric_testnet::{Kind, Node as Process, NodeOptions, Organization, Programs};

use crate::controllers::channel::config::ProposalSeen;
use crate::controllers::channel::{decide, form};
use crate::controllers::membership::{decide as member, join};
use crate::nodes::dial::Route;
use crate::nodes::memory::MemoryStore;
use crate::nodes::store::Entries;
use crate::nodes::{Node, NodeKind, Nodes};

pub const SYSTEM: &str = "system";
pub const CHANNEL: &str = "trade";
pub const CONFIG_YAML: &str = "NodeOUs:
  Enable: true
  ClientOUIdentifier: {OrganizationalUnitIdentifier: client}
  PeerOUIdentifier: {OrganizationalUnitIdentifier: peer}
  AdminOUIdentifier: {OrganizationalUnitIdentifier: admin}
  OrdererOUIdentifier: {OrganizationalUnitIdentifier: orderer}
";

/// Leads from the ports inside Pods to the ports of processes.
#[derive(Default)]
pub struct Table {
    nodes: BTreeMap<NodeRef, BTreeMap<Target, SocketAddr>>,
}

impl Route for Table {
    fn dialer(&self, node: &NodeRef) -> Arc<dyn Dialer> {
        Arc::new(DirectDialer::new(self.nodes.get(node).cloned().unwrap_or_default()))
    }
}

fn entries<const N: usize>(entries: [(&str, &str); N]) -> Entries {
    entries.into_iter().map(|(key, value)| (key.to_owned(), value.as_bytes().to_vec())).collect()
}

/// A certificate with its key, as a Secret holds them.
pub fn pair(issued: &Issued) -> Entries {
    entries([("tls.crt", &issued.cert_pem), ("tls.key", issued.key_pem.expose_pem())])
}

fn namespace(organization: &str) -> String {
    format!("trade-{organization}")
}

/// Where a node of an organization is.
pub fn reference(organization: &str, name: &str) -> NodeRef {
    NodeRef { namespace: namespace(organization), name: name.to_owned() }
}

/// Three orderers of hub, a peer of acme, and a channel between them.
pub struct World {
    pub store: Arc<MemoryStore>,
    pub nodes: Arc<Nodes>,
    pub spec: ChannelSpec,
    pub processes: BTreeMap<NodeRef, Process>,
    pub hub: Organization,
    pub acme: Organization,
    /// What the channel's controller sees of proposals.
    pub proposals: Vec<ProposalSeen>,
    pub folder: TempDir,
}

/// Puts an organization's public MSP and identities where the controllers keep them.
pub fn enrol(store: &MemoryStore, organization: &Organization) -> Issued {
    let namespace = namespace(&organization.name);
    let msp = entries([
        ("cacerts.pem", &organization.roots.enrolment.cert_pem),
        ("tlscacerts.pem", &organization.roots.tls.cert_pem),
        ("config.yaml", CONFIG_YAML),
    ]);
    // Where daemons that do not act for it find the same.
    store.put_config_map(SYSTEM, &config_map("trade", &organization.name), msp.clone());
    store.put_config_map(&namespace, "msp", msp);
    let admin = organization.enrol("node-admin", Role::Client).unwrap();
    let reader = organization.enrol("reader", Role::Client).unwrap();
    store.put_secret(&namespace, "identity-node-admin", pair(&admin));
    store.put_secret(&namespace, "identity-reader", pair(&reader));
    let administrator = organization.enrol("config-admin", Role::Admin).unwrap();
    store.put_secret(&namespace, "identity-config-admin", pair(&administrator));
    store.put_secret(&namespace, "client-operations", pair(&organization.tls_client("operations").unwrap()));
    admin
}

pub async fn start(
    folder: &Path,
    organizations: &[(&Organization, &Issued)],
    plan: &[(usize, Kind, &str)],
) -> BTreeMap<NodeRef, Process> {
    let programs = Programs::find().unwrap();
    println!("{}", programs.describe());
    let mut processes = BTreeMap::new();
    for (index, kind, name) in plan {
        let (organization, admin) = organizations[*index];
        let options = NodeOptions {
            administrators: vec![admin.cert_pem.clone()],
            more_tls_roots: organizations.iter().map(|(other, _)| other.roots.tls.cert_pem.clone()).collect(),
            ..NodeOptions::default()
        };
        let mut process = Process::create(&programs, folder, organization, *kind, name, &options).unwrap();
        process.start().await.unwrap();
        processes.insert(reference(&organization.name, name), process);
    }
    processes
}

pub fn table<'a>(processes: impl IntoIterator<Item = (impl std::borrow::Borrow<NodeRef>, &'a Process)>) -> Table {
    let address = |target: &Target| format!("{}:{}", target.host, target.port).parse::<SocketAddr>().unwrap();
    let nodes = processes
        .into_iter()
        .map(|(reference, process)| {
            let reference = reference.borrow();
            let host = format!("{}.{}.svc", reference.name, reference.namespace);
            let ports = match process.kind {
                Kind::Orderer => vec![(7050, &process.address), (7053, &process.admin), (9443, &process.operations)],
                Kind::Peer => vec![(7051, &process.address), (9443, &process.operations)],
            };
            let ports = ports.into_iter().map(|(port, target)| (Target::new(host.clone(), port), address(target)));
            (reference.clone(), ports.collect())
        })
        .collect();
    Table { nodes }
}

fn spec(hub: &Organization, members: &[&Organization], processes: &BTreeMap<NodeRef, Process>) -> ChannelSpec {
    let address = |reference: &NodeRef| processes[reference].address.to_string();
    let orderers: Vec<NodeRef> =
        processes.iter().filter(|(_, process)| process.kind == Kind::Orderer).map(|(node, _)| node.clone()).collect();
    let named = |policies: &[(&str, &str)]| -> BTreeMap<String, String> {
        policies.iter().map(|(name, rule)| ((*name).to_owned(), (*rule).to_owned())).collect()
    };
    let usual = [("Readers", "ANY Readers"), ("Writers", "ANY Writers"), ("Admins", "MAJORITY Admins")];
    ChannelSpec {
        consortium: "trade".to_owned(),
        channel: CHANNEL.to_owned(),
        organizer: hub.name.clone(),
        consensus: ChannelConsensus {
            consensus_type: ConsensusType::EtcdRaft,
            consenters: orderers
                .iter()
                .map(|node| ConsenterRef {
                    organization: hub.name.clone(),
                    namespace: node.namespace.clone(),
                    orderer: node.name.clone(),
                    address: address(node),
                })
                .collect(),
            released: Vec::new(),
            options: BTreeMap::new(),
        },
        orderer_organizations: vec![OrdererOrganization {
            organization: hub.name.clone(),
            msp_id: hub.msp_id.clone(),
            namespace: namespace(&hub.name),
            endpoints: orderers.iter().map(address).collect(),
        }],
        members: members
            .iter()
            .map(|member| ChannelMember {
                organization: member.name.clone(),
                msp_id: member.msp_id.clone(),
                namespace: namespace(&member.name),
                peers: vec!["peer1".to_owned()],
                anchors: vec![address(&reference(&member.name, "peer1"))],
            })
            .collect(),
        policies: ChannelPolicies {
            channel: named(&usual),
            orderer: named(&[usual.as_slice(), &[("BlockValidation", "ANY Writers")]].concat()),
            application: named(
                &[
                    usual.as_slice(),
                    &[("Endorsement", "MAJORITY Endorsement"), ("LifecycleEndorsement", "MAJORITY Endorsement")],
                ]
                .concat(),
            ),
        },
        acls: BTreeMap::new(),
        capabilities: Capabilities {
            channel: "V3_0".to_owned(),
            orderer: "V2_0".to_owned(),
            application: "V2_5".to_owned(),
        },
        retired: Vec::new(),
        genesis_hash: None,
        batch: Batch {
            max_message_count: 500,
            absolute_max_bytes: 10 << 20,
            preferred_max_bytes: 2 << 20,
            timeout: "2s".to_owned(),
        },
    }
}

impl World {
    /// Starts the nodes; nothing has joined.
    pub async fn new() -> Self {
        Self::with_peers_of(&[]).await
    }

    /// The same with more members, each with a peer; nothing has joined.
    pub async fn with_peers_of(names: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(MemoryStore::default());
        let hub = Organization::new("hub").unwrap();
        let members: Vec<Organization> =
            std::iter::once("acme").chain(names.iter().copied()).map(|name| Organization::new(name).unwrap()).collect();
        let all: Vec<&Organization> = std::iter::once(&hub).chain(&members).collect();
        let admins: Vec<Issued> = all.iter().map(|organization| enrol(&store, organization)).collect();
        let mut plan =
            vec![(0, Kind::Orderer, "orderer1"), (0, Kind::Orderer, "orderer2"), (0, Kind::Orderer, "orderer3")];
        plan.extend((1..all.len()).map(|index| (index, Kind::Peer, "peer1")));
        let organizations: Vec<(&Organization, &Issued)> = all.iter().copied().zip(&admins).collect();
        let processes = start(folder.path(), &organizations, &plan).await;
        for (node, process) in &processes {
            store.put_secret(&node.namespace, &format!("{}-tls", node.name), pair(&process.tls));
            store.put_secret(&node.namespace, &format!("{}-enrolment", node.name), pair(&process.enrolment));
        }
        let nodes = Arc::new(Nodes::new(Arc::clone(&store) as _, Arc::new(table(&processes))));
        let spec = spec(&hub, &all[1..], &processes);
        let acme = members[0].clone();
        Self { spec, store, nodes, processes, hub, acme, proposals: Vec::new(), folder }
    }

    /// The same with more members, which run no peers; nothing has joined.
    pub async fn with_members(names: &[&str]) -> Self {
        let mut world = Self::new().await;
        for name in names {
            let organization = Organization::new(name).unwrap();
            enrol(&world.store, &organization);
            world.spec.members.push(ChannelMember {
                organization: organization.name.clone(),
                msp_id: organization.msp_id.clone(),
                namespace: namespace(&organization.name),
                peers: Vec::new(),
                anchors: Vec::new(),
            });
        }
        world
    }

    /// The consenters.
    pub fn own(&self) -> Vec<Node> {
        form::own_consenters(&self.spec, &["*".to_owned()])
    }

    /// What is seen of the channel.
    pub async fn look(&self) -> form::Seen {
        let parties = form::Parties { own: self.own(), ..form::Parties::default() };
        form::look(&self.nodes, SYSTEM, &self.spec, parties, &self.proposals).await
    }

    /// One reconciliation of the channel: looks, decides, and does at most the first `most` actions.
    pub async fn channel(&self, most: usize) -> decide::Decision {
        let seen = self.look().await;
        let decision = decide::decide(&seen.view);
        for action in decision.actions.iter().take(most) {
            form::perform(&self.nodes, SYSTEM, &self.spec, &seen, action).await.unwrap();
        }
        decision
    }

    /// One reconciliation of acme's membership.
    pub async fn membership(&self) -> member::Decision {
        self.membership_of(&self.spec.members[0]).await
    }

    /// Reconciles a member's membership until its peer serves the channel.
    pub async fn joined(&self, member: &ChannelMember) {
        let end = Instant::now() + Duration::from_mins(1);
        loop {
            let decision = self.membership_of(member).await;
            if decision.phase == MembershipPhase::Active {
                return;
            }
            assert!(Instant::now() < end, "{decision:?}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    async fn membership_of(&self, member: &ChannelMember) -> member::Decision {
        let spec = MembershipSpec {
            consortium: self.spec.consortium.clone(),
            consortium_namespace: SYSTEM.to_owned(),
            channel: CHANNEL.to_owned(),
            organization: member.organization.clone(),
            msp_id: member.msp_id.clone(),
            role: MembershipRole::Follower,
            orderers: Vec::new(),
            peers: member.peers.clone(),
        };
        let peer = reference(&member.organization, "peer1");
        let parties = join::Parties {
            consenters: self.own(),
            peers: vec![Node {
                address: self.processes[&peer].address.to_string(),
                reference: peer,
                kind: NodeKind::Peer,
                msp_id: member.msp_id.clone(),
                foreign: None,
            }],
            ..join::Parties::default()
        };
        let seen = join::look(&self.nodes, SYSTEM, &spec, parties).await;
        let decision = member::decide(&seen.view);
        for action in &decision.actions {
            join::perform(&self.nodes, &spec, &seen, action).await.unwrap();
        }
        decision
    }

    /// Reconciles the channel until it is in this phase with nothing left to do.
    pub async fn until(&self, phase: ChannelPhase) -> decide::Decision {
        let end = Instant::now() + Duration::from_mins(1);
        loop {
            let decision = self.channel(usize::MAX).await;
            if decision.phase == phase && decision.actions.is_empty() {
                return decision;
            }
            assert!(Instant::now() < end, "{phase}: {decision:?}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}
