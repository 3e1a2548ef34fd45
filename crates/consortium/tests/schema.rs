//! The checked-in schema is the one that the types make.

use std::path::PathBuf;

#[test]
fn the_checked_in_schema_is_current() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../schemas/network.schema.json");
    let expected = format!("{:#}\n", tenter_consortium::schema::schema());
    if std::env::var_os("UPDATE_SCHEMAS").is_some() {
        std::fs::write(&path, &expected).unwrap();
    }
    let actual = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        actual == expected,
        "schemas/network.schema.json is not what the types make; run: UPDATE_SCHEMAS=1 cargo test -p tenter-consortium"
    );
}
