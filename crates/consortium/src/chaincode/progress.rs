//! How far a chaincode is: what is committed, who approved what, and which peers have the package.

use std::collections::{BTreeMap, BTreeSet};

use tenter_fabric::chaincode::{Approved, Committed, Definition, Difference, PackageId};

use crate::objects::{ChaincodeMember, ChaincodeSpec};
use crate::observation::Observation;
use crate::observed::{NodeRef, ObservedChaincode};
use crate::status::{ChaincodeOrganizationStatus, ChaincodePeerStatus};

/// What the ledger needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing: the committed definition is the wanted one.
    InSync {
        /// Its sequence.
        sequence: i64,
    },
    /// The wanted definition under the next sequence.
    Change {
        /// The sequence that it gets.
        sequence: i64,
        /// What differs from the committed one; nothing for the first.
        differences: Vec<Difference>,
    },
}

impl Next {
    /// The sequence that the wanted definition has or gets: the one that approvals are asked for.
    pub const fn sequence(&self) -> i64 {
        match self {
            Self::InSync { sequence } | Self::Change { sequence, .. } => *sequence,
        }
    }

    /// Whether something is to be committed.
    pub const fn is_change(&self) -> bool {
        matches!(self, Self::Change { .. })
    }
}

/// What the ledger needs to have this definition. The sequence follows from what is committed; nobody writes it.
pub fn next(committed: Option<&Committed>, wanted: &Definition) -> Next {
    let Some(committed) = committed else { return Next::Change { sequence: 1, differences: Vec::new() } };
    let differences = committed.definition.differences(wanted);
    if differences.is_empty() {
        Next::InSync { sequence: committed.sequence }
    } else {
        Next::Change { sequence: committed.sequence.saturating_add(1), differences }
    }
}

/// Why the ledger cannot be the one that was seen before: `last` is the sequence that was committed then, and a sequence
/// never goes back.
pub fn went_back(last: Option<u64>, committed: &Observation<Committed>) -> Option<String> {
    let last = last.filter(|last| *last > 0)?;
    let now = match committed {
        Observation::Present { value } if u64::try_from(value.sequence).is_ok_and(|now| now >= last) => return None,
        Observation::Present { value } => format!("sequence {}", value.sequence),
        Observation::Absent { .. } => "no definition".to_owned(),
        Observation::Forbidden { .. } | Observation::Unreachable { .. } => return None,
    };
    Some(format!(
        "sequence {last} was committed, and now the ledger has {now}: it is behind, or another one; wait for the peers that \
         were restored, or delete the Chaincode object if the channel was made anew"
    ))
}

/// Whether an organization approved the wanted definition under the sequence that it has or gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Approval {
    /// It did, and its peers will run the wanted package.
    Given,
    /// It did, for another package or for none: its peers would not run the wanted one.
    OtherPackage {
        /// The package, if there is one.
        package: Option<PackageId>,
    },
    /// It approved something else under this sequence, or another sequence.
    Other {
        /// What it approved, in words.
        what: String,
    },
    /// It approved nothing.
    Missing,
    /// It could not be told.
    Unknown {
        /// `forbidden` or `unreachable`, and the evidence.
        why: String,
        /// Whether somebody refused to tell.
        forbidden: bool,
    },
}

impl Approval {
    /// Whether the ledger counts it as an approval of the wanted definition: the package is the organization's own matter.
    pub const fn counts(&self) -> bool {
        matches!(self, Self::Given | Self::OtherPackage { .. })
    }

    /// Whether the organization has to approve (again).
    pub const fn is_due(&self) -> bool {
        matches!(self, Self::OtherPackage { .. } | Self::Other { .. } | Self::Missing)
    }

    /// What is missing, for people.
    pub fn missing(&self, sequence: i64) -> Option<String> {
        match self {
            Self::Given => None,
            Self::OtherPackage { package: Some(package) } => {
                Some(format!("it approved sequence {sequence} for package {package}"))
            }
            Self::OtherPackage { package: None } => Some(format!("it approved sequence {sequence} without a package")),
            Self::Other { what } => Some(format!("it has not approved this definition as sequence {sequence}: {what}")),
            Self::Missing => Some(format!("it has not approved sequence {sequence}")),
            Self::Unknown { why, .. } => Some(format!("whether it approved sequence {sequence} is not known ({why})")),
        }
    }
}

/// How far one member is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberProgress {
    /// The organization.
    pub organization: String,
    /// Its MSP ID.
    pub msp_id: String,
    /// Its namespace.
    pub namespace: String,
    /// Whether this daemon acts for it. What is installed on the peers of others is not known.
    pub hosted: bool,
    /// Whether each of its peers has the wanted package; empty for a member that is hosted elsewhere.
    pub peers: BTreeMap<String, Observation<()>>,
    /// Whether it approved.
    pub approval: Approval,
}

