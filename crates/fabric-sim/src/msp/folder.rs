//! The MSP folder of a node (Fabric `msp/configbuilder.go`).

use std::path::Path;

use prost::Message as _;
use serde_yaml::Value;
use tenter_fabric_wire::msp::{FabricMspConfig, FabricNodeOus, FabricOuIdentifier, SerializedIdentity};

use super::{Identity, Level, Msp, MspError};
use crate::x509::{Certificate, SigningKey, pem_blocks};

/// A node's own MSP and its signing identity.
#[derive(Debug, Clone)]
pub struct LocalMsp {
    /// The rules.
    pub msp: Msp,
    /// The node's own identity.
    pub identity: Identity,
    /// The marshalled `SerializedIdentity`.
    pub serialized: Vec<u8>,
    /// The key.
    pub key: SigningKey,
}

/// Reads `dir` for MSP ID `id`. `now` (seconds since 1970) decides whether the signing certificate has expired, which
/// keeps a node from starting.
pub fn load_local(dir: &Path, id: &str, now: u64) -> Result<LocalMsp, MspError> {
    let context = |what: String| move |error: MspError| error.within(what);
    let config =
        read_config(dir, id).map_err(context(format!("could not load a valid local MSP from {}", dir.display())))?;
    let msp = Msp::from_config(&config, Level::V3_0)
        .map_err(context(format!("the supplied local MSP {} cannot be set up", dir.display())))?;
    let signer = read_pems(&dir.join("signcerts")).into_iter().next().ok_or_else(|| {
        MspError(format!(
            "could not load a valid signer certificate from directory {}",
            dir.join("signcerts").display()
        ))
    })?;
    let certificate = Certificate::from_pem(&signer).map_err(|error| MspError(error.to_string()))?;
    if certificate.not_after() < now {
        return Err(MspError(format!("signing identity expired {} s ago", now - certificate.not_after())));
    }
    let key = read_pems(&dir.join("keystore"))
        .iter()
        .filter_map(|pem| SigningKey::from_pem(pem).ok())
        .find(|key| key.belongs_to(&certificate))
        .ok_or_else(|| {
            MspError(format!(
                "could not find the private key of the signing certificate in {}",
                dir.join("keystore").display()
            ))
        })?;
    let serialized = SerializedIdentity { mspid: id.to_owned(), id_bytes: signer }.encode_to_vec();
    Ok(LocalMsp { msp, identity: Identity { msp_id: id.to_owned(), certificate }, serialized, key })
}

fn read_config(dir: &Path, id: &str) -> Result<FabricMspConfig, MspError> {
    let roots = read_pems(&dir.join("cacerts"));
    if roots.is_empty() {
        return Err(MspError(format!(
            "could not load a valid ca certificate from directory {}",
            dir.join("cacerts").display()
        )));
    }
    Ok(FabricMspConfig {
        name: id.to_owned(),
        root_certs: roots,
        intermediate_certs: read_pems(&dir.join("intermediatecerts")),
        admins: read_pems(&dir.join("admincerts")),
        revocation_list: read_pems(&dir.join("crls")),
        tls_root_certs: read_pems(&dir.join("tlscacerts")),
        tls_intermediate_certs: read_pems(&dir.join("tlsintermediatecerts")),
        fabric_node_ous: read_node_ous(dir)?,
        ..FabricMspConfig::default()
    })
}

/// The files of a folder that hold PEM, in the order of their names; anything else is passed over, as Fabric does.
fn read_pems(dir: &Path) -> Vec<Vec<u8>> {
    let Ok(entries) = std::fs::read_dir(dir) else {
        return Vec::new();
    };
    let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    paths
        .iter()
        .filter_map(|path| match std::fs::read(path) {
            Ok(bytes) if !pem_blocks(&bytes).is_empty() => Some(bytes),
            Ok(_) => {
                tracing::warn!(path = %path.display(), "no PEM content, passed over");
                None
            }
            Err(_) => None,
        })
        .collect()
}

fn read_node_ous(dir: &Path) -> Result<Option<FabricNodeOus>, MspError> {
    let path = dir.join("config.yaml");
    let Ok(text) = std::fs::read_to_string(&path) else {
        return Ok(None);
    };
    let tree: Value = serde_yaml::from_str(&text).map_err(|error| {
        MspError(format!("failed unmarshalling configuration file at [{}]: {error}", path.display()))
    })?;
    let Some(ous) = tree.get("NodeOUs") else {
        return Ok(None);
    };
    let role = |name: &str| {
        let node = ous.get(name)?;
        let certificate = node
            .get("Certificate")
            .and_then(Value::as_str)
            .filter(|path| !path.is_empty())
            .and_then(|path| std::fs::read(dir.join(path)).ok())
            .unwrap_or_default();
        Some(FabricOuIdentifier {
            certificate,
            organizational_unit_identifier: node
                .get("OrganizationalUnitIdentifier")
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned(),
        })
    };
    Ok(Some(FabricNodeOus {
        enable: ous.get("Enable").and_then(Value::as_bool).unwrap_or(false),
        client_ou_identifier: role("ClientOUIdentifier"),
        peer_ou_identifier: role("PeerOUIdentifier"),
        admin_ou_identifier: role("AdminOUIdentifier"),
        orderer_ou_identifier: role("OrdererOUIdentifier"),
    }))
}
