//! Who satisfies which principal: the simulator's MSP against what real orderers decided.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::format_push_string,
    clippy::similar_names,
    clippy::unnecessary_wraps,
    clippy::zero_sized_map_values,
    clippy::too_many_lines,
    reason = "helpers of tests fail loudly; each test uses another part of them"
)]

mod support;

use prost::Message as _;
use serde_json::Value;
use support::{enough, vectors};
use tenter_fabric_sim::msp::{Identity, Level, Msp};
use tenter_fabric_wire::common::msp_principal::Classification;
use tenter_fabric_wire::common::msp_role::MspRoleType;
use tenter_fabric_wire::common::{Config, MspPrincipal, MspRole, OrganizationUnit};
use tenter_fabric_wire::msp::{MspConfig, SerializedIdentity};

fn principal(kind: &str, admin: &[u8]) -> MspPrincipal {
    let role = |role: MspRoleType| MspPrincipal {
        principal_classification: Classification::Role as i32,
        principal: MspRole { msp_identifier: "AcmeMSP".to_owned(), role: role as i32 }.encode_to_vec(),
    };
    match kind {
        "member" => role(MspRoleType::Member),
        "admin" => role(MspRoleType::Admin),
        "client" => role(MspRoleType::Client),
        "peer" => role(MspRoleType::Peer),
        "orderer" => role(MspRoleType::Orderer),
        "identity" => {
            MspPrincipal { principal_classification: Classification::Identity as i32, principal: admin.to_vec() }
        }
        "ou" => MspPrincipal {
            principal_classification: Classification::OrganizationUnit as i32,
            principal: OrganizationUnit {
                msp_identifier: "AcmeMSP".to_owned(),
                organizational_unit_identifier: "sales".to_owned(),
                certifiers_identifier: Vec::new(),
            }
            .encode_to_vec(),
        },
        other => panic!("unknown principal {other}"),
    }
}

fn serialized(msp_id: &str, certificate: &[u8]) -> Vec<u8> {
    SerializedIdentity { mspid: msp_id.to_owned(), id_bytes: certificate.to_vec() }.encode_to_vec()
}

#[test]
fn verdicts_are_those_of_real_orderers() {
    let dir = vectors().join("recorded/identities");
    let config = Config::decode(&std::fs::read(dir.join("configs/id1-1.pb")).unwrap()[..]).unwrap();
    let org = &config.channel_group.unwrap().groups["Application"].groups["AcmeMSP"];
    let outer = MspConfig::decode(&org.values["MSP"].value[..]).unwrap();
    let msp = Msp::from_wire(&outer, Level::V3_0).unwrap();
    let verdicts: Vec<Value> = serde_json::from_slice(&std::fs::read(dir.join("verdicts.json")).unwrap()).unwrap();
    let admin = serialized("AcmeMSP", &std::fs::read(dir.join("certs/acme-admin.pem")).unwrap());
    let mut judged = 0;
    let mut wrong = Vec::new();
    for verdict in &verdicts {
        let certificate = std::fs::read(dir.join(verdict["cert"].as_str().unwrap())).unwrap();
        let identity = Identity::parse(&serialized(verdict["mspid"].as_str().unwrap(), &certificate));
        for (kind, expected) in verdict["satisfies"].as_object().unwrap() {
            let satisfied = identity.as_ref().is_ok_and(|identity| {
                identity.msp_id == msp.id && msp.satisfies(identity, &principal(kind, &admin)).is_ok()
            });
            judged += 1;
            if Some(satisfied) != expected.as_bool() {
                wrong.push(format!("{} {kind}: recorded {expected}, judged {satisfied}", verdict["identity"]));
            }
        }
    }
    println!("{judged} verdicts");
    enough(judged, 100, "verdicts");
    assert!(wrong.is_empty(), "{wrong:#?}");
}
