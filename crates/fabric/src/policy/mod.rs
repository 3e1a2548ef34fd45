//! Policies of a channel: who must sign.
//!
//! A policy is kept so that it encodes to the bytes it came from: chaincode approvals and BFT channels compare policies
//! byte by byte. What cannot be kept in a typed form is kept as bytes ([`Policy::Other`], [`Principal::Other`]).
//! Sources: `common/policies`, `common/policydsl`, `msp_principal.proto`.

mod bft;
pub mod defaults;
mod formula;
mod judge;
mod language;
mod received;
mod require;
#[cfg(test)]
mod tests;
mod verdict;

use std::fmt;
use std::str::FromStr;

use prost::Message as _;
use serde::{Serialize, Serializer};
use tenter_fabric_wire::{common, msp};

pub use bft::{bft_block_validation, bft_quorum};
pub use formula::Signer;
pub use judge::{Judge, KnownIdentity, PolicyFailure, SignedBytes, SignerProblem};
pub use language::PolicySyntaxError;
pub use received::{Received, ReceivedProblem};
pub use require::Requirement;
pub use verdict::{PolicyVerdict, SubmitterProblem, Verdict};

use crate::exact;
use crate::msp::Pem;

const SIGNATURE: i32 = 1;
const IMPLICIT_META: i32 = 3;

/// A policy in a channel's configuration. Displays as configtx.yaml writes its rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Policy {
    /// Counts how many child groups satisfy theirs.
    ImplicitMeta(ImplicitMeta),
    /// Counts signatures of principals.
    Signature(SignaturePolicy),
    /// A policy of a type, or in an encoding, that this library does not read; it is kept as it is.
    Other {
        /// Type number of the policy.
        kind: i32,
        /// Encoded policy.
        value: Vec<u8>,
    },
}

impl Policy {
    /// Reads `common.Policy`; never fails, because what is not understood is kept.
    pub(crate) fn from_wire(policy: &common::Policy) -> Self {
        let typed = match policy.r#type {
            SIGNATURE => exact::decode(&policy.value)
                .ok()
                .and_then(|wire| SignaturePolicy::from_wire(&wire))
                .map(Self::Signature),
            IMPLICIT_META => exact::decode::<common::ImplicitMetaPolicy>(&policy.value)
                .ok()
                .filter(|wire| common::implicit_meta_policy::Rule::try_from(wire.rule).is_ok())
                .map(|wire| Self::ImplicitMeta(ImplicitMeta::from_wire(wire))),
            _ => None,
        };
        typed.unwrap_or_else(|| Self::Other { kind: policy.r#type, value: policy.value.clone() })
    }

    /// Reads a policy that is kept as bytes as Fabric does, which skips parts that it does not know.
    fn read_leniently(kind: i32, value: &[u8]) -> Option<Self> {
        match kind {
            SIGNATURE => {
                let wire = common::SignaturePolicyEnvelope::decode(value).ok()?;
                SignaturePolicy::from_wire(&wire).map(Self::Signature)
            }
            IMPLICIT_META => {
                let wire = common::ImplicitMetaPolicy::decode(value).ok()?;
                common::implicit_meta_policy::Rule::try_from(wire.rule).ok()?;
                Some(Self::ImplicitMeta(ImplicitMeta::from_wire(wire)))
            }
            _ => None,
        }
    }

    /// Writes `common.Policy`.
    pub(crate) fn to_wire(&self) -> common::Policy {
        match self {
            Self::ImplicitMeta(policy) => {
                common::Policy { r#type: IMPLICIT_META, value: policy.to_wire().encode_to_vec() }
            }
            Self::Signature(policy) => common::Policy { r#type: SIGNATURE, value: policy.to_wire().encode_to_vec() },
            Self::Other { kind, value } => common::Policy { r#type: *kind, value: value.clone() },
        }
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ImplicitMeta(policy) => policy.fmt(formatter),
            Self::Signature(policy) => policy.fmt(formatter),
            Self::Other { kind, value } => {
                write!(formatter, "policy of type {kind} (sha256:{})", crate::hash::sha256_hex(value))
            }
        }
    }
}

impl Serialize for Policy {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// How many of the child groups' policies must hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// One of them.
    Any,
    /// Each of them.
    All,
    /// More than half of them.
    Majority,
}

/// Why a text is not an implicit policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not an implicit policy; write ANY, ALL or MAJORITY, one space, and the name of a policy")]
pub struct ImplicitMetaSyntaxError {
    /// The text.
    pub text: String,
}

/// A policy that counts the child groups whose policy of a given name holds: `MAJORITY Admins`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImplicitMeta {
    /// How many must hold.
    pub rule: Rule,
    /// Name of the policy in each child group.
    pub sub_policy: String,
}

impl ImplicitMeta {
    fn from_wire(wire: common::ImplicitMetaPolicy) -> Self {
        let rule = match wire.rule() {
            common::implicit_meta_policy::Rule::Any => Rule::Any,
            common::implicit_meta_policy::Rule::All => Rule::All,
            common::implicit_meta_policy::Rule::Majority => Rule::Majority,
        };
        Self { rule, sub_policy: wire.sub_policy }
    }

    fn to_wire(&self) -> common::ImplicitMetaPolicy {
        let rule = match self.rule {
            Rule::Any => common::implicit_meta_policy::Rule::Any,
            Rule::All => common::implicit_meta_policy::Rule::All,
            Rule::Majority => common::implicit_meta_policy::Rule::Majority,
        };
        common::ImplicitMetaPolicy { sub_policy: self.sub_policy.clone(), rule: rule.into() }
    }
}

impl fmt::Display for ImplicitMeta {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rule = match self.rule {
            Rule::Any => "ANY",
            Rule::All => "ALL",
            Rule::Majority => "MAJORITY",
        };
        write!(formatter, "{rule} {}", self.sub_policy)
    }
}

impl FromStr for ImplicitMeta {
    type Err = ImplicitMetaSyntaxError;

