//! When a node may be restarted: one at a time, and only while all others run.

/// Another node that matters to a restart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Neighbour {
    /// `namespace/name`.
    pub name: String,
    /// Whether it serves.
    pub running: bool,
    /// Whether it waits for a restart itself.
    pub outdated: bool,
}

/// Whether the node `me` may be restarted now; else what it waits for.
///
/// All neighbours must serve, and of those that wait for a restart the first by name goes first: two controllers
/// that decide at the same moment come to the same answer.
pub fn may_restart(me: &str, neighbours: &[Neighbour]) -> Result<(), String> {
    let others = || neighbours.iter().filter(|neighbour| neighbour.name != me);
    let down: Vec<&str> = others().filter(|other| !other.running).map(|other| other.name.as_str()).collect();
    if !down.is_empty() {
        return Err(format!("{} must run first", down.join(", ")));
    }
    match others().filter(|other| other.outdated && other.name.as_str() < me).map(|other| &other.name).min() {
        Some(first) => Err(format!("{first} is restarted first")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn neighbours(states: &[(&str, bool, bool)]) -> Vec<Neighbour> {
        states
            .iter()
            .map(|(name, running, outdated)| Neighbour {
                name: (*name).to_owned(),
                running: *running,
                outdated: *outdated,
            })
            .collect()
    }

    #[test]
    fn one_at_a_time_in_order_while_all_others_run() {
        let check = |me: &str, states: &[(&str, bool, bool)], expect: Result<(), &str>| {
            let found = may_restart(me, &neighbours(states));
            assert_eq!(found.as_ref().map_err(String::as_str).copied(), expect, "{me} among {states:?}");
        };
        check("b", &[], Ok(()));
        check("b", &[("a", true, false), ("c", true, false)], Ok(()));
        check("b", &[("a", false, false), ("c", false, true)], Err("a, c must run first"));
        check("b", &[("a", true, true), ("c", true, true)], Err("a is restarted first"));
        check("a", &[("b", true, true), ("c", true, true)], Ok(()));
        // Itself among the neighbours changes nothing.
        check("b", &[("b", false, true)], Ok(()));
    }

    /// However a set of nodes starts, restarting what may be restarted ends with all of them new, and never with
    /// two of them down.
    #[test]
    fn every_rollout_ends_and_never_takes_two() {
        for outdated in 0..32u32 {
            let mut nodes: Vec<Neighbour> = (0..5)
                .map(|i| Neighbour { name: format!("n{i}"), running: true, outdated: outdated & (1 << i) != 0 })
                .collect();
            let mut restarts = 0;
            while nodes.iter().any(|node| node.outdated) {
                let free: Vec<usize> =
                    (0..5).filter(|i| nodes[*i].outdated && may_restart(&nodes[*i].name, &nodes).is_ok()).collect();
                assert_eq!(free.len(), 1, "{nodes:?}");
                nodes[free[0]].running = false;
                let blocked = (0..5).filter(|i| *i != free[0]).all(|i| may_restart(&nodes[i].name, &nodes).is_err());
                assert!(blocked, "{nodes:?}");
                nodes[free[0]] = Neighbour { running: true, outdated: false, ..nodes[free[0]].clone() };
                restarts += 1;
            }
            assert_eq!(restarts, outdated.count_ones());
        }
    }
}
