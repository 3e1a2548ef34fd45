//! Chaincodes, and entries of `spec.retired`.

use tenter_fabric::chaincode::definition::{is_chaincode_name, is_chaincode_version, is_collection_name};
use tenter_fabric::chaincode::package::MAX_LABEL;

use super::Context;
use super::policies::check_endorsement;
use crate::chaincode::{LifecyclePolicy, SourceFileError, fits_object_name, label, object_name, read_package, text_of};
use crate::definition::{ChaincodeEntry, ChaincodeSource, CollectionEntry, ExternalEntry};
use crate::desired::channel_spec;
use crate::diagnostic::quoted;
use crate::document::{RepositoryItem, is_repository_path};
use crate::network::{Channel, RetiredTarget};
use crate::path::Path;
use crate::rules;
use crate::values::{Address, Image};

pub(super) fn check(context: &mut Context<'_>) {
    let entries = context.spec.chaincodes.as_deref().unwrap_or_default();
    let network = context.network;
    let section = Path::spec("chaincodes");
    for (index, entry) in entries.iter().enumerate() {
        let path = section.index(index);
        check_names(context, entry, &path);
        check_source(context, entry, &path.key("source"));
        let channel = network.channel(&entry.channel);
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
    check_unique(context, entries, &section);
    for (index, channel) in network.channels.iter().enumerate() {
        if entries.iter().any(|entry| entry.channel == channel.name) {
            check_lifecycle(context, channel, &Path::spec("channels").index(index));
        }
    }
}

fn check_unique(context: &mut Context<'_>, entries: &[ChaincodeEntry], section: &Path) {
    let name = |entry: &ChaincodeEntry| format!("{}/{}", entry.channel, entry.name);
    let places = || entries.iter().enumerate().map(|(index, entry)| (entry, section.index(index).key("name")));
    let names: Vec<_> = places().map(|(entry, path)| (name(entry), path)).collect();
    context.unique(rules::DUPLICATE_NAME, "the chaincode", "rename one of them", names);
    // Equal names give equal objects; the name itself was reported.
    let first = |entry: &ChaincodeEntry| entries.iter().find(|other| name(other) == name(entry));
    let objects: Vec<_> = places()
        .filter(|(entry, _)| first(entry).is_some_and(|first| std::ptr::eq(first, *entry)))
        .map(|(entry, path)| (object_name(&entry.channel, &entry.name), path))
        .collect();
    let help = "rename one of the chaincodes: small and large letters, and `-`, `_` and `.`, count as the same";
    context.unique(rules::CHAINCODE_COLLISION, "the Chaincode object", help, objects);
}

/// Whether those who can approve are enough for a commit.
fn check_lifecycle(context: &mut Context<'_>, channel: &Channel, path: &Path) {
    let spec = channel_spec(context.network, "", channel);
    // A policy that cannot be read is reported where it stands.
    let Ok(policy) = LifecyclePolicy::of_spec(&spec) else { return };
    let able = spec.members.iter().filter(|member| !member.peers.is_empty()).map(|member| member.msp_id.clone());
    let met = policy.met_by(&able.collect());
    if met.endorsers.is_none() {
        let message = format!(
            "no chaincode can be committed in channel {}: LifecycleEndorsement needs {}, and too few of them have peers",
            channel.name, met.required
        );
        let help = "let more members join peers, or set `policies: {application: {LifecycleEndorsement: ...}}`";
        context.report(rules::LIFECYCLE_ENDORSEMENT, &path.key("members"), message, help);
    }
}

fn check_names(context: &mut Context<'_>, entry: &ChaincodeEntry, path: &Path) {
    let ChaincodeEntry { name, channel, version, .. } = entry;
    let legal = is_chaincode_name(name) && name != "_lifecycle";
    if !legal {
        let message = format!("{} cannot name a chaincode", quoted(name));
        let help = "use letters and digits, joined by single `-` or `_`, and no system chaincode's name";
        context.report(rules::CHAINCODE_NAME, &path.key("name"), message, help);
    }
    if !is_chaincode_version(version) {
        let message = format!("{} is not a chaincode version", quoted(version));
        let help = "use letters, digits, `_`, `.`, `+` and `-`";
        context.report(rules::CHAINCODE_VERSION, &path.key("version"), message, help);
    } else if legal && label(name, version).is_err() {
        let message = format!("name and version have {} characters together", name.len() + version.len());
        let help = format!("`name_version` is the label of its package, which holds {MAX_LABEL}: shorten the version");
        context.report(rules::CHAINCODE_LABEL, &path.key("version"), message, help);
    }
    let object = object_name(channel, name);
    if legal && !fits_object_name(&object) {
        let message =
            format!("the object's name {} has {} characters, at most 63 are possible", quoted(&object), object.len());
        context.report(rules::CHAINCODE_NAME_LENGTH, &path.key("name"), message, "choose a shorter name");
    }
}

fn check_source(context: &mut Context<'_>, entry: &ChaincodeEntry, path: &Path) {
    match &entry.source {
        ChaincodeSource { image: Some(image), package: None, external: None } => {
            if Image::parse(image).is_none() {
                let message = format!("{} is not a complete image reference", quoted(image));
                let help = "name registry and path: `ghcr.io/example/asset:1.0`";
                context.report(rules::IMAGE, &path.key("image"), message, help);
            }
        }
        ChaincodeSource { image: None, package: Some(package), external: None } => {
            let path = path.key("package");
            let Some(item) = repository_item(context, package, "chaincodes/asset.tar.gz", &path) else { return };
            match read_package(item, &entry.name, &entry.version) {
                Err(error) => report_file(context, package, &error, &path),
                Ok(read) => check_label(context, entry, read.label().as_str(), &path),
            }
        }
        ChaincodeSource { image: None, package: None, external: Some(external) } => {
            let path = path.key("external");
            let ExternalEntry { address, root_certificates } = external;
            check_address(context, entry, address, &path.key("address"));
            let Some(file) = root_certificates else { return };
            let path = path.key("rootCertificates");
            let Some(item) = repository_item(context, file, "chaincodes/asset-roots.pem", &path) else { return };
            if let Err(error) = text_of(item) {
                report_file(context, file, &error, &path);
            }
        }
        _ => {
            let message = "a source is one of `image`, `package` and `external`".to_owned();
            context.report(rules::CHAINCODE_SOURCE, path, message, "keep exactly one");
        }
    }
}

fn check_address(context: &mut Context<'_>, entry: &ChaincodeEntry, address: &str, path: &Path) {
    let Some(parsed) = Address::parse(address) else {
        let message = format!("{} is not an address", quoted(address));
        context.report(rules::ADDRESS, path, message, "write `host:port`, such as `asset.example.com:9999`");
        return;
    };
    let elsewhere = &context.network.repository.organizations;
    let shared = context
        .network
        .channel(&entry.channel)
        .is_some_and(|channel| channel.participants().iter().any(|name| elsewhere.iter().any(|other| other == name)));
    if shared && parsed.is_local() {
        let message = format!(
            "{} means something in one cluster only, and channel {} has members that are hosted elsewhere",
            quoted(address),
            entry.channel
        );
        context.report(rules::ADDRESS_LOCAL, path, message, "name an address that every member can resolve");
    }
}

/// What stands at a path of the repository; nothing where it was not looked at.
fn repository_item<'a>(
    context: &mut Context<'a>,
    named: &str,
    example: &str,
    path: &Path,
) -> Option<&'a RepositoryItem> {
    if !is_repository_path(named) {
        let message = format!("{} is not a path in the repository", quoted(named));
        context.report(
            rules::CHAINCODE_SOURCE,
            path,
            message,
            format!("write it from the repository's root: `{example}`"),
        );
        return None;
    }
    context.network.repository.files.get(named)
}