    /// Two words with one space between them (`common/policies/implicitmetaparser.go`).
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || ImplicitMetaSyntaxError { text: text.to_owned() };
        let (rule, sub_policy) = text.split_once(' ').ok_or_else(error)?;
        let rule = match rule {
            "ANY" => Rule::Any,
            "ALL" => Rule::All,
            "MAJORITY" => Rule::Majority,
            _ => return Err(error()),
        };
        if sub_policy.contains(' ') {
            return Err(error());
        }
        Ok(Self { rule, sub_policy: sub_policy.to_owned() })
    }
}

/// A tree of "n of these" whose leaves are principals.
///
/// Reads Fabric's policy language with [`FromStr`]. Displays in it too; the text gives the same policy again when the
/// policy came from such a text (principals of other kinds, and orders that the language cannot give, are shown but
/// cannot be read back).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignaturePolicy {
    /// Root of the tree.
    pub rule: SignatureRule,
    /// What the leaves point to.
    pub identities: Vec<Principal>,
}

/// A node of a signature policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SignatureRule {
    /// A signature of the principal with this index.
    SignedBy(i32),
    /// At least `n` of the rules hold.
    OutOf {
        /// How many must hold; Fabric takes 0 to one more than there are.
        n: i32,
        /// The rules, evaluated in this order.
        rules: Vec<SignatureRule>,
    },
}

impl SignaturePolicy {
    /// At least `n` signatures of these principals, in this order.
    pub fn out_of(n: i32, identities: Vec<Principal>) -> Self {
        let rules = (0..).take(identities.len()).map(SignatureRule::SignedBy).collect();
        Self { rule: SignatureRule::OutOf { n, rules }, identities }
    }

    pub(crate) fn from_wire(wire: &common::SignaturePolicyEnvelope) -> Option<Self> {
        if wire.version != 0 {
            return None;
        }
        let rule = SignatureRule::from_wire(wire.rule.as_ref()?)?;
        Some(Self { rule, identities: wire.identities.iter().map(Principal::from_wire).collect() })
    }

