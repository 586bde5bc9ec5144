//! Medians, percentiles, and how far a ratio of medians can be trusted.

/// The value below which this part of them lies, 0.5 for the median; 0 of none.
pub(crate) fn percentile(values: &[f64], part: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let Some(last) = sorted.len().checked_sub(1) else {
        return 0.0;
    };
    let at = last as f64 * part;
    let (below, above) = (sorted[at.floor() as usize], sorted[at.ceil() as usize]);
    below + (above - below) * at.fract()
}

pub(crate) fn median(values: &[f64]) -> f64 {
    percentile(values, 0.5)
}

/// A ratio of medians, with half the width of the interval in which it lies 95 times out of 100.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Ratio {
    pub(crate) value: f64,
    pub(crate) noise: f64,
}

/// How often the repetitions are drawn again.
const DRAWS: usize = 2_000;

impl Ratio {
    /// Of two series whose repetitions were taken in turn. They are drawn together (a paired bootstrap), so that a machine that
    /// was slow for a while was slow for both.
    pub(crate) fn of(measured: &[f64], reference: &[f64]) -> Self {
        let pairs: Vec<_> = measured.iter().zip(reference).collect();
        let ratio = |pairs: &[(&f64, &f64)]| {
            let (of, to): (Vec<f64>, Vec<f64>) = pairs.iter().copied().unzip();
            median(&of) / median(&to)
        };
        let mut dice = Dice(0x9E37_79B9_7F4A_7C15);
        let draw = |_| {
            let drawn: Vec<_> = pairs
                .iter()
                .map(|_| pairs[dice.below(pairs.len())])
                .collect();
            ratio(&drawn)
        };
        let drawn: Vec<f64> = (0..DRAWS).map(draw).collect();
        Self {
            value: ratio(&pairs),
            noise: (percentile(&drawn, 0.975) - percentile(&drawn, 0.025)) / 2.0,
        }
    }
}

/// The same numbers in every run (xorshift64): what was measured decides, and nothing else.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_lies_between_the_values_around_it() {
        let values = [4.0, 1.0, 3.0, 2.0];
        assert_eq!(percentile(&values, 0.0), 1.0);
        assert_eq!(median(&values), 2.5);
        assert_eq!(percentile(&values, 1.0), 4.0);
        assert!((percentile(&values, 0.9) - 3.7).abs() < 1e-9);
        assert_eq!(median(&[7.0]), 7.0);
        assert_eq!(median(&[]), 0.0);
    }

    #[test]
    fn one_slow_repetition_changes_no_median() {
        let mut values = vec![2.0; 20];
        values.push(900.0);
        assert_eq!(Ratio::of(&values, &[1.0; 21]).value, 2.0);
    }

    #[test]
    fn the_noise_is_that_of_the_repetitions() {
        let steady = Ratio::of(&[4.0; 25], &[2.0; 25]);
        assert_eq!((steady.value, steady.noise), (2.0, 0.0));
        let wobbly: Vec<_> = (0..25).map(|n| 4.0 + f64::from(n % 5) * 0.5).collect();
        let wobbly = Ratio::of(&wobbly, &[2.0; 25]);
        assert!(wobbly.noise > 0.1 && wobbly.noise < 1.0, "{wobbly:?}");
    }

    #[test]
    fn a_machine_that_is_slow_for_both_is_no_noise() {
        let slow = |n: u32| if n.is_multiple_of(2) { 1.0 } else { 3.0 };
        let reference: Vec<_> = (0..30).map(slow).collect();
        let measured: Vec<_> = reference.iter().map(|value| value * 2.0).collect();
        assert_eq!(Ratio::of(&measured, &reference).value, 2.0);
        assert!(Ratio::of(&measured, &reference).noise < 1e-9);
    }
}
