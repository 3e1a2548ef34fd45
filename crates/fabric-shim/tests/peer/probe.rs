//! A contract that does what the tests need.

use std::sync::{Arc, Barrier, mpsc};

use tenter_fabric_shim::{Contract, ContractError, KeyValue, Stub};

/// With what is around it, more than a message may be.
const TOO_LARGE: usize = 100 * 1024 * 1024;

/// What the test holds of the contract.
pub struct Handles {
    /// Opened by two: a call that waits at it runs beside the test, or beside another call.
    pub barrier: Arc<Barrier>,
    /// What `Witness` has seen.
    pub seen: mpsc::Receiver<Result<Option<Vec<u8>>, ContractError>>,
}

pub struct Probe {
    barrier: Arc<Barrier>,
    seen: mpsc::SyncSender<Result<Option<Vec<u8>>, ContractError>>,
}

pub fn probe() -> (Probe, Handles) {
    let barrier = Arc::new(Barrier::new(2));
    let (sender, seen) = mpsc::sync_channel(8);
    (Probe { barrier: barrier.clone(), seen: sender }, Handles { barrier, seen })
}

fn listed(entries: &[KeyValue]) -> Vec<u8> {
    let lines: Vec<String> =
        entries.iter().map(|entry| format!("{}={}", entry.key, String::from_utf8_lossy(&entry.value))).collect();
    lines.join(",").into_bytes()
}

impl Contract for Probe {
    fn invoke(&self, stub: &mut Stub) -> Result<Vec<u8>, ContractError> {
        match stub.function() {
            "Put" => {
                let [key, value] = stub.parameters()?;
                stub.put_state(&key, value)?;
                Ok(stub.get_state(&key)?.unwrap_or_default())
            }
            "Get" => {
                let [key] = stub.parameters()?;
                Ok(stub.get_state(&key)?.unwrap_or_else(|| b"none".to_vec()))
            }
            "Delete" => {
                let [key] = stub.parameters()?;
                stub.delete_state(&key)?;
                Ok(Vec::new())
            }
            "Range" => {
                let [start, end] = stub.parameters()?;
                Ok(listed(&stub.get_state_by_range(&start, &end)?))
            }
            "Page" => {
                let [bookmark, size] = stub.parameters()?;
                let size = size.parse().map_err(|_| "no size")?;
                let page = stub.get_state_page("", "", size, &bookmark)?;
                Ok([listed(&page.entries), b";".to_vec(), page.bookmark.into_bytes()].concat())
            }
            "Private" => {
                let value = stub.transient().get("secret").cloned().unwrap_or_default();
                stub.put_private("deals", "k", value)?;
                let before = stub.get_private("deals", "k")?;
                let public = stub.get_state("k")?;
                Ok(format!("{before:?} {public:?}").into_bytes())
            }
            "Who" => {
                let creator = stub.creator().ok_or("nobody")?;
                let since = stub.timestamp().and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
                let text = format!(
                    "{} {} {since:?} {} {}",
                    creator.msp_id,
                    String::from_utf8_lossy(&creator.certificate),
                    stub.channel(),
                    stub.transaction_id()
                );
                Ok(text.into_bytes())
            }
            "Echo" => Ok(stub.arguments().concat()),
            "Large" => Ok(vec![0; TOO_LARGE]),
            "PutLarge" => stub.put_state("k", vec![0; TOO_LARGE]).map(|()| Vec::new()),
            "Fail" => {
                stub.set_event("Failed", b"why".to_vec())?;
                Err("this always fails".into())
            }
            "Event" => {
                stub.set_event("First", b"1".to_vec())?;
                stub.set_event("Second", b"2".to_vec())?;
                Ok(Vec::new())
            }
            "Panic" => std::panic::resume_unwind(Box::new("a panic that the test wants")),
            "Meet" => {
                self.barrier.wait();
                Ok(b"met".to_vec())
            }
            "Witness" => {
                let seen = stub.get_state("k");
                let _ = self.seen.send(seen.clone());
                seen.map(Option::unwrap_or_default)
            }
            other => Err(ContractError::new(format!("there is no function {other}"))),
        }
    }

    fn init(&self, stub: &mut Stub) -> Result<Vec<u8>, ContractError> {
        if stub.function() == "Fail" { Err("not today".into()) } else { Ok(b"ready".to_vec()) }
    }
}
