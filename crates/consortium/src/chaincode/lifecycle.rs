//! Who must approve a definition before it can be committed: the channel's `LifecycleEndorsement` policy.

use std::collections::BTreeSet;

use tenter_fabric::config::ChannelConfig;
use tenter_fabric::policy::{Judge, Role, Signer};

use crate::channel_config::policy_config;
use crate::objects::ChannelSpec;
use crate::plan::{Passing, Signing};

/// Path of the policy.
pub const LIFECYCLE_ENDORSEMENT: &str = "/Channel/Application/LifecycleEndorsement";
/// Its name at the application level.
const NAME: &str = "LifecycleEndorsement";

/// The policy that a commit must satisfy: by endorsements of peers whose organizations approved the same definition
/// (`core/chaincode/lifecycle/lifecycle.go`).
#[derive(Debug)]
pub struct LifecyclePolicy {
    judge: Judge,
    /// The members, where the channel has no such policy: then it takes a majority of them.
    majority_of: Option<BTreeSet<String>>,
}

/// How a policy is met by those who approve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lifecycle {
    /// What it asks for, in words: `2 of AcmeMSP, GlobexMSP and InitechMSP (peer)`.
    pub required: String,
    /// MSP IDs of as few organizations as are enough, whose peers endorse the commit; `None` if those who approve are not
    /// enough.
    pub endorsers: Option<BTreeSet<String>>,
}

impl LifecyclePolicy {
    /// The policy of a live channel.
    pub fn live(config: &ChannelConfig) -> Self {
        let members = || config.application.organizations.values().map(|member| member.msp.msp_id.clone()).collect();
        let majority_of = (!config.application.policies.contains_key(NAME)).then(members);
        Self { judge: Judge::new(config), majority_of }
    }

    /// The policy of a channel that is not live yet.
    pub fn of_spec(spec: &ChannelSpec) -> Result<Self, String> {
        policy_config(spec).map(|config| Self::live(&config))
    }

    /// How it is met if these organizations, by MSP ID, approve and endorse.
    pub fn met_by(&self, approving: &BTreeSet<String>) -> Lifecycle {
        if let Some(members) = &self.majority_of {
            let needed = members.len() / 2 + 1;
            let able: BTreeSet<String> = approving.intersection(members).take(needed).cloned().collect();
            let names: Vec<&str> = members.iter().map(String::as_str).collect();
            return Lifecycle {
                required: format!("{needed} of {}", names.join(", ")),
                endorsers: (able.len() == needed).then_some(able),
            };
        }
        let requirement = self.judge.needed([LIFECYCLE_ENDORSEMENT], &[]);
        let peer = |msp_id: &String| Signer { msp_id: msp_id.clone(), role: Role::Peer };
        let chosen = requirement.choose(&approving.iter().map(peer).collect());
        Lifecycle {
            required: requirement.to_string(),
            endorsers: chosen.map(|signers| signers.into_iter().map(|signer| signer.msp_id).collect()),
        }
    }
}

impl Lifecycle {
    /// Who must approve, who of this daemon's organizations does, and who is waited for, as plans show it. `elsewhere` are
    /// names of members of other daemons that have not approved.
    /// `signed` are MSP IDs of those that have approved already.
    pub fn signing(&self, own: &BTreeSet<String>, signed: &BTreeSet<String>, elsewhere: &[String]) -> Signing {
        let missing = self.endorsers.is_none().then(|| {
            if elsewhere.is_empty() {
                format!("{}, of which too few can approve", self.required)
            } else {
                format!("{}, so it waits for {}", self.required, elsewhere.join(", "))
            }
        });
        let passes = match (&self.endorsers, elsewhere) {
            (Some(_), _) => Passing::Yes,
            (None, [_, ..]) => Passing::WithOthers,
            (None, []) => Passing::No { why: "too few members can approve".to_owned() },
        };
        Signing {
            required: self.required.clone(),
            own: own.iter().cloned().collect(),
            missing,
            signed: signed.iter().cloned().collect(),
            passes: Some(passes),
        }
    }
}
