//! Protobuf messages and gRPC stubs of Hyperledger Fabric 2.5 to 3.1.
//!
//! Written by hand: no protoc, and only what Tenter uses. One module stands for one protobuf package; names are
//! Fabric's in Rust's spelling, and numbers are those of the `hyperledger/fabric-protos` repository. A nested type
//! lives in a module named after its parent. All maps are ordered, so that encoding is reproducible.
//!
//! Without features there are only messages. `client` and `server` add the gRPC stubs (module `service`), which
//! `build.rs` derives from a table.
//!
//! Decoding drops fields that are not listed here. Bytes that are only passed on (blocks, MSP definitions,
//! collected updates) must therefore never be decoded and encoded again.

/// Defines a protobuf enumeration with the names that Fabric prints.
macro_rules! wire_enum {
    ($(#[$meta:meta])* pub enum $name:ident { $($variant:ident = $number:literal => $text:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
        #[repr(i32)]
        pub enum $name {
            $(#[doc = concat!("`", $text, "`")] $variant = $number,)+
        }

        impl $name {
            /// The name in Fabric's protocol.
            pub const fn as_str_name(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)+
                }
            }

            /// The value with this name in Fabric's protocol.
            pub fn from_str_name(name: &str) -> Option<Self> {
                match name {
                    $($text => Some(Self::$variant),)+
                    _ => None,
                }
            }
        }
    };
}
pub(crate) use wire_enum;

macro_rules! packages {
    ($($name:ident),+) => {
        $(
            #[expect(missing_docs, reason = "fields are named and meant as in Fabric's protocol")]
            pub mod $name;
        )+
    };
}
packages!(common, etcdraft, gateway, kvrwset, lifecycle, msp, orderer, protos, queryresult, rwset, shim, smartbft);
pub mod google;
#[cfg(any(feature = "client", feature = "server"))]
pub mod service;
