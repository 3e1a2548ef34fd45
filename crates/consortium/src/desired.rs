//! The objects that should exist, for the organizations that one daemon acts for.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::Value;
use tenter_fabric::policy::SignaturePolicy;

use crate::chaincode;
use crate::channel_config::chain as config_chain;
use crate::definition::{ChaincodeEntry, CollectionEntry};
use crate::document::Blob;
use crate::network::{self, Chaincode, Channel, Network, Node, Organization, Retired, RetiredTarget};
use crate::objects::{
    ApprovalSettings, CertificateAuthoritySpec, ChaincodeCollection, ChaincodeMember, ChaincodeSourceSpec,
    ChaincodeSpec, ChannelConsensus, ChannelMember, ChannelPolicies, ChannelSpec, ConsensusType, ConsenterRef, Kind,
    LABEL_CHANNEL, LABEL_CONSORTIUM, LABEL_NODE, LABEL_ORGANIZATION, MembershipRole, MembershipSpec, NodeSpec,
    ObjectRef, OrdererOrganization, OrganizationSpec, ReleasedOrderer,
};
use crate::observed::{ChannelFacts, NodeRef};
use crate::plan::Origin;
use crate::repository::approval::Approval;
use crate::repository::{self, Founded, Repository, founding, material};
use crate::settings::{
    Settings, image_allowed, namespace_allowed, organization_allowed, server_allowed, subject_allowed,
};

/// Everything that should exist.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Desired {
    /// Name of the consortium.
    pub consortium: String,
    /// Namespace of the consortium.
    pub namespace: String,
    /// The organizations that the daemon acts for.
    pub organizations: BTreeSet<String>,
    /// Whether the daemon makes missing namespaces.
    pub create_namespaces: bool,
    /// The namespaces of the organizations.
    pub namespaces: BTreeMap<String, DesiredNamespace>,
    /// The objects.
    pub objects: BTreeMap<ObjectRef, DesiredObject>,
    /// The channels that the organizations take part in.
    pub channels: BTreeMap<String, DesiredChannel>,
    /// Channels of the file that it releases an own organization from and has no other own one in.
    pub leaving: BTreeMap<String, DesiredLeaving>,
    /// What the daemon's settings say it acts for: names, or `*`.
    pub scope: Vec<String>,
    /// Names of all organizations of the file, those of other daemons too.
    pub all_organizations: BTreeSet<String>,
    /// Names of all channels of the file, those of other daemons too.
    pub all_channels: BTreeSet<String>,
    /// The chaincodes of channels that the organizations take part in, as `channel/chaincode`.
    pub chaincodes: BTreeMap<String, DesiredChaincode>,
    /// Names of all chaincodes of the file, as `channel/chaincode`, those of other daemons too.
    pub all_chaincodes: BTreeSet<String>,
    /// What the repository holds of other daemons' organizations, by the name of its ConfigMap.
    pub materials: BTreeMap<String, DesiredMaterial>,
    /// What the file releases.
    pub retired: Vec<Retired>,
    /// What the daemon's settings do not allow.
    pub refusals: Vec<Refusal>,
    /// Whether what cannot be undone waits for an approval, and what was approved.
    pub approvals: ApprovalSettings,
    /// The approvals in the repository that were found to be signed by those they name (`repository::approval::given`).
    pub given: Vec<Approval>,
}

/// A namespace that should exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DesiredNamespace {
    /// The organization that it belongs to.
    pub organization: String,
    /// What in the file asks for it.
    pub origins: Vec<Origin>,
    /// Why it must not be made or used.
    pub blocked: Option<String>,
}

/// An object that should exist.
#[derive(Clone, Debug, PartialEq)]
pub struct DesiredObject {
    /// The organization that it belongs to; none for a channel.
    pub organization: Option<String>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its spec.
    pub spec: Value,
    /// What in the file asks for it.
    pub origins: Vec<Origin>,
    /// Why it must not be written.
    pub blocked: Option<String>,
}

