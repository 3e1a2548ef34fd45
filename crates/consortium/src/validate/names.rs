//! Names: of the network, organizations, MSPs, namespaces and nodes.

use super::{Context, is_element_name, node_name_path, organization_path};
use crate::definition::{NodeEntry, OrganizationEntry};
use crate::diagnostic::quoted;
use crate::network::Organization;
use crate::path::Path;
use crate::rules;
use crate::values::{is_dns_label, is_dns_name};

/// Longest name of a node: the Pods of a StatefulSet carry its name and a hash in a label of 63 characters.
const NODE_NAME_LIMIT: usize = 52;
/// Longest common name of a certificate (X.520).
const COMMON_NAME_LIMIT: usize = 64;

const LABEL_HELP: &str =
    "use small letters, digits and `-`: begin with a letter, end with a letter or digit, at most 63";

pub(super) fn check(context: &mut Context<'_>) {
    let name = &context.network.name;
    if !is_dns_label(name) {
        let path = Path::default().key("metadata").key("name");
        context.report(rules::NAME, &path, format!("{} cannot name a network", quoted(name)), LABEL_HELP);
    }
    let (spec, network) = (context.spec, context.network);
    for (index, (entry, organization)) in spec.organizations.iter().zip(&network.organizations).enumerate() {
        let path = organization_path(index);
        check_organization(context, entry, organization, &path);
        check_nodes(context, entry, organization, &path);
    }
    check_unique(context);
}

fn check_organization(context: &mut Context<'_>, entry: &OrganizationEntry, organization: &Organization, path: &Path) {
    let Organization { name, msp_id, domain, namespace, .. } = organization;
    if !is_dns_label(name) {
        context.report(
            rules::NAME,
            &path.key("name"),
            format!("{} cannot name an organization", quoted(name)),
            LABEL_HELP,
        );
    }
    if !is_element_name(msp_id) && entry.msp_id.is_some() {
        let message = format!("{} cannot be an MSP ID that policies name", quoted(msp_id));
        context.report(rules::MSP_ID, &path.key("mspID"), message, "use letters, digits, `.` and `-` only");
    }
    if !is_dns_name(domain) && entry.domain.is_some() {
        let message = format!("{} is not a domain", quoted(domain));
        context.report(
            rules::DOMAIN,
            &path.key("domain"),
            message,
            "write a DNS name in small letters, such as `acme.example.com`",
        );
    }
    let namespace_path = path.key(if entry.namespace.is_some() { "namespace" } else { "name" });
    if namespace.len() > 63 {
        let message =
            format!("the namespace {} has {} characters, at most 63 are possible", quoted(namespace), namespace.len());
        context.report(rules::NAME_LENGTH, &namespace_path, message, "set a shorter `namespace`");
    } else if !is_dns_label(namespace) && entry.namespace.is_some() {
        context.report(
            rules::NAME,
            &namespace_path,
            format!("{} cannot name a namespace", quoted(namespace)),
            LABEL_HELP,
        );
    }
    if namespace == "default" || namespace.starts_with("kube-") {
        let message = format!("the namespace {} belongs to Kubernetes", quoted(namespace));
        context.report(rules::NAME_RESERVED, &namespace_path, message, "give the organization a namespace of its own");
    }
}

fn check_nodes(context: &mut Context<'_>, entry: &OrganizationEntry, organization: &Organization, path: &Path) {
    let sections = [("orderers", &entry.orderers), ("peers", &entry.peers)];
    let mut names = Vec::new();
    for (section, entries) in sections {
        for (index, entry) in entries.as_deref().unwrap_or_default().iter().enumerate() {
            let path = node_name_path(entry, &path.key(section).index(index));
            let (NodeEntry::Name(name) | NodeEntry::Node(crate::definition::NodeSettings { name, .. })) = entry;
            names.push((name.clone(), path.clone()));
            check_node(context, name, organization, &path);
        }
    }
    let help = "an organization's orderers and peers need different names: rename one";
    context.unique(rules::DUPLICATE_NODE, "the node", help, names);
}

fn check_node(context: &mut Context<'_>, name: &str, organization: &Organization, path: &Path) {
    if !is_dns_label(name) {
        context.report(rules::NAME, path, format!("{} cannot name a node", quoted(name)), LABEL_HELP);
        return;
    }
    if name == "ca" || name.ends_with("-admin") || name.ends_with("-external") {
        let message = format!("the name {} is taken by objects that Tenter makes itself", quoted(name));
        context.report(rules::NAME_RESERVED, path, message, "choose another name");
    }
    let common_name = name.len() + 1 + organization.domain.len();
    if name.len() > NODE_NAME_LIMIT {
        let message =
            format!("the name has {} characters, {NODE_NAME_LIMIT} leave room for what Kubernetes adds", name.len());
        context.report(rules::NAME_LENGTH, path, message, "choose a shorter name");
    } else if common_name > COMMON_NAME_LIMIT {
        let message = format!(
            "{}.{} has {common_name} characters, a certificate's common name holds {COMMON_NAME_LIMIT}",
            name, organization.domain
        );
        context.report(rules::NAME_LENGTH, path, message, "choose a shorter name, or set a shorter `domain`");
    }
}

fn check_unique(context: &mut Context<'_>) {
    let (spec, network) = (context.spec, context.network);
    let organizations = || spec.organizations.iter().zip(&network.organizations).enumerate();
    let names = organizations().map(|(index, (entry, _))| (entry.name.clone(), organization_path(index).key("name")));
    context.unique(rules::DUPLICATE_NAME, "the organization", "rename one of them", names);
    // Equal names give equal defaults; the name itself was reported.
    let first = |index: usize| {
        let name = &network.organizations[index].name;
        network.organizations.iter().position(|organization| organization.name == *name) == Some(index)
    };
    let msp_ids = organizations().filter(|(index, _)| first(*index)).map(|(index, (entry, organization))| {
        let key = if entry.msp_id.is_some() { "mspID" } else { "name" };
        (organization.msp_id.clone(), organization_path(index).key(key))
    });
    context.unique(rules::DUPLICATE_MSP_ID, "the MSP ID", "give one of the organizations another `mspID`", msp_ids);
    let namespaces = organizations().filter(|(index, _)| first(*index)).map(|(index, (entry, organization))| {
        let key = if entry.namespace.is_some() { "namespace" } else { "name" };
        (organization.namespace.clone(), organization_path(index).key(key))
    });
    let help = "give one of the organizations another `namespace`";
    context.unique(rules::DUPLICATE_NAMESPACE, "the namespace", help, namespaces);
}
