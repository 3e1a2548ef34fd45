//! Gathers what a genesis block is made of: public certificates only, read from where the other controllers
//! keep them.

use std::collections::{BTreeMap, BTreeSet};

use futures::stream::{self, StreamExt as _};
use tenter_consortium::channel_config::{ConsenterMaterial, Material, MspMaterial};
use tenter_consortium::objects::{ChannelSpec, ConsenterRef};
use tenter_consortium::observation::Observation;
use tenter_consortium::repository::{material, organization_path};

use super::decide::{Missing, Uncomputable};
use crate::controllers::labels::{
    MSP, MSP_CACERTS, MSP_CONFIG, MSP_CRLS, MSP_TLSCACERTS, enrolment_secret, tls_secret,
};
use crate::controllers::materials::TLS_CRT;
use crate::nodes::store::{Entries, Store};

/// Most questions at once.
const CONCURRENCY: usize = 16;

/// One piece that was asked for.
enum Piece {
    Msp(String, MspMaterial),
    Consenter(usize, ConsenterMaterial),
}

/// Why a piece is not there.
enum Gap {
    Missing(Missing),
    Unreadable(String),
}

/// Organizations that other daemons act for. Their material comes out of the repository: the plan keeps it in the
/// consortium's namespace.
#[derive(Clone, Copy, Debug)]
pub struct Others<'a> {
    /// The consortium's namespace.
    pub namespace: &'a str,
    /// Their names.
    pub organizations: &'a [String],
}

impl Others<'_> {
    /// The `ConfigMap` with an organization's material, if another daemon acts for it.
    fn place(&self, consortium: &str, organization: &str) -> Option<String> {
        let other = self.organizations.iter().any(|name| name == organization);
        other.then(|| material::config_map(consortium, organization))
    }
}

/// Gathers the material of a channel, all of it or none.
pub async fn gather(store: &dyn Store, spec: &ChannelSpec, others: &Others<'_>) -> Result<Material, Uncomputable> {
    let Gathered { material, missing, unreadable } = collect(store, spec, others).await;
    if !missing.is_empty() {
        return Err(Uncomputable::Missing(missing.into_iter().collect()));
    }
    if !unreadable.is_empty() {
        return Err(Uncomputable::Unreadable(unreadable.join("; ")));
    }
    Ok(material)
}

/// Gathers what there is of the material of a channel.
pub async fn available(store: &dyn Store, spec: &ChannelSpec, others: &Others<'_>) -> Material {
    collect(store, spec, others).await.material
}

/// What was found, and what was not.
struct Gathered {
    material: Material,
    missing: BTreeSet<Missing>,
    unreadable: Vec<String>,
}

async fn collect(store: &dyn Store, spec: &ChannelSpec, others: &Others<'_>) -> Gathered {
    let organizations: BTreeSet<(&str, &str)> = spec
        .orderer_organizations
        .iter()
        .map(|orderer| (orderer.organization.as_str(), orderer.namespace.as_str()))
        .chain(spec.members.iter().map(|member| (member.organization.as_str(), member.namespace.as_str())))
        .collect();
    let mut questions: Vec<futures::future::BoxFuture<'_, Result<Piece, Vec<Gap>>>> = Vec::new();
    for (organization, namespace) in organizations {
        match others.place(&spec.consortium, organization) {
            Some(place) => questions.push(Box::pin(foreign_msp(store, others.namespace, place, organization))),
            None => questions.push(Box::pin(msp(store, organization, namespace))),
        }
    }
    for (index, consenter) in spec.consensus.consenters.iter().enumerate() {
        match others.place(&spec.consortium, &consenter.organization) {
            Some(place) => {
                questions.push(Box::pin(foreign_certificates(store, others.namespace, place, index, consenter)));
            }
            None => questions.push(Box::pin(certificates(store, index, consenter))),
        }
    }
    let answers: Vec<_> = stream::iter(questions).buffered(CONCURRENCY).collect().await;
    assemble(answers, spec.consensus.consenters.len())
}