/// A channel, as far as more than its object is concerned.
#[derive(Clone, Debug, PartialEq)]
pub struct DesiredChannel {
    /// Its object.
    pub object: ObjectRef,
    /// Its configuration.
    pub facts: ChannelFacts,
    /// Own orderers that should be consenters.
    pub orderers: Vec<NodeRef>,
    /// Own peers that should have joined, by their organization's namespace and name.
    pub peers: Vec<NodeRef>,
    /// Where members are hosted elsewhere: the genesis block that the repository pins, or why there is none to join.
    pub founding: Option<Result<Founded, String>>,
    /// What in the file asks for it.
    pub origins: Vec<Origin>,
}

/// A channel that own organizations leave, as far as it is kept here: nothing is made of one that is not there.
#[derive(Clone, Debug, PartialEq)]
pub struct DesiredLeaving {
    /// Its object.
    pub object: ObjectRef,
    /// What its object says until the channel does without them.
    pub wanted: DesiredObject,
}

/// An organization's public material, as its ConfigMap in the consortium's namespace holds it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DesiredMaterial {
    /// The organization.
    pub organization: String,
    /// The labels.
    pub labels: BTreeMap<String, String>,
    /// The entries.
    pub entries: BTreeMap<String, Blob>,
    /// Why it must not be taken, whatever the time.
    pub refused: Option<String>,
    /// What in the file asks for it.
    pub origins: Vec<Origin>,
}

/// A chaincode, as far as more than its object is concerned.
#[derive(Clone, Debug, PartialEq)]
pub struct DesiredChaincode {
    /// Its object.
    pub object: ObjectRef,
    /// What the object should say.
    pub spec: ChaincodeSpec,
    /// The package, if it comes from the repository: what its ConfigMap holds.
    pub package: Option<Blob>,
    /// What in the file asks for it.
    pub origins: Vec<Origin>,
}

/// Something that the file asks for and the daemon's own settings do not allow.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Refusal {
    /// What is refused, for example `namespace trade-acme`.
    pub subject: String,
    /// Why, and which setting would allow it.
    pub message: String,
}

/// What should exist, of `network`, where a daemon with these settings acts.
pub fn desired(network: &Network, settings: &Settings) -> Desired {
    let mut builder = Builder {
        network,
        repository: repository::read(&network.repository.members).0,
        settings,
        desired: Desired {
            consortium: settings.consortium.clone(),
            namespace: settings.namespace.clone(),
            create_namespaces: settings.namespaces.create,
            scope: settings.organizations.clone(),
            all_organizations: network.organizations.iter().map(|organization| organization.name.clone()).collect(),
            all_channels: network.channels.iter().map(|channel| channel.name.clone()).collect(),
            all_chaincodes: network
                .chaincodes
                .iter()
                .map(|chaincode| format!("{}/{}", chaincode.entry.channel, chaincode.entry.name))
                .collect(),
            retired: network.retired.clone(),
            approvals: settings.approvals.clone(),
            ..Desired::default()
        },
    };
    builder.choose_organizations();
    for organization in &network.organizations {
        if builder.desired.organizations.contains(&organization.name) {
            builder.organization(organization);
        }
    }
    for channel in &network.channels {
        if channel.participants().iter().any(|name| builder.desired.organizations.contains(*name)) {
            builder.channel(channel);
        } else {
            builder.leaving(channel);
        }
    }
    for chaincode in &network.chaincodes {
        if builder.desired.channels.contains_key(&chaincode.entry.channel) {
            builder.chaincode(chaincode);
        }
    }
    builder.desired
}

struct Builder<'a> {
    network: &'a Network,
    repository: Repository,
    settings: &'a Settings,
    desired: Desired,
}

