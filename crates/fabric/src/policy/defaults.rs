//! Policies for channels that do not name their own, as Fabric's sample profiles have them.

use std::collections::BTreeMap;

use super::{ImplicitMeta, Policy, Principal, Role, Rule, SignaturePolicy};

/// Policies by name.
pub type Policies = BTreeMap<String, Policy>;

fn implicit(rule: Rule, sub_policy: &str) -> Policy {
    Policy::ImplicitMeta(ImplicitMeta { rule, sub_policy: sub_policy.to_owned() })
}

fn any_role(msp_id: &str, roles: &[Role]) -> Policy {
    Policy::Signature(SignaturePolicy::out_of(1, roles.iter().map(|role| Principal::role(msp_id, *role)).collect()))
}

fn named<const N: usize>(policies: [(&str, Policy); N]) -> Policies {
    policies.map(|(name, policy)| (name.to_owned(), policy)).into()
}

/// For the channel: Readers and Writers are any organisation's, Admins the majority of the groups' administrators.
pub fn channel() -> Policies {
    named([
        ("Readers", implicit(Rule::Any, "Readers")),
        ("Writers", implicit(Rule::Any, "Writers")),
        ("Admins", implicit(Rule::Majority, "Admins")),
    ])
}

/// For the ordering service; BFT replaces `BlockValidation` (see [`super::bft_block_validation`]).
pub fn orderer() -> Policies {
    let mut policies = channel();
    policies.insert("BlockValidation".to_owned(), implicit(Rule::Any, "Writers"));
    policies
}

/// For the application: most organisations endorse and agree to chaincode.
pub fn application() -> Policies {
    let mut policies = channel();
    policies.insert("Endorsement".to_owned(), implicit(Rule::Majority, "Endorsement"));
    policies.insert("LifecycleEndorsement".to_owned(), implicit(Rule::Majority, "Endorsement"));
    policies
}

/// For an organisation that runs orderers.
pub fn orderer_organization(msp_id: &str) -> Policies {
    named([
        ("Readers", any_role(msp_id, &[Role::Member])),
        ("Writers", any_role(msp_id, &[Role::Member])),
        ("Admins", any_role(msp_id, &[Role::Admin])),
    ])
}

/// For an organisation that runs peers; needs `NodeOUs` in its MSP.
pub fn application_organization(msp_id: &str) -> Policies {
    named([
        ("Readers", any_role(msp_id, &[Role::Admin, Role::Peer, Role::Client])),
        ("Writers", any_role(msp_id, &[Role::Admin, Role::Client])),
        ("Admins", any_role(msp_id, &[Role::Admin])),
        ("Endorsement", any_role(msp_id, &[Role::Peer])),
    ])
}
