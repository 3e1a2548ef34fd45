//! Whether signatures satisfy the policies of a channel, as orderers and peers find it.
//!
//! Sources: `common/policies/policy.go`, `common/policies/implicitmeta.go`, `common/cauthdsl`, `msp/mspmgrimpl.go`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

use jiff::Timestamp;
use prost::Message as _;
use tenter_fabric_wire::{common, msp};

use super::defaults::Policies;
use super::{ImplicitMeta, Policy, Principal, Role, Rule, SignaturePolicy, SignatureRule};
use crate::config::{ChannelConfig, ConsensusState};
use crate::msp::{InvalidIdentity, MspDefinition, MspIdentity, MspProblem, NodeOus, OuIdentifier, VerifyingMsp};
use crate::x509::CertificateInfo;

/// The channel capability with which Ed25519 keys count.
const V3_0: &str = "V3_0";

/// Bytes with a signature over them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedBytes {
    /// What was signed.
    pub data: Vec<u8>,
    /// The serialized identity that claims to have signed.
    pub identity: Vec<u8>,
    /// The signature.
    pub signature: Vec<u8>,
}

/// Why a signature does not count, or an identity is nobody.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignerProblem {
    /// The bytes are no serialized identity.
    #[error("the bytes are no serialized identity")]
    Unreadable,
    /// No organisation of the channel has this MSP ID.
    #[error("no organisation of the channel has the MSP ID {msp_id}")]
    UnknownMsp {
        /// MSP ID that the identity claims.
        msp_id: String,
    },
    /// The organisation's MSP cannot be used.
    #[error(transparent)]
    Msp(#[from] MspProblem),
    /// The certificate is none of its organisation's.
    #[error("the identity of {msp_id} is not valid: {problem}")]
    Invalid {
        /// MSP ID that the identity claims.
        msp_id: String,
        /// What is wrong with it.
        problem: InvalidIdentity,
    },
    /// The signature was not made by this identity over these bytes, or is not in the form that Fabric takes.
    #[error("the signature is not that of {subject} ({msp_id}) over these bytes")]
    Signature {
        /// MSP ID of the identity.
        msp_id: String,
        /// Subject of its certificate.
        subject: String,
    },
    /// The same certificate has signed before.
    #[error("{subject} ({msp_id}) has signed already; a certificate counts once")]
    Duplicate {
        /// MSP ID of the identity.
        msp_id: String,
        /// Subject of its certificate.
        subject: String,
    },
}

/// An identity of the channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownIdentity {
    /// MSP ID of its organisation.
    pub msp_id: String,
    /// Its certificate, with the low S that Fabric gives it.
    pub certificate: CertificateInfo,
    /// What it is in its organisation; empty if it is not valid.
    pub roles: BTreeSet<Role>,
    /// Why it is not valid. It may be a listed administrator all the same, because these are not looked at again.
    pub problem: Option<InvalidIdentity>,
    id: [u8; 32],
    units: Option<(Vec<String>, [u8; 32])>,
}

impl KnownIdentity {
    /// The role that says most: administrator before orderer, peer, client and member.
    pub fn role(&self) -> Option<Role> {
        [Role::Admin, Role::Orderer, Role::Peer, Role::Client, Role::Member]
            .into_iter()
            .find(|role| self.roles.contains(role))
    }

    /// Whether a submitter with this certificate would be refused for its age (`orderer/common/msgprocessor`).
    pub fn is_expired_at(&self, now: Timestamp) -> bool {
        now > self.certificate.not_after
    }
}

/// Why a policy is not satisfied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyFailure {
    /// There is no policy at the path.
    #[error("there is no policy {path}")]
    Missing {
        /// The path.
        path: String,
    },
    /// The policy cannot be evaluated; Fabric refuses configurations with such policies.
    #[error("the policy {path} cannot be evaluated: {why}")]
    Broken {
        /// Path of the policy.
        path: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Too few of the policies of the groups below are satisfied.
    #[error(
        "{path} needs {needed} of {} policies and {} hold; not satisfied: {}",
        .satisfied.len() + .unsatisfied.len(),
        .satisfied.len(),
        .unsatisfied.join(", ")
    )]
    Implicit {
        /// Path of the policy.
        path: String,
        /// How many must be satisfied.
        needed: usize,
        /// Paths of those that are.
        satisfied: Vec<String>,
        /// Paths of those that are not, whether or not they exist.
        unsatisfied: Vec<String>,
    },
    /// The signatures do not satisfy the rule.
    #[error("{path} needs {rule}")]
    Signature {
        /// Path of the policy.
        path: String,
        /// The rule.
        rule: String,
    },
}