impl Builder<'_> {
    fn refuse(&mut self, subject: String, message: String) -> String {
        self.desired.refusals.push(Refusal { subject, message: message.clone() });
        message
    }

    fn choose_organizations(&mut self) {
        let allowed = &self.settings.organizations;
        if allowed.iter().any(|name| name == "*") && !self.network.repository.organizations.is_empty() {
            self.refuse(
                "organizations *".to_owned(),
                "the repository has an `organizations/` folder, so members are hosted by several daemons: name this \
                 daemon's organizations in the Consortium's spec.organizations instead of `*`"
                    .to_owned(),
            );
            self.desired.scope.clear();
            return;
        }
        // One that the file releases is acted for until it has left.
        let is_released = |name: &String| {
            let mut retired = self.network.retired.iter();
            retired.any(|retired| matches!(&retired.target, RetiredTarget::Organization(other) if other == name))
        };
        let named = allowed.iter().filter(|name| *name != "*" && self.network.organization(name).is_none());
        for name in named.filter(|name| !is_released(name)) {
            self.desired.refusals.push(Refusal {
                subject: format!("organization {name}"),
                message: "the Consortium's spec.organizations names it and the definition does not: correct the one or the other"
                    .to_owned(),
            });
        }
        let own =
            self.network.organizations.iter().filter(|organization| organization_allowed(&organization.name, allowed));
        self.desired.organizations = own.map(|organization| organization.name.clone()).collect();
    }

    fn labels(&self, labels: &[(&str, &str)]) -> BTreeMap<String, String> {
        std::iter::once((LABEL_CONSORTIUM, self.settings.consortium.as_str()))
            .chain(labels.iter().copied())
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect()
    }

    fn namespace(&mut self, organization: &Organization) -> Option<String> {
        let namespace = &organization.namespace;
        let name = &organization.name;
        let reason = if *namespace == self.settings.namespace {
            Some(format!("it is the consortium's own namespace: give organization {name} another `namespace`"))
        } else if namespace_allowed(namespace, &self.settings.namespaces) {
            None
        } else {
            Some(format!(
                "the Consortium's spec.namespaces.allowed does not allow it: add it there, or give organization {name} \
                 a `namespace` that is allowed"
            ))
        };
        let blocked = reason.map(|reason| {
            let message = self.refuse(format!("namespace {namespace}"), reason);
            format!("namespace {namespace} is not allowed: {message}")
        });
        let entry = DesiredNamespace {
            organization: organization.name.clone(),
            origins: vec![organization.origin.clone()],
            blocked: blocked.clone(),
        };
        self.desired.namespaces.insert(namespace.clone(), entry);
        blocked
    }

    fn organization(&mut self, organization: &Organization) {
        let Organization { name, msp_id, domain, namespace, quota, origin, .. } = organization;
        let blocked = self.namespace(organization);
        let mut admins = Vec::new();
        for subject in &organization.admins {
            if subject_allowed(subject, &self.settings.subjects) {
                admins.push(subject.clone());
            } else {
                self.refuse(
                    format!("{:?} {}", subject.kind, subject.name),
                    format!(
                        "the Consortium's spec.subjects does not allow it, so it is not made an administrator of \
                         organization {name}: add it there, or remove it from `admins`"
                    ),
                );
            }
        }
        let labels = self.labels(&[(LABEL_ORGANIZATION, name)]);
        let add = |desired: &mut Desired, kind, namespace: &str, object_name: &str, spec: Option<Value>| {
            let object = ObjectRef { kind, namespace: namespace.to_owned(), name: object_name.to_owned() };
            let entry = DesiredObject {
                organization: Some(name.clone()),
                labels: labels.clone(),
                spec: spec.unwrap_or_default(),
                origins: vec![origin.clone()],
                blocked: blocked.clone(),
            };
            desired.objects.insert(object, entry);
        };
        let spec = OrganizationSpec {
            consortium: self.settings.consortium.clone(),
            msp_id: msp_id.clone(),
            domain: domain.clone(),
            namespace: namespace.clone(),
            admins,
            quota: quota.clone(),
        };
        add(&mut self.desired, Kind::Organization, &self.settings.namespace, name, serde_json::to_value(spec).ok());
        let spec = CertificateAuthoritySpec {
            organization: name.clone(),
            msp_id: msp_id.clone(),
            domain: domain.clone(),
            authority_type: organization.authority_type,
            certificate_lifetime_hours: organization.certificate_lifetime_hours,
            root_lifetime_hours: organization.root_lifetime_hours,
        };
        add(&mut self.desired, Kind::CertificateAuthority, namespace, "ca", serde_json::to_value(spec).ok());
        for (kind, nodes) in [(Kind::Orderer, &organization.orderers), (Kind::Peer, &organization.peers)] {
            for node in nodes {
                self.node(organization, kind, node, blocked.as_ref());
            }
        }
    }

    fn node(&mut self, organization: &Organization, kind: Kind, node: &Node, blocked: Option<&String>) {
        let Node { name, address, image, resources, storage, expose, origin } = node;
        let mut blocked = blocked.cloned();
        if !image_allowed(image, &self.settings.images) {
            let message = format!(
                "the Consortium's spec.images.allowed does not allow {image}: add its repository there, or set \
                 spec.fabric.images to one that is allowed"
            );
            let message = self.refuse(format!("{kind} {}/{name}", organization.name), message);
            blocked.get_or_insert(message);
        }
        let spec = NodeSpec {
            organization: organization.name.clone(),
            msp_id: organization.msp_id.clone(),
            domain: organization.domain.clone(),
            address: address.clone(),
            image: image.clone(),
            version: organization.version.clone(),
            resources: resources.clone(),
            storage: storage.clone(),
            expose: *expose,
        };
        let object = ObjectRef { kind, namespace: organization.namespace.clone(), name: name.clone() };
        let entry = DesiredObject {
            organization: Some(organization.name.clone()),
            labels: self.labels(&[(LABEL_ORGANIZATION, &organization.name), (LABEL_NODE, name)]),
            spec: serde_json::to_value(spec).unwrap_or_default(),
            origins: vec![origin.clone()],
            blocked,
        };
        self.desired.objects.insert(object, entry);
    }

    fn channel(&mut self, channel: &Channel) {
        let mut spec = channel_spec(self.network, &self.settings.consortium, channel);
        let elsewhere: Vec<&str> =
            channel.participants().into_iter().filter(|name| !self.desired.organizations.contains(*name)).collect();
        let founding = (!elsewhere.is_empty())
            .then(|| founding(self.network, &channel.name).map_err(|error| config_chain(&error)));
        if !elsewhere.is_empty() {
            let pinned = self.repository.channels.get(&channel.name);
            spec.genesis_hash = pinned.map(|pinned| pinned.note.block_hash.clone());
        }
        for name in elsewhere {
            self.material(name);
        }
        let blocked: Option<String> = None;
        let object =
            ObjectRef { kind: Kind::Channel, namespace: self.settings.namespace.clone(), name: channel.name.clone() };
        let entry = DesiredObject {
            organization: None,
            labels: self.labels(&[(LABEL_CHANNEL, &channel.name)]),
            spec: serde_json::to_value(&spec).unwrap_or_default(),
            origins: vec![channel.origin.clone()],
            blocked: blocked.clone(),
        };
        self.desired.objects.insert(object.clone(), entry);
        let mut wanted = DesiredChannel {
            object,
            facts: channel_facts(&spec),
            orderers: Vec::new(),
            peers: Vec::new(),
            founding,
            origins: vec![channel.origin.clone()],
        };
        for name in channel.participants() {
            let Some(organization) =
                self.network.organization(name).filter(|_| self.desired.organizations.contains(name))
            else {
                continue;
            };
            let membership = self.membership(channel, organization, blocked.as_ref());
            let node = |name: &String| NodeRef { namespace: organization.namespace.clone(), name: name.clone() };
            wanted.orderers.extend(membership.orderers.iter().map(node));
            wanted.peers.extend(membership.peers.iter().map(node));
        }
        self.desired.channels.insert(channel.name.clone(), wanted);
    }

    /// A channel without own organizations, if the file releases one from it. Where it has that organization still, its object
    /// says so until the members have taken it out.
    fn leaving(&mut self, channel: &Channel) {
        let mut spec = channel_spec(self.network, &self.settings.consortium, channel);
        let own: Vec<&String> =
            spec.retired.iter().filter(|name| organization_allowed(name, &self.desired.scope)).collect();
        if own.is_empty() {
            return;
        }
        let origins = self.network.retired.iter().filter(|retired| match &retired.target {
            RetiredTarget::Organization(name) => own.contains(&name),
            RetiredTarget::Member(of, name) => *of == channel.name && own.contains(&name),
            _ => false,
        });
        let origins = origins.map(|retired| retired.origin.clone()).collect();
        spec.genesis_hash = self.repository.channels.get(&channel.name).map(|pinned| pinned.note.block_hash.clone());
        let object =
            ObjectRef { kind: Kind::Channel, namespace: self.settings.namespace.clone(), name: channel.name.clone() };
        let wanted = DesiredObject {
            organization: None,
            labels: self.labels(&[(LABEL_CHANNEL, &channel.name)]),
            spec: serde_json::to_value(&spec).unwrap_or_default(),
            origins,
            blocked: None,
        };
        self.desired.leaving.insert(channel.name.clone(), DesiredLeaving { object, wanted });
    }

    /// What the repository holds of an organization that another daemon acts for.
    fn material(&mut self, name: &str) {
        let (folder, organization) = (self.repository.organizations.get(name), self.network.organization(name));
        let Some((folder, organization)) = folder.zip(organization) else { return };
        let entries = material::entries(folder);
        if entries.is_empty() {
            return;
        }
        let wanted = DesiredMaterial {
            organization: name.to_owned(),
            labels: self.labels(&[(LABEL_ORGANIZATION, name)]),
            entries,
            refused: repository::refusal(self.network, organization, folder),
            origins: vec![organization.origin.clone()],
        };
        self.desired.materials.insert(material::config_map(&self.settings.consortium, name), wanted);
    }

    fn chaincode(&mut self, chaincode: &Chaincode) {
        let Chaincode { entry, origin } = chaincode;
        let Some(channel) = self.network.channel(&entry.channel) else { return };
        let mut spec = chaincode_spec(self.network, &self.settings.consortium, channel, entry);
        let name = chaincode::object_name(&spec.channel, &spec.name);
        let mut blocked = None;
        let (mut package, mut server) = (None, None);
        match chaincode::source(&entry.source, &self.network.repository, &spec, &name) {
            Ok(source) => (spec.source, package, server) = (source.spec, source.package, source.server),
            Err(why) => blocked = Some(why),
        }
        if let Some(image) = spec.source.image.as_ref().filter(|image| !image_allowed(image, &self.settings.images)) {
            let message = format!(
                "the Consortium's spec.images.allowed does not allow {image}: add its repository there, or name another \
                 image"
            );
            let message = self.refuse(format!("chaincode {}/{}", spec.channel, spec.name), message);
            blocked.get_or_insert(message);
        }
        let servers = &self.settings.chaincode_servers;
        if let Some(server) = server.filter(|server| !server_allowed(server, servers)) {
            let message = format!(
                "the Consortium's spec.chaincodeServers does not allow {server}: add it there, or name another address"
            );
            let message = self.refuse(format!("chaincode {}/{}", spec.channel, spec.name), message);
            blocked.get_or_insert(message);
        }
        let object = ObjectRef { kind: Kind::Chaincode, namespace: self.settings.namespace.clone(), name };
        let entry = DesiredObject {
            organization: None,
            labels: self.labels(&[(LABEL_CHANNEL, &spec.channel)]),
            spec: serde_json::to_value(&spec).unwrap_or_default(),
            origins: vec![origin.clone()],
            blocked,
        };
        self.desired.objects.insert(object.clone(), entry);
        let key = format!("{}/{}", spec.channel, spec.name);
        let wanted = DesiredChaincode { object, spec, package, origins: vec![origin.clone()] };
        self.desired.chaincodes.insert(key, wanted);
    }

    fn membership(
        &mut self,
        channel: &Channel,
        organization: &Organization,
        blocked: Option<&String>,
    ) -> MembershipSpec {
        let member = channel.members.iter().find(|member| member.organization == organization.name);
        let own = |(name, _): &&(String, String)| *name == organization.name;
        let spec = MembershipSpec {
            consortium: self.settings.consortium.clone(),
            consortium_namespace: self.settings.namespace.clone(),
            channel: channel.name.clone(),
            organization: organization.name.clone(),
            msp_id: organization.msp_id.clone(),
            role: if channel.organizer == organization.name {
                MembershipRole::Organizer
            } else {
                MembershipRole::Follower
            },
            orderers: channel.consenters.iter().filter(own).map(|(_, orderer)| orderer.clone()).collect(),
            peers: member.map(|member| member.peers.clone()).unwrap_or_default(),
        };
        let object =
            ObjectRef { kind: Kind::Membership, namespace: organization.namespace.clone(), name: channel.name.clone() };
        let namespace = self.desired.namespaces.get(&organization.namespace);
        let refused = namespace.and_then(|namespace| namespace.blocked.clone());
        let entry = DesiredObject {
            organization: Some(organization.name.clone()),
            labels: self.labels(&[(LABEL_ORGANIZATION, &organization.name), (LABEL_CHANNEL, &channel.name)]),
            spec: serde_json::to_value(&spec).unwrap_or_default(),
            origins: vec![member.map_or_else(|| channel.origin.clone(), |member| member.origin.clone())],
            blocked: refused.or_else(|| blocked.cloned()),
        };
        self.desired.objects.insert(object, entry);
        spec
    }
}

