//! GitOps reconciler and Kubernetes operator for Hyperledger Fabric.

pub mod cli;
pub mod controllers;
pub mod daemon;
pub mod execute;
pub mod messages;
pub mod nodes;
pub mod observe;
pub mod report;
pub mod resources;
pub mod source;
pub mod sync;
pub mod trust;
pub mod web;