fn report_file(context: &mut Context<'_>, named: &str, error: &SourceFileError, path: &Path) {
    let (rule, help) = match error {
        SourceFileError::Missing => {
            (rules::REPOSITORY_FILE, "write the path from the repository's root, or commit the file")
        }
        SourceFileError::Refused { .. } | SourceFileError::Folder => {
            (rules::REPOSITORY_FILE, "commit it as a regular file")
        }
        SourceFileError::TooLarge { .. } => {
            (rules::PACKAGE_SIZE, "leave sources out of it: build an image, and name it as `image`")
        }
        SourceFileError::Type { .. } => (rules::PACKAGE_TYPE, "build an image of it, and name it as `image`"),
        SourceFileError::Certificates { .. } => {
            (rules::ROOT_CERTIFICATES, "write the certificates as PEM: -----BEGIN CERTIFICATE-----")
        }
        SourceFileError::Label(_) => (rules::CHAINCODE_LABEL, "shorten the version"),
        SourceFileError::NoConnection => {
            (rules::PACKAGE, "add a `connection.json`, or name a package that `peer lifecycle chaincode package` made")
        }
        SourceFileError::Package(_) => (rules::PACKAGE, "make it anew with `peer lifecycle chaincode package`"),
    };
    context.report(rule, path, format!("{}: {error}", quoted(named)), help);
}