/// The Chaincode object's spec, without its source.
fn chaincode_spec(network: &Network, consortium: &str, channel: &Channel, entry: &ChaincodeEntry) -> ChaincodeSpec {
    let msp_id = |name: &String| network.organization(name).map(|organization| organization.msp_id.clone());
    let collection = |entry: &CollectionEntry| ChaincodeCollection {
        name: entry.name.clone(),
        member_msp_ids: entry.members.iter().filter_map(msp_id).collect::<BTreeSet<_>>().into_iter().collect(),
        required_peer_count: entry.required_peer_count.unwrap_or(0),
        max_peer_count: entry.max_peer_count.unwrap_or(1),
        block_to_live: entry.block_to_live.unwrap_or(0),
        member_only_read: entry.member_only_read.unwrap_or(true),
        member_only_write: entry.member_only_write.unwrap_or(true),
        endorsement: entry.endorsement.clone(),
    };
    let mut collections: Vec<ChaincodeCollection> = entry.collections.iter().flatten().map(collection).collect();
    // The ledger keeps an order. One of its own keeps a moved line of the file from being another definition.
    collections.sort_by(|one, other| one.name.cmp(&other.name));
    let members = channel.members.iter().filter(|member| !member.peers.is_empty()).filter_map(|member| {
        let organization = network.organization(&member.organization)?;
        Some(ChaincodeMember {
            organization: organization.name.clone(),
            msp_id: organization.msp_id.clone(),
            namespace: organization.namespace.clone(),
            peers: member.peers.clone(),
        })
    });
    ChaincodeSpec {
        consortium: consortium.to_owned(),
        channel: channel.name.clone(),
        name: entry.name.clone(),
        version: entry.version.clone(),
        source: ChaincodeSourceSpec::default(),
        endorsement: entry.endorsement.clone(),
        collections,
        init_required: entry.init_required.unwrap_or(false),
        members: members.collect(),
    }
}

