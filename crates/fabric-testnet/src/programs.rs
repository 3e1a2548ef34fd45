//! Which programs play the nodes.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

/// Says which Fabric there is; the demo and the scenarios ask it too.
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/fabric-programs");

/// The programs that play orderers and peers.
#[derive(Debug, Clone)]
pub enum Programs {
    /// Fabric's own `orderer` and `peer`.
    Real {
        /// The folder that has both.
        folder: PathBuf,
        /// The release that the orderer names.
        version: String,
    },
    /// `fabric-sim orderer` and `fabric-sim peer`.
    Simulated {
        /// The simulator.
        program: PathBuf,
    },
}

impl Programs {
    /// Those that `deploy/fabric-programs` names; where it finds none, the simulator named by `FABRIC_SIM`, or built beside
    /// the running test. Fails where `FABRIC_BIN_DIR` has no such programs.
    pub fn find() -> Result<Self> {
        let output = Command::new(SCRIPT).output().with_context(|| format!("running {SCRIPT}"))?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr).trim());
        match parse(&String::from_utf8_lossy(&output.stdout)) {
            Some((folder, version)) => Ok(Self::Real { folder, version }),
            None => Self::simulator(),
        }
    }

    fn simulator() -> Result<Self> {
        let named = env::var_os("FABRIC_SIM").map(PathBuf::from);
        // Tests run from target/<profile>/deps, programs are in target/<profile>.
        let built = env::current_exe().ok().and_then(|test| Some(test.parent()?.parent()?.join("fabric-sim")));
        match named.into_iter().chain(built).find(|program| program.is_file()) {
            Some(program) => Ok(Self::Simulated { program }),
            None => bail!(
                "no Fabric programs: set FABRIC_BIN_DIR to a folder with orderer and peer, or build the simulator with \
                 `cargo build -p tenter-fabric-sim`"
            ),
        }
    }

    /// One line for the test's output: what it ran on.
    pub fn describe(&self) -> String {
        match self {
            Self::Real { folder, version } => format!("running on real Fabric {version} in {}", folder.display()),
            Self::Simulated { program } => format!("running on the simulator {}", program.display()),
        }
    }

    /// Whether the nodes are Fabric's own.
    pub fn is_real(&self) -> bool {
        matches!(self, Self::Real { .. })
    }

    /// Whether peers can install packages of chaincode as a service. Fabric's need their builder (`ccaas_builder`) beside
    /// them, and without it install nothing; the simulator has its own.
    pub fn have_builder(&self) -> bool {
        match self {
            Self::Real { .. } => self.builder().is_some(),
            Self::Simulated { .. } => true,
        }
    }

    /// The folder of Fabric's builder.
    pub(crate) fn builder(&self) -> Option<PathBuf> {
        let Self::Real { folder, .. } = self else { return None };
        Some(folder.join("ccaas_builder")).filter(|builder| builder.join("bin/build").is_file())
    }
}

/// Folder and version from what the script prints: `real DIR VERSION`, or `simulated`.
fn parse(output: &str) -> Option<(PathBuf, String)> {
    let (folder, version) = output.trim().strip_prefix("real ")?.rsplit_once(' ')?;
    Some((Path::new(folder).to_owned(), version.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_script_prints_is_read() {
        let check = |output: &str, expect: Option<(&str, &str)>| {
            let expect = expect.map(|(folder, version)| (PathBuf::from(folder), version.to_owned()));
            assert_eq!(parse(output), expect, "{output}");
        };
        check("simulated\n", None);
        check("real /usr/local/bin v3.1.5\n", Some(("/usr/local/bin", "v3.1.5")));
        check("real /my programs/fabric unknown\n", Some(("/my programs/fabric", "unknown")));
    }

    #[test]
    fn a_wrong_folder_is_no_reason_to_simulate() {
        let folder = tempfile::tempdir().unwrap();
        let output = Command::new(SCRIPT).env("FABRIC_BIN_DIR", folder.path()).output().unwrap();
        assert!(!output.status.success());
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(text.contains("there is no program orderer in it"), "{text}");
    }

    #[test]
    fn without_programs_it_is_simulated() {
        // The script's own tools, without anything else that PATH may hold.
        let output = Command::new(SCRIPT).env_remove("FABRIC_BIN_DIR").env("PATH", "/usr/bin:/bin").output().unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), "simulated\n");
    }
}
