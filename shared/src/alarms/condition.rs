//! The conditions of a service's alarms, applied to data of after a moment alone. The state of an alarm says nothing about
//! that: it looks back further than its periods, and over a metric that is published only while it is not zero it stays red
//! (https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarms-and-missing-data.html).

use super::alarm::watches_service;
use aws_sdk_cloudwatch::types::{
    ComparisonOperator, Metric, MetricAlarm, MetricDataQuery, MetricStat, Statistic,
};
use jiff::Timestamp;
use std::collections::BTreeMap;

/// Seconds of the shortest period of a metric of AWS's services.
pub const MINUTE: i64 = 60;

/// How many seconds after its end a period is complete (Assumption metric-delay).
const DELAY: i64 = 120;

/// When an alarm is red: its own statistic, threshold, periods and expressions.
pub struct Condition {
    /// What the alarm says for a person.
    described: String,
    /// What is compared with the threshold.
    compared: String,
    /// What CloudWatch is asked for.
    queries: Vec<MetricDataQuery>,
    /// The query whose values are compared.
    id: String,
    is_breaching: fn(f64, f64) -> bool,
    threshold: f64,
    /// Seconds of one period.
    period: i64,
    /// How many periods in a row are looked at, and how many of them have to breach.
    periods: i64,
    to_alarm: usize,
    /// How the values of minutes make that of a period; `None` if CloudWatch is asked for whole periods.
    fold: Option<fn(f64, f64) -> f64>,
    /// Whether a period that breaches does so whatever else comes in it.
    is_final: bool,
    /// Whether a period without data breaches.
    is_missing_breaching: bool,
}

/// That a condition holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Breach {
    /// The value of the last period that breaches; `None` if it has no data.
    pub value: Option<f64>,
    /// When the first of these periods began.
    pub since: Timestamp,
}

/// One value of a metric, and when its period began.
pub type Point = (Timestamp, f64);

impl Condition {
    /// The conditions of those alarms that watch the service of this id, on what an image can be to blame for: while App
    /// Runner deploys it doubles the instances. An alarm on an anomaly detection band has no condition of its own.
    pub fn of_service(alarms: &[MetricAlarm], id: &str) -> Vec<Self> {
        let alarms = alarms.iter().filter(|alarm| {
            watches_service(alarm, id) && alarm.metric_name() != Some("ActiveInstances")
        });
        alarms
            .enumerate()
            .filter_map(|(n, alarm)| Self::of(alarm, n))
            .collect()
    }

    /// That of an alarm, which is the `n`th.
    fn of(alarm: &MetricAlarm, n: usize) -> Option<Self> {
        use ComparisonOperator as Is;
        let (is_breaching, is_above): (fn(f64, f64) -> bool, bool) =
            match alarm.comparison_operator()? {
                Is::GreaterThanThreshold => (|value, threshold| value > threshold, true),
                Is::GreaterThanOrEqualToThreshold => (|value, threshold| value >= threshold, true),
                Is::LessThanThreshold => (|value, threshold| value < threshold, false),
                Is::LessThanOrEqualToThreshold => (|value, threshold| value <= threshold, false),
                _ => return None,
            };
        let periods = alarm.evaluation_periods()?.max(1);
        let described = alarm.alarm_description().or(alarm.alarm_name());
        let mut condition = Self {
            described: described.unwrap_or_default().to_owned(),
            compared: String::new(),
            queries: Vec::new(),
            id: String::new(),
            is_breaching,
            threshold: alarm.threshold()?,
            period: 0,
            periods: periods.into(),
            to_alarm: alarm.datapoints_to_alarm().unwrap_or(periods).max(1) as usize,
            fold: None,
            is_final: false,
            is_missing_breaching: alarm.treat_missing_data() == Some("breaching"),
        };
        let queries = alarm.metrics();
        if queries.is_empty() {
            condition.of_metric(alarm, is_above, format!("alarm_{n}"))?;
        } else {
            let returned = queries
                .iter()
                .find(|query| query.return_data() != Some(false))?;
            let of_query = |query: &MetricDataQuery| {
                let of_metric = query.metric_stat().and_then(MetricStat::period);
                of_metric.or(query.period())
            };
            condition.period = queries.iter().filter_map(of_query).max()?.into();
            condition.id = returned.id()?.to_owned();
            condition.compared = returned.label().unwrap_or(&condition.id).to_owned();
            condition.queries = queries.to_vec();
        }
        (condition.period > 0).then_some(condition)
    }