/// A policy, with the paths that it leads to.
#[derive(Debug, Clone)]
pub(super) enum Compiled {
    Implicit { needed: usize, children: Vec<String> },
    Signature(SignaturePolicy),
    Broken(&'static str),
}

#[derive(Debug, Clone)]
struct LazyMsp {
    definition: MspDefinition,
    ed25519: bool,
    msp: OnceLock<Result<VerifyingMsp, MspProblem>>,
}

impl LazyMsp {
    fn get(&self) -> Result<&VerifyingMsp, &MspProblem> {
        self.msp.get_or_init(|| VerifyingMsp::new(&self.definition, self.ed25519)).as_ref()
    }
}

/// Judges signatures by the policies and MSPs of a configuration, which is the one in force for every change of it.
#[derive(Debug, Clone)]
pub struct Judge {
    policies: BTreeMap<String, Compiled>,
    msps: BTreeMap<String, LazyMsp>,
    in_maintenance: bool,
}

impl Judge {
    /// A judge for a channel. MSPs are set up when they are first needed.
    pub fn new(config: &ChannelConfig) -> Self {
        let mut policies = BTreeMap::new();
        let mut msps = BTreeMap::new();
        let ed25519 = config.capabilities.contains(V3_0);
        let mut organization = |path: String, msp: &MspDefinition, own: &Policies| {
            compile(&mut policies, &path, own, &[]);
            let lazy = || LazyMsp { definition: msp.clone(), ed25519, msp: OnceLock::new() };
            msps.entry(msp.msp_id.clone()).or_insert_with(lazy);
        };
        for (name, member) in &config.orderer.organizations {
            organization(format!("/Channel/Orderer/{name}"), &member.msp, &member.policies);
        }
        for (name, member) in &config.application.organizations {
            organization(format!("/Channel/Application/{name}"), &member.msp, &member.policies);
        }
        let orderers: Vec<&str> = config.orderer.organizations.keys().map(String::as_str).collect();
        compile(&mut policies, "/Channel/Orderer", &config.orderer.policies, &orderers);
        let members: Vec<&str> = config.application.organizations.keys().map(String::as_str).collect();
        compile(&mut policies, "/Channel/Application", &config.application.policies, &members);
        compile(&mut policies, "/Channel", &config.policies, &["Application", "Orderer"]);
        Self { policies, msps, in_maintenance: config.orderer.state == ConsensusState::Maintenance }
    }

    /// Path of the policy that submitters must satisfy (`orderer/common/msgprocessor/sigfilter.go`).
    pub fn writers(&self) -> &'static str {
        if self.in_maintenance { "/Channel/Orderer/Writers" } else { "/Channel/Writers" }
    }

    /// What is wrong with the MSPs of the channel. Identities of these organisations are nobody here.
    pub fn msp_problems(&self) -> Vec<MspProblem> {
        self.msps.values().filter_map(|msp| msp.get().err().cloned()).collect()
    }

    /// Who a serialized identity is. An error means that its signatures never count.
    pub fn identify(&self, identity: &[u8]) -> Result<KnownIdentity, SignerProblem> {
        Ok(self.known(identity)?.0)
    }

    fn known(&self, identity: &[u8]) -> Result<(KnownIdentity, crate::keys::PublicKey), SignerProblem> {
        let identity = msp::SerializedIdentity::decode(identity).map_err(|_| SignerProblem::Unreadable)?;
        let msp_id = identity.mspid;
        let Some(msp) = self.msps.get(&msp_id) else {
            return Err(SignerProblem::UnknownMsp { msp_id });
        };
        let msp = msp.get().map_err(Clone::clone)?;
        match msp.identity(&identity.id_bytes) {
            Ok(MspIdentity { id, certificate, key, validity, units, roles }) => {
                Ok((KnownIdentity { msp_id, certificate, roles, problem: validity.err(), id, units }, key))
            }
            Err(problem) => Err(SignerProblem::Invalid { msp_id, problem }),
        }
    }

    /// Who made a signature, if it counts at all.
    pub fn signer(&self, signed: &SignedBytes) -> Result<KnownIdentity, SignerProblem> {
        let (identity, key) = self.known(&signed.identity)?;
        if key.verify(&signed.data, &signed.signature).is_err() {
            let (msp_id, subject) = (identity.msp_id, identity.certificate.subject);
            return Err(SignerProblem::Signature { msp_id, subject });
        }
        Ok(identity)
    }

