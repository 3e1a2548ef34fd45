//! Looks at a chaincode: the ledger and the peers, the channel's policy, and the services in organizations' namespaces.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::FutureExt as _;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Service as KubeService};
use kube::ResourceExt as _;
use tenter_consortium::chaincode::{
    Approval, Lifecycle, LifecyclePolicy, Progress, package_id, progress, service_name, wanted, went_back,
};
use tenter_consortium::objects::{
    ChaincodeMember, ChaincodeSourceSpec, ChaincodeSpec, ConsortiumSpec, FIELD_MANAGER, ImageSettings, Kind,
    LABEL_ORGANIZATION,
};
use tenter_consortium::observation::Observation;
use tenter_consortium::observed::{NodeRef, ObservedChaincode};
use tenter_consortium::settings::{hosts_all, image_allowed, organization_allowed, resolve_image};
use tenter_consortium::status::ServingImage;
use tenter_fabric::chaincode::PackageId;
use tenter_fabric::config::CurrentConfig;
use tenter_fabric::x509::CertificateInfo;

use super::act;
use super::decide::{Earlier, Issue, Service, View};
use super::service::{COMPONENT, Wanted, progress as rollout, request, tls_secret};
use crate::controllers::apply::MANAGED_BY;
use crate::controllers::channel::form::{foreign_consenters, own_consenters, own_readers};
use crate::controllers::children::{self, Child, pending};
use crate::controllers::labels::{self, Belonging};
use crate::controllers::materials::{self, Need, need};
use crate::controllers::node::PodFacts;
use crate::controllers::{Context, Failure, Scope, Verdict, apply, gates};
use crate::nodes::records::{block_hash, read_pinned};
use crate::nodes::{Node, Nodes, chain};
use crate::observe::channel::{bounded, each};
use crate::observe::{chaincode, channel};
use crate::resources::{CertificateAuthority, Chaincode, Channel, Membership};

/// Name of an organization's [`CertificateAuthority`] object.
const AUTHORITY: &str = "ca";

/// What a chaincode's decision is made on, and what its actions need.
pub struct Observed {
    /// For the decision.
    pub view: View,
    /// What the peers said.
    pub seen: chaincode::Seen,
    /// Own consenters of the channel, to hand transactions to.
    pub orderers: Vec<Node>,
    /// Anchor peers of the channel's members and the TLS roots that verify them, PEM, by MSP ID; known while something is to
    /// be committed.
    pub anchors: BTreeMap<String, (Vec<(String, u16)>, String)>,
    /// What a commit must satisfy; known while something is to be committed.
    pub policy: Option<LifecyclePolicy>,
    /// The Consortium object's name.
    pub consortium: String,
    /// Where elsewhere peers may be sent, by the daemon's settings.
    pub servers: Vec<String>,
}

