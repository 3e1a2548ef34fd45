//! Policies of a channel: compiled once, evaluated for sets of signatures (Fabric `common/policies`,
//! `common/cauthdsl`).

use std::collections::{BTreeMap, BTreeSet};

use prost::Message as _;
use tenter_fabric_wire::common::implicit_meta_policy::Rule;
use tenter_fabric_wire::common::signature_policy::Type;
use tenter_fabric_wire::common::{
    ConfigGroup, ImplicitMetaPolicy, MspPrincipal, SignaturePolicy, SignaturePolicyEnvelope,
};

use super::{Msps, UNREADABLE};
use crate::msp::Identity;

/// Depth of nested signature policies that is still compiled.
const MAX_DEPTH: usize = 64;
/// Types of policies on the wire.
const SIGNATURE: i32 = 1;
const IMPLICIT_META: i32 = 3;

/// A signature that a policy may count.
#[derive(Debug, Clone)]
pub struct SignedData {
    /// What was signed.
    pub data: Vec<u8>,
    /// The signer, a marshalled `SerializedIdentity`.
    pub identity: Vec<u8>,
    /// The signature.
    pub signature: Vec<u8>,
}

#[derive(Debug, Clone)]
enum Policy {
    Signatures(Gate),
    Meta { threshold: usize, sub_policy: String },
}

#[derive(Debug, Clone)]
enum Gate {
    SignedBy(MspPrincipal),
    NOutOf(i32, Vec<Gate>),
}

/// The policies of a group and of the groups below it.
#[derive(Debug, Clone, Default)]
pub struct Policies {
    own: BTreeMap<String, Policy>,
    groups: BTreeMap<String, Policies>,
}

impl Policies {
    /// Compiles all policies of a group. `path` is the group's, without a slash at the start; it stands in the text
    /// that says what does not compile.
    pub fn compile(path: &str, group: &ConfigGroup) -> Result<Self, String> {
        let groups = group
            .groups
            .iter()
            .map(|(name, child)| Ok((name.clone(), Self::compile(&format!("{path}/{name}"), child)?)))
            .collect::<Result<BTreeMap<_, _>, String>>()?;
        let mut own = BTreeMap::new();
        for (name, outer) in &group.policies {
            let policy = outer.policy.as_ref().ok_or_else(|| format!("policy {name} at path {path} was nil"))?;
            let compiled = match policy.r#type {
                SIGNATURE => compile_signatures(&policy.value)
                    .map_err(|text| format!("policy {name} at path {path} did not compile: {text}"))?,
                IMPLICIT_META => compile_meta(&policy.value, groups.len())
                    .map_err(|text| format!("implicit policy {name} at path {path} did not compile: {text}"))?,
                other => return Err(format!("policy {name} at path {path} has unknown policy type: {other}")),
            };
            own.insert(name.clone(), compiled);
        }
        Ok(Self { own, groups })
    }

    /// The policies of a group further down.
    pub fn group(&self, path: &[&str]) -> Option<&Self> {
        path.iter().try_fold(self, |policies, name| policies.groups.get(*name))
    }

    /// A policy by its name, or by the names of groups and its own with slashes between.
    fn find(&self, id: &str) -> Option<(&Self, &Policy)> {
        let mut parts: Vec<&str> = id.split('/').collect();
        let name = parts.pop()?;
        let group = self.group(&parts)?;
        Some((group, group.own.get(name)?))
    }

    /// Whether there is such a policy.
    pub fn contains(&self, id: &str) -> bool {
        self.find(id).is_some()
    }

    /// Evaluates the policy that `id` names from here on.
    pub fn evaluate(&self, id: &str, msps: &Msps, signed: &[SignedData]) -> Result<(), String> {
        self.evaluate_identities(id, msps, &valid_identities(msps, signed))
    }

    /// The same for signers whose signatures hold, or would.
    pub(super) fn evaluate_identities(&self, id: &str, msps: &Msps, identities: &[Identity]) -> Result<(), String> {
        let (group, policy) = self.find(id).ok_or_else(|| format!("no such policy: '{id}'"))?;
        match policy {
            Policy::Signatures(gate) => {
                let mut used = vec![false; identities.len()];
                if gate.holds(msps, identities, &mut used) {
                    Ok(())
                } else {
                    Err("signature set did not satisfy policy".to_owned())
                }
            }
            Policy::Meta { threshold, sub_policy } => {
                let satisfied = group
                    .groups
                    .values()
                    .filter(|child| child.evaluate_identities(sub_policy, msps, identities).is_ok())
                    .count();
                if satisfied >= *threshold {
                    return Ok(());
                }
                Err(format!(
                    "implicit policy evaluation failed - {satisfied} sub-policies were satisfied, but this policy requires {threshold} of the '{sub_policy}' sub-policies to be satisfied"
                ))
            }
        }
    }
}

