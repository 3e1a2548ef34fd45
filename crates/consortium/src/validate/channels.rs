//! Channels: who orders, who takes part, and with which settings.

use std::collections::BTreeSet;

use super::nodes::is_duration;
use super::{Context, organization_path};
use crate::definition::{ChannelEntry, MemberEntry, Size};
use crate::diagnostic::quoted;
use crate::network::{Channel, OptionKind, Organization, consensus_options, oldest_version};
use crate::objects::ConsensusType;
use crate::path::Path;
use crate::rules;
use crate::values::{self, Address, Version};

/// Longest channel name: labels of Kubernetes carry it, and Fabric's own limit is 249.
const NAME_LIMIT: usize = 63;
/// Most bytes that an orderer takes as one message (100 MiB, gRPC's limit in Fabric).
const MESSAGE_LIMIT: u32 = 100 << 20;
const CHANNEL_CAPABILITIES: &[&str] = &["V1_1", "V1_3", "V1_4_2", "V1_4_3", "V2_0", "V3_0"];
const ORDERER_CAPABILITIES: &[&str] = &["V1_1", "V1_4_2", "V2_0"];
const APPLICATION_CAPABILITIES: &[&str] = &["V1_1", "V1_2", "V1_3", "V1_4_2", "V2_0", "V2_5"];

pub(super) fn check(context: &mut Context<'_>) {
    let (spec, network) = (context.spec, context.network);
    let entries = spec.channels.as_deref().unwrap_or_default();
    let section = Path::spec("channels");
    for (index, (entry, channel)) in entries.iter().zip(&network.channels).enumerate() {
        let path = section.index(index);
        check_name(context, &channel.name, &path.key("name"));
        check_organizer(context, entry, channel, &path);
        check_consenters(context, entry, channel, &path);
        check_members(context, entry, channel, &path);
        check_consensus(context, entry, channel, &path);
        check_capabilities(context, channel, &path);
        check_batch(context, entry, channel, &path.key("batch"));
    }
    let names = entries.iter().enumerate().map(|(index, entry)| (entry.name.clone(), section.index(index).key("name")));
    context.unique(rules::DUPLICATE_NAME, "the channel", "rename one of them", names);
    check_local_addresses(context);
}

fn check_name(context: &mut Context<'_>, name: &str, path: &Path) {
    let letters = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let part =
        |part: &str| !part.is_empty() && part.bytes().all(letters) && !part.starts_with('-') && !part.ends_with('-');
    let starts = name.starts_with(|first: char| first.is_ascii_lowercase());
    if !starts || !name.split('.').all(part) || name.len() > NAME_LIMIT {
        let message = format!("{} cannot name a channel", quoted(name));
        let help =
            "use small letters, digits, `-` and `.`: begin with a letter, end with a letter or digit, at most 63";
        context.report(rules::CHANNEL_NAME, path, message, help);
    }
}

fn check_organizer(context: &mut Context<'_>, entry: &ChannelEntry, channel: &Channel, path: &Path) {
    let Some(organizer) = &entry.organizer else { return };
    let path = path.key("organizer");
    if context.organization(organizer, &path).is_some() && !channel.participants().contains(organizer.as_str()) {
        let message = format!("organization {organizer} forms the channel and takes no part in it");
        context.report(
            rules::ORGANIZER,
            &path,
            message,
            "name one of its orderers as consenter, or add it to `members`",
        );
    }
}

