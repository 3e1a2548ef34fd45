//! From files to folders. Nothing here asks for a clock or for the definition.

use std::collections::{BTreeMap, BTreeSet};

use tenter_fabric::block::Block;
use tenter_fabric::msp::MspDefinition;
use tenter_fabric::x509::CertificateInfo;

use super::approval::{APPROVALS, is_hash};
use super::{GenesisNote, OrganizationFolder, PinnedGenesis, Problem, Repository};
use crate::channel_config::{ConsenterMaterial, MspMaterial, chain};
use crate::diagnostic::quoted;
use crate::document::{Blob, MemberFiles};
use crate::rules::{self, RuleId};

/// Most bytes of a file of an organization.
const MAX_MATERIAL_BYTES: usize = 64 << 10;
/// Folders of the MSP whose files hold one certificate each.
const CERTIFICATE_FOLDERS: [&str; 4] = ["cacerts", "intermediatecerts", "tlscacerts", "tlsintermediatecerts"];

/// Reads the files of the members. What a problem speaks of is left out: it counts as missing.
pub fn read(members: &MemberFiles) -> (Repository, Vec<Problem>) {
    let mut reader = Reader::default();
    for (path, why) in &members.refused {
        reader.problem(
            path,
            rules::REPOSITORY_LIMITS,
            format!("{} {why}", quoted(path)),
            "make it smaller, or remove it",
        );
    }
    let mut channels: BTreeMap<String, BTreeMap<String, Blob>> = BTreeMap::new();
    for (path, blob) in &members.files {
        let mut parts = path.splitn(3, '/');
        let (Some(root), Some(name), Some(rest)) = (parts.next(), parts.next(), parts.next()) else { continue };
        if holds_private_key(rest, &blob.0) {
            let message = format!("{} holds a private key", quoted(path));
            let help =
                "the key is no secret any more: remove the file and its history, and have the certificate revoked";
            reader.problem(path, rules::PRIVATE_KEY, message, help);
        } else if root == "organizations" {
            reader.organization_file(name, rest, path, blob);
        } else if root == APPROVALS {
            reader.approval(name, rest, path, blob);
        } else if root == "channels" {
            channels.entry(name.to_owned()).or_default().insert(rest.to_owned(), blob.clone());
        }
    }
    let mut repository = Repository { approvals: std::mem::take(&mut reader.approvals), ..Repository::default() };
    for (name, files) in &channels {
        if let Some(pinned) = reader.pinned(name, files) {
            repository.channels.insert(name.clone(), pinned);
        }
    }
    for (name, files) in std::mem::take(&mut reader.folders) {
        let folder = reader.folder(&name, files);
        repository.organizations.insert(name, folder);
    }
    reader.problems.sort();
    (repository, reader.problems)
}

/// Whether a file is, by its name or by what it holds, a private key.
fn holds_private_key(path: &str, bytes: &[u8]) -> bool {
    const MARK: &[u8] = b"PRIVATE KEY-----";
    path.split('/').any(|part| part == "keystore" || part.ends_with("_sk"))
        || bytes.windows(MARK.len()).any(|window| window.eq_ignore_ascii_case(MARK))
}

#[derive(Default)]
struct Reader {
    folders: BTreeMap<String, BTreeMap<String, Blob>>,
    approvals: BTreeMap<(String, String), Blob>,
    problems: Vec<Problem>,
}

impl Reader {
    fn problem(&mut self, path: &str, rule: RuleId, message: String, help: &str) {
        self.problems.push(Problem { path: path.to_owned(), rule, message, help: help.to_owned() });
    }

    fn organization_file(&mut self, name: &str, rest: &str, path: &str, blob: &Blob) {
        let files = self.folders.entry(name.to_owned()).or_default();
        if blob.0.len() > MAX_MATERIAL_BYTES {
            let message = format!("{} has {} bytes; at most {MAX_MATERIAL_BYTES} are read", quoted(path), blob.0.len());
            self.problem(path, rules::REPOSITORY_LIMITS, message, "certificates are small: export the folder again");
            return;
        }
        if let Some(why) = misplaced(rest) {
            let help = "the folder holds `msp/`, `orderers/<node>/tls.crt` and `identity.crt`, and `consent.sig`: \
                        `tenter export` writes it";
            self.problem(path, rules::FOLDER_SHAPE, format!("{} {why}", quoted(path)), help);
            return;
        }
        files.insert(rest.to_owned(), blob.clone());
    }

    fn approval(&mut self, hash: &str, rest: &str, path: &str, blob: &Blob) {
        let organization = rest.strip_suffix(".yaml").filter(|name| !name.is_empty() && !name.contains('/'));
        let why = match organization {
            _ if !is_hash(hash) => "is in a folder that is not named by the whole hash of a plan",
            None => "is not named by an organization",
            Some(_) if blob.0.len() > MAX_MATERIAL_BYTES => "is larger than an approval can be",
            Some(organization) => {
                self.approvals.insert((hash.to_owned(), organization.to_owned()), blob.clone());
                return;
            }
        };
        let help = "approvals are `approvals/<hash>/<organization>.yaml`: `tenter approve HASH --organization NAME` writes them";
        self.problem(path, rules::APPROVAL_SHAPE, format!("{} {why}", quoted(path)), help);
    }

    fn folder(&mut self, name: &str, files: BTreeMap<String, Blob>) -> OrganizationFolder {
        let base = super::organization_path(name);
        let msp = self.msp(&base, &files);
        let nodes: BTreeSet<&str> = files
            .keys()
            .filter_map(|path| path.strip_prefix("orderers/")?.split_once('/').map(|(node, _)| node))
            .collect();
        let mut orderers = BTreeMap::new();
        for node in nodes {
            let tls = self.certificate(&base, &format!("orderers/{node}/tls.crt"), &files);
            let identity = self.certificate(&base, &format!("orderers/{node}/identity.crt"), &files);
            if let (Some(tls), Some(identity)) = (tls, identity) {
                orderers.insert(node.to_owned(), ConsenterMaterial { tls, identity });
            }
        }
        let consent = files.get("consent.sig").cloned();
        OrganizationFolder { files, msp, orderers, consent }
    }

