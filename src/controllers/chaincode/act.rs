//! Does what was decided about a chaincode. Everything may be done twice: a peer says that it has a package already, an
//! approval that changes nothing is refused by its peer and seen as given at the next look, and of two commits of one
//! sequence the ledger takes one.

use std::collections::BTreeSet;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Service;
use kube::ResourceExt as _;
use tenter_consortium::chaincode::{PACKAGE_KEY, Progress, package, package_id};
use tenter_consortium::objects::{
    ChaincodeMember, ConsortiumSpec, FIELD_MANAGER, LABEL_CHAINCODE, LABEL_CONSORTIUM, LABEL_ORGANIZATION,
};
use tenter_consortium::observation::Observation;
use tenter_consortium::settings::{namespace_allowed, organization_allowed, server_allowed};
use tenter_fabric::chaincode::Package;
use tenter_fabric::chaincode::lifecycle::{Refusal, approve_call, commit_call};
use tenter_fabric::chaincode::transaction::{Call, Endorsed, SignedCall};
use tenter_fabric::client::endorser::EndorserError;
use tenter_fabric::identity::SigningIdentity;

use super::decide::{Action, Issue};
use super::look::Observed;
use super::service::{COMPONENT, tls_secret};
use crate::controllers::apply::MANAGED_BY;
use crate::controllers::labels::{self, Belonging, IDENTITY_NODE_ADMIN};
use crate::controllers::materials;
use crate::controllers::{Context, Failure, apply};
use crate::nodes::chaincode::TransactionError;
use crate::nodes::identity::signing_identity;
use crate::nodes::{Node, NodeError, Nodes, chain, nonce};
use crate::observe::chaincode::Seen;
use crate::resources::{Chaincode, Consortium, TenterObject as _};

/// What a peer says to a call of `Init` when it was called before.
const INITIALIZED: &str = "already initialized";
/// What the function that initializes a contract is called, as Fabric's own samples do.
const INIT: &str = "Init";

/// Does one thing.
pub async fn perform(
    ctx: &Context,
    nodes: &Nodes,
    object: &Chaincode,
    observed: &Observed,
    action: &Action,
) -> Result<(), Failure> {
    match action {
        Action::Issue(issue) => self::issue(ctx, object, observed, issue).await,
        Action::Apply(child) => child.apply(ctx).await,
        Action::Remove { namespace, name } => remove(ctx, namespace, name).await,
        Action::Install(reference) => {
            let peer = observed.seen.peers.iter().find(|node| node.reference == *reference);
            let peer = peer.ok_or_else(|| Failure::new("NoPeer", format!("{} was not seen", reference.name)))?;
            let package = bytes(ctx, nodes, object, &observed.servers).await?;
            ctx.fabric_changes.count("InstallChaincode");
            nodes.install(peer, &package).await.map_err(|error| failed("InstallChaincode", &error))
        }
        Action::Approve { organization, sequence } => {
            approve(ctx, nodes, object, observed, organization, *sequence).await
        }
        Action::Commit { sequence, endorsers } => {
            let call = commit_call(&object.spec.channel, &progress(observed)?.definition, *sequence);
            ctx.fabric_changes.count("CommitChaincode");
            Box::pin(transact(nodes, object, observed, call, endorsers)).await
        }
        Action::Initialize => {
            // The Gateway finds who must endorse, and refuses what too few do before it is ordered.
            let (peer, identity) = initializer(nodes, &observed.seen, object).await?;
            ctx.fabric_changes.count("InitializeChaincode");
            let called = nodes.invoke(peer, &init_call(object), &[], &identity).await;
            called.map(drop).map_err(|error| failed("Initialize", &error))
        }
    }
}

/// The peer that is asked about `Init`, one that has the package where there is one, and who asks.
async fn initializer<'a>(
    nodes: &Nodes,
    seen: &'a Seen,
    object: &Chaincode,
) -> Result<(&'a Node, SigningIdentity), Failure> {
    let package = package_id(&object.spec).map_err(|error| Failure::terminal("SpecRefused", chain(&error)))?;
    let has = |node: &&Node| {
        let installed = seen.observed.installed.get(&node.reference);
        installed.and_then(Observation::value).is_some_and(|installed| installed.contains(&package))
    };
    let peer = seen.joined.iter().find(has).or_else(|| seen.joined.first());
    let peer = peer.ok_or_else(|| Failure::new("NoPeer", "no own peer serves the channel"))?;
    let member = object.spec.members.iter().find(|member| member.msp_id == peer.msp_id);
    let member = member.ok_or_else(|| Failure::new("NoMember", format!("{peer} is of no member")))?;
    Ok((peer, node_admin(nodes, member).await?))
}