    /// One metric with one statistic. Sums and extremes of minutes are those of the period, and can speak before its end.
    fn of_metric(&mut self, alarm: &MetricAlarm, is_above: bool, id: String) -> Option<()> {
        let period = alarm.period()?;
        self.period = period.into();
        let statistic = alarm.statistic();
        let fold: Option<fn(f64, f64) -> f64> = match statistic {
            Some(Statistic::Sum | Statistic::SampleCount) => Some(|a, b| a + b),
            Some(Statistic::Maximum) => Some(f64::max),
            Some(Statistic::Minimum) => Some(f64::min),
            _ => None,
        };
        self.fold = fold.filter(|_| self.period % MINUTE == 0);
        // What App Runner publishes is not negative, so that a sum only grows.
        self.is_final = fold.is_some() && is_above == (statistic != Some(&Statistic::Minimum));
        let statistic = statistic.map(Statistic::as_str);
        let statistic = statistic.or(alarm.extended_statistic())?;
        self.compared = format!("{}, {statistic}", alarm.metric_name()?);
        let metric = Metric::builder()
            .set_namespace(alarm.namespace.clone())
            .set_metric_name(alarm.metric_name.clone())
            .set_dimensions(alarm.dimensions.clone())
            .build();
        let asked = MetricStat::builder()
            .metric(metric)
            .period(self.fold.map_or(period, |_| MINUTE as i32))
            .stat(statistic)
            .set_unit(alarm.unit.clone())
            .build();
        let query = MetricDataQuery::builder().id(&id).metric_stat(asked);
        self.queries = vec![query.build()];
        self.id = id;
        Some(())
    }

    /// What CloudWatch has to be asked for.
    pub fn queries(&self) -> &[MetricDataQuery] {
        &self.queries
    }

    /// The query whose values [`Self::breach`] looks at.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// How many seconds after a moment it has seen a breach that began with that moment, at most. CloudWatch rounds
    /// `StartTime` down to the minute, and does not say whether whole periods begin there or at multiples of their length:
    /// either way the first that begins after the moment does so within its length.
    #[cfg(test)]
    pub(super) fn sees_within(&self) -> i64 {
        let first = self.fold.map_or(self.period, |_| MINUTE);
        first + self.periods * self.period + DELAY
    }

    /// Whether it holds by this moment, by periods alone that began `since` or later.
    pub fn breach(&self, points: &[Point], since: Timestamp, until: Timestamp) -> Option<Breach> {
        let start = first_minute(since).as_second();
        let until = until.as_second();
        let mut windows: BTreeMap<i64, (i64, f64)> = BTreeMap::new();
        for (at, value) in points {
            let at = at.as_second();
            if at < start {
                continue;
            }
            let n = (at - start) / self.period;
            let begin = self.fold.map_or(at, |_| start + n * self.period);
            let window = windows.entry(n);
            window
                .and_modify(|(_, before)| {
                    *before = self.fold.map_or(*value, |fold| fold(*before, *value));
                })
                .or_insert((begin, *value));
        }
        let is_over = |begin: i64| begin + self.period + DELAY <= until;
        let begin = |n: i64| match windows.get(&n) {
            Some((begin, _)) => *begin,
            None => start + n * self.period,
        };
        let breaches = |n: &i64| match windows.get(n) {
            Some((begin, value)) => {
                (self.is_breaching)(*value, self.threshold) && (self.is_final || is_over(*begin))
            }
            // Periods that began a little later than they are counted here are over, too.
            None => self.is_missing_breaching && is_over(begin(*n + 1)),
        };
        (0..=(until - start) / self.period).find_map(|last| {
            let looked_at = (last - self.periods + 1).max(0)..=last;
            let breaching: Vec<_> = looked_at.filter(breaches).collect();
            let (first, last) = (breaching.first()?, breaching.last()?);
            (breaching.len() >= self.to_alarm).then(|| Breach {
                value: windows.get(last).map(|(_, value)| *value),
                since: Timestamp::from_second(begin(*first)).unwrap_or(since),
            })
        })
    }

    /// Says a breach to a person.
    pub fn tell(&self, breach: &Breach) -> String {
        let value = match breach.value {
            Some(value) => format!("{}", (value * 100.0).round() / 100.0),
            None => "no data".into(),
        };
        format!(
            "{} ({}: {value} since {}, threshold {})",
            self.described,
            self.compared,
            breach.since.strftime("%H:%M UTC"),
            self.threshold
        )
    }
}

/// The first whole minute of this moment or after it.
pub fn first_minute(moment: Timestamp) -> Timestamp {
    let seconds = moment.as_second() + i64::from(moment.subsec_nanosecond() > 0);
    let minutes = (seconds + MINUTE - 1).div_euclid(MINUTE);
    Timestamp::from_second(minutes * MINUTE).unwrap_or(moment)
}