/// A signature policy outside of a configuration: a chaincode's or a collection's.
#[derive(Debug, Clone)]
pub struct SignatureRule(Gate);

impl SignatureRule {
    /// Compiles it.
    pub fn compile(envelope: &SignaturePolicyEnvelope) -> Result<Self, String> {
        compile_envelope(envelope).map(Self)
    }

    /// Whether the signatures satisfy it.
    pub fn evaluate(&self, msps: &Msps, signed: &[SignedData]) -> Result<(), String> {
        if self.would_hold(msps, &valid_identities(msps, signed)) {
            Ok(())
        } else {
            Err("signature set did not satisfy policy".to_owned())
        }
    }

    /// Whether signatures of these would.
    pub fn would_hold(&self, msps: &Msps, identities: &[Identity]) -> bool {
        self.0.holds(msps, identities, &mut vec![false; identities.len()])
    }
}

fn compile_meta(bytes: &[u8], count: usize) -> Result<Policy, String> {
    let meta = ImplicitMetaPolicy::decode(bytes)
        .map_err(|_| format!("Error unmarshalling to ImplicitMetaPolicy: {UNREADABLE}"))?;
    let threshold = match Rule::try_from(meta.rule) {
        _ if count == 0 => 0,
        Ok(Rule::Any) => 1,
        Ok(Rule::All) => count,
        Ok(Rule::Majority) => count / 2 + 1,
        // Fabric leaves the threshold at 0 for a rule that it does not know.
        Err(_) => 0,
    };
    Ok(Policy::Meta { threshold, sub_policy: meta.sub_policy })
}

fn compile_signatures(bytes: &[u8]) -> Result<Policy, String> {
    let envelope = SignaturePolicyEnvelope::decode(bytes)
        .map_err(|_| format!("Error unmarshalling to SignaturePolicy: {UNREADABLE}"))?;
    compile_envelope(&envelope).map(Policy::Signatures)
}

fn compile_envelope(envelope: &SignaturePolicyEnvelope) -> Result<Gate, String> {
    if envelope.version != 0 {
        return Err(format!(
            "This evaluator only understands messages of version 0, but version was {}",
            envelope.version
        ));
    }
    compile_gate(envelope.rule.as_ref(), &envelope.identities, 0)
}

fn compile_gate(rule: Option<&SignaturePolicy>, principals: &[MspPrincipal], depth: usize) -> Result<Gate, String> {
    let rule = rule.ok_or("Empty policy element")?;
    if depth > MAX_DEPTH {
        return Err(format!("policy is nested more than {MAX_DEPTH} deep"));
    }
    match &rule.r#type {
        None => Err("Unknown type: <nil>:<nil>".to_owned()),
        Some(Type::SignedBy(index)) => {
            let principal = usize::try_from(*index).ok().and_then(|at| principals.get(at)).ok_or_else(|| {
                format!("identity index out of range, requested {index}, but identities length is {}", principals.len())
            })?;
            Ok(Gate::SignedBy(principal.clone()))
        }
        Some(Type::NOutOf(gate)) => gate
            .rules
            .iter()
            .map(|child| compile_gate(Some(child), principals, depth + 1))
            .collect::<Result<_, _>>()
            .map(|children| Gate::NOutOf(gate.n, children)),
    }
}

impl Gate {
    /// Greedy, left to right, without going back: the order of the signatures can matter.
    fn holds(&self, msps: &Msps, identities: &[Identity], used: &mut Vec<bool>) -> bool {
        match self {
            Self::SignedBy(principal) => {
                let found = identities.iter().zip(used.iter()).position(|(identity, used)| {
                    !used && msps.get(&identity.msp_id).is_some_and(|msp| msp.satisfies(identity, principal).is_ok())
                });
                if let Some(used) = found.and_then(|at| used.get_mut(at)) {
                    *used = true;
                }
                found.is_some()
            }
            Self::NOutOf(wanted, children) => {
                let mut verified = 0_i32;
                for child in children {
                    let mut attempt = used.clone();
                    if child.holds(msps, identities, &mut attempt) {
                        verified += 1;
                        *used = attempt;
                    }
                }
                verified >= *wanted
            }
        }
    }
}

/// The signers whose signatures hold, each certificate once. One that does not belong to its MSP may be among them:
/// it satisfies no principal.
fn valid_identities(msps: &Msps, signed: &[SignedData]) -> Vec<Identity> {
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    for item in signed {
        let Ok(identity) = Identity::parse(&item.identity) else {
            continue;
        };
        let key = (identity.msp_id.clone(), identity.certificate.der().to_vec());
        if !msps.contains_key(&identity.msp_id) || seen.contains(&key) {
            continue;
        }
        if identity.certificate.verify(&item.data, &item.signature).is_ok() {
            seen.insert(key);
            found.push(identity);
        }
    }
    found
}
