//! A model of the world: what would be there if a definition had been carried out, without a look at it, and what a plan
//! makes of it.
//!
//! Certificates are what a model cannot know, unless the repository has them (`organizations/`). In their place stand
//! placeholders that say so ([`tenter_fabric::ca::Placeholders`]), so that configurations can be computed and compared all
//! the same.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize as _;
use tenter_fabric::ca::Placeholders;
use tenter_fabric::chaincode::{Approved, Committed};
use tenter_fabric::config::CurrentConfig;
use tenter_fabric::genesis::GenesisFormat;

use crate::chaincode::{self, Progress};
use crate::channel_config::{self, ConsenterMaterial, Material, MspMaterial, chain};
use crate::desired::{Desired, DesiredChaincode, DesiredChannel, desired};
use crate::network::Network;
use crate::objects::{ChannelSpec, Condition, ConsenterRef, Kind};
use crate::observation::Observation;
use crate::observed::{
    JoinRecord, LiveChannel, LiveNamespace, LiveObject, NodeChannel, NodeRef, Observed, ObservedChaincode,
    ObservedChannel, OrdererChannel, PeerChannel, PinnedGenesis,
};
use crate::plan::{Note, NoteLevel, Plan, Step};
use crate::planner;
use crate::repository::{self, OrganizationFolder, compute, founding, refusal};
use crate::settings::Settings;
use crate::values::Address;

/// The roles of an MSP, as the builtin authority names them.
const NODE_OUS: &str = "NodeOUs: {Enable: true, \
                        ClientOUIdentifier: {OrganizationalUnitIdentifier: client}, \
                        PeerOUIdentifier: {OrganizationalUnitIdentifier: peer}, \
                        AdminOUIdentifier: {OrganizationalUnitIdentifier: admin}, \
                        OrdererOUIdentifier: {OrganizationalUnitIdentifier: orderer}}";
/// What is said of things that are not there.
const NOWHERE: &str = "it is not in the model";

/// What keeps a world from being modelled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}: {why}")]
pub struct ModelError {
    /// What it concerns: `channel settlement`.
    pub what: String,
    /// Why.
    pub why: String,
}

/// The certificates that some definitions need: those of organizations whose folders are known, and placeholders.
#[derive(Clone, Debug)]
pub struct Certificates {
    msp: MspMaterial,
    consenters: BTreeMap<NodeRef, ConsenterMaterial>,
    folders: BTreeMap<String, OrganizationFolder>,
}

/// A definition at a revision, as far as plans compare it.
#[derive(Clone, Debug, Default)]
pub struct Revision {
    /// What it asks for.
    pub desired: Desired,
    /// The folders in `organizations/` that can be used, by organization.
    folders: BTreeMap<String, OrganizationFolder>,
    /// Header hashes of genesis blocks, by channel: those that are pinned, else those that the folders give.
    genesis: BTreeMap<String, String>,
}

impl From<Desired> for Revision {
    fn from(desired: Desired) -> Self {
        Self { desired, ..Self::default() }
    }
}

impl Revision {
    /// What a definition and the folders beside it ask for, where a daemon with these settings acts.
    pub fn of(network: &Network, settings: &Settings) -> Self {
        let (repository, _) = repository::read(&network.repository.members);
        let hash = |name: &String| {
            let founded = if repository.channels.contains_key(name) {
                founding(network, name)
            } else {
                compute(network, &repository, name, GenesisFormat::LATEST)
            };
            Some((name.clone(), founded.ok()?.hash))
        };
        let genesis = network.channels.iter().filter_map(|channel| hash(&channel.name)).collect();
        let usable = |name: &str, folder: &OrganizationFolder| {
            let organization = network.organization(name).filter(|_| folder.msp.is_some());
            organization.is_some_and(|organization| refusal(network, organization, folder).is_none())
        };
        let mut folders = repository.organizations;
        folders.retain(|name, folder| usable(name, folder));
        Self { desired: desired(network, settings), folders, genesis }
    }

    /// The organizations whose folder has all that channels of a definition need of it.
    fn whole(&self, desired: &Desired) -> BTreeSet<String> {
        let mut whole: BTreeSet<String> = self.folders.keys().cloned().collect();
        for consenter in specs(desired).flat_map(|spec| spec.consensus.consenters) {
            let has = |folder: &OrganizationFolder| folder.orderers.contains_key(&consenter.orderer);
            if !self.folders.get(&consenter.organization).is_some_and(has) {
                whole.remove(&consenter.organization);
            }
        }
        whole
    }
}