fn assemble(answers: Vec<Result<Piece, Vec<Gap>>>, consenters: usize) -> Gathered {
    let mut gathered = Material { msps: BTreeMap::new(), consenters: vec![ConsenterMaterial::default(); consenters] };
    let mut missing = BTreeSet::new();
    let mut unreadable = Vec::new();
    for answer in answers {
        match answer {
            Ok(Piece::Msp(organization, msp)) => {
                gathered.msps.insert(organization, msp);
            }
            Ok(Piece::Consenter(index, consenter)) => {
                if let Some(place) = gathered.consenters.get_mut(index) {
                    *place = consenter;
                }
            }
            Err(gaps) => {
                for gap in gaps {
                    match gap {
                        Gap::Missing(piece) => {
                            missing.insert(piece);
                        }
                        Gap::Unreadable(evidence) => unreadable.push(evidence),
                    }
                }
            }
        }
    }
    Gathered { material: gathered, missing, unreadable }
}

async fn msp(store: &dyn Store, organization: &str, namespace: &str) -> Result<Piece, Vec<Gap>> {
    let place = format!("ConfigMap {namespace}/{MSP}");
    let answer = store.config_map(namespace, MSP).await;
    let mut gaps = Vec::new();
    let ca_certs = entry(&answer, MSP_CACERTS, &place, organization, &mut gaps);
    let tls_ca_certs = entry(&answer, MSP_TLSCACERTS, &place, organization, &mut gaps);
    let config = entry(&answer, MSP_CONFIG, &place, organization, &mut gaps);
    // Absent is as good as empty, but only where the rest was read.
    let crls = answer.value().and_then(|entries| entries.get(MSP_CRLS)).filter(|bytes| !bytes.is_empty());
    let crls = match crls.map(|bytes| String::from_utf8(bytes.clone())) {
        Some(Err(_)) => {
            gaps.push(Gap::Unreadable(format!("{MSP_CRLS} of {place} is not text")));
            return Err(gaps);
        }
        Some(Ok(text)) => Some(text),
        None => None,
    };
    match (ca_certs, tls_ca_certs, config) {
        (Some(ca_certs), Some(tls_ca_certs), Some(config)) => {
            let msp = MspMaterial { ca_certs, tls_ca_certs, config, crls, ..MspMaterial::default() };
            Ok(Piece::Msp(organization.to_owned(), msp))
        }
        _ => Err(gaps),
    }
}

/// The public MSP of an organization of this cluster, or what is missing of it.
pub async fn own_msp(store: &dyn Store, organization: &str, namespace: &str) -> Result<MspMaterial, String> {
    match msp(store, organization, namespace).await {
        Ok(Piece::Msp(_, msp)) => Ok(msp),
        Ok(Piece::Consenter(..)) => Err(format!("the MSP of {organization} was not read")),
        Err(gaps) => Err(words(&gaps)),
    }
}

/// The certificates of a consenter of this cluster, or what is missing of them.
pub async fn consenter(store: &dyn Store, consenter: &ConsenterRef) -> Result<ConsenterMaterial, String> {
    match certificates(store, 0, consenter).await {
        Ok(Piece::Consenter(_, material)) => Ok(material),
        Ok(Piece::Msp(..)) => Err(format!("the certificates of {} were not read", consenter.orderer)),
        Err(gaps) => Err(words(&gaps)),
    }
}

fn words(gaps: &[Gap]) -> String {
    let word = |gap: &Gap| match gap {
        Gap::Missing(Missing { what, owner: _ }) => format!("{what} is not there"),
        Gap::Unreadable(evidence) => evidence.clone(),
    };
    gaps.iter().map(word).collect::<Vec<_>>().join("; ")
}

