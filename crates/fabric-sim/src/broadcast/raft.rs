//! Changes of a Raft channel's consenters and options (Fabric `orderer/consensus/etcdraft/{util,membership,chain}.go`).

use std::collections::BTreeSet;

use prost::Message as _;
use tenter_fabric_wire::etcdraft::{ConfigMetadata, Consenter};

use super::{Failure, Orderer, Rejection};
use crate::channel::{Bundle, UNREADABLE};
use crate::settings;
use crate::x509::{Certificate, TlsFault, pem_blocks, verify_tls};

/// How the consenter set changes; at most one comes and one goes. Consenters are told apart by the bytes of their
/// client TLS certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Membership {
    /// For each new consenter, the place among the old ones that it keeps or takes over.
    pub origins: Vec<Option<usize>>,
    /// The consenter that is new, as a place among the new ones.
    pub added: Option<usize>,
    /// The consenter that goes, as a place among the old ones.
    pub removed: Option<usize>,
}

fn metadata(bundle: &Bundle) -> Result<ConfigMetadata, String> {
    ConfigMetadata::decode(&bundle.consensus_type.metadata[..]).map_err(|_| UNREADABLE.to_owned())
}

/// How the consenters change from one configuration to the next.
pub fn membership(before: &Bundle, after: &Bundle) -> Result<Membership, String> {
    compare(&metadata(before)?.consenters, &metadata(after)?.consenters)
}

fn compare(old: &[Consenter], new: &[Consenter]) -> Result<Membership, String> {
    let place = |list: &[Consenter], one: &Consenter| {
        list.iter().position(|other| other.client_tls_cert == one.client_tls_cert)
    };
    let mut origins: Vec<Option<usize>> = new.iter().map(|one| place(old, one)).collect();
    let added: Vec<usize> = (0..new.len()).filter(|at| origins[*at].is_none()).collect();
    let removed: Vec<usize> = (0..old.len()).filter(|at| place(new, &old[*at]).is_none()).collect();
    match (&added[..], &removed[..]) {
        ([], [] | [_]) | ([_], []) => {}
        // A certificate is replaced: the node keeps its place.
        ([new], [old]) => origins[*new] = Some(*old),
        _ => {
            return Err(format!(
                "update of more than one consenter at a time is not supported, requested changes: add {} node(s), remove {} node(s)",
                added.len(),
                removed.len()
            ));
        }
    }
    Ok(Membership { origins, added: added.first().copied(), removed: removed.first().copied() })
}

/// Judges the consensus metadata of the next configuration.
pub(super) fn check_metadata(bundle: &Bundle, next: &Bundle, orderer: &Orderer<'_>) -> Result<(), Failure> {
    if next.consensus_type.metadata.is_empty() {
        return Ok(());
    }
    match next.consensus_type.r#type.as_str() {
        "etcdraft" => judge(bundle, next, orderer).map_err(|text| Rejection::bad(text).into()),
        "BFT" => match next.orderer_orgs.iter().find(|(_, org)| org.endpoints.is_empty()) {
            Some((name, _)) => Err(Rejection::bad(format!(
                "illegal orderer config detected during consensus metadata validation: endpoints of org {name} are missing"
            ))
            .into()),
            None => Ok(()),
        },
        other => Err(Failure::Panic(format!(
            "illegal consensus type detected during consensus metadata validation: {other}"
        ))),
    }
}

/// The roots by which the consenters' TLS certificates are judged.
struct Roots {
    roots: Vec<Certificate>,
    intermediates: Vec<Certificate>,
}

impl Roots {
    fn of(bundle: &Bundle) -> Result<Self, String> {
        let (mut roots, mut intermediates) = (Vec::new(), Vec::new());
        for pem in bundle.orderer_tls_roots() {
            let certificate = parse(&pem).map_err(|text| format!("parsing tls root certs: {text}"))?;
            if certificate.is_self_signed() {
                roots.push(certificate);
            } else {
                intermediates.push(certificate);
            }
        }
        Ok(Self { roots, intermediates })
    }
}

