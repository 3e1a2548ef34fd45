//! Calls of the `_lifecycle` system chaincode and what it answers (`core/chaincode/lifecycle/scc.go`).

use std::collections::BTreeMap;
use std::fmt;

use prost::Message;
use tenter_fabric_wire::lifecycle::{
    ApproveChaincodeDefinitionForMyOrgArgs, ChaincodeSource, CheckCommitReadinessArgs, CheckCommitReadinessResult,
    CommitChaincodeDefinitionArgs, InstallChaincodeArgs, InstallChaincodeResult, QueryApprovedChaincodeDefinitionArgs,
    QueryApprovedChaincodeDefinitionResult, QueryChaincodeDefinitionArgs, QueryChaincodeDefinitionResult,
    QueryChaincodeDefinitionsArgs, QueryChaincodeDefinitionsResult, QueryInstalledChaincodesArgs,
    QueryInstalledChaincodesResult, chaincode_source,
};
use tenter_fabric_wire::protos::CollectionConfigPackage;

use super::definition::{
    Approved, CollectionError, Committed, Definition, ENDORSEMENT_PLUGIN, Endorsement, VALIDATION_PLUGIN,
    collections_from_wire, collections_to_wire,
};
use super::package::{Label, LabelError, Package, PackageId, PackageIdError};
use super::transaction::Call;

/// Name of the system chaincode.
pub const LIFECYCLE: &str = "_lifecycle";
const APPROVE: &str = "ApproveChaincodeDefinitionForMyOrg";
pub(super) const COMMIT: &str = "CommitChaincodeDefinition";

/// Why an answer of `_lifecycle` cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LifecycleError {
    /// Not the message it should be.
    #[error("it is not the message that it should be")]
    Decode(#[from] prost::DecodeError),
    /// A collection of a kind that is not known.
    #[error("the definition of {chaincode} cannot be read")]
    Collection {
        /// Which chaincode.
        chaincode: String,
        /// Why.
        #[source]
        source: CollectionError,
    },
    /// An installed package without a proper id.
    #[error("it names an installed package in a way that is not known")]
    PackageId(#[from] PackageIdError),
    /// An installed package without a proper label.
    #[error("it names an installed package in a way that is not known")]
    Label(#[from] LabelError),
}

/// A package on a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstalledChaincode {
    /// The package's label.
    pub label: Label,
    /// Which chaincodes run from it: by channel, the names with their versions.
    pub references: BTreeMap<String, BTreeMap<String, String>>,
}

/// The refusals of `_lifecycle` that say where a definition stands. Fabric tells them apart by text only
/// (`core/chaincode/lifecycle/lifecycle.go`).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// The organisation has already approved exactly this, package included.
    Unchanged,
    /// Another sequence is next.
    WrongSequence {
        /// The one that was asked for.
        requested: i64,
        /// The one that an uncommitted definition would have.
        next: i64,
    },
    /// The sequence is committed, with other content.
    CommittedOtherwise {
        /// What differs, as the peer says it.
        text: String,
    },
    /// The endorsing peer's own organisation has not approved exactly this definition.
    NotAgreed {
        /// The organisation.
        msp_id: String,
    },
    /// The package is installed already.
    Installed {
        /// Its id.
        package_id: PackageId,
    },
}

impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unchanged => formatter.write_str("its organisation has already approved exactly this definition"),
            Self::WrongSequence { requested, next } => {
                write!(formatter, "the next definition has sequence {next}, not {requested}")
            }
            Self::CommittedOtherwise { text } => {
                write!(formatter, "this sequence is committed with another definition: {text}")
            }
            Self::NotAgreed { msp_id } => write!(formatter, "{msp_id} has not approved exactly this definition"),
            Self::Installed { package_id } => write!(formatter, "{package_id} is already installed"),
        }
    }
}

