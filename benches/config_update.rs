//! Time to compute the config update that adds an organisation to a channel of 10 and of 100 organisations, and to judge who
//! must sign it; beside it, in the same run, Fabric's own `configtxlator compute_update` for the same configurations,
//! where that program is at hand (`FABRIC_BIN_DIR`, or PATH).

#![expect(clippy::print_stdout, reason = "it prints what it measured")]

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use getrandom::SysRng;
use getrandom::rand_core::UnwrapErr;
use jiff::Timestamp;
use tenter_fabric::ca::OrganizationRoots;
use tenter_fabric::config::update::ConfigUpdate;
use tenter_fabric::config::{
    ApplicationOrganization, ChannelConfig, Consensus, CurrentConfig, OrdererOrganization, RaftConsenter, RaftOptions,
};
use tenter_fabric::msp::{MspDefinition, Pem};
use tenter_fabric::policy::{Judge, defaults};

/// Channels to measure, in member organisations.
const SIZES: [usize; 2] = [10, 100];
/// Repetitions of each measurement; the median is printed.
const ROUNDS: usize = 21;
/// Name of the channel.
const CHANNEL: &str = "bench";

fn main() -> Result<(), Box<dyn Error>> {
    let tool = configtxlator();
    println!(
        "{:>13} {:>11} {:>9} {:>17} {:>7}",
        "organisations", "compute ms", "judge ms", "configtxlator ms", "ratio"
    );
    for members in SIZES {
        let (current, wanted) = channel(members)?;
        let bytes = current.to_config_bytes();
        let computed = median(|| {
            let live = CurrentConfig::from_bytes(CHANNEL, &bytes)?;
            ConfigUpdate::compute(&live, &wanted).ok_or("no difference")?;
            Ok(())
        })?;
        let live = CurrentConfig::from_bytes(CHANNEL, &bytes)?;
        let update = ConfigUpdate::compute(&live, &wanted).ok_or("no difference")?;
        let judged = median(|| {
            let judge = Judge::new(live.config());
            judge.needed_for(&live, &update, &[]).to_string();
            Ok(())
        })?;
        let theirs = match &tool {
            Some(tool) => Some(by_tool(tool, &bytes, &wanted.to_config_bytes())?),
            None => None,
        };
        let (theirs, ratio) = theirs.map_or_else(
            || ("not there".to_owned(), String::new()),
            |theirs| (format!("{theirs:.2}"), format!("{:.0}", theirs / computed)),
        );
        println!("{members:>13} {computed:>11.3} {judged:>9.3} {theirs:>17} {ratio:>7}");
    }
    Ok(())
}

/// A channel with so many members, and the same with one more.
fn channel(members: usize) -> Result<(ChannelConfig, ChannelConfig), Box<dyn Error>> {
    let msp = |name: &str| -> Result<MspDefinition, Box<dyn Error>> {
        let roots = OrganizationRoots::generate(&format!("{name}.example"), Timestamp::now(), &mut UnwrapErr(SysRng))?;
        let (root, tls) = (Pem::new(roots.enrolment.cert_pem), Pem::new(roots.tls.cert_pem));
        Ok(MspDefinition::new(format!("{name}MSP"), root, tls))
    };
    let hub = msp("hub")?;
    let certificate = hub.tls_root_certs.first().cloned().ok_or("no certificate")?;
    let consenters = vec![RaftConsenter {
        host: "orderer1.hub.example".to_owned(),
        port: 7050,
        client_tls_cert: certificate.clone(),
        server_tls_cert: certificate,
    }];
    let mut config = ChannelConfig::new(Consensus::EtcdRaft { consenters, options: RaftOptions::default() });
    let orderer = OrdererOrganization {
        msp: hub,
        endpoints: vec!["orderer1.hub.example:7050".to_owned()],
        policies: defaults::orderer_organization("hubMSP"),
    };
    config.orderer.organizations.insert("hub".to_owned(), orderer);
    let mut before = config.clone();
    for number in 0..=members {
        if number == members {
            before = config.clone();
        }
        let name = format!("org{number}");
        let member = ApplicationOrganization {
            msp: msp(&name)?,
            anchors: Vec::new(),
            policies: defaults::application_organization(&format!("{name}MSP")),
        };
        config.application.organizations.insert(name, member);
    }
    Ok((before, config))
}

/// Median time in milliseconds.
fn median(mut work: impl FnMut() -> Result<(), Box<dyn Error>>) -> Result<f64, Box<dyn Error>> {
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let start = Instant::now();
        work()?;
        times.push(start.elapsed().as_secs_f64() * 1000.0);
    }
    times.sort_by(f64::total_cmp);
    Ok(times[ROUNDS / 2])
}

fn configtxlator() -> Option<PathBuf> {
    let folders = std::env::var_os("FABRIC_BIN_DIR").map(PathBuf::from).into_iter();
    let path = std::env::var_os("PATH").unwrap_or_default();
    folders.chain(std::env::split_paths(&path)).map(|folder| folder.join("configtxlator")).find(|it| it.is_file())
}

/// The same by Fabric's program, as a process.
fn by_tool(tool: &Path, original: &[u8], updated: &[u8]) -> Result<f64, Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let file = |name: &str| folder.path().join(name);
    std::fs::write(file("original.pb"), original)?;
    std::fs::write(file("updated.pb"), updated)?;
    median(|| {
        let output = Command::new(tool)
            .args(["compute_update", "--channel_id", CHANNEL])
            .arg(format!("--original={}", file("original.pb").display()))
            .arg(format!("--updated={}", file("updated.pb").display()))
            .arg(format!("--output={}", file("update.pb").display()))
            .output()?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
        }
        Ok(())
    })
}
