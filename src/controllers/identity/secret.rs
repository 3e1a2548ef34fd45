//! The Secret of an identity: an MSP folder, as flat keys.
//!
//! A Secret's keys hold no `/`. A volume puts each of them where Fabric looks for it: see [`ITEMS`].

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::ResourceExt as _;
use kube::core::ObjectMeta;
use tenter_consortium::objects::{FIELD_MANAGER, LABEL_IDENTITY};
use tenter_fabric::ca::Issued;

use crate::controllers::apply::MANAGED_BY;
use crate::controllers::labels;
use crate::controllers::materials::{Material, material_at};

/// Key of the certificate.
pub const CERT: &str = "cert.pem";
/// Key of the private key.
pub const KEY: &str = "key.pem";
/// Key of the roots of identities.
pub const CA: &str = "ca.pem";
/// Key of the roots of the organization's TLS certificates.
pub const TLS_CA: &str = "tlsca.pem";
/// Key of the file that names the roles.
pub const CONFIG: &str = "config.yaml";

/// Each key, and where it stands in an MSP folder: the `items` of a volume.
pub const ITEMS: [(&str, &str); 5] = [
    (CERT, "signcerts/cert.pem"),
    (KEY, "keystore/key.pem"),
    (CA, "cacerts/ca.pem"),
    (TLS_CA, "tlscacerts/tlsca.pem"),
    (CONFIG, CONFIG),
];

/// The public files: the same for all identities of an organization.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicMsp {
    /// Roots of identities, PEM.
    pub ca: String,
    /// Roots of TLS certificates, PEM.
    pub tls_ca: String,
    /// The roles, YAML.
    pub config: String,
}

impl PublicMsp {
    /// What the organization's authority has published; `None` until it is all there.
    pub fn of(msp: &ConfigMap) -> Option<Self> {
        let data = msp.data.as_ref()?;
        let entry = |key: &str| data.get(key).filter(|text| !text.is_empty()).cloned();
        Some(Self {
            ca: entry(labels::MSP_CACERTS)?,
            tls_ca: entry(labels::MSP_TLSCACERTS)?,
            config: entry(labels::MSP_CONFIG)?,
        })
    }

    fn entries(&self) -> [(&'static str, &str); 3] {
        let Self { ca, tls_ca, config } = self;
        [(CA, ca), (TLS_CA, tls_ca), (CONFIG, config)]
    }

    /// Puts the files into a Secret, in place of what stands there.
    pub fn write(&self, data: &mut BTreeMap<String, ByteString>) {
        for (key, text) in self.entries() {
            data.insert(key.to_owned(), ByteString(text.as_bytes().to_vec()));
        }
    }
}

/// What a Secret holds, without its key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Its certificate.
    pub material: Material,
    /// Why it is not the identity's own Secret, if it is there and is not.
    pub foreign: Option<String>,
    /// Its public files.
    pub public: BTreeMap<String, String>,
}

impl Held {
    /// Reads the Secret of `identity`.
    pub fn of(secret: Option<&Secret>, identity: &str) -> Self {
        let Some(secret) = secret else {
            return Self::default();
        };
        let data = secret.data.iter().flatten();
        let public = data.filter(|(key, _)| [CA, TLS_CA, CONFIG].contains(&key.as_str()));
        Self {
            material: material_at(Some(secret), CERT, KEY),
            foreign: foreign(secret, identity),
            public: public.map(|(key, bytes)| (key.clone(), String::from_utf8_lossy(&bytes.0).into_owned())).collect(),
        }
    }

    /// Whether its public files are these.
    pub fn is_complete(&self, public: &PublicMsp) -> bool {
        public.entries().iter().all(|(key, text)| self.public.get(*key).is_some_and(|held| held == text))
    }
}

/// Why a Secret is not `identity`'s own, if it is not: two names must never come to share a key.
pub fn foreign(secret: &Secret, identity: &str) -> Option<String> {
    let wanted = [(MANAGED_BY, FIELD_MANAGER), (LABEL_IDENTITY, identity)];
    let (key, value) =
        wanted.into_iter().find(|(key, value)| secret.labels().get(*key).map(String::as_str) != Some(*value))?;
    let label = secret.labels().get(key).map_or("absent", String::as_str);
    Some(format!("its label {key} is {label}, not {value}"))
}

/// The contents of a Secret.
pub fn contents(issued: &Issued, public: &PublicMsp) -> BTreeMap<String, ByteString> {
    let bytes = |text: &str| ByteString(text.as_bytes().to_vec());
    let mut data = BTreeMap::from([
        (CERT.to_owned(), bytes(&issued.cert_pem)),
        (KEY.to_owned(), bytes(issued.key_pem.expose_pem())),
    ]);
    public.write(&mut data);
    data
}

/// A Secret of an identity. It has no owner: keys outlive the objects that asked for them.
pub fn msp_secret(metadata: ObjectMeta, issued: &Issued, public: &PublicMsp) -> Secret {
    let data = Some(contents(issued, public));
    Secret { metadata, data, type_: Some("Opaque".to_owned()), ..Secret::default() }
}
