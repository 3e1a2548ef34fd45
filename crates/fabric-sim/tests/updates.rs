//! Config updates and ordinary messages: the simulator's verdicts against those of real orderers.

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

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use prost::Message as _;
use serde_json::Value;
use support::{enough, vectors};
use tenter_fabric_sim::broadcast::{self, Aftermath, Failure, Kind, Orderer, Rejection};
use tenter_fabric_sim::channel::{Bundle, Consensus};
use tenter_fabric_sim::msp::{Identity, Level, LocalMsp, Msp};
use tenter_fabric_sim::x509::SigningKey;
use tenter_fabric_wire::common::{Config, Envelope};
use tenter_fabric_wire::msp::{MspConfig, SerializedIdentity};

/// After the certificates that the recordings call expired had expired.
const NOW: u64 = 1_795_411_800; // 2026-11-23T05:30:00Z

/// Texts that are not those of Fabric, with the reason.
const OTHER_TEXTS: [(&str, &str); 0] = [];

/// What became of a broadcast.
#[derive(Debug, Clone, PartialEq)]
struct Outcome {
    /// `None` where the stream ended without an answer.
    status: Option<i32>,
    texts: Vec<String>,
    config: Option<Config>,
}

fn outcome(status: Option<i32>, texts: Vec<String>) -> Outcome {
    Outcome { status, texts, config: None }
}

fn rejected(rejection: Rejection) -> Outcome {
    let texts = [rejection.info.text].into_iter().chain(rejection.info.alternatives).collect();
    outcome(Some(rejection.status as i32), texts)
}

/// The orderer that the recorded messages were sent to, as far as its signature is concerned.
fn orderer_msp(config: &Config) -> LocalMsp {
    let keys = vectors().join("recorded/throwaway-keys/broadcast");
    let pem = std::fs::read(keys.join("hub-orderer1.cert.pem")).unwrap();
    let serialized = SerializedIdentity { mspid: "HubMSP".to_owned(), id_bytes: pem }.encode_to_vec();
    let org = &config.channel_group.as_ref().unwrap().groups["Orderer"].groups["HubMSP"];
    LocalMsp {
        msp: Msp::from_wire(&MspConfig::decode(&org.values["MSP"].value[..]).unwrap(), Level::V3_0).unwrap(),
        identity: Identity::parse(&serialized).unwrap(),
        serialized,
        key: SigningKey::from_pem(&std::fs::read(keys.join("hub-orderer1.key.pem")).unwrap()).unwrap(),
    }
}

/// Judges a message as an orderer of the case's channel does. `led` says whether there is a leader.
fn judge(case: &str, config: &Config, channel: &str, envelope: &Envelope) -> Outcome {
    let follows = case.starts_with("follower-");
    let classified = broadcast::classify(envelope, |name| !follows && ["rec1", channel].contains(&name));
    let (name, kind) = match classified {
        Ok(found) => found,
        Err(rejection) => return rejected(rejection),
    };
    let bundle = Bundle::new(name, config.clone()).unwrap();
    let consensus = bundle.consensus().unwrap();
    let msp = orderer_msp(config);
    let orderer = Orderer {
        now: NOW,
        expiration_checks: true,
        consensus,
        active: bundle.consenters().unwrap().into_iter().map(|consenter| consenter.client_pem).collect(),
        msp: &msp,
        nonce: [7; 24],
    };
    let accepted = match kind {
        Kind::Normal => match broadcast::judge_normal(&bundle, envelope, &orderer) {
            Ok(()) => None,
            Err(rejection) => return rejected(rejection),
        },
        Kind::ConfigUpdate => match broadcast::judge_update(&bundle, envelope, &orderer) {
            Ok(message) => Some(message),
            Err(Failure::Rejected(rejection)) => return rejected(rejection),
            Err(Failure::Panic(_)) => return outcome(None, Vec::new()),
        },
    };
    if case.starts_with("noquorum-") && consensus == Consensus::Raft {
        return outcome(Some(503), vec!["no Raft leader".to_owned()]);
    }
    let config = accepted.and_then(|message| {
        let next = Bundle::new(bundle.channel.clone(), message.config.clone()).unwrap();
        match broadcast::aftermath(consensus, &bundle, &next) {
            Aftermath::CrashBefore(_) => None,
            _ => Some(message.config),
        }
    });
    Outcome { status: Some(200), texts: vec![String::new()], config }
}

