//! Headers of signed requests and transactions.

use jiff::Timestamp;
use tenter_fabric_wire::common::{ChannelHeader, HeaderType};
use tenter_fabric_wire::google;

/// A channel header of this type and time; `tls_hash` binds it to a connection on which that certificate is shown.
pub(crate) fn channel_header(
    kind: HeaderType,
    channel: &str,
    time: Timestamp,
    tls_hash: Option<[u8; 32]>,
) -> ChannelHeader {
    ChannelHeader {
        r#type: kind.into(),
        timestamp: Some(google::Timestamp { seconds: time.as_second(), nanos: time.subsec_nanosecond() }),
        channel_id: channel.to_owned(),
        tls_cert_hash: tls_hash.map(|hash| hash.to_vec()).unwrap_or_default(),
        ..ChannelHeader::default()
    }
}
