//! MSP folders: the same bytes as configtxgen's, and there and back.

use std::collections::BTreeMap;
use std::path::Path;

use tenter_fabric::msp::{MspDefinition, MspError, NodeOus, Pem};

use crate::{cases, name, read};

/// The files below a folder, by path.
pub fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut out = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            let inner = files(&path).into_iter();
            out.extend(inner.map(|(file, bytes)| (format!("{}/{file}", name(&path)), bytes)));
        } else {
            out.insert(name(&path).to_owned(), read(&path));
        }
    }
    out
}

#[test]
fn folders_are_read_and_written() {
    for case in cases("msp") {
        let definition = MspDefinition::from_files("SomeMSP", &files(&case)).unwrap();
        assert_eq!(definition.root_certs.len(), 1, "{}", name(&case));
        let root = &definition.root_certs[0];
        assert_eq!(definition.node_ous, Some(NodeOus::usual(Some(root))));
        let again = MspDefinition::from_files("SomeMSP", &definition.to_files().unwrap()).unwrap();
        assert_eq!(again, definition);
        assert_eq!(MspDefinition::from_bytes(&definition.to_bytes()).unwrap(), definition);
        let summary = root.certificate().unwrap();
        assert!(summary.subject.contains("CN=ca."), "{}", summary.subject);
        assert!(summary.not_before < summary.not_after);
        assert!(!format!("{definition:?}").contains("BEGIN"));
    }
}

#[test]
fn all_the_parts_of_a_folder() {
    let case = cases("msp").remove(0);
    let mut folder = files(&case);
    let (_, root) = folder.iter().find(|(path, _)| path.starts_with("cacerts/")).unwrap();
    let root = root.clone();
    for directory in ["intermediatecerts", "admincerts", "crls", "tlsintermediatecerts"] {
        folder.insert(format!("{directory}/one.pem"), root.clone());
    }
    folder.insert("keystore/key.pem".to_owned(), b"not looked at".to_vec());
    folder.insert("cacerts/.gitkeep".to_owned(), Vec::new());
    folder.insert("cacerts/..data/ca.pem".to_owned(), Vec::new());
    let yaml = "OrganizationalUnitIdentifiers:\n- {Certificate: intermediatecerts/one.pem, OrganizationalUnitIdentifier: sales}\n";
    folder.insert("config.yaml".to_owned(), yaml.as_bytes().to_vec());
    let definition = MspDefinition::from_files("SomeMSP", &folder).unwrap();
    assert_eq!(definition.admins, [Pem::new(root)]);
    assert_eq!(definition.organizational_units[0].unit, "sales");
    assert_eq!(definition.node_ous, None);
    assert_eq!(MspDefinition::from_files("SomeMSP", &definition.to_files().unwrap()).unwrap(), definition);
    assert_eq!(MspDefinition::from_bytes(&definition.to_bytes()).unwrap(), definition);
}

#[test]
fn what_fabric_would_skip_is_an_error() {
    let case = cases("msp").remove(0);
    let with = |path: &str, bytes: &[u8]| {
        let mut folder = files(&case);
        folder.insert(path.to_owned(), bytes.to_vec());
        MspDefinition::from_files("SomeMSP", &folder)
    };
    assert!(
        matches!(with("cacerts/broken.pem", b"broken"), Err(MspError::NotPem { path }) if path == "cacerts/broken.pem")
    );
    let yaml =
        b"NodeOUs: {Enable: true, PeerOUIdentifier: {Certificate: nowhere.pem, OrganizationalUnitIdentifier: peer}}";
    assert!(matches!(with("config.yaml", yaml), Err(MspError::MissingFile { path }) if path == "nowhere.pem"));
    assert!(matches!(with("config.yaml", b"NodeOus: {}"), Err(MspError::Yaml(_))));
    assert!(matches!(MspDefinition::from_files("SomeMSP", &BTreeMap::new()), Err(MspError::NoRoot)));
    assert!(MspDefinition::from_bytes(b"\x08\x01").is_err(), "Idemix");
}