fn judge(bundle: &Bundle, next: &Bundle, orderer: &Orderer<'_>) -> Result<(), String> {
    let old = metadata(bundle).unwrap_or_default();
    let new =
        metadata(next).map_err(|text| format!("failed to unmarshal new etcdraft metadata configuration: {text}"))?;
    let roots = Roots::of(next)
        .map_err(|text| format!("failed to create x509 verify options from old and new orderer config: {text}"))?;
    verify(&new, &roots, orderer.now).map_err(|text| format!("invalid new config metadata: {text}"))?;
    let changes = compare(&old.consenters, &new.consenters)?;
    if let Some(added) = changes.added.and_then(|at| new.consenters.get(at)) {
        check_certificates(added, &roots, orderer.now, false)
            .map_err(|text| format!("consenter {}:{} has invalid certificates: {text}", added.host, added.port))?;
    }
    if loses_quorum(&changes, &old.consenters, &new.consenters, &orderer.active) {
        return Err(format!(
            "{} out of {} nodes are alive, configuration will result in quorum loss",
            orderer.active.len(),
            old.consenters.len()
        ));
    }
    Ok(())
}

/// Whether more nodes could be started to keep a quorum that this change would lose.
fn loses_quorum(changes: &Membership, old: &[Consenter], new: &[Consenter], active: &BTreeSet<Vec<u8>>) -> bool {
    let quorum = new.len() / 2 + 1;
    let gone = changes.removed.and_then(|at| old.get(at)).map(|gone| &gone.client_tls_cert);
    let staying = active.iter().filter(|active| Some(*active) != gone).count();
    match (changes.added, changes.removed) {
        (None, None) => false,
        (Some(_), _) => new.len() > 2 && staying < quorum,
        (None, Some(_)) => staying < quorum,
    }
}

fn verify(metadata: &ConfigMetadata, roots: &Roots, now: u64) -> Result<(), String> {
    let options = metadata.options.as_ref().ok_or("nil Raft config metadata options")?;
    if options.heartbeat_tick == 0 || options.election_tick == 0 || options.max_inflight_blocks == 0 {
        return Err(format!(
            "none of HeartbeatTick ({}), ElectionTick ({}) and MaxInflightBlocks ({}) can be zero",
            options.heartbeat_tick, options.election_tick, options.max_inflight_blocks
        ));
    }
    if options.election_tick <= options.heartbeat_tick {
        return Err(format!(
            "ElectionTick ({}) must be greater than HeartbeatTick ({})",
            options.election_tick, options.heartbeat_tick
        ));
    }
    match settings::parse_go_duration(&options.tick_interval) {
        Err(text) => {
            return Err(format!("failed to parse TickInterval ({}) to time duration: {text}", options.tick_interval));
        }
        Ok(0) => return Err("TickInterval cannot be zero".to_owned()),
        Ok(_) => {}
    }
    if metadata.consenters.is_empty() {
        return Err("empty consenter set".to_owned());
    }
    for consenter in &metadata.consenters {
        check_certificates(consenter, roots, now, true).map_err(|text| {
            format!("consenter {}:{} has invalid certificate: {text}", consenter.host, consenter.port)
        })?;
    }
    refuse_duplicates(&metadata.consenters)
}

fn refuse_duplicates(consenters: &[Consenter]) -> Result<(), String> {
    let mut seen: Vec<&[u8]> = Vec::new();
    for consenter in consenters {
        let (server, client) = (&consenter.server_tls_cert[..], &consenter.client_tls_cert[..]);
        if seen.contains(&server) || seen.contains(&client) {
            return Err(format!(
                "duplicate consenter: server cert: {}, client cert: {}",
                String::from_utf8_lossy(server),
                String::from_utf8_lossy(client)
            ));
        }
        seen.extend([server, client]);
    }
    Ok(())
}

