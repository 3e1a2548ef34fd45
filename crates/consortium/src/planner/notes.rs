//! What a reader of a plan must know beside its steps.

use serde_json::Value;

use super::Planner;
use crate::network::{Retired, RetiredTarget};
use crate::objects::{Kind, ObjectRef};
use crate::observation::Observation;
use crate::observed::LiveObject;
use crate::plan::NoteLevel;
use crate::settings::organization_allowed;

impl Planner<'_> {
    /// What could not be seen.
    pub(super) fn note_observations(&mut self) {
        for kind in Kind::ALL {
            if let Some(observation @ (Observation::Forbidden { evidence } | Observation::Unreachable { evidence })) =
                self.observed.kinds.get(&kind)
            {
                let code = if observation.word() == "forbidden" { "Forbidden" } else { "Unreachable" };
                let message = format!("they could not be listed, so nothing of this kind is planned: {evidence}");
                self.note(NoteLevel::Error, code, format!("objects of kind {kind}"), message);
            }
        }
        for (name, channel) in &self.observed.channels {
            if let Observation::Forbidden { evidence } | Observation::Unreachable { evidence } = &channel.config {
                let code = if channel.config.word() == "forbidden" { "Forbidden" } else { "Unreachable" };
                let message = format!("its live configuration could not be read, so it was not compared: {evidence}");
                self.note(NoteLevel::Warning, code, format!("channel {name}"), message);
            }
        }
    }

    /// What the definition asks for and this plan does not do.
    pub(super) fn note_definition(&mut self) {
        for refusal in &self.desired.refusals {
            self.note(NoteLevel::Error, "NotAllowed", &refusal.subject, &refusal.message);
        }
        for retired in &self.desired.retired {
            let left = self.observed.objects.iter().filter(|(object, live)| retires(retired, object, live));
            // Memberships, chaincodes and nodes are taken away by steps of their own.
            let (parts, rest): (Vec<_>, Vec<_>) =
                left.partition(|(object, live)| self.leaves_by_steps(retired, object, live));
            let message = if !rest.is_empty() {
                let rest: Vec<String> = rest.iter().map(|(object, _)| object.to_string()).collect();
                format!(
                    "line {}: these are left as they are: {}; taking them away is not carried out by this version, and keys are never \
                     deleted",
                    retired.origin.line,
                    rest.join(", ")
                )
            } else if parts.is_empty() {
                "nothing of it is left: the entry of spec.retired can go".to_owned()
            } else {
                continue;
            };
            self.note(NoteLevel::Info, "Retired", retired.target.to_string(), message);
        }
    }

    /// Whether an object that the file releases goes by steps of the plan.
    fn leaves_by_steps(&self, retired: &Retired, object: &ObjectRef, live: &LiveObject) -> bool {
        match object.kind {
            Kind::Membership => matches!(retired.target, RetiredTarget::Organization(_) | RetiredTarget::Member(..)),
            Kind::Chaincode => matches!(retired.target, RetiredTarget::Chaincode(..)),
            Kind::Orderer | Kind::Peer => live.deleting || self.leaves_as_node(object, live),
            _ => false,
        }
    }

    /// Live objects that the file no longer names. Nothing is deleted because a line is gone.
    pub(super) fn note_orphans(&mut self) {
        for (object, live) in &self.observed.objects {
            let known = self.desired.objects.contains_key(object)
                || self.desired.retired.iter().any(|retired| retires(retired, object, live));
            if known || !self.governs(object, live) {
                continue;
            }
            let ledger = match object.kind {
                Kind::Chaincode => "",
                _ => " with what becomes of its ledger (keep, snapshotThenDelete or delete)",
            };
            let stays = match object.kind {
                Kind::Organization | Kind::CertificateAuthority | Kind::Channel => {
                    "; that says that it is meant, and leaves this object as it is"
                }
                _ => "",
            };
            let message = format!(
                "it is live and the definition does not name it. Nothing is deleted: put it back into the file, or add \
                 `- {}` to spec.retired{ledger}{stays}",
                release(object, live)
            );
            self.note(NoteLevel::Warning, "Orphan", object.to_string(), message);
        }
    }

    /// Whether an object that the file does not name would be this daemon's to name.
    pub(super) fn governs(&self, object: &ObjectRef, live: &LiveObject) -> bool {
        match owner(object, live) {
            None if object.kind == Kind::Chaincode => !self.desired.all_chaincodes.contains(&chaincode_key(live)),
            None => object.kind == Kind::Channel && !self.desired.all_channels.contains(&object.name),
            Some(organization) => {
                let elsewhere = self.desired.all_organizations.contains(organization)
                    && !self.desired.organizations.contains(organization);
                !elsewhere && organization_allowed(organization, &self.desired.scope)
            }
        }
    }
}

pub(super) fn field<'a>(live: &'a LiveObject, name: &str) -> Option<&'a str> {
    live.spec.get(name).and_then(Value::as_str)
}

/// The organization that an object belongs to.
fn owner<'a>(object: &'a ObjectRef, live: &'a LiveObject) -> Option<&'a str> {
    match object.kind {
        Kind::Organization => Some(&object.name),
        Kind::Channel | Kind::Chaincode => None,
        Kind::CertificateAuthority | Kind::Orderer | Kind::Peer | Kind::Membership => field(live, "organization"),
    }
}

/// Whether an entry of `spec.retired` covers a live object.
pub(super) fn retires(retired: &Retired, object: &ObjectRef, live: &LiveObject) -> bool {
    let owner = owner(object, live);
    match &retired.target {
        RetiredTarget::Organization(name) => owner == Some(name),
        RetiredTarget::Orderer(organization, name) => {
            object.kind == Kind::Orderer && owner == Some(organization) && object.name == *name
        }
        RetiredTarget::Peer(organization, name) => {
            object.kind == Kind::Peer && owner == Some(organization) && object.name == *name
        }
        RetiredTarget::Channel(name) => {
            (object.kind == Kind::Channel && object.name == *name)
                || (matches!(object.kind, Kind::Membership | Kind::Chaincode) && field(live, "channel") == Some(name))
        }
        RetiredTarget::Member(channel, organization) => {
            object.kind == Kind::Membership && owner == Some(organization) && field(live, "channel") == Some(channel)
        }
        RetiredTarget::Chaincode(channel, name) => {
            object.kind == Kind::Chaincode
                && field(live, "channel") == Some(channel)
                && field(live, "name") == Some(name)
        }
    }
}

/// A live chaincode as the file names it: `channel/chaincode`.
pub(super) fn chaincode_key(live: &LiveObject) -> String {
    format!("{}/{}", field(live, "channel").unwrap_or_default(), field(live, "name").unwrap_or_default())
}

/// The entry of `spec.retired` that would cover a live object.
fn release(object: &ObjectRef, live: &LiveObject) -> String {
    let organization = owner(object, live).unwrap_or_default();
    let name = &object.name;
    match object.kind {
        Kind::Organization | Kind::CertificateAuthority => format!("organization: {organization}"),
        Kind::Orderer => format!("orderer: {organization}/{name}"),
        Kind::Peer => format!("peer: {organization}/{name}"),
        Kind::Channel => format!("channel: {name}"),
        Kind::Chaincode => format!("chaincode: {}", chaincode_key(live)),
        Kind::Membership => format!("member: {}/{organization}", field(live, "channel").unwrap_or(name)),
    }
}
