//! GitOps reconciler and Kubernetes operator for Hyperledger Fabric.

pub mod controllers;
pub mod resources;
pub mod source;
