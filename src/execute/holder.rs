//! Who holds a Lease: a name for this process that tells, on the same machine, whether its owner still lives.

use std::io::ErrorKind;
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
            started: match start_time(Path::new("/proc"), &pid) {
                Start::At(started) => part(&started),
                Start::NoProcess | Start::Unknown => part(""),
            },
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
        known && here && self.has_ended(Path::new("/proc"))
    }

    fn has_ended(&self, proc: &Path) -> bool {
        match start_time(proc, &self.pid) {
            Start::At(started) => started != self.started,
            Start::NoProcess => true,
            Start::Unknown => false,
        }
    }
}

/// When a process started.
#[derive(Debug, PartialEq, Eq)]
enum Start {
    /// In ticks since boot.
    At(String),
    /// There is no such process.
    NoProcess,
    /// The system does not tell.
    Unknown,
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

/// When a process started: field 22 of `/proc/PID/stat`, after the command's closing bracket.
///
/// A file that is not there tells of no process only where others' can be seen at all: `hidepid` hides them, and then
/// that of process 1 too.
fn start_time(proc: &Path, pid: &str) -> Start {
    if pid.is_empty() || !pid.chars().all(|letter| letter.is_ascii_digit()) {
        return Start::Unknown;
    }
    let stat = |pid: &str| std::fs::read_to_string(proc.join(pid).join("stat"));
    match stat(pid) {
        Ok(text) => {
            let field = text.rsplit_once(')').and_then(|(_, fields)| fields.split_whitespace().nth(19));
            field.map_or(Start::Unknown, |field| Start::At(field.to_owned()))
        }
        Err(error) if error.kind() == ErrorKind::NotFound && stat("1").is_ok() => Start::NoProcess,
        Err(_) => Start::Unknown,
    }
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

    #[test]
    fn a_process_that_cannot_be_seen_is_not_gone() {
        let proc = tempfile::TempDir::new().unwrap();
        let holder = Holder { pid: "7".to_owned(), started: "5".to_owned(), ..Holder::this() };
        assert!(!holder.has_ended(proc.path()), "others' processes are hidden");
        std::fs::create_dir_all(proc.path().join("1")).unwrap();
        std::fs::write(proc.path().join("1/stat"), "1 (init) S").unwrap();
        assert!(holder.has_ended(proc.path()));
        // A folder in the file's place: there is something, and it cannot be read.
        std::fs::create_dir_all(proc.path().join("7/stat")).unwrap();
        assert!(!holder.has_ended(proc.path()), "unreadable");
        std::fs::remove_dir(proc.path().join("7/stat")).unwrap();
        std::fs::write(proc.path().join("7/stat"), format!("7 (a) b) S{} 5 0", " 0".repeat(18))).unwrap();
        assert!(!holder.has_ended(proc.path()), "alive");
        std::fs::write(proc.path().join("7/stat"), "7 (a").unwrap();
        assert!(!holder.has_ended(proc.path()), "unclear");
        assert!(!Holder { pid: "x".to_owned(), ..holder }.has_ended(proc.path()));
    }
}
