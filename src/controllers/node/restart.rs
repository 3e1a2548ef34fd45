//! When a node may be restarted: one at a time, and only while the others can do without it.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;

use super::PodFacts;

/// How long a Pod must be ready before others rely on it: its program has caught up with the others by then.
const MIN_READY: Duration = Duration::from_secs(10);
/// How long a node may be down before the others stop waiting for it: a restart is over long before.
const LOST_AFTER: Duration = Duration::from_mins(10);

/// How it is with another node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// It serves.
    Serving,
    /// It is being restarted, or started a moment ago: it is waited for.
    Down,
    /// It has been down for so long that nobody waits for it, or is not there at all.
    Lost,
}

/// Another node that matters to a restart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Neighbour {
    /// `namespace/name`.
    pub name: String,
    /// How it is with it.
    pub state: State,
    /// Whether it waits for a restart itself, or may come to.
    pub outdated: bool,
}

/// What a channel needs of the other nodes while one is restarted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quorum {
    /// The channel.
    pub channel: String,
    /// How many consenters it needs to order.
    pub needed: usize,
    /// Its other consenters that this daemon acts for, `namespace/name`.
    pub members: BTreeSet<String>,
    /// How many consenters it has elsewhere that order, as far as can be told from here.
    pub unseen: usize,
}

/// The nodes that a node's restart concerns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Neighbourhood {
    /// The nodes.
    pub nodes: Vec<Neighbour>,
    /// The channels that they order together.
    pub channels: Vec<Quorum>,
}

/// How it is with a node of this Pod.
pub fn state(pod: Option<&PodFacts>, now: Timestamp) -> State {
    let Some(pod) = pod else {
        // Kubernetes makes it in a moment.
        return State::Down;
    };
    if pod.serves() {
        return if is_past(pod, now, MIN_READY) { State::Serving } else { State::Down };
    }
    if is_past(pod, now, LOST_AFTER) { State::Lost } else { State::Down }
}

/// Whether a Pod has been as it is for this long.
pub fn is_past(pod: &PodFacts, now: Timestamp, pause: Duration) -> bool {
    pod.since.is_some_and(|since| Duration::try_from(now.duration_since(since)).is_ok_and(|past| past >= pause))
}

/// Whether the node `me` with this Pod may be restarted now; else what it waits for.
pub fn gate(me: &str, pod: &PodFacts, neighbourhood: &Neighbourhood, now: Timestamp) -> Result<(), String> {
    // A program that does not run loses nothing by a restart, and may be mended by it.
    if !pod.running {
        return Ok(());
    }
    // One that runs may count for a quorum though it is not ready. After so long it does not: else nodes that all
    // wait for new certificates would wait for each other.
    let counts = pod.ready || !is_past(pod, now, LOST_AFTER);
    may_restart(me, &neighbourhood.nodes, if counts { &neighbourhood.channels } else { &[] })
}

