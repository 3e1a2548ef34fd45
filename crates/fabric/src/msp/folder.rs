//! MSP folders, as maps from file name to bytes; `config.yaml` included (`msp/configbuilder.go`).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{CryptoConfig, MspDefinition, MspError, NodeOus, OuIdentifier, Pem};

/// Files by path in the MSP folder, such as `cacerts/ca.pem`.
type Files = BTreeMap<String, Vec<u8>>;

const CONFIG: &str = "config.yaml";

#[derive(Deserialize, Serialize, Default)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct ConfigYaml {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    organizational_unit_identifiers: Vec<UnitYaml>,
    #[serde(rename = "NodeOUs", skip_serializing_if = "Option::is_none")]
    node_ous: Option<NodeOusYaml>,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct UnitYaml {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    certificate: String,
    #[serde(default)]
    organizational_unit_identifier: String,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct NodeOusYaml {
    #[serde(rename = "Enable", default)]
    enable: bool,
    #[serde(rename = "ClientOUIdentifier", skip_serializing_if = "Option::is_none")]
    client: Option<UnitYaml>,
    #[serde(rename = "PeerOUIdentifier", skip_serializing_if = "Option::is_none")]
    peer: Option<UnitYaml>,
    #[serde(rename = "AdminOUIdentifier", skip_serializing_if = "Option::is_none")]
    admin: Option<UnitYaml>,
    #[serde(rename = "OrdererOUIdentifier", skip_serializing_if = "Option::is_none")]
    orderer: Option<UnitYaml>,
}

impl MspDefinition {
    /// Reads the public part of an MSP folder: `signcerts/` and `keystore/` are not looked at.
    ///
    /// Where Fabric only warns (a file that is not PEM, a missing certificate of a unit) this is an error, because the
    /// organisation would lose an authority without anyone seeing it. Files whose name begins with a dot are skipped.
    pub fn from_files(msp_id: impl Into<String>, files: &Files) -> Result<Self, MspError> {
        let root_certs = directory(files, "cacerts")?;
        if root_certs.is_empty() {
            return Err(MspError::NoRoot);
        }
        let tls_root_certs = directory(files, "tlscacerts")?;
        // Fabric does not look at the intermediates when there is no root.
        let tls_intermediate_certs =
            if tls_root_certs.is_empty() { Vec::new() } else { directory(files, "tlsintermediatecerts")? };
        let config: ConfigYaml = match files.get(CONFIG) {
            Some(bytes) if !bytes.trim_ascii().is_empty() => serde_yaml::from_slice(bytes)?,
            _ => ConfigYaml::default(),
        };
        let organizational_units = config
            .organizational_unit_identifiers
            .into_iter()
            .map(|unit| unit.resolve(files))
            .collect::<Result<_, _>>()?;
        let node_ous = match config.node_ous {
            Some(ous) if ous.enable => Some(ous.resolve(files)?),
            _ => None,
        };
        Ok(Self {
            msp_id: msp_id.into(),
            root_certs,
            intermediate_certs: directory(files, "intermediatecerts")?,
            admins: directory(files, "admincerts")?,
            revocation_list: directory(files, "crls")?,
            organizational_units,
            tls_root_certs,
            tls_intermediate_certs,
            node_ous,
            crypto: Some(CryptoConfig::default()),
        })
    }

    /// Writes an MSP folder from which [`Self::from_files`], and Fabric, read the same definition.
    pub fn to_files(&self) -> Result<Files, MspError> {
        let impossible = |why| MspError::NoFolder { msp_id: self.msp_id.clone(), why };
        if self.crypto.as_ref() != Some(&CryptoConfig::default()) {
            return Err(impossible("its hash families are not SHA2 and SHA256"));
        }
        if self.node_ous.as_ref().is_some_and(|ous| !ous.enable) {
            return Err(impossible("it names the units of roles but does not use them"));
        }
        if self.tls_root_certs.is_empty() && !self.tls_intermediate_certs.is_empty() {
            return Err(impossible("it has intermediate TLS authorities without a root"));
        }
        let mut files = Files::new();
        for (directory, list) in [
            ("cacerts", &self.root_certs),
            ("intermediatecerts", &self.intermediate_certs),
            ("admincerts", &self.admins),
            ("crls", &self.revocation_list),
            ("tlscacerts", &self.tls_root_certs),
            ("tlsintermediatecerts", &self.tls_intermediate_certs),
        ] {
            for (index, pem) in list.iter().enumerate() {
                if !is_pem(pem.bytes()) {
                    return Err(impossible("a certificate or revocation list in it is not PEM"));
                }
                // Files are read in the order of their names, and the order counts.
                files.insert(format!("{directory}/{index:04}.pem"), pem.bytes().to_vec());
            }
        }
        let organizational_unit_identifiers =
            self.organizational_units.iter().map(|unit| UnitYaml::place(unit, &mut files)).collect();
        if self.organizational_units.iter().any(|unit| unit.certificate.is_none()) {
            return Err(impossible("a unit that every identity must have names no authority"));
        }
        let node_ous = self.node_ous.as_ref().map(|ous| {
            let mut place = |unit: &Option<OuIdentifier>| unit.as_ref().map(|unit| UnitYaml::place(unit, &mut files));
            NodeOusYaml {
                enable: ous.enable,
                client: place(&ous.client),
                peer: place(&ous.peer),
                admin: place(&ous.admin),
                orderer: place(&ous.orderer),
            }
        });
        if node_ous.is_some() || !self.organizational_units.is_empty() {
            let text = serde_yaml::to_string(&ConfigYaml { organizational_unit_identifiers, node_ous })?;
            files.insert(CONFIG.to_owned(), text.into_bytes());
        }
        Ok(files)
    }
}

impl UnitYaml {
    fn resolve(self, files: &Files) -> Result<OuIdentifier, MspError> {
        let certificate = match self.certificate.as_str() {
            "" => None,
            path => {
                let bytes = files.get(path).ok_or_else(|| MspError::MissingFile { path: path.to_owned() })?;
                Some(Pem::new(bytes.clone()))
            }
        };
        Ok(OuIdentifier { certificate, unit: self.organizational_unit_identifier })
    }

    /// Points to the file that holds the unit's certificate, and adds one if none does.
    fn place(unit: &OuIdentifier, files: &mut Files) -> Self {
        let certificate = unit.certificate.as_ref().map_or_else(String::new, |pem| {
            let known = files.iter().find(|(_, bytes)| bytes.as_slice() == pem.bytes()).map(|(path, _)| path.clone());
            known.unwrap_or_else(|| {
                let path = format!("units/{:04}.pem", files.len());
                files.insert(path.clone(), pem.bytes().to_vec());
                path
            })
        });
        Self { certificate, organizational_unit_identifier: unit.unit.clone() }
    }
}

impl NodeOusYaml {
    fn resolve(self, files: &Files) -> Result<NodeOus, MspError> {
        // A unit without a name is no unit to Fabric.
        let resolve = |unit: Option<UnitYaml>| {
            unit.filter(|unit| !unit.organizational_unit_identifier.is_empty())
                .map(|unit| unit.resolve(files))
                .transpose()
        };
        Ok(NodeOus {
            enable: self.enable,
            client: resolve(self.client)?,
            peer: resolve(self.peer)?,
            admin: resolve(self.admin)?,
            orderer: resolve(self.orderer)?,
        })
    }
}

fn is_pem(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes)
        .is_ok_and(|text| text.split_once("-----BEGIN ").is_some_and(|(_, rest)| rest.contains("-----END ")))
}

/// The files directly in a directory, in the order of their names.
fn directory(files: &Files, name: &str) -> Result<Vec<Pem>, MspError> {
    let prefix = format!("{name}/");
    files
        .range(prefix.clone()..)
        .take_while(|(path, _)| path.starts_with(&prefix))
        .filter(|(path, _)| path.get(prefix.len()..).is_some_and(|file| !file.contains('/') && !file.starts_with('.')))
        .map(|(path, bytes)| {
            is_pem(bytes).then(|| Pem::new(bytes.clone())).ok_or_else(|| MspError::NotPem { path: path.clone() })
        })
        .collect()
}
