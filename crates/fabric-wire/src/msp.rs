//! Package `msp`: MSP definitions and serialized identities.

/// Hash families that an MSP uses.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct FabricCryptoConfig {
    #[prost(string, tag = "1")]
    pub signature_hash_family: String,
    #[prost(string, tag = "2")]
    pub identity_identifier_hash_function: String,
}

/// An MSP that verifies X.509 certificates; certificates and revocation lists are PEM.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct FabricMspConfig {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(bytes = "vec", repeated, tag = "2")]
    pub root_certs: Vec<Vec<u8>>,
    #[prost(bytes = "vec", repeated, tag = "3")]
    pub intermediate_certs: Vec<Vec<u8>>,
    #[prost(bytes = "vec", repeated, tag = "4")]
    pub admins: Vec<Vec<u8>>,
    #[prost(bytes = "vec", repeated, tag = "5")]
    pub revocation_list: Vec<Vec<u8>>,
    #[prost(message, optional, tag = "6")]
    pub signing_identity: Option<SigningIdentityInfo>,
    #[prost(message, repeated, tag = "7")]
    pub organizational_unit_identifiers: Vec<FabricOuIdentifier>,
    #[prost(message, optional, tag = "8")]
    pub crypto_config: Option<FabricCryptoConfig>,
    #[prost(bytes = "vec", repeated, tag = "9")]
    pub tls_root_certs: Vec<Vec<u8>>,
    #[prost(bytes = "vec", repeated, tag = "10")]
    pub tls_intermediate_certs: Vec<Vec<u8>>,
    #[prost(message, optional, tag = "11")]
    pub fabric_node_ous: Option<FabricNodeOus>,
}

/// The organisational units that tell an identity's role.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct FabricNodeOus {
    #[prost(bool, tag = "1")]
    pub enable: bool,
    #[prost(message, optional, tag = "2")]
    pub client_ou_identifier: Option<FabricOuIdentifier>,
    #[prost(message, optional, tag = "3")]
    pub peer_ou_identifier: Option<FabricOuIdentifier>,
    #[prost(message, optional, tag = "4")]
    pub admin_ou_identifier: Option<FabricOuIdentifier>,
    #[prost(message, optional, tag = "5")]
    pub orderer_ou_identifier: Option<FabricOuIdentifier>,
}

/// An organisational unit, optionally bound to the certificate of an issuer.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct FabricOuIdentifier {
    #[prost(bytes = "vec", tag = "1")]
    pub certificate: Vec<u8>,
    #[prost(string, tag = "2")]
    pub organizational_unit_identifier: String,
}

/// A private key of a node's own MSP; never part of a channel's configuration.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct KeyInfo {
    #[prost(string, tag = "1")]
    pub key_identifier: String,
    #[prost(bytes = "vec", tag = "2")]
    pub key_material: Vec<u8>,
}

/// An MSP of some type; type 0 is [`FabricMspConfig`].
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct MspConfig {
    #[prost(int32, tag = "1")]
    pub r#type: i32,
    #[prost(bytes = "vec", tag = "2")]
    pub config: Vec<u8>,
}

/// An identity as it is sent: MSP ID and certificate as PEM.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct SerializedIdentity {
    #[prost(string, tag = "1")]
    pub mspid: String,
    #[prost(bytes = "vec", tag = "2")]
    pub id_bytes: Vec<u8>,
}

/// A node's own identity; never part of a channel's configuration.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct SigningIdentityInfo {
    #[prost(bytes = "vec", tag = "1")]
    pub public_signer: Vec<u8>,
    #[prost(message, optional, tag = "2")]
    pub private_signer: Option<KeyInfo>,
}