/// The Channel object's spec.
pub(crate) fn channel_spec(network: &Network, consortium: &str, channel: &Channel) -> ChannelSpec {
    let consenters: Vec<ConsenterRef> = channel
        .consenters
        .iter()
        .filter_map(|(organization, orderer)| {
            let organization = network.organization(organization)?;
            let node = organization.orderers.iter().find(|node| node.name == *orderer)?;
            Some(ConsenterRef {
                organization: organization.name.clone(),
                namespace: organization.namespace.clone(),
                orderer: orderer.clone(),
                address: node.address.clone(),
            })
        })
        .collect();
    let orderer_organizations = channel
        .orderer_organizations()
        .into_iter()
        .filter_map(|name| {
            let organization = network.organization(name)?;
            let own = consenters.iter().filter(|consenter| consenter.organization == name);
            Some(OrdererOrganization {
                organization: name.to_owned(),
                msp_id: organization.msp_id.clone(),
                namespace: organization.namespace.clone(),
                endpoints: own.map(|consenter| consenter.address.clone()).collect(),
            })
        })
        .collect();
    let members = channel
        .members
        .iter()
        .filter_map(|member| {
            let organization = network.organization(&member.organization)?;
            let address = |name: &String| {
                organization.peers.iter().find(|peer| peer.name == *name).map(|peer| peer.address.clone())
            };
            Some(ChannelMember {
                organization: organization.name.clone(),
                msp_id: organization.msp_id.clone(),
                namespace: organization.namespace.clone(),
                peers: member.peers.clone(),
                anchors: member.anchors.iter().filter_map(address).collect(),
            })
        })
        .collect();
    ChannelSpec {
        consortium: consortium.to_owned(),
        channel: channel.name.clone(),
        organizer: channel.organizer.clone(),
        consensus: ChannelConsensus {
            consensus_type: channel.consensus_type,
            released: released_orderers(network, channel),
            consenters,
            options: channel.options.clone(),
        },
        orderer_organizations,
        members,
        policies: channel.policies.clone(),
        acls: channel.acls.clone(),
        capabilities: channel.capabilities.clone(),
        batch: channel.batch.clone(),
        retired: released(network, channel),
        genesis_hash: None,
    }
}