async fn foreign_msp(store: &dyn Store, namespace: &str, name: String, organization: &str) -> Result<Piece, Vec<Gap>> {
    let answer = store.config_map(namespace, &name).await;
    let mut gaps = Vec::new();
    let folder = organization_path(organization);
    let mut needed =
        |key: &str, file: &str| in_repository(&answer, key, &format!("{folder}/{file}"), organization, &mut gaps);
    let ca_certs = needed(material::CACERTS, "msp/cacerts");
    let tls_ca_certs = needed(material::TLSCACERTS, "msp/tlscacerts");
    let config = needed(material::CONFIG, "msp/config.yaml");
    let whole = ca_certs.is_some() && tls_ca_certs.is_some() && config.is_some();
    match answer.value().and_then(material::msp_of).filter(|_| whole) {
        Some(msp) => Ok(Piece::Msp(organization.to_owned(), msp)),
        None => Err(gaps),
    }
}

async fn foreign_certificates(
    store: &dyn Store,
    namespace: &str,
    name: String,
    index: usize,
    consenter: &ConsenterRef,
) -> Result<Piece, Vec<Gap>> {
    let ConsenterRef { organization, orderer, .. } = consenter;
    let answer = store.config_map(namespace, &name).await;
    let mut gaps = Vec::new();
    let folder = format!("{}/orderers/{orderer}", organization_path(organization));
    let mut needed =
        |key: String, file: &str| in_repository(&answer, &key, &format!("{folder}/{file}"), organization, &mut gaps);
    let tls = needed(material::orderer_tls(orderer), "tls.crt");
    let identity = needed(material::orderer_identity(orderer), "identity.crt");
    match (tls, identity) {
        (Some(tls), Some(identity)) => Ok(Piece::Consenter(index, ConsenterMaterial { tls, identity })),
        _ => Err(gaps),
    }
}

/// An entry that comes out of a file of the repository: where it is not there, the file is what is missing.
fn in_repository(
    answer: &Observation<Entries>,
    key: &str,
    path: &str,
    owner: &str,
    gaps: &mut Vec<Gap>,
) -> Option<String> {
    match answer {
        Observation::Present { value } if value.contains_key(key) => entry(answer, key, path, owner, gaps),
        Observation::Present { .. } | Observation::Absent { .. } => {
            gaps.push(Gap::Missing(Missing { what: path.to_owned(), owner: owner.to_owned() }));
            None
        }
        Observation::Forbidden { .. } | Observation::Unreachable { .. } => entry(answer, key, path, owner, gaps),
    }
}

async fn certificates(store: &dyn Store, index: usize, consenter: &ConsenterRef) -> Result<Piece, Vec<Gap>> {
    let mut gaps = Vec::new();
    let mut certificate = async |name: String| {
        let place = format!("certificate in Secret {}/{name}", consenter.namespace);
        // The API server gives a Secret whole or not at all: the key beside the certificate is dropped at once.
        let answer = store.secret(&consenter.namespace, &name).await.map(|mut entries| {
            entries.retain(|key, _| key == TLS_CRT);
            entries
        });
        entry(&answer, TLS_CRT, &place, &consenter.organization, &mut gaps)
    };
    let tls = certificate(tls_secret(&consenter.orderer)).await;
    let identity = certificate(enrolment_secret(&consenter.orderer)).await;
    match (tls, identity) {
        (Some(tls), Some(identity)) => Ok(Piece::Consenter(index, ConsenterMaterial { tls, identity })),
        _ => Err(gaps),
    }
}

fn entry(answer: &Observation<Entries>, key: &str, place: &str, owner: &str, gaps: &mut Vec<Gap>) -> Option<String> {
    let missing = |what: String| Gap::Missing(Missing { what, owner: owner.to_owned() });
    let gap = match answer {
        Observation::Present { value } => match value.get(key).map(|bytes| String::from_utf8(bytes.clone())) {
            Some(Ok(text)) if !text.trim().is_empty() => return Some(text),
            Some(_) => missing(format!("{place}: a readable {key}")),
            None => missing(format!("{place}: {key}")),
        },
        Observation::Absent { .. } => missing(place.to_owned()),
        Observation::Forbidden { evidence } | Observation::Unreachable { evidence } => {
            Gap::Unreadable(evidence.clone())
        }
    };
    gaps.push(gap);
    None
}
