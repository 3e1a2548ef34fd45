//! Messages as Go's protobuf library prints them in one line; Fabric puts some of them into its texts.
//!
//! Go separates fields by one blank or two, at random for each build of a program; here it is one.

use std::fmt::Write as _;

use tenter_fabric_wire::common::{ConfigGroup, Policy};
use tenter_fabric_wire::etcdraft::Consenter;

/// A text or bytes in quotes.
fn quoted(bytes: &[u8]) -> String {
    let mut out = String::from("\"");
    for byte in bytes {
        match byte {
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            0x20..=0x7e => out.push(char::from(*byte)),
            other => {
                let _ = write!(out, "\\x{other:02x}");
            }
        }
    }
    out.push('"');
    out
}

/// A policy.
pub fn policy(policy: &Policy) -> String {
    let mut fields = Vec::new();
    if policy.r#type != 0 {
        fields.push(format!("type:{}", policy.r#type));
    }
    if !policy.value.is_empty() {
        fields.push(format!("value:{}", quoted(&policy.value)));
    }
    fields.join(" ")
}

/// A Raft consenter.
pub fn raft_consenter(consenter: &Consenter) -> String {
    let mut fields = Vec::new();
    if !consenter.host.is_empty() {
        fields.push(format!("host:{}", quoted(consenter.host.as_bytes())));
    }
    if consenter.port != 0 {
        fields.push(format!("port:{}", consenter.port));
    }
    for (name, bytes) in
        [("client_tls_cert", &consenter.client_tls_cert), ("server_tls_cert", &consenter.server_tls_cert)]
    {
        if !bytes.is_empty() {
            fields.push(format!("{name}:{}", quoted(bytes)));
        }
    }
    fields.join(" ")
}

/// A group of the configuration tree with all that is below it.
pub fn config_group(group: &ConfigGroup) -> String {
    let mut fields = Vec::new();
    let mut member = |kind: &str, key: &str, value: String| {
        fields.push(format!("{kind}:{{key:{} value:{{{value}}}}}", quoted(key.as_bytes())));
    };
    for (name, child) in &group.groups {
        member("groups", name, config_group(child));
    }
    for (name, value) in &group.values {
        let bytes = if value.value.is_empty() { String::new() } else { format!("value:{}", quoted(&value.value)) };
        member("values", name, versioned(value.version, bytes, &value.mod_policy));
    }
    for (name, outer) in &group.policies {
        let inner = outer.policy.as_ref().map_or_else(String::new, |inner| format!("policy:{{{}}}", policy(inner)));
        member("policies", name, versioned(outer.version, inner, &outer.mod_policy));
    }
    versioned(group.version, fields.join(" "), &group.mod_policy)
}

fn versioned(version: u64, content: String, mod_policy: &str) -> String {
    let mut fields = Vec::new();
    if version != 0 {
        fields.push(format!("version:{version}"));
    }
    if !content.is_empty() {
        fields.push(content);
    }
    if !mod_policy.is_empty() {
        fields.push(format!("mod_policy:{}", quoted(mod_policy.as_bytes())));
    }
    fields.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_as_go_does() {
        assert_eq!(policy(&Policy { r#type: 1, value: b"\x12\n\"a".to_vec() }), "type:1 value:\"\\x12\\n\\\"a\"");
        let group = ConfigGroup { mod_policy: "Admins".to_owned(), ..ConfigGroup::default() };
        assert_eq!(config_group(&group), "mod_policy:\"Admins\"");
    }
}
