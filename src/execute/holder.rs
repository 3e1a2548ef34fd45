//! Who holds a Lease: a name for this process that tells, on the same machine, whether its owner still lives.

use std::path::Path;

/// A process: host, boot, process namespace, process id and when it started. Two processes never share all of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    host: String,
    boot: String,
    namespace: String,
    pid: String,
    started: String,
}

impl Holder {
    /// This process. Parts that the system does not tell are `0`, and then nothing is concluded from them.
    pub fn this() -> Self {
        let read = |path: &str| std::fs::read_to_string(path).map(|text| text.trim().to_owned()).unwrap_or_default();
        let pid = std::process::id().to_string();
        Self {
            host: part(&read("/proc/sys/kernel/hostname")),
            boot: part(&read("/proc/sys/kernel/random/boot_id").replace('-', "").chars().take(12).collect::<String>()),
            namespace: part(&process_namespace()),
            started: part(&start_time(&pid).unwrap_or_default()),
            pid,
        }
    }

    /// Reads a name made by [`Holder::name`].
    pub fn parse(name: &str) -> Option<Self> {
        let mut parts = name.rsplitn(5, '_').map(ToOwned::to_owned);
        let (started, pid, namespace, boot) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        Some(Self { host: parts.next()?, boot, namespace, pid, started })
    }

    /// The name that stands in the Lease.
    pub fn name(&self) -> String {
        let Self { host, boot, namespace, pid, started } = self;
        format!("{host}_{boot}_{namespace}_{pid}_{started}")
    }

    /// Whether it is known to be gone: it ran on this machine, since this boot, in this process namespace, and its
    /// process is no more. In every other case only time tells.
    pub fn is_gone(&self, this: &Self) -> bool {
        let known = [&self.boot, &self.namespace, &self.started].iter().all(|part| part.as_str() != "0");
        let here = self.boot == this.boot && self.namespace == this.namespace;
        known && here && start_time(&self.pid).is_none_or(|started| started != self.started)
    }
}

/// A part of a name: `0` for what is not known, nothing in it that separates parts.
fn part(text: &str) -> String {
    let text: String =
        text.chars().filter(|letter| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '.')).collect();
    if text.is_empty() { "0".to_owned() } else { text }
}

fn process_namespace() -> String {
    let target = std::fs::read_link("/proc/self/ns/pid").ok();
    target.map(|target| target.to_string_lossy().chars().filter(char::is_ascii_digit).collect()).unwrap_or_default()
}

/// When a process started, in ticks since boot: field 22 of `/proc/PID/stat`, after the command's closing bracket.
fn start_time(pid: &str) -> Option<String> {
    if pid.is_empty() || !pid.chars().all(|letter| letter.is_ascii_digit()) {
        return None;
    }
    let text = std::fs::read_to_string(Path::new("/proc").join(pid).join("stat")).ok()?;
    let (_, fields) = text.rsplit_once(')')?;
    fields.split_whitespace().nth(19).map(ToOwned::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_back() {
        let this = Holder::this();
        assert_eq!(Holder::parse(&this.name()), Some(this));
        assert_eq!(Holder::parse("someone-else"), None);
    }

    #[test]
    fn only_a_process_known_to_be_gone_is_gone() {
        let this = Holder::this();
        assert!(!this.is_gone(&this));
        let child = std::process::Command::new("true").spawn().unwrap();
        let pid = child.id().to_string();
        child.wait_with_output().unwrap();
        let dead = Holder { pid, started: "1".to_owned(), ..this.clone() };
        assert!(dead.is_gone(&this));
        assert!(!Holder { boot: "another".to_owned(), ..dead.clone() }.is_gone(&this));
        assert!(!Holder { namespace: "1".to_owned(), ..dead.clone() }.is_gone(&this));
        assert!(!Holder { namespace: "0".to_owned(), ..dead }.is_gone(&Holder { namespace: "0".to_owned(), ..this }));
    }
}
