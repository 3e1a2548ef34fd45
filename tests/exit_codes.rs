//! Exit codes that need somebody to talk to: access refused, and time over. The others are in tests/scripts.

#![expect(clippy::expect_used, reason = "what goes wrong here fails the test")]

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use serde_json::json;

fn code(arguments: &[&str]) -> (Option<i32>, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let output = Command::new(env!("CARGO_BIN_EXE_tenter"))
        .args(arguments)
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts/files"))
        .env_clear()
        .env("HOME", folder.path())
        .output()
        .expect("tenter runs");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// A server that says the same to everybody, or nothing at all.
fn server(answer: Option<&'static str>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        let mut open = Vec::new();
        for mut stream in listener.incoming().flatten() {
            if let Some(answer) = answer {
                let _ = stream.read(&mut [0; 4096]);
                let _ = stream.write_all(answer.as_bytes());
            } else {
                open.push(stream);
            }
        }
    });
    format!("http://{address}")
}

#[test]
fn access_that_is_refused_ends_with_6() {
    let body = r#"{"kind":"Status","status":"Failure","reason":"Forbidden","code":403,"message":"no"}"#;
    let answer = format!(
        "HTTP/1.1 403 Forbidden\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    let address = server(Some(answer.leak()));
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("kubeconfig");
    let text = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{"name": "c", "cluster": {"server": address}}],
        "users": [{"name": "u", "user": {}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
    });
    std::fs::write(&path, text.to_string()).expect("a kubeconfig");
    let path = path.display().to_string();
    for command in [&["plan"][..], &["diff"], &["status"], &["apply", "--yes"]] {
        let mut arguments = command.to_vec();
        arguments.extend(["--kubeconfig", &path]);
        let (code, said) = code(&arguments);
        assert_eq!(code, Some(6), "{command:?}: {said}");
        assert!(said.contains("error:"), "{said}");
    }
}

#[test]
fn time_that_is_over_ends_with_8() {
    let url = format!("{}/trade.git", server(None));
    let (code, said) = code(&["plan", "--offline", "--repository", &url, "--git-timeout", "1", "--organizations", "*"]);
    assert_eq!(code, Some(8), "{said}");
    assert!(said.contains("took longer than 1 s"), "{said}");
}

/// Codes 0 to 5 and 7 are met in the scripts.
#[test]
fn the_scripts_end_in_all_other_ways() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts");
    let mut codes = std::collections::BTreeSet::new();
    for entry in std::fs::read_dir(folder).expect("the scripts").flatten() {
        let text = std::fs::read_to_string(entry.path()).unwrap_or_default();
        codes.extend(text.lines().find_map(|line| line.strip_prefix("--- code ")?.parse::<u8>().ok()));
    }
    assert_eq!(codes.into_iter().collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5, 7]);
}