    /// The signers whose signatures count, each certificate once, in the order of the signatures; and for each
    /// signature that does not count, its place and the reason.
    pub fn signers(&self, signed: &[SignedBytes]) -> (Vec<KnownIdentity>, Vec<(usize, SignerProblem)>) {
        let (mut signers, mut problems) = (Vec::<KnownIdentity>::new(), Vec::new());
        for (place, signed) in signed.iter().enumerate() {
            match self.signer(signed) {
                Ok(found) if signers.iter().any(|known| known.id == found.id && known.msp_id == found.msp_id) => {
                    let (msp_id, subject) = (found.msp_id, found.certificate.subject);
                    problems.push((place, SignerProblem::Duplicate { msp_id, subject }));
                }
                Ok(found) => signers.push(found),
                Err(problem) => problems.push((place, problem)),
            }
        }
        (signers, problems)
    }

    /// Whether signatures satisfy the policy at a path such as `/Channel/Writers`. Their order can matter.
    pub fn evaluate(&self, path: &str, signed: &[SignedBytes]) -> Result<(), PolicyFailure> {
        self.evaluate_signers(path, &self.signers(signed).0)
    }

    /// Whether signatures of these identities, in this order, satisfy a policy.
    pub fn evaluate_signers(&self, path: &str, signers: &[KnownIdentity]) -> Result<(), PolicyFailure> {
        self.evaluate_with(path, signers.len(), &|signer, principal| {
            signers.get(signer).is_some_and(|signer| self.satisfies(signer, principal))
        })
    }

    /// Evaluates a policy for `count` signers of which `fits` tells what they are.
    pub(super) fn evaluate_with(
        &self,
        path: &str,
        count: usize,
        fits: &dyn Fn(usize, &Principal) -> bool,
    ) -> Result<(), PolicyFailure> {
        let path_of = || path.to_owned();
        match self.policies.get(path) {
            None => Err(PolicyFailure::Missing { path: path_of() }),
            Some(Compiled::Broken(why)) => Err(PolicyFailure::Broken { path: path_of(), why }),
            Some(Compiled::Implicit { needed, children }) => {
                let holds = |child: &String| self.evaluate_with(child, count, fits).is_ok();
                let (satisfied, unsatisfied): (Vec<_>, Vec<_>) = children.iter().cloned().partition(holds);
                if satisfied.len() >= *needed {
                    return Ok(());
                }
                Err(PolicyFailure::Implicit { path: path_of(), needed: *needed, satisfied, unsatisfied })
            }
            Some(Compiled::Signature(policy)) => {
                if greedy(&policy.rule, &policy.identities, fits, &mut vec![false; count]) {
                    return Ok(());
                }
                Err(PolicyFailure::Signature { path: path_of(), rule: policy.to_string() })
            }
        }
    }

    /// Whether there is a policy at a path.
    pub fn has_policy(&self, path: &str) -> bool {
        self.policies.contains_key(path)
    }

    /// The policies that Fabric would refuse, by path, with what is wrong with them.
    pub fn broken_policies(&self) -> impl Iterator<Item = (&str, &'static str)> {
        self.policies.iter().filter_map(|(path, policy)| match policy {
            Compiled::Broken(why) => Some((path.as_str(), *why)),
            Compiled::Implicit { .. } | Compiled::Signature(_) => None,
        })
    }

    /// Whether the policy at a path is one that Fabric would refuse.
    pub fn is_broken(&self, path: &str) -> bool {
        matches!(self.policies.get(path), Some(Compiled::Broken(_)))
    }

    /// Whether an organisation of the channel has identities in a role, as far as its MSP says.
    pub(super) fn has_role(&self, msp_id: &str, role: Role) -> bool {
        let Some(LazyMsp { definition, .. }) = self.msps.get(msp_id) else {
            return false;
        };
        let units = definition.node_ous.as_ref().filter(|units| units.enable);
        let has_unit = |unit: fn(&NodeOus) -> &Option<OuIdentifier>| units.is_some_and(|units| unit(units).is_some());
        match role {
            Role::Member => true,
            Role::Admin => !definition.admins.is_empty() || has_unit(|units| &units.admin),
            Role::Client => has_unit(|units| &units.client),
            Role::Peer => has_unit(|units| &units.peer),
            Role::Orderer => has_unit(|units| &units.orderer),
        }
    }

    pub(super) fn policy(&self, path: &str) -> Option<&Compiled> {
        self.policies.get(path)
    }