/// Looks at everything that the decision needs.
pub async fn look(ctx: &Context, scope: &Scope, nodes: &Nodes, object: &Chaincode) -> Result<Observed, Failure> {
    let spec = &object.spec;
    let settings = &scope.consortium.spec;
    let refused = |error: &dyn std::error::Error| Failure::terminal("SpecRefused", chain(error));
    let definition = wanted(spec).map_err(|error| refused(&error))?;
    let package = package_id(spec).map_err(|error| refused(&error))?;
    let channel = apply::get::<Channel>(ctx, &ctx.namespace, &spec.channel)
        .await?
        .ok_or_else(|| Failure::new("NoChannel", format!("there is no Channel {}/{}", ctx.namespace, spec.channel)))?;
    for member in own_members(object, settings) {
        gates::admit(settings, &member.organization, &member.namespace)
            .map_err(|verdict| Failure::terminal(verdict.reason(), verdict.message()))?;
    }
    if let Some(external) = &spec.source.external {
        act::admit_server(&external.address, &settings.chaincode_servers)?;
    }
    let own_orderers = own_consenters(&channel.spec, &settings.organizations);
    // Those of other members take transactions as well, where there is no own one or none that answers.
    let readers = own_readers(&channel.spec, &settings.organizations);
    let elsewhere = foreign_consenters(&channel.spec, &ctx.namespace, &settings.organizations, &readers);
    let orderers: Vec<Node> = own_orderers.iter().cloned().chain(elsewhere).collect();
    let tip = tip(nodes, &own_orderers, &spec.channel).boxed();
    let place = (ctx.namespace.as_str(), spec, settings.organizations.as_slice());
    let seen = chaincode::look(nodes, place, &definition, tip).await;
    let hosted: BTreeSet<String> = own_members(object, settings).map(|member| member.organization.clone()).collect();
    let progress = match progress(spec, &definition, &package, &seen.observed, &hosted) {
        Some(value) => Observation::Present { value },
        None if seen.pending => {
            Observation::Absent { evidence: format!("no own peer is in channel {} yet", spec.channel) }
        }
        // Nothing is known of the ledger: the observation says why.
        None => seen.observed.committed.unseen(),
    };
    let shared = !hosts_all(settings, &channel.spec, None);
    let sequence = seen.observed.committed.value().and_then(|committed| u64::try_from(committed.sequence).ok());
    let this = object.name_any();
    let mut view = View {
        // What was in force stays so, whether or not the ledger can be read now.
        defined: seen.observed.committed.value().is_some()
            || object.status.as_ref().is_some_and(|status| status.sequence.is_some()),
        lifecycle: Observation::Unreachable { evidence: "it is not asked yet".to_owned() },
        refused: Vec::new(),
        went_back: went_back(object.status.as_ref().and_then(|status| status.sequence), &seen.observed.committed),
        initialized: Observation::Unreachable { evidence: "it is not asked yet".to_owned() },
        outside: seen.outside.clone(),
        services: BTreeMap::new(),
        left: left(ctx, object, settings).await?,
        definition_awaited: scope.definition_awaited_at(ctx, (Kind::Chaincode, &this), shared, sequence),
        progress,
    };
    for member in own_members(object, settings) {
        let earlier = earlier(object, member, settings, &view.progress, &seen.observed);
        let service = if spec.source.image.is_some() || earlier.is_some() {
            service(ctx, scope, object, member, (&package, earlier.as_ref())).await?
        } else {
            left_over(ctx, object, member).await?
        };
        view.services.insert(member.organization.clone(), service);
    }
    let (mut anchors, mut policy) = (BTreeMap::new(), None);
    if let Observation::Present { value: progress } = &view.progress {
        if progress.next.is_change() {
            let sources: Vec<Node> = own_orderers.iter().chain(&seen.joined).cloned().collect();
            let config = config(ctx, nodes, &channel, &sources).await;
            let known = config.value().map(members_of);
            if let Some(known) = &known {
                let previous = seen.observed.committed.value().map(|committed| &committed.definition);
                let problems = progress.definition.check(known, previous);
                view.refused = problems.iter().map(ToString::to_string).collect();
            }
            anchors = config.value().map(anchors_of).unwrap_or_default();
            policy = config.value().map(|current| LifecyclePolicy::live(current.config()));
            view.lifecycle = match &policy {
                Some(policy) => Observation::Present { value: met(policy, progress, &seen.joined) },
                None => config.unseen(),
            };
        } else if progress.definition.init_required {
            view.initialized = act::initialized(nodes, &seen, object).await;
        }
    }
    let servers = settings.chaincode_servers.clone();
    Ok(Observed { view, seen, orderers, anchors, policy, consortium: scope.consortium.name_any(), servers })
}

/// How many blocks own orderers have.
async fn tip(nodes: &Nodes, orderers: &[Node], channel: &str) -> u64 {
    let ask = |node| bounded(node, "participation API", nodes.orderer_channel(node, channel).boxed());
    let channels = each(orderers, ask).await;
    channels.values().filter_map(|seen| Some(seen.value()?.height)).max().unwrap_or_default()
}

