//! A chaincode on a channel: what is wanted of the ledger and of the peers, and how far that is. Pure functions, which
//! the plan and the Chaincode controller ask alike.

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest as _, Sha256};
use tenter_fabric::chaincode::package::LabelError;
use tenter_fabric::chaincode::{
    Collection, Definition, Endorsement, Label, Package, PackageError, PackageId, ServiceConnection, ServiceTls,
};
use tenter_fabric::policy::{Principal, Role, SignaturePolicy};

use crate::definition::{ChaincodeSource, ExternalEntry};
use crate::document::{Blob, MAX_FILE_BYTES, RepositoryFacts, RepositoryItem};
use crate::objects::{ChaincodeCollection, ChaincodePackageRef, ChaincodeSourceSpec, ChaincodeSpec, ExternalChaincode};

mod lifecycle;
mod progress;
#[cfg(test)]
mod tests;

pub use lifecycle::{LIFECYCLE_ENDORSEMENT, Lifecycle, LifecyclePolicy};
pub use progress::{Approval, MemberProgress, Next, Progress, next, progress, went_back};

/// Port that a chaincode's service listens on.
pub const SERVICE_PORT: u16 = 9999;
/// Key of a package in its ConfigMap's `binaryData`.
pub const PACKAGE_KEY: &str = "package.tar.gz";
/// The type of packages that the peers' builder takes.
pub const SERVICE_TYPE: &str = "ccaas";
/// Keys of the peers' `CHAINCODE_AS_A_SERVICE_BUILDER_CONFIG`, which fills in what the packages of image sources leave
/// open: the peer's own namespace, and the root certificate of its organization's TLS authority.
pub const BUILDER_KEYS: [&str; 2] = ["namespace", "root_cert"];
/// Longest name of an object that is also a label.
const MAX_NAME: usize = 63;
/// How long a peer tries to reach a service.
const DIAL_TIMEOUT: &str = "10s";
/// Digits of a hash that tell names apart.
const HASH_DIGITS: usize = 8;

