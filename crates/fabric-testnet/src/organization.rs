//! An organisation with its authorities and identities.

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use anyhow::{Context, Result, anyhow};
use getrandom::SysRng;
use getrandom::rand_core::UnwrapErr;
use jiff::Timestamp;
use tenter_fabric::ca::{
    Authority, CertificateRequest, Issued, LEAF_LIFETIME, OrganizationRoots, Revocations, Role, Usage,
};
use tenter_fabric::identity::SigningIdentity;
use tenter_fabric::x509::CertificateInfo;

/// An MSP's `config.yaml` with `NodeOUs`, without certificates, so that it survives a renewal of the root.
const NODE_OUS: &str = "NodeOUs:
  Enable: true
  ClientOUIdentifier:
    OrganizationalUnitIdentifier: client
  PeerOUIdentifier:
    OrganizationalUnitIdentifier: peer
  AdminOUIdentifier:
    OrganizationalUnitIdentifier: admin
  OrdererOUIdentifier:
    OrganizationalUnitIdentifier: orderer
";

/// An organisation: three roots, and whatever certificates a test asks for.
#[derive(Debug, Clone)]
pub struct Organization {
    /// Short name, the group's key in channels.
    pub name: String,
    /// MSP ID.
    pub msp_id: String,
    /// The roots.
    pub roots: OrganizationRoots,
}

impl Organization {
    /// `acme` becomes `AcmeMSP` with roots for `acme.example`.
    pub fn new(name: &str) -> Result<Self> {
        let mut letters = name.chars();
        let first = letters.next().context("an organisation needs a name")?;
        Ok(Self {
            name: name.to_owned(),
            msp_id: format!("{}{}MSP", first.to_ascii_uppercase(), letters.as_str()),
            roots: OrganizationRoots::generate(&format!("{name}.example"), Timestamp::now(), &mut UnwrapErr(SysRng))?,
        })
    }

    /// A new enrolment.
    pub fn enrol(&self, common_name: &str, role: Role) -> Result<Issued> {
        self.issue(&Authority::load(&self.roots.enrolment)?, common_name, Usage::Enrolment(role))
    }

    /// A new identity.
    pub fn identity(&self, common_name: &str, role: Role) -> Result<SigningIdentity> {
        self.load(&self.enrol(common_name, role)?)
    }

    /// The identity of an enrolment.
    pub fn load(&self, enrolment: &Issued) -> Result<SigningIdentity> {
        Ok(SigningIdentity::load(&self.msp_id, &enrolment.cert_pem, &enrolment.key_pem)?)
    }

    /// A revocation list with these enrolments on it, PEM.
    pub fn revoke(&self, enrolments: &[&Issued]) -> Result<String> {
        let mut revoked = Revocations::new();
        for enrolment in enrolments {
            revoked.insert(CertificateInfo::from_pem(&enrolment.cert_pem)?.serial, Timestamp::now());
        }
        Ok(Authority::load(&self.roots.enrolment)?.revocation_list(&revoked)?)
    }

    /// TLS for a node on loopback.
    pub fn tls_node(&self, common_name: &str) -> Result<Issued> {
        let usage = Usage::TlsNode {
            dns_names: BTreeSet::from([
                "localhost".to_owned(),
                format!("{common_name}.{}.example", self.name),
                // As if it ran in a namespace of network `trade`.
                format!("{common_name}.trade-{}.svc", self.name),
            ]),
            ip_addresses: BTreeSet::from([IpAddr::V4(Ipv4Addr::LOCALHOST)]),
        };
        self.issue(&Authority::load(&self.roots.tls)?, common_name, usage)
    }

    /// A client of admin and operations ports.
    pub fn tls_client(&self, common_name: &str) -> Result<Issued> {
        self.issue(&Authority::load(&self.roots.clients)?, common_name, Usage::TlsClient)
    }

    fn issue(&self, authority: &Authority, common_name: &str, usage: Usage) -> Result<Issued> {
        let request = CertificateRequest { common_name: common_name.to_owned(), usage, lifetime: LEAF_LIFETIME };
        authority
            .issue(&request, Timestamp::now(), &mut UnwrapErr(SysRng))
            .map_err(|error| anyhow!(error).context(format!("issuing {common_name} of {}", self.name)))
    }

    /// Writes a node's local MSP. `administrators` are certificates for `admincerts`, beside whoever has the role.
    pub fn write_msp(&self, folder: &Path, enrolment: &Issued, administrators: &[String]) -> Result<()> {
        let write = |name: &str, text: &str| -> Result<()> {
            let path = folder.join(name);
            fs::create_dir_all(path.parent().unwrap_or(folder))?;
            fs::write(&path, text).with_context(|| format!("writing {}", path.display()))
        };
        write("cacerts/ca.pem", &self.roots.enrolment.cert_pem)?;
        write("tlscacerts/tlsca.pem", &self.roots.tls.cert_pem)?;
        write("signcerts/cert.pem", &enrolment.cert_pem)?;
        write("keystore/key.pem", enrolment.key_pem.expose_pem())?;
        write("config.yaml", NODE_OUS)?;
        for (index, certificate) in administrators.iter().enumerate() {
            write(&format!("admincerts/admin{index}.pem"), certificate)?;
        }
        Ok(())
    }
}
