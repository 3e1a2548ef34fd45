//! A channel's configuration as a spec asks for it: the first one, and the one that a live channel should have.
//! Pure functions of the spec, of public certificates and of the live configuration, which the plan and the controllers
//! ask alike.

mod facts;
mod first;
mod lockout;
mod updates;
mod wanted;

use std::collections::BTreeMap;
use std::error::Error;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use facts::{differences, facts, live_channel, live_config, organizations};
pub(crate) use first::msp;
pub use first::{first_config, genesis, genesis_in, policy_config};
pub use lockout::{lock_out, lock_out_at_first};
pub use updates::{TopicUpdate, Updates, choose, problems, signing, update_of, updates};
pub use wanted::{Refused, Wanted, is_consenter, wanted};

/// The public MSP of an organization, PEM.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MspMaterial {
    /// Enrolment roots.
    pub ca_certs: String,
    /// TLS roots.
    pub tls_ca_certs: String,
    /// `config.yaml`, which names the roles.
    pub config: String,
    /// Revocation list of the enrolment root; none while nothing is revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crls: Option<String>,
    /// Authorities between the enrolment roots and the identities.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intermediate_certs: Option<String>,
    /// Authorities between the TLS roots and the TLS certificates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_intermediate_certs: Option<String>,
}

/// The public certificates of a consenter, PEM.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConsenterMaterial {
    /// TLS certificate, for its server and its client side alike.
    pub tls: String,
    /// Enrolment certificate.
    pub identity: String,
}

/// The public certificates that a configuration is made of beside the spec. A first configuration needs all of them;
/// of a live channel, what is missing stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Material {
    /// Each organization's MSP, by organization.
    pub msps: BTreeMap<String, MspMaterial>,
    /// Each consenter's certificates, in the spec's order; empty for one that is not known.
    pub consenters: Vec<ConsenterMaterial>,
}

/// An error and what it came from, in one line.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let more = error.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        source = error.source();
    }
    text
}