impl Certificates {
    /// Those of everything that these definitions name.
    pub fn of(definitions: &[&Desired]) -> Result<Self, ModelError> {
        let failed = |error: &dyn std::error::Error| ModelError { what: "placeholders".to_owned(), why: chain(error) };
        let placeholders = Placeholders::new().map_err(|error| failed(&error))?;
        let msp = MspMaterial {
            ca_certs: placeholders.enrolment_root().map_err(|error| failed(&error))?,
            tls_ca_certs: placeholders.tls_root().map_err(|error| failed(&error))?,
            config: NODE_OUS.to_owned(),
            ..MspMaterial::default()
        };
        let mut hosts: BTreeMap<NodeRef, BTreeSet<String>> = BTreeMap::new();
        for spec in definitions.iter().flat_map(|desired| specs(desired)) {
            for consenter in spec.consensus.consenters {
                let node = NodeRef { namespace: consenter.namespace, name: consenter.orderer };
                let host = Address::parse(&consenter.address).map(|address| address.host.to_owned());
                hosts.entry(node).or_default().extend(host);
            }
        }
        let mut consenters = BTreeMap::new();
        for (node, hosts) in hosts {
            let hosts: Vec<String> = hosts.into_iter().collect();
            let (tls, identity) = placeholders.orderer(&node.to_string(), &hosts).map_err(|error| failed(&error))?;
            consenters.insert(node, ConsenterMaterial { tls, identity });
        }
        Ok(Self { msp, consenters, folders: BTreeMap::new() })
    }

    /// Those of two revisions. What an organization has in one of them only, it had in the other too: that a folder was
    /// added or taken away is no change of certificates. A folder that lacks something that channels need counts as none.
    fn between(was: &Revision, asked: &Revision) -> Result<(Self, Self), ModelError> {
        let placeholders = Self::of(&[&was.desired, &asked.desired])?;
        let of = |own: &Revision, other: &Revision| {
            let mut folders = BTreeMap::new();
            for revision in [other, own] {
                let whole = revision.whole(&own.desired);
                let kept = revision.folders.iter().filter(|(name, _)| whole.contains(*name));
                folders.extend(kept.map(|(name, folder)| (name.clone(), folder.clone())));
            }
            Self { folders, ..placeholders.clone() }
        };
        Ok((of(was, asked), of(asked, was)))
    }

    /// Whether the organization's own certificates are known.
    fn knows(&self, organization: &str) -> bool {
        self.folders.contains_key(organization)
    }

    /// What a channel's configuration is made of.
    pub fn material(&self, spec: &ChannelSpec) -> Material {
        let orderers = spec.orderer_organizations.iter().map(|entry| &entry.organization);
        let organizations = orderers.chain(spec.members.iter().map(|entry| &entry.organization));
        let msp = |name: &String| self.folders.get(name).and_then(|folder| folder.msp.as_ref()).unwrap_or(&self.msp);
        let consenter = |it: &ConsenterRef| {
            let node = NodeRef { namespace: it.namespace.clone(), name: it.orderer.clone() };
            let own = self.folders.get(&it.organization).and_then(|folder| folder.orderers.get(&it.orderer));
            own.or_else(|| self.consenters.get(&node)).cloned().unwrap_or_default()
        };
        Material {
            msps: organizations.map(|name| (name.clone(), msp(name).clone())).collect(),
            consenters: spec.consensus.consenters.iter().map(consenter).collect(),
        }
    }
}

/// The specs of a definition's channels.
fn specs(desired: &Desired) -> impl Iterator<Item = ChannelSpec> {
    desired.channels.values().filter_map(|channel| spec(desired, channel))
}

fn spec(desired: &Desired, channel: &DesiredChannel) -> Option<ChannelSpec> {
    desired.objects.get(&channel.object).and_then(|object| ChannelSpec::deserialize(&object.spec).ok())
}

fn absent<T>(evidence: &str) -> Observation<T> {
    Observation::Absent { evidence: evidence.to_owned() }
}

const fn present<T>(value: T) -> Observation<T> {
    Observation::Present { value }
}

