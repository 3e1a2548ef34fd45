//! Values that are written as text: durations, quantities, addresses, versions, images.

use std::net::Ipv4Addr;

/// Hours of a lifetime such as `720h`, `90d` or `1y` (365 days).
pub fn lifetime_hours(text: &str) -> Option<u32> {
    let split = text.len().checked_sub(1)?;
    let hours = match text.as_bytes().get(split)? {
        b'h' => 1,
        b'd' => 24,
        b'y' => 24 * 365,
        _ => return None,
    };
    let number = text.get(..split)?;
    if !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    number.parse::<u32>().ok()?.checked_mul(hours)
}

/// Nanoseconds of a Go duration such as `500ms` or `1m30s`, without a sign (Go's `time.ParseDuration`).
pub fn go_duration_nanos(text: &str) -> Option<u64> {
    if text == "0" {
        return Some(0);
    }
    let mut rest = text;
    let mut total: u64 = 0;
    if rest.is_empty() || rest.len() > 64 {
        return None;
    }
    while !rest.is_empty() {
        let number_end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(number_end);
        let unit_end = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_end);
        let scale: u64 = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return None,
        };
        let nanos = decimal(number, scale.into())?;
        total = total.checked_add(u64::try_from(nanos).ok()?)?;
        rest = tail;
    }
    // Go keeps durations in 63 bits.
    (total <= i64::MAX.unsigned_abs()).then_some(total)
}

/// `number` (digits with at most one point) times `scale`, cut to a whole number.
fn decimal(number: &str, scale: u128) -> Option<u128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || whole.len() > 20 || fraction.len() > 9 {
        return None;
    }
    if !whole.bytes().chain(fraction.bytes()).all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let parse = |digits: &str| if digits.is_empty() { Some(0) } else { digits.parse::<u128>().ok() };
    let part = parse(fraction)?.checked_mul(scale)? / 10_u128.pow(u32::try_from(fraction.len()).ok()?);
    parse(whole)?.checked_mul(scale)?.checked_add(part)
}

/// Thousandths of a Kubernetes quantity such as `100m`, `1.5`, `512Mi` or `2e3`, without a sign.
pub fn quantity_millis(text: &str) -> Option<u128> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let scale: u128 = match suffix {
        "m" => 1,
        "" => 1_000,
        "k" => 1_000_000,
        "M" => 1_000_000_000,
        "G" => 1_000_000_000_000,
        "T" => 1_000_000_000_000_000,
        "P" => 1_000_000_000_000_000_000,
        "E" => 1_000_000_000_000_000_000_000,
        "Ki" => 1_000 << 10,
        "Mi" => 1_000 << 20,
        "Gi" => 1_000 << 30,
        "Ti" => 1_000 << 40,
        "Pi" => 1_000 << 50,
        "Ei" => 1_000 << 60,
        _ => {
            let exponent = suffix.strip_prefix(['e', 'E'])?.parse::<u32>().ok().filter(|exponent| *exponent <= 18)?;
            1_000 * 10_u128.pow(exponent)
        }
    };
    decimal(number, scale)
}

/// Bytes of a size such as `1048576`, `512Ki` or `2Mi`.
pub fn bytes(text: &str) -> Option<u32> {
    let millis = quantity_millis(text)?;
    if millis % 1000 == 0 { u32::try_from(millis / 1000).ok() } else { None }
}

/// `host:port`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address<'a> {
    /// Host name or IPv4 address.
    pub host: &'a str,
    /// Port.
    pub port: u16,
}

impl<'a> Address<'a> {
    /// Reads `host:port`: a DNS name or an IPv4 address, and a port that is not 0.
    pub fn parse(text: &'a str) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        let digits = port.bytes().all(|byte| byte.is_ascii_digit()) && !port.starts_with('0');
        let port = port.parse().ok().filter(|_| digits)?;
        (is_dns_name(host)).then_some(Self { host, port })
    }

    /// Whether only one machine or one cluster can resolve it: Service names, single labels, loopback.
    pub fn is_local(&self) -> bool {
        if let Ok(address) = self.host.parse::<Ipv4Addr>() {
            return address.is_loopback() || address.is_unspecified() || address.is_link_local();
        }
        let labels: Vec<&str> = self.host.split('.').collect();
        matches!(labels.as_slice(), [_] | [.., "localhost" | "svc"] | [.., "svc", "cluster", "local"])
    }
}

/// Whether a text is a DNS label as Kubernetes names need it (RFC 1123), beginning with a letter so that it can
/// name a Service as well (RFC 1035).
pub fn is_dns_label(text: &str) -> bool {
    text.len() <= 63 && text.starts_with(|c: char| c.is_ascii_lowercase()) && is_label(text)
}

fn is_label(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !text.is_empty() && text.len() <= 63 && text.bytes().all(inner) && !text.starts_with('-') && !text.ends_with('-')
}

/// Whether a text is a DNS name in small letters (RFC 1123 subdomain); IPv4 addresses are ones too.
pub fn is_dns_name(text: &str) -> bool {
    if text.len() > 253 || !text.split('.').all(is_label) {
        return false;
    }
    // A name whose last label is a number is an address, or nothing.
    let numeric = text.rsplit('.').next().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()));
    !numeric || text.parse::<Ipv4Addr>().is_ok()
}

/// A Fabric version. Two versions compare as numbers; `3.1` is older than `3.1.1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// Major.
    pub major: u16,
    /// Minor.
    pub minor: u16,
    /// Patch, if it was given.
    pub patch: Option<u16>,
}

impl Version {
    /// The first version with BFT and capability `V3_0`.
    pub const V3_0: Self = Self { major: 3, minor: 0, patch: None };
    /// The oldest version that is supported.
    pub const OLDEST: Self = Self { major: 2, minor: 5, patch: None };

