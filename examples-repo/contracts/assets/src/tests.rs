//! The contract against a ledger in memory.

use tenter_fabric_shim::testing::Ledger;

use crate::Assets;

fn check(ledger: &mut Ledger, function: &str, arguments: &[&str], expect: Result<&str, &str>) {
    let result = ledger.invoke(&Assets, function, arguments);
    let result = result.map(|bytes| String::from_utf8(bytes).unwrap()).map_err(|error| error.to_string());
    assert_eq!(result.as_deref().map_err(String::as_str), expect, "{function} {arguments:?}");
}

#[test]
fn assets_are_created_read_and_transferred() {
    let ledger = &mut Ledger::default();
    let (of_ann, of_bob) = (r#"{"id":"a1","owner":"ann","value":7}"#, r#"{"id":"a1","owner":"bob","value":7}"#);
    check(ledger, "Read", &["a1"], Err("asset a1 does not exist"));
    check(ledger, "Create", &["a1", "ann", "7"], Ok(of_ann));
    assert_eq!(ledger.event(), Some(("Created", of_ann.as_bytes())));
    check(ledger, "Create", &["a1", "bob", "8"], Err("asset a1 exists already"));
    check(ledger, "Read", &["a1"], Ok(of_ann));
    check(ledger, "Transfer", &["a1", "bob"], Ok(of_bob));
    assert_eq!(ledger.event(), Some(("Transferred", of_bob.as_bytes())));
    check(ledger, "Read", &["a1"], Ok(of_bob));
    check(ledger, "Transfer", &["a2", "bob"], Err("asset a2 does not exist"));
}

#[test]
fn assets_are_listed_by_id() {
    let ledger = &mut Ledger::default();
    check(ledger, "List", &[], Ok("[]"));
    for id in ["a3", "a1", "a2"] {
        ledger.invoke(&Assets, "Create", &[id, "ann", "1"]).unwrap();
    }
    let asset = |id: &str| format!(r#"{{"id":"{id}","owner":"ann","value":1}}"#);
    check(ledger, "List", &[], Ok(&format!("[{},{},{}]", asset("a1"), asset("a2"), asset("a3"))));
}

#[test]
fn calls_that_make_no_sense_are_refused() {
    let ledger = &mut Ledger::default();
    check(ledger, "Create", &["a1", "ann"], Err("Create takes 3 arguments, not 2"));
    check(ledger, "Create", &["a1", "ann", "much"], Err(r#"a value must be a whole number, not "much""#));
    check(ledger, "Create", &["", "ann", "1"], Err("an asset must have an id"));
    check(
        ledger,
        "Burn",
        &["a1"],
        Err("there is no function \"Burn\": Create, Read, Transfer, List, SetPrice or Price"),
    );
    assert_eq!(ledger.get("a1"), None);
}

#[test]
fn a_price_is_no_argument() {
    let ledger = &mut Ledger::default();
    check(ledger, "SetPrice", &["a1"], Err("asset a1 does not exist"));
    ledger.invoke(&Assets, "Create", &["a1", "ann", "7"]).unwrap();
    check(ledger, "SetPrice", &["a1", "42"], Err("SetPrice takes 1 argument, not 2"));
    check(ledger, "SetPrice", &["a1"], Err("the price is given as transient data: price=NUMBER"));
    check(ledger, "Price", &["a1"], Err("asset a1 has no price"));
}