impl Refusal {
    /// Recognises the text of a refusal, as a peer answers it or a Gateway passes it on.
    pub fn from_text(text: &str) -> Option<Self> {
        const AGAIN: &str = "attempted to redefine the current committed sequence (";
        if text.contains("attempted to redefine uncommitted sequence (") && text.ends_with(" with unchanged content") {
            return Some(Self::Unchanged);
        }
        if let Some((_, rest)) = text.split_once(AGAIN) {
            return Some(match rest.split_once(" with different parameters: ") {
                Some((_, why)) => Self::CommittedOtherwise { text: why.to_owned() },
                None => Self::Unchanged,
            });
        }
        if let Some(msp_id) = between(text, "chaincode definition not agreed to by this org (", ")") {
            return Some(Self::NotAgreed { msp_id: msp_id.to_owned() });
        }
        if let Some(id) = between(text, "chaincode already successfully installed (package ID '", "')") {
            return id.parse().ok().map(|package_id| Self::Installed { package_id });
        }
        Self::sequence(text)
    }

    fn sequence(text: &str) -> Option<Self> {
        let numbers = |before: &str, middle: &str| {
            let (_, rest) = text.split_once(before)?;
            let (one, two) = rest.split_once(middle)?;
            Some((one.parse::<i64>().ok()?, two.parse::<i64>().ok()?))
        };
        if text.ends_with("requested sequence is 0, but first definable sequence number is 1") {
            return Some(Self::WrongSequence { requested: 0, next: 1 });
        }
        if let Some((requested, next)) = numbers("requested sequence is ", ", but new definition must be sequence ") {
            return Some(Self::WrongSequence { requested, next });
        }
        if let Some((requested, next)) =
            numbers("requested sequence ", " is larger than the next available sequence number ")
        {
            return Some(Self::WrongSequence { requested, next });
        }
        let (current, requested) = numbers("currently defined sequence ", " is larger than requested sequence ")?;
        Some(Self::WrongSequence { requested, next: current.checked_add(1)? })
    }
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    text.split_once(before)?.1.strip_suffix(after)
}

fn call(channel: &str, function: &str, args: &impl Message) -> Call {
    Call::new(channel, LIFECYCLE, function, [args.encode_to_vec()])
}