fn progress(observed: &Observed) -> Result<&Progress, Failure> {
    let progress = observed.view.progress.value();
    progress.ok_or_else(|| Failure::new("NotSeen", "what is defined on the channel was not seen"))
}

fn failed(reason: &str, error: &dyn std::error::Error) -> Failure {
    Failure::new(reason, chain(error))
}

fn init_call(object: &Chaincode) -> Call {
    let mut call = Call::new(&object.spec.channel, &object.spec.name, INIT, []);
    call.is_init = true;
    call
}

/// Refuses to send peers to a server that the daemon's settings do not allow.
pub fn admit_server(address: &str, allowed: &[String]) -> Result<(), Failure> {
    if server_allowed(address, allowed) {
        return Ok(());
    }
    let message = format!(
        "this daemon may not send peers to {address}: add it to spec.chaincodeServers of the Consortium, or name another \
         address"
    );
    Err(Failure::terminal("ServerNotAllowed", message))
}

/// The package of a chaincode. One that is brought along may send peers to `servers` only.
async fn bytes(ctx: &Context, nodes: &Nodes, object: &Chaincode, servers: &[String]) -> Result<Package, Failure> {
    let terminal = |error: &dyn std::error::Error| Failure::terminal("PackageUnusable", chain(error));
    if let Some(package) = package(&object.spec).map_err(|error| terminal(&error))? {
        return Ok(package);
    }
    let missing = |why: String| Failure::new("PackageMissing", why);
    let Some(reference) = &object.spec.source.package else {
        return Err(missing("its source names no package".to_owned()));
    };
    let place = format!("ConfigMap {}/{}", ctx.namespace, reference.config_map);
    let mut entries = match nodes.store().config_map(&ctx.namespace, &reference.config_map).await {
        Observation::Present { value } => value,
        other => return Err(missing(other.evidence().unwrap_or_default().to_owned())),
    };
    let bytes = entries.remove(PACKAGE_KEY).ok_or_else(|| missing(format!("{place} has no {PACKAGE_KEY}")))?;
    let package = Package::read(bytes).map_err(|error| terminal(&error))?;
    if package.id().to_string() == reference.package_id {
        admit_server(&package.server().map_err(|error| terminal(&error))?, servers)?;
        Ok(package)
    } else {
        let message =
            format!("{place} holds {}, not {}: delete it to have it written anew", package.id(), reference.package_id);
        Err(Failure::terminal("PackageReplaced", message))
    }
}

async fn issue(ctx: &Context, object: &Chaincode, observed: &Observed, issue: &Issue) -> Result<(), Failure> {
    let Issue { namespace, organization, request, root, same_key } = issue;
    let authority = materials::authority(ctx, namespace, labels::ROOT_TLS, root).await?;
    let name = tls_secret(&object.name_any());
    if *same_key {
        return materials::issue_again(ctx, &authority, request, (namespace, &name), None).await;
    }
    let belonging =
        Belonging { consortium: &observed.consortium, organization, namespace, component: COMPONENT, node: None };
    let roots = root.to_pem().map_err(|error| failed("IssueCertificate", &error))?;
    materials::issue_new(ctx, &authority, request, belonging.metadata(&name), Some(&roots)).await
}

/// The identity that installs and approves for an own member.
async fn node_admin(nodes: &Nodes, member: &ChaincodeMember) -> Result<SigningIdentity, Failure> {
    match signing_identity(nodes.store(), &member.namespace, IDENTITY_NODE_ADMIN, &member.msp_id).await {
        Observation::Present { value } => Ok(value),
        other => Err(Failure::new("IdentityMissing", other.evidence().unwrap_or_default().to_owned())),
    }
}