/// A world in which nothing that a definition names exists.
pub fn nothing(desired: &Desired, evidence: &str) -> Observed {
    let mut world = Observed::default();
    look(&mut world, desired, evidence);
    world
}

/// Looks at a world for what a definition names: what is not there is witnessed to be absent.
pub fn look(world: &mut Observed, desired: &Desired, evidence: &str) {
    for kind in Kind::ALL {
        world.kinds.entry(kind).or_insert(present(()));
    }
    for namespace in desired.namespaces.keys() {
        world.namespaces.entry(namespace.clone()).or_insert_with(|| absent(evidence));
    }
    for material in desired.materials.keys() {
        world.materials.entry(material.clone()).or_insert_with(|| absent(evidence));
    }
    for (name, channel) in &desired.channels {
        let seen = world.channels.entry(name.clone()).or_insert_with(|| ObservedChannel {
            genesis: absent(evidence),
            config: absent(evidence),
            material: Material::default(),
            signatures: BTreeMap::new(),
            approved: BTreeSet::new(),
            foreign: Vec::new(),
            refused: None,
            orderers: BTreeMap::new(),
            peers: BTreeMap::new(),
        });
        for orderer in &channel.orderers {
            let view = || NodeChannel { live: absent(evidence), record: JoinRecord::None };
            seen.orderers.entry(orderer.clone()).or_insert_with(view);
        }
        for peer in &channel.peers {
            let view = || NodeChannel { live: absent(evidence), record: JoinRecord::None };
            seen.peers.entry(peer.clone()).or_insert_with(view);
        }
    }
    for object in world.objects.keys().filter(|object| !desired.objects.contains_key(*object)) {
        let node = NodeRef { namespace: object.namespace.clone(), name: object.name.clone() };
        let has_joined = |seen: &ObservedChannel| match object.kind {
            Kind::Orderer => seen.orderers.get(&node).is_some_and(|view| view.record == JoinRecord::Joined),
            _ => seen.peers.get(&node).is_some_and(|view| view.record == JoinRecord::Joined),
        };
        if matches!(object.kind, Kind::Orderer | Kind::Peer) && !world.held.contains_key(object) {
            let joined = world.channels.iter().filter(|(_, seen)| has_joined(seen)).map(|(name, _)| name.clone());
            world.held.insert(object.clone(), present(joined.collect()));
        }
    }
    for (key, chaincode) in &desired.chaincodes {
        // Of a channel that is not formed, planning knows what there is to know.
        let formed = world.channels.get(&chaincode.spec.channel).is_some_and(|channel| !channel.genesis.is_absent());
        if formed || world.chaincodes.contains_key(key) {
            look_at_chaincode(world, desired, key, chaincode, evidence);
        }
    }
}

fn look_at_chaincode(world: &mut Observed, desired: &Desired, key: &str, chaincode: &DesiredChaincode, evidence: &str) {
    let seen = world.chaincodes.entry(key.to_owned()).or_insert_with(|| ObservedChaincode {
        committed: absent(evidence),
        author: None,
        approvals: BTreeMap::new(),
        readiness: present(BTreeMap::new()),
        installed: BTreeMap::new(),
        package: absent(evidence),
    });
    for member in chaincode.spec.members.iter().filter(|it| desired.organizations.contains(&it.organization)) {
        seen.approvals.entry(member.msp_id.clone()).or_insert_with(|| absent(evidence));
        for peer in &member.peers {
            let node = NodeRef { namespace: member.namespace.clone(), name: peer.clone() };
            seen.installed.entry(node).or_insert_with(|| present(BTreeSet::new()));
        }
    }
}

/// The world that a definition makes.
pub fn converged(desired: &Desired, certificates: &Certificates) -> Result<Observed, ModelError> {
    let mut world = nothing(desired, NOWHERE);
    for (name, namespace) in &desired.namespaces {
        let value = LiveNamespace { organization: Some(namespace.organization.clone()) };
        world.namespaces.insert(name.clone(), present(value));
    }
    world.objects.extend(desired.objects.iter().map(|(object, wanted)| (object.clone(), ready(wanted.spec.clone()))));
    for (name, channel) in &desired.channels {
        let Some(seen) = world.channels.get_mut(name) else { continue };
        seen.genesis = present(pinned(name));
        if let Some(spec) = spec(desired, channel) {
            seen.material = certificates.material(&spec);
            seen.config = present(first(name, &spec, &seen.material)?);
        }
        seen.orderers.values_mut().for_each(|view| *view = joined(consenter()));
        seen.peers.values_mut().for_each(|view| *view = joined(PeerChannel { height: 1 }));
    }
    for (key, chaincode) in &desired.chaincodes {
        look_at_chaincode(&mut world, desired, key, chaincode, NOWHERE);
        if let Some(seen) = world.chaincodes.get_mut(key) {
            deployed(seen, desired, chaincode);
        }
    }
    Ok(world)
}

