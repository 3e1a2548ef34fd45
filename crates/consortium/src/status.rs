//! Status of every Kubernetes object of group `tenter.dev`, as plain data.
//!
//! A phase is for people: it is derived from what was observed in the same pass and never read back by a
//! controller to decide anything. Times are RFC 3339, fingerprints are SHA-256 in hex.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::objects::{Condition, VoteChoice};

/// What the statuses of all kinds have in common.
pub trait ObjectStatus {
    /// The conditions `Ready`, `Reconciling` and `Stalled`.
    fn conditions(&self) -> &[Condition];

    /// Says which generation of the spec this status speaks of, and how that is.
    fn set_common(&mut self, observed_generation: i64, conditions: Vec<Condition>);

    /// The phase, as it is shown.
    fn phase(&self) -> Option<String>;
}

/// Defines a status with the common fields first, and makes it an [`ObjectStatus`].
macro_rules! status {
    ($(#[$meta:meta])* $name:ident, $phase:ty { $($(#[$field_meta:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
        #[serde(rename_all = "camelCase")]
        pub struct $name {
            /// Where it stands, in one word.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub phase: Option<$phase>,
            /// The generation of the spec that this status speaks of.
            #[serde(default)]
            pub observed_generation: i64,
            /// `Ready`, `Reconciling` and `Stalled`.
            #[serde(default)]
            pub conditions: Vec<Condition>,
            $($(#[$field_meta])* pub $field: $type,)*
        }

        impl ObjectStatus for $name {
            fn conditions(&self) -> &[Condition] {
                &self.conditions
            }

            fn set_common(&mut self, observed_generation: i64, conditions: Vec<Condition>) {
                self.observed_generation = observed_generation;
                self.conditions = conditions;
            }

            fn phase(&self) -> Option<String> {
                self.phase.map(|phase| phase.as_str().to_owned())
            }
        }
    };
}

/// Defines a phase: an enum whose words are its variants' names.
macro_rules! phase {
    ($(#[$meta:meta])* $name:ident { $($(#[$variant_meta:meta])* $variant:ident,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
        pub enum $name {
            $($(#[$variant_meta])* $variant,)*
        }

        impl $name {
            /// The word that is shown.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => stringify!($variant),)*
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

phase! {
    /// Where a Consortium stands.
    ConsortiumPhase {
        /// Its repository is being read, planned or applied.
        Syncing,
        /// The cluster and Fabric are as the last revision says.
        Applied,
        /// Something outside the daemon must happen first.
        Waiting,
        /// It cannot go on without a person.
        Stalled,
        /// It is left alone, as its spec says.
        Suspended,
    }
}

phase! {
    /// Where an organization stands.
    OrganizationPhase {
        /// It is in the file, but its namespace is not there yet.
        Invited,
        /// Its certificate authority or its access rules are being made.
        Enrolling,
        /// It can take part in channels.
        Ready,
    }
}

phase! {
    /// Where a certificate authority stands.
    CertificateAuthorityPhase {
        /// Its roots or identities are being made.
        Starting,
        /// It issues.
        Ready,
        /// It cannot issue, or its roots are not the ones that it had.
        Degraded,
    }
}

phase! {
    /// Where an identity stands.
    IdentityPhase {
        /// It has no certificate yet.
        Registering,
        /// Its certificate is valid.
        Enrolled,
        /// Its certificate is valid, and is due to be replaced.
        Renewing,
        /// Its certificate expired before it could be replaced.
        Expired,
        /// Its certificates are on the organization's revocation list.
        Revoked,
    }
}

phase! {
    /// Where a node stands.
    NodePhase {
        /// It waits for something that it needs.
        Pending,
        /// Its certificates are being issued.
        Enrolling,
        /// Its program is starting.
        Starting,
        /// Its program runs and answers.
        Running,
        /// It is being moved to another image or configuration.
        Upgrading,
        /// It is being moved to new certificates.
        Rotating,
        /// It ran, or should run, and does not.
        Degraded,
    }
}

phase! {
    /// Where a channel stands.
    ChannelPhase {
        /// Something that it is made of is missing.
        Pending,
        /// Its orderers are joining.
        Forming,
        /// Its orderers have joined and have no leader yet.
        Electing,
        /// It orders.
        Active,
        /// A change of its configuration is under way.
        Updating,
        /// It does not order, or a node of it lost its data.
        Degraded,
    }
}

phase! {
    /// Where an organization's membership of a channel stands.
    MembershipPhase {
        /// The file names it; nothing was proposed yet.
        Invited,
        /// A configuration update that admits it is open.
        Proposed,
        /// The channel's configuration holds it.
        Admitted,
        /// Its nodes are joining.
        Joining,
        /// Its nodes have joined and are catching up.
        Syncing,
        /// Its nodes have joined and keep up.
        Active,
        /// It is being taken out.
        Leaving,
    }
}

phase! {
    /// Where a config update stands.
    ProposalPhase {
        /// Signatures are missing.
        Collecting,
        /// It has the signatures that its policies ask for.
        Satisfied,
        /// An orderer took it; no config block shows it yet.
        Submitted,
        /// A config block shows it.
        Committed,
        /// It must not be submitted, or an orderer refused it.
        Rejected,
        /// The configuration, or what is wanted, has moved: another update takes its place.
        Superseded,
        /// It was open for too long.
        Expired,
    }
}

phase! {
    /// Where a vote stands.
    VotePhase {
        /// It is written, and not counted yet.
        Cast,
        /// Its proposal counts it.
        Counted,
        /// It is for another update, came too late, or another vote counts instead.
        Stale,
    }
}

phase! {
    /// Where a chaincode stands.
    ChaincodePhase {
        /// Something that it needs is missing: the channel, a peer, a package.
        Pending,
        /// Its package is being installed, and its service started.
        Installing,
        /// Organizations are approving its first definition.
        Approving,
        /// Enough have approved; its first definition is being committed.
        Committing,
        /// It is defined as wanted, and its peers can run it.
        Serving,
        /// It is defined, and is being brought to another definition or another program.
        Upgrading,
        /// It is defined, and somewhere its program does not answer.
        Degraded,
    }
}

/// A plan in a few numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlanSummary {
    /// The plan's hash.
    pub hash: String,
    /// Steps that it holds.
    pub steps: u32,
    /// Steps that are done.
    #[serde(default)]
    pub done: u32,
    /// Steps that a gate stops.
    #[serde(default)]
    pub blocked: u32,
    /// The first steps that are still to do, as people read them.
    #[serde(default)]
    pub next: Vec<String>,
}

status! {
    /// What is known of a Consortium.
    ConsortiumStatus, ConsortiumPhase {
        /// The last commit that was looked at.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        last_attempted_revision: Option<String>,
        /// The last commit that the world was brought to.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        last_applied_revision: Option<String>,
        /// Where that commit came from: repository and branch.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        last_applied_source: Option<String>,
        /// The last commit whose signatures, and those of all since the one before, were found good.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        last_verified_revision: Option<String>,
        /// Where that commit came from: repository and branch.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        last_verified_source: Option<String>,
        /// The plan of the last pass.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        plan: Option<PlanSummary>,
        /// What was found changed behind the file's back, as people read it.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        drift: Vec<String>,
        /// Findings in the definition, and notes of the plan, as people read them.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        notes: Vec<String>,
    }
}

/// What is used of one resource, as Kubernetes quantities.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Usage {
    /// What the organization's objects ask for.
    pub used: String,
    /// What they may ask for at most; absent without a limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<String>,
}

/// What an organization uses of what it may use.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Capacity {
    /// Nodes.
    pub nodes: Usage,
    /// CPU requests.
    pub cpu: Usage,
    /// Memory requests.
    pub memory: Usage,
    /// Storage requests.
    pub storage: Usage,
}

status! {
    /// What is known of an organization.
    OrganizationStatus, OrganizationPhase {
        /// Number of its orderers.
        #[serde(default)]
        orderers: u32,
        /// Number of its peers.
        #[serde(default)]
        peers: u32,
        /// Nodes that run, of all, as `3/4`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        running: Option<String>,
        /// What it uses.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        capacity: Option<Capacity>,
    }
}

/// A certificate, without its key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CertificateStatus {
    /// SHA-256 of the certificate, hex.
    pub fingerprint: String,
    /// When it expires.
    pub not_after: String,
}

status! {
    /// What is known of a certificate authority.
    CertificateAuthorityStatus, CertificateAuthorityPhase {
        /// Its roots: `enrolment`, `tls`, `clients`.
        #[serde(default)]
        roots: BTreeMap<String, CertificateStatus>,
        /// Its identities by the name of their Secret.
        #[serde(default)]
        identities: BTreeMap<String, CertificateStatus>,
        /// Number of certificates in the namespace that its roots signed.
        #[serde(default)]
        issued: u32,
        /// Number of certificates on its revocation list.
        #[serde(default)]
        revoked: u32,
        /// When the first of its certificates expires.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        first_expiry: Option<String>,
    }
}

status! {
    /// What is known of an identity.
    IdentityStatus, IdentityPhase {
        /// The Secret that holds it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        secret: Option<String>,
        /// Subject of its certificate.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        certificate_subject: Option<String>,
        /// Serial number of its certificate, hex.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        serial: Option<String>,
        /// SHA-256 of its certificate, hex.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        fingerprint: Option<String>,
        /// When its certificate expires.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        not_after: Option<String>,
        /// Certificates that were issued to it so far.
        #[serde(default)]
        issued: u32,
        /// Those of them that are on the organization's revocation list.
        #[serde(default)]
        revoked: u32,
    }
}

status! {
    /// What is known of an orderer or a peer.
    NodeStatus, NodePhase {
        /// The address that it is to be reached at; its TLS certificate covers earlier ones too while it belongs to a channel.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        address: Option<String>,
        /// The image that its Pod runs.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        image: Option<String>,
        /// The Fabric version of that image, as the spec says.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        version: Option<String>,
        /// Its certificates: `enrolment`, `tls`.
        #[serde(default)]
        certificates: BTreeMap<String, CertificateStatus>,
        /// The channels whose genesis it joined, by its join record.
        #[serde(default)]
        channels: Vec<String>,
    }
}

/// What one node says of one channel.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeChannelStatus {
    /// The node, as `namespace/name`.
    pub node: String,
    /// `present`, `absent`, `forbidden` or `unreachable`; `dataLost` for a node that had joined and says absent.
    pub state: String,
    /// `consenter` or `follower`, for an orderer that is present.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relation: Option<String>,
    /// The evidence, for a node that is not present.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<String>,
}

/// What is known of a member that another daemon acts for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ForeignMember {
    /// The organization.
    pub organization: String,
    /// How far its membership is, as the channel's configuration and the proposals tell.
    pub phase: MembershipPhase,
    /// What is waited for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

status! {
    /// What is known of a channel.
    ChannelStatus, ChannelPhase {
        /// Hash of the pinned genesis block, hex.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        genesis: Option<String>,
        /// Sequence of its live configuration.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        config_sequence: Option<u64>,
        /// Consenters that are in, of all, as `3/3`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        consenters: Option<String>,
        /// `host:port` of orderers that the spec names and that are no consenters yet.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        coming: Vec<String>,
        /// `host:port` of consenters that the spec does not name.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        leaving: Vec<String>,
        /// Peers that have joined, of all, as `2/3`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        peers: Option<String>,
        /// What the spec asks for that its live configuration does not have, and what others changed there, as people read it.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        drift: Vec<String>,
        /// The members that other daemons act for.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        members: Vec<ForeignMember>,
        /// Names of its open proposals.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        proposals: Vec<String>,
        /// What each own node says.
        #[serde(default)]
        nodes: Vec<NodeChannelStatus>,
    }
}

/// A signature over a config update.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProposalSignature {
    /// MSP ID of the signer's organization.
    #[serde(rename = "mspID")]
    pub msp_id: String,
    /// Subject of the signer's certificate.
    pub subject: String,
    /// SHA-256 of the signer's certificate, hex.
    pub fingerprint: String,
    /// The exact bytes of `common.ConfigSignature`, base64. Verified by whoever reads it.
    pub signature: String,
}

/// What an organization said to a config update.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProposalVote {
    /// The organization; empty where only its MSP ID is known.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub organization: String,
    /// Its MSP ID.
    #[serde(rename = "mspID")]
    pub msp_id: String,
    /// What it said.
    pub choice: VoteChoice,
    /// Why.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Name of its Vote object; empty for one that another member's daemon published.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub vote: String,
}

/// A proposal that an organization may vote on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OpenProposal {
    /// Its name.
    pub name: String,
    /// The digest of its update, which a vote names.
    pub digest: String,
    /// What it is about.
    pub topic: String,
    /// What it changes, in words.
    pub changes: Vec<String>,
}

/// A signature that came from another member's daemon and does not count.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RefusedSignature {
    /// Where it was found: `<channel>/<digest>/<MSP ID>.sig`.
    pub place: String,
    /// A code: `Forged`, `Replayed`, `WrongOrganization` and others.
    pub reason: String,
    /// What is wrong with it.
    pub message: String,
}

