//! Signatures on their way between members: whoever may push to the repository may put anything beside them, and what they
//! were given for may be gone when they arrive.

use tenter::messages::channel::{How, MessageChannel};
use tenter::messages::{Message, Messages};
use tenter::nodes::identity::signing_identity;
use tenter::nodes::{Node, NodeKind, nonce};
use tenter::source::Credentials;
use tenter_consortium::document::Blob;
use tenter_fabric::config::CurrentConfig;
use tenter_fabric::config::update::{ConfigSignature, ConfigUpdate};
use tenter_fabric::identity::SigningIdentity;

use crate::changes::{configuration_at, node, nodes, ordered};
use crate::members::{CHANNEL, Consortium};

/// A member's orderer.
fn orderer(consortium: &Consortium, name: &str) -> Node {
    node(consortium.world(name), NodeKind::Orderer, (name, &msp_id(name)), "orderer1")
}

/// The MSP ID of a member.
pub fn msp_id(name: &str) -> String {
    format!("{}{}MSP", name[..1].to_uppercase(), &name[1..])
}

/// The channel's configuration that a member's orderer has.
pub async fn configuration(consortium: &Consortium, name: &str) -> CurrentConfig {
    configuration_at(consortium.world(name), &orderer(consortium, name)).await
}

async fn identity(consortium: &Consortium, name: &str, secret: &str) -> SigningIdentity {
    let world = consortium.world(name);
    let nodes = nodes(world);
    let found = signing_identity(nodes.store(), &world.organization(name), secret, &msp_id(name)).await;
    found.value().cloned().expect("the identity")
}

/// A signature of a member's administrator, made past its daemon.
async fn sign(consortium: &Consortium, name: &str, update: &ConfigUpdate) -> ConfigSignature {
    let administrator = identity(consortium, name, "identity-config-admin").await;
    update.sign(&administrator, nonce().expect("a nonce")).expect("a signature")
}

/// What is on the ref now.
async fn messages(consortium: &Consortium) -> Messages {
    let folder = tempfile::tempdir().expect("a folder");
    let anybody = MessageChannel::new(folder.path().to_owned(), How::Here);
    anybody.read(&consortium.url, &Credentials::default(), jiff::Timestamp::now()).await.expect("the messages")
}

/// Puts files beside an update, under the names of organizations.
async fn put(consortium: &Consortium, update: &ConfigUpdate, files: &[(&str, Vec<u8>)]) {
    let folder = tempfile::tempdir().expect("a folder");
    let anybody = MessageChannel::new(folder.path().to_owned(), How::Here);
    let mut message = Message::new(CHANNEL, update.bytes());
    message.signatures = files.iter().map(|(name, bytes)| (msp_id(name), Blob(bytes.clone()))).collect();
    let now = jiff::Timestamp::now();
    anybody.publish(&consortium.url, &Credentials::default(), now, message).await.expect("published");
}

/// Waits until a member's signature is beside the update of its proposal about one thing; returns the update.
async fn published(consortium: &Consortium, name: &str, about: &str) -> ConfigUpdate {
    let world = consortium.world(name);
    world
        .eventually(&format!("the signature of {name} to be published"), async || {
            let open = consortium.digest(name, about).await.ok_or("there is no proposal")?;
            let messages = messages(consortium).await;
            let message = messages.find(CHANNEL, &open).ok_or_else(|| format!("{messages:?}"))?;
            if !message.signatures.contains_key(&msp_id(name)) {
                return Err(format!("{:?}", message.signatures.keys()));
            }
            ConfigUpdate::from_bytes(message.update.0.clone()).map_err(|error| error.to_string())
        })
        .await
}

/// With the signature of acme alone and bad ones under the names of the others, nothing is enough, and each is named.
pub async fn others_are_refused(consortium: &Consortium, about: &str) {
    let update = published(consortium, "acme", about).await;
    let live = configuration(consortium, "acme").await;
    let mut wanted = live.config().clone();
    "7s".clone_into(&mut wanted.orderer.batch.timeout);
    let other = ConfigUpdate::compute(&live, &wanted).expect("a difference");
    let replayed = sign(consortium, "globex", &other).await.to_bytes();
    let wrong = sign(consortium, "acme", &update).await.to_bytes();
    // The signer is real, the signature is not.
    let mut forged = sign(consortium, "initech", &update).await.to_bytes();
    let last = forged.len() - 1;
    forged[last] ^= 1;
    for (name, bytes, reason) in [
        ("globex", wrong, "WrongOrganization"),
        ("initech", forged, "Forged"),
        ("globex", replayed.clone(), "Replayed"),
    ] {
        // What was taken from elsewhere can be told where it came from.
        put(consortium, &other, &[("globex", replayed.clone())]).await;
        put(consortium, &update, &[(name, bytes)]).await;
        consortium
            .world("acme")
            .eventually(&format!("the signature of {name} to be refused: {reason}"), async || {
                let all = consortium.proposals("acme", about).await;
                let [(_, status)] = &all[..] else { return Err(format!("{all:?}")) };
                assert_eq!(status["phase"], "Collecting", "{status}");
                // A status is written a moment after what it tells of.
                let signed = status["signed"].as_str().unwrap_or_default();
                assert!(["", "AcmeMSP"].contains(&signed), "{status}");
                let place = format!("{}.sig", msp_id(name));
                let refused = status["refused"].as_array().cloned().unwrap_or_default();
                let told = refused.iter().any(|entry| {
                    entry["reason"] == reason && entry["place"].as_str().is_some_and(|at| at.ends_with(&place))
                });
                if told && signed == "AcmeMSP" { Ok(()) } else { Err(status.to_string()) }
            })
            .await;
    }
    assert_eq!(configuration(consortium, "acme").await.config().sequence, live.config().sequence, "nothing came of it");
}

/// A member signs; before another does, what the update changes is changed by hand. The signature is for nothing, and what
/// is still wanted is proposed and signed anew.
pub async fn stale_after_an_outside_change(consortium: &mut Consortium) {
    consortium.batch = 105;
    consortium.publish();
    consortium.vote("acme", "105", "approve").await;
    let old = published(consortium, "acme", "105").await;

    let live = configuration(consortium, "acme").await;
    let mut wanted = live.config().clone();
    wanted.orderer.batch.max_message_count = 99;
    let update = ConfigUpdate::compute(&live, &wanted).expect("a difference");
    let signatures = [sign(consortium, "globex", &update).await, sign(consortium, "initech", &update).await];
    let submitter = identity(consortium, "acme", "identity-reader").await;
    ordered(consortium.world("acme"), &orderer(consortium, "acme"), &update, &signatures, &submitter).await;

    for name in ["acme", "globex", "initech"] {
        consortium.proposal(&[name], "105", "Superseded").await;
    }
    consortium
        .world("acme")
        .eventually("the stale signature to be taken away", async || {
            let messages = messages(consortium).await;
            match messages.find(CHANNEL, &old.digest()) {
                None => Ok(()),
                Some(message) => Err(format!("{:?}", message.signatures.keys())),
            }
        })
        .await;
    // What acme said was for the old update.
    let (_, signed) = consortium.proposal(&["globex", "initech"], "105", "Collecting").await;
    assert!(signed.is_empty(), "{signed:?}");
    consortium.vote("globex", "105", "approve").await;
    consortium.vote("initech", "105", "approve").await;
    let (_, signed) = consortium.proposal(&["acme", "globex", "initech"], "105", "Committed").await;
    assert_eq!(signed, ["GlobexMSP", "InitechMSP"]);
}
