//! The configuration that the real programs read: one YAML file in `FABRIC_CFG_PATH`, overridden by environment variables.
//!
//! The rules are those of Fabric's `common/viperutil` and `core/config`: keys do not distinguish case; an environment
//! variable is the prefix and the key in upper case with `_` for `.`; an empty variable does not override; a relative
//! path is relative to the folder of the configuration file.

mod units;

pub mod orderer;
pub mod peer;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_yaml::Value;

/// What is wrong with the configuration.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The file cannot be read.
    #[error("error reading configuration {}; set FABRIC_CFG_PATH to the folder that holds it", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is no YAML.
    #[error("{} is no valid YAML", path.display())]
    Yaml {
        /// The file.
        path: PathBuf,
        /// Why.
        source: serde_yaml::Error,
    },
    /// A key the program does not know (the orderer refuses those).
    #[error("{}: unknown key {key}", path.display())]
    UnknownKey {
        /// The file.
        path: PathBuf,
        /// The key, dotted.
        key: String,
    },
    /// A value of the wrong kind.
    #[error("{key}: {value:?} is no {wanted}")]
    Value {
        /// The key, dotted.
        key: String,
        /// What stands there.
        value: String,
        /// What should.
        wanted: &'static str,
    },
    /// Values that do not fit together.
    #[error("{0}")]
    Inconsistent(String),
}

/// One configuration file together with the environment.
#[derive(Debug, Clone)]
pub struct Source {
    tree: Value,
    folder: PathBuf,
    prefix: &'static str,
    environment: BTreeMap<String, String>,
    /// The orderer's lists in variables are `[a, b]`, the peer's are separated by blanks.
    bracketed_lists: bool,
}

impl Source {
    /// Reads `<FABRIC_CFG_PATH>/<stem>.yaml` (the current folder, then `/etc/hyperledger/fabric`, without the variable).
    pub fn load(
        stem: &str,
        prefix: &'static str,
        environment: BTreeMap<String, String>,
    ) -> Result<Self, SettingsError> {
        let path = locate(stem, &environment);
        let text =
            std::fs::read_to_string(&path).map_err(|source| SettingsError::Read { path: path.clone(), source })?;
        let tree = serde_yaml::from_str(&text).map_err(|source| SettingsError::Yaml { path: path.clone(), source })?;
        let folder = path.parent().unwrap_or(Path::new(".")).to_path_buf();
        Ok(Self { tree, folder, prefix, environment, bracketed_lists: prefix == "ORDERER" })
    }

    /// The folder that relative paths start from.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A variable of the environment itself, whatever its prefix.
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.environment.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    fn variable_for(&self, key: &str) -> Option<&str> {
        let name = format!("{}_{}", self.prefix, key.replace('.', "_")).to_uppercase();
        self.variable(&name)
    }

    /// The node of the file at a dotted key.
    pub fn node(&self, key: &str) -> Option<&Value> {
        key.split('.').try_fold(&self.tree, |node, part| {
            node.as_mapping()?
                .iter()
                .find(|(name, _)| name.as_str().is_some_and(|name| name.eq_ignore_ascii_case(part)))
                .map(|(_, value)| value)
        })
    }

    /// The text at a key; empty and null count as absent.
    pub fn text(&self, key: &str) -> Result<Option<String>, SettingsError> {
        if let Some(value) = self.variable_for(key) {
            return Ok(Some(value.to_owned()));
        }
        match self.node(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) if text.is_empty() => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(Value::Bool(flag)) => Ok(Some(flag.to_string())),
            Some(Value::Number(number)) => Ok(Some(number.to_string())),
            Some(other) => {
                Err(SettingsError::Value { key: key.to_owned(), value: format!("{other:?}"), wanted: "text" })
            }
        }
    }

    /// The text at a key, or a default.
    pub fn text_or(&self, key: &str, default: &str) -> Result<String, SettingsError> {
        Ok(self.text(key)?.unwrap_or_else(|| default.to_owned()))
    }

    fn parsed<T>(
        &self,
        key: &str,
        default: T,
        wanted: &'static str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<T, SettingsError> {
        match self.text(key)? {
            None => Ok(default),
            Some(value) => parse(&value).ok_or(SettingsError::Value { key: key.to_owned(), value, wanted }),
        }
    }

    /// A yes or no, as Go's `strconv.ParseBool` reads it.
    pub fn flag(&self, key: &str, default: bool) -> Result<bool, SettingsError> {
        self.parsed(key, default, "boolean", units::flag)
    }

    /// A port.
    pub fn port(&self, key: &str) -> Result<Option<u16>, SettingsError> {
        self.parsed(key, None, "port number", |text| text.parse().ok().map(Some))
    }

    /// A number of bytes, such as `1 MB`.
    pub fn bytes(&self, key: &str, default: usize) -> Result<usize, SettingsError> {
        self.parsed(key, default, "size in bytes", units::bytes)
    }

    /// A Go duration such as `15m`.
    pub fn duration(&self, key: &str, default: Duration) -> Result<Duration, SettingsError> {
        self.parsed(key, default, "duration", units::duration)
    }

    /// A list of texts.
    pub fn list(&self, key: &str) -> Result<Vec<String>, SettingsError> {
        if let Some(value) = self.variable_for(key) {
            return Ok(if self.bracketed_lists {
                value
                    .trim_start_matches('[')
                    .trim_end_matches(']')
                    .split(',')
                    .map(|part| part.trim().to_owned())
                    .filter(|part| !part.is_empty())
                    .collect()
            } else {
                value.split_whitespace().map(str::to_owned).collect()
            });
        }
        match self.node(key) {
            None | Some(Value::Null) => Ok(Vec::new()),
            Some(Value::String(text)) => Ok(text.split_whitespace().map(str::to_owned).collect()),
            Some(Value::Sequence(items)) => {
                Ok(items.iter().filter_map(|item| item.as_str()).map(str::to_owned).collect())
            }
            Some(other) => {
                Err(SettingsError::Value { key: key.to_owned(), value: format!("{other:?}"), wanted: "list" })
            }
        }
    }

    /// A path, made absolute from the configuration's folder.
    pub fn path(&self, key: &str) -> Result<Option<PathBuf>, SettingsError> {
        Ok(self.text(key)?.map(|text| self.folder.join(text)))
    }

    /// A list of paths.
    pub fn paths(&self, key: &str) -> Result<Vec<PathBuf>, SettingsError> {
        Ok(self.list(key)?.into_iter().map(|text| self.folder.join(text)).collect())
    }

    /// Refuses keys that are neither in `known` nor above or (where they end in `.*`) below one of them.
    pub fn refuse_unknown(&self, stem: &str, known: &[&str]) -> Result<(), SettingsError> {
        let mut found = Vec::new();
        collect_keys(&self.tree, "", &mut found);
        let known: Vec<String> = known.iter().map(|key| key.to_lowercase()).collect();
        for key in found {
            let low = key.to_lowercase();
            let fits = known.iter().any(|pattern| {
                pattern.strip_suffix(".*").map_or_else(
                    || *pattern == low || pattern.starts_with(&format!("{low}.")),
                    |stem| low == stem || low.starts_with(&format!("{stem}.")) || stem.starts_with(&format!("{low}.")),
                )
            });
            if !fits {
                return Err(SettingsError::UnknownKey { path: self.folder.join(format!("{stem}.yaml")), key });
            }
        }
        Ok(())
    }
}

