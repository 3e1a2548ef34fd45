//! Who may call what (Fabric `core/aclmgmt`, `core/policy/policy.go`).

use tenter_fabric_wire::common::msp_role::MspRoleType;

use super::system::Context;
use crate::channel::{Bundle, SignedData};

const READERS: &str = "/Channel/Application/Readers";
const WRITERS: &str = "/Channel/Application/Writers";

/// Who decides.
enum Guard {
    /// The peer's own organisation.
    Local(MspRoleType),
    /// A policy of the channel, unless the configuration names another.
    Channel(&'static str),
}

fn guard(resource: &str) -> Option<Guard> {
    Some(match resource {
        "_lifecycle/InstallChaincode"
        | "_lifecycle/QueryInstalledChaincode"
        | "_lifecycle/QueryInstalledChaincodes"
        | "_lifecycle/GetInstalledChaincodePackage"
        | "_lifecycle/ApproveChaincodeDefinitionForMyOrg"
        | "_lifecycle/QueryApprovedChaincodeDefinition"
        | "_lifecycle/QueryApprovedChaincodeDefinitions"
        | "cscc/JoinChain"
        | "cscc/JoinChainBySnapshot"
        | "cscc/JoinBySnapshotStatus" => Guard::Local(MspRoleType::Admin),
        "cscc/GetChannels" => Guard::Local(MspRoleType::Member),
        "_lifecycle/CommitChaincodeDefinition"
        | "_lifecycle/QueryChaincodeDefinition"
        | "_lifecycle/QueryChaincodeDefinitions"
        | "_lifecycle/CheckCommitReadiness"
        | "peer/Propose"
        | "peer/ChaincodeToChaincode" => Guard::Channel(WRITERS),
        "qscc/GetChainInfo"
        | "qscc/GetBlockByNumber"
        | "qscc/GetBlockByHash"
        | "qscc/GetTransactionByID"
        | "qscc/GetBlockByTxID"
        | "cscc/GetConfigBlock"
        | "cscc/GetChannelConfig"
        | "gateway/CommitStatus" => Guard::Channel(READERS),
        _ => return None,
    })
}

/// Whether the proposal's creator may use a resource; the text says why not.
pub fn check(context: &Context<'_>, resource: &str, channel: &str) -> Result<(), String> {
    match guard(resource).ok_or_else(|| format!("Unmapped policy for {resource}"))? {
        Guard::Local(role) => context.local(role),
        Guard::Channel(policy) if channel.is_empty() => Err(format!(
            "Failed getting local MSP principal during channelless check policy with policy [{policy}]: [MSP Principal role [{policy}] not recognized]"
        )),
        Guard::Channel(policy) => {
            let found = context
                .channels
                .get(channel)
                .ok_or_else(|| format!("Failed to get policy manager for channel [{channel}]"))?;
            by_policy(&found.bundle(), resource, policy, &context.proposal.signed)
        }
    }
}

/// The same for a signature over something else than a proposal, where the channel decides.
pub fn check_signed(bundle: &Bundle, resource: &str, signed: &SignedData) -> Result<(), String> {
    match guard(resource) {
        Some(Guard::Channel(policy)) => by_policy(bundle, resource, policy, signed),
        _ => Err(format!("Unmapped policy for {resource}")),
    }
}

fn by_policy(bundle: &Bundle, resource: &str, policy: &str, signed: &SignedData) -> Result<(), String> {
    let signed = std::slice::from_ref(signed);
    let Some(named) = bundle.acl(resource) else {
        return bundle.evaluate(policy, signed).map_err(|text| {
            format!(
                "Failed evaluating policy on signed data during check policy on channel [{}] with policy [{policy}]: [{text}]",
                bundle.channel
            )
        });
    };
    let failed =
        |text: String| format!("failed evaluating policy on signed data during check policy [{named}]: [{text}]");
    if !bundle.has_policy(&named) {
        return Err(failed(format!("policy {named} not found")));
    }
    bundle.evaluate(&named, signed).map_err(failed)
}