/// Why a chaincode cannot be brought to the ledger as its spec says.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChaincodeError {
    /// A policy that cannot be read.
    #[error("the endorsement policy {text} of {what} cannot be read")]
    Policy {
        /// The chaincode, or the collection.
        what: String,
        /// The policy.
        text: String,
        /// What is wrong with it.
        #[source]
        source: tenter_fabric::policy::PolicySyntaxError,
    },
    /// None of the sources, or more than one.
    #[error("a source is one of image, package and external")]
    Source,
    /// Name and version that make no label.
    #[error("name and version make no label of a package")]
    Label(#[from] LabelError),
    /// A package's id that is none.
    #[error("the package's id cannot be read")]
    PackageId(#[from] tenter_fabric::chaincode::package::PackageIdError),
}

/// The name of a chaincode's object: the channel's name and its own, as a DNS label. Validation refuses two chaincodes
/// that get the same one, and names that are too long for it.
pub fn object_name(channel: &str, name: &str) -> String {
    format!("{}-{}", dns(channel), dns(name))
}

/// Whether a name of an object is short enough to be a label's value and the beginning of other names.
pub const fn fits_object_name(name: &str) -> bool {
    name.len() <= MAX_NAME
}

fn dns(text: &str) -> String {
    text.to_ascii_lowercase().replace(['_', '.'], "-")
}

/// The definition that a spec asks for.
pub fn wanted(spec: &ChaincodeSpec) -> Result<Definition, ChaincodeError> {
    let mut definition = Definition::new(&spec.name, &spec.version);
    if let Some(text) = &spec.endorsement {
        definition.endorsement = endorsement(text, || format!("chaincode {}", spec.name))?;
    }
    definition.init_required = spec.init_required;
    definition.collections = spec.collections.iter().map(collection).collect::<Result<_, _>>()?;
    Ok(definition)
}

/// An endorsement policy: an expression, or the path of one of the channel's.
fn endorsement(text: &str, what: impl FnOnce() -> String) -> Result<Endorsement, ChaincodeError> {
    if text.starts_with('/') {
        return Ok(Endorsement::Reference(text.to_owned()));
    }
    let policy = text.parse::<SignaturePolicy>();
    policy.map(Endorsement::Signature).map_err(|source| ChaincodeError::Policy {
        what: what(),
        text: text.to_owned(),
        source,
    })
}

fn collection(wanted: &ChaincodeCollection) -> Result<Collection, ChaincodeError> {
    let ChaincodeCollection {
        name,
        member_msp_ids,
        required_peer_count,
        max_peer_count,
        block_to_live,
        member_only_read,
        member_only_write,
        endorsement: policy,
    } = wanted;
    let members = member_msp_ids.iter().map(|msp_id| Principal::role(msp_id, Role::Member)).collect();
    let policy = policy.as_ref().map(|text| endorsement(text, || format!("collection {name}")));
    Ok(Collection {
        name: name.clone(),
        policy: SignaturePolicy::out_of(1, members),
        required_peer_count: i32::try_from(*required_peer_count).unwrap_or(i32::MAX),
        maximum_peer_count: i32::try_from(*max_peer_count).unwrap_or(i32::MAX),
        block_to_live: u64::from(*block_to_live),
        member_only_read: *member_only_read,
        member_only_write: *member_only_write,
        endorsement: policy.transpose()?,
    })
}

/// The wanted definition in the committed one's words: peers compare bytes, so what means the same keeps its order.
pub fn in_words_of(mut wanted: Definition, committed: &Definition) -> Definition {
    if wanted.endorsement.to_string() == committed.endorsement.to_string() {
        wanted.endorsement = committed.endorsement.clone();
    }
    let place = |name: &str| committed.collections.iter().position(|collection| collection.name == name);
    wanted.collections.sort_by_key(|collection| place(&collection.name).unwrap_or(usize::MAX));
    for collection in &mut wanted.collections {
        let Some(old) = committed.collections.iter().find(|old| old.name == collection.name) else { continue };
        if members(&collection.policy) == members(&old.policy) {
            collection.policy = old.policy.clone();
        }
    }
    wanted
}

/// The principals of a member policy, which is an OR, whatever their order.
fn members(policy: &SignaturePolicy) -> BTreeSet<String> {
    policy.identities.iter().map(ToString::to_string).collect()
}

/// The label of the packages that Tenter makes.
pub fn label(name: &str, version: &str) -> Result<Label, LabelError> {
    format!("{name}_{version}").parse()
}

/// The name of the Service and the Deployment of a chaincode's image, in the namespace of every member that runs it.
/// Another image is another service: the old one serves until no peer uses it.
pub fn service_name(spec: &ChaincodeSpec) -> String {
    let image = spec.source.image.as_deref().unwrap_or_default();
    let parts = [spec.channel.as_str(), &spec.name, &spec.version, image];
    let hash = hex::encode(Sha256::digest(parts.join("\0").as_bytes()));
    let hash = &hash[..HASH_DIGITS];
    let name = dns(&spec.name);
    let room = MAX_NAME - "cc--".len() - HASH_DIGITS;
    let name = name.get(..room).unwrap_or(&name).trim_end_matches('-');
    format!("cc-{name}-{hash}")
}

/// How peers reach the chaincode: its own service, or what the spec names; nothing for a package, which says it itself.
/// Of an own service, the builder of each peer fills in the namespace and the root certificate ([`BUILDER_KEYS`]), so
/// that the package's bytes are the same for every member.
pub fn service_connection(spec: &ChaincodeSpec) -> Option<ServiceConnection> {
    let tls = |root_certificate: String| ServiceTls { root_certificate, client: None };
    let (address, tls) = match (&spec.source.image, &spec.source.external) {
        (Some(_), None) => {
            let address = format!("{}.{{{{.namespace}}}}.svc:{SERVICE_PORT}", service_name(spec));
            (address, Some(tls("{{.root_cert}}".to_owned())))
        }
        (None, Some(ExternalChaincode { address, root_certificates })) => {
            (address.clone(), root_certificates.clone().map(tls))
        }
        _ => return None,
    };
    Some(ServiceConnection { address, dial_timeout: DIAL_TIMEOUT.to_owned(), tls })
}

/// The package that Tenter makes for a spec; none where it is the repository's.
pub fn package(spec: &ChaincodeSpec) -> Result<Option<Package>, ChaincodeError> {
    let Some(connection) = service_connection(spec) else { return Ok(None) };
    Ok(Some(Package::service(&label(&spec.name, &spec.version)?, &connection)))
}

/// The id of the package that every member's peers should have.
pub fn package_id(spec: &ChaincodeSpec) -> Result<PackageId, ChaincodeError> {
    let ChaincodeSourceSpec { image, package: from_repository, external } = &spec.source;
    match (image, from_repository, external) {
        (None, Some(reference), None) => Ok(reference.package_id.parse()?),
        (Some(_), None, None) | (None, None, Some(_)) => {
            package(spec)?.map(|package| package.id().clone()).ok_or(ChaincodeError::Source)
        }
        _ => Err(ChaincodeError::Source),
    }
}

/// A source of the file as the spec has it, and the package's bytes where it comes from the repository.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Source {
    /// For the spec.
    pub spec: ChaincodeSourceSpec,
    /// For the ConfigMap that the spec names.
    pub package: Option<Blob>,
    /// Where peers call it, `host:port`, if that is elsewhere: the daemon's settings must allow it.
    pub server: Option<String>,
}

