//! Installed packages, and the builder for chaincode as a service (Fabric `core/chaincode/persistence`,
//! `core/container/externalbuilder`, `ccaas_builder`).
//!
//! The programs of an external builder are not run: one whose name or folder is `ccaas_builder` is taken for the one
//! that comes with Fabric.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::package::{self, Package};
use crate::settings;
use crate::settings::peer::{Builder, PeerSettings};

/// The variable that templates are filled from.
pub const TEMPLATE_VARIABLE: &str = "CHAINCODE_AS_A_SERVICE_BUILDER_CONFIG";
const DIAL: Duration = Duration::from_secs(3);
/// Written last: with it a build is whole.
const BUILD_INFO: &str = "build-info.json";

/// Why a package is not installed or found; the texts are Fabric's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InstallError(pub String);

/// An installed package.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Installed {
    /// Its id.
    pub id: String,
    /// Its label.
    pub label: String,
}

/// `connection.json` as the builder writes it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Connection {
    address: String,
    dial_timeout: String,
    tls_required: bool,
    client_auth_required: bool,
    root_cert: String,
    client_key: String,
    client_cert: String,
}

/// Where a chaincode's service is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// `host:port`.
    pub address: String,
    /// How long a connection may take to be made.
    pub dial_timeout: Duration,
    /// Roots, and certificate and key where they are demanded, in PEM; none without TLS.
    pub tls: Option<ServiceTls>,
}

/// TLS towards a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceTls {
    /// The roots.
    pub roots: String,
    /// Certificate and key.
    pub client: Option<(String, String)>,
}

/// The packages of a peer.
#[derive(Debug)]
pub struct Store {
    packages: PathBuf,
    builds: PathBuf,
    builders: Vec<Builder>,
    docker: bool,
    templates: Option<String>,
    installing: Mutex<()>,
}

impl Store {
    /// The packages below the peer's folder.
    pub fn new(settings: &PeerSettings) -> Self {
        Self {
            packages: settings.data.join("lifecycle/chaincodes"),
            builds: settings.data.join("externalbuilder/builds"),
            builders: settings.chaincode.builders.clone(),
            docker: settings.chaincode.docker,
            templates: std::env::var(TEMPLATE_VARIABLE).ok().filter(|text| !text.is_empty()),
            installing: Mutex::new(()),
        }
    }

    fn path(&self, id: &str) -> PathBuf {
        self.packages.join(format!("{}.tar.gz", id.replacen(':', ".", 1)))
    }

    fn build(&self, id: &str) -> PathBuf {
        let name: String = id.chars().map(|c| if "<>:\"/\\|?*&".contains(c) { '-' } else { c }).collect();
        self.builds.join(name)
    }