/// The organizations that the file releases from a channel.
fn released(network: &Network, channel: &Channel) -> Vec<String> {
    let released = network.retired.iter().filter_map(|retired| match &retired.target {
        RetiredTarget::Organization(organization) => Some(organization),
        RetiredTarget::Member(name, organization) if *name == channel.name => Some(organization),
        _ => None,
    });
    released.cloned().collect::<BTreeSet<_>>().into_iter().collect()
}

/// The orderers that the file releases, or leaves out of its list of consenters. The address of a released one stands nowhere
/// any more: it is known where it was the usual one.
fn released_orderers(network: &Network, channel: &Channel) -> Vec<ReleasedOrderer> {
    let released = |organization: &Organization, orderer: &str, address: String| ReleasedOrderer {
        organization: organization.name.clone(),
        msp_id: organization.msp_id.clone(),
        namespace: organization.namespace.clone(),
        orderer: orderer.to_owned(),
        address,
    };
    let mut found = BTreeSet::new();
    // Without a list, the consenters follow from who the organizer is: what that moves, nobody has released.
    for organization in network.organizations.iter().filter(|_| channel.consenters_listed) {
        let orders = |name: &String| {
            channel.consenters.iter().any(|(owner, orderer)| *owner == organization.name && orderer == name)
        };
        let idle = organization.orderers.iter().filter(|orderer| !orders(&orderer.name));
        found.extend(idle.map(|orderer| released(organization, &orderer.name, orderer.address.clone())));
    }
    for retired in &network.retired {
        if let RetiredTarget::Orderer(owner, orderer) = &retired.target
            && let Some(organization) = network.organization(owner)
        {
            let address = network::usual_address(orderer, &organization.namespace, network::ORDERER_PORT);
            found.insert(released(organization, orderer, address));
        }
    }
    found.into_iter().collect()
}

