//! Values of organizations and nodes: addresses, quantities, lifetimes, versions, images, subjects, quotas.

use std::collections::BTreeSet;

use super::{Context, organization_path};
use crate::definition::{ExposeEntry, NodeEntry, NodeSettings, OrganizationEntry};
use crate::diagnostic::quoted;
use crate::network::Organization;
use crate::objects::{ExposeType, MAX_ROOT_LIFETIME_HOURS, Quota, Subject, SubjectKind};
use crate::path::Path;
use crate::rules;
use crate::values::{Address, Image, Version, go_duration_nanos, lifetime_hours, quantity_millis};

pub(super) fn check(context: &mut Context<'_>) {
    check_fabric(context);
    let (spec, network) = (context.spec, context.network);
    let mut addresses = Vec::new();
    let mut seen = BTreeSet::new();
    for (index, (entry, organization)) in spec.organizations.iter().zip(&network.organizations).enumerate() {
        let path = organization_path(index);
        check_authority(context, entry, &path);
        check_version(context, entry.fabric.as_ref().and_then(|fabric| fabric.version.as_ref()), &path.key("fabric"));
        for (admin, subject) in entry.admins.iter().flatten().enumerate() {
            check_subject(context, subject, &path.key("admins").index(admin));
        }
        for (section, entries, nodes) in
            [("orderers", &entry.orderers, &organization.orderers), ("peers", &entry.peers, &organization.peers)]
        {
            for (index, (entry, node)) in entries.iter().flatten().zip(nodes).enumerate() {
                let path = path.key(section).index(index);
                let own = matches!(entry, NodeEntry::Node(NodeSettings { address: Some(_), .. }));
                let place = if own { path.key("address") } else { path.clone() };
                // Equal default addresses come from equal names, which were reported.
                if seen.insert(node.address.clone()) || own {
                    addresses.push((node.address.clone(), place));
                }
                if let NodeEntry::Node(settings) = entry {
                    check_node(context, settings, &path);
                }
            }
        }
        check_quota(context, entry, organization, &path.key("quota"));
        check_idle(context, organization, &path);
    }
    let help = "give each node an address of its own";
    context.unique(rules::DUPLICATE_ADDRESS, "the address", help, addresses);
}

fn check_fabric(context: &mut Context<'_>) {
    let Some(fabric) = &context.spec.fabric else { return };
    let path = Path::spec("fabric");
    check_version(context, fabric.version.as_ref(), &path);
    let version = fabric.version.as_deref().unwrap_or(crate::network::DEFAULT_VERSION);
    let Some(images) = &fabric.images else { return };
    for (key, image) in [("orderer", &images.orderer), ("peer", &images.peer)] {
        let Some(image) = image else { continue };
        let path = path.key("images").key(key);
        let Some(parsed) = Image::parse(image) else {
            let message = format!("{} is not a complete image reference", quoted(image));
            context.report(rules::IMAGE, &path, message, "name registry and path: `docker.io/hyperledger/fabric-peer`");
            continue;
        };
        let tagged = parsed.tag.and_then(Version::parse);
        if let (Some(tag), Some(wanted)) = (tagged, Version::parse(version))
            && (tag.major, tag.minor) != (wanted.major, wanted.minor)
        {
            let message = format!("the image's tag says {}, the version is {version}", parsed.tag.unwrap_or_default());
            context.report(rules::IMAGE_VERSION, &path, message, "leave the tag out: the version becomes the tag");
        }
    }
}

fn check_version(context: &mut Context<'_>, version: Option<&String>, path: &Path) {
    let Some(version) = version else { return };
    let message = match Version::parse(version) {
        None => format!("{} is not a version", quoted(version)),
        Some(parsed) if parsed < Version::OLDEST || parsed.major > 3 => {
            format!("Fabric {version} is not supported")
        }
        Some(_) => return,
    };
    context.report(rules::VERSION, &path.key("version"), message, "use 2.5 or 3.x, such as \"3.1\" or \"2.5.12\"");
}

fn check_authority(context: &mut Context<'_>, entry: &OrganizationEntry, path: &Path) {
    let Some(authority) = &entry.certificate_authority else { return };
    let path = path.key("certificateAuthority");
    let mut hours = |key: &str, text: &Option<String>, default: u32| {
        let Some(text) = text else { return Some(default) };
        let hours = lifetime_hours(text);
        if hours.is_none() {
            let message = format!("{} is not a lifetime", quoted(text));
            context.report(rules::DURATION, &path.key(key), message, "write hours, days or years: `720h`, `90d`, `1y`");
        }
        hours
    };
    let leaf = hours("certificateLifetime", &authority.certificate_lifetime, crate::network::DEFAULT_CERTIFICATE_HOURS);
    let root = hours("rootLifetime", &authority.root_lifetime, crate::network::DEFAULT_ROOT_HOURS);
    let (Some(leaf), Some(root)) = (leaf, root) else { return };
    if leaf < 24 {
        let message = "certificates would live less than a day".to_owned();
        context.report(rules::LIFETIME, &path.key("certificateLifetime"), message, "use `1d` or more");
    } else if leaf > root {
        let message = "certificates would live longer than their root".to_owned();
        context.report(rules::LIFETIME, &path, message, "make `rootLifetime` longer than `certificateLifetime`");
    }
    if root > MAX_ROOT_LIFETIME_HOURS {
        let message = "the root would live longer than 50 years".to_owned();
        context.report(rules::LIFETIME, &path.key("rootLifetime"), message, "use `50y` or less");
    }
}

