//! In which availability zones a stack has subnets, and which of them its VPC connector is made of. Nothing is ever moved or
//! removed: a subnet in a zone that App Runner refuses stays, for the database.

use groundcrew::zone;

/// How many subnets an own VPC has, if the region has as many availability zones; App Runner advises three.
pub(super) const SUBNETS: usize = 3;
/// How many of them the database and the connector need at least.
pub(crate) const FEWEST: usize = 2;

/// An availability zone of the account.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Zone {
    /// `us-east-1a`
    pub(crate) name: String,
    /// `use1-az4`
    pub(crate) id: String,
}

impl std::fmt::Display for Zone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.name, self.id)
    }
}

/// What is known about the zones of a stack.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Choice<'a> {
    /// The ids that the spec names; none leaves the choice to us.
    pub(super) chosen: &'a [String],
    /// The ids that App Runner has just refused, beside those that are known.
    pub(super) refused: &'a [&'a str],
}

impl Choice<'_> {
    /// Whether a subnet in this zone may be part of the connector.
    pub(super) fn allows(self, zone_id: &str) -> bool {
        !zone::is_without_app_runner(zone_id)
            && !self.refused.contains(&zone_id)
            && (self.chosen.is_empty() || self.chosen.iter().any(|id| id == zone_id))
    }

    /// The zones that get a subnet, in the order of `zones`: beside those in `taken`, until the connector has enough of them. Once
    /// there is a connector it takes in no more.
    pub(super) fn missing<'z>(
        self,
        zones: &'z [Zone],
        taken: &[&str],
        has_connector: bool,
    ) -> Vec<&'z Zone> {
        let usable = taken.iter().filter(|id| self.allows(id)).count();
        let count = if has_connector {
            FEWEST.saturating_sub(taken.len())
        } else if self.chosen.is_empty() {
            let full = SUBNETS.saturating_sub(taken.len());
            full.max(FEWEST.saturating_sub(usable))
        } else {
            self.chosen.len()
        };
        zones
            .iter()
            .filter(|zone| self.allows(&zone.id) && !taken.contains(&zone.id.as_str()))
            .take(count)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The zones of an account of us-east-1, by name; App Runner is known to refuse the second.
    const IDS: [&str; 6] = [
        "use1-az4", "use1-az3", "use1-az6", "use1-az1", "use1-az2", "use1-az5",
    ];

    fn zones() -> Vec<Zone> {
        let names = "abcdef".chars().zip(IDS);
        names
            .map(|(letter, id)| Zone {
                name: format!("us-east-1{letter}"),
                id: id.into(),
            })
            .collect()
    }

    /// Those of the six whose bit is set.
    fn some(bits: usize) -> Vec<&'static str> {
        let of = |n: &usize| bits & (1 << n) != 0;
        (0..IDS.len()).filter(of).map(|n| IDS[n]).collect()
    }

    /// Plays executions until the connector is there: what it is made of, and where the stack has subnets then. App Runner names
    /// every subnet that it refuses, or only one at a time.
    fn connect(
        choice: Choice<'_>,
        mut taken: Vec<&'static str>,
        unsupported: &[&str],
        names_all: bool,
    ) -> (Vec<&'static str>, Vec<&'static str>) {
        let zones = zones();
        let add = |taken: &mut Vec<&'static str>, choice: Choice<'_>| {
            let missing = choice.missing(&zones, taken, false);
            let ids: Vec<_> = missing.iter().map(|zone| zone.id.as_str()).collect();
            taken.extend(IDS.iter().filter(|id| ids.contains(id)));
            ids.len()
        };
        add(&mut taken, choice);
        loop {
            let mut offered = taken.clone();
            offered.retain(|id| choice.allows(id));
            let mut refused = Vec::new();
            loop {
                if offered.len() < FEWEST {
                    break;
                }
                let named: Vec<_> = offered
                    .iter()
                    .copied()
                    .filter(|id| unsupported.contains(id))
                    .take(if names_all { IDS.len() } else { 1 })
                    .collect();
                if named.is_empty() {
                    return (offered, taken);
                }
                offered.retain(|id| !named.contains(id));
                refused.extend(named);
            }
            let learnt = Choice {
                refused: &refused,
                ..choice
            };
            if add(&mut taken, learnt) == 0 {
                return (Vec::new(), taken);
            }
        }
    }

    #[test]
    fn a_connector_gets_two_zones_wherever_there_are_two_none_that_is_refused_and_nothing_is_moved()
    {
        for (unsupported, before, names_all) in (0..64)
            .flat_map(|unsupported| (0..64).map(move |before| (unsupported, before)))
            .flat_map(|(unsupported, before)| [true, false].map(|all| (unsupported, before, all)))
        {
            let label = format!("{unsupported:06b} unsupported, {before:06b} taken");
            let (unsupported, before) = (some(unsupported | 0b10), some(before));
            let choice = Choice::default();
            let (connector, after) = connect(choice, before.clone(), &unsupported, names_all);
            let supported = IDS.len() - unsupported.len();
            assert_eq!(connector.len() >= FEWEST, supported >= FEWEST, "{label}");
            let refused = connector.iter().any(|id| unsupported.contains(id));
            assert!(!refused, "{label}: {connector:?}");
            assert!(before.iter().all(|id| after.contains(id)), "{label}");
            // Nothing is added that is not needed, and a repetition adds nothing.
            if connector.len() > FEWEST {
                assert!(
                    after.len() <= SUBNETS.max(before.len()),
                    "{label}: {after:?}"
                );
            }
            if !connector.is_empty() {
                assert!(choice.missing(&zones(), &after, true).is_empty(), "{label}");
                assert_eq!(
                    connect(choice, after.clone(), &unsupported, names_all),
                    (connector, after)
                );
            }
        }
    }

    #[test]
    fn the_first_three_zones_by_name_are_taken_that_are_not_known_to_be_refused() {
        let zones = zones();
        let missing = |taken: &[&str], has_connector| -> Vec<String> {
            let missing = Choice::default().missing(&zones, taken, has_connector);
            missing.into_iter().map(|zone| zone.name.clone()).collect()
        };
        assert_eq!(
            missing(&[], false),
            ["us-east-1a", "us-east-1c", "us-east-1d"]
        );
        // Two of three, left by an execution that was stopped: the next one completes them, unless there is a connector.
        assert_eq!(missing(&["use1-az6", "use1-az4"], false), ["us-east-1d"]);
        assert!(missing(&["use1-az6", "use1-az4"], true).is_empty());
        // Three of an earlier version, one of them refused: two are enough.
        assert!(missing(&["use1-az4", "use1-az3", "use1-az6"], false).is_empty());
    }

    #[test]
    fn zones_that_a_person_chose_all_get_a_subnet_and_no_other_does() {
        let zones = zones();
        let chosen = ["use1-az5", "use1-az1", "use1-az2", "use1-az4"].map(str::to_owned);
        let choice = Choice {
            chosen: &chosen,
            refused: &[],
        };
        let missing = choice.missing(&zones, &["use1-az6", "use1-az1"], false);
        let missing: Vec<_> = missing.iter().map(|zone| zone.id.as_str()).collect();
        assert_eq!(missing, ["use1-az4", "use1-az2", "use1-az5"]);
        assert!(!choice.allows("use1-az6"));
    }
}