    /// The ids and labels, in order of the id.
    pub fn list(&self) -> Vec<Installed> {
        let mut found: Vec<Installed> = std::fs::read_dir(&self.packages)
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| {
                let name = entry.file_name().to_string_lossy().into_owned();
                let (label, hash) = name.strip_suffix(".tar.gz")?.rsplit_once('.')?;
                let hex = hash.len() == 64 && hash.bytes().all(|c| c.is_ascii_digit() || (b'a'..=b'f').contains(&c));
                hex.then(|| Installed { id: format!("{label}:{hash}"), label: label.to_owned() })
            })
            .collect();
        found.sort();
        found
    }

    /// One by its id.
    pub fn find(&self, id: &str) -> Option<Installed> {
        self.list().into_iter().find(|found| found.id == id)
    }

    /// The bytes of one.
    pub fn load(&self, id: &str) -> Option<Vec<u8>> {
        self.find(id).and_then(|found| std::fs::read(self.path(&found.id)).ok())
    }

    /// Installs and builds a package.
    pub fn install(&self, bytes: &[u8]) -> Result<Installed, InstallError> {
        let parsed = Package::parse(bytes)
            .map_err(|error| InstallError(format!("could not parse as a chaincode install package: {error}")))?;
        let label = parsed.metadata.label.clone();
        let id = package::id(&label, bytes);
        let _one_at_a_time = self.installing.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if self.path(&id).exists() {
            return Err(InstallError(format!("chaincode already successfully installed (package ID '{id}')")));
        }
        self.run_builder(&id, &parsed).map_err(|text| InstallError(format!("could not build chaincode: {text}")))?;
        write(&self.path(&id), bytes)
            .map_err(|error| InstallError(format!("could not save cc install package: {error}")))?;
        Ok(Installed { id, label })
    }

    /// Builds the installed packages that have no build, as a peer does when it starts. One that has a build keeps it,
    /// whatever its templates would be filled with now.
    pub fn build_missing(&self) {
        for Installed { id, .. } in self.list() {
            if self.build(&id).join(BUILD_INFO).exists() {
                continue;
            }
            let built = self.load(&id).ok_or_else(|| "the package is gone".to_owned()).and_then(|bytes| {
                let parsed = Package::parse(&bytes).map_err(|error| error.to_string())?;
                self.run_builder(&id, &parsed)
            });
            if let Err(text) = built {
                tracing::error!(id, "could not build chaincode: {text}");
            }
        }
    }

    fn run_builder(&self, id: &str, package: &Package) -> Result<(), String> {
        let ccaas = package.metadata.r#type.eq_ignore_ascii_case("ccaas");
        let Some(builder) = self.builders.iter().find(|builder| ccaas && builder.is_ccaas()) else {
            return Err(if self.docker {
                "docker build failed: docker image inspection failed: cannot connect to Docker endpoint".to_owned()
            } else {
                "docker build failed: docker build is disabled".to_owned()
            });
        };
        let connection = self.render(builder, package).map_err(|text| {
            // The builder's own words go to its log; the peer only sees how the process ended.
            tracing::warn!(builder = builder.name, reason = text, "the builder fails");
            format!(
                "external builder failed: external builder failed to build: external builder '{}' failed: exit status 1",
                builder.name
            )
        })?;
        let failed = |error: std::io::Error| format!("external builder failed: could not write build output: {error}");
        let dir = self.build(id);
        let json = serde_json::to_vec(&connection).map_err(|error| error.to_string())?;
        for place in ["bld/connection.json", "release/chaincode/server/connection.json"] {
            write(&dir.join(place), &json).map_err(failed)?;
        }
        write(&dir.join("bld/metadata.json"), &package.metadata_bytes).map_err(failed)?;
        let info = serde_json::json!({ "builder_name": builder.name });
        write(&dir.join(BUILD_INFO), info.to_string().as_bytes()).map_err(failed)
    }

    fn render(&self, builder: &Builder, package: &Package) -> Result<Connection, String> {
        let file = package
            .code
            .iter()
            .find(|entry| entry.is_file() && entry.name.trim_start_matches("./") == "connection.json")
            .ok_or("connection.json not found")?;
        let raw: Connection = serde_json::from_slice(&file.content).map_err(|error| error.to_string())?;
        let passed = builder.propagate.iter().any(|name| name == TEMPLATE_VARIABLE);
        let values: Option<BTreeMap<String, Value>> = match self.templates.as_ref().filter(|_| passed) {
            Some(text) => Some(serde_json::from_str(text).map_err(|error| format!("Failed to unmarshal {error}"))?),
            None => None,
        };
        let values = values.unwrap_or_default();
        let render = |name: &str, text: &str| {
            fill(text, &values).map_err(|error| format!("Failed to parse the {name} field template: {error}"))
        };
        let mut rendered = Connection {
            address: render("Address", &raw.address)?,
            dial_timeout: render("DialTimeout", &raw.dial_timeout)?,
            ..Connection::default()
        };
        if raw.tls_required {
            rendered.tls_required = true;
            rendered.client_auth_required = raw.client_auth_required;
            rendered.root_cert = render("RootCert", &raw.root_cert)?;
            rendered.client_key = render("ClientKey", &raw.client_key)?;
            rendered.client_cert = render("ClientCert", &raw.client_cert)?;
        }
        Ok(rendered)
    }

    /// Where a package's service is, read anew each time, as the file may be changed.
    pub fn service(&self, id: &str) -> Result<Service, InstallError> {
        let path = self.build(id).join("release/chaincode/server/connection.json");
        read_service(&path).map_err(InstallError)
    }
}