fn check_consenters(context: &mut Context<'_>, entry: &ChannelEntry, channel: &Channel, path: &Path) {
    let named = entry.consensus.as_ref().and_then(|consensus| consensus.consenters.as_ref());
    let consensus = path.key("consensus");
    let place = if named.is_some() { consensus.key("consenters") } else { consensus.clone() };
    for (index, name) in named.into_iter().flatten().enumerate() {
        let path = place.index(index);
        let Some((organization, orderer)) = name.split_once('/') else {
            let message = format!("{} is not a consenter", quoted(name));
            context.report(rules::CONSENTER, &path, message, "write `organization/orderer`, such as `hub/orderer1`");
            continue;
        };
        let Some(organization) = context.organization(organization, &path) else { continue };
        let known = organization.orderers.iter().map(|node| node.name.as_str());
        if !known.clone().any(|name| name == orderer) {
            let what = format!("orderer of organization {} named", organization.name);
            context.unknown(rules::UNKNOWN_ORDERER, &path, &what, orderer, known);
        }
    }
    let written = named.into_iter().flatten().enumerate().map(|(index, name)| (name.clone(), place.index(index)));
    context.unique(rules::DUPLICATE_ENTRY, "the consenter", "name each orderer once", written);

    let count = channel.consenters.iter().collect::<BTreeSet<_>>().len();
    // An organizer that does not exist, or consenters that cannot be read, are said where they stand.
    let organizer = entry.organizer.as_ref().is_some_and(|name| context.network.organization(name).is_none());
    if count == 0 && (organizer || named.is_some_and(|named| !named.is_empty())) {
        return;
    }
    let (rule, message, help) = match (channel.consensus_type, count) {
        (_, 0) => (
            rules::NO_CONSENTERS,
            "the channel has no consenters".to_owned(),
            "give the organizer `orderers`, or list `consensus.consenters`",
        ),
        (ConsensusType::Bft, 1..=3) => {
            (rules::BFT_CONSENTERS, format!("BFT has {count} consenters here, it needs four or more"), "add orderers")
        }
        (ConsensusType::EtcdRaft, 1) => (
            rules::SINGLE_CONSENTER,
            "the channel has one consenter".to_owned(),
            "use three, of different failure domains",
        ),
        (ConsensusType::EtcdRaft, count) if count % 2 == 0 => (
            rules::RAFT_EVEN,
            format!("{count} consenters tolerate no more failures than {}", count - 1),
            "use an odd number",
        ),
        _ => return,
    };
    context.report(rule, &place, message, help);
}

fn check_members(context: &mut Context<'_>, entry: &ChannelEntry, channel: &Channel, path: &Path) {
    let path = path.key("members");
    if entry.members.is_empty() {
        context.report(
            rules::NO_MEMBERS,
            &path,
            "the channel has no members".to_owned(),
            "list the organizations that use it",
        );
    }
    let mut names = Vec::new();
    for (index, (entry, member)) in entry.members.iter().zip(&channel.members).enumerate() {
        let path = path.index(index);
        let (settings, name_path) = match entry {
            MemberEntry::Name(_) => (None, path.clone()),
            MemberEntry::Member(settings) => (Some(settings), path.key("organization")),
        };
        names.push((member.organization.clone(), name_path.clone()));
        let Some(organization) = context.organization(&member.organization, &name_path) else { continue };
        if member.peers.is_empty() {
            let message = format!("member {} has no peers in the channel", organization.name);
            context.report(rules::NO_PEERS, &name_path, message, "give the organization `peers`");
        }
        let Some(settings) = settings else { continue };
        let known = organization.peers.iter().map(|node| node.name.as_str());
        let what = format!("peer of organization {} named", organization.name);
        for (key, peers) in [("peers", &settings.peers), ("anchors", &settings.anchors)] {
            let path = path.key(key);
            for (index, peer) in peers.iter().flatten().enumerate() {
                let path = path.index(index);
                if !known.clone().any(|name| name == peer) {
                    context.unknown(rules::UNKNOWN_PEER, &path, &what, peer, known.clone());
                } else if !member.peers.contains(peer) {
                    let message = format!("anchor {} is not among the member's peers in the channel", quoted(peer));
                    context.report(rules::ANCHOR, &path, message, "add it to `peers`, or choose one of them");
                }
            }
            let names = peers.iter().flatten().enumerate().map(|(index, peer)| (peer.clone(), path.index(index)));
            context.unique(rules::DUPLICATE_ENTRY, "the peer", "name each peer once", names);
        }
    }
    context.unique(rules::DUPLICATE_ENTRY, "the member", "list each organization once", names);
}

