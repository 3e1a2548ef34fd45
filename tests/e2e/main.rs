//! Whole scenarios against a real Kubernetes and real or simulated Fabric nodes in Pods.
//!
//! `make test-e2e` starts the dev cluster, loads the images and runs this; it needs KUBECONFIG. Each scenario has its own
//! Consortium, namespaces, repository and daemon, so they run side by side.

#![expect(clippy::print_stdout, reason = "a scenario says what it ran on, and how long it took")]
#![expect(clippy::expect_used, clippy::panic, reason = "a scenario ends with the message of what went wrong")]

mod apart;
mod broadcasts;
mod chaincode;
mod changes;
mod consenters;
mod faults;
mod inside;
mod members;
mod proxy;
mod rights;
mod scenarios;
mod signatures;
mod trust;
mod updates;
mod world;