/// Blanks that Go's library puts in at random, and the bytes of the same blank.
fn normal(text: &str) -> String {
    text.replace('\u{a0}', " ").split_whitespace().collect::<Vec<_>>().join(" ")
}

struct Case {
    name: String,
    dir: PathBuf,
    json: Value,
}

impl Case {
    fn text(&self, key: &str) -> &str {
        self.json[key].as_str().unwrap_or_default()
    }

    fn config(&self, key: &str) -> Option<Config> {
        let path = self.dir.join(self.json[key].as_str()?);
        Some(Config::decode(&std::fs::read(path).unwrap()[..]).unwrap())
    }

    fn envelope(&self) -> Envelope {
        Envelope::decode(&std::fs::read(self.dir.join(self.text("envelope"))).unwrap()[..]).unwrap()
    }
}

fn cases(folder: &Path) -> Vec<Case> {
    let mut all: Vec<PathBuf> =
        std::fs::read_dir(folder.join("cases")).unwrap().map(|entry| entry.unwrap().path()).collect();
    all.sort();
    all.into_iter()
        .map(|dir| {
            let json: Value = serde_json::from_slice(&std::fs::read(dir.join("case.json")).unwrap()).unwrap();
            Case { name: json["case"].as_str().unwrap().to_owned(), dir, json }
        })
        .collect()
}

/// What of a case does not come out as recorded.
fn differences(case: &Case) -> Vec<String> {
    let config = case.config("config").unwrap();
    let judged = judge(&case.name, &config, case.text("channel"), &case.envelope());
    let mut wrong = Vec::new();
    let response = &case.json["response"];
    let status = response["status"].as_i64().map(|status| i32::try_from(status).unwrap());
    if judged.status != status {
        wrong.push(format!("{}: status {:?}, judged {judged:?}", case.name, status));
        return wrong;
    }
    let committed = case.json["committed"].as_bool().unwrap();
    if committed != judged.config.is_some() {
        wrong.push(format!("{}: committed {committed}, judged {}", case.name, judged.config.is_some()));
    }
    if committed && judged.config != case.config("config_after") {
        wrong.push(format!("{}: the next configuration is another", case.name));
    }
    let info = normal(response["info"].as_str().unwrap_or_default());
    let known = OTHER_TEXTS.iter().any(|(name, _)| *name == case.name);
    if status.is_some() && !known && !judged.texts.iter().any(|text| normal(text) == info) {
        wrong.push(format!("{}: text\n  {info}\njudged\n  {:#?}", case.name, judged.texts));
    }
    wrong
}

fn check(folder: &str, least: usize) {
    let all = cases(&vectors().join("recorded").join(folder));
    println!("{} cases in {folder}", all.len());
    enough(all.len(), least, "cases");
    let wrong: Vec<String> = all.iter().flat_map(differences).collect();
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn broadcasts_are_judged_as_real_orderers_did() {
    check("broadcast", 170);
}

#[test]
fn identities_are_judged_as_real_orderers_did() {
    check("identities", 160);
}

/// The table of verdicts says the same as the single cases, and every identity that was asked for is there.
#[test]
fn the_table_of_identities_is_complete() {
    let dir = vectors().join("recorded/identities");
    let verdicts: Vec<Value> = serde_json::from_slice(&std::fs::read(dir.join("verdicts.json")).unwrap()).unwrap();
    let all: BTreeMap<String, Case> = cases(&dir).into_iter().map(|case| (case.name.clone(), case)).collect();
    let mut seen = BTreeSet::new();
    for verdict in &verdicts {
        let identity = verdict["identity"].as_str().unwrap();
        let probes = verdict["satisfies"].as_object().unwrap();
        for (probe, satisfied) in probes {
            let case = &all[&format!("{identity}--{probe}")];
            assert_eq!(case.json["response"]["status"] == 200, *satisfied, "{}", case.name);
            seen.insert(case.name.clone());
        }
        if let Some(expected) = verdict.get("as_submitter") {
            let case = &all[&format!("{identity}--submitter")];
            assert_eq!(case.json["response"]["status"], expected["status"], "{}", case.name);
            seen.insert(case.name.clone());
        }
    }
    println!("{} of {} cases are in the table", seen.len(), all.len());
}
