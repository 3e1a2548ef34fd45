//! Host keys on record, in the form of OpenSSH's `known_hosts`.

/// What the record says of a host's key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The key is on record.
    Known,
    /// The host is on record with other keys, or the key is revoked.
    Mismatch,
    /// The host is not on record.
    Unknown,
}

/// Compares a host's key (the base64 text of its blob) with the record. Names that are hashed (`|1|...`) do not match
/// anything: `known_hosts` of a daemon hides nothing by hashing.
pub fn verify(record: &str, host: &str, port: Option<u16>, key: &str) -> Verdict {
    let name = match port {
        None | Some(22) => host.to_ascii_lowercase(),
        Some(port) => format!("[{}]:{port}", host.to_ascii_lowercase()),
    };
    let mut verdict = Verdict::Unknown;
    for line in record.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let mut words = line.split_whitespace();
        let mut first = words.next().unwrap_or_default();
        let marker = first.starts_with('@').then_some(first);
        if marker.is_some() {
            first = words.next().unwrap_or_default();
        }
        let listed = words.nth(1).unwrap_or_default();
        if !names(first, &name) {
            continue;
        }
        match marker {
            Some("@revoked") if listed == key => return Verdict::Mismatch,
            None if listed == key => verdict = Verdict::Known,
            None if verdict == Verdict::Unknown => verdict = Verdict::Mismatch,
            // A certificate authority's line says nothing of the key itself, and one match is enough.
            Some(_) | None => {}
        }
    }
    verdict
}

/// Whether a list of patterns names a host; `!` excludes it.
fn names(patterns: &str, name: &str) -> bool {
    let mut found = false;
    for pattern in patterns.split(',') {
        match pattern.strip_prefix('!') {
            Some(pattern) if matches(&pattern.to_ascii_lowercase(), name) => return false,
            Some(_) => {}
            None => found |= matches(&pattern.to_ascii_lowercase(), name),
        }
    }
    found
}

/// Whether a pattern with `*` and `?` names a host.
fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name) = (pattern.as_bytes(), name.as_bytes());
    let (mut p, mut n) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                retry = Some((p, n));
                p += 1;
            }
            Some(letter) if *letter == b'?' || *letter == name[n] => {
                p += 1;
                n += 1;
            }
            _ => match retry {
                Some((star, at)) => {
                    retry = Some((star, at + 1));
                    p = star + 1;
                    n = at + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|letter| *letter == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORD: &str = "# keys\n\
        git.example,10.0.0.1 ssh-ed25519 AAAA\n\
        [git.example]:2222 ssh-ed25519 BBBB comment\n\
        *.corp.example,!bad.corp.example ssh-rsa CCCC\n\
        @revoked * ssh-ed25519 DDDD\n\
        @cert-authority * ssh-ed25519 EEEE\n";

    #[test]
    fn compares_keys() {
        for (host, port, key, expect) in [
            ("git.example", None, "AAAA", Verdict::Known),
            ("GIT.example", Some(22), "AAAA", Verdict::Known),
            ("git.example", None, "BBBB", Verdict::Mismatch),
            ("git.example", Some(2222), "BBBB", Verdict::Known),
            ("a.corp.example", None, "CCCC", Verdict::Known),
            ("bad.corp.example", None, "CCCC", Verdict::Unknown),
            ("other.example", None, "AAAA", Verdict::Unknown),
            ("other.example", None, "EEEE", Verdict::Unknown),
            ("other.example", None, "DDDD", Verdict::Mismatch),
        ] {
            assert_eq!(verify(RECORD, host, port, key), expect, "{host} {port:?} {key}");
        }
    }
}
