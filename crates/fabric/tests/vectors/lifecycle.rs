//! Chaincode packages, definitions, calls and transactions, as real peers took and answered them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use prost::Message;
use serde_json::Value;
use tenter_fabric::block::Block;
use tenter_fabric::chaincode::lifecycle::{self, LifecycleCall, Refusal};
use tenter_fabric::chaincode::transaction::{EndorsedError, assemble};
use tenter_fabric::chaincode::{
    Call, Definition, DefinitionProblem, Endorsed, Endorsement, Package, PackageId, SignedCall, ValidationCode,
    transactions,
};
use tenter_fabric::identity::SigningIdentity;
use tenter_fabric::keys::SecretKey;
use tenter_fabric_wire::common::{Envelope, Header, Payload, SignatureHeader};
use tenter_fabric_wire::lifecycle::InstallChaincodeArgs;
use tenter_fabric_wire::protos::{ChaincodeActionPayload, Proposal, SignedProposal, Transaction};

use crate::{enough, json, read, root};

const NAME: &str = "simple";
const CHANNEL: &str = "cc1";

/// A recorded step: a proposal or a transaction.
struct Case {
    name: String,
    folder: PathBuf,
    json: Value,
}

impl Case {
    fn all(kind: &str) -> Vec<Self> {
        let folder = root().join("recorded/lifecycle");
        let index = json(folder.join("index.json"));
        let entries = index.as_array().unwrap().iter().filter(|entry| entry["kind"] == kind);
        let cases: Vec<_> = entries
            .map(|entry| {
                let name = entry["case"].as_str().unwrap().to_owned();
                let folder = folder.join("cases").join(&name);
                Self { json: json(folder.join("case.json")), folder, name }
            })
            .collect();
        assert!(!cases.is_empty(), "no case of the kind {kind}");
        cases
    }

    /// Those whose requests are kept.
    fn proposals() -> Vec<Self> {
        let cases = Self::all("proposal").into_iter();
        cases.filter(|case| case.folder.join("signed_proposal.pb").is_file()).collect()
    }

    fn named(name: &str) -> Self {
        Self::all("proposal").into_iter().find(|case| case.name == name).unwrap()
    }

    fn file(&self, name: &str) -> Vec<u8> {
        read(self.folder.join(name))
    }

    fn function(&self) -> &str {
        self.json["function"].as_str().unwrap_or_default()
    }

    fn status(&self) -> Option<u64> {
        self.json["response"]["status"].as_u64()
    }

    fn message(&self) -> &str {
        self.json["response"]["message"].as_str().unwrap_or_default()
    }

    fn signed(&self) -> SignedCall {
        SignedCall::from_bytes(&self.file("signed_proposal.pb"))
            .unwrap_or_else(|error| panic!("{}: {error}", self.name))
    }

    /// The payload of a successful answer; a peer leaves out what is empty.
    fn payload(&self) -> Vec<u8> {
        assert_eq!(self.status(), Some(200), "{}", self.name);
        if self.json["response"]["payload"].is_string() { self.file("payload.bin") } else { Vec::new() }
    }
}

/// The recorded package's id.
fn package_id() -> PackageId {
    json(root().join("recorded/lifecycle/package/package.json"))["package_id"].as_str().unwrap().parse().unwrap()
}

/// What was approved and committed in the recording.
fn definition() -> Definition {
    Definition { init_required: true, ..Definition::new(NAME, "1") }
}

fn mspids() -> BTreeSet<String> {
    ["HubMSP", "AcmeMSP", "GlobexMSP", "InitechMSP"].map(str::to_owned).into()
}

#[test]
fn the_package_has_the_id_that_peers_gave_it() {
    let folder = root().join("recorded/lifecycle/package");
    let about = json(folder.join("package.json"));
    let package = Package::read(read(folder.join(about["file"].as_str().unwrap()))).unwrap();
    assert_eq!(package.id().to_string(), about["package_id"].as_str().unwrap());
    assert_eq!((package.label().as_str(), package.kind()), (about["label"].as_str().unwrap(), "ccaas"));
    let install = Case::named("lc-install");
    assert_eq!(lifecycle::install_call(&package).args, install.signed().call().args);
    assert_eq!(lifecycle::read_install(&install.payload()).unwrap(), *package.id());
}