/// Resolves a source. `object` is the name of the chaincode's object. An error says what of the repository is missing.
pub fn source(
    entry: &ChaincodeSource,
    repository: &RepositoryFacts,
    spec: &ChaincodeSpec,
    object: &str,
) -> Result<Source, String> {
    let ChaincodeSource { image, package, external } = entry;
    let mut source = Source {
        spec: ChaincodeSourceSpec { image: image.clone(), ..Default::default() },
        package: None,
        server: None,
    };
    if let Some(path) = package {
        let item = repository.files.get(path).ok_or_else(|| not_read(path))?;
        let package = read_package(item, &spec.name, &spec.version).map_err(|why| format!("{path}: {why}"))?;
        source.server = Some(package.server().map_err(|why| format!("{path}: {}", chain(&why)))?);
        let hash = package.id().hash();
        source.spec.package = Some(ChaincodePackageRef {
            config_map: format!("{object}-{}", hash.get(..HASH_DIGITS).unwrap_or(hash)),
            package_id: package.id().to_string(),
        });
        source.package = Some(Blob(package.bytes().to_vec()));
    }
    if let Some(ExternalEntry { address, root_certificates }) = external {
        let roots = root_certificates.as_ref().map(|path| {
            let item = repository.files.get(path).ok_or_else(|| not_read(path))?;
            text_of(item).map_err(|why| format!("{path}: {why}"))
        });
        source.server = Some(address.clone());
        source.spec.external =
            Some(ExternalChaincode { address: address.clone(), root_certificates: roots.transpose()? });
    }
    Ok(source)
}

fn not_read(path: &str) -> String {
    format!("{path} was not read: the definition came without its repository")
}

/// Why something in the repository is no package.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceFileError {
    /// There is nothing.
    #[error("there is no such file or folder in the repository")]
    Missing,
    /// It is not read.
    #[error("it {why}")]
    Refused {
        /// What it is.
        why: String,
    },
    /// A folder without a `connection.json`.
    #[error("the folder has no connection.json at its root, so that it cannot be packaged as {SERVICE_TYPE}")]
    NoConnection,
    /// A folder where a file must be.
    #[error("it is a folder, not a file")]
    Folder,
    /// More than the object that carries it to the peers can hold.
    #[error("it has {size} bytes; at most {MAX_FILE_BYTES} are possible")]
    TooLarge {
        /// Its size.
        size: u64,
    },
    /// A package that peers would not take, or would read in different ways.
    #[error("{}", chain(.0))]
    Package(#[from] PackageError),
    /// Name and version that make no label.
    #[error(transparent)]
    Label(#[from] LabelError),
    /// A type of package that the peers have no builder for.
    #[error("the package is of type {found:?}, and peers build {SERVICE_TYPE} only")]
    Type {
        /// Its type.
        found: String,
    },
    /// Not PEM certificates.
    #[error("it holds no certificates: {why}")]
    Certificates {
        /// What is wrong.
        why: String,
    },
}

/// The package that a file or a folder of the repository is or becomes.
pub fn read_package(item: &RepositoryItem, name: &str, version: &str) -> Result<Package, SourceFileError> {
    let package = match item {
        RepositoryItem::Missing => return Err(SourceFileError::Missing),
        RepositoryItem::Refused { why } => return Err(SourceFileError::Refused { why: why.clone() }),
        RepositoryItem::TooLarge { size } => return Err(SourceFileError::TooLarge { size: *size }),
        RepositoryItem::File { bytes: Blob(bytes) } => {
            sized(bytes.len())?;
            Package::read(bytes.clone())?
        }
        RepositoryItem::Folder { files } => {
            if !files.contains_key("connection.json") {
                return Err(SourceFileError::NoConnection);
            }
            let files: BTreeMap<String, Vec<u8>> =
                files.iter().map(|(name, Blob(bytes))| (name.clone(), bytes.clone())).collect();
            Package::from_files(&label(name, version)?, SERVICE_TYPE, &files)?
        }
    };
    sized(package.bytes().len())?;
    if package.kind() != SERVICE_TYPE {
        return Err(SourceFileError::Type { found: package.kind().to_owned() });
    }
    package.server()?;
    Ok(package)
}

fn sized(size: usize) -> Result<(), SourceFileError> {
    if size > MAX_FILE_BYTES { Err(SourceFileError::TooLarge { size: size as u64 }) } else { Ok(()) }
}

/// The PEM certificates that a file of the repository holds.
pub fn text_of(item: &RepositoryItem) -> Result<String, SourceFileError> {
    let no = |why: &str| SourceFileError::Certificates { why: why.to_owned() };
    match item {
        RepositoryItem::Missing => Err(SourceFileError::Missing),
        RepositoryItem::Refused { why } => Err(SourceFileError::Refused { why: why.clone() }),
        RepositoryItem::TooLarge { size } => Err(SourceFileError::TooLarge { size: *size }),
        RepositoryItem::Folder { .. } => Err(SourceFileError::Folder),
        RepositoryItem::File { bytes: Blob(bytes) } => {
            let text = std::str::from_utf8(bytes).map_err(|_| no("it is no text"))?;
            let found = tenter_fabric::x509::CertificateInfo::all_from_pem(text).map_err(|error| no(&chain(&error)))?;
            if found.is_empty() { Err(no("there is none")) } else { Ok(text.to_owned()) }
        }
    }
}

/// An error and what it came from, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    crate::channel_config::chain(error)
}
