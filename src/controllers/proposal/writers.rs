//! Who may hand an update to an orderer.

use jiff::Timestamp;
use tenter_consortium::observation::Observation;
use tenter_fabric::identity::SigningIdentity;
use tenter_fabric::policy::Judge;

use crate::nodes::chain;

/// Looks for an identity that may submit.
#[derive(Default)]
pub struct Writers {
    /// The first that may.
    pub found: Option<SigningIdentity>,
    /// Why others may not, each reason once, with the Secrets of those whom it concerns.
    refused: Vec<(String, Vec<String>)>,
}

impl Writers {
    /// Asks whether the identity in a Secret, named by its namespace and its name, may. Once one may, no other is asked.
    pub fn ask(&mut self, judge: &Judge, secret: &str, identity: Observation<SigningIdentity>, now: Timestamp) {
        if self.found.is_some() {
            return;
        }
        match identity {
            Observation::Present { value } => match judge.may_submit(value.creator(), now) {
                Ok(_) => self.found = Some(value),
                Err(why) => self.refuse(chain(&why), secret),
            },
            other => self.refuse(other.evidence().unwrap_or_default().to_owned(), secret),
        }
    }

    fn refuse(&mut self, why: String, secret: &str) {
        match self.refused.iter_mut().find(|(known, _)| *known == why) {
            Some((_, secrets)) => secrets.push(secret.to_owned()),
            None => self.refused.push((why, vec![secret.to_owned()])),
        }
    }

    /// Why nobody may, if nobody was found.
    pub fn why(&self, channel: &str) -> Option<String> {
        if self.found.is_some() {
            return None;
        }
        let reasons: Vec<String> =
            self.refused.iter().map(|(why, secrets)| format!("{}: {why}", secrets.join(", "))).collect();
        let reasons = if reasons.is_empty() { "it has none".to_owned() } else { reasons.join("; ") };
        Some(format!(
            "none of this daemon's identities may write to channel {channel}, so it cannot be submitted: {reasons}; have its \
             administrators change the policy Writers, or submit it by another member's daemon"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_told_once_with_all_whom_it_keeps_out() {
        let rule = "/Channel/Writers needs 1 of 2 policies and 0 hold";
        let mut writers = Writers::default();
        writers.refuse(rule.to_owned(), "trade-hub/identity-reader");
        writers.refuse(
            "Secret trade-hub/identity-config-admin: it has no tls.crt".to_owned(),
            "trade-hub/identity-config-admin",
        );
        writers.refuse(rule.to_owned(), "trade-acme/identity-reader");
        let why = writers.why("settlement").unwrap();
        assert_eq!(why.matches(rule).count(), 1, "{why}");
        assert!(why.contains(&format!("trade-hub/identity-reader, trade-acme/identity-reader: {rule};")), "{why}");
        assert!(why.contains("trade-hub/identity-config-admin: Secret"), "{why}");
    }
}
