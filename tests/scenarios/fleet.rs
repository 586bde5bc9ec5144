//! A push that concerns a hundred services, in an account that App Runner throttles at ten calls a second of each operation: in
//! the time of a clock on the wall, because so are the limits. `cargo measure scale` plays the same with one and with a
//! thousand, to the end.

use measure::Fleet;

#[tokio::test]
async fn a_fleet_is_reached_below_ten_calls_a_second() {
    let fleet = Fleet::new(100).await.expect("a fleet");
    let push = fleet.push().await.expect("pushed");
    let seconds = push.reach().await.expect("reached");
    let (reached, asked) = push.reached();
    let count = push.count().await.expect("counted");
    for (action, (all, throttled)) in &count.calls {
        println!("{action}: {all} calls, {throttled} of them throttled");
    }
    println!("{reached} services in {seconds:.0} s");
    assert_eq!((reached, asked), (100, 100), "each once");
    let (all, throttled) = (count.all(), count.throttled());
    assert!(
        throttled * 100 < all,
        "{throttled} of {all} calls were throttled: more than one in a hundred"
    );
}