/// Peers take what is taken here. They refuse the rest, but for the package with a file too many.
#[test]
fn packages_are_taken_and_refused_as_peers_do() {
    let mut seen = 0;
    for case in Case::proposals().into_iter().filter(|case| case.function() == "InstallChaincode") {
        let args = case.signed().call().args[1].clone();
        let Ok(args) = InstallChaincodeArgs::decode(args.as_slice()) else {
            assert_ne!(case.status(), Some(200), "{}", case.name);
            continue;
        };
        let taken = Package::read(args.chaincode_install_package);
        let refused = case.message().contains("could not parse as a chaincode install package");
        let stricter = case.name == "lc-install-extra-file";
        assert_eq!(taken.is_err(), refused || stricter, "{}: {taken:?}, {}", case.name, case.message());
        seen += 1;
    }
    enough(seen, 9, "packages");
}

/// Whatever was sent is read, and written again as it was.
#[test]
fn calls_are_written_as_they_were_sent() {
    let mut seen = 0;
    for case in Case::proposals() {
        let signed = case.signed();
        let recorded = case.file("signed_proposal.pb");
        assert_eq!(signed.to_bytes(), recorded, "{}", case.name);
        assert_eq!(Some(signed.tx_id()), case.json["tx_id"].as_str(), "{}", case.name);
        let call = signed.call();
        assert_eq!(Some(call.channel.as_str()), case.json["channel"].as_str(), "{}", case.name);
        assert_eq!(call.function(), format!("{}.{}", case.json["chaincode"].as_str().unwrap(), case.function()));
        // Everything except for time and nonce follows from the call and its caller.
        let Some(identity) = identity(&case.json["identity"]) else { continue };
        let proposal = |bytes: &[u8]| {
            let signed = SignedProposal::decode(bytes).unwrap();
            Proposal::decode(signed.proposal_bytes.as_slice()).unwrap()
        };
        let (was, time) = (proposal(&recorded), "2026-11-23T05:10:00Z".parse().unwrap());
        let header = Header::decode(was.header.as_slice()).unwrap();
        let nonce = SignatureHeader::decode(header.signature_header.as_slice()).unwrap().nonce;
        let again = SignedCall::new(call, &identity, nonce.try_into().unwrap(), time).unwrap();
        assert_eq!(again.tx_id(), signed.tx_id(), "{}", case.name);
        assert_eq!(proposal(&again.to_bytes()).payload, was.payload, "{}", case.name);
        seen += 1;
    }
    enough(seen, 60, "calls");
}

/// The identity of a case, if its key is kept.
fn identity(about: &Value) -> Option<SigningIdentity> {
    let folder = root().join("recorded/throwaway-keys/broadcast");
    let name = about["identity"].as_str().unwrap();
    let [cert, key] = ["cert", "key"].map(|kind| std::fs::read_to_string(folder.join(format!("{name}.{kind}.pem"))));
    let key = SecretKey::from_pem(key.ok()?);
    Some(SigningIdentity::load(about["mspid"].as_str().unwrap(), &cert.ok()?, &key).unwrap())
}

/// Each recorded approval and commit, of its parts alone.
#[test]
fn requests_of_definitions_have_fabrics_bytes() {
    let mut seen = BTreeMap::<&str, usize>::new();
    for case in Case::proposals() {
        let signed = case.signed();
        let call = signed.call();
        let (again, kind) = match LifecycleCall::of(call).unwrap() {
            Some(LifecycleCall::Approve { definition, sequence, package }) => {
                (lifecycle::approve_call(CHANNEL, &definition, sequence, package.as_ref()), "approve")
            }
            Some(LifecycleCall::Commit { definition, sequence }) => {
                (lifecycle::commit_call(CHANNEL, &definition, sequence), "commit")
            }
            None => continue,
        };
        *seen.entry(kind).or_default() += 1;
        check_request(&case, call, &again);
    }
    assert!(seen["approve"] >= 20 && seen["commit"] >= 4, "{seen:?}");
}

