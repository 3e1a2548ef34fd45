//! The block validation policy of a BFT channel, which Fabric computes from the consenters (`common/policies/bft.go`).

use super::{Policy, Principal, SignaturePolicy};
use crate::config::BftConsenter;

/// How many of `consenters` BFT nodes must sign a block: half of nodes, faulty nodes and one, rounded up, where a third
/// of the nodes less one may be faulty.
///
/// ```
/// use tenter_fabric::policy::bft_quorum;
/// assert_eq!([4, 5, 7, 10].map(bft_quorum), [3, 4, 5, 7]);
/// ```
pub fn bft_quorum(consenters: usize) -> usize {
    let faulty = consenters.saturating_sub(1) / 3;
    (consenters + faulty + 1).div_ceil(2)
}

/// The `BlockValidation` policy that Fabric demands, byte by byte, of a channel with these consenters, in this order.
///
/// It must change in the same update as the consenters; the orderers refuse a configuration in which it does not match.
pub fn bft_block_validation(consenters: &[BftConsenter]) -> Policy {
    let quorum = i32::try_from(bft_quorum(consenters.len())).unwrap_or(i32::MAX);
    let identities = consenters
        .iter()
        .map(|consenter| Principal::Identity {
            msp_id: consenter.msp_id.clone(),
            certificate: consenter.identity.clone(),
        })
        .collect();
    Policy::Signature(SignaturePolicy::out_of(quorum, identities))
}