/// The first organization whose consenters of a BFT channel know themselves by their exact certificates (`smartbft` before 3.1.2),
/// with its version. One without a patch is an image tag that moves: it is taken for the newest.
fn lost_by_renewal<'a>(channel: &Channel, organizations: &'a [Organization]) -> Option<&'a Organization> {
    if channel.consensus_type != ConsensusType::Bft {
        return None;
    }
    let old = |version: Version| match (version.major, version.minor) {
        (3, 1) => version.patch.is_some_and(|patch| patch < 2),
        older => older == (3, 0),
    };
    organizations.iter().find(|organization| {
        let orders = channel.consenters.iter().any(|(name, _)| *name == organization.name);
        orders && Version::parse(&organization.version).is_some_and(old)
    })
}

fn check_consensus(context: &mut Context<'_>, entry: &ChannelEntry, channel: &Channel, path: &Path) {
    let path = path.key("consensus");
    let oldest = oldest_version(channel, &context.network.organizations);
    if channel.consensus_type == ConsensusType::Bft && oldest < Version::V3_0 {
        let message = format!("BFT needs Fabric 3.0, and the channel has nodes of {}.{}", oldest.major, oldest.minor);
        context.report(rules::BFT_VERSION, &path.key("type"), message, "use `etcdraft`, or newer nodes");
    }
    if let Some(Organization { name, version, .. }) = lost_by_renewal(channel, &context.network.organizations) {
        let message =
            format!("orderers of {name} run Fabric {version} and order no more once their certificates are renewed");
        context.report(rules::BFT_RENEWAL, &path.key("type"), message, "use Fabric 3.1.2 or newer for them");
    }
    let known = consensus_options(channel.consensus_type);
    let options = entry.consensus.as_ref().and_then(|consensus| consensus.options.as_ref());
    for (name, value) in options.into_iter().flatten() {
        let path = path.key("options").key(name);
        let value = value.to_string();
        let Some((_, kind, default)) = known.iter().find(|(known, ..)| known == name) else {
            let names = known.iter().map(|(name, ..)| *name);
            let what = if channel.consensus_type == ConsensusType::Bft { "BFT option" } else { "etcdraft option" };
            context.unknown(rules::CONSENSUS_OPTION, &path, what, name, names);
            continue;
        };
        let (valid, expected) = match kind {
            OptionKind::Duration => (is_duration(&value), "a duration above 0"),
            OptionKind::Count => (value.parse::<u32>().is_ok_and(|count| count > 0), "a whole number above 0"),
            OptionKind::Bytes => (values::bytes(&value).is_some_and(|bytes| bytes > 0), "a size above 0"),
        };
        if !valid {
            let message = format!("{} is not {expected}", quoted(&value));
            context.report(rules::CONSENSUS_OPTION, &path, message, format!("for example {default}"));
        }
    }
    let number = |name: &str| {
        let options = crate::network::all_options(channel.consensus_type, &channel.options);
        options.get(name).and_then(|value| value.parse::<u32>().ok())
    };
    if let (Some(election), Some(heartbeat)) = (number("electionTick"), number("heartbeatTick"))
        && election <= heartbeat
    {
        let message = format!("electionTick ({election}) is not greater than heartbeatTick ({heartbeat})");
        context.report(rules::CONSENSUS_OPTION, &path.key("options"), message, "use ten times heartbeatTick");
    }
}

fn check_capabilities(context: &mut Context<'_>, channel: &Channel, path: &Path) {
    let oldest = oldest_version(channel, &context.network.organizations);
    let path = path.key("capabilities");
    for (key, value, known) in [
        ("channel", &channel.capabilities.channel, CHANNEL_CAPABILITIES),
        ("orderer", &channel.capabilities.orderer, ORDERER_CAPABILITIES),
        ("application", &channel.capabilities.application, APPLICATION_CAPABILITIES),
    ] {
        if !known.contains(&value.as_str()) {
            let what = format!("{key} capability");
            context.unknown(rules::CAPABILITY_UNKNOWN, &path.key(key), &what, value, known.iter().copied());
        } else if value == "V3_0" && oldest < Version::V3_0 {
            let message =
                format!("V3_0 needs Fabric 3.0, and the channel has nodes of {}.{}", oldest.major, oldest.minor);
            context.report(rules::CAPABILITY_TOO_NEW, &path.key(key), message, "use `V2_0` until all nodes are newer");
        }
    }
    if channel.consensus_type == ConsensusType::Bft && channel.capabilities.channel != "V3_0" && oldest >= Version::V3_0
    {
        let message = format!("BFT needs channel capability V3_0, not {}", channel.capabilities.channel);
        context.report(rules::CAPABILITY_NEEDED, &path.key("channel"), message, "use `V3_0`");
    }
}

