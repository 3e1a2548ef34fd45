//! Orderers.

mod config;

use kube::ResourceExt;
use tenter_consortium::objects::LABEL_CONSORTIUM;
use tenter_fabric::ca::Role;

use super::apply;
use super::conditions::Verdict;
use super::context::Context;
use super::driver::Scope;
use super::failure::Failure;
use super::node::{ConfigInput, Neighbour, NodeController, NodeKind, OPERATIONS_PORT, Port, observe::neighbour};
use crate::resources::{Channel, Orderer, TenterObject as _};

/// The controller of [`Orderer`] objects.
pub type OrdererController = NodeController<OrdererKind>;

/// What is an orderer's own.
#[derive(Clone, Copy, Debug)]
pub struct OrdererKind;

impl NodeKind for OrdererKind {
    type Object = Orderer;

    const COMPONENT: &'static str = "orderer";
    const ROLE: Role = Role::Orderer;
    const COMMAND: &'static [&'static str] = &["orderer"];
    const CONFIG_FILE: &'static str = "orderer.yaml";
    const DATA: &'static str = "/var/hyperledger/production/orderer";
    const PORTS: &'static [Port] = &[Port { name: "grpc", number: 7050 }];
    const ADMIN_PORTS: &'static [Port] =
        &[Port { name: "admin", number: config::ADMIN_PORT }, Port { name: "operations", number: OPERATIONS_PORT }];

    fn config(input: &ConfigInput<'_>) -> String {
        config::orderer_yaml(input, Self::PORTS[0].number, Self::DATA)
    }

    /// The other consenters of its channels: any two of them down may be one too many.
    async fn neighbours(ctx: &Context, scope: &Scope, object: &Orderer) -> Result<Vec<Neighbour>, Failure> {
        let mut neighbours = Vec::new();
        for (namespace, name) in fellows(&channels(ctx, &scope.consortium.name_any()).await?, object) {
            // A consenter that is hosted elsewhere cannot be seen from here.
            neighbours.extend(neighbour(ctx, &namespace, &name).await?);
        }
        Ok(neighbours)
    }

    async fn in_use(ctx: &Context, object: &Orderer) -> Result<Option<Verdict>, Failure> {
        let Some(consortium) = object.consortium() else {
            return Ok(None);
        };
        let channels = channels(ctx, consortium).await?;
        let names: Vec<String> =
            channels.iter().filter(|channel| is_consenter(channel, object)).map(ResourceExt::name_any).collect();
        Ok((!names.is_empty()).then(|| {
            let message = format!(
                "{} stays: it is a consenter of {}; take it out of the channel first",
                object.describe(),
                names.join(", ")
            );
            Verdict::stalled("StillConsenter", message)
        }))
    }
}

/// The consortium's channels that stay.
async fn channels(ctx: &Context, consortium: &str) -> Result<Vec<Channel>, Failure> {
    let all = apply::list::<Channel>(ctx, &ctx.namespace, &format!("{LABEL_CONSORTIUM}={consortium}")).await?;
    Ok(all.into_iter().filter(|channel| channel.metadata.deletion_timestamp.is_none()).collect())
}

fn is_consenter(channel: &Channel, object: &Orderer) -> bool {
    let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
    channel.spec.consensus.consenters.iter().any(|other| other.namespace == namespace && other.orderer == name)
}

/// Namespace and name of the other consenters of an orderer's channels, in order.
fn fellows(channels: &[Channel], object: &Orderer) -> std::collections::BTreeSet<(String, String)> {
    let me = (object.namespace().unwrap_or_default(), object.name_any());
    channels
        .iter()
        .filter(|channel| is_consenter(channel, object))
        .flat_map(|channel| &channel.spec.consensus.consenters)
        .map(|other| (other.namespace.clone(), other.orderer.clone()))
        .filter(|other| *other != me)
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn channel(name: &str, consenters: &[(&str, &str)]) -> Channel {
        let consenters: Vec<_> = consenters
            .iter()
            .map(|(namespace, orderer)| {
                json!({"organization": "hub", "namespace": namespace, "orderer": orderer, "address": "a:7050"})
            })
            .collect();
        let object = json!({
            "metadata": {"name": name},
            "spec": {
                "consortium": "trade", "channel": name, "organizer": "hub", "ordererOrganizations": [], "members": [],
                "consensus": {"type": "etcdraft", "consenters": consenters},
                "policies": {"channel": {}, "orderer": {}, "application": {}},
                "capabilities": {"channel": "V2_0", "orderer": "V2_0", "application": "V2_5"},
                "batch": {
                    "maxMessageCount": 1, "absoluteMaxBytes": 1, "preferredMaxBytes": 1, "timeout": "2s",
                },
            },
        });
        serde_json::from_value(object).unwrap()
    }

    #[test]
    fn fellows_are_the_other_consenters_of_ones_own_channels() {
        let channels = [
            channel("one", &[("hub", "o1"), ("hub", "o2")]),
            channel("two", &[("hub", "o1"), ("acme", "o1")]),
            channel("three", &[("hub", "o3"), ("acme", "o9")]),
        ];
        let check = |namespace: &str, name: &str, expect: &[(&str, &str)]| {
            let spec = json!({
                "organization": "hub", "mspID": "HubMSP", "domain": "hub.example", "address": "a:7050", "image": "i",
                "version": "3.1", "resources": {"cpu": "1", "memory": "1Gi"}, "storage": {"size": "1Gi"},
            });
            let mut orderer = Orderer::new(name, serde_json::from_value(spec).unwrap());
            orderer.metadata.namespace = Some(namespace.to_owned());
            let found = fellows(&channels, &orderer);
            let expect: Vec<(String, String)> =
                expect.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
            assert_eq!(found.into_iter().collect::<Vec<_>>(), expect, "{namespace}/{name}");
        };
        check("hub", "o1", &[("acme", "o1"), ("hub", "o2")]);
        check("acme", "o1", &[("hub", "o1")]);
        check("hub", "o9", &[]);
    }
}