async fn approve(
    ctx: &Context,
    nodes: &Nodes,
    object: &Chaincode,
    observed: &Observed,
    organization: &str,
    sequence: i64,
) -> Result<(), Failure> {
    let progress = progress(observed)?;
    let member = object.spec.members.iter().find(|member| member.organization == organization);
    let member = member.ok_or_else(|| Failure::new("NoMember", format!("{organization} is no member")))?;
    // Its own peers alone may endorse it, and one of them is enough.
    let peer = observed.seen.joined.iter().find(|node| node.msp_id == member.msp_id).ok_or_else(|| {
        Failure::new("NoPeer", format!("no peer of {organization} serves channel {} yet", object.spec.channel))
    })?;
    let call = approve_call(&object.spec.channel, &progress.definition, sequence, Some(&progress.package));
    ctx.fabric_changes.count("ApproveChaincode");
    let identity = node_admin(nodes, member).await?;
    match submit(nodes, observed, call, (&[peer], &[]), &identity).await {
        // It was approved in the meantime, or by a run that did not live to see it.
        Err(TransactionError::Node(NodeError::Endorser { source, .. })) if is_unchanged(&source) => Ok(()),
        answer => answer.map_err(|error| failed("ApproveChaincode", &error)),
    }
}

fn is_unchanged(error: &EndorserError) -> bool {
    matches!(error, EndorserError::Lifecycle { refusal: Refusal::Unchanged, .. })
}

