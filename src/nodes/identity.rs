//! Signing identities in the Secrets of organizations.

use tenter_consortium::observation::Observation;
use tenter_fabric::identity::SigningIdentity;
use tenter_fabric::keys::SecretKey;

use super::chain;
use super::store::Store;
use crate::controllers::identity::secret::{CERT, KEY};
use crate::controllers::materials::{TLS_CRT, TLS_KEY};

/// The identity in a Secret of an organization's namespace. Absent only when the API server says that there is no such
/// Secret; one that cannot be used is unreachable, with the reason. The key is in memory as long as the identity. Nodes' and
/// administrators' Secrets are of Kubernetes' TLS type, those of Identity objects have the keys of an MSP folder.
pub async fn signing_identity(
    store: &dyn Store,
    namespace: &str,
    name: &str,
    msp_id: &str,
) -> Observation<SigningIdentity> {
    let mut entries = match store.secret(namespace, name).await {
        Observation::Present { value } => value,
        Observation::Absent { evidence } => return Observation::Absent { evidence },
        Observation::Forbidden { evidence } => return Observation::Forbidden { evidence },
        Observation::Unreachable { evidence } => return Observation::Unreachable { evidence },
    };
    let (certificate_key, private_key) = if entries.contains_key(CERT) { (CERT, KEY) } else { (TLS_CRT, TLS_KEY) };
    let mut text = |key: &str| {
        let bytes = entries.remove(key).ok_or_else(|| format!("it has no {key}"))?;
        String::from_utf8(bytes).map_err(|_| format!("its {key} is no text"))
    };
    let identity = text(certificate_key).and_then(|certificate| Ok((certificate, text(private_key)?))).and_then(
        |(certificate, key)| {
            SigningIdentity::load(msp_id, &certificate, &SecretKey::from_pem(key)).map_err(|error| chain(&error))
        },
    );
    match identity {
        Ok(value) => Observation::Present { value },
        Err(why) => Observation::Unreachable { evidence: format!("Secret {namespace}/{name}: {why}") },
    }
}
