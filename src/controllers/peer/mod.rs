//! Peers.

mod config;

use kube::ResourceExt as _;
use serde_json::json;
use tenter_consortium::chaincode::BUILDER_KEYS;
use tenter_consortium::objects::LABEL_ORGANIZATION;
use tenter_fabric::ca::Role;

use super::apply;
use super::conditions::Verdict;
use super::context::Context;
use super::failure::Failure;
use super::node::observe::neighbour;
use super::node::{ConfigInput, Neighbourhood, NodeController, NodeKind, OPERATIONS_PORT, Port, Surroundings};
use crate::resources::Peer;

/// The controller of [`Peer`] objects.
pub type PeerController = NodeController<PeerKind>;

/// What is a peer's own.
#[derive(Clone, Copy, Debug)]
pub struct PeerKind;

impl NodeKind for PeerKind {
    type Object = Peer;

    const COMPONENT: &'static str = "peer";
    const ROLE: Role = Role::Peer;
    const COMMAND: &'static [&'static str] = &["peer", "node", "start"];
    const CONFIG_FILE: &'static str = "core.yaml";
    const DATA: &'static str = "/var/hyperledger/production";
    /// What its builders made of the installed packages. A peer never builds one again while it has a build
    /// (`core/container/externalbuilder/externalbuilder.go`), so that a renewed root certificate would not get into it; one
    /// that starts without builds makes them all.
    const SCRATCH: &'static [(&'static str, &'static str)] = &[("builds", "externalbuilder/builds")];
    const PORTS: &'static [Port] = &[Port { name: "grpc", number: 7051 }, Port { name: "chaincode", number: 7052 }];
    const ADMIN_PORTS: &'static [Port] = &[Port { name: "operations", number: OPERATIONS_PORT }];

    fn config(input: &ConfigInput<'_>) -> String {
        config::core_yaml(input, Self::PORTS[0].number, Self::PORTS[1].number, Self::DATA)
    }

    /// What the builder of chaincode that runs as a service fills into a package's `connection.json`
    /// (`ccaas_builder/cmd/build/main.go`): a package's bytes are the same for every organization, where it is served
    /// is not.
    fn environment(input: &ConfigInput<'_>) -> Vec<(&'static str, String)> {
        let [namespace, root_cert] = BUILDER_KEYS;
        let places = json!({namespace: input.namespace, root_cert: input.tls_roots});
        vec![(config::CCAAS_BUILDER_CONFIG, places.to_string())]
    }

    /// The other peers of the organization: one is restarted at a time. One that is lost is not waited for.
    async fn neighbours(around: &Surroundings<'_>, object: &Peer) -> Result<Neighbourhood, Failure> {
        let namespace = object.namespace().unwrap_or_default();
        let same = format!("{LABEL_ORGANIZATION}={}", object.spec.organization);
        let mut nodes = Vec::new();
        for peer in apply::list::<Peer>(around.ctx, &namespace, &same).await? {
            if peer.name_any() != object.name_any() && peer.metadata.deletion_timestamp.is_none() {
                nodes.push(neighbour(around.ctx, &namespace, &peer.name_any()).await?.0);
            }
        }
        Ok(Neighbourhood { nodes, channels: Vec::new() })
    }

    /// A channel goes on without a peer.
    async fn in_use(_ctx: &Context, _object: &Peer) -> Result<Option<Verdict>, Failure> {
        Ok(None)
    }
}
