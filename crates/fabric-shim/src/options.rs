//! How a contract is served, from the environment variables that Fabric's own samples use.

use std::path::PathBuf;
use std::{fmt, fs, io};

/// Where and as what a contract is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceOptions {
    /// Where peers connect: `host:port`.
    pub address: String,
    /// Id of the installed package, `label:hash`: by this the peer knows which chaincode it has reached.
    pub package_id: String,
    /// Certificate and key; without them, connections are neither encrypted nor authenticated.
    pub tls: Option<TlsOptions>,
}

/// Certificate, key and roots, all in PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct TlsOptions {
    /// The server's certificate, with its intermediates after it.
    pub certificate: Vec<u8>,
    /// The certificate's private key.
    pub key: Vec<u8>,
    /// Where set, peers must show a certificate that one of these roots has issued.
    pub client_roots: Option<Vec<u8>>,
}

impl fmt::Debug for TlsOptions {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { certificate: _, key: _, client_roots } = self;
        formatter.debug_struct("TlsOptions").field("client_roots", &client_roots.is_some()).finish_non_exhaustive()
    }
}

/// The environment does not say how to serve.
#[derive(Debug, thiserror::Error)]
pub enum OptionsError {
    /// A variable is missing or empty.
    #[error("{name} is not set: it must be {meaning}")]
    Missing {
        /// The variable.
        name: &'static str,
        /// What it must hold.
        meaning: &'static str,
    },
    /// A variable holds neither yes nor no.
    #[error("{name} is `{value}`: it must be `true` or `false`")]
    NotBoolean {
        /// The variable.
        name: &'static str,
        /// What it holds.
        value: String,
    },
    /// A file cannot be read.
    #[error("{name} names {}, which cannot be read", path.display())]
    File {
        /// The variable.
        name: &'static str,
        /// What it holds.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

const ADDRESS: &str = "CHAINCODE_SERVER_ADDRESS";
const ID: &str = "CHAINCODE_ID";
const ID_OF_LAUNCHER: &str = "CORE_CHAINCODE_ID_NAME";
const TLS_DISABLED: &str = "CHAINCODE_TLS_DISABLED";
const TLS_KEY: &str = "CHAINCODE_TLS_KEY";
const TLS_CERTIFICATE: &str = "CHAINCODE_TLS_CERT";
const CLIENT_ROOTS: &str = "CHAINCODE_CLIENT_CA_CERT";

impl ServiceOptions {
    /// Reads the environment:
    ///
    /// | variable | |
    /// |---|---|
    /// | `CHAINCODE_SERVER_ADDRESS` | where to listen, `host:port`; `:port` means on every IPv4 address |
    /// | `CHAINCODE_ID`, or `CORE_CHAINCODE_ID_NAME` | package id, `label:hash` |
    /// | `CHAINCODE_TLS_DISABLED` | `false` asks for TLS; not set, TLS is on if a key or a certificate is named |
    /// | `CHAINCODE_TLS_KEY`, `CHAINCODE_TLS_CERT` | PEM files |
    /// | `CHAINCODE_CLIENT_CA_CERT` | PEM file; peers must then show a certificate of these roots |
    pub fn from_environment() -> Result<Self, OptionsError> {
        Self::from_variables(|name| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned()))
    }

    /// As [`from_environment`](Self::from_environment), with the variables from elsewhere.
    pub fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Result<Self, OptionsError> {
        let variable = |name: &'static str| variable(name).filter(|value| !value.is_empty());
        let required = |name, meaning| variable(name).ok_or(OptionsError::Missing { name, meaning });
        let address = required(ADDRESS, "where to listen, such as 0.0.0.0:9999")?;
        let address = if address.starts_with(':') { format!("0.0.0.0{address}") } else { address };
        let package_id = variable(ID).or_else(|| variable(ID_OF_LAUNCHER));
        let package_id = package_id
            .ok_or(OptionsError::Missing { name: ID, meaning: "the id of the installed package, `label:hash`" })?;
        let disabled = match variable(TLS_DISABLED) {
            None => variable(TLS_KEY).is_none() && variable(TLS_CERTIFICATE).is_none(),
            Some(value) => match value.to_ascii_lowercase().as_str() {
                "true" | "t" | "1" => true,
                "false" | "f" | "0" => false,
                _ => return Err(OptionsError::NotBoolean { name: TLS_DISABLED, value }),
            },
        };
        let tls = if disabled {
            None
        } else {
            let key = required(TLS_KEY, "the PEM file of the private key, because TLS is on")?;
            let certificate = required(TLS_CERTIFICATE, "the PEM file of the certificate, because TLS is on")?;
            Some(TlsOptions {
                key: read(TLS_KEY, key)?,
                certificate: read(TLS_CERTIFICATE, certificate)?,
                client_roots: variable(CLIENT_ROOTS).map(|path| read(CLIENT_ROOTS, path)).transpose()?,
            })
        };
        Ok(Self { address, package_id, tls })
    }
}

fn read(name: &'static str, path: String) -> Result<Vec<u8>, OptionsError> {
    let path = PathBuf::from(path);
    fs::read(&path).map_err(|source| OptionsError::File { name, path, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(variables: &[(&str, &str)], expect: Result<(&str, &str, bool), &str>) {
        let found = ServiceOptions::from_variables(|name| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        });
        let found = found.map_err(|error| error.to_string());
        let found = found
            .as_ref()
            .map(|options| (options.address.as_str(), options.package_id.as_str(), options.tls.is_some()))
            .map_err(String::as_str);
        assert_eq!(found, expect, "{variables:?}");
    }

    const HERE: (&str, &str) = (ADDRESS, "0.0.0.0:9999");
    const MANIFEST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");

    #[test]
    fn address_and_package_are_required() {
        check(&[], Err("CHAINCODE_SERVER_ADDRESS is not set: it must be where to listen, such as 0.0.0.0:9999"));
        let missing = "CHAINCODE_ID is not set: it must be the id of the installed package, `label:hash`";
        check(&[HERE], Err(missing));
        check(&[HERE, (ID, "")], Err(missing));
        check(&[HERE, (ID, "a:1")], Ok(("0.0.0.0:9999", "a:1", false)));
        check(&[HERE, (ID_OF_LAUNCHER, "b:2")], Ok(("0.0.0.0:9999", "b:2", false)));
        check(&[HERE, (ID, "a:1"), (ID_OF_LAUNCHER, "b:2")], Ok(("0.0.0.0:9999", "a:1", false)));
        check(&[(ADDRESS, ":7052"), (ID, "a:1")], Ok(("0.0.0.0:7052", "a:1", false)));
    }

    #[test]
    fn tls_needs_a_key_and_a_certificate() {
        let with = |more: &[(&'static str, &'static str)]| [&[HERE, (ID, "a:1")], more].concat();
        let (on, off) = (Ok(("0.0.0.0:9999", "a:1", true)), Ok(("0.0.0.0:9999", "a:1", false)));
        let (key, certificate) = ((TLS_KEY, MANIFEST), (TLS_CERTIFICATE, MANIFEST));
        let no_key = "CHAINCODE_TLS_KEY is not set: it must be the PEM file of the private key, because TLS is on";
        let no_certificate =
            "CHAINCODE_TLS_CERT is not set: it must be the PEM file of the certificate, because TLS is on";
        check(&with(&[(TLS_DISABLED, "false")]), Err(no_key));
        check(&with(&[(TLS_DISABLED, "false"), key]), Err(no_certificate));
        check(&with(&[(TLS_DISABLED, "False"), key, certificate]), on);
        check(&with(&[(TLS_DISABLED, "true"), key, certificate]), off);
        check(&with(&[key, certificate]), on);
        check(&with(&[certificate]), Err(no_key));
        check(&with(&[(TLS_DISABLED, "no"), key]), Err("CHAINCODE_TLS_DISABLED is `no`: it must be `true` or `false`"));
        check(
            &with(&[key, certificate, (CLIENT_ROOTS, "/nowhere/ca.pem")]),
            Err("CHAINCODE_CLIENT_CA_CERT names /nowhere/ca.pem, which cannot be read"),
        );
    }

    #[test]
    fn a_key_is_never_shown() {
        let options =
            TlsOptions { certificate: b"open".to_vec(), key: b"secret".to_vec(), client_roots: Some(Vec::new()) };
        assert_eq!(format!("{options:?}"), "TlsOptions { client_roots: true, .. }");
    }
}