/// Approves a definition for the organisation of the peer that endorses it; without a package its peers do not run the
/// chaincode. To be endorsed by that organisation's peers only.
pub fn approve_call(channel: &str, definition: &Definition, sequence: i64, package: Option<&PackageId>) -> Call {
    let source = match package {
        Some(id) => chaincode_source::Type::LocalPackage(chaincode_source::Local { package_id: id.to_string() }),
        None => chaincode_source::Type::Unavailable(chaincode_source::Unavailable {}),
    };
    let args = ApproveChaincodeDefinitionForMyOrgArgs {
        sequence,
        name: definition.name.clone(),
        version: definition.version.clone(),
        endorsement_plugin: definition.endorsement_plugin.clone(),
        validation_plugin: definition.validation_plugin.clone(),
        validation_parameter: definition.endorsement.validation_parameter(),
        collections: collections_to_wire(&definition.collections),
        init_required: definition.init_required,
        source: Some(ChaincodeSource { r#type: Some(source) }),
    };
    call(channel, APPROVE, &args)
}

/// Commits a definition. Each endorsing peer demands that its own organisation has approved it; whether enough have is
/// judged only when the transaction is validated.
pub fn commit_call(channel: &str, definition: &Definition, sequence: i64) -> Call {
    let args = CommitChaincodeDefinitionArgs {
        sequence,
        name: definition.name.clone(),
        version: definition.version.clone(),
        endorsement_plugin: definition.endorsement_plugin.clone(),
        validation_plugin: definition.validation_plugin.clone(),
        validation_parameter: definition.endorsement.validation_parameter(),
        collections: collections_to_wire(&definition.collections),
        init_required: definition.init_required,
    };
    call(channel, COMMIT, &args)
}

/// Asks who has approved exactly this definition, which must be the next one.
pub fn readiness_call(channel: &str, definition: &Definition, sequence: i64) -> Call {
    let args = CheckCommitReadinessArgs {
        sequence,
        name: definition.name.clone(),
        version: definition.version.clone(),
        endorsement_plugin: definition.endorsement_plugin.clone(),
        validation_plugin: definition.validation_plugin.clone(),
        validation_parameter: definition.endorsement.validation_parameter(),
        collections: collections_to_wire(&definition.collections),
        init_required: definition.init_required,
    };
    call(channel, "CheckCommitReadiness", &args)
}

/// Reads the answer to [`readiness_call`]: whether each member, by MSP ID, has approved.
pub fn read_readiness(payload: &[u8]) -> Result<BTreeMap<String, bool>, LifecycleError> {
    Ok(CheckCommitReadinessResult::decode(payload)?.approvals)
}

/// Asks for the committed definition of one chaincode.
pub fn committed_call(channel: &str, name: &str) -> Call {
    call(channel, "QueryChaincodeDefinition", &QueryChaincodeDefinitionArgs { name: name.to_owned() })
}

/// Reads the answer to [`committed_call`].
pub fn read_committed(name: &str, payload: &[u8]) -> Result<Committed, LifecycleError> {
    let wire = QueryChaincodeDefinitionResult::decode(payload)?;
    let definition = Fields {
        name,
        version: wire.version,
        plugins: (wire.endorsement_plugin, wire.validation_plugin),
        validation_parameter: &wire.validation_parameter,
        collections: wire.collections.as_ref(),
        init_required: wire.init_required,
    };
    Ok(Committed { sequence: wire.sequence, definition: definition.read()?, approvals: wire.approvals })
}

/// Asks for all committed definitions of a channel.
pub fn all_committed_call(channel: &str) -> Call {
    call(channel, "QueryChaincodeDefinitions", &QueryChaincodeDefinitionsArgs {})
}

/// Reads the answer to [`all_committed_call`]: by name, without approvals.
pub fn read_all_committed(payload: &[u8]) -> Result<BTreeMap<String, Committed>, LifecycleError> {
    let wire = QueryChaincodeDefinitionsResult::decode(payload)?;
    wire.chaincode_definitions
        .into_iter()
        .map(|wire| {
            let definition = Fields {
                name: &wire.name,
                version: wire.version,
                plugins: (wire.endorsement_plugin, wire.validation_plugin),
                validation_parameter: &wire.validation_parameter,
                collections: wire.collections.as_ref(),
                init_required: wire.init_required,
            }
            .read()?;
            Ok((wire.name, Committed { sequence: wire.sequence, definition, approvals: BTreeMap::new() }))
        })
        .collect()
}

/// Asks what the peer's organisation has approved for a sequence, or for the newest that it has approved.
pub fn approved_call(channel: &str, name: &str, sequence: Option<i64>) -> Call {
    let args = QueryApprovedChaincodeDefinitionArgs { name: name.to_owned(), sequence: sequence.unwrap_or_default() };
    call(channel, "QueryApprovedChaincodeDefinition", &args)
}

/// Reads the answer to [`approved_call`].
pub fn read_approved(name: &str, payload: &[u8]) -> Result<Approved, LifecycleError> {
    let wire = QueryApprovedChaincodeDefinitionResult::decode(payload)?;
    let definition = Fields {
        name,
        version: wire.version,
        plugins: (wire.endorsement_plugin, wire.validation_plugin),
        validation_parameter: &wire.validation_parameter,
        collections: wire.collections.as_ref(),
        init_required: wire.init_required,
    };
    let definition = definition.read()?;
    Ok(Approved { sequence: wire.sequence, definition, package_id: package_id(wire.source) })
}

/// Whether a refusal says that the peer's organisation has approved nothing for the sequence asked for. There is no
/// status of its own for that.
pub fn says_not_approved(text: &str, channel: &str, name: &str) -> bool {
    // What follows the first part would be a reason, were there another one.
    let start = format!("could not fetch approved chaincode definition (name: '{name}', sequence: '");
    between(text, &start, &format!("') on channel '{channel}'"))
        .is_some_and(|sequence| !sequence.is_empty() && sequence.bytes().all(|byte| byte.is_ascii_digit()))
}

fn package_id(source: Option<ChaincodeSource>) -> Option<PackageId> {
    match source?.r#type? {
        chaincode_source::Type::LocalPackage(local) => local.package_id.parse().ok(),
        chaincode_source::Type::Unavailable(_) => None,
    }
}

/// Asks for the packages on the peer.
pub fn installed_call() -> Call {
    call("", "QueryInstalledChaincodes", &QueryInstalledChaincodesArgs {})
}

/// Reads the answer to [`installed_call`].
pub fn read_installed(payload: &[u8]) -> Result<BTreeMap<PackageId, InstalledChaincode>, LifecycleError> {
    let wire = QueryInstalledChaincodesResult::decode(payload)?;
    wire.installed_chaincodes
        .into_iter()
        .map(|wire| {
            let references = wire.references.into_iter().map(|(channel, references)| {
                let chaincodes = references.chaincodes.into_iter();
                (channel, chaincodes.map(|chaincode| (chaincode.name, chaincode.version)).collect())
            });
            let installed = InstalledChaincode { label: wire.label.parse()?, references: references.collect() };
            Ok((wire.package_id.parse()?, installed))
        })
        .collect()
}

/// Installs a package on the peer. Its administrators may.
pub fn install_call(package: &Package) -> Call {
    call("", "InstallChaincode", &InstallChaincodeArgs { chaincode_install_package: package.bytes().to_vec() })
}

/// Reads the answer to [`install_call`].
pub fn read_install(payload: &[u8]) -> Result<PackageId, LifecycleError> {
    Ok(InstallChaincodeResult::decode(payload)?.package_id.parse()?)
}

/// A definition and its sequence, as a call asks to approve or commit it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LifecycleCall {
    /// Approval for the organisation of the endorsing peer.
    Approve {
        /// The definition.
        definition: Definition,
        /// Its sequence.
        sequence: i64,
        /// The package to run it from.
        package: Option<PackageId>,
    },
    /// Commit on the channel.
    Commit {
        /// The definition.
        definition: Definition,
        /// Its sequence.
        sequence: i64,
    },
}