/// The members that this daemon acts for.
pub fn own_members<'a>(
    object: &'a Chaincode,
    settings: &'a ConsortiumSpec,
) -> impl Iterator<Item = &'a ChaincodeMember> {
    object.spec.members.iter().filter(|member| organization_allowed(&member.organization, &settings.organizations))
}

fn members_of(current: &CurrentConfig) -> BTreeSet<String> {
    current.config().application.organizations.values().map(|member| member.msp.msp_id.clone()).collect()
}

fn anchors_of(current: &CurrentConfig) -> BTreeMap<String, (Vec<(String, u16)>, String)> {
    let members = current.config().application.organizations.values();
    members
        .map(|member| {
            let anchors = member.anchors.iter().map(|anchor| (anchor.host.clone(), anchor.port)).collect();
            let roots: Vec<String> =
                member.msp.tls_root_certs.iter().map(|pem| String::from_utf8_lossy(pem.bytes()).into_owned()).collect();
            (member.msp.msp_id.clone(), (anchors, roots.join("\n")))
        })
        .collect()
}

/// How the policy is met: by own peers if they are enough, because others have to be dialled.
fn met(policy: &LifecyclePolicy, progress: &Progress, joined: &[Node]) -> Lifecycle {
    let approved = progress.approved();
    let own: BTreeSet<String> =
        approved.iter().filter(|msp_id| joined.iter().any(|node| node.msp_id == **msp_id)).cloned().collect();
    let met = policy.met_by(&own);
    if met.endorsers.is_some() { met } else { policy.met_by(&approved) }
}

/// The channel's configuration in force.
async fn config(ctx: &Context, nodes: &Nodes, object: &Channel, orderers: &[Node]) -> Observation<CurrentConfig> {
    let name = &object.spec.channel;
    let pinned = read_pinned(nodes.store(), &ctx.namespace, name, block_hash).await;
    let hash = pinned.value().map(|pinned| pinned.hash.clone());
    let live = channel::config(nodes, orderers, name, hash.as_deref()).await;
    live.try_map(|live| CurrentConfig::from_bytes(name, &live.config).map_err(|error| chain(&error)))
}

/// What serves the definition in force for a member, where another image is on its way: the last one that was seen to serve
/// it, if the member's peers have its package and the settings still allow it.
fn earlier(
    object: &Chaincode,
    member: &ChaincodeMember,
    settings: &ConsortiumSpec,
    progress: &Observation<Progress>,
    seen: &ObservedChaincode,
) -> Option<ChaincodeSpec> {
    let ServingImage { version, image } = object.status.as_ref()?.serving.clone()?;
    let source = ChaincodeSourceSpec { image: Some(image), ..ChaincodeSourceSpec::default() };
    let spec = ChaincodeSpec { version, source, ..object.spec.clone() };
    let progress = progress.value()?;
    let its = progress.members.iter().find(|other| other.organization == member.organization)?;
    let replaced = !progress.next.is_change() && its.approval == Approval::Given;
    let package = package_id(&spec).ok()?;
    let installed = member.peers.iter().any(|peer| {
        let node = NodeRef { namespace: member.namespace.clone(), name: peer.clone() };
        seen.installed.get(&node).and_then(Observation::value).is_some_and(|packages| packages.contains(&package))
    });
    let allowed = image_allowed(spec.source.image.as_deref().unwrap_or_default(), &settings.images);
    let other = package != progress.package;
    (other && !replaced && installed && allowed).then_some(spec)
}