    /// Reads `major.minor` or `major.minor.patch`.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('.').map(|part| {
            let plain = part.bytes().all(|byte| byte.is_ascii_digit()) && (part == "0" || !part.starts_with('0'));
            part.parse::<u16>().ok().filter(|_| plain)
        });
        let (major, minor) = (parts.next()??, parts.next()??);
        let patch = match parts.next() {
            None => None,
            Some(patch) => Some(patch?),
        };
        parts.next().is_none().then_some(Self { major, minor, patch })
    }
}

/// An image reference, cut into its parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Image<'a> {
    /// Registry and path, for example `docker.io/hyperledger/fabric-peer`.
    pub repository: &'a str,
    /// Tag.
    pub tag: Option<&'a str>,
    /// Digest, for example `sha256:...`.
    pub digest: Option<&'a str>,
}

impl<'a> Image<'a> {
    /// Reads `registry/path[:tag][@digest]`; the registry must be named (a host with a dot or a port, or `localhost`).
    pub fn parse(text: &'a str) -> Option<Self> {
        let (rest, digest) = text.split_once('@').map_or((text, None), |(rest, digest)| (rest, Some(digest)));
        let last = rest.rfind('/')? + 1;
        let (repository, tag) = match rest[last..].find(':') {
            Some(colon) => (&rest[..last + colon], Some(&rest[last + colon + 1..])),
            None => (rest, None),
        };
        let (registry, path) = repository.split_once('/')?;
        let registry_ok = (registry.contains('.') || registry.contains(':') || registry == "localhost")
            && registry.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-:".contains(&byte));
        let segment_ok = |segment: &str| {
            segment.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
                && segment.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b))
        };
        let tag_ok = tag.is_none_or(|tag| {
            !tag.is_empty()
                && tag.len() <= 128
                && tag.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
                && !tag.starts_with(['.', '-'])
        });
        let digest_ok = digest.is_none_or(|digest| {
            digest
                .strip_prefix("sha256:")
                .is_some_and(|hex| hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_hexdigit()))
        });
        (registry_ok && path.split('/').all(segment_ok) && tag_ok && digest_ok && text.len() <= 512).then_some(Self {
            repository,
            tag,
            digest,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_quantities() {
        assert_eq!(lifetime_hours("1y"), Some(8760));
        assert_eq!(lifetime_hours("90d"), Some(2160));
        for bad in ["", "y", "1", "-1d", "1.5d", "+1d", "9999999y", "1µ"] {
            assert_eq!(lifetime_hours(bad), None, "{bad}");
        }
        assert_eq!(go_duration_nanos("1m30s"), Some(90_000_000_000));
        assert_eq!(go_duration_nanos("1.5ms"), Some(1_500_000));
        for bad in ["", "2", "s", "2 s", "-2s", "2x", "1..2s", ".s", "99999999999999h"] {
            assert_eq!(go_duration_nanos(bad), None, "{bad}");
        }
        assert_eq!(quantity_millis("100m"), Some(100));
        assert_eq!(quantity_millis("1.5Gi"), Some(1_610_612_736_000));
        assert_eq!(quantity_millis("2e3"), Some(2_000_000));
        for bad in ["", "Mi", "1 Gi", "1GB", "-1", "1e99", "1.2.3"] {
            assert_eq!(quantity_millis(bad), None, "{bad}");
        }
        assert_eq!(bytes("2Mi"), Some(2 << 20));
        assert_eq!(bytes("100m"), None);
        assert_eq!(bytes("4Gi"), None);
    }

    #[test]
    fn addresses() {
        let address = Address::parse("peer1.acme.example.com:7051").unwrap();
        assert_eq!((address.host, address.port), ("peer1.acme.example.com", 7051));
        assert!(!address.is_local());
        for local in ["peer1:7051", "peer1.ns.svc:1", "a.svc.cluster.local:1", "127.0.0.1:1", "x.localhost:1"] {
            assert!(Address::parse(local).unwrap().is_local(), "{local}");
        }
        assert!(!Address::parse("10.0.0.1:7051").unwrap().is_local());
        for bad in [
            "peer1",
            "peer1:",
            "peer1:0",
            "peer1:70000",
            "grpcs://peer1:7051",
            "Peer:1",
            "a..b:1",
            "256.1.1.1:1",
            "a:01",
            "[::1]:1",
        ] {
            assert_eq!(Address::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn versions_and_images() {
        assert!(Version::parse("3.1.2").unwrap() > Version::parse("3.1").unwrap());
        assert!(Version::parse("2.5.12").unwrap() < Version::V3_0);
        for bad in ["3", "v3.1", "3.01", "3.1.2.3", "3.x", "", "3.", "3.1-rc1"] {
            assert_eq!(Version::parse(bad), None, "{bad}");
        }
        let image = Image::parse("localhost:5000/fabric-peer:3.1").unwrap();
        assert_eq!((image.repository, image.tag, image.digest), ("localhost:5000/fabric-peer", Some("3.1"), None));
        let digest = format!("ghcr.io/a/b@sha256:{}", "0".repeat(64));
        assert!(Image::parse(&digest).unwrap().digest.is_some());
        for bad in [
            "peer",
            "hyperledger/fabric-peer",
            "docker.io/../x",
            "docker.io/A",
            "docker.io/a:",
            "docker.io//a",
            "docker.io/a b",
        ] {
            assert_eq!(Image::parse(bad), None, "{bad}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in "\\PC{0,40}") {
            let _ = (lifetime_hours(&text), go_duration_nanos(&text), quantity_millis(&text), bytes(&text));
            let _ = (Address::parse(&text), Version::parse(&text), Image::parse(&text));
        }
    }
}
