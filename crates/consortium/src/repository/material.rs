//! An organization's public material as the entries of a ConfigMap: what the controllers of other members read.

use std::collections::BTreeMap;

use super::OrganizationFolder;
use tenter_fabric::x509::CertificateInfo;

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

/// The files of an organization's folder, by their path in it.
pub fn files(
    msp_id: &str,
    material: &MspMaterial,
    orderers: &[(String, ConsenterMaterial)],
) -> Result<BTreeMap<String, Vec<u8>>, String> {
    let msps = [(msp_id.to_owned(), material.clone())].into();
    let definition = msp(msp_id, msp_id, &Material { msps, consenters: Vec::new() })?;
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