impl MemberProgress {
    /// Its peers that are known not to have the package.
    pub fn without_package(&self) -> impl Iterator<Item = &String> {
        self.peers.iter().filter(|(_, seen)| seen.is_absent()).map(|(peer, _)| peer)
    }

    /// Peers that have the package, of all, as `1/2`; nothing for a member that is hosted elsewhere.
    pub fn installed(&self) -> Option<String> {
        let count = self.peers.values().filter(|seen| seen.value().is_some()).count();
        self.hosted.then(|| format!("{count}/{}", self.peers.len()))
    }

    /// What is missing of it, for people; nothing if it did its part.
    pub fn missing(&self, sequence: i64) -> Option<String> {
        let peers = self.peers.iter().filter_map(|(peer, seen)| match seen {
            Observation::Present { .. } => None,
            Observation::Absent { .. } => Some(format!("{peer} does not have the package")),
            other => {
                let evidence = other.evidence().unwrap_or_default();
                Some(format!("whether {peer} has the package is not known ({}: {evidence})", other.word()))
            }
        });
        let approval = self.approval.missing(sequence).map(|missing| {
            if self.hosted { missing } else { format!("{missing}; it is hosted elsewhere and is waited for") }
        });
        let all: Vec<String> = approval.into_iter().chain(peers).collect();
        (!all.is_empty()).then(|| all.join("; "))
    }
}

/// How far a chaincode is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The wanted definition: what is approved and committed. Where the ledger has one that means the same, it has that
    /// one's order.
    pub definition: Definition,
    /// The package that peers should have.
    pub package: PackageId,
    /// What the ledger needs.
    pub next: Next,
    /// Its members with peers, in the spec's order.
    pub members: Vec<MemberProgress>,
}

impl Progress {
    /// MSP IDs of the members whose approval the ledger counts.
    pub fn approved(&self) -> BTreeSet<String> {
        let counted = self.members.iter().filter(|member| member.approval.counts());
        counted.map(|member| member.msp_id.clone()).collect()
    }

    /// Members that approved, of all, as `2/3`.
    pub fn approved_count(&self) -> String {
        format!("{}/{}", self.approved().len(), self.members.len())
    }

    /// How each organization is, for a Chaincode's status. `serving` says of each own peer whether the chaincode's program
    /// answers for it, or why it does not; a peer that is not named there is not serving.
    pub fn organizations(&self, serving: &BTreeMap<NodeRef, Result<(), String>>) -> Vec<ChaincodeOrganizationStatus> {
        self.members.iter().map(|member| self.organization(member, serving)).collect()
    }

    fn organization(
        &self,
        member: &MemberProgress,
        serving: &BTreeMap<NodeRef, Result<(), String>>,
    ) -> ChaincodeOrganizationStatus {
        let sequence = self.next.sequence();
        let defined = !self.next.is_change() && member.approval == Approval::Given;
        let peers: Vec<ChaincodePeerStatus> = member
            .peers
            .iter()
            .map(|(peer, seen)| {
                let node = NodeRef { namespace: member.namespace.clone(), name: peer.clone() };
                let (runs, why) = match serving.get(&node) {
                    Some(Ok(())) => (true, None),
                    Some(Err(why)) => (false, Some(why.clone())),
                    None => (false, None),
                };
                let evidence = seen.evidence().map(str::to_owned);
                ChaincodePeerStatus {
                    peer: peer.clone(),
                    installed: seen.word().to_owned(),
                    serving: defined && runs && seen.value().is_some(),
                    message: evidence.or(why),
                }
            })
            .collect();
        let stopped = peers.iter().filter(|peer| !peer.serving).filter_map(|peer| {
            let why = peer.message.as_ref()?;
            Some(format!("{} does not serve: {why}", peer.peer))
        });
        let missing = member.missing(sequence).or_else(|| {
            let stopped: Vec<String> = stopped.collect();
            (!stopped.is_empty()).then(|| stopped.join("; "))
        });
        ChaincodeOrganizationStatus {
            organization: member.organization.clone(),
            installed: member.installed(),
            approved: member.approval.counts(),
            serving: member.hosted && !peers.is_empty() && peers.iter().all(|peer| peer.serving),
            message: missing,
            peers,
        }
    }
}