/// Whether the node `me` may be restarted now; else what it waits for.
///
/// No neighbour may be on its way down or up. Those that are lost are not waited for, if each of their channels
/// keeps a quorum without them and `me`. Of those that wait for a restart the first by name goes first: two
/// controllers that decide at the same moment come to the same answer.
pub fn may_restart(me: &str, neighbours: &[Neighbour], channels: &[Quorum]) -> Result<(), String> {
    let others = |state: State| {
        let found = neighbours.iter().filter(move |other| other.name != me && other.state == state);
        found.map(|other| other.name.as_str())
    };
    let down: Vec<&str> = others(State::Down).collect();
    if !down.is_empty() {
        return Err(format!("{} must run first", down.join(", ")));
    }
    for Quorum { channel, needed, members, unseen } in channels {
        let lost: Vec<&str> = others(State::Lost).filter(|name| members.contains(*name)).collect();
        let left = others(State::Serving).filter(|name| members.contains(*name)).count() + unseen;
        if !lost.is_empty() && left < *needed {
            return Err(format!(
                "{} must run first, or be taken out of channel {channel}, which would be left with {left} of the \
                 {needed} consenters that it needs",
                lost.join(", ")
            ));
        }
    }
    let waiting = neighbours.iter().filter(|other| other.outdated && other.state == State::Serving);
    match waiting.map(|other| other.name.as_str()).filter(|name| *name < me).min() {
        Some(first) => Err(format!("{first} is restarted first")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::State::{Down, Lost, Serving};
    use super::*;

    fn neighbours(states: &[(&str, State, bool)]) -> Vec<Neighbour> {
        let one = |(name, state, outdated): &(&str, State, bool)| Neighbour {
            name: (*name).to_owned(),
            state: *state,
            outdated: *outdated,
        };
        states.iter().map(one).collect()
    }

    fn channel(needed: usize, members: &[&str], unseen: usize) -> Quorum {
        let members = members.iter().map(|name| (*name).to_owned()).collect();
        Quorum { channel: "trade".into(), needed, members, unseen }
    }

    #[test]
    fn one_at_a_time_in_order_while_all_others_run() {
        let check = |me: &str, states: &[(&str, State, bool)], expect: Result<(), &str>| {
            let found = may_restart(me, &neighbours(states), &[]);
            assert_eq!(found.as_ref().map_err(String::as_str).copied(), expect, "{me} among {states:?}");
        };
        check("b", &[], Ok(()));
        check("b", &[("a", Serving, false), ("c", Serving, false)], Ok(()));
        check("b", &[("a", Down, false), ("c", Down, true)], Err("a, c must run first"));
        check("b", &[("a", Serving, true), ("c", Serving, true)], Err("a is restarted first"));
        check("a", &[("b", Serving, true), ("c", Serving, true)], Ok(()));
        // Itself among the neighbours changes nothing.
        check("b", &[("b", Down, true)], Ok(()));
        // One that is lost is waited for neither to run nor to go first.
        check("b", &[("a", Lost, true), ("c", Serving, false)], Ok(()));
    }

    #[test]
    fn a_lost_node_blocks_only_where_the_quorum_would_go() {
        let check = |states: &[(&str, State, bool)], quorum: Quorum, expect: bool| {
            let found = may_restart("a", &neighbours(states), std::slice::from_ref(&quorum));
            assert_eq!(found.is_ok(), expect, "{found:?} among {states:?} with {quorum:?}");
        };
        let five = [("b", Serving, false), ("c", Serving, false), ("d", Serving, false), ("e", Lost, false)];
        check(&five, channel(3, &["b", "c", "d", "e"], 0), true);
        check(&five[2..], channel(2, &["d", "e"], 0), false);
        check(&five[2..], channel(2, &["d", "e"], 1), true);
        // Restarting nodes are waited for even where a quorum would remain.
        let restarting = [("b", Serving, false), ("c", Serving, false), ("d", Serving, false), ("e", Down, false)];
        check(&restarting, channel(3, &["b", "c", "d", "e"], 0), false);
        // Two consenters never have a quorum without one of them: while both run, one may go.
        check(&five[..1], channel(2, &["b"], 0), true);
        // A lost node of another channel is no reason.
        check(&five[3..], channel(1, &["b"], 0), true);
    }

    #[test]
    fn a_program_that_runs_is_never_restarted_past_the_gate() {
        let now = Timestamp::UNIX_EPOCH + Duration::from_hours(1);
        let pod = |running: bool, ready: bool, age: Duration| PodFacts {
            running,
            ready,
            since: Some(now - age),
            ..PodFacts::default()
        };
        let (young, old) = (Duration::from_secs(5), Duration::from_hours(1));
        let down = Neighbourhood { nodes: neighbours(&[("b", Down, false)]), channels: Vec::new() };
        let lost = Neighbourhood { nodes: neighbours(&[("b", Lost, false)]), channels: vec![channel(2, &["b"], 0)] };
        let check = |pod: &PodFacts, hood: &Neighbourhood, expect: bool| {
            assert_eq!(gate("a", pod, hood, now).is_ok(), expect, "{pod:?} among {hood:?}");
        };
        check(&pod(false, false, young), &down, true);
        check(&pod(true, false, young), &down, false);
        check(&pod(true, false, young), &lost, false);
        check(&pod(true, true, old), &lost, false);
        // Not ready for long: no quorum depends on it, but two at once are still one too many.
        check(&pod(true, false, old), &lost, true);
        check(&pod(true, false, old), &down, false);
    }

    #[test]
    fn a_pod_serves_some_seconds_after_it_is_ready_and_is_given_up_after_minutes() {
        let now = Timestamp::UNIX_EPOCH + Duration::from_hours(1);
        let check = |ready: bool, deleting: bool, age: u64, expect: State| {
            let since = Some(now - Duration::from_secs(age));
            let pod = PodFacts { running: true, ready, deleting, since, ..PodFacts::default() };
            assert_eq!(state(Some(&pod), now), expect, "{pod:?}");
        };
        check(true, false, 9, Down);
        check(true, false, 10, Serving);
        check(true, true, 10, Down);
        check(false, false, 599, Down);
        check(false, false, 600, Lost);
        check(true, true, 600, Lost);
        assert_eq!(state(None, now), Down);
        assert_eq!(state(Some(&PodFacts { ready: true, ..PodFacts::default() }), now), Down, "nobody knows since when");
    }

    /// However a set of nodes starts, restarting what may be restarted ends with all of them new, and never with
    /// two of them down.
    #[test]
    fn every_rollout_ends_and_never_takes_two() {
        let quorum = [channel(3, &["n0", "n1", "n2", "n3", "n4"], 0)];
        for outdated in 0..32u32 {
            let mut nodes: Vec<Neighbour> = (0..5)
                .map(|i| Neighbour { name: format!("n{i}"), state: Serving, outdated: outdated & (1 << i) != 0 })
                .collect();
            let may = |me: usize, nodes: &[Neighbour]| may_restart(&nodes[me].name, nodes, &quorum).is_ok();
            let mut restarts = 0;
            while nodes.iter().any(|node| node.outdated) {
                let free: Vec<usize> = (0..5).filter(|i| nodes[*i].outdated && may(*i, &nodes)).collect();
                assert_eq!(free.len(), 1, "{nodes:?}");
                nodes[free[0]].state = Down;
                assert!((0..5).filter(|i| *i != free[0]).all(|i| !may(i, &nodes)), "{nodes:?}");
                nodes[free[0]] = Neighbour { state: Serving, outdated: false, ..nodes[free[0]].clone() };
                restarts += 1;
            }
            assert_eq!(restarts, outdated.count_ones());
        }
    }
}