fn read_service(path: &Path) -> Result<Service, String> {
    let shown = path.display();
    let bytes = std::fs::read(path).map_err(|error| format!("could not read '{shown}' for chaincode info: {error}"))?;
    let malformed = |text: String| format!("malformed chaincode info at '{shown}': {text}");
    let found: Connection = serde_json::from_slice(&bytes).map_err(|error| malformed(error.to_string()))?;
    let timeout = settings::parse_go_duration(&found.dial_timeout).map_err(malformed)?;
    if found.address.is_empty() {
        return Err("chaincode address not provided".to_owned());
    }
    let mut service = Service {
        address: found.address,
        dial_timeout: u64::try_from(timeout).ok().filter(|nanos| *nanos > 0).map_or(DIAL, Duration::from_nanos),
        tls: None,
    };
    if !found.tls_required {
        return Ok(service);
    }
    if found.client_auth_required && found.client_key.is_empty() {
        return Err("chaincode tls key not provided".to_owned());
    }
    if found.client_auth_required && found.client_cert.is_empty() {
        return Err("chaincode tls cert not provided".to_owned());
    }
    if found.root_cert.is_empty() {
        return Err("chaincode tls root cert not provided".to_owned());
    }
    service.tls = Some(ServiceTls {
        roots: found.root_cert,
        client: found.client_auth_required.then_some((found.client_cert, found.client_key)),
    });
    Ok(service)
}

fn write(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    let temporary = path.with_extension("new");
    std::fs::write(&temporary, bytes)?;
    std::fs::rename(temporary, path)
}

/// The part of Go's templates that such files use: text, and `{{.name}}` or `{{.name.name}}` of what there is.
fn fill(template: &str, values: &BTreeMap<String, Value>) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        let (action, after) = after.split_once("}}").ok_or("unclosed action")?;
        let (trims_left, trims_right) = (action.starts_with("- "), action.ends_with(" -"));
        out.push_str(if trims_left { before.trim_end() } else { before });
        let action = action.trim_start_matches("- ").trim_end_matches(" -").trim();
        let path = action.strip_prefix('.').ok_or_else(|| format!("unexpected {action:?} in command"))?;
        let mut names = path.split('.');
        let mut found = names.next().and_then(|name| values.get(name));
        for name in names {
            found = found.and_then(|value| value.get(name));
        }
        match found.ok_or_else(|| format!("at <.{path}>: map has no entry for key {path:?}"))? {
            Value::String(text) => out.push_str(text),
            Value::Null => out.push_str("<no value>"),
            other => out.push_str(&other.to_string()),
        }
        rest = if trims_right { after.trim_start() } else { after };
    }
    out.push_str(rest);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(template: &str, expect: Result<&str, &str>) {
        let values = serde_json::from_str(r#"{"peername":"peer0","port":9999,"tls":{"on":true}}"#).unwrap();
        match (fill(template, &values), expect) {
            (Ok(got), Ok(expect)) => assert_eq!(got, expect),
            (Err(got), Err(part)) => assert!(got.contains(part), "{got}"),
            (got, _) => panic!("{template}: {got:?}"),
        }
    }

    #[test]
    fn templates_are_filled() {
        check("plain:1", Ok("plain:1"));
        check("{{.peername}}_asset:{{ .port }}", Ok("peer0_asset:9999"));
        check("{{.tls.on}}", Ok("true"));
        check("a {{- .peername -}} b", Ok("apeer0b"));
        check("{{.nothing}}", Err("map has no entry"));
        check("{{.peername", Err("unclosed"));
        check("{{peername}}", Err("unexpected"));
    }
}