    /// Whether an identity is what a principal asks for (`SatisfiesPrincipal`).
    pub(super) fn satisfies(&self, identity: &KnownIdentity, principal: &Principal) -> bool {
        match principal {
            Principal::Role { msp_id, role } => *msp_id == identity.msp_id && identity.roles.contains(role),
            Principal::Unit { msp_id, unit, certifiers } => {
                *msp_id == identity.msp_id
                    && identity.problem.is_none()
                    && identity
                        .units
                        .as_ref()
                        .is_some_and(|(units, hash)| units.contains(unit) && hash[..] == **certifiers)
            }
            Principal::Identity { msp_id, certificate } => {
                *msp_id == identity.msp_id
                    && identity.problem.is_none()
                    && self
                        .msps
                        .get(msp_id)
                        .and_then(|msp| msp.get().ok())
                        .is_some_and(|msp| msp.identity(certificate.bytes()).is_ok_and(|other| other.id == identity.id))
            }
            Principal::Other { classification, principal } => {
                self.satisfies_other(identity, *classification, principal)
            }
        }
    }

    /// Principals that are kept as bytes: combined ones, and those that say that an identity is not anonymous.
    fn satisfies_other(&self, identity: &KnownIdentity, classification: i32, principal: &[u8]) -> bool {
        use common::msp_principal::Classification;
        match Classification::try_from(classification) {
            Ok(Classification::Combined) => common::CombinedPrincipal::decode(principal).is_ok_and(|all| {
                let all = all.principals;
                !all.is_empty() && all.iter().all(|one| self.satisfies(identity, &Principal::from_wire(one)))
            }),
            // An anonymity type of 0, nominal, is not written. No X.509 identity is anonymous.
            Ok(Classification::Anonymity) => principal.is_empty(),
            _ => false,
        }
    }
}

/// Puts the policies of a group into the map, by path.
fn compile(out: &mut BTreeMap<String, Compiled>, path: &str, policies: &Policies, children: &[&str]) {
    for (name, policy) in policies {
        let compiled = match policy {
            Policy::ImplicitMeta(policy) => implicit(policy, path, children),
            Policy::Signature(policy) => signature(policy),
            Policy::Other { kind, value } => Policy::read_leniently(*kind, value).map_or(
                Compiled::Broken("it is of an unknown type or cannot be decoded"),
                |policy| match policy {
                    Policy::ImplicitMeta(policy) => implicit(&policy, path, children),
                    Policy::Signature(policy) => signature(&policy),
                    Policy::Other { .. } => Compiled::Broken("it is of an unknown type"),
                },
            ),
        };
        out.insert(format!("{path}/{name}"), compiled);
    }
}

fn implicit(policy: &ImplicitMeta, path: &str, children: &[&str]) -> Compiled {
    let count = children.len();
    let needed = match policy.rule {
        _ if count == 0 => 0,
        Rule::Any => 1,
        Rule::All => count,
        Rule::Majority => count / 2 + 1,
    };
    let child = |name: &&str| {
        let group = format!("{path}/{name}");
        // An absolute name means the same policy in each group, and leads only to the group that it lies in.
        let absolute = policy.sub_policy.strip_prefix(&group).and_then(|rest| rest.strip_prefix('/'));
        format!("{group}/{}", absolute.unwrap_or(&policy.sub_policy))
    };
    Compiled::Implicit { needed, children: children.iter().map(child).collect() }
}

fn signature(policy: &SignaturePolicy) -> Compiled {
    fn is_in_range(rule: &SignatureRule, count: usize) -> bool {
        match rule {
            SignatureRule::SignedBy(index) => usize::try_from(*index).is_ok_and(|index| index < count),
            SignatureRule::OutOf { rules, .. } => rules.iter().all(|rule| is_in_range(rule, count)),
        }
    }
    if is_in_range(&policy.rule, policy.identities.len()) {
        Compiled::Signature(policy.clone())
    } else {
        Compiled::Broken("it names a principal that it does not list")
    }
}

/// Evaluates from left to right. Each leaf takes the first signer that fits and was not taken, and no choice is undone
/// unless the whole rule fails; rules after the needed number take signers as well.
fn greedy(
    rule: &SignatureRule,
    identities: &[Principal],
    satisfies: &dyn Fn(usize, &Principal) -> bool,
    used: &mut Vec<bool>,
) -> bool {
    match rule {
        SignatureRule::SignedBy(index) => {
            let principal = usize::try_from(*index).ok().and_then(|index| identities.get(index));
            let Some(principal) = principal else { return false };
            let free = used.iter().enumerate().filter(|(_, used)| !**used).map(|(signer, _)| signer);
            let taken = free.into_iter().find(|signer| satisfies(*signer, principal));
            match taken.and_then(|signer| used.get_mut(signer)) {
                Some(slot) => {
                    *slot = true;
                    true
                }
                None => false,
            }
        }
        SignatureRule::OutOf { n, rules } => {
            let mut verified = 0;
            for rule in rules {
                let mut attempt = used.clone();
                if greedy(rule, identities, satisfies, &mut attempt) {
                    verified += 1;
                    *used = attempt;
                }
            }
            verified >= *n
        }
    }
}