/// A transaction of the first own member, endorsed by a peer of each of these organizations: an own one, or another
/// member's anchor peer.
async fn transact(
    nodes: &Nodes,
    object: &Chaincode,
    observed: &Observed,
    call: Call,
    endorsers: &BTreeSet<String>,
) -> Result<(), Failure> {
    let joined = &observed.seen.joined;
    let first = joined
        .first()
        .ok_or_else(|| Failure::new("NoPeer", format!("no own peer serves channel {} yet", object.spec.channel)))?;
    let member = object.spec.members.iter().find(|member| member.msp_id == first.msp_id);
    let member = member.ok_or_else(|| Failure::new("NoMember", format!("{} is of no member", object.describe())))?;
    let identity = node_admin(nodes, member).await?;
    let (mut endorsers, mut silent) = (endorsers.clone(), BTreeSet::new());
    // Each turn does without one more member, so they end.
    loop {
        let peers: Vec<&Node> =
            endorsers.iter().filter_map(|msp_id| joined.iter().find(|node| node.msp_id == *msp_id)).collect();
        let others: Vec<&String> =
            endorsers.iter().filter(|msp_id| !joined.iter().any(|node| node.msp_id == **msp_id)).collect();
        let error = match submit(nodes, observed, call.clone(), (&peers, &others), &identity).await {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        let TransactionError::Elsewhere { msp_id, .. } = &error else { return Err(failed("Transaction", &error)) };
        silent.insert(msp_id.clone());
        let Some(others) = without(observed, &silent) else { return Err(failed("Transaction", &error)) };
        tracing::info!(chaincode = object.describe(), "endorsed by others: {}", chain(&error));
        endorsers = others;
    }
}

/// Others who approved and are enough without these members, by MSP ID.
fn without(observed: &Observed, silent: &BTreeSet<String>) -> Option<BTreeSet<String>> {
    let approved = observed.view.progress.value()?.approved();
    observed.policy.as_ref()?.met_by(&approved.difference(silent).cloned().collect()).endorsers
}

/// Collects endorsements of own peers and of other members' anchors, and has the transaction ordered.
async fn submit(
    nodes: &Nodes,
    observed: &Observed,
    call: Call,
    (peers, others): (&[&Node], &[&String]),
    identity: &SigningIdentity,
) -> Result<(), TransactionError> {
    let call = sign(&call, identity)?;
    let mut endorsements = Vec::new();
    for peer in peers {
        endorsements.push(nodes.endorse(peer, &call).await?);
    }
    for msp_id in others {
        endorsements.push(elsewhere(nodes, observed, &call, msp_id, identity).await?);
    }
    // The one that is furthest hears of the block first.
    let witness = observed.seen.joined.first();
    let witness = witness.ok_or_else(|| TransactionError::Assemble("nobody endorsed".to_owned()))?;
    nodes.transact((witness, &observed.orderers), &call, &endorsements, identity).await.map(drop)
}

/// The endorsement of the first anchor peer of another member that gives one.
async fn elsewhere(
    nodes: &Nodes,
    observed: &Observed,
    call: &SignedCall,
    msp_id: &str,
    identity: &SigningIdentity,
) -> Result<Endorsed, TransactionError> {
    let none = || TransactionError::Elsewhere {
        msp_id: msp_id.to_owned(),
        address: "its anchor peer".to_owned(),
        why: "it has no anchor peer in the channel's configuration".to_owned(),
    };
    let (anchors, roots) = observed.anchors.get(msp_id).ok_or_else(none)?;
    let mut last = none();
    for (host, port) in anchors {
        match nodes.endorse_elsewhere((msp_id, host, *port), roots, call, identity).await {
            Ok(endorsed) => return Ok(endorsed),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn sign(call: &Call, identity: &SigningIdentity) -> Result<SignedCall, TransactionError> {
    let nonce = nonce().map_err(|error| TransactionError::Assemble(error.to_string()))?;
    SignedCall::new(call, identity, nonce, jiff::Timestamp::now())
        .map_err(|error| TransactionError::Assemble(chain(&error)))
}

/// Whether `Init` was called for the definition in force. A peer is asked to endorse the call, and nothing is submitted:
/// one that was called before is refused.
pub async fn initialized(nodes: &Nodes, seen: &Seen, object: &Chaincode) -> Observation<bool> {
    let unknown = |evidence: String| Observation::Unreachable { evidence };
    let (peer, identity) = match initializer(nodes, seen, object).await {
        Ok(found) => found,
        Err(failure) => return unknown(failure.message),
    };
    let call = match sign(&init_call(object), &identity) {
        Ok(call) => call,
        Err(error) => return unknown(chain(&error)),
    };
    match nodes.endorse(peer, &call).await {
        Ok(_) => Observation::Present { value: false },
        Err(error) if chain(&error).contains(INITIALIZED) => Observation::Present { value: true },
        Err(error) => match error {
            NodeError::Credentials { .. } => error.observed(),
            other => unknown(chain(&other)),
        },
    }
}

/// Takes down one service: its Deployment last, by which it is found again. The key stays.
async fn remove(ctx: &Context, namespace: &str, name: &str) -> Result<(), Failure> {
    apply::delete::<Service>(ctx, namespace, name).await?;
    apply::delete::<Deployment>(ctx, namespace, name).await.map(drop)
}

/// What the services of a chaincode are found by.
pub fn selector(object: &Chaincode) -> String {
    format!(
        "{LABEL_CHAINCODE}={},{LABEL_CONSORTIUM}={},{MANAGED_BY}={FIELD_MANAGER}",
        object.name_any(),
        object.spec.consortium
    )
}

/// The Deployments that serve a chaincode for the organizations that this daemon acts for, whether or not its spec still names
/// them. Others of the same cluster have their own daemon.
pub async fn own_services(
    ctx: &Context,
    object: &Chaincode,
    settings: &ConsortiumSpec,
) -> Result<Vec<Deployment>, Failure> {
    let mut services = apply::list_all::<Deployment>(ctx, &selector(object)).await?;
    services.retain(|service| service.metadata.deletion_timestamp.is_none() && is_own(service, settings));
    Ok(services)
}

fn is_own(service: &Deployment, settings: &ConsortiumSpec) -> bool {
    let namespace = service.namespace().unwrap_or_default();
    let organization = service.labels().get(LABEL_ORGANIZATION);
    organization.is_some_and(|name| organization_allowed(name, &settings.organizations))
        && namespace_allowed(&namespace, &settings.namespaces)
}

/// Takes down all own services of a chaincode.
pub async fn remove_services(ctx: &Context, object: &Chaincode) -> Result<(), Failure> {
    // Without its Consortium nobody acts for the object, and nothing is asked for.
    let Some(consortium) = apply::get::<Consortium>(ctx, &ctx.namespace, &object.spec.consortium).await? else {
        return Ok(());
    };
    for service in own_services(ctx, object, &consortium.spec).await? {
        remove(ctx, &service.namespace().unwrap_or_default(), &service.name_any()).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn services_are_own_by_their_organization_and_their_place() {
        let settings = json!({
            "source": {"repository": "https://git.example/trade.git"},
            "organizations": ["acme"], "namespaces": {"allowed": ["trade-*"]},
        });
        let settings: ConsortiumSpec = serde_json::from_value(settings).unwrap();
        let check = |namespace: &str, organization: Option<&str>, expect: bool| {
            let mut service = Deployment::default();
            service.metadata.namespace = Some(namespace.to_owned());
            let label = organization.map(|name| (LABEL_ORGANIZATION.to_owned(), name.to_owned()));
            service.metadata.labels = Some(label.into_iter().collect());
            assert_eq!(is_own(&service, &settings), expect, "{namespace} {organization:?}");
        };
        check("trade-acme", Some("acme"), true);
        check("trade-globex", Some("globex"), false);
        check("other", Some("acme"), false);
        check("trade-acme", None, false);
    }
}
