//! Members of one consortium, each with a daemon, keys and nodes of its own: what they share is a git repository.
//!
//! Where `TENTER_E2E_SECOND` names the kubeconfig of a second cluster that is connected with the first
//! (`deploy/dev-cluster/cluster connect`), half of them live there; otherwise all live in one, and the scenario says so.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{Node, Secret, Service};
use kube::api::{Api, DynamicObject, ListParams, Patch, PatchParams};
use serde_json::{Value, json};

use crate::broadcasts::{Broadcasts, Fault};
use crate::proxy::ApiProxy;
use crate::rights::impersonating;
use crate::scenarios::announce;
use crate::signatures;
use crate::world::World;

const FOUNDERS: [&str; 3] = ["acme", "globex", "initech"];
const LATER: &str = "umbrella";
const EVERYBODY: [&str; 4] = ["acme", "globex", "initech", LATER];
pub const CHANNEL: &str = "settlement";
/// First of the node ports that the founders' nodes are reached at.
const FIRST_PORT: usize = 31_200;
/// Port of the balancer that the newcomer's peer is reached by.
const BALANCED_PORT: usize = 17_051;

/// One member.
pub struct Member {
    pub world: World,
    /// Address of a node of its cluster.
    host: String,
    /// Its first node port; the orderer has it, the peer has the next.
    port: usize,
    /// Where its daemon's broadcasts are met.
    proxy: Option<ApiProxy>,
}

/// All of them, and what they share.
pub struct Consortium {
    members: BTreeMap<&'static str, Member>,
    /// URL of the repository that signatures go by. The daemons have no reason to write to that of the definition.
    pub url: String,
    /// Most messages of a batch, which is what changes most.
    pub batch: u32,
    /// Whether the newcomer is an organization, and whether it is a member of the channel.
    later: (bool, bool),
    /// Whether the newcomer has an orderer, and whether that is a consenter.
    later_orders: (bool, bool),
    contract: bool,
}

/// Address of the cluster's node.
async fn host(world: &World) -> String {
    let nodes = Api::<Node>::all(world.client.clone()).list(&ListParams::default()).await.expect("nodes");
    let addresses = nodes.items.into_iter().filter_map(|node| node.status?.addresses).flatten();
    let internal = addresses.into_iter().find(|address| address.type_ == "InternalIP");
    internal.expect("a node with an address").address
}

impl Consortium {
    /// A daemon for each, that acts for one organization alone; nothing is committed, and nobody runs.
    async fn new() -> Self {
        let second = std::env::var_os("TENTER_E2E_SECOND").map(PathBuf::from);
        println!("members: in {}", if second.is_some() { "two clusters" } else { "one cluster" });
        let mut members = BTreeMap::new();
        for (index, name) in EVERYBODY.into_iter().enumerate() {
            let cluster = second.clone().filter(|_| index % 2 == 1);
            let world = World::of_member("many", name, cluster).await;
            members.insert(name, Member { host: host(&world).await, port: FIRST_PORT + 2 * index, world, proxy: None });
        }
        let bare = |name: &str| {
            let world = &members["acme"].world;
            let path = world.directory().join(name);
            world.git(&["init", "-q", "--bare", "-b", "main", path.to_str().expect("UTF-8")]);
            format!("file://{}", path.display())
        };
        let (definition, url) = (bare("shared.git"), bare("signatures.git"));
        members["acme"].world.git(&["remote", "add", "origin", &definition]);
        for (name, member) in &members {
            let place = member.world.organization(name);
            let settings = json!({
                "source": {"repository": &definition},
                "signatures": {"repository": &url},
                "organizations": [name],
                "namespaces": {"allowed": [place]},
                "subjects": [{"kind": "User", "name": format!("{name}-admin")}],
            });
            member.world.consortium(settings).await;
        }
        Self { members, url, batch: 500, later: (false, false), later_orders: (false, false), contract: false }
    }

    pub fn world(&self, name: &str) -> &World {
        &self.members[name].world
    }

    /// Starts a member's daemon again, with `broadcasts` between it and its orderer.
    pub async fn restart_behind(&mut self, name: &str, broadcasts: &Arc<Broadcasts>) {
        let member = self.members.get_mut(name).expect("a member");
        member.world.kill();
        let proxy = ApiProxy::new(&member.world, broadcasts.clone()).await;
        member.world.kubeconfig = Some(proxy.kubeconfig.clone());
        member.proxy = Some(proxy);
        member.world.start();
    }