/// What the recording left out is filled in as a peer would; all that is there must be the same.
fn check_request(case: &Case, recorded: &Call, again: &Call) {
    use tenter_fabric_wire::lifecycle::ApproveChaincodeDefinitionForMyOrgArgs as Args;
    assert_eq!(recorded.args[0], again.args[0], "{}", case.name);
    // Both messages have the same fields, but for the package.
    let [recorded, again] = [recorded, again].map(|call| Args::decode(call.args[1].as_slice()).unwrap());
    let or = |text: &String, default: &str| if text.is_empty() { default.to_owned() } else { text.clone() };
    let filled = Args {
        endorsement_plugin: or(&recorded.endorsement_plugin, "escc"),
        validation_plugin: or(&recorded.validation_plugin, "vscc"),
        validation_parameter: if recorded.validation_parameter.is_empty() {
            Endorsement::default().validation_parameter()
        } else {
            recorded.validation_parameter.clone()
        },
        ..recorded
    };
    assert_eq!(again, filled, "{}", case.name);
}

/// Peers refuse for its content exactly what the checks find fault with.
#[test]
fn definitions_are_refused_as_peers_do() {
    let mut refused = 0;
    for case in Case::proposals() {
        let Some(LifecycleCall::Approve { definition, .. } | LifecycleCall::Commit { definition, .. }) =
            LifecycleCall::of(case.signed().call()).unwrap()
        else {
            continue;
        };
        let problems = definition.check(&mspids(), None);
        let by_peer = case.message().contains("error validating chaincode definition");
        assert_eq!(!problems.is_empty(), by_peer, "{}: {problems:?}, {}", case.name, case.message());
        let told = |problem: &DefinitionProblem| match problem {
            DefinitionProblem::Name { .. } => "invalid chaincode name",
            DefinitionProblem::SystemName { .. } => "is the name of a system chaincode",
            DefinitionProblem::Version { .. } => "invalid chaincode version",
            DefinitionProblem::PeerCounts { .. } => "cannot be less than the required peer count",
            DefinitionProblem::NotAnOr { .. } => "is not an OR concatenation",
            other => panic!("{}: {other}", case.name),
        };
        if by_peer {
            assert_eq!(problems.len(), 1, "{}: {problems:?}", case.name);
            assert!(case.message().contains(told(&problems[0])), "{}: {}", case.name, case.message());
            refused += 1;
        }
    }
    enough(refused, 6, "refusals");
}

#[test]
fn refusals_say_where_a_definition_stands() {
    let mut seen = 0;
    for case in Case::all("proposal") {
        let expected = match case.name.as_str() {
            "lc-install-again" => Some(Refusal::Installed { package_id: package_id() }),
            "lc-approve-sequence-0" => Some(Refusal::WrongSequence { requested: 0, next: 1 }),
            "lc-approve-sequence-2-first" => Some(Refusal::WrongSequence { requested: 2, next: 1 }),
            "lc-approve-sequence-3" => Some(Refusal::WrongSequence { requested: 3, next: 2 }),
            "lc-readiness-committed" => Some(Refusal::WrongSequence { requested: 1, next: 2 }),
            "lc-approve-same-again" | "lc-approve-committed-same" => Some(Refusal::Unchanged),
            "lc-approve-committed-other" => {
                let text = "expected Version '1' does not match passed Version '9'".to_owned();
                Some(Refusal::CommittedOtherwise { text })
            }
            "lc-commit-nobody" | "lc-commit-other-content" => Some(Refusal::NotAgreed { msp_id: "AcmeMSP".to_owned() }),
            _ => None,
        };
        seen += usize::from(expected.is_some());
        assert_eq!(Refusal::from_text(case.message()), expected, "{}", case.name);
        let not_approved = matches!(case.name.as_str(), "lc-approved-unknown" | "lc-approved-not-here");
        assert_eq!(lifecycle::says_not_approved(case.message(), CHANNEL, NAME), not_approved, "{}", case.name);
    }
    assert_eq!(seen, 10);
}

