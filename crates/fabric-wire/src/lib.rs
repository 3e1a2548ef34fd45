//! Protobuf messages and gRPC stubs of Hyperledger Fabric.
