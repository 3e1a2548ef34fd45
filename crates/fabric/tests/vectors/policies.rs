//! The policy language and the BFT block validation policy, byte by byte.

use tenter_fabric::config::BftConsenter;
use tenter_fabric::msp::Pem;
use tenter_fabric::policy::{Policy, SignaturePolicy, bft_block_validation, bft_quorum};
use tenter_fabric_wire::common;

use crate::{cases, json, read, root};

#[test]
fn texts_give_fabrics_bytes_or_are_refused() {
    let folder = root().join("recorded/policy-dsl");
    let index = json(folder.join("index.json"));
    let cases = index.as_array().unwrap();
    assert!(!cases.is_empty(), "no recorded policy");
    for case in cases {
        let text = case["policy"].as_str().unwrap();
        let parsed = text.parse::<SignaturePolicy>();
        let Some(envelope) = case["envelope_hex"].as_str() else {
            assert!(parsed.is_err(), "Fabric refuses `{text}`: {}", case["error"]);
            continue;
        };
        let policy = parsed.unwrap_or_else(|error| panic!("`{text}`: {error}"));
        assert_eq!(hex::encode(policy.to_bytes()), envelope, "`{text}`");
        let again: SignaturePolicy = policy.to_string().parse().unwrap();
        assert_eq!(again, policy, "`{text}` is displayed as `{policy}`");
    }
}

#[test]
fn bft_block_validation_is_what_fabric_computes() {
    for case in cases("recorded/policy-dsl/bft") {
        let orderers: common::Orderers = prost::Message::decode(read(case.join("orderers.pb")).as_slice()).unwrap();
        let consenters: Vec<BftConsenter> = orderers
            .consenter_mapping
            .into_iter()
            .map(|consenter| BftConsenter {
                id: consenter.id,
                host: consenter.host,
                port: u16::try_from(consenter.port).unwrap(),
                msp_id: consenter.msp_id,
                identity: Pem::new(consenter.identity),
                client_tls_cert: Pem::new(consenter.client_tls_cert),
                server_tls_cert: Pem::new(consenter.server_tls_cert),
            })
            .collect();
        let Policy::Signature(policy) = bft_block_validation(&consenters) else {
            panic!("not a signature policy");
        };
        assert_eq!(policy.to_bytes(), read(case.join("policy-value.pb")), "{}", case.display());
    }
}

#[test]
fn bft_quorums() {
    let index = json(root().join("recorded/policy-dsl/bft/index.json"));
    for case in index.as_array().unwrap() {
        let count = usize::try_from(case["consenters"].as_u64().unwrap()).unwrap();
        assert_eq!(Some(bft_quorum(count) as u64), case["quorum"].as_u64(), "{count} consenters");
    }
}