impl LifecycleCall {
    /// Reads a call of `_lifecycle` that approves or commits; `None` for any other.
    pub fn of(call: &Call) -> Result<Option<Self>, LifecycleError> {
        Self::read(&call.chaincode, &call.args)
    }

    pub(super) fn read(chaincode: &str, args: &[Vec<u8>]) -> Result<Option<Self>, LifecycleError> {
        let [function, args] = args else { return Ok(None) };
        if chaincode != LIFECYCLE {
            return Ok(None);
        }
        if function == APPROVE.as_bytes() {
            let wire = ApproveChaincodeDefinitionForMyOrgArgs::decode(args.as_slice())?;
            let definition = Fields {
                name: &wire.name,
                version: wire.version,
                plugins: (wire.endorsement_plugin, wire.validation_plugin),
                validation_parameter: &wire.validation_parameter,
                collections: wire.collections.as_ref(),
                init_required: wire.init_required,
            };
            let (definition, sequence) = (definition.read()?, wire.sequence);
            return Ok(Some(Self::Approve { definition, sequence, package: package_id(wire.source) }));
        }
        if function == COMMIT.as_bytes() {
            let wire = CommitChaincodeDefinitionArgs::decode(args.as_slice())?;
            let definition = Fields {
                name: &wire.name,
                version: wire.version,
                plugins: (wire.endorsement_plugin, wire.validation_plugin),
                validation_parameter: &wire.validation_parameter,
                collections: wire.collections.as_ref(),
                init_required: wire.init_required,
            };
            return Ok(Some(Self::Commit { definition: definition.read()?, sequence: wire.sequence }));
        }
        Ok(None)
    }
}

/// The fields that the messages share, which protobuf defines anew in each of them.
struct Fields<'a> {
    name: &'a str,
    version: String,
    /// For endorsement and for validation.
    plugins: (String, String),
    validation_parameter: &'a [u8],
    collections: Option<&'a CollectionConfigPackage>,
    init_required: bool,
}

