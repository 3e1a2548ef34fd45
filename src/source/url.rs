//! Repository URLs: which are read from, and how they are shown.

use super::SourceError;

/// How a repository is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// TLS, checked against the system's roots.
    Https,
    /// No protection; never with credentials.
    Http,
    /// SSH, checked against `known_hosts`.
    Ssh,
    /// Git's own protocol; no protection, no credentials.
    Git,
    /// A repository on this machine.
    File,
}

/// A repository URL that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepositoryUrl {
    /// The URL as it is given to git.
    pub text: String,
    /// How it is reached.
    pub scheme: Scheme,
    /// The user in it.
    pub user: Option<String>,
    /// The host in it; empty for `file`.
    pub host: String,
    /// The port in it.
    pub port: Option<u16>,
}

impl RepositoryUrl {
    /// Takes a URL apart.
    ///
    /// # Errors
    /// [`SourceError::Url`] for another scheme, a password in the URL, or what is no URL at all.
    pub fn parse(text: &str) -> Result<Self, SourceError> {
        let fail = |why: &str| Err(SourceError::Url { url: redacted(text), why: why.to_owned() });
        if text.chars().any(|character| character.is_control() || character == ' ') {
            return fail("it holds a space or a control character");
        }
        let Some((scheme, rest)) = text.split_once("://") else {
            return fail("it has no scheme; write https://, ssh://, http://, git:// or file://");
        };
        let scheme = match scheme {
            "https" => Scheme::Https,
            "http" => Scheme::Http,
            "ssh" => Scheme::Ssh,
            "git" => Scheme::Git,
            "file" => Scheme::File,
            _ => return fail("the scheme is not https, ssh, http, git or file"),
        };
        if scheme == Scheme::File {
            if !rest.starts_with('/') {
                return fail("a file URL names an absolute path: file:///path/to/repository.git");
            }
            return Ok(Self { text: text.to_owned(), scheme, user: None, host: String::new(), port: None });
        }
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        if path.is_empty() {
            return fail("it names no repository after the host");
        }
        let (user, host_port) = match authority.rsplit_once('@') {
            Some((user, host)) => (Some(user), host),
            None => (None, authority),
        };
        if user.is_some_and(|user| user.contains(':')) {
            return fail("it holds a password; keep that in a Secret (spec.source.secret) or in TENTER_GIT_PASSWORD");
        }
        let Some((host, port)) = split_host(host_port) else {
            return fail("the port is not a number from 1 to 65535");
        };
        if host.is_empty() {
            return fail("it names no host");
        }
        Ok(Self {
            text: text.to_owned(),
            scheme,
            user: user.filter(|user| !user.is_empty()).map(ToOwned::to_owned),
            host: host.to_owned(),
            port,
        })
    }
}

/// Host and port of an authority without a user; `None` when the port is no port.
fn split_host(text: &str) -> Option<(&str, Option<u16>)> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, after) = rest.split_once(']')?;
            (host, after.strip_prefix(':'))
        }
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    match port {
        None => Some((host, None)),
        Some(port) => port.parse::<u16>().ok().filter(|port| *port != 0).map(|port| (host, Some(port))),
    }
}

/// The URL without what stands before the host: that may be a password or a token.
pub fn redacted(text: &str) -> String {
    let shown: String = text.chars().filter(|character| !character.is_control()).collect();
    match shown.split_once("://") {
        Some((scheme, rest)) => {
            let (authority, path) = rest.split_once('/').map_or((rest, None), |(host, path)| (host, Some(path)));
            let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
            path.map_or_else(|| format!("{scheme}://{host}"), |path| format!("{scheme}://{host}/{path}"))
        }
        None => match shown.rsplit_once('@') {
            Some((_, rest)) => rest.to_owned(),
            None => shown,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: Result<(Scheme, &str, Option<u16>), &str>) {
        let got = RepositoryUrl::parse(text);
        match expect {
            Ok((scheme, host, port)) => {
                let url = got.unwrap();
                assert_eq!((url.scheme, url.host.as_str(), url.port), (scheme, host, port), "{text}");
            }
            Err(part) => {
                let message = got.unwrap_err().to_string();
                assert!(message.contains(part), "{message}");
                assert!(!message.contains("hunter2"), "{message}");
            }
        }
    }

    #[test]
    fn takes_urls_apart() {
        check("https://git.example/trade.git", Ok((Scheme::Https, "git.example", None)));
        check("ssh://git@git.example:2222/trade.git", Ok((Scheme::Ssh, "git.example", Some(2222))));
        check("git://[::1]:9418/trade.git", Ok((Scheme::Git, "::1", Some(9418))));
        check("file:///srv/trade.git", Ok((Scheme::File, "", None)));
    }

    #[test]
    fn refuses_what_it_does_not_read() {
        check("git@git.example:trade.git", Err("no scheme"));
        check("ftp://git.example/trade.git", Err("the scheme is not"));
        check("file://trade.git", Err("absolute path"));
        check("https://me:hunter2@git.example/trade.git", Err("holds a password"));
        check("https://git.example:0/trade.git", Err("the port"));
        check("https://git.example", Err("names no repository"));
        check("https:///trade.git", Err("names no host"));
        check("ext::sh -c id", Err("space"));
    }

    #[test]
    fn shows_no_password() {
        assert_eq!(redacted("https://a:b@c/d@e"), "https://c/d@e");
        assert_eq!(redacted("token@host:path"), "host:path");
    }
}
