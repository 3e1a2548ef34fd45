//! Package `lifecycle`: arguments and results of the `_lifecycle` system chaincode.

use std::collections::BTreeMap;

/// Approve a chaincode definition for the submitter's organisation.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ApproveChaincodeDefinitionForMyOrgArgs {
    #[prost(int64, tag = "1")]
    pub sequence: i64,
    #[prost(string, tag = "2")]
    pub name: String,
    #[prost(string, tag = "3")]
    pub version: String,
    #[prost(string, tag = "4")]
    pub endorsement_plugin: String,
    #[prost(string, tag = "5")]
    pub validation_plugin: String,
    #[prost(bytes = "vec", tag = "6")]
    pub validation_parameter: Vec<u8>,
    #[prost(message, optional, tag = "7")]
    pub collections: Option<crate::protos::CollectionConfigPackage>,
    #[prost(bool, tag = "8")]
    pub init_required: bool,
    #[prost(message, optional, tag = "9")]
    pub source: Option<ChaincodeSource>,
}

/// The approval was simulated.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ApproveChaincodeDefinitionForMyOrgResult {}

/// Which package, if any, an organisation runs a chaincode from.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ChaincodeSource {
    #[prost(oneof = "chaincode_source::Type", tags = "1, 2")]
    pub r#type: Option<chaincode_source::Type>,
}

/// Types nested in [`ChaincodeSource`].
pub mod chaincode_source {
    /// The alternatives of `ChaincodeSource`.
    #[derive(Clone, PartialEq, Eq, prost::Oneof)]
    pub enum Type {
        #[prost(message, tag = "1")]
        Unavailable(super::chaincode_source::Unavailable),
        #[prost(message, tag = "2")]
        LocalPackage(super::chaincode_source::Local),
    }

    /// A package that is installed on the organisation's peers.
    #[derive(Clone, PartialEq, Eq, prost::Message)]
    pub struct Local {
        #[prost(string, tag = "1")]
        pub package_id: String,
    }

    /// The organisation does not run the chaincode.
    #[derive(Clone, PartialEq, Eq, prost::Message)]
    pub struct Unavailable {}
}

/// Ask who has approved exactly this definition.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct CheckCommitReadinessArgs {
    #[prost(int64, tag = "1")]
    pub sequence: i64,
    #[prost(string, tag = "2")]
    pub name: String,
    #[prost(string, tag = "3")]
    pub version: String,
    #[prost(string, tag = "4")]
    pub endorsement_plugin: String,
    #[prost(string, tag = "5")]
    pub validation_plugin: String,
    #[prost(bytes = "vec", tag = "6")]
    pub validation_parameter: Vec<u8>,
    #[prost(message, optional, tag = "7")]
    pub collections: Option<crate::protos::CollectionConfigPackage>,
    #[prost(bool, tag = "8")]
    pub init_required: bool,
}

/// Who has approved, by MSP ID; since Fabric 3.0 also what differs.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct CheckCommitReadinessResult {
    #[prost(btree_map = "string, bool", tag = "1")]
    pub approvals: BTreeMap<String, bool>,
    #[prost(btree_map = "string, message", tag = "2")]
    pub mismatches: BTreeMap<String, check_commit_readiness_result::Mismatches>,
}

/// Types nested in [`CheckCommitReadinessResult`].
pub mod check_commit_readiness_result {
    /// Names of the parameters that differ from an organisation's approval.
    #[derive(Clone, PartialEq, Eq, prost::Message)]
    pub struct Mismatches {
        #[prost(string, repeated, tag = "1")]
        pub items: Vec<String>,
    }
}

/// Commit a chaincode definition on the channel.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct CommitChaincodeDefinitionArgs {
    #[prost(int64, tag = "1")]
    pub sequence: i64,
    #[prost(string, tag = "2")]
    pub name: String,
    #[prost(string, tag = "3")]
    pub version: String,
    #[prost(string, tag = "4")]
    pub endorsement_plugin: String,
    #[prost(string, tag = "5")]
    pub validation_plugin: String,
    #[prost(bytes = "vec", tag = "6")]
    pub validation_parameter: Vec<u8>,
    #[prost(message, optional, tag = "7")]
    pub collections: Option<crate::protos::CollectionConfigPackage>,
    #[prost(bool, tag = "8")]
    pub init_required: bool,
}