    /// The definition as it stands.
    fn definition(&self) -> String {
        let mut text = format!(
            "apiVersion: tenter.dev/v1alpha1\nkind: Network\nmetadata: {{name: {}}}\nspec:\n  fabric: {{version: \"3.1\"}}\n  \
             organizations:\n",
            self.world("acme").name
        );
        for name in FOUNDERS.into_iter().chain(self.later.0.then_some(LATER)) {
            let Member { host, port, .. } = &self.members[name];
            let node = |kind: &str, service: &str, port: usize| {
                format!("{{name: {kind}, address: \"{host}:{port}\", expose: {{type: {service}, port: {port}}}}}")
            };
            writeln!(text, "    - name: {name}\n      admins: [{{kind: User, name: {name}-admin}}]").expect("text");
            let peer = if FOUNDERS.contains(&name) {
                writeln!(text, "      orderers: [{}]", node("orderer1", "NodePort", *port)).expect("text");
                node("peer1", "NodePort", port + 1)
            } else {
                if self.later_orders.0 {
                    writeln!(text, "      orderers: [{}]", node("orderer1", "NodePort", *port)).expect("text");
                }
                node("peer1", "LoadBalancer", BALANCED_PORT)
            };
            writeln!(text, "      peers: [{peer}]").expect("text");
        }
        let names: Vec<&str> = FOUNDERS.into_iter().chain(self.later.1.then_some(LATER)).collect();
        let consenters = FOUNDERS.into_iter().chain(self.later_orders.1.then_some(LATER));
        let consenters: Vec<String> = consenters.map(|name| format!("{name}/orderer1")).collect();
        let consenters = consenters.join(", ");
        writeln!(
            text,
            "  channels:\n    - name: {CHANNEL}\n      members: [{}]\n      consensus: {{consenters: [{consenters}]}}\n      \
             batch: {{maxMessageCount: {}}}",
            names.join(", "),
            self.batch
        )
        .expect("text");
        if self.contract {
            writeln!(
                text,
                "  chaincodes:\n    - name: assets\n      channel: {CHANNEL}\n      version: \"1.0\"\n      source: {{image: \
                 \"localhost/tenter/assets:1.0\"}}"
            )
            .expect("text");
        }
        text
    }

    /// Commits what stands in the work tree, and the definition, where everybody reads it.
    pub fn publish(&self) {
        self.world("acme").commit(&self.definition());
        self.world("acme").git(&["push", "-q", "origin", "HEAD:main"]);
    }

    /// An organization's folder out of its cluster into the work tree.
    fn export(&self, name: &str) {
        let tree = self.world("acme").repository();
        self.succeeds(name, &["export", name, "--to", tree.to_str().expect("UTF-8")]);
    }

    /// An organization's consent to what the definition says of it now, into the work tree.
    async fn consent(&self, name: &str) {
        let tree = self.world("acme").repository();
        std::fs::write(tree.join("network.yaml"), self.definition()).expect("the definition");
        let [key, certificate] = self.administrator(name).await;
        let tree = tree.to_str().expect("UTF-8");
        self.succeeds(name, &["consent", name, tree, "--key", &key, "--cert", &certificate]);
    }