fn check_batch(context: &mut Context<'_>, entry: &ChannelEntry, channel: &Channel, path: &Path) {
    let Some(entry) = &entry.batch else { return };
    let mut whole = true;
    for (key, size) in
        [("absoluteMaxBytes", &entry.absolute_max_bytes), ("preferredMaxBytes", &entry.preferred_max_bytes)]
    {
        if let Some(Size::Text(text)) = size
            && values::bytes(text).is_none()
        {
            whole = false;
            let message = format!("{} is not a size", quoted(text));
            context.report(
                rules::QUANTITY,
                &path.key(key),
                message,
                "write a number of bytes, or a number and a unit: `2Mi`",
            );
        }
    }
    if let Some(timeout) = entry.timeout.as_ref().filter(|timeout| !is_duration(timeout)) {
        let message = format!("{} is not a duration above 0", quoted(timeout));
        context.report(
            rules::DURATION,
            &path.key("timeout"),
            message,
            "write a number and a unit, such as `2s` or `500ms`",
        );
    }
    let batch = &channel.batch;
    let finding = if batch.max_message_count == 0 {
        Some(("maxMessageCount", "a block would hold no transaction".to_owned(), "use 1 or more"))
    } else if !whole {
        None
    } else if batch.absolute_max_bytes == 0 || batch.absolute_max_bytes >= MESSAGE_LIMIT {
        Some((
            "absoluteMaxBytes",
            "the size of a block is above 0 and below 100 MiB".to_owned(),
            "use for example `10Mi`",
        ))
    } else if batch.preferred_max_bytes == 0 || batch.preferred_max_bytes > batch.absolute_max_bytes {
        let message = format!(
            "preferredMaxBytes ({}) is not between 1 and absoluteMaxBytes ({})",
            batch.preferred_max_bytes, batch.absolute_max_bytes
        );
        Some(("preferredMaxBytes", message, "make it smaller than absoluteMaxBytes"))
    } else {
        None
    };
    if let Some((key, message, help)) = finding {
        context.report(rules::BATCH, &path.key(key), message, help);
    }
}

/// Of channels with members that are hosted elsewhere, the nodes that only one cluster can find.
fn check_local_addresses(context: &mut Context<'_>) {
    let network = context.network;
    let elsewhere = &network.repository.organizations;
    let shared = network
        .channels
        .iter()
        .filter(|channel| channel.participants().iter().any(|name| elsewhere.iter().any(|other| other == name)));
    let shared: Vec<&Channel> = shared.collect();
    for (index, organization) in network.organizations.iter().enumerate() {
        for (section, nodes) in [("orderers", &organization.orderers), ("peers", &organization.peers)] {
            for (node_index, node) in nodes.iter().enumerate() {
                let channel = shared.iter().find(|channel| match section {
                    "orderers" => channel
                        .consenters
                        .iter()
                        .any(|(name, orderer)| *name == organization.name && *orderer == node.name),
                    _ => channel
                        .members
                        .iter()
                        .any(|member| member.organization == organization.name && member.anchors.contains(&node.name)),
                });
                let local = Address::parse(&node.address).is_some_and(|address| address.is_local());
                if let Some(channel) = channel.filter(|_| local) {
                    let message = format!(
                        "{} means something in one cluster only, and channel {} has members that are hosted elsewhere",
                        quoted(&node.address),
                        channel.name
                    );
                    let path = organization_path(index).key(section).index(node_index);
                    context.report(
                        rules::ADDRESS_LOCAL,
                        &path,
                        message,
                        "set an `address` that every member can resolve",
                    );
                }
            }
        }
    }
}