#[test]
fn answers_are_read() {
    let approvals = |yes: &[&str]| -> BTreeMap<String, bool> {
        ["AcmeMSP", "GlobexMSP", "InitechMSP"].map(|msp| (msp.to_owned(), yes.contains(&msp))).into()
    };
    for name in ["lc-definition", "lc-definition-on-third"] {
        let committed = lifecycle::read_committed(NAME, &Case::named(name).payload()).unwrap();
        assert_eq!((committed.sequence, &committed.definition), (1, &definition()), "{name}");
        assert_eq!(committed.approvals, approvals(&["AcmeMSP", "GlobexMSP"]), "{name}");
    }
    let all = lifecycle::read_all_committed(&Case::named("lc-definitions").payload()).unwrap();
    assert_eq!(all.keys().collect::<Vec<_>>(), [NAME]);
    assert_eq!((all[NAME].sequence, &all[NAME].definition), (1, &definition()));
    for name in ["lc-approved", "lc-approved-latest"] {
        let approved = lifecycle::read_approved(NAME, &Case::named(name).payload()).unwrap();
        assert_eq!((approved.sequence, &approved.definition), (1, &definition()), "{name}");
        assert_eq!(approved.package_id, Some(package_id()), "{name}");
    }
    for (name, yes) in [
        ("lc-readiness-globex-different", &["AcmeMSP"][..]),
        ("lc-readiness-two", &["AcmeMSP", "GlobexMSP"]),
        ("lc-readiness-mismatch", &[]),
    ] {
        let case = Case::named(name);
        assert_eq!(lifecycle::read_readiness(&case.payload()).unwrap(), approvals(yes), "{name}");
    }
    assert!(lifecycle::read_installed(&Case::named("lc-queryinstalled-none").payload()).unwrap().is_empty());
    for (name, used) in [("lc-queryinstalled", false), ("lc-queryinstalled-references", true)] {
        let installed = lifecycle::read_installed(&Case::named(name).payload()).unwrap();
        let found = &installed[&package_id()];
        assert_eq!(found.label.as_str(), "simple_1", "{name}");
        let chaincodes = BTreeMap::from([(NAME.to_owned(), "1".to_owned())]);
        let references = if used { BTreeMap::from([(CHANNEL.to_owned(), chaincodes)]) } else { BTreeMap::new() };
        assert_eq!(found.references, references, "{name}");
    }
}

/// Each recorded answer is an endorsement exactly if the recording says so.
#[test]
fn answers_are_endorsements_or_not() {
    let mut seen = 0;
    for case in Case::proposals() {
        let file = case.folder.join("proposal_response.pb");
        if !file.is_file() {
            assert_ne!(case.json["response"]["endorsed"], true, "{}", case.name);
            continue;
        }
        let endorsed = Endorsed::from_bytes(&read(file));
        match (&endorsed, case.json["response"]["endorsed"].as_bool().unwrap()) {
            (Ok(endorsed), true) => {
                assert_eq!(endorsed.result, case.payload(), "{}", case.name);
                let signer = endorsed.signer().unwrap();
                assert_eq!(Some(signer.msp_id.as_str()), case.json["peer"].as_str(), "{}", case.name);
                seen += 1;
            }
            (Err(EndorsedError::Unsigned | EndorsedError::Failed { .. }), false) => {}
            (other, _) => panic!("{}: {other:?}", case.name),
        }
    }
    enough(seen, 20, "endorsements");
}