impl Fields<'_> {
    /// What is empty is what peers fill in (`SetChaincodeDefinitionDefaults` in `core/chaincode/lifecycle/lifecycle.go`).
    fn read(self) -> Result<Definition, LifecycleError> {
        let or = |text: String, default: &str| if text.is_empty() { default.to_owned() } else { text };
        let unreadable = |source| LifecycleError::Collection { chaincode: self.name.to_owned(), source };
        Ok(Definition {
            name: self.name.to_owned(),
            version: self.version,
            endorsement: Endorsement::from_validation_parameter(self.validation_parameter),
            collections: collections_from_wire(self.collections).map_err(unreadable)?,
            init_required: self.init_required,
            endorsement_plugin: or(self.plugins.0, ENDORSEMENT_PLUGIN),
            validation_plugin: or(self.plugins.1, VALIDATION_PLUGIN),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_recognised() {
        let id = format!("a_1:{}", "0".repeat(64));
        let installed = format!("chaincode already successfully installed (package ID '{id}')");
        let sequence = |requested, next| Some(Refusal::WrongSequence { requested, next });
        let cases = [
            (
                "attempted to redefine uncommitted sequence (1) for namespace a with unchanged content",
                Some(Refusal::Unchanged),
            ),
            ("attempted to redefine the current committed sequence (1) for namespace a", Some(Refusal::Unchanged)),
            (
                "attempted to redefine the current committed sequence (1) for namespace a with different parameters: x",
                Some(Refusal::CommittedOtherwise { text: "x".to_owned() }),
            ),
            (
                "chaincode definition not agreed to by this org (AcmeMSP)",
                Some(Refusal::NotAgreed { msp_id: "AcmeMSP".to_owned() }),
            ),
            (&installed, Some(Refusal::Installed { package_id: id.parse().unwrap() })),
            ("requested sequence is 0, but first definable sequence number is 1", sequence(0, 1)),
            ("requested sequence is 1, but new definition must be sequence 2", sequence(1, 2)),
            ("requested sequence 3 is larger than the next available sequence number 2", sequence(3, 2)),
            ("currently defined sequence 4 is larger than requested sequence 2", sequence(2, 5)),
            ("currently defined sequence 9223372036854775807 is larger than requested sequence 2", None),
            ("requested sequence is x, but new definition must be sequence 2", None),
            ("namespace a is not defined", None),
            ("", None),
        ];
        for (text, refusal) in cases {
            let passed_on = format!("failed to invoke backing implementation of 'X': {text}");
            assert_eq!(Refusal::from_text(text), refusal, "{text}");
            assert_eq!(Refusal::from_text(&passed_on), refusal, "{text}");
        }
    }

    #[test]
    fn absence_of_an_approval_is_told_from_failures() {
        let says = |text: &str| says_not_approved(text, "ch1", "a");
        assert!(says("x: could not fetch approved chaincode definition (name: 'a', sequence: '1') on channel 'ch1'"));
        for other in [
            "could not fetch approved chaincode definition (name: 'b', sequence: '1') on channel 'ch1'",
            "could not fetch approved chaincode definition (name: 'a', sequence: '1') on channel 'ch2'",
            "could not fetch approved chaincode definition (name: 'a', sequence: '1') on channel 'ch1': broken",
            "could not fetch approved chaincode definition (name: 'a', sequence: '') on channel 'ch1'",
            "failed ACL check",
        ] {
            assert!(!says(other), "{other}");
        }
    }

    #[test]
    fn calls_are_read_as_they_are_written() {
        let id: PackageId = format!("a_1:{}", "0".repeat(64)).parse().unwrap();
        let definition = Definition { init_required: true, ..Definition::new("a", "1") };
        for package in [None, Some(id)] {
            let call = approve_call("ch1", &definition, 3, package.as_ref());
            let read = LifecycleCall::of(&call).unwrap();
            assert_eq!(read, Some(LifecycleCall::Approve { definition: definition.clone(), sequence: 3, package }));
        }
        let call = commit_call("ch1", &definition, 3);
        assert_eq!(LifecycleCall::of(&call).unwrap(), Some(LifecycleCall::Commit { definition, sequence: 3 }));
        let other = Call { chaincode: "asset".to_owned(), ..call };
        assert_eq!(LifecycleCall::of(&other).unwrap(), None);
        let broken = Call { chaincode: LIFECYCLE.to_owned(), args: vec![other.args[0].clone(), vec![0xff]], ..other };
        assert!(LifecycleCall::of(&broken).is_err());
    }
}