/// A chaincode that is committed under its first sequence, and whose members have done their part.
fn deployed(seen: &mut ObservedChaincode, desired: &Desired, chaincode: &DesiredChaincode) {
    let DesiredChaincode { spec, package, .. } = chaincode;
    let read = chaincode::wanted(spec).and_then(|definition| Ok((definition, chaincode::package_id(spec)?)));
    let (definition, id) = match read {
        Ok(read) => read,
        Err(error) => {
            seen.committed = Observation::Unreachable { evidence: chain(&error) };
            return;
        }
    };
    let approvals = spec.members.iter().map(|member| (member.msp_id.clone(), true)).collect();
    seen.committed = present(Committed { sequence: 1, definition: definition.clone(), approvals });
    for member in spec.members.iter().filter(|member| desired.organizations.contains(&member.organization)) {
        let value = Approved { sequence: 1, definition: definition.clone(), package_id: Some(id.clone()) };
        seen.approvals.insert(member.msp_id.clone(), present(value));
    }
    seen.installed.values_mut().for_each(|packages| *packages = present(BTreeSet::from([id.clone()])));
    if package.is_some() {
        seen.package = present(());
    }
}

fn pinned(channel: &str) -> PinnedGenesis {
    PinnedGenesis { hash: format!("genesis block of {channel} in the model") }
}

fn consenter() -> OrdererChannel {
    OrdererChannel { relation: "consenter".to_owned(), status: "active".to_owned(), height: 1 }
}

const fn joined<T>(view: T) -> NodeChannel<T> {
    NodeChannel { live: present(view), record: JoinRecord::Joined }
}

/// An object whose controller has done its part.
fn ready(spec: serde_json::Value) -> LiveObject {
    let condition = Condition {
        condition_type: "Ready".to_owned(),
        status: "True".to_owned(),
        observed_generation: 1,
        last_transition_time: String::new(),
        reason: "Model".to_owned(),
        message: String::new(),
    };
    LiveObject {
        spec,
        generation: 1,
        phase: None,
        sequence: None,
        conditions: vec![condition],
        deleting: false,
        managers: BTreeMap::new(),
        certificates: BTreeMap::new(),
    }
}

/// The configuration that a channel begins with.
fn first(name: &str, spec: &ChannelSpec, material: &Material) -> Result<LiveChannel, ModelError> {
    let failed = |why: String| ModelError { what: format!("channel {name}"), why };
    let config = channel_config::first_config(spec, material).map_err(failed)?;
    let current = CurrentConfig::from_bytes(name, &config.to_config_bytes()).map_err(|error| failed(chain(&error)))?;
    channel_config::live_config(&current).map_err(failed)
}

/// A plan from one revision to another, and the world that it begins with.
#[derive(Clone, Debug)]
pub struct Compared {
    /// The plan.
    pub plan: Plan,
    /// The world as the first revision made it.
    pub world: Observed,
}

