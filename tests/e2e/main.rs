//! Whole scenarios against a real Kubernetes and real or simulated Fabric nodes in Pods.
//!
//! `make test-e2e` starts the dev cluster, loads the images and runs this; it needs KUBECONFIG. Each scenario has its own
//! Consortium, namespaces, repository and daemon, so they run side by side.

mod scenarios;
mod world;
