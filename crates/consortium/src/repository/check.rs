//! What must be true of the files of the members beside their shape.

use jiff::Timestamp;
use tenter_fabric::msp::{MspDefinition, Pem};
use tenter_fabric::policy::Role;
use tenter_fabric::x509::{CertificateInfo, renewal_due, verify_chain};

use super::approval::{self, ApprovalError};
use super::founding::founders;
use super::{NotFounded, OrganizationFolder, Problem, Repository, consent, founding, organization_path, read};
use crate::channel_config::{ConsenterMaterial, MspMaterial, chain};
use crate::desired::channel_spec;
use crate::diagnostic::{Diagnostic, Span, closest, quoted};
use crate::network::{Channel, Network, Organization};
use crate::rules::{self, RuleId};
use crate::values::Address;

/// Everything that is wrong with the files of the members, by path. Without a time no certificate's end is looked at.
pub fn check(network: &Network, at: Option<Timestamp>) -> Vec<Diagnostic> {
    let (repository, problems) = read(&network.repository.members);
    let mut checker = Checker { network, at, problems };
    for (name, folder) in &repository.organizations {
        match network.organization(name) {
            Some(organization) => checker.organization(organization, folder),
            None => checker.unknown_organization(name),
        }
    }
    checker.channels(&repository);
    checker.approvals(&repository);
    checker.problems.sort();
    checker.problems.dedup();
    checker.problems.into_iter().map(finding).collect()
}

/// What is wrong with an organization's certificates that keeps others from using them, whatever the time: authorities that
/// make no MSP, an orderer's certificate that they did not issue, or one of another role.
pub fn refusal(network: &Network, organization: &Organization, folder: &OrganizationFolder) -> Option<String> {
    let mut checker = Checker { network, at: None, problems: Vec::new() };
    checker.organization(organization, folder);
    checker.problems.sort();
    let refused = [rules::FOLDER_SHAPE, rules::CERTIFICATE_CHAIN, rules::CERTIFICATE_ROLE];
    let found = checker.problems.into_iter().find(|problem| refused.contains(&problem.rule))?;
    Some(format!("{}: {}; {}", found.path, found.message, found.help))
}

fn finding(Problem { path, rule, message, help }: Problem) -> Diagnostic {
    let severity = rules::severity(rule);
    Diagnostic { file: path, span: Span::START, rule, severity, message, help: Some(help), related: Vec::new() }
}

struct Checker<'a> {
    network: &'a Network,
    at: Option<Timestamp>,
    problems: Vec<Problem>,
}