/// The plan from what one definition made to what another asks for: no cluster is looked at. `before` names the first one
/// for people. What only the world knows is left out of it, and said.
pub fn plan_between(
    was: &Revision,
    asked: &Revision,
    before: &str,
    revision: Option<&str>,
) -> Result<Compared, ModelError> {
    let (then, now) = Certificates::between(was, asked)?;
    let mut world = converged(&was.desired, &then)?;
    for (name, hash) in &was.genesis {
        if let Some(seen) = world.channels.get_mut(name) {
            seen.genesis = present(PinnedGenesis { hash: hash.clone() });
        }
    }
    look(&mut world, &asked.desired, &format!("it is not in {before}"));
    for (name, channel) in &asked.desired.channels {
        let Some((seen, spec)) = world.channels.get_mut(name).zip(spec(&asked.desired, channel)) else { continue };
        seen.material = now.material(&spec);
        // Those of a new organization come with it, unless they are there already.
        let known = |name: &String| was.desired.all_organizations.contains(name) || now.knows(name);
        seen.material.msps.retain(|organization, _| known(organization));
    }
    let mut plan = planner::plan(&asked.desired, &world, revision);
    for planned in plan.steps.values_mut() {
        match &mut planned.step {
            // The versions of the elements, which only the ledger knows, are part of the update.
            Step::UpdateChannelConfig { digest, .. } => *digest = None,
            // A definition that is replaced may have any sequence.
            Step::DeployChaincode { sequence, .. } if *sequence != Some(1) => *sequence = None,
            _ => {}
        }
    }
    let made = asked.genesis.iter().filter(|(name, _)| !was.desired.all_channels.contains(*name));
    plan.notes.splice(..0, made.map(|(name, hash)| genesis_note(name, hash)));
    plan.notes.insert(0, compared_note(asked, &now, before));
    Ok(Compared { plan, world })
}

/// What a comparison does not show.
fn compared_note(asked: &Revision, certificates: &Certificates, before: &str) -> Note {
    let unknown: Vec<&str> =
        asked.desired.all_organizations.iter().filter(|name| !certificates.knows(name)).map(String::as_str).collect();
    let which = match unknown.as_slice() {
        [] => String::new(),
        _ if unknown.len() == asked.desired.all_organizations.len() => "certificates, ".to_owned(),
        some => format!("certificates of {}, ", some.join(", ")),
    };
    let message = format!(
        "as if everything were as {before} says; what only the cluster knows is not shown: {which}versions, sequences, \
         signatures, and what others changed"
    );
    let subject = asked.desired.consortium.clone();
    Note { level: NoteLevel::Info, code: "Compared".to_owned(), subject, message }
}

/// The genesis block that a new channel gets by the folders of the repository.
fn genesis_note(channel: &str, hash: &str) -> Note {
    let message = format!("its genesis block has the hash {hash}, by the certificates in organizations/");
    Note { level: NoteLevel::Info, code: "GenesisBlock".to_owned(), subject: format!("channel {channel}"), message }
}

/// What a plan makes of a world, in an order that it allows. Steps that are blocked are not done. `desired` is what the plan
/// was made for.
pub fn apply(
    world: &Observed,
    desired: &Desired,
    plan: &Plan,
    certificates: &Certificates,
) -> Result<Observed, ModelError> {
    let mut world = world.clone();
    for id in plan.ordered() {
        if let Some(planned) = plan.steps.get(&id).filter(|planned| planned.blocked.is_none()) {
            take(&mut world, desired, &planned.step, certificates)?;
        }
    }
    Ok(world)
}