/// The ledger configuration that a Channel's spec asks for. With BFT, `BlockValidation` is left out: Fabric computes
/// it from the consenters, whatever was configured.
pub fn channel_facts(spec: &ChannelSpec) -> ChannelFacts {
    let mut policies = spec.policies.clone();
    let ChannelPolicies { channel, orderer, application } = &mut policies;
    for rule in channel.values_mut().chain(orderer.values_mut()).chain(application.values_mut()) {
        // The ledger keeps the tree, not the text: blanks and spellings are as the library writes them.
        if let Ok(policy) = rule.parse::<SignaturePolicy>() {
            *rule = policy.to_string();
        }
    }
    if spec.consensus.consensus_type == ConsensusType::Bft {
        policies.orderer.remove("BlockValidation");
    }
    ChannelFacts {
        consensus_type: spec.consensus.consensus_type,
        consenters: spec.consensus.consenters.iter().map(|consenter| consenter.address.clone()).collect(),
        options: network::all_options(spec.consensus.consensus_type, &spec.consensus.options),
        orderer_organizations: spec
            .orderer_organizations
            .iter()
            .map(|organization| (organization.msp_id.clone(), organization.endpoints.clone()))
            .collect(),
        members: spec.members.iter().map(|member| (member.msp_id.clone(), member.anchors.clone())).collect(),
        policies,
        acls: spec.acls.clone(),
        capabilities: spec.capabilities.clone(),
        batch: spec.batch.clone(),
    }
}
