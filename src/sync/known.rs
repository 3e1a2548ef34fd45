//! Whose word counts as an organization's: the MSPs that members are known by, against which their consents are held.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt as _;
use tenter_consortium::network::Network;
use tenter_consortium::objects::{LABEL_CONSORTIUM, LABEL_ORGANIZATION};
use tenter_consortium::observation::Observation;
use tenter_consortium::observed::Observed;
use tenter_consortium::repository::approval::{self, Approval, ApprovalError, NotGiven};
use tenter_consortium::repository::{consent, material};
use tenter_fabric::config::CurrentConfig;
use tenter_fabric::msp::MspDefinition;

use super::conclude::Problem;
use crate::controllers::apply;
use crate::controllers::channel::material::own_msp;
use crate::controllers::context::Context;
use crate::controllers::labels::MSP;
use crate::nodes::store::Store;
use crate::resources::Organization;

/// The MSPs that organizations are known by. A newcomer has none, and is held to the one that its folder brings.
#[derive(Clone, Debug, Default)]
pub struct Known {
    msps: BTreeMap<String, MspDefinition>,
    /// Organizations that may be known, by an MSP that could not be read: no consent of theirs counts.
    unread: BTreeSet<String>,
}

impl Known {
    /// The MSPs that were accepted before: those of own organizations, and the material of others that the plan keeps; over
    /// them those that live channels have.
    pub async fn read(
        ctx: &Context,
        store: &dyn Store,
        consortium: &str,
        live: &BTreeMap<String, MspDefinition>,
    ) -> Result<Self, Problem> {
        let failed = |message: String| Problem { reason: "MembersUnread".to_owned(), message, terminal: false };
        let mut known = Self::default();
        let selector = format!("{LABEL_CONSORTIUM}={consortium}");
        let own = apply::list::<Organization>(ctx, &ctx.namespace, &selector);
        let kept = format!("{selector},{LABEL_ORGANIZATION}");
        let kept = apply::list::<ConfigMap>(ctx, &ctx.namespace, &kept);
        let (own, kept) = tokio::join!(own, kept);
        for organization in own.map_err(|failure| failed(failure.message))? {
            let name = organization.name_any();
            if store.config_map(&organization.spec.namespace, MSP).await.is_absent() {
                continue;
            }
            let msp = own_msp(store, &name, &organization.spec.namespace).await;
            known.take(&name, msp.and_then(|msp| material::definition(&name, &organization.spec.msp_id, &msp)));
        }
        for map in kept.map_err(|failure| failed(failure.message))? {
            let Some(name) = map.labels().get(LABEL_ORGANIZATION).cloned() else { continue };
            if map.name_any() != material::config_map(consortium, &name) {
                continue;
            }
            let text = map.data.into_iter().flatten().map(|(key, text)| (key, text.into_bytes()));
            let binary = map.binary_data.into_iter().flatten().map(|(key, bytes)| (key, bytes.0));
            let entries: BTreeMap<String, Vec<u8>> = text.chain(binary).collect();
            // A folder without an MSP made nobody known.
            if let Some(msp) = material::msp_of(&entries) {
                known.take(&name, material::definition(&name, "", &msp));
            }
        }
        known.msps.extend(live.clone());
        Ok(known)
    }

    /// Those that these live channels have, and nothing else: for who has no cluster.
    pub const fn of(live: BTreeMap<String, MspDefinition>) -> Self {
        Self { msps: live, unread: BTreeSet::new() }
    }

    fn take(&mut self, name: &str, msp: Result<MspDefinition, String>) {
        match msp {
            Ok(msp) => drop(self.msps.insert(name.to_owned(), msp)),
            Err(why) => {
                tracing::warn!(organization = name, "its MSP cannot be read, so no consent of it counts: {why}");
                self.unread.insert(name.to_owned());
            }
        }
    }

    /// The approvals in the repository that count at a time, and those that do not.
    pub fn approvals(&self, network: &Network, now: Timestamp) -> (Vec<Approval>, Vec<NotGiven>) {
        let (mut given, mut not) = approval::given(network, &self.msps, now);
        let unread = |name: &String| self.unread.contains(name) && !self.msps.contains_key(name);
        for Approval { hash, organization, .. } in given.extract_if(.., |given| unread(&given.organization)) {
            let path = approval::path(&hash, &organization);
            not.push(NotGiven { path, error: ApprovalError::Unread(organization) });
        }
        (given, not)
    }

    /// The organizations whose `consent.sig` counts for a definition.
    pub fn consented(&self, network: &Network, now: Timestamp) -> BTreeSet<String> {
        let mut found = consent::consented(network, &self.msps, now);
        found.retain(|name| self.msps.contains_key(name) || !self.unread.contains(name));
        found
    }
}

/// The MSPs that live channels have, by the names that a definition gives their organizations.
pub fn live(network: &Network, observed: &Observed) -> BTreeMap<String, MspDefinition> {
    let mut found = BTreeMap::new();
    // Of a channel that refuses the own organizations, what own nodes hold is old.
    for (channel, seen) in observed.channels.iter().filter(|(_, seen)| seen.refused.is_none()) {
        let Observation::Present { value } = &seen.config else { continue };
        let Ok(current) = CurrentConfig::from_bytes(channel, &value.config) else { continue };
        let config = current.config();
        let members = config.application.organizations.values().map(|member| &member.msp);
        let orderers = config.orderer.organizations.values().map(|orderer| &orderer.msp);
        for msp in orderers.chain(members) {
            let name = network.organizations.iter().find(|organization| organization.msp_id == msp.msp_id);
            found.extend(name.map(|organization| (organization.name.clone(), msp.clone())));
        }
    }
    found
}
