//! Metrics are read in periods of AWS's time, whatever passes on the wall.

use super::stage::{Stage, play};
use aws_sdk_cloudwatch::error::ProvideErrorMetadata as _;
use aws_sdk_cloudwatch::types::{Dimension, Metric, MetricDataQuery, MetricStat, ScanBy};
use aws_smithy_types::DateTime;
use rehearsal::Published;
use std::time::{SystemTime, UNIX_EPOCH};

const SERVICE: &str = "arn:aws:apprunner:us-east-1:123456789012:service/metered/0a";

fn now() -> f64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap().as_secs_f64()
}

fn query(id: &str, metric: &str, stat: &str) -> MetricDataQuery {
    let dimension = |name: &str, value: &str| Dimension::builder().name(name).value(value).build();
    let metric = Metric::builder()
        .namespace("AWS/AppRunner")
        .metric_name(metric)
        .dimensions(dimension("ServiceName", "metered"))
        .dimensions(dimension("ServiceID", "0a"))
        .build();
    let stat = MetricStat::builder().metric(metric).period(300).stat(stat);
    let query = MetricDataQuery::builder().id(id).metric_stat(stat.build());
    query.build()
}

/// The values of queries in so many AWS seconds from a moment on, each with how many AWS seconds after it its period begins.
async fn read(
    stage: &Stage,
    queries: Vec<MetricDataQuery>,
    start: f64,
    seconds: f64,
) -> Vec<Vec<(f64, f64)>> {
    let asked = stage.local.aws().cloudwatch().get_metric_data();
    let answer = asked
        .set_metric_data_queries(Some(queries))
        .start_time(DateTime::from_secs_f64(start))
        .end_time(DateTime::from_secs_f64(start + seconds))
        .scan_by(ScanBy::TimestampAscending);
    let answer = answer.send().await.unwrap();
    let results = answer.metric_data_results().iter().map(|result| {
        let times = result.timestamps().iter();
        let times = times.map(|at| at.as_secs_f64() - start);
        times.zip(result.values().iter().copied()).collect()
    });
    results.collect()
}

async fn publish(stage: &Stage, metric: &str, value: Option<f64>, at: f64) {
    let published = Published {
        service_arn: SERVICE,
        metric,
        value,
        at: Some(at),
    };
    stage.local.publish(&published).await.unwrap();
}

#[test]
fn a_metric_has_a_value_in_each_minute_of_aws_in_which_it_is_published() {
    play(async |stage| {
        // A whole minute, so that the first period begins with it.
        let start = (now() / 60.0).floor() * 60.0;
        let minute = 60.0 / stage.local.time_scale();
        publish(stage, "Latency", Some(2.0), start).await;
        publish(stage, "Latency", Some(4.0), start + 2.0 * minute).await;
        publish(stage, "Latency", None, start + 7.0 * minute).await;
        let queries = ["Sum", "Average", "Minimum", "Maximum", "SampleCount"];
        let queries = queries.iter().enumerate();
        let queries = queries.map(|(n, stat)| query(&format!("q{n}"), "Latency", stat));
        let found = read(stage, queries.collect(), start, 1800.0).await;
        let expected = [
            [(0.0, 16.0), (300.0, 8.0)],
            [(0.0, 3.2), (300.0, 4.0)],
            [(0.0, 2.0), (300.0, 4.0)],
            [(0.0, 4.0), (300.0, 4.0)],
            [(0.0, 5.0), (300.0, 2.0)],
        ];
        assert_eq!(found, expected);
        // A time is rounded down to its minute, whose data of before it are there, too.
        let later = start + 30.0;
        publish(stage, "Earlier", Some(1.0), later - minute).await;
        publish(stage, "Earlier", None, later).await;
        let found = read(stage, vec![query("q", "Earlier", "Sum")], later, 300.0).await;
        assert_eq!(found, [[(-30.0, 1.0)]]);
    });
}

#[test]
fn metric_math_takes_what_is_missing_for_zero_and_drops_what_is_divided_by_it() {
    play(async |stage| {
        let start = (now() / 60.0).floor() * 60.0;
        let period = 300.0 / stage.local.time_scale();
        publish(stage, "Whole", Some(4.0), start).await;
        publish(stage, "Whole", None, start + 2.0 * period).await;
        publish(stage, "Part", Some(1.0), start + period).await;
        publish(stage, "Part", None, start + 3.0 * period).await;
        let rate = MetricDataQuery::builder().id("rate");
        let rate = rate.expression("100 * part / whole").build();
        let of = |id: &str, metric: &str| {
            let mut query = query(id, metric, "Sum");
            query.return_data = Some(false);
            query
        };
        let queries = vec![of("part", "Part"), of("whole", "Whole"), rate];
        let found = read(stage, queries, start, 1800.0).await;
        assert_eq!(found, [[(0.0, 0.0), (300.0, 25.0)]]);
    });
}

#[test]
fn metrics_of_no_time_are_refused() {
    play(async |stage| {
        let at = DateTime::from_secs_f64(now());
        let asked = stage.local.aws().cloudwatch().get_metric_data();
        let asked = asked.metric_data_queries(query("q", "Latency", "Sum"));
        let refused = asked.start_time(at).end_time(at).send().await.unwrap_err();
        assert_eq!(refused.code(), Some("ValidationError"));
    });
}
