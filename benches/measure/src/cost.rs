//! What an operation costs, at the prices of us-east-1 in November 2026, without the free tier.

use rehearsal::record::STATE_TRANSITION;

/// Dollars for each invocation (<https://aws.amazon.com/lambda/pricing/>).
const INVOCATION: f64 = 0.20 / 1_000_000.0;
/// Dollars for each GB-second on arm64 (the same page).
const GB_SECOND: f64 = 0.000_013_333_4;
/// What the template gives each function.
const GB: f64 = 0.25;
/// More than an invocation takes that does not wait for others: most take some tenths of a second.
const SECONDS: f64 = 1.0;

/// Dollars for state transitions and invocations.
pub(crate) fn dollars(transitions: usize, invocations: usize) -> f64 {
    let each = INVOCATION + GB * SECONDS * GB_SECOND;
    transitions as f64 * STATE_TRANSITION + invocations as f64 * each
}

/// Dollars of a year of nights: 250 of them, and the looks of every half hour that find nothing to do.
pub(crate) fn year(night: usize, look: usize) -> f64 {
    const NIGHTS: usize = 250;
    const LOOKS: usize = 48 * 365;
    // Two looks of each night are the evening and the morning.
    (NIGHTS * night + (LOOKS - 2 * NIGHTS) * look) as f64 * STATE_TRANSITION
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thousand_transitions_cost_two_cents_and_a_half_and_a_thousand_invocations_a_third_of_one()
    {
        assert!((dollars(1000, 0) - 0.025).abs() < 1e-9);
        assert!((dollars(0, 1000) - 0.003_533).abs() < 1e-6);
    }

    #[test]
    fn a_year_is_its_nights_and_the_looks_between_them() {
        assert!((year(40, 3) - 1.5265).abs() < 1e-4);
    }
}