/// How far a chaincode is. `hosted` are the organizations that this daemon acts for, `package` what their peers should
/// have. `seen` must have a committed definition, or evidence that there is none; else there is no progress to speak of.
pub fn progress(
    spec: &ChaincodeSpec,
    wanted: &Definition,
    package: &PackageId,
    seen: &ObservedChaincode,
    hosted: &BTreeSet<String>,
) -> Option<Progress> {
    let committed = match &seen.committed {
        Observation::Present { value } => Some(value),
        Observation::Absent { .. } => None,
        Observation::Forbidden { .. } | Observation::Unreachable { .. } => return None,
    };
    let definition =
        committed.map_or_else(|| wanted.clone(), |committed| super::in_words_of(wanted.clone(), &committed.definition));
    let next = next(committed, &definition);
    let members = spec.members.iter().map(|member| {
        let hosted = hosted.contains(&member.organization);
        let approval = if hosted {
            own_approval(member, &definition, package, next.sequence(), seen)
        } else {
            others_approval(member, committed.filter(|_| !next.is_change()), seen)
        };
        let peers = if hosted { installed(member, package, seen) } else { BTreeMap::new() };
        MemberProgress {
            organization: member.organization.clone(),
            msp_id: member.msp_id.clone(),
            namespace: member.namespace.clone(),
            hosted,
            peers,
            approval,
        }
    });
    let members = members.collect();
    Some(Progress { definition, package: package.clone(), next, members })
}

fn installed(
    member: &ChaincodeMember,
    package: &PackageId,
    seen: &ObservedChaincode,
) -> BTreeMap<String, Observation<()>> {
    let has = |peer: &String| {
        let node = NodeRef { namespace: member.namespace.clone(), name: peer.clone() };
        match seen.installed.get(&node) {
            Some(Observation::Present { value }) if value.contains(package) => Observation::Present { value: () },
            Some(Observation::Present { value }) => {
                Observation::Absent { evidence: format!("it lists {} other packages", value.len()) }
            }
            Some(other) => other.clone().map(|_| ()),
            None => Observation::Unreachable { evidence: "it was not asked".to_owned() },
        }
    };
    member.peers.iter().map(|peer| (peer.clone(), has(peer))).collect()
}

fn own_approval(
    member: &ChaincodeMember,
    wanted: &Definition,
    package: &PackageId,
    sequence: i64,
    seen: &ObservedChaincode,
) -> Approval {
    match seen.approvals.get(&member.msp_id) {
        Some(Observation::Present { value: Approved { sequence: approved, .. } }) if *approved != sequence => {
            Approval::Other { what: format!("its newest approval is of sequence {approved}") }
        }
        Some(Observation::Present { value: Approved { sequence: _, definition, package_id } }) => {
            let differences = definition.differences(wanted);
            if !differences.is_empty() {
                let fields: Vec<String> = differences.into_iter().map(|difference| difference.field).collect();
                return Approval::Other { what: format!("what it approved differs in {}", fields.join(", ")) };
            }
            if package_id.as_ref() == Some(package) {
                Approval::Given
            } else {
                Approval::OtherPackage { package: package_id.clone() }
            }
        }
        Some(Observation::Absent { .. }) => Approval::Missing,
        Some(other) => unknown(other),
        None => Approval::Unknown { why: "it was not asked".to_owned(), forbidden: false },
    }
}

/// Of members elsewhere the ledger says only whether they approved: in the committed definition, or in what it says of
/// the readiness of the wanted one.
fn others_approval(member: &ChaincodeMember, committed: Option<&Committed>, seen: &ObservedChaincode) -> Approval {
    let approvals = match (committed, &seen.readiness) {
        (Some(committed), _) => &committed.approvals,
        (None, Observation::Present { value }) => value,
        (None, other) => return unknown(other),
    };
    if approvals.get(&member.msp_id).copied().unwrap_or_default() { Approval::Given } else { Approval::Missing }
}

fn unknown<T>(seen: &Observation<T>) -> Approval {
    let evidence = seen.evidence().unwrap_or_default();
    let forbidden = matches!(seen, Observation::Forbidden { .. });
    Approval::Unknown { why: format!("{}: {evidence}", seen.word()), forbidden }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sequence_never_goes_back() {
        let committed = |sequence| Observation::Present {
            value: Committed { sequence, definition: Definition::new("asset", "1.0"), approvals: BTreeMap::new() },
        };
        let absent = Observation::Absent { evidence: "no chaincode asset".to_owned() };
        let unreachable = Observation::Unreachable { evidence: "no answer".to_owned() };
        let check = |last: Option<u64>, seen: &Observation<Committed>, expect: bool| {
            assert_eq!(went_back(last, seen).is_some(), expect, "{last:?} {seen:?}");
        };
        check(None, &committed(1), false);
        check(None, &absent, false);
        check(Some(2), &committed(2), false);
        check(Some(2), &committed(3), false);
        check(Some(2), &committed(1), true);
        check(Some(2), &absent, true);
        check(Some(2), &unreachable, false);
    }
}