fn check_subject(context: &mut Context<'_>, subject: &Subject, path: &Path) {
    let Subject { kind, name, namespace } = subject;
    let (message, help) = match (kind, namespace) {
        (SubjectKind::ServiceAccount, None) => ("a ServiceAccount has no namespace here", "add `namespace: ...`"),
        (SubjectKind::User | SubjectKind::Group, Some(_)) => {
            ("users and groups have no namespace", "remove `namespace`")
        }
        _ if name.is_empty() => ("the subject has no name", "name the user, group or service account"),
        _ if name.starts_with("system:") => (
            "subjects of Kubernetes itself are never granted a role",
            "name a user, a group or a service account of yours",
        ),
        _ => return,
    };
    context.report(rules::SUBJECT, path, message.to_owned(), help);
}

fn check_node(context: &mut Context<'_>, settings: &NodeSettings, path: &Path) {
    if let Some(address) = &settings.address
        && Address::parse(address).is_none()
    {
        let message = format!("{} is not an address", quoted(address));
        context.report(
            rules::ADDRESS,
            &path.key("address"),
            message,
            "write `host:port`, such as `peer1.acme.example.com:7051`",
        );
    }
    if let Some(expose) = &settings.expose {
        check_expose(context, settings, expose, path);
    }
    if let Some(storage) = &settings.storage {
        quantity(context, storage.size.as_ref(), &path.key("storage").key("size"), "10Gi");
    }
    if let Some(resources) = &settings.resources {
        quantity(context, resources.cpu.as_ref(), &path.key("resources").key("cpu"), "500m");
        quantity(context, resources.memory.as_ref(), &path.key("resources").key("memory"), "512Mi");
    }
}

/// A node that is exposed is reached by its address; the ports of machines are high ones.
fn check_expose(context: &mut Context<'_>, settings: &NodeSettings, expose: &ExposeEntry, path: &Path) {
    let address = settings.address.as_deref().and_then(Address::parse);
    let Some(address) = address.filter(|address| !address.is_local()) else {
        let message =
            format!("{} is exposed, and its address is known inside its cluster only", quoted(&settings.name));
        let help = "give it an `address` that other clusters resolve: a name, and the port that is exposed there";
        context.report(rules::EXPOSE, &path.key("expose"), message, help);
        return;
    };
    let port = expose.port.unwrap_or(address.port);
    if port == 0 || (expose.expose_type == ExposeType::NodePort && expose.port.is_none() && port < 30000) {
        let message = format!("port {port} is none that machines of a cluster expose");
        let help = "write `port: 30750`, or another one of the cluster's range (30000 to 32767 unless it was changed)";
        context.report(rules::EXPOSE, &path.key("expose"), message, help);
    }
}

fn quantity(context: &mut Context<'_>, text: Option<&String>, path: &Path, example: &str) -> Option<u128> {
    let text = text?;
    let millis = quantity_millis(text).filter(|millis| *millis > 0);
    if millis.is_none() {
        let message = format!("{} is not a quantity above 0", quoted(text));
        context.report(rules::QUANTITY, path, message, format!("write a number and a unit, such as `{example}`"));
    }
    millis
}

fn check_quota(context: &mut Context<'_>, entry: &OrganizationEntry, organization: &Organization, path: &Path) {
    let Some(Quota { nodes, cpu, memory, storage }) = &entry.quota else { return };
    let all = || organization.orderers.iter().chain(&organization.peers);
    let count = all().count();
    if let Some(limit) = nodes.filter(|limit| usize::try_from(*limit).is_ok_and(|limit| limit < count)) {
        let message = format!("the organization has {count} nodes, its quota allows {limit}");
        context.report(rules::QUOTA, &path.key("nodes"), message, "raise the quota or remove nodes");
    }
    let sums: [(&str, &Option<String>, Option<u128>, &str); 3] = [
        ("cpu", cpu, all().map(|node| quantity_millis(&node.resources.cpu)).sum(), "8"),
        ("memory", memory, all().map(|node| quantity_millis(&node.resources.memory)).sum(), "16Gi"),
        ("storage", storage, all().map(|node| quantity_millis(&node.storage.size)).sum(), "100Gi"),
    ];
    for (key, limit, sum, example) in sums {
        let Some(parsed) = quantity(context, limit.as_ref(), &path.key(key), example) else { continue };
        if sum.is_some_and(|sum| sum > parsed) {
            let message = format!(
                "the organization's {count} nodes request more {key} than its quota of {}",
                limit.as_deref().unwrap_or_default()
            );
            context.report(rules::QUOTA, &path.key(key), message, "raise the quota, or lower what the nodes request");
        }
    }
}

fn check_idle(context: &mut Context<'_>, organization: &Organization, path: &Path) {
    let busy = !organization.orderers.is_empty()
        || !organization.peers.is_empty()
        || context.network.channels.iter().any(|channel| channel.participants().contains(organization.name.as_str()));
    if !busy {
        let message = format!("organization {} has no node and is in no channel", organization.name);
        context.report(
            rules::IDLE_ORGANIZATION,
            &path.key("name"),
            message,
            "give it `peers` or `orderers`, or add it to a channel's `members`",
        );
    }
}

/// Whether a text is a Go duration above zero.
pub(super) fn is_duration(text: &str) -> bool {
    go_duration_nanos(text).is_some_and(|nanos| nanos > 0)
}