    /// Signs a proposal's update as one who has the key of a member's administrator, and no cluster.
    async fn sign(&self, name: &str, about: &str) {
        let digest = self.digest(name, about).await.expect("an open proposal");
        let [key, certificate] = self.administrator(name).await;
        let (update, msp_id) = (format!("{CHANNEL}/{digest}"), signatures::msp_id(name));
        let cache = tempfile::tempdir().expect("a folder");
        let output = Command::new(env!("CARGO_BIN_EXE_tenter"))
            .args([
                "sign",
                "--yes",
                &update,
                "--repository",
                &self.url,
                "--msp-id",
                &msp_id,
                "--key",
                &key,
                "--cert",
                &certificate,
            ])
            .env("KUBECONFIG", cache.path().join("none"))
            .env("TENTER_CACHE_DIR", cache.path())
            .output()
            .expect("tenter");
        assert!(output.status.success(), "{name} signs: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Files with the key and the certificate of a member's configuration administrator.
    async fn administrator(&self, name: &str) -> [String; 2] {
        let world = self.world(name);
        let secrets = Api::<Secret>::namespaced(world.client.clone(), &world.organization(name));
        let data = secrets.get("identity-config-admin").await.expect("the Secret").data.expect("data");
        ["tls.key", "tls.crt"].map(|entry| {
            let file = world.directory().join(entry);
            std::fs::write(&file, &data[entry].0).expect("a file");
            file.to_str().expect("UTF-8").to_owned()
        })
    }

    /// Runs the program as a member.
    fn succeeds(&self, name: &str, arguments: &[&str]) -> String {
        let output = self.world(name).run(arguments);
        assert!(output.status.success(), "{name}: {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Proposals of a member's daemon about one thing, by the text of their changes: name and status.
    pub async fn proposals(&self, name: &str, about: &str) -> Vec<(String, Value)> {
        let world = self.world(name);
        let list = world.objects("Proposal", &world.namespace).list(&ListParams::default()).await.expect("proposals");
        let about = list.items.into_iter().filter(|object| concerns(object, about));
        about.map(|object| (object.metadata.name.unwrap_or_default(), object.data["status"].clone())).collect()
    }

    /// Digest of a member's open proposal about one thing.
    pub async fn digest(&self, name: &str, about: &str) -> Option<String> {
        let world = self.world(name);
        let list = world.objects("Proposal", &world.namespace).list(&ListParams::default()).await.expect("proposals");
        let open = |object: &DynamicObject| object.data["status"]["phase"] == "Collecting";
        let found = list.items.into_iter().find(|object| concerns(object, about) && open(object));
        found.and_then(|object| object.data["spec"]["digest"].as_str().map(str::to_owned))
    }

    /// Waits until the proposal about one thing is in a phase, for each of these; returns its name and the signers that any saw.
    pub async fn proposal(&self, who: &[&str], about: &str, phase: &str) -> (String, Vec<String>) {
        let mut found = (String::new(), Vec::new());
        for name in who {
            let what = format!("the proposal about {about} to be {phase} for {name}");
            let (proposal, status) = self
                .world(name)
                .eventually(&what, async || {
                    let all = self.proposals(name, about).await;
                    all.iter().find(|(_, status)| status["phase"] == phase).cloned().ok_or_else(|| format!("{all:?}"))
                })
                .await;
            found.0 = proposal;
            let signers = status["signed"].as_str().unwrap_or_default().split(',').filter(|signer| !signer.is_empty());
            found.1.extend(signers.map(str::to_owned));
        }
        found.1.sort();
        found.1.dedup();
        found
    }

    /// Votes as the organization's administrator, who may do nothing else.
    pub async fn vote(&self, name: &str, about: &str, choice: &str) {
        let (proposal, _) = self.proposal(&[name], about, "Collecting").await;
        let world = self.world(name);
        let kubeconfig = impersonating(world, &format!("{name}-admin"));
        let place = world.organization(name);
        let arguments = [
            "vote",
            choice,
            &proposal,
            "--organization",
            name,
            "--organization-namespace",
            &place,
            "--reason",
            "a test",
        ];
        // Its membership may say a moment later that the vote is waited for.
        world
            .eventually(&format!("{name} to {choice} {proposal}"), async || {
                let output =
                    world.tenter().env("KUBECONFIG", &kubeconfig).args(arguments).output().expect("the program");
                if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
            })
            .await;
    }

    /// Waits until every one of these has its channel active and its peers joined.
    async fn active(&self, who: &[&str]) {
        for name in who {
            let world = self.world(name);
            world.phase("Channel", &world.namespace, CHANNEL, "Active").await;
            world.joined(&world.organization(name), CHANNEL).await;
        }
    }
}

/// All that was exchanged went by the repository of the signatures.
fn the_definition_was_only_read(consortium: &Consortium) {
    let world = consortium.world("acme");
    let refs = |url: &str| world.git(&["ls-remote", "--refs", url]);
    let definition = world.git(&["remote", "get-url", "origin"]);
    let names: Vec<String> =
        refs(&definition).lines().filter_map(|line| line.split_whitespace().nth(1).map(str::to_owned)).collect();
    assert_eq!(names, ["refs/heads/main"], "nothing but people's commits in the repository of the definition");
    let signatures = refs(&consortium.url);
    assert!(signatures.contains("refs/heads/tenter/signatures"), "{signatures}");
}

/// What an organization's administrator may do, asked of the API server for that user.
fn may(world: &World, user: &str, verb: &str, resource: &str, namespace: &str) -> bool {
    let mut command = Command::new("kubectl");
    if let Some(kubeconfig) = &world.kubeconfig {
        command.env("KUBECONFIG", kubeconfig);
    }
    let output = command.args(["auth", "can-i", verb, resource, "-n", namespace, "--as", user]).output();
    match String::from_utf8_lossy(&output.expect("kubectl").stdout).trim() {
        "yes" => true,
        "no" => false,
        other => panic!("{verb} {resource} in {namespace}: {other}"),
    }
}

/// Administrators have their own namespace, and there no keys, no shells and no workloads.
fn administrators_have_their_namespace_alone(consortium: &Consortium) {
    let world = consortium.world("acme");
    let (own, other) = (world.organization("acme"), world.organization("initech"));
    for (verb, resource, namespace, expect) in [
        ("get", "peers.tenter.dev", &own, true),
        ("list", "memberships.tenter.dev", &own, true),
        ("list", "identities.tenter.dev", &own, true),
        ("create", "identities.tenter.dev", &own, false),
        ("list", "identities.tenter.dev", &other, false),
        ("create", "votes.tenter.dev", &own, true),
        ("create", "votes.tenter.dev", &other, false),
        ("get", "peers.tenter.dev", &other, false),
        ("get", "secrets", &own, false),
        ("list", "secrets", &own, false),
        ("create", "pods", &own, false),
        ("create", "pods/exec", &own, false),
        ("patch", "statefulsets.apps", &own, false),
        ("create", "deployments.apps", &own, false),
        ("patch", "peers.tenter.dev", &own, false),
        ("create", "votes.tenter.dev", &world.namespace, false),
        ("patch", "consortia.tenter.dev", &world.namespace, false),
    ] {
        assert_eq!(may(world, "acme-admin", verb, resource, namespace), expect, "{verb} {resource} in {namespace}");
    }
}

/// Each founder's nodes run; what others need of them is exported, and the block that all join is computed.
async fn found(consortium: &Consortium) {
    consortium.publish();
    for name in FOUNDERS {
        consortium.world(name).start();
    }
    for name in FOUNDERS {
        let world = consortium.world(name);
        world.phase("Orderer", &world.organization(name), "orderer1", "Running").await;
        world.phase("Peer", &world.organization(name), "peer1", "Running").await;
        consortium.export(name);
    }
    consortium.publish();
    let tree = consortium.world("acme").repository();
    consortium.succeeds("acme", &["genesis", CHANNEL, tree.to_str().expect("UTF-8")]);
    consortium.publish();
    consortium.active(&FOUNDERS).await;
}

/// No daemon has taken on what is another organization's.
async fn no_daemon_acts_for_others(consortium: &Consortium) {
    for name in FOUNDERS {
        let world = consortium.world(name);
        for other in FOUNDERS.iter().filter(|other| **other != name) {
            let nodes = world.objects("Orderer", &world.organization(other)).list(&ListParams::default()).await;
            let daemon = &world.namespace;
            let taken = nodes.expect("orderers").items.into_iter().filter(|node| {
                let annotations = node.metadata.annotations.clone().unwrap_or_default();
                annotations.get("tenter.dev/daemon") == Some(daemon)
            });
            assert_eq!(taken.count(), 0, "{name}'s daemon acts for {other}");
        }
    }
}

/// Two of three sign another batch while the third's daemon is stopped, and both hand it in at once. When the third comes
/// back it takes the channel as it is.
async fn change_without_the_third(consortium: &mut Consortium) {
    consortium.world("initech").kill();
    let broadcasts = Arc::new(Broadcasts::default());
    broadcasts.fail(Some(Fault::Together(2)));
    for name in ["acme", "globex"] {
        consortium.restart_behind(name, &broadcasts).await;
    }
    consortium.batch = 101;
    consortium.publish();
    consortium.vote("acme", "101", "approve").await;
    signatures::others_are_refused(consortium, "101").await;
    // Signed where no daemon is, it is enough for both of them at the same time.
    consortium.sign("globex", "101").await;
    let (_, signed) = consortium.proposal(&["acme", "globex"], "101", "Committed").await;
    assert_eq!(signed, ["AcmeMSP", "GlobexMSP"]);
    assert_eq!(broadcasts.orderers(), 2, "two handed it in, each to its own orderer");
    assert_eq!(signatures::configuration(consortium, "acme").await.config().sequence, 1, "made once");
    consortium.world("initech").start();
    consortium.active(&FOUNDERS).await;
    let world = consortium.world("initech");
    world
        .eventually("initech to have taken up the definition", async || {
            let status = world.status().await;
            if status["phase"] == "Applied" { Ok(()) } else { Err(status.to_string()) }
        })
        .await;
    let reverse = consortium.proposals("initech", "500").await;
    let reverse: Vec<_> = reverse.iter().filter(|(_, status)| status["phase"] != "Committed").collect();
    assert!(reverse.is_empty(), "a daemon that was stopped proposes what stood before: {reverse:?}");
}

/// Whether a proposal changes something to a number, or names anything else that it is asked for. Ports and digests hold numbers too.
fn concerns(proposal: &DynamicObject, about: &str) -> bool {
    let changes = &proposal.data["spec"]["changes"];
    if about.parse::<u32>().is_ok() {
        return changes.as_array().is_some_and(|all| all.iter().any(|change| change["to"] == about));
    }
    changes.to_string().contains(about)
}

/// What a cloud does for a Service of type `LoadBalancer`: gives it an address, here that of the cluster's node.
async fn balance(member: &Member, organization: &str) {
    let world = &member.world;
    let services = Api::<Service>::namespaced(world.client.clone(), &world.organization(organization));
    let address = json!({"status": {"loadBalancer": {"ingress": [{"ip": member.host}]}}});
    world
        .eventually("the Service of the balancer", async || {
            let service = services.get("peer1-external").await.map_err(|error| error.to_string())?;
            let kind = service.spec.and_then(|spec| spec.type_);
            if kind.as_deref() == Some("LoadBalancer") { Ok(()) } else { Err(format!("it is a {kind:?}")) }
        })
        .await;
    let patch = Patch::Merge(address);
    services.patch_status("peer1-external", &PatchParams::default(), &patch).await.expect("the balancer's address");
}

/// A pull request is the invitation; the members vote, and the newcomer's own daemon joins its peer.
async fn invite(consortium: &mut Consortium) {
    consortium.later.0 = true;
    consortium.publish();
    let world = consortium.world(LATER);
    world.start();
    balance(&consortium.members[LATER], LATER).await;
    world.phase("Peer", &world.organization(LATER), "peer1", "Running").await;
    consortium.export(LATER);
    consortium.later.1 = true;
    consortium.consent(LATER).await;
    consortium.publish();
    let world = consortium.world(LATER);
    world.phase("Membership", &world.organization(LATER), CHANNEL, "Invited").await;
    consortium.vote("globex", LATER, "approve").await;
    consortium.vote("initech", LATER, "approve").await;
    consortium.active(&EVERYBODY).await;
}

/// A contract: each installs and approves for itself, one of them commits.
async fn serve_a_contract(consortium: &mut Consortium) {
    consortium.contract = true;
    consortium.publish();
    for name in EVERYBODY {
        let world = consortium.world(name);
        world.phase("Chaincode", &world.namespace, &format!("{CHANNEL}-assets"), "Serving").await;
    }
    consortium.succeeds("acme", &["invoke", "assets", "Create", "a1", "alice", "100"]);
    let world = consortium.world(LATER);
    world
        .eventually("the newcomer's peer to answer", async || {
            let output = world.run(&["-o", "json", "query", "assets", "Read", "a1"]);
            if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
        })
        .await;
}

/// A daemon that looks at the repository every hour is not asked, and sees the others' change in the channel first. It reads
/// the repository then, and never proposes what stood before.
async fn one_that_reads_late_follows(consortium: &mut Consortium) {
    let world = consortium.world("initech");
    let api = world.objects("Consortium", &world.namespace);
    let patch = Patch::Merge(json!({"spec": {"source": {"intervalSeconds": 3600}}}));
    api.patch(&world.name, &PatchParams::default(), &patch).await.expect("the settings");
    let read = |status: &Value| status["lastAttemptedRevision"].as_str().unwrap_or_default().to_owned();
    let generation = api.get(&world.name).await.expect("the Consortium").metadata.generation;
    world
        .eventually("the settings to be taken up", async || {
            let status = world.status().await;
            let seen = status["observedGeneration"] == json!(generation) && status["phase"] == "Applied";
            if seen { Ok(()) } else { Err(status.to_string()) }
        })
        .await;
    consortium.batch = 106;
    consortium.publish();
    let newest = consortium.world("acme").git(&["rev-parse", "HEAD"]);
    consortium.vote("acme", "106", "approve").await;
    consortium.vote("globex", "106", "approve").await;
    let world = consortium.world("initech");
    world
        .eventually("initech to read what the others agreed on", async || {
            let all = consortium.proposals("initech", "105").await;
            let reverse = all.iter().find(|(_, status)| status["phase"] == "Collecting");
            assert!(reverse.is_none(), "it proposes what stood before: {reverse:?}");
            let status = world.status().await;
            if read(&status) == newest { Ok(()) } else { Err(status.to_string()) }
        })
        .await;
    consortium.active(&FOUNDERS).await;
    let patch = Patch::Merge(json!({"spec": {"source": {"intervalSeconds": 2}}}));
    let api = world.objects("Consortium", &world.namespace);
    api.patch(&world.name, &PatchParams::default(), &patch).await.expect("the settings");
}

/// The newcomer orders as well: first its organization is let in, then its orderer, which follows the channel already. Each
/// is an update that the others vote on.
async fn order_with_a_fourth(consortium: &mut Consortium) {
    consortium.later_orders.0 = true;
    consortium.publish();
    let world = consortium.world(LATER);
    world.phase("Orderer", &world.organization(LATER), "orderer1", "Running").await;
    consortium.export(LATER);
    consortium.later_orders.1 = true;
    consortium.publish();
    let organization = format!("/Channel/Orderer/{LATER}/MSP/msp_id");
    for name in ["globex", "initech"] {
        consortium.vote(name, &organization, "approve").await;
    }
    consortium.proposal(&FOUNDERS, &organization, "Committed").await;
    let Member { host, port, .. } = &consortium.members[LATER];
    let address = format!("ConsensusType/consenters/{host}:{port}");
    // Of four that order now, three are a majority.
    for name in FOUNDERS {
        consortium.vote(name, &address, "approve").await;
    }
    consortium.proposal(&FOUNDERS, &address, "Committed").await;
    let world = consortium.world(LATER);
    let channels = world.objects("Channel", &world.namespace);
    world
        .eventually("its orderer to order", async || {
            let channel = channels.get(CHANNEL).await.map_err(|error| error.to_string())?;
            let status = &channel.data["status"];
            let relation = &status["nodes"][0]["relation"];
            if relation == "consenter" && status["phase"] == "Active" { Ok(()) } else { Err(status.to_string()) }
        })
        .await;
}

/// Two of the four who have orderers reject: nobody can make it pass any more.
async fn vote_down(consortium: &mut Consortium) {
    consortium.batch = 102;
    consortium.publish();
    consortium.vote("initech", "102", "reject").await;
    consortium.vote("globex", "102", "reject").await;
    consortium.proposal(&EVERYBODY, "102", "Rejected").await;
}

/// The one who began it is lost for good, daemon and nodes; the others go on.
async fn go_on_without_the_first(consortium: &mut Consortium) {
    let world = consortium.world("acme");
    world.kill();
    let sets = Api::<StatefulSet>::namespaced(world.client.clone(), &world.organization("acme"));
    for name in ["orderer1", "peer1"] {
        let stop = Patch::Merge(json!({"spec": {"replicas": 0}}));
        sets.patch(name, &PatchParams::default(), &stop).await.expect("stopped");
    }
    consortium.batch = 103;
    consortium.publish();
    let left = ["globex", "initech", LATER];
    for name in left {
        consortium.vote(name, "103", "approve").await;
    }
    let (_, signed) = consortium.proposal(&left, "103", "Committed").await;
    assert_eq!(signed, ["GlobexMSP", "InitechMSP", "UmbrellaMSP"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn members_agree_without_a_coordinator() {
    announce("members without a coordinator");
    let began = Instant::now();
    let told = |what: &str| println!("members: {what} after {:.0} s", began.elapsed().as_secs_f32());
    let mut consortium = Consortium::new().await;
    found(&consortium).await;
    told("formed by three founders");
    no_daemon_acts_for_others(&consortium).await;
    administrators_have_their_namespace_alone(&consortium);
    change_without_the_third(&mut consortium).await;
    told("two of three signed while the third was stopped");
    signatures::stale_after_an_outside_change(&mut consortium).await;
    told("a signature was stale after an outside change");
    one_that_reads_late_follows(&mut consortium).await;
    told("one that reads late followed");
    invite(&mut consortium).await;
    told("a fourth was invited, voted in, and joined");
    serve_a_contract(&mut consortium).await;
    told("a contract was approved and committed across all");
    order_with_a_fourth(&mut consortium).await;
    told("the fourth orders as well");
    vote_down(&mut consortium).await;
    told("a change was voted down");
    go_on_without_the_first(&mut consortium).await;
    told("the others went on without the one who began it");
    the_definition_was_only_read(&consortium);
}