/// The commit was simulated.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct CommitChaincodeDefinitionResult {}

/// Ask for the bytes of an installed package.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct GetInstalledChaincodePackageArgs {
    #[prost(string, tag = "1")]
    pub package_id: String,
}

/// The bytes of an installed package.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct GetInstalledChaincodePackageResult {
    #[prost(bytes = "vec", tag = "1")]
    pub chaincode_install_package: Vec<u8>,
}

/// Install a package on the peer.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct InstallChaincodeArgs {
    #[prost(bytes = "vec", tag = "1")]
    pub chaincode_install_package: Vec<u8>,
}

/// Id and label of the package that was installed.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct InstallChaincodeResult {
    #[prost(string, tag = "1")]
    pub package_id: String,
    #[prost(string, tag = "2")]
    pub label: String,
}

/// Ask what the peer's organisation approved; sequence 0 means the newest.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct QueryApprovedChaincodeDefinitionArgs {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(int64, tag = "2")]
    pub sequence: i64,
}

/// The definition that the peer's organisation approved.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct QueryApprovedChaincodeDefinitionResult {
    #[prost(int64, tag = "1")]
    pub sequence: i64,
    #[prost(string, tag = "2")]
    pub version: String,
    #[prost(string, tag = "3")]
    pub endorsement_plugin: String,
    #[prost(string, tag = "4")]
    pub validation_plugin: String,
    #[prost(bytes = "vec", tag = "5")]
    pub validation_parameter: Vec<u8>,
    #[prost(message, optional, tag = "6")]
    pub collections: Option<crate::protos::CollectionConfigPackage>,
    #[prost(bool, tag = "7")]
    pub init_required: bool,
    #[prost(message, optional, tag = "8")]
    pub source: Option<ChaincodeSource>,
}

/// Ask for all definitions that the peer's organisation approved.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct QueryApprovedChaincodeDefinitionsArgs {}

/// All definitions that the peer's organisation approved.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct QueryApprovedChaincodeDefinitionsResult {
    #[prost(message, repeated, tag = "1")]
    pub approved_chaincode_definitions: Vec<ApprovedChaincodeDefinition>,
}

/// `ApprovedChaincodeDefinition` of `QueryApprovedChaincodeDefinitionsResult`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ApprovedChaincodeDefinition {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(int64, tag = "2")]
    pub sequence: i64,
    #[prost(string, tag = "3")]
    pub version: String,
    #[prost(string, tag = "4")]
    pub endorsement_plugin: String,
    #[prost(string, tag = "5")]
    pub validation_plugin: String,
    #[prost(bytes = "vec", tag = "6")]
    pub validation_parameter: Vec<u8>,
    #[prost(message, optional, tag = "7")]
    pub collections: Option<crate::protos::CollectionConfigPackage>,
    #[prost(bool, tag = "8")]
    pub init_required: bool,
    #[prost(message, optional, tag = "9")]
    pub source: Option<ChaincodeSource>,
}

/// Ask for the committed definition of one chaincode.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct QueryChaincodeDefinitionArgs {
    #[prost(string, tag = "1")]
    pub name: String,
}

/// The committed definition of one chaincode, and who approved it.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct QueryChaincodeDefinitionResult {
    #[prost(int64, tag = "1")]
    pub sequence: i64,
    #[prost(string, tag = "2")]
    pub version: String,
    #[prost(string, tag = "3")]
    pub endorsement_plugin: String,
    #[prost(string, tag = "4")]
    pub validation_plugin: String,
    #[prost(bytes = "vec", tag = "5")]
    pub validation_parameter: Vec<u8>,
    #[prost(message, optional, tag = "6")]
    pub collections: Option<crate::protos::CollectionConfigPackage>,
    #[prost(bool, tag = "7")]
    pub init_required: bool,
    #[prost(btree_map = "string, bool", tag = "8")]
    pub approvals: BTreeMap<String, bool>,
}