fn check_label(context: &mut Context<'_>, entry: &ChaincodeEntry, found: &str, path: &Path) {
    let custom = format!("{}_{}", entry.name, entry.version);
    if found != custom {
        let message = format!("the package's label is {}", quoted(found));
        let help = format!("if it is the right package, label it {}", quoted(&custom));
        context.report(rules::PACKAGE_LABEL, path, message, help);
    }
}

fn check_collection(context: &mut Context<'_>, entry: &CollectionEntry, channel: Option<&Channel>, path: &Path) {
    let name = &entry.name;
    if !is_collection_name(name) {
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
    if let Some(policy) = &entry.endorsement {
        check_endorsement(context, channel, policy, &path.key("endorsement"));
    }
    let holders = channel.members.iter().filter(|member| entry.members.contains(&member.organization));
    let peers: usize = holders.map(|member| member.peers.len()).sum();
    let needed = usize::try_from(required).unwrap_or(usize::MAX).saturating_add(1);
    if peers < needed && required <= most {
        let message = format!(
            "peers of its members in channel {}: {peers}; needed: {needed}, one that endorses and requiredPeerCount others",
            channel.name
        );
        let help = if peers == 0 { "name a member that has peers in the channel" } else { "lower requiredPeerCount" };
        context.report(rules::COLLECTION_SERVED, &path.key("members"), message, help);
    }
}

pub(super) fn check_retired(context: &mut Context<'_>) {
    let network = context.network;
    let section = Path::spec("retired");
    let mut targets = Vec::new();
    for (index, entry) in context.spec.retired.iter().flatten().enumerate() {
        let path = section.index(index);
        let Some(target) = RetiredTarget::of(entry) else {
            let message = "the entry does not name exactly one thing".to_owned();
            let help = "use one of `organization: acme`, `orderer: hub/orderer1`, `peer: acme/peer1`, `channel: trade`, `member: trade/acme`, `chaincode: trade/asset`";
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
            RetiredTarget::Chaincode(channel, name) => {
                network.chaincodes.iter().any(|other| other.entry.channel == *channel && other.entry.name == *name)
            }
        };
        if present {
            let message = format!("{target} is retired here, and still in the file");
            context.report(rules::RETIRED_PRESENT, &path, message, "remove the one or the other");
        }
        targets.push((target.to_string(), path));
    }
    context.unique(rules::DUPLICATE_ENTRY, "the entry for", "keep one of them", targets);
}