status! {
    /// What is known of a config update.
    ProposalStatus, ProposalPhase {
        /// The signatures that it has.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        signatures: Vec<ProposalSignature>,
        /// MSP IDs of the signers.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        signed: Option<String>,
        /// Who is missing, in words.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        missing: Option<String>,
        /// Signatures from other daemons that do not count, and updates of theirs that were ignored.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        refused: Vec<RefusedSignature>,
        /// What organizations said to it: own ones by their Vote objects, others where they published that they reject it.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        votes: Vec<ProposalVote>,
        /// Organizations of this daemon whose administrators have to say whether they sign, by MSP ID.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        awaiting_votes: Vec<String>,
        /// Smallest sets of organizations, by MSP ID, each of which would be enough beside those that have signed; at most eight.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        enough: Vec<Vec<String>>,
        /// Whether it was settled here and others could still submit it: signatures cannot be taken back.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        still_submittable: bool,
        /// When an orderer was first asked to take it, RFC 3339.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        submitted_at: Option<String>,
        /// The block that shows it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        block: Option<u64>,
    }
}

status! {
    /// What is known of an organization's membership of a channel.
    MembershipStatus, MembershipPhase {
        /// Proposals of the channel that wait for this organization's vote.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        proposals: Vec<OpenProposal>,
        /// Nodes that have joined, of all, as `2/3`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        joined: Option<String>,
        /// What each of its nodes says.
        #[serde(default)]
        nodes: Vec<NodeChannelStatus>,
    }
}