/// What one step makes of a world.
pub fn take(
    world: &mut Observed,
    desired: &Desired,
    step: &Step,
    certificates: &Certificates,
) -> Result<(), ModelError> {
    let unknown = |what: String| ModelError { what, why: NOWHERE.to_owned() };
    let channel_named = |name: &String| unknown(format!("channel {name}"));
    match step {
        Step::CreateNamespace { namespace, organization } => {
            let value = LiveNamespace { organization: Some(organization.clone()) };
            world.namespaces.insert(namespace.clone(), present(value));
        }
        Step::CreateObject { object, spec, .. } | Step::UpdateObject { object, spec, .. } => {
            world.objects.insert(object.clone(), ready(spec.clone()));
        }
        Step::AwaitReady { object, .. } => {
            let live = world.objects.get_mut(object).ok_or_else(|| unknown(object.to_string()))?;
            *live = ready(live.spec.clone());
        }
        Step::RemoveObject { object, .. } => {
            world.objects.remove(object);
        }
        Step::PinGenesis { channel } => {
            world.channels.get_mut(channel).ok_or_else(|| channel_named(channel))?.genesis = present(pinned(channel));
        }
        Step::JoinOrderer { channel, orderer } => {
            let seen = world.channels.get_mut(channel).ok_or_else(|| channel_named(channel))?;
            seen.orderers.insert(orderer.clone(), joined(consenter()));
            if seen.config.is_absent()
                && let Some(spec) = desired.channels.get(channel).and_then(|channel| spec(desired, channel))
            {
                seen.material = certificates.material(&spec);
                seen.config = present(first(channel, &spec, &seen.material)?);
            }
        }
        Step::JoinPeer { channel, peer } => {
            let seen = world.channels.get_mut(channel).ok_or_else(|| channel_named(channel))?;
            seen.peers.insert(peer.clone(), joined(PeerChannel { height: 1 }));
        }
        Step::UpdateChannelConfig { channel, topic, .. } => {
            let wanted = desired.channels.get(channel).and_then(|channel| spec(desired, channel));
            let wanted = wanted.ok_or_else(|| channel_named(channel))?;
            let seen = world.channels.get_mut(channel).ok_or_else(|| channel_named(channel))?;
            let live = seen.config.value().ok_or_else(|| channel_named(channel))?;
            let failed = |why: String| ModelError { what: format!("{topic} of channel {channel}"), why };
            let current = CurrentConfig::from_bytes(channel, &live.config).map_err(|error| failed(chain(&error)))?;
            seen.material = certificates.material(&wanted);
            let update = channel_config::update_of(&current, &wanted, &seen.material, topic).map_err(failed)?;
            let update = update.ok_or_else(|| failed("there is nothing to change".to_owned()))?;
            let after = update.update.apply(&current).map_err(|error| failed(chain(&error)))?;
            let after = channel_config::live_config(&after).map_err(failed)?;
            seen.config = present(LiveChannel { block: live.block + 1, ..after });
        }
        Step::StoreMaterial { config_map, entries, pinned: genesis, .. } => {
            let channel = config_map.strip_suffix("-genesis").filter(|_| *genesis);
            match channel.and_then(|name| Some((name, world.channels.get_mut(name)?))) {
                Some((name, seen)) => seen.genesis = present(pinned(name)),
                None => drop(world.materials.insert(config_map.clone(), present(entries.clone()))),
            }
        }
        Step::StorePackage { config_map, .. } => {
            for (key, chaincode) in &desired.chaincodes {
                let names = chaincode.spec.source.package.as_ref().is_some_and(|it| it.config_map == *config_map);
                if names && let Some(seen) = chaincode_in(world, desired, key, chaincode) {
                    seen.package = present(());
                }
            }
        }
        Step::DeployChaincode { channel, name, sequence, install, approve, commit, .. } => {
            let key = format!("{channel}/{name}");
            let missing = || unknown(format!("chaincode {key}"));
            let chaincode = desired.chaincodes.get(&key).ok_or_else(missing)?;
            let seen = chaincode_in(world, desired, &key, chaincode).ok_or_else(missing)?;
            let progress = progress(desired, chaincode, seen).ok_or_else(missing)?;
            let sequence = sequence.unwrap_or(progress.next.sequence());
            deploy(seen, chaincode, progress, (install, approve, *commit), sequence);
        }
    }
    Ok(())
}

fn chaincode_in<'a>(
    world: &'a mut Observed,
    desired: &Desired,
    key: &str,
    chaincode: &DesiredChaincode,
) -> Option<&'a mut ObservedChaincode> {
    look_at_chaincode(world, desired, key, chaincode, NOWHERE);
    world.chaincodes.get_mut(key)
}

fn progress(desired: &Desired, chaincode: &DesiredChaincode, seen: &ObservedChaincode) -> Option<Progress> {
    let definition = chaincode::wanted(&chaincode.spec).ok()?;
    let package = chaincode::package_id(&chaincode.spec).ok()?;
    chaincode::progress(&chaincode.spec, &definition, &package, seen, &desired.organizations)
}

fn deploy(
    seen: &mut ObservedChaincode,
    chaincode: &DesiredChaincode,
    progress: Progress,
    (install, approve, commit): (&[NodeRef], &[String], bool),
    sequence: i64,
) {
    for peer in install {
        let mut packages = seen.installed.get(peer).and_then(Observation::value).cloned().unwrap_or_default();
        packages.insert(progress.package.clone());
        seen.installed.insert(peer.clone(), present(packages));
    }
    for member in chaincode.spec.members.iter().filter(|member| approve.contains(&member.organization)) {
        let definition = progress.definition.clone();
        let value = Approved { sequence, definition, package_id: Some(progress.package.clone()) };
        seen.approvals.insert(member.msp_id.clone(), present(value));
    }
    if commit {
        let approvals = chaincode.spec.members.iter().map(|member| (member.msp_id.clone(), true)).collect();
        seen.committed = present(Committed { sequence, definition: progress.definition, approvals });
    }
}
