//! Proposals: what is checked before a chaincode is called (Fabric `core/handlers/auth/filter`,
//! `core/endorser/msgvalidation.go`).

use prost::Message as _;
use sha2::{Digest as _, Sha256};
use tenter_fabric_wire::common::{ChannelHeader, Header, HeaderType, SignatureHeader};
use tenter_fabric_wire::protos::{
    ChaincodeHeaderExtension, ChaincodeInput, ChaincodeInvocationSpec, ChaincodeProposalPayload, Proposal,
    SignedProposal,
};

use super::node::Node;
use crate::channel::SignedData;
use crate::deliver::{check_time, now_seconds};
use crate::msp::{Identity, Msp};
use crate::operations::rfc3339;

/// A proposal taken apart.
#[derive(Debug)]
pub struct Unpacked {
    /// The channel header.
    pub channel: ChannelHeader,
    /// Who proposes.
    pub creator: Vec<u8>,
    nonce: Vec<u8>,
    /// The chaincode's name.
    pub chaincode: String,
    /// Its arguments.
    pub args: Vec<Vec<u8>>,
    /// Arguments, decorations, and whether it is a call of init.
    pub input: ChaincodeInput,
    /// As it came.
    pub envelope: SignedProposal,
    /// The hash that an endorsement covers.
    pub hash: Vec<u8>,
    /// The proposal's bytes and signature, for policies.
    pub signed: SignedData,
}

const WIRE: &str = "proto:\u{a0}cannot parse invalid wire-format data";

fn parse<T: prost::Message + Default>(bytes: &[u8], name: &str) -> Result<T, String> {
    T::decode(bytes).map_err(|_| format!("error unmarshalling {name}: {WIRE}"))
}

/// The filters that come before everything else: expiry, and time window.
pub fn filter(node: &Node, signed: &SignedProposal) -> Result<(), String> {
    let failed = |text: String| format!("failed parsing proposal: {text}");
    let proposal: Proposal = parse(&signed.proposal_bytes, "Proposal").map_err(failed)?;
    let header: Header = parse(&proposal.header, "Header").map_err(|text| format!("failed parsing header: {text}"))?;
    let signature: SignatureHeader = parse(&header.signature_header, "SignatureHeader")
        .map_err(|text| format!("failed parsing signature header: {text}"))?;
    let expired =
        Identity::parse(&signature.creator).is_ok_and(|identity| identity.certificate.not_after() < now_seconds());
    if expired {
        return Err("proposal client identity expired".to_owned());
    }
    let channel: ChannelHeader = parse(&header.channel_header, "ChannelHeader")
        .map_err(|text| format!("failed parsing channel header: {text}"))?;
    let stamp = channel.timestamp.unwrap_or_default();
    check_time(stamp.seconds, stamp.nanos, node.settings.time_window).map_err(|_| {
        format!(
            "request unauthorized due to incorrect timestamp {}, peer time {}, peer.authentication.timewindow {}",
            rfc3339(u64::try_from(stamp.seconds).unwrap_or(0)),
            rfc3339(now_seconds()),
            go_duration(node.settings.time_window.as_secs()),
        )
    })
}

/// Seconds as Go prints a duration.
fn go_duration(seconds: u64) -> String {
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, s) => format!("{s}s"),
        (0, m, s) => format!("{m}m{s}s"),
        (h, m, s) => format!("{h}h{m}m{s}s"),
    }
}

impl Unpacked {
    /// Takes a proposal apart.
    pub fn new(signed: &SignedProposal) -> Result<Self, String> {
        let proposal: Proposal = parse(&signed.proposal_bytes, "Proposal")?;
        let header: Header = parse(&proposal.header, "Header")?;
        let channel: ChannelHeader = parse(&header.channel_header, "ChannelHeader")?;
        let signature: SignatureHeader = parse(&header.signature_header, "SignatureHeader")?;
        let extension: ChaincodeHeaderExtension = parse(&channel.extension, "ChaincodeHeaderExtension")?;
        let chaincode = extension.chaincode_id.ok_or("ChaincodeHeaderExtension.ChaincodeId is nil")?.name;
        if chaincode.is_empty() {
            return Err("ChaincodeHeaderExtension.ChaincodeId.Name is empty".to_owned());
        }
        let payload: ChaincodeProposalPayload = parse(&proposal.payload, "ChaincodeProposalPayload")?;
        let invocation: ChaincodeInvocationSpec = parse(&payload.input, "ChaincodeInvocationSpec")?;
        let spec = invocation.chaincode_spec.ok_or("chaincode invocation spec did not contain chaincode spec")?;
        let input = spec.input.ok_or("chaincode input did not contain any input")?;
        let visible = ChaincodeProposalPayload { input: payload.input, ..ChaincodeProposalPayload::default() };
        let mut hash = Sha256::new();
        hash.update(&header.channel_header);
        hash.update(&header.signature_header);
        hash.update(visible.encode_to_vec());
        Ok(Self {
            channel,
            creator: signature.creator.clone(),
            nonce: signature.nonce,
            chaincode,
            args: input.args.clone(),
            input,
            envelope: signed.clone(),
            hash: hash.finalize().to_vec(),
            signed: SignedData {
                data: signed.proposal_bytes.clone(),
                identity: signature.creator,
                signature: signed.signature.clone(),
            },
        })
    }

    /// Checks it against the MSP that `find` has for the creator: the channel's, or the peer's own.
    pub fn validate<'a>(&self, find: impl FnOnce(&Identity) -> Option<&'a Msp>) -> Result<(), String> {
        let known = [HeaderType::EndorserTransaction as i32, HeaderType::Config as i32];
        if !known.contains(&self.channel.r#type) {
            let name = HeaderType::try_from(self.channel.r#type)
                .map_or_else(|_| self.channel.r#type.to_string(), |kind| kind.as_str_name().to_owned());
            return Err(format!("invalid header type {name}"));
        }
        if self.channel.epoch != 0 {
            return Err("epoch is non-zero".to_owned());
        }
        if self.nonce.is_empty() {
            return Err("nonce is empty".to_owned());
        }
        if self.creator.is_empty() {
            return Err("creator is empty".to_owned());
        }
        let expected = hex::encode(Sha256::digest([&self.nonce[..], &self.creator].concat()));
        if self.channel.tx_id != expected {
            return Err(format!("incorrectly computed txid '{}' -- expected '{expected}'", self.channel.tx_id));
        }
        if self.signed.signature.is_empty() {
            return Err("empty signature bytes".to_owned());
        }
        let channel = &self.channel.channel_id;
        let unknown = || format!("access denied: channel [{channel}] creator org unknown, creator is malformed");
        let identity = Identity::parse(&self.creator).map_err(|_| unknown())?;
        let msp = find(&identity).ok_or_else(unknown)?;
        let denied = || format!("access denied: channel [{channel}] creator org [{}]", identity.msp_id);
        msp.validate(&identity).map_err(|error| {
            tracing::warn!(%error, "identity is not valid");
            denied()
        })?;
        identity.certificate.verify(&self.signed.data, &self.signed.signature).map_err(|reason| {
            tracing::warn!(reason, "creator's signature over the proposal is not valid");
            denied()
        })
    }
}