    pub(crate) fn to_wire(&self) -> common::SignaturePolicyEnvelope {
        common::SignaturePolicyEnvelope {
            version: 0,
            rule: Some(self.rule.to_wire()),
            identities: self.identities.iter().map(Principal::to_wire).collect(),
        }
    }

    /// The encoded `common.SignaturePolicyEnvelope`, as a chaincode definition compares it.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.to_wire().encode_to_vec()
    }

    fn write(&self, rule: &SignatureRule, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match rule {
            SignatureRule::SignedBy(index) => {
                match usize::try_from(*index).ok().and_then(|index| self.identities.get(index)) {
                    Some(principal) => write!(formatter, "'{principal}'"),
                    None => write!(formatter, "'principal {index}, which does not exist'"),
                }
            }
            SignatureRule::OutOf { n, rules } => {
                match usize::try_from(*n) {
                    Ok(1) => formatter.write_str("OR(")?,
                    Ok(n) if n == rules.len() => formatter.write_str("AND(")?,
                    _ => write!(formatter, "OutOf({n}, ")?,
                }
                for (position, rule) in rules.iter().enumerate() {
                    if position > 0 {
                        formatter.write_str(", ")?;
                    }
                    self.write(rule, formatter)?;
                }
                formatter.write_str(")")
            }
        }
    }
}

impl fmt::Display for SignaturePolicy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(&self.rule, formatter)
    }
}

impl FromStr for SignaturePolicy {
    type Err = PolicySyntaxError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        language::parse(text)
    }
}

impl SignatureRule {
    fn from_wire(wire: &common::SignaturePolicy) -> Option<Self> {
        match wire.r#type.as_ref()? {
            common::signature_policy::Type::SignedBy(index) => Some(Self::SignedBy(*index)),
            common::signature_policy::Type::NOutOf(node) => {
                let rules = node.rules.iter().map(Self::from_wire).collect::<Option<_>>()?;
                Some(Self::OutOf { n: node.n, rules })
            }
        }
    }

    fn to_wire(&self) -> common::SignaturePolicy {
        let node = match self {
            Self::SignedBy(index) => common::signature_policy::Type::SignedBy(*index),
            Self::OutOf { n, rules } => {
                let rules = rules.iter().map(Self::to_wire).collect();
                common::signature_policy::Type::NOutOf(common::signature_policy::NOutOf { n: *n, rules })
            }
        };
        common::SignaturePolicy { r#type: Some(node) }
    }
}

/// Role of an identity in its organisation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Any valid identity.
    Member,
    /// An administrator.
    Admin,
    /// A client.
    Client,
    /// A peer.
    Peer,
    /// An orderer.
    Orderer,
}

impl Role {
    /// The name in the policy language.
    pub fn name(self) -> &'static str {
        match self {
            Self::Member => "member",
            Self::Admin => "admin",
            Self::Client => "client",
            Self::Peer => "peer",
            Self::Orderer => "orderer",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        [Self::Member, Self::Admin, Self::Client, Self::Peer, Self::Orderer]
            .into_iter()
            .find(|role| role.name() == name)
    }

    fn to_wire(self) -> common::msp_role::MspRoleType {
        use common::msp_role::MspRoleType;
        match self {
            Self::Member => MspRoleType::Member,
            Self::Admin => MspRoleType::Admin,
            Self::Client => MspRoleType::Client,
            Self::Peer => MspRoleType::Peer,
            Self::Orderer => MspRoleType::Orderer,
        }
    }

    fn from_wire(number: i32) -> Option<Self> {
        use common::msp_role::MspRoleType;
        Some(match MspRoleType::try_from(number).ok()? {
            MspRoleType::Member => Self::Member,
            MspRoleType::Admin => Self::Admin,
            MspRoleType::Client => Self::Client,
            MspRoleType::Peer => Self::Peer,
            MspRoleType::Orderer => Self::Orderer,
        })
    }
}

