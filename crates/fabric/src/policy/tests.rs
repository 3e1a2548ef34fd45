//! Policies without vectors: round trips of what the language can write.

mod needs;

use proptest::prelude::*;

use super::*;

fn role() -> impl Strategy<Value = Role> {
    prop::sample::select(vec![Role::Member, Role::Admin, Role::Client, Role::Peer, Role::Orderer])
}

/// A policy text with nested calls.
fn text() -> impl Strategy<Value = String> {
    let leaf = ("[A-Za-z0-9.-]{0,8}[A-Za-z0-9]", role()).prop_map(|(msp, role)| format!("'{msp}.{}'", role.name()));
    leaf.prop_recursive(4, 32, 5, |inner| {
        (prop::sample::select(vec!["AND", "OR", "OutOf"]), prop::collection::vec(inner, 1..5), 0..6usize).prop_map(
            |(call, arguments, n)| {
                let count = n.min(arguments.len() + 1);
                let arguments = arguments.join(", ");
                if call == "OutOf" { format!("OutOf({count}, {arguments})") } else { format!("{call}({arguments})") }
            },
        )
    })
    .prop_filter("a principal alone is no policy", |text| !text.starts_with('\''))
}

proptest! {
    #[test]
    fn what_is_displayed_reads_back(text in text()) {
        let policy: SignaturePolicy = text.parse().unwrap();
        let again: SignaturePolicy = policy.to_string().parse().unwrap();
        prop_assert_eq!(&again, &policy);
        let wire = Policy::Signature(policy).to_wire();
        prop_assert_eq!(Policy::from_wire(&wire).to_wire(), wire);
    }

    #[test]
    fn any_text_is_read_without_panic(text in any::<String>()) {
        let _ = text.parse::<SignaturePolicy>();
        let _ = text.parse::<ImplicitMeta>();
    }

    #[test]
    fn any_policy_encodes_to_what_it_came_from(kind in 0..5i32, value in any::<Vec<u8>>()) {
        let wire = common::Policy { r#type: kind, value };
        prop_assert_eq!(Policy::from_wire(&wire).to_wire(), wire);
    }
}

#[test]
fn implicit_policies_are_two_words() {
    let policy: ImplicitMeta = "MAJORITY Admins".parse().unwrap();
    assert_eq!(policy, ImplicitMeta { rule: Rule::Majority, sub_policy: "Admins".to_owned() });
    assert_eq!(policy.to_string(), "MAJORITY Admins");
    for bad in ["", "MAJORITY", "majority Admins", "ANY  Admins", "ANY Admins ", "SOME Admins"] {
        assert!(bad.parse::<ImplicitMeta>().is_err(), "{bad}");
    }
}

#[test]
fn text_in_text_is_read_by_the_later_passes() {
    // Fabric's passes print strings without quotes, so a number or a call may stand in a string.
    let policy: SignaturePolicy = "OutOf('2', \"'A.member', 'B.member'\")".parse().unwrap();
    assert_eq!(policy.to_string(), "AND('A.member', 'B.member')");
    assert!("OR(\"OR('A.member')\")".parse::<SignaturePolicy>().is_err());
}

#[test]
fn deep_and_long_texts_are_refused() {
    let deep = format!("{}'A.member'{}", "OR(".repeat(1000), ")".repeat(1000));
    assert_eq!(deep.parse::<SignaturePolicy>(), Err(PolicySyntaxError::TooDeep));
    let long = " ".repeat(70_000);
    assert_eq!(long.parse::<SignaturePolicy>(), Err(PolicySyntaxError::TooLong { length: 70_000 }));
}

#[test]
fn principals_that_do_not_exist_are_shown() {
    let policy = SignaturePolicy { rule: SignatureRule::SignedBy(3), identities: Vec::new() };
    assert_eq!(policy.to_string(), "'principal 3, which does not exist'");
}