/// What serves the contract for own organizations that neither the spec nor a Membership has with peers any more: a Membership
/// stays until the channel does without its organization, and until then its peers may be asked to endorse.
async fn left(ctx: &Context, object: &Chaincode, settings: &ConsortiumSpec) -> Result<Vec<(String, String)>, Failure> {
    let services = act::own_services(ctx, object, settings).await?;
    let unnamed = services.into_iter().filter(|service| {
        let organization = service.labels().get(LABEL_ORGANIZATION);
        object.spec.members.iter().all(|member| Some(&member.organization) != organization)
    });
    let mut left = Vec::new();
    for service in unnamed {
        let namespace = service.namespace().unwrap_or_default();
        let membership = apply::get::<Membership>(ctx, &namespace, &object.spec.channel).await?;
        if membership.is_none_or(|membership| membership.spec.peers.is_empty()) {
            left.push((namespace, service.name_any()));
        }
    }
    Ok(left)
}

/// What an earlier image of a contract has left that others serve now.
async fn left_over(ctx: &Context, object: &Chaincode, member: &ChaincodeMember) -> Result<Service, Failure> {
    let deployments = apply::list::<Deployment>(ctx, &member.namespace, &act::selector(object)).await?;
    let old = deployments.iter().map(|deployment| (member.namespace.clone(), deployment.name_any())).collect();
    Ok(Service { refused: None, issue: None, pending: Vec::new(), runs: Ok(()), earlier: None, old })
}

/// What serves the contract in one namespace: the wanted image, if it is one, and the one in force, if that is another.
async fn service(
    ctx: &Context,
    scope: &Scope,
    object: &Chaincode,
    member: &ChaincodeMember,
    (package, earlier): (&PackageId, Option<&ChaincodeSpec>),
) -> Result<Service, Failure> {
    let (spec, settings) = (&object.spec, &scope.consortium.spec);
    let (namespace, organization) = (member.namespace.as_str(), member.organization.as_str());
    let refuse = |verdict: Verdict| Service {
        refused: Some(verdict),
        issue: None,
        pending: Vec::new(),
        runs: Err("it is not made".to_owned()),
        earlier: None,
        old: Vec::new(),
    };
    let consortium = scope.consortium.name_any();
    let facts = gates::namespace(ctx, namespace).await?;
    if let Err(verdict) = gates::own_namespace(facts.as_ref(), &consortium, organization, namespace) {
        return Ok(refuse(verdict));
    }
    let authority = apply::get::<CertificateAuthority>(ctx, namespace, AUTHORITY).await?;
    let msp = apply::own::<ConfigMap>(ctx, namespace, labels::MSP).await?;
    let roots = msp.and_then(|msp| msp.data?.remove(labels::MSP_TLSCACERTS));
    let (Some(authority), Some(roots)) = (authority, roots) else {
        let message = format!("the certificate authority of {namespace} has not published its roots yet");
        return Ok(refuse(Verdict::reconciling("AuthorityNotReady", message)));
    };
    let root =
        CertificateInfo::from_pem(&roots).map_err(|error| Failure::terminal("AuthorityUnusable", error.to_string()))?;
    let object_name = object.name_any();
    let name = service_name(spec);
    let image = spec.source.image.as_deref();
    let not_allowed = image.filter(|image| !image_allowed(image, &settings.images)).map(|image| {
        let message = format!(
            "this daemon may not run {image}: add its registry or repository to spec.images.allowed of the Consortium, or name \
             another image"
        );
        Verdict::stalled("ImageNotAllowed", message)
    });
    let runs_wanted = image.filter(|_| not_allowed.is_none());
    let deployments = apply::list::<Deployment>(ctx, namespace, &act::selector(object)).await?;
    let mut served: BTreeSet<String> = deployments.iter().map(kube::ResourceExt::name_any).collect();
    let old =
        served.iter().filter(|other| **other != name).map(|other| (namespace.to_owned(), other.clone())).collect();
    served.extend(runs_wanted.map(|_| name.clone()));
    served.extend(earlier.map(service_name));
    let secret = tls_secret(&object_name);
    let material = materials::observe(ctx, namespace, &secret).await?;
    let request = request(&object_name, namespace, &served, authority.spec.certificate_lifetime_hours);
    let issue = |same_key| Issue {
        namespace: namespace.to_owned(),
        organization: organization.to_owned(),
        request: request.clone(),
        root: Box::new(root.clone()),
        same_key,
    };
    let issue = match need(&material, &request, &root, ctx.now()) {
        Need::Nothing => None,
        Need::New => Some(issue(false)),
        Need::Renewal(_) => Some(issue(true)),
        Need::Person(why) => {
            let message = format!("{why}: remove Secret {namespace}/{secret} to have it issued anew");
            return Ok(refuse(Verdict::stalled("SecretUnusable", message)));
        }
    };
    let certificate = material.certificate().map(|info| info.certificate_fingerprint.clone()).unwrap_or_default();
    let belonging = Belonging { consortium: &consortium, organization, namespace, component: COMPONENT, node: None };
    let run = Run { ctx, object: &object_name, settings: &settings.images, certificate, belonging };
    let earlier = match earlier {
        Some(spec) => {
            let package =
                package_id(spec).map_err(|error| Failure::terminal("SpecRefused", chain(&error)))?.to_string();
            let image = spec.source.image.as_deref().unwrap_or_default();
            let (pending, runs) = run.stand(&service_name(spec), image, &package, &deployments).await?;
            Some(Earlier { pending, runs })
        }
        None => None,
    };
    let (pending, runs) = match (runs_wanted, image) {
        (Some(image), _) => run.stand(&name, image, &package.to_string(), &deployments).await?,
        (None, Some(_)) => (Vec::new(), Err("it is not made".to_owned())),
        // Others serve it.
        (None, None) => (Vec::new(), Ok(())),
    };
    Ok(Service { refused: not_allowed, issue, pending, runs, earlier, old })
}

