//! GitOps reconciler and Kubernetes operator for Hyperledger Fabric.