impl Checker<'_> {
    fn problem(&mut self, path: &str, rule: RuleId, message: String, help: impl Into<String>) {
        self.problems.push(Problem { path: path.to_owned(), rule, message, help: help.into() });
    }

    fn unknown_organization(&mut self, name: &str) {
        let known = self.network.organizations.iter().map(|organization| organization.name.as_str());
        let help = closest(name, known).map_or_else(
            || "add the organization to spec.organizations, or remove the folder".to_owned(),
            |word| format!("did you mean `{word}`?"),
        );
        let message = format!("the definition has no organization {}", quoted(name));
        self.problem(&organization_path(name), rules::FOLDER_UNKNOWN, message, help);
    }

    fn organization(&mut self, organization: &Organization, folder: &OrganizationFolder) {
        let base = organization_path(&organization.name);
        for (path, blob) in &folder.files {
            if path != consent::CONSENT && !path.starts_with("msp/crls/") {
                self.validity(&format!("{base}/{path}"), &blob.0, organization);
            }
        }
        let msp = folder.msp.as_ref().and_then(|material| {
            let definition = consent::folder_msp(&organization.name, &organization.msp_id, folder);
            match definition
                .and_then(|definition| definition.check_usable().map(|()| definition).map_err(|error| chain(&error)))
            {
                Ok(definition) => Some((material, definition)),
                Err(why) => {
                    let path = format!("{base}/msp");
                    self.problem(&path, rules::FOLDER_SHAPE, why, "export the folder again: `tenter export`");
                    None
                }
            }
        });
        for (node, certificates) in &folder.orderers {
            if let Some((material, definition)) = &msp {
                self.orderer(organization, node, certificates, material, definition);
            }
        }
        let consenting = folder.consent.as_ref().zip(self.at);
        if let Some((_, at)) = consenting
            && let Err(error) = consent::verify(self.network, &organization.name, folder, None, at)
        {
            let path = format!("{base}/{}", consent::CONSENT);
            let help = format!("{} gives it again: `tenter consent {}`", organization.name, organization.name);
            self.problem(&path, rules::CONSENT, chain(&error), help);
        }
    }

    fn validity(&mut self, path: &str, bytes: &[u8], organization: &Organization) {
        let certificate = std::str::from_utf8(bytes).ok().and_then(|text| CertificateInfo::from_pem(text).ok());
        let (Some(certificate), Some(at)) = (certificate, self.at) else { return };
        let help = format!("{} has it renewed and exports its folder again", organization.name);
        if let Err(error) = certificate.check_valid_at(at) {
            self.problem(path, rules::CERTIFICATE_EXPIRED, chain(&error), help);
        } else if renewal_due(&certificate, at) {
            let message = format!("the certificate of {} ends at {}", certificate.subject, certificate.not_after);
            self.problem(path, rules::CERTIFICATE_EXPIRING, message, help);
        }
    }

    fn orderer(
        &mut self,
        organization: &Organization,
        node: &str,
        ConsenterMaterial { tls, identity }: &ConsenterMaterial,
        msp: &MspMaterial,
        definition: &MspDefinition,
    ) {
        let base = format!("{}/orderers/{node}", organization_path(&organization.name));
        let Some(wanted) = organization.orderers.iter().find(|orderer| orderer.name == node) else {
            let message = format!("{} has no orderer {}", organization.name, quoted(node));
            let help = "name the orderer in the organization's `orderers`, or remove the folder";
            self.problem(&base, rules::FOLDER_UNKNOWN_ORDERER, message, help);
            return;
        };
        let path = format!("{base}/identity.crt");
        let help = format!("export the folder of {} again: `tenter export {}`", organization.name, organization.name);
        match definition.roles_of(&Pem::new(identity.as_bytes())) {
            Err(error) => self.problem(&path, rules::CERTIFICATE_CHAIN, chain(&error), help.clone()),
            Ok(roles) if roles.contains(&Role::Orderer) => {}
            Ok(_) => {
                let message = format!("the identity of {node} has not the role orderer in {}", organization.msp_id);
                self.problem(&path, rules::CERTIFICATE_ROLE, message, help.clone());
            }
        }
        let path = format!("{base}/tls.crt");
        let Ok(tls) = CertificateInfo::from_pem(tls) else { return };
        let all = |text: &str| CertificateInfo::all_from_pem(text).unwrap_or_default();
        let intermediates = all(msp.tls_intermediate_certs.as_deref().unwrap_or_default());
        // Who issued it, whatever the time is; its end is looked at by itself.
        if let Err(error) = verify_chain(&tls, &intermediates, &all(&msp.tls_ca_certs), tls.not_before) {
            self.problem(&path, rules::CERTIFICATE_CHAIN, chain(&error), help.clone());
        }
        let host = Address::parse(&wanted.address).map(|address| address.host).unwrap_or_default();
        if !covers(&tls, host) {
            let message =
                format!("the TLS certificate of {node} does not name {}, the host of its address", quoted(host));
            self.problem(&path, rules::CERTIFICATE_NAMES, message, help);
        }
    }

    fn approvals(&mut self, repository: &Repository) {
        let Some(at) = self.at else { return };
        for (hash, organization) in repository.approvals.keys() {
            let verified = approval::verify(self.network, repository, (hash, organization), None, at);
            let Err(error) = verified else { continue };
            let again = "`tenter approve HASH --organization NAME` writes an approval that counts; remove this one";
            let (rule, help) = match &error {
                ApprovalError::Unreadable(_) | ApprovalError::Format(_) | ApprovalError::Misplaced { .. } => {
                    (rules::APPROVAL_SHAPE, again.to_owned())
                }
                ApprovalError::NoMsp(name) => {
                    let help = format!("{name} writes its folder with `tenter export {name}` and commits it");
                    (rules::APPROVAL_UNVERIFIED, help)
                }
                ApprovalError::Expired(_) => {
                    let help = "remove it; where its steps are still to be done, they need another approval";
                    (rules::APPROVAL_EXPIRED, help.to_owned())
                }
                _ => (rules::APPROVAL, again.to_owned()),
            };
            let path = approval::path(hash, organization);
            self.problem(&path, rule, format!("{} does not count: {}", quoted(&path), chain(&error)), help);
        }
    }

    fn channels(&mut self, repository: &Repository) {
        for name in repository.channels.keys().filter(|name| self.network.channel(name).is_none()) {
            let message = format!("the definition has no channel {}", quoted(name));
            let help = "remove the folder, or name the channel in spec.channels";
            self.problem(&super::genesis_path(name), rules::PINNED_GENESIS, message, help);
        }
        for channel in &self.network.channels {
            self.newcomers(channel, repository);
            let shared = channel.participants().iter().any(|name| repository.organizations.contains_key(*name));
            if !shared {
                continue;
            }
            let spec = channel_spec(self.network, "", channel);
            for (what, owner) in super::material_of(&spec, repository).err().unwrap_or_default() {
                let message = format!("channel {} needs {what}, from {owner}", channel.name);
                let help = format!("{owner} writes its folder with `tenter export {owner}` and commits it");
                self.problem(&what, rules::FOLDER_INCOMPLETE, message, help);
            }
            if repository.channels.contains_key(&channel.name)
                && let Err(error) = founding(self.network, &channel.name)
                && !matches!(error, NotFounded::Missing(_))
            {
                let help = "nobody joins this block: write it again with `tenter genesis` before anyone has joined, or take \
                            the change back";
                self.problem(&super::genesis_path(&channel.name), rules::PINNED_GENESIS, chain(&error), help);
            }
        }
    }
}

impl Checker<'_> {
    /// Who takes part in a channel that others founded, and has not said that it wants to. What a consent that is there covers is
    /// looked at by itself.
    fn newcomers(&mut self, channel: &Channel, repository: &Repository) {
        let Some(founders) = founders(self.network, repository, &channel.name) else { return };
        for name in channel.participants() {
            let silent = repository.organizations.get(name).is_some_and(|folder| folder.consent.is_none());
            if silent && !founders.contains(name) {
                let message = format!("{name} takes part in channel {} and has not consented to it", channel.name);
                let path = format!("{}/{}", organization_path(name), consent::CONSENT);
                self.problem(
                    &path,
                    rules::CONSENT_MISSING,
                    message,
                    format!("{name} gives it: `tenter consent {name}`"),
                );
            }
        }
    }
}

/// Whether a certificate names a host, as a TLS client compares.
fn covers(certificate: &CertificateInfo, host: &str) -> bool {
    if let Ok(address) = host.parse() {
        return certificate.ip_addresses.contains(&address);
    }
    let host = host.to_ascii_lowercase();
    certificate.dns_names.iter().map(|name| name.to_ascii_lowercase()).any(|name| match name.strip_prefix("*.") {
        Some(rest) => host.split_once('.').is_some_and(|(first, tail)| !first.is_empty() && tail == rest),
        None => name == host,
    })
}
