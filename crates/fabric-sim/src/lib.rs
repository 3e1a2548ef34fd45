//! Simulated Hyperledger Fabric nodes.
