use std::path::Path;

use prost::Message as _;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SanType, date_time_ymd,
};
use tenter_fabric_sim::x509::SigningKey;
use tenter_fabric_wire::msp::SerializedIdentity;

#[derive(Clone)]
pub struct Authority {
    pub pem: String,
    issuer: std::sync::Arc<Issuer<'static, KeyPair>>,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        params.not_before = date_time_ymd(2024, 1, 1);
        params.not_after = date_time_ymd(2044, 1, 1);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { pem, issuer: Issuer::new(params, key).into() }
    }

    /// An authority of the recordings.
    pub fn from_pem(certificate: &str, key: &str) -> Self {
        let issuer = Issuer::from_ca_cert_pem(certificate, KeyPair::from_pem(key).unwrap()).unwrap();
        Self { pem: certificate.to_owned(), issuer: issuer.into() }
    }

    fn issue(&self, name: &str, unit: Option<&str>, expired: bool) -> (String, String) {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        if let Some(unit) = unit {
            params.distinguished_name.push(DnType::OrganizationalUnitName, unit);
        } else {
            params.subject_alt_names =
                vec![SanType::DnsName("localhost".try_into().unwrap()), SanType::IpAddress([127, 0, 0, 1].into())];
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        }
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.not_before = date_time_ymd(2025, 1, 1);
        params.not_after = date_time_ymd(if expired { 2025 } else { 2043 }, 2, 1);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        (certificate.pem(), key.serialize_pem())
    }
}

/// Someone who can sign.
#[derive(Clone)]
pub struct Person {
    pub creator: Vec<u8>,
    pub key: SigningKey,
}

impl Person {
    pub fn new(msp_id: &str, certificate: &str, key: &str) -> Self {
        Self {
            creator: SerializedIdentity { mspid: msp_id.to_owned(), id_bytes: certificate.as_bytes().to_vec() }
                .encode_to_vec(),
            key: SigningKey::from_pem(key.as_bytes()).unwrap(),
        }
    }
}

#[derive(Clone)]
pub struct Organization {
    pub msp_id: String,
    pub ca: Authority,
    pub tlsca: Authority,
}

impl Organization {
    pub fn new(name: &str) -> Self {
        Self {
            msp_id: format!("{name}MSP"),
            ca: Authority::new(&format!("ca.{name}.example")),
            tlsca: Authority::new(&format!("tlsca.{name}.example")),
        }
    }

    pub fn person(&self, name: &str, role: &str) -> Person {
        let (certificate, key) = self.ca.issue(name, Some(role), false);
        Person::new(&self.msp_id, &certificate, &key)
    }

    pub fn expired(&self, name: &str, role: &str) -> Person {
        let (certificate, key) = self.ca.issue(name, Some(role), true);
        Person::new(&self.msp_id, &certificate, &key)
    }

    /// A TLS certificate for 127.0.0.1 and its key.
    pub fn tls(&self, name: &str) -> (String, String) {
        self.tlsca.issue(name, None, false)
    }

    /// Writes a node's MSP folder and TLS files below `dir`.
    pub fn write_node(&self, dir: &Path, name: &str, role: &str) -> String {
        let (certificate, key) = self.ca.issue(name, Some(role), false);
        let (tls_certificate, tls_key) = self.tls(name);
        let write = |path: &str, text: &str| {
            let path = dir.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write("msp/cacerts/ca.pem", &self.ca.pem);
        write("msp/tlscacerts/tlsca.pem", &self.tlsca.pem);
        write("msp/signcerts/cert.pem", &certificate);
        write("msp/keystore/key.pem", &key);
        let unit =
            |name: &str, role: &str| format!("  {name}OUIdentifier:\n    OrganizationalUnitIdentifier: {role}\n");
        write(
            "msp/config.yaml",
            &format!(
                "NodeOUs:\n  Enable: true\n{}{}{}{}",
                unit("Client", "client"),
                unit("Peer", "peer"),
                unit("Admin", "admin"),
                unit("Orderer", "orderer")
            ),
        );
        write("tls/server.crt", &tls_certificate);
        write("tls/server.key", &tls_key);
        write("tls/ca.crt", &self.tlsca.pem);
        tls_certificate
    }
}