/// How far a chaincode is on one peer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ChaincodePeerStatus {
    /// Name of the Peer object.
    pub peer: String,
    /// `present`, `absent`, `forbidden` or `unreachable`: whether it has the wanted package.
    pub installed: String,
    /// Whether it can run the chaincode: its package, the definition and the program's service are there.
    #[serde(default)]
    pub serving: bool,
    /// What is missing, and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// How far a chaincode is in one organization.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ChaincodeOrganizationStatus {
    /// The organization.
    pub organization: String,
    /// Peers that have the wanted package, of all, as `2/2`; absent for an organization that is hosted elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub installed: Option<String>,
    /// Whether it approved the wanted definition.
    #[serde(default)]
    pub approved: bool,
    /// Whether all its peers can run the chaincode.
    #[serde(default)]
    pub serving: bool,
    /// What is missing, and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// How far it is on each of its peers; empty for an organization that is hosted elsewhere.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub peers: Vec<ChaincodePeerStatus>,
}

/// What serves a definition in force.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServingImage {
    /// The version that its package is labelled with.
    pub version: String,
    /// The image.
    pub image: String,
}

status! {
    /// What is known of a chaincode.
    ChaincodeStatus, ChaincodePhase {
        /// Sequence of the committed definition.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sequence: Option<u64>,
        /// Version of the committed definition.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        version: Option<String>,
        /// Image that serves the definition in force, where Tenter runs it: it is kept up while another one is on its way.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        serving: Option<ServingImage>,
        /// Label and SHA-256 of the wanted package, as peers name it.
        #[serde(rename = "packageID", default, skip_serializing_if = "Option::is_none")]
        package_id: Option<String>,
        /// Who committed the definition: MSP ID and subject.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        committed_by: Option<String>,
        /// The block that holds it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        committed_block: Option<u64>,
        /// Organizations that approved the wanted definition, of all, as `2/3`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        approved: Option<String>,
        /// In what the committed definition is not the wanted one, as people read it.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        drift: Vec<String>,
        /// How far each organization is.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        organizations: Vec<ChaincodeOrganizationStatus>,
    }
}

status! {
    /// What is known of a vote.
    VoteStatus, VotePhase {}
}