/// What an identity must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Principal {
    /// Has a role in an organisation.
    Role {
        /// MSP ID of the organisation.
        msp_id: String,
        /// The role.
        role: Role,
    },
    /// Has an organisational unit.
    Unit {
        /// MSP ID of the organisation.
        msp_id: String,
        /// The unit.
        unit: String,
        /// Hash that stands for the chain of the unit's issuer; may be empty.
        certifiers: Vec<u8>,
    },
    /// Is exactly this certificate.
    Identity {
        /// MSP ID of the organisation.
        msp_id: String,
        /// The certificate.
        certificate: Pem,
    },
    /// A principal that this library does not read; it is kept as it is.
    Other {
        /// Number of its class.
        classification: i32,
        /// Encoded principal.
        principal: Vec<u8>,
    },
}

impl Principal {
    /// A principal for a role.
    pub fn role(msp_id: impl Into<String>, role: Role) -> Self {
        Self::Role { msp_id: msp_id.into(), role }
    }

    /// The organisation that it asks for, if it is one.
    fn msp_id(&self) -> Option<&str> {
        match self {
            Self::Role { msp_id, .. } | Self::Unit { msp_id, .. } | Self::Identity { msp_id, .. } => Some(msp_id),
            Self::Other { .. } => None,
        }
    }

    fn from_wire(wire: &common::MspPrincipal) -> Self {
        use common::msp_principal::Classification;
        let bytes = wire.principal.as_slice();
        let typed = match Classification::try_from(wire.principal_classification) {
            Ok(Classification::Role) => exact::decode::<common::MspRole>(bytes)
                .ok()
                .and_then(|role| Some(Self::Role { role: Role::from_wire(role.role)?, msp_id: role.msp_identifier })),
            Ok(Classification::OrganizationUnit) => {
                exact::decode::<common::OrganizationUnit>(bytes).ok().map(|unit| Self::Unit {
                    msp_id: unit.msp_identifier,
                    unit: unit.organizational_unit_identifier,
                    certifiers: unit.certifiers_identifier,
                })
            }
            Ok(Classification::Identity) => exact::decode::<msp::SerializedIdentity>(bytes)
                .ok()
                .map(|identity| Self::Identity { msp_id: identity.mspid, certificate: Pem::new(identity.id_bytes) }),
            Ok(Classification::Anonymity | Classification::Combined) | Err(_) => None,
        };
        typed.unwrap_or_else(|| Self::Other {
            classification: wire.principal_classification,
            principal: wire.principal.clone(),
        })
    }

    fn to_wire(&self) -> common::MspPrincipal {
        use common::msp_principal::Classification;
        let (classification, principal) = match self {
            Self::Role { msp_id, role } => {
                let role = common::MspRole { msp_identifier: msp_id.clone(), role: role.to_wire().into() };
                (Classification::Role.into(), role.encode_to_vec())
            }
            Self::Unit { msp_id, unit, certifiers } => {
                let unit = common::OrganizationUnit {
                    msp_identifier: msp_id.clone(),
                    organizational_unit_identifier: unit.clone(),
                    certifiers_identifier: certifiers.clone(),
                };
                (Classification::OrganizationUnit.into(), unit.encode_to_vec())
            }
            Self::Identity { msp_id, certificate } => {
                let identity =
                    msp::SerializedIdentity { mspid: msp_id.clone(), id_bytes: certificate.bytes().to_vec() };
                (Classification::Identity.into(), identity.encode_to_vec())
            }
            Self::Other { classification, principal } => (*classification, principal.clone()),
        };
        common::MspPrincipal { principal_classification: classification, principal }
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Role { msp_id, role } => write!(formatter, "{msp_id}.{}", role.name()),
            Self::Unit { msp_id, unit, .. } => write!(formatter, "{msp_id} unit {unit}"),
            Self::Identity { msp_id, certificate } => write!(formatter, "{msp_id} certificate {certificate}"),
            Self::Other { classification, principal } => {
                write!(formatter, "principal of class {classification} (sha256:{})", crate::hash::sha256_hex(principal))
            }
        }
    }
}
