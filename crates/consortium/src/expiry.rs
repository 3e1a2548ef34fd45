//! Certificates that end soon, of channel configurations and of nodes and authorities. Fabric does not say it: a root that
//! has ended makes its organization nobody, a consenter whose certificate has ended no longer reaches the others, and a peer
//! no longer endorses.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use tenter_fabric::config::{Consensus, CurrentConfig};
use tenter_fabric::msp::{MspDefinition, Pem};
use tenter_fabric::x509::CertificateInfo;

use crate::observed::Observed;
use crate::plan::{Note, NoteLevel};

/// Certificates in live channel configurations, and those that the status of nodes and authorities names, that end before
/// `now` and `horizon`, one note each.
pub fn expiring(observed: &Observed, now: Timestamp, horizon: SignedDuration) -> Vec<Note> {
    // A horizon beyond what a time can say sees everything.
    let limit = now.checked_add(horizon).unwrap_or(Timestamp::MAX);
    let mut notes = BTreeSet::new();
    for (channel, seen) in &observed.channels {
        let current = seen.config.value().and_then(|live| CurrentConfig::from_bytes(channel, &live.config).ok());
        let Some(current) = current else { continue };
        for (what, pem) in certificates(&current) {
            let text = std::str::from_utf8(pem.bytes()).unwrap_or_default();
            let Ok(certificate) = CertificateInfo::from_pem(text) else { continue };
            if certificate.not_after <= limit {
                let what = format!("{what} ({})", certificate.subject);
                let then = "; else its owner renews it and publishes the new one";
                notes.insert(note(format!("channel {channel}"), &what, certificate.not_after, now, then));
            }
        }
    }
    for (object, live) in &observed.objects {
        for (what, end) in &live.certificates {
            // A status that tells no time tells nothing; the object's own conditions say what is wrong with it.
            let Ok(end) = end.parse::<Timestamp>() else { continue };
            if end <= limit {
                let then = "; its conditions say what keeps that from being done";
                notes.insert(note(object.to_string(), what, end, now, then));
            }
        }
    }
    notes.into_iter().collect()
}

fn note(subject: String, what: &str, end: Timestamp, now: Timestamp, otherwise: &str) -> Note {
    let (code, verb) = if end <= now { ("Expired", "ended") } else { ("Expires", "ends") };
    let message = format!(
        "the {what} {verb} on {end}: it is renewed in time by the builtin authority where its organization has one{otherwise}"
    );
    Note { level: NoteLevel::Warning, code: code.to_owned(), subject, message }
}

/// The certificates of a configuration, each with what it is.
fn certificates(current: &CurrentConfig) -> Vec<(String, &Pem)> {
    let config = current.config();
    let mut found = Vec::new();
    let orderers = config.orderer.organizations.iter().map(|(name, organization)| (name, &organization.msp));
    let members = config.application.organizations.iter().map(|(name, organization)| (name, &organization.msp));
    for (name, msp) in orderers.chain(members) {
        let MspDefinition { root_certs, intermediate_certs, tls_root_certs, tls_intermediate_certs, .. } = msp;
        for (what, list) in [
            ("enrolment root", root_certs),
            ("enrolment intermediate", intermediate_certs),
            ("TLS root", tls_root_certs),
            ("TLS intermediate", tls_intermediate_certs),
        ] {
            found.extend(list.iter().map(|pem| (format!("{what} of {name}"), pem)));
        }
    }
    match &config.orderer.consensus {
        Consensus::EtcdRaft { consenters, .. } => {
            for consenter in consenters {
                let at = format!("{}:{}", consenter.host, consenter.port);
                found.push((format!("TLS certificate of consenter {at}"), &consenter.server_tls_cert));
            }
        }
        Consensus::Bft { consenters, .. } => {
            for consenter in consenters {
                let at = format!("{}:{}", consenter.host, consenter.port);
                found.push((format!("TLS certificate of consenter {at}"), &consenter.server_tls_cert));
                found.push((format!("enrolment certificate of consenter {at}"), &consenter.identity));
            }
        }
        Consensus::Other { .. } => {}
    }
    found
}
