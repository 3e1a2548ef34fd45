//! Which nodes of a channel are too old for the capabilities that its spec names.

use futures::future::FutureExt as _;
use tenter_consortium::objects::{ChannelSpec, ConsortiumSpec};
use tenter_consortium::observation::Observation;
use tenter_consortium::observed::NodeRef;
use tenter_consortium::values::Version;

use crate::controllers::channel::form::own_consenters;
use crate::controllers::gates;
use crate::nodes::{Node, NodeKind, Nodes};
use crate::observe::channel::{bounded, each};

/// The oldest Fabric that knows a capability, as `V2_5` and `V3_0` say of themselves.
fn since(capability: &str) -> Option<Version> {
    let mut parts = capability.strip_prefix('V')?.split('_');
    let major = parts.next()?.parse().ok()?;
    let minor = parts.next()?.parse().ok()?;
    Some(Version { major, minor, patch: None })
}

/// The release that a node names: `v3.1.5-rc1` is 3.1.5.
fn release(version: &str) -> Option<Version> {
    Version::parse(version.trim_start_matches('v').split(['-', '+']).next()?)
}

/// The channel's nodes, as far as this daemon acts for them, that do not know its capabilities; each with the version that
/// it says it runs. Unreachable when one could not be asked: what is not known is not taken for new enough.
pub async fn too_old(nodes: &Nodes, settings: &ConsortiumSpec, spec: &ChannelSpec) -> Observation<Vec<String>> {
    let names = [&spec.capabilities.channel, &spec.capabilities.orderer, &spec.capabilities.application];
    let Some(needed) = names.into_iter().filter_map(|name| since(name)).max() else {
        return Observation::Present { value: Vec::new() };
    };
    let mut all = own_consenters(spec, &settings.organizations);
    for member in &spec.members {
        if gates::admit(settings, &member.organization, &member.namespace).is_ok() {
            all.extend(member.peers.iter().map(|peer| Node {
                reference: NodeRef { namespace: member.namespace.clone(), name: peer.clone() },
                kind: NodeKind::Peer,
                msp_id: member.msp_id.clone(),
                address: String::new(),
                foreign: None,
            }));
        }
    }
    let answers = each(&all, |node| bounded(node, "version", nodes.version(node).boxed())).await;
    let (mut old, mut silent) = (Vec::new(), Vec::new());
    for (node, answer) in answers {
        match answer {
            Observation::Present { value } => match release(&value.version) {
                Some(version) if (version.major, version.minor) < (needed.major, needed.minor) => {
                    old.push(format!("{node} ({})", value.version));
                }
                Some(_) => {}
                None => silent.push(format!("{node} says that it runs {:?}, which is no version", value.version)),
            },
            other => silent.extend(other.evidence().map(str::to_owned)),
        }
    }
    if !old.is_empty() || silent.is_empty() {
        return Observation::Present { value: old };
    }
    Observation::Unreachable { evidence: silent.join("; ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_name_their_release() {
        let check = |name: &str, expect: Option<(u16, u16)>| {
            assert_eq!(since(name).map(|version| (version.major, version.minor)), expect, "{name}");
        };
        check("V3_0", Some((3, 0)));
        check("V2_5", Some((2, 5)));
        check("V1_4_2", Some((1, 4)));
        check("3_0", None);
        check("V3", None);
    }

    #[test]
    fn nodes_name_their_release_in_several_ways() {
        let check = |text: &str, expect: Option<(u16, u16)>| {
            assert_eq!(release(text).map(|version| (version.major, version.minor)), expect, "{text}");
        };
        check("3.1.5", Some((3, 1)));
        check("v2.5.12", Some((2, 5)));
        check("v3.1.5-sim", Some((3, 1)));
        check("latest", None);
    }
}
