//! Chaincodes, and entries of `spec.retired`.

use super::Context;
use super::policies::check_endorsement;
use crate::definition::{ChaincodeEntry, CollectionEntry};
use crate::diagnostic::quoted;
use crate::network::{Channel, RetiredTarget};
use crate::path::Path;
use crate::rules;
use crate::values::Image;

const SYSTEM: &[&str] = &["cscc", "escc", "lscc", "qscc", "vscc", "_lifecycle"];

pub(super) fn check(context: &mut Context<'_>) {
    let entries = context.spec.chaincodes.as_deref().unwrap_or_default();
    let network = context.network;
    let section = Path::spec("chaincodes");
    for (index, entry) in entries.iter().enumerate() {
        let path = section.index(index);
        check_names(context, entry, &path);
        let channel = network.channels.iter().find(|channel| channel.name == entry.channel);
        if channel.is_none() {
            let known = network.channels.iter().map(|channel| channel.name.as_str());
            context.unknown(rules::UNKNOWN_CHANNEL, &path.key("channel"), "channel", &entry.channel, known);
        }
        if let (Some(channel), Some(policy)) = (channel, &entry.endorsement) {
            check_endorsement(context, channel, policy, &path.key("endorsement"));
        }
        for (index, collection) in entry.collections.iter().flatten().enumerate() {
            check_collection(context, collection, channel, &path.key("collections").index(index));
        }
        let names = entry.collections.iter().flatten().enumerate();
        let names: Vec<_> = names
            .map(|(index, collection)| (collection.name.clone(), path.key("collections").index(index).key("name")))
            .collect();
        context.unique(rules::DUPLICATE_NAME, "the collection", "rename one of them", names);
    }
    let names = entries
        .iter()
        .enumerate()
        .map(|(index, entry)| (format!("{}/{}", entry.channel, entry.name), section.index(index).key("name")));
    context.unique(rules::DUPLICATE_NAME, "the chaincode", "rename one of them", names);
}

/// Letters and digits, joined by single `-` or `_` (`core/chaincode/lifecycle/scc.go`).
fn is_chaincode_name(text: &str) -> bool {
    text.split(['-', '_']).all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric()))
}

fn check_names(context: &mut Context<'_>, entry: &ChaincodeEntry, path: &Path) {
    let ChaincodeEntry { name, version, source, .. } = entry;
    if !is_chaincode_name(name) || SYSTEM.contains(&name.as_str()) {
        let message = format!("{} cannot name a chaincode", quoted(name));
        let help = "use letters and digits, joined by single `-` or `_`, and no system chaincode's name";
        context.report(rules::CHAINCODE_NAME, &path.key("name"), message, help);
    }
    if version.is_empty() || !version.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.+-".contains(&byte)) {
        let message = format!("{} is not a chaincode version", quoted(version));
        context.report(
            rules::CHAINCODE_VERSION,
            &path.key("version"),
            message,
            "use letters, digits, `_`, `.`, `+` and `-`",
        );
    }
    let path = path.key("source");
    match (&source.image, &source.package) {
        (Some(image), None) => {
            if Image::parse(image).is_none() {
                let message = format!("{} is not a complete image reference", quoted(image));
                context.report(
                    rules::IMAGE,
                    &path.key("image"),
                    message,
                    "name registry and path: `ghcr.io/example/asset:1.0`",
                );
            }
        }
        (None, Some(package)) => {
            let plain = package.split('/').all(|part| !part.is_empty() && part != "." && part != "..");
            if !plain {
                let message = format!("{} is not a path in the repository", quoted(package));
                context.report(
                    rules::CHAINCODE_SOURCE,
                    &path.key("package"),
                    message,
                    "write it from the repository's root: `chaincodes/asset.tar.gz`",
                );
            }
        }
        (None, None) | (Some(_), Some(_)) => {
            let message = "a source is one of `image` and `package`".to_owned();
            context.report(rules::CHAINCODE_SOURCE, &path, message, "keep exactly one");
        }
    }
}

fn check_collection(context: &mut Context<'_>, entry: &CollectionEntry, channel: Option<&Channel>, path: &Path) {
    let name = &entry.name;
    let letters = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if name.is_empty() || name.starts_with('_') || !name.bytes().all(letters) {
        let message = format!("{} cannot name a collection", quoted(name));
        context.report(
            rules::COLLECTION,
            &path.key("name"),
            message,
            "use letters, digits, `-` and `_`; do not begin with `_`",
        );
    }
    let (required, most) = (entry.required_peer_count.unwrap_or(0), entry.max_peer_count.unwrap_or(1));
    if required > most {
        let message = format!("requiredPeerCount ({required}) is more than maxPeerCount ({most})");
        context.report(rules::COLLECTION, &path.key("requiredPeerCount"), message, "raise maxPeerCount");
    }
    let Some(channel) = channel else { return };
    let known = channel.members.iter().map(|member| member.organization.as_str());
    for (index, member) in entry.members.iter().enumerate() {
        if !known.clone().any(|name| name == member) {
            let path = path.key("members").index(index);
            let what = format!("member of channel {} named", channel.name);
            context.unknown(rules::COLLECTION_MEMBER, &path, &what, member, known.clone());
        }
    }
    let names = entry.members.iter().enumerate().map(|(index, name)| (name.clone(), path.key("members").index(index)));
    context.unique(rules::DUPLICATE_ENTRY, "the member", "list each organization once", names);
}

pub(super) fn check_retired(context: &mut Context<'_>) {
    let network = context.network;
    let section = Path::spec("retired");
    let mut targets = Vec::new();
    for (index, entry) in context.spec.retired.iter().flatten().enumerate() {
        let path = section.index(index);
        let Some(target) = RetiredTarget::of(entry) else {
            let message = "the entry does not name exactly one thing".to_owned();
            let help = "use one of `organization: acme`, `orderer: hub/orderer1`, `peer: acme/peer1`, `channel: trade`, `member: trade/acme`";
            context.report(rules::RETIRED_TARGET, &path, message, help);
            continue;
        };
        let present = match &target {
            RetiredTarget::Organization(name) => network.organization(name).is_some(),
            RetiredTarget::Orderer(organization, name) => network
                .organization(organization)
                .is_some_and(|organization| organization.orderers.iter().any(|node| node.name == *name)),
            RetiredTarget::Peer(organization, name) => network
                .organization(organization)
                .is_some_and(|organization| organization.peers.iter().any(|node| node.name == *name)),
            RetiredTarget::Channel(name) => network.channels.iter().any(|channel| channel.name == *name),
            RetiredTarget::Member(channel, organization) => network
                .channels
                .iter()
                .any(|other| other.name == *channel && other.participants().contains(organization.as_str())),
        };
        if present {
            let message = format!("{target} is retired here, and still in the file");
            context.report(rules::RETIRED_PRESENT, &path, message, "remove the one or the other");
        }
        targets.push((target.to_string(), path));
    }
    context.unique(rules::DUPLICATE_ENTRY, "the entry for", "keep one of them", targets);
}
