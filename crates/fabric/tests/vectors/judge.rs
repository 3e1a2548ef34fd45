//! Signatures and identities, judged as real orderers did.

use std::collections::BTreeMap;

use jiff::Timestamp;
use prost::Message as _;
use tenter_fabric::config::CurrentConfig;
use tenter_fabric::config::update::{ConfigSignature, ConfigUpdate};
use tenter_fabric::identity::serialize;
use tenter_fabric::policy::{Judge, Role, SignedBytes, SubmitterProblem};
use tenter_fabric_wire::{common, msp};

use crate::updates::{Broadcast, broadcasts, open, own_broadcast};
use crate::{enough, json, read, root};

/// A time at which the identities called expired are.
fn now() -> Timestamp {
    "2026-11-23T06:00:00Z".parse().unwrap()
}

/// How far a broadcast comes. Later checks look at the content of the update.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Reached {
    Expired,
    Forbidden,
    Form,
    Signatures,
    Content,
}

/// What the orderer's text says; `None` if it did not look at signatures.
fn recorded(broadcast: &Broadcast) -> Option<Reached> {
    let info = broadcast.info();
    if info == "channel does not exist" {
        return None;
    }
    let found = [
        ("broadcast client identity expired", Reached::Expired),
        ("permission denied", Reached::Forbidden),
        ("error validating DeltaSet: policy for", Reached::Signatures),
        ("error authorizing update", Reached::Form),
    ];
    Some(found.into_iter().find(|(text, _)| info.contains(text)).map_or(Reached::Content, |(_, reached)| reached))
}

fn judged(broadcast: &Broadcast) -> Option<(Reached, String)> {
    let (_, _, inner) = open(&broadcast.envelope)?;
    broadcast.update.as_ref()?;
    let judge = Judge::new(broadcast.current.config());
    let envelope = common::Envelope::decode(broadcast.envelope.as_slice()).unwrap();
    let payload = common::Payload::decode(envelope.payload.as_slice()).unwrap();
    let creator = common::SignatureHeader::decode(payload.header.unwrap().signature_header.as_slice()).unwrap().creator;
    let outer = SignedBytes { data: envelope.payload, identity: creator.clone(), signature: envelope.signature };
    if let Err(SubmitterProblem::Expired { .. }) = judge.may_submit(&creator, now()) {
        return Some((Reached::Expired, String::new()));
    }
    if let Err(failure) = judge.evaluate(judge.writers(), &[outer]) {
        return Some((Reached::Forbidden, failure.to_string()));
    }
    let update = match ConfigUpdate::from_bytes(inner.config_update) {
        Ok(update) => update,
        Err(error) => return Some((Reached::Form, error.to_string())),
    };
    if let Err(refusal) = update.apply(&broadcast.current)
        && !matches!(refusal, tenter_fabric::config::update::UpdateRefusal::Result(_))
    {
        return Some((Reached::Form, refusal.to_string()));
    }
    let signatures: Vec<ConfigSignature> = inner
        .signatures
        .iter()
        .map(|signature| ConfigSignature::from_bytes(&signature.encode_to_vec()).unwrap())
        .collect();
    let verdict = judge.verdict(&broadcast.current, &update, &signatures, &creator, now()).unwrap();
    let text = verdict.to_string();
    let needed = judge.needed_for(&broadcast.current, &update, &verdict.signers);
    let satisfied = verdict.policies.values().all(|policy| policy.failure.is_none());
    assert_eq!(needed.is_satisfied(), satisfied, "{}: {needed}", broadcast.name);
    assert_eq!(needed.missing().is_empty(), satisfied, "{}", broadcast.name);
    if verdict.policies.values().any(|policy| policy.failure.is_some()) {
        return Some((Reached::Signatures, text));
    }
    assert!(verdict.is_satisfied(), "{}: {text}", broadcast.name);
    Some((Reached::Content, text))
}