fn collect_keys(node: &Value, at: &str, found: &mut Vec<String>) {
    let Some(mapping) = node.as_mapping() else {
        return;
    };
    for (name, value) in mapping {
        let name = name.as_str().unwrap_or_default();
        let key = if at.is_empty() { name.to_owned() } else { format!("{at}.{name}") };
        collect_keys(value, &key, found);
        found.push(key);
    }
}

fn locate(stem: &str, environment: &BTreeMap<String, String>) -> PathBuf {
    let file = format!("{stem}.yaml");
    if let Some(folder) = environment.get("FABRIC_CFG_PATH").filter(|folder| !folder.is_empty()) {
        return Path::new(folder).join(file);
    }
    let here = Path::new(".").join(&file);
    if here.exists() { here } else { Path::new("/etc/hyperledger/fabric").join(file) }
}

/// Nanoseconds of a duration as Go writes it, which channel configurations also use; the error's text is Go's.
pub fn parse_go_duration(text: &str) -> Result<i128, String> {
    units::go_duration(text)
}

/// The TLS part of a listener.
#[derive(Debug, Clone, Default)]
pub struct TlsFiles {
    /// Whether TLS is on.
    pub enabled: bool,
    /// PEM certificate.
    pub certificate: Option<PathBuf>,
    /// PEM private key.
    pub key: Option<PathBuf>,
    /// Whether a client must show a certificate.
    pub client_auth_required: bool,
    /// Roots that client certificates are judged by.
    pub client_roots: Vec<PathBuf>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(yaml: &str, prefix: &'static str, environment: &[(&str, &str)]) -> Source {
        Source {
            tree: serde_yaml::from_str(yaml).unwrap(),
            folder: PathBuf::from("/cfg"),
            prefix,
            environment: environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            bracketed_lists: prefix == "ORDERER",
        }
    }

    #[test]
    fn environment_overrides_unless_it_is_empty() {
        let yaml = "General:\n  ListenPort: 7050\n  TLS: {Enabled: false, RootCAs: [tls/ca.crt]}\n";
        let plain = source(yaml, "ORDERER", &[("ORDERER_GENERAL_LISTENPORT", "")]);
        assert_eq!(plain.port("general.listenport").unwrap(), Some(7050));
        assert_eq!(plain.paths("General.TLS.RootCAs").unwrap(), [PathBuf::from("/cfg/tls/ca.crt")]);
        let other = source(
            yaml,
            "ORDERER",
            &[
                ("ORDERER_GENERAL_LISTENPORT", "9"),
                ("ORDERER_GENERAL_TLS_ROOTCAS", "[a, /b]"),
                ("ORDERER_GENERAL_TLS_ENABLED", "true"),
            ],
        );
        assert_eq!(other.port("General.ListenPort").unwrap(), Some(9));
        assert!(other.flag("General.TLS.Enabled", false).unwrap());
        assert_eq!(other.paths("General.TLS.RootCAs").unwrap(), [PathBuf::from("/cfg/a"), PathBuf::from("/b")]);
    }

    #[test]
    fn a_peers_list_is_separated_by_blanks() {
        let peer = source("peer: {}", "CORE", &[("CORE_PEER_X", "a b")]);
        assert_eq!(peer.list("peer.x").unwrap(), ["a", "b"]);
    }

    #[test]
    fn unknown_keys_are_named() {
        let bad = source("General: {ListenPort: 1, Lisen: 2}", "ORDERER", &[]);
        let error = bad.refuse_unknown("orderer", &["General.ListenPort"]).unwrap_err();
        assert!(error.to_string().contains("General.Lisen"), "{error}");
    }
}