/// What the services of a contract in one namespace have in common.
struct Run<'a> {
    ctx: &'a Context,
    object: &'a str,
    settings: &'a ImageSettings,
    certificate: String,
    belonging: Belonging<'a>,
}

impl Run<'_> {
    /// What is not as wanted of one service, and whether it runs.
    async fn stand(
        &self,
        name: &str,
        image: &str,
        package_id: &str,
        deployments: &[Deployment],
    ) -> Result<(Vec<Child>, Result<(), String>), Failure> {
        let namespace = self.belonging.namespace;
        let resolved = resolve_image(image, self.settings);
        let wanted = Wanted {
            object: self.object,
            name,
            image: &resolved,
            package_id,
            certificate: self.certificate.clone(),
            belonging: self.belonging,
        };
        let service = children::read::<KubeService>(self.ctx, namespace, name).await?;
        let deployment = deployments.iter().find(|deployment| deployment.name_any() == name);
        let runs = deployment.map_or_else(|| Err(format!("Deployment {name} is being made")), rollout);
        let live: Vec<Child> = service.into_iter().chain(deployment.cloned().map(Child::from)).collect();
        let children = wanted.children().map_err(|error| Failure::terminal("Service", error.to_string()))?;
        let pending = pending(children, &live);
        let runs = match runs {
            Err(why) => Err(trouble(self.ctx, namespace, name).await?.unwrap_or(why)),
            Ok(()) if pending.is_empty() => Ok(()),
            Ok(()) => Err(format!("Deployment {name} is being brought up to date")),
        };
        Ok((pending, runs))
    }
}

/// What keeps the Pods of a service from running, if anything does.
async fn trouble(ctx: &Context, namespace: &str, name: &str) -> Result<Option<String>, Failure> {
    let selector =
        format!("{MANAGED_BY}={FIELD_MANAGER},{}={COMPONENT},{}={name}", labels::COMPONENT, labels::INSTANCE);
    let pods = apply::list::<Pod>(ctx, namespace, &selector).await?;
    let trouble = pods.iter().find_map(|pod| PodFacts::of(pod).trouble.map(|trouble| (pod.name_any(), trouble)));
    Ok(trouble.map(|(pod, trouble)| format!("Pod {namespace}/{pod}: {}: {}", trouble.reason, trouble.message)))
}
