//! Which programs play the nodes.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

/// The programs that play orderers and peers.
#[derive(Debug, Clone)]
pub enum Programs {
    /// Fabric's own `orderer` and `peer`.
    Real {
        /// Program of the ordering node.
        orderer: PathBuf,
        /// Program of the peer.
        peer: PathBuf,
    },
    /// `fabric-sim orderer` and `fabric-sim peer`.
    Simulated {
        /// The simulator.
        program: PathBuf,
    },
}

impl Programs {
    /// Real programs in `FABRIC_BIN_DIR` or on PATH; else the simulator named by `FABRIC_SIM`, or built beside the
    /// running test.
    pub fn find() -> Result<Self> {
        let mut folders: Vec<PathBuf> = env::var_os("FABRIC_BIN_DIR").map(PathBuf::from).into_iter().collect();
        folders.extend(env::var_os("PATH").iter().flat_map(env::split_paths));
        let real = folders.iter().map(|folder| (folder.join("orderer"), folder.join("peer")));
        if let Some((orderer, peer)) = real.into_iter().find(|(orderer, peer)| orderer.is_file() && peer.is_file()) {
            return Ok(Self::Real { orderer, peer });
        }
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
            Self::Real { orderer, .. } => {
                format!("running on real Fabric in {}", orderer.parent().unwrap_or(Path::new(".")).display())
            }
            Self::Simulated { program } => format!("running on the simulator {}", program.display()),
        }
    }

    /// Whether the nodes are Fabric's own.
    pub fn is_real(&self) -> bool {
        matches!(self, Self::Real { .. })
    }
}
