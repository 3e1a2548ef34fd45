//! What a peer needs of the Application section: who guards what, anchor peers, policies of chaincodes (Fabric
//! `common/channelconfig/{api,application}.go`, `core/policy/application.go`).

use prost::Message as _;
use tenter_fabric_wire::common::msp_principal::Classification;
use tenter_fabric_wire::common::msp_role::MspRoleType;
use tenter_fabric_wire::common::signature_policy::{NOutOf, Type};
use tenter_fabric_wire::common::{ConfigGroup, MspPrincipal, MspRole, SignaturePolicy, SignaturePolicyEnvelope};
use tenter_fabric_wire::protos::{Acls, AnchorPeers, ApplicationPolicy, application_policy};

use super::{Bundle, SignatureRule, SignedData, UNREADABLE};
use crate::msp::Identity;

const LIFECYCLE: &str = "/Channel/Application/LifecycleEndorsement";

/// A policy of a chaincode or a collection, ready for use.
#[derive(Debug, Clone)]
enum Rule {
    Signatures(SignatureRule),
    Reference(String),
}

impl Bundle {
    fn application(&self) -> Option<&ConfigGroup> {
        self.root()?.groups.get("Application")
    }

    /// The policy that the configuration names for a resource.
    pub fn acl(&self, resource: &str) -> Option<String> {
        let value = self.application()?.values.get("ACLs")?;
        let acls = Acls::decode(&value.value[..]).ok()?;
        let reference = acls.acls.get(resource)?.policy_ref.clone();
        match reference.as_bytes().first() {
            None => None,
            Some(b'/') => Some(reference),
            Some(_) => Some(format!("/Channel/Application/{reference}")),
        }
    }

    /// The addresses of an organisation's anchor peers.
    pub fn anchor_peers(&self, msp_id: &str) -> Vec<String> {
        let orgs = self.application_orgs.iter().flatten().filter(|(_, org)| org.msp_id == msp_id);
        orgs.filter_map(|(name, _)| self.application()?.groups.get(name)?.values.get("AnchorPeers"))
            .filter_map(|value| AnchorPeers::decode(&value.value[..]).ok())
            .flat_map(|anchors| anchors.anchor_peers)
            .map(|anchor| format!("{}:{}", anchor.host, anchor.port))
            .collect()
    }

    /// Whether `_lifecycle` may be used.
    pub fn has_new_lifecycle(&self) -> bool {
        ["V2_0", "V2_5"].iter().any(|name| self.application_capabilities.contains(*name))
    }

    /// The policy for changes of definitions (Fabric `LifecycleEndorsementPolicyAsBytes`).
    pub fn lifecycle_policy(&self) -> Vec<u8> {
        if self.has_policy(LIFECYCLE) {
            return reference(LIFECYCLE);
        }
        let mut ids: Vec<String> = self.application_orgs.iter().flatten().map(|(_, org)| org.msp_id.clone()).collect();
        ids.sort();
        let n = i32::try_from(ids.len() / 2 + 1).unwrap_or(i32::MAX);
        signed_by_members(n, &ids)
    }

    /// The policy for writes into an organisation's own collection.
    pub fn implicit_policy(&self, msp_id: &str) -> Result<Vec<u8>, String> {
        let (name, _) = self
            .application_orgs
            .iter()
            .flatten()
            .find(|(_, org)| org.msp_id == msp_id)
            .ok_or_else(|| format!("no org found in channel with MSPID '{msp_id}'"))?;
        let path = format!("/Channel/Application/{name}/Endorsement");
        Ok(if self.has_policy(&path) { reference(&path) } else { signed_by_members(1, &[msp_id.to_owned()]) })
    }

    fn rule(bytes: &[u8]) -> Result<Rule, String> {
        let policy = ApplicationPolicy::decode(bytes)
            .map_err(|_| format!("failed to unmarshal ApplicationPolicy bytes: {UNREADABLE}"))?;
        match policy.r#type {
            Some(application_policy::Type::SignaturePolicy(envelope)) => SignatureRule::compile(&envelope)
                .map(Rule::Signatures)
                .map_err(|text| format!("could not create evaluator for signature policy: {text}")),
            Some(application_policy::Type::ChannelConfigPolicyReference(path)) => Ok(Rule::Reference(path)),
            None => Err("unsupported policy type <nil>".to_owned()),
        }
    }

    /// Evaluates an encoded `ApplicationPolicy`.
    pub fn evaluate_application(&self, policy: &[u8], signed: &[SignedData]) -> Result<(), String> {
        match Self::rule(policy)? {
            Rule::Signatures(rule) => rule.evaluate(&self.msps, signed),
            Rule::Reference(path) if self.has_policy(&path) => self.evaluate(&path, signed),
            Rule::Reference(path) => Err(format!("failed to retrieve policy for reference {path}")),
        }
    }

    /// Whether signatures of these would satisfy an encoded `ApplicationPolicy`.
    pub fn would_endorse(&self, policy: &[u8], identities: &[Identity]) -> bool {
        match Self::rule(policy) {
            Ok(Rule::Signatures(rule)) => rule.would_hold(&self.msps, identities),
            Ok(Rule::Reference(path)) => path
                .strip_prefix("/Channel/")
                .is_some_and(|id| self.policies.evaluate_identities(id, &self.msps, identities).is_ok()),
            Err(_) => false,
        }
    }
}

fn reference(path: &str) -> Vec<u8> {
    let reference = application_policy::Type::ChannelConfigPolicyReference(path.to_owned());
    ApplicationPolicy { r#type: Some(reference) }.encode_to_vec()
}

fn signed_by_members(n: i32, ids: &[String]) -> Vec<u8> {
    let identities = ids
        .iter()
        .map(|id| MspPrincipal {
            principal_classification: Classification::Role as i32,
            principal: MspRole { msp_identifier: id.clone(), role: MspRoleType::Member as i32 }.encode_to_vec(),
        })
        .collect();
    let rules = (0..).zip(ids).map(|(index, _)| SignaturePolicy { r#type: Some(Type::SignedBy(index)) }).collect();
    let rule = Some(SignaturePolicy { r#type: Some(Type::NOutOf(NOutOf { n, rules })) });
    let envelope = SignaturePolicyEnvelope { version: 0, rule, identities };
    ApplicationPolicy { r#type: Some(application_policy::Type::SignaturePolicy(envelope)) }.encode_to_vec()
}
