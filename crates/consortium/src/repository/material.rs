//! An organization's public material as the entries of a ConfigMap: what the controllers of other members read.

use std::collections::BTreeMap;

use jiff::Timestamp;
use tenter_fabric::msp::MspDefinition;
use tenter_fabric::x509::CertificateInfo;

use super::OrganizationFolder;
use crate::channel_config::{ConsenterMaterial, Material, MspMaterial, chain, msp};
use crate::document::Blob;

/// Entry: roots of the identities.
pub const CACERTS: &str = "cacerts.pem";
/// Entry: roots of the nodes' TLS certificates.
pub const TLSCACERTS: &str = "tlscacerts.pem";
/// Entry: authorities between the roots and the identities.
pub const INTERMEDIATECERTS: &str = "intermediatecerts.pem";
/// Entry: authorities between the TLS roots and the TLS certificates.
pub const TLSINTERMEDIATECERTS: &str = "tlsintermediatecerts.pem";
/// Entry: revocation lists.
pub const CRLS: &str = "crls.pem";
/// Entry: the roles.
pub const CONFIG: &str = "config.yaml";

/// Name of the ConfigMap, in the consortium's namespace, with the material of an organization of another daemon.
pub fn config_map(consortium: &str, organization: &str) -> String {
    format!("{consortium}-organization-{organization}")
}

/// Entry with an orderer's TLS certificate.
pub fn orderer_tls(orderer: &str) -> String {
    format!("orderer.{orderer}.tls.crt")
}

/// Entry with an orderer's enrolment certificate.
pub fn orderer_identity(orderer: &str) -> String {
    format!("orderer.{orderer}.identity.crt")
}

/// The entries of a folder: what is whole in it.
pub fn entries(folder: &OrganizationFolder) -> BTreeMap<String, Blob> {
    let mut entries = BTreeMap::new();
    let mut add = |key: String, text: Option<&String>| {
        entries.extend(text.map(|text| (key, Blob(text.clone().into_bytes()))));
    };
    if let Some(msp) = &folder.msp {
        let MspMaterial { ca_certs, tls_ca_certs, config, crls, intermediate_certs, tls_intermediate_certs } = msp;
        add(CACERTS.to_owned(), Some(ca_certs));
        add(TLSCACERTS.to_owned(), Some(tls_ca_certs));
        add(CONFIG.to_owned(), Some(config));
        add(CRLS.to_owned(), crls.as_ref());
        add(INTERMEDIATECERTS.to_owned(), intermediate_certs.as_ref());
        add(TLSINTERMEDIATECERTS.to_owned(), tls_intermediate_certs.as_ref());
    }
    for (name, ConsenterMaterial { tls, identity }) in &folder.orderers {
        add(orderer_tls(name), Some(tls));
        add(orderer_identity(name), Some(identity));
    }
    entries
}

/// The MSP in the entries of a `ConfigMap`, if it is whole.
pub fn msp_of(entries: &BTreeMap<String, Vec<u8>>) -> Option<MspMaterial> {
    let text = |key: &str| String::from_utf8(entries.get(key)?.clone()).ok();
    Some(MspMaterial {
        ca_certs: text(CACERTS)?,
        tls_ca_certs: text(TLSCACERTS)?,
        config: text(CONFIG)?,
        crls: text(CRLS),
        intermediate_certs: text(INTERMEDIATECERTS),
        tls_intermediate_certs: text(TLSINTERMEDIATECERTS),
    })
}

/// The MSP that some material stands for.
pub fn definition(organization: &str, msp_id: &str, material: &MspMaterial) -> Result<MspDefinition, String> {
    let msps = [(organization.to_owned(), material.clone())].into();
    msp(organization, msp_id, &Material { msps, consenters: Vec::new() })
}

/// The first certificate among the entries of a `ConfigMap` that is not valid at a time, and why.
pub fn expired(entries: &BTreeMap<String, Blob>, at: Timestamp) -> Option<String> {
    let certificates = entries.iter().filter(|(key, _)| *key != CONFIG && *key != CRLS);
    let mut found = certificates.flat_map(|(key, blob)| {
        let text = std::str::from_utf8(&blob.0).unwrap_or_default();
        let all = CertificateInfo::all_from_pem(text).unwrap_or_default();
        all.into_iter().map(move |certificate| (key, certificate))
    });
    found.find_map(|(key, certificate)| {
        let error = certificate.check_valid_at(at).err()?;
        Some(format!("{key}: {}: {}", certificate.subject, chain(&error)))
    })
}

/// The files of an organization's folder, by their path in it.
pub fn files(
    msp_id: &str,
    material: &MspMaterial,
    orderers: &[(String, ConsenterMaterial)],
) -> Result<BTreeMap<String, Vec<u8>>, String> {
    let definition = definition(msp_id, msp_id, material)?;
    let below = definition.to_files().map_err(|error| chain(&error))?;
    let mut files: BTreeMap<String, Vec<u8>> =
        below.into_iter().map(|(path, bytes)| (format!("msp/{path}"), bytes)).collect();
    for (name, ConsenterMaterial { tls, identity }) in orderers {
        for (file, text) in [("tls.crt", tls), ("identity.crt", identity)] {
            // Whatever else the text may hold stays where it is.
            let certificate = CertificateInfo::from_pem(text).and_then(|certificate| certificate.to_pem());
            let certificate = certificate.map_err(|error| format!("{file} of {name}: {}", chain(&error)))?;
            files.insert(format!("orderers/{name}/{file}"), certificate.into_bytes());
        }
    }
    Ok(files)
}