fn check_certificates(consenter: &Consenter, roots: &Roots, now: u64, ignore_expiration: bool) -> Result<(), String> {
    let read = |side: &str, pem: &[u8]| {
        parse(pem).map_err(|text| format!("parsing tls {side} cert of {}:{}: {text}", consenter.host, consenter.port))
    };
    let client = read("client", &consenter.client_tls_cert)?;
    let server = read("server", &consenter.server_tls_cert)?;
    let verify = |side: &str, certificate: &Certificate| match verify_tls(
        certificate,
        &roots.roots,
        &roots.intermediates,
        now,
    ) {
        Err(fault) if !(ignore_expiration && fault == TlsFault::Expired) => {
            Err(format!("verifying tls {side} cert with serial number {}: {fault}", certificate.serial_decimal()))
        }
        _ => Ok(()),
    };
    verify("client", &client)?;
    // Most consenters have one certificate for both.
    if server == client { Ok(()) } else { verify("server", &server) }
}

fn parse(pem: &[u8]) -> Result<Certificate, String> {
    let Some((_, der)) = pem_blocks(pem).into_iter().next() else {
        let bytes: Vec<String> = pem.iter().map(|byte| format!("{byte:02x}")).collect();
        return Err(format!("no PEM data found in cert[{}]", bytes.join(" ")));
    };
    Certificate::from_der(der).map_err(|error| format!("TLS certificate has invalid ASN1 structure: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn consenters(names: &[&str]) -> Vec<Consenter> {
        let one = |name: &&str| Consenter { client_tls_cert: name.as_bytes().to_vec(), ..Consenter::default() };
        names.iter().map(one).collect()
    }

    fn places(old: &[&str], new: &[&str]) -> Result<Vec<Option<usize>>, String> {
        compare(&consenters(old), &consenters(new)).map(|change| change.origins)
    }

    #[test]
    fn one_consenter_comes_goes_or_is_replaced() {
        assert_eq!(places(&["a", "b"], &["b", "a"]), Ok(vec![Some(1), Some(0)]));
        assert_eq!(places(&["a", "b"], &["a", "c", "b"]), Ok(vec![Some(0), None, Some(1)]));
        assert_eq!(places(&["a", "b"], &["b"]), Ok(vec![Some(1)]));
        assert_eq!(places(&["a", "b"], &["a", "c"]), Ok(vec![Some(0), Some(1)]));
        let text = |add: usize, remove: usize| {
            format!(
                "update of more than one consenter at a time is not supported, requested changes: add {add} node(s), remove {remove} node(s)"
            )
        };
        assert_eq!(places(&["a"], &["a", "b", "c"]), Err(text(2, 0)));
        assert_eq!(places(&["a", "b", "c"], &["d"]), Err(text(1, 3)));
        assert_eq!(places(&["a", "b"], &[]), Err(text(0, 2)));
    }

    fn loses(old: &[&str], new: &[&str], active: &[&str]) -> bool {
        let (old, new) = (consenters(old), consenters(new));
        let active = active.iter().map(|name| name.as_bytes().to_vec()).collect();
        loses_quorum(&compare(&old, &new).unwrap(), &old, &new, &active)
    }

    #[test]
    fn a_quorum_that_could_be_kept_is_not_given_up() {
        // From one to two the loss is inevitable, and allowed.
        assert!(!loses(&["a"], &["a", "b"], &["a"]));
        assert!(loses(&["a", "b", "c"], &["a", "b", "c", "d"], &["a", "b"]));
        assert!(!loses(&["a", "b", "c"], &["a", "b", "c", "d"], &["a", "b", "c"]));
        assert!(loses(&["a", "b", "c"], &["a", "b"], &["a", "c"]));
        assert!(!loses(&["a", "b", "c"], &["a", "b"], &["a", "b"]));
        assert!(loses(&["a", "b", "c"], &["a", "b", "d"], &["a", "c"]));
        assert!(!loses(&["a", "b", "c"], &["c", "b", "a"], &["a"]));
    }
}