/// Each recorded transaction, assembled again of its proposal and the endorsements in it.
#[test]
fn transactions_are_assembled_as_fabric_does() {
    let (mut seen, mut forged) = (0, 0);
    for case in Case::all("transaction") {
        let recorded = Envelope::decode(case.file("envelope.pb").as_slice()).unwrap();
        let name = case.name.trim_end_matches("-replayed").trim_end_matches("-tx");
        let call = Case::named(name).signed();
        let payload = Payload::decode(recorded.payload.as_slice()).unwrap();
        let transaction = Transaction::decode(payload.data.as_slice()).unwrap();
        let action = ChaincodeActionPayload::decode(transaction.actions[0].payload.as_slice()).unwrap().action.unwrap();
        let endorsed: Vec<_> = action
            .endorsements
            .iter()
            .map(|one| Endorsed {
                result: Vec::new(),
                payload: action.proposal_response_payload.clone(),
                endorser: one.endorser.clone(),
                signature: one.signature.clone(),
            })
            .collect();
        let identity = identity(&case.json["submitter"]).unwrap();
        let assembled = assemble(&call, &endorsed, &identity);
        if case.name == "cc-badendorse-tx" {
            // Real peers found out only after it was ordered.
            let error = assembled.unwrap_err().to_string();
            assert!(error.ends_with("does not verify"), "{error}");
            forged += 1;
            continue;
        }
        let assembled = Envelope::decode(assembled.unwrap().as_slice()).unwrap();
        assert_eq!(assembled.payload, recorded.payload, "{}", case.name);
        seen += 1;
    }
    assert!(seen >= 12 && forged == 1, "{seen}, {forged}");
}

#[test]
fn blocks_tell_what_became_of_each_transaction() {
    let folder = root().join("recorded/blocks/raft-peer-cc1");
    let index = json(folder.join("index.json"));
    let cases: BTreeMap<(String, u64), Case> = Case::all("transaction")
        .into_iter()
        .map(|case| {
            let key = (case.json["tx_id"].as_str().unwrap().to_owned(), case.json["block"].as_u64().unwrap());
            (key, case)
        })
        .collect();
    let (mut commits, mut told) = (Vec::new(), 0);
    for entry in index.as_array().unwrap() {
        let number = entry["number"].as_u64().unwrap();
        let file = folder.join(entry["file"].as_str().unwrap());
        if !file.is_file() {
            continue;
        }
        let facts = transactions(&Block::from_bytes(read(file)).unwrap());
        assert_eq!(facts.len(), entry["transactions"].as_array().unwrap().len(), "block {number}");
        for (position, facts) in facts.iter().enumerate() {
            assert_eq!(Some(facts.tx_id.as_str()), entry["transactions"][position]["tx_id"].as_str());
            let code = facts.code.unwrap();
            assert_eq!(Some(code.to_string().as_str()), entry["validation_codes"][position].as_str());
            if let Some((name, sequence)) = &facts.committed {
                commits.push((number, name.clone(), *sequence, code, facts.creator.clone().unwrap().msp_id));
            }
            let Some(case) = cases.get(&(facts.tx_id.clone(), number)) else {
                assert!(facts.calls.is_empty(), "block {number}");
                continue;
            };
            let submitter = &case.json["submitter"];
            let creator = facts.creator.as_ref().unwrap();
            assert_eq!(Some(creator.msp_id.as_str()), submitter["mspid"].as_str());
            let common_name = submitter["subject"].as_str().unwrap().split(',').next().unwrap();
            assert!(creator.subject.contains(common_name), "{creator}");
            let endorsers: Vec<_> = facts.endorsers.iter().map(|endorser| endorser.msp_id.as_str()).collect();
            let recorded: Vec<_> =
                case.json["endorsed_by"].as_array().unwrap().iter().map(|msp| msp.as_str().unwrap()).collect();
            assert_eq!(endorsers, recorded, "block {number}");
            told += 1;
        }
    }
    let commit = |block, code| (block, NAME.to_owned(), 1, code, "AcmeMSP".to_owned());
    assert_eq!(commits, [commit(2, ValidationCode::ENDORSEMENT_POLICY_FAILURE), commit(5, ValidationCode::VALID)]);
    enough(told, 11, "transactions");
}

/// Orderers do not judge transactions.
#[test]
fn blocks_of_orderers_tell_no_codes() {
    let block = |chain: &str| {
        transactions(&Block::from_bytes(read(root().join(format!("recorded/blocks/{chain}/5.pb")))).unwrap())
    };
    let (from_orderer, from_peer) = (block("raft-orderer-cc1"), block("raft-peer-cc1"));
    assert_eq!(from_orderer.len(), 1);
    assert_eq!((from_orderer[0].code, from_orderer[0].is_valid()), (None, false));
    assert_eq!(from_orderer[0].committed, Some((NAME.to_owned(), 1)));
    assert_eq!(from_orderer[0].calls, from_peer[0].calls);
}
