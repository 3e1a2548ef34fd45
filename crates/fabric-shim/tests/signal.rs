//! The service's end by a signal, in a process of its own.

use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use rustix::process::{Signal, getpid, kill_process};
use tenter_fabric_shim::{Contract, ContractError, ServeError, ServiceOptions, Stub, serve};

struct Nothing;

impl Contract for Nothing {
    fn invoke(&self, _: &mut Stub) -> Result<Vec<u8>, ContractError> {
        Ok(Vec::new())
    }
}

#[test]
fn the_service_ends_on_sigterm_and_names_an_address_that_is_taken() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let options = ServiceOptions { address: address.clone(), package_id: "nothing:00".to_owned(), tls: None };
    let error = serve(Nothing, &options).unwrap_err();
    assert!(matches!(error, ServeError::Listen { .. }), "{error:?}");
    assert_eq!(error.to_string(), format!("listening on {address} is not possible"));

    drop(taken);
    let service = std::thread::spawn(move || serve(Nothing, &options));
    let deadline = Instant::now() + Duration::from_secs(20);
    while TcpStream::connect(&address).is_err() {
        assert!(Instant::now() < deadline && !service.is_finished(), "the service does not listen");
        std::thread::sleep(Duration::from_millis(10));
    }
    // The handler is in place before the service listens.
    kill_process(getpid(), Signal::TERM).unwrap();
    service.join().unwrap().unwrap();
}