/// Ask for all committed definitions of the channel.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct QueryChaincodeDefinitionsArgs {}

/// All committed definitions of the channel.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct QueryChaincodeDefinitionsResult {
    #[prost(message, repeated, tag = "1")]
    pub chaincode_definitions: Vec<query_chaincode_definitions_result::ChaincodeDefinition>,
}

/// Types nested in [`QueryChaincodeDefinitionsResult`].
pub mod query_chaincode_definitions_result {
    /// One committed definition.
    #[derive(Clone, PartialEq, Eq, prost::Message)]
    pub struct ChaincodeDefinition {
        #[prost(string, tag = "1")]
        pub name: String,
        #[prost(int64, tag = "2")]
        pub sequence: i64,
        #[prost(string, tag = "3")]
        pub version: String,
        #[prost(string, tag = "4")]
        pub endorsement_plugin: String,
        #[prost(string, tag = "5")]
        pub validation_plugin: String,
        #[prost(bytes = "vec", tag = "6")]
        pub validation_parameter: Vec<u8>,
        #[prost(message, optional, tag = "7")]
        pub collections: Option<crate::protos::CollectionConfigPackage>,
        #[prost(bool, tag = "8")]
        pub init_required: bool,
    }
}

/// Ask about one installed package.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct QueryInstalledChaincodeArgs {
    #[prost(string, tag = "1")]
    pub package_id: String,
}

/// One installed package and, by channel, the chaincodes that use it.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct QueryInstalledChaincodeResult {
    #[prost(string, tag = "1")]
    pub package_id: String,
    #[prost(string, tag = "2")]
    pub label: String,
    #[prost(btree_map = "string, message", tag = "3")]
    pub references: BTreeMap<String, query_installed_chaincode_result::References>,
}

/// Types nested in [`QueryInstalledChaincodeResult`].
pub mod query_installed_chaincode_result {
    /// A chaincode that uses the package.
    #[derive(Clone, PartialEq, Eq, prost::Message)]
    pub struct Chaincode {
        #[prost(string, tag = "1")]
        pub name: String,
        #[prost(string, tag = "2")]
        pub version: String,
    }

    /// The chaincodes of one channel that use the package.
    #[derive(Clone, PartialEq, Eq, prost::Message)]
    pub struct References {
        #[prost(message, repeated, tag = "1")]
        pub chaincodes: Vec<super::query_installed_chaincode_result::Chaincode>,
    }
}

/// Ask for all installed packages.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct QueryInstalledChaincodesArgs {}

/// All installed packages.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct QueryInstalledChaincodesResult {
    #[prost(message, repeated, tag = "1")]
    pub installed_chaincodes: Vec<query_installed_chaincodes_result::InstalledChaincode>,
}

/// Types nested in [`QueryInstalledChaincodesResult`].
pub mod query_installed_chaincodes_result {
    use std::collections::BTreeMap;

    /// A chaincode that uses a package.
    #[derive(Clone, PartialEq, Eq, prost::Message)]
    pub struct Chaincode {
        #[prost(string, tag = "1")]
        pub name: String,
        #[prost(string, tag = "2")]
        pub version: String,
    }

    /// One installed package.
    #[derive(Clone, PartialEq, Eq, prost::Message)]
    pub struct InstalledChaincode {
        #[prost(string, tag = "1")]
        pub package_id: String,
        #[prost(string, tag = "2")]
        pub label: String,
        #[prost(btree_map = "string, message", tag = "3")]
        pub references: BTreeMap<String, super::query_installed_chaincodes_result::References>,
    }

    /// The chaincodes of one channel that use a package.
    #[derive(Clone, PartialEq, Eq, prost::Message)]
    pub struct References {
        #[prost(message, repeated, tag = "1")]
        pub chaincodes: Vec<super::query_installed_chaincodes_result::Chaincode>,
    }
}
