//! TLS, with and without certificates of peers.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tenter_fabric_shim::testing::Ledger;
use tenter_fabric_shim::{ServeError, TlsOptions};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use crate::fake::{Peer, Service, service, soon};

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn root(&self) -> Vec<u8> {
        self.0.pem().into_bytes()
    }

    /// Certificate and key for a name.
    fn issue(&self, name: &str) -> (Vec<u8>, Vec<u8>) {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new([name.to_owned()]).unwrap().signed_by(&key, &self.0).unwrap();
        (certificate.pem().into_bytes(), key.serialize_pem().into_bytes())
    }
}

fn options(authority: &Authority, client_roots: Option<Vec<u8>>) -> TlsOptions {
    let (certificate, key) = authority.issue("contract");
    TlsOptions { certificate, key, client_roots }
}

async fn dial(
    service: &Service,
    root: Vec<u8>,
    identity: Option<(Vec<u8>, Vec<u8>)>,
) -> Result<Channel, tonic::transport::Error> {
    let tls = ClientTlsConfig::new().domain_name("contract").ca_certificate(Certificate::from_pem(root));
    let tls = match identity {
        Some((certificate, key)) => tls.identity(Identity::from_pem(certificate, key)),
        None => tls,
    };
    let address = format!("https://{}", service.address);
    soon(Endpoint::from_shared(address).unwrap().tls_config(tls).unwrap().connect()).await
}

async fn works(channel: Channel) {
    let mut peer = Peer::connect(channel).await.unwrap();
    peer.handshake().await;
    assert_eq!(peer.text(&mut Ledger::default(), "t1", &["Get", "a"]).await, "none");
}

/// Under TLS 1.3 a client learns of a refusal only after its handshake.
async fn refused(channel: Result<Channel, tonic::transport::Error>) {
    if let Ok(channel) = channel {
        let outcome = match Peer::connect(channel).await {
            Ok(mut peer) => peer.receive().await.map(drop),
            Err(status) => Err(status),
        };
        outcome.unwrap_err();
    }
}

#[tokio::test]
async fn connections_are_encrypted() {
    let authority = Authority::new("contracts");
    let service = service(Some(options(&authority, None))).await;
    works(dial(&service, authority.root(), None).await.unwrap()).await;
    dial(&service, Authority::new("others").root(), None).await.unwrap_err();
    let plain = Endpoint::from_shared(format!("http://{}", service.address)).unwrap().connect().await;
    refused(plain).await;
    works(dial(&service, authority.root(), None).await.unwrap()).await;
}

#[tokio::test]
async fn peers_must_show_a_certificate_where_roots_are_set() {
    let (authority, peers) = (Authority::new("contracts"), Authority::new("peers"));
    let service = service(Some(options(&authority, Some(peers.root())))).await;
    works(dial(&service, authority.root(), Some(peers.issue("peer0"))).await.unwrap()).await;
    refused(dial(&service, authority.root(), None).await).await;
    refused(dial(&service, authority.root(), Some(authority.issue("stranger"))).await).await;
}

#[tokio::test]
async fn files_of_no_use_are_an_error() {
    let authority = Authority::new("contracts");
    let good = options(&authority, None);
    let other = authority.issue("another").1;
    for bad in [
        TlsOptions { certificate: b"nothing".to_vec(), ..good.clone() },
        TlsOptions { key: b"nothing".to_vec(), ..good.clone() },
        TlsOptions { key: other, ..good.clone() },
        TlsOptions { client_roots: Some(b"nothing".to_vec()), ..good },
    ] {
        let outcome = soon(service(Some(bad)).await.ended).await.unwrap();
        assert!(matches!(outcome, Err(ServeError::Tls(_))), "{outcome:?}");
    }
}