#[test]
fn broadcasts_come_as_far_as_they_came() {
    let mut seen = BTreeMap::<Reached, usize>::new();
    let (mut wrong, mut left_out) = (Vec::new(), Vec::new());
    let all = broadcasts();
    for broadcast in &all {
        let Some(expected) = recorded(broadcast) else {
            left_out.push(format!("{}: the orderer had no such channel", broadcast.name));
            continue;
        };
        let Some((found, why)) = judged(broadcast) else {
            left_out.push(format!("{}: no config update", broadcast.name));
            continue;
        };
        *seen.entry(expected).or_default() += 1;
        if expected != found {
            wrong.push(format!("{}: {found:?} ({why}) but recorded {}", broadcast.name, broadcast.info()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let judged: usize = seen.values().sum();
    println!("{judged} of {} broadcasts were judged: {seen:?}; the others:\n{}", all.len(), left_out.join("\n"));
    assert!(judged > 9 * left_out.len(), "{judged} were judged, and these were not:\n{}", left_out.join("\n"));
    assert!(seen.len() > 1, "{seen:?}");
}

#[test]
fn signatures_in_order_satisfy_what_they_did_not() {
    let refused = own_broadcast("sigpol-member-admin-admin-first");
    let (_, _, inner) = open(&refused.envelope).unwrap();
    let update = ConfigUpdate::from_bytes(inner.config_update).unwrap();
    let signature = |wire: &common::ConfigSignature| ConfigSignature::from_bytes(&wire.encode_to_vec()).unwrap();
    let signatures: Vec<_> = inner.signatures.iter().map(signature).collect();
    let judge = Judge::new(refused.current.config());
    let (signers, problems) = judge.signers(&update.signed_data(&signatures).unwrap());
    assert_eq!(problems, []);
    let guards = update.guards(&refused.current);
    let paths: Vec<&str> = guards.keys().map(String::as_str).collect();
    assert!(paths.iter().any(|path| judge.evaluate_signers(path, &signers).is_err()));
    let ordered: Vec<_> =
        judge.order(paths.iter().copied(), &signers).into_iter().map(|place| signers[place].clone()).collect();
    for path in paths {
        judge.evaluate_signers(path, &ordered).unwrap();
    }
}

#[test]
fn identities_are_what_orderers_found() {
    let folder = root().join("recorded/identities");
    let configs = std::fs::read_dir(folder.join("configs")).unwrap().map(|entry| entry.unwrap().path());
    let with_list = configs
        .map(|path| CurrentConfig::from_bytes("id1", &read(path)).unwrap())
        .find(|current| current.config().sequence > 0)
        .unwrap();
    let judge = Judge::new(with_list.config());
    assert_eq!(judge.msp_problems(), []);
    let mut checked = 0;
    for entry in json(folder.join("verdicts.json")).as_array().unwrap() {
        let name = entry["identity"].as_str().unwrap();
        let id_bytes = read(folder.join(entry["cert"].as_str().unwrap()));
        let identity = msp::SerializedIdentity { mspid: entry["mspid"].as_str().unwrap().to_owned(), id_bytes };
        let found = judge.identify(&identity.encode_to_vec());
        for (principal, expected) in entry["satisfies"].as_object().unwrap() {
            let role = match principal.as_str() {
                "member" => Role::Member,
                "admin" => Role::Admin,
                "client" => Role::Client,
                "peer" => Role::Peer,
                "orderer" => Role::Orderer,
                // No roles: judged with the policies of the broadcasts.
                "identity" | "ou" => continue,
                other => panic!("{name}: principal {other:?} is not known here"),
            };
            let known = found.as_ref().ok().filter(|known| known.msp_id == "AcmeMSP");
            let has = known.is_some_and(|known| known.roles.contains(&role));
            assert_eq!(Some(has), expected.as_bool(), "{name} {principal}: {found:?}");
            checked += 1;
        }
        let result = judge.may_submit(&identity.encode_to_vec(), now());
        let status = match &result {
            Ok(_) => 200,
            Err(SubmitterProblem::Expired { .. }) => 400,
            Err(_) => 403,
        };
        assert_eq!(Some(status), entry["as_submitter"]["status"].as_u64(), "{name}: {result:?}");
    }
    enough(checked, 51, "identities");
}

#[test]
fn rubbish_is_nobody() {
    let current = own_broadcast("app-two-of-three").current;
    let judge = Judge::new(current.config());
    for identity in [Vec::new(), vec![0xff; 5], serialize("AcmeMSP", ""), serialize("AcmeMSP", "-----BEGIN ")] {
        judge.identify(&identity).unwrap_err();
    }
    let error = judge.evaluate("/Channel/Nothing", &[]).unwrap_err();
    assert_eq!(error.to_string(), "there is no policy /Channel/Nothing");
}