    /// The text of a file that holds one certificate.
    fn certificate(&mut self, base: &str, rest: &str, files: &BTreeMap<String, Blob>) -> Option<String> {
        let bytes = &files.get(rest)?.0;
        let read = std::str::from_utf8(bytes)
            .map_err(|_| "is not text".to_owned())
            .and_then(|text| {
                CertificateInfo::from_pem(text).map_err(|error| format!("is no certificate: {}", chain(&error)))
            })
            .and_then(|certificate| certificate.to_pem().map_err(|error| chain(&error)));
        match read {
            Ok(text) => Some(text),
            Err(why) => {
                let path = format!("{base}/{rest}");
                let message = format!("{} {why}", quoted(&path));
                self.problem(&path, rules::FOLDER_SHAPE, message, "put one PEM certificate there and nothing else");
                None
            }
        }
    }

    fn msp(&mut self, base: &str, files: &BTreeMap<String, Blob>) -> Option<MspMaterial> {
        let mut whole = true;
        let mut texts: BTreeMap<&str, String> = BTreeMap::new();
        for directory in CERTIFICATE_FOLDERS {
            let prefix = format!("msp/{directory}/");
            let paths: Vec<&String> = files.keys().filter(|path| path.starts_with(&prefix)).collect();
            for path in paths {
                match self.certificate(base, path, files) {
                    Some(text) => texts.entry(directory).or_default().push_str(&text),
                    None => whole = false,
                }
            }
        }
        let below: BTreeMap<String, Vec<u8>> = files
            .iter()
            .filter_map(|(path, blob)| Some((path.strip_prefix("msp/")?.to_owned(), blob.0.clone())))
            .collect();
        if !whole || !texts.contains_key("cacerts") || !texts.contains_key("tlscacerts") {
            return None;
        }
        // Written anew, the units name the authorities by the names that every reader gives them.
        let written = MspDefinition::from_files("", &below).and_then(|definition| definition.to_files());
        let config = match written.map(|mut files| files.remove("config.yaml").unwrap_or_default()) {
            Ok(config) => String::from_utf8(config).unwrap_or_default(),
            Err(error) => {
                let path = format!("{base}/msp");
                let message = format!("{} is no usable MSP: {}", quoted(&path), chain(&error));
                self.problem(&path, rules::FOLDER_SHAPE, message, "export the folder again: `tenter export`");
                return None;
            }
        };
        if config.is_empty() {
            return None;
        }
        let list = below.iter().filter(|(path, _)| path.starts_with("crls/")).map(|(_, bytes)| bytes);
        let crls: String = list.map(|bytes| String::from_utf8_lossy(bytes)).collect();
        Some(MspMaterial {
            ca_certs: texts.remove("cacerts").unwrap_or_default(),
            tls_ca_certs: texts.remove("tlscacerts").unwrap_or_default(),
            config,
            crls: Some(crls).filter(|text| !text.trim().is_empty()),
            intermediate_certs: texts.remove("intermediatecerts"),
            tls_intermediate_certs: texts.remove("tlsintermediatecerts"),
        })
    }

    fn pinned(&mut self, channel: &str, files: &BTreeMap<String, Blob>) -> Option<PinnedGenesis> {
        let path = super::genesis_path(channel);
        let help = "`tenter genesis` writes genesis.pb and genesis.yaml together";
        let (block, note) = match (files.get("genesis.pb"), files.get("genesis.yaml")) {
            (Some(block), Some(note)) => (block, note),
            (None, None) => return None,
            (block, _) => {
                let missing = if block.is_some() { "genesis.yaml" } else { "genesis.pb" };
                let message = format!("channels/{channel} has no {missing}");
                self.problem(&path, rules::PINNED_GENESIS, message, help);
                return None;
            }
        };
        let note = serde_yaml::from_slice::<GenesisNote>(&note.0).map_err(|error| format!("genesis.yaml: {error}"));
        let hash = Block::from_bytes(block.0.clone()).map_err(|error| format!("genesis.pb: {}", chain(&error)));
        let problem = match (note, hash) {
            (Ok(note), Ok(read)) if note.block_hash == hex::encode(read.header_hash()) => {
                return Some(PinnedGenesis { block: block.clone(), note });
            }
            (Ok(_), Ok(read)) => {
                format!("genesis.pb has the hash {}, genesis.yaml names another", hex::encode(read.header_hash()))
            }
            (Err(why), _) | (_, Err(why)) => why,
        };
        self.problem(&path, rules::PINNED_GENESIS, format!("channels/{channel}: {problem}"), help);
        None
    }
}

/// Why a file of an organization's folder does not belong there.
fn misplaced(path: &str) -> Option<&'static str> {
    let parts: Vec<&str> = path.split('/').collect();
    let hidden = parts.last().is_some_and(|name| name.starts_with('.'));
    match parts.as_slice() {
        _ if hidden => Some("has a name that begins with a dot"),
        ["consent.sig" | "README.md"]
        | ["msp", "config.yaml"]
        | ["msp", "crls", _]
        | ["orderers", _, "tls.crt" | "identity.crt"] => None,
        ["msp", directory, _] if CERTIFICATE_FOLDERS.contains(directory) => None,
        ["msp", ..] => Some("is no part of a public MSP that Tenter reads"),
        _ => Some("is no part of an organization's folder"),
    }
}
