//! How fast App Runner may be asked: it throttles a client that describes a whole fleet at once, and with it everybody else
//! in the account.

use crate::{Error, Result};
use std::future::Future;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, sleep_until};

/// The times of all waiting.
#[derive(Clone, Copy, Debug)]
pub struct Tempo {
    /// The time between two calls, after the first burst.
    pub interval: Duration,
    /// The first pause of a call that was throttled; each further one is twice as long, up to `longest_pause`.
    pub first_pause: Duration,
    /// The longest of them.
    pub longest_pause: Duration,
}

impl Tempo {
    /// Some three calls in two seconds: each deployment that is started makes six calls of an operation in the course of its
    /// minutes, those of its alarms and of its event included, and together they stay below the ten a second at which App
    /// Runner is seen to throttle (Assumption call-limits).
    pub const AWS: Self = Self {
        interval: Duration::from_millis(700),
        first_pause: Duration::from_millis(500),
        longest_pause: Duration::from_secs(20),
    };
}

/// Calls that may follow each other without waiting: the deployments that they start make as many of the same operation in the
/// same second.
const BURST: u32 = 4;
/// Calls without an answer yet.
const IN_FLIGHT: usize = 8;
/// How often a call is made before it counts as failed: the pauses between take less than a minute.
const ATTEMPTS: u32 = 8;
/// How much slower than its tempo a pace may become.
const SLOWEST: u32 = 9;

/// Asks again, after growing pauses, what AWS throttles or does not answer: the SDK does not.
pub async fn patiently<T, F>(tempo: Tempo, ask: impl Fn() -> F) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    let mut pause = tempo.first_pause;
    for _ in 1..ATTEMPTS {
        match ask().await {
            Err(Error::Throttled { .. } | Error::Unavailable { .. }) => {
                sleep(pause).await;
                pause = (pause * 2).min(tempo.longest_pause);
            }
            answer => return answer,
        }
    }
    ask().await
}

/// The calls of one invocation to App Runner, one after the other at the tempo. Others may be calling at the same time: it
/// slows down when it is throttled, and recovers with each answer.
#[derive(Debug)]
pub struct Pace {
    tempo: Tempo,
    in_flight: Semaphore,
    next: tokio::sync::Mutex<()>,
    beat: Mutex<Beat>,
}

impl Pace {
    /// A pace that begins with a burst.
    pub fn new(tempo: Tempo) -> Self {
        Self {
            tempo,
            in_flight: Semaphore::new(IN_FLIGHT),
            next: tokio::sync::Mutex::default(),
            beat: Mutex::new(Beat {
                interval: tempo.interval,
                due: Instant::now(),
            }),
        }
    }

    /// Makes a call when its turn comes; a throttled one goes to the end of the queue after its pause.
    pub async fn ask<T, F>(&self, call: impl Fn() -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        patiently(self.tempo, || async {
            let _in_flight = self.in_flight.acquire().await;
            self.turn().await;
            let answer = call().await;
            let throttled = matches!(answer, Err(Error::Throttled { .. }));
            self.beat(|beat| beat.learn(throttled, self.tempo.interval));
            answer
        })
        .await
    }

    async fn turn(&self) {
        let _next = self.next.lock().await;
        let turn = self.beat(|beat| beat.turn(Instant::now(), self.tempo.interval));
        if let Some(at) = turn {
            sleep_until(at).await;
        }
    }

    fn beat<T>(&self, act: impl FnOnce(&mut Beat) -> T) -> T {
        act(&mut self.beat.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// When the next call may be made (the generic cell rate algorithm: a call is due one interval after the one before, and may
/// be made up to a burst earlier).
#[derive(Debug)]
struct Beat {
    interval: Duration,
    due: Instant,
}

impl Beat {
    /// When the next call is to be made; `None` is at once. The timer counts in milliseconds: to wait until now would take one
    /// or two of them, in every cold start.
    fn turn(&mut self, now: Instant, tempo: Duration) -> Option<Instant> {
        let early = tempo * (BURST - 1);
        let due = self.due.max(now);
        self.due = due + self.interval;
        (due > now + early).then(|| due - early)
    }

    fn learn(&mut self, throttled: bool, tempo: Duration) {
        self.interval = if throttled {
            (self.interval * 2).min(tempo * SLOWEST)
        } else {
            (self.interval * 7 / 8).max(tempo)
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEMPO: Duration = Duration::from_millis(100);

    fn beat(now: Instant) -> Beat {
        Beat {
            interval: TEMPO,
            due: now,
        }
    }

    /// When `calls` calls that want to be made at once are made.
    fn turns(beat: &mut Beat, start: Instant, calls: usize) -> Vec<u128> {
        let mut now = start;
        let turns = (0..calls).map(|_| {
            now = beat.turn(now, TEMPO).unwrap_or(now);
            (now - start).as_millis()
        });
        turns.collect()
    }

    #[test]
    fn four_calls_go_at_once_and_then_one_each_interval() {
        let now = Instant::now();
        let turns = turns(&mut beat(now), now, 7);
        assert_eq!(turns, [0, 0, 0, 0, 100, 200, 300]);
    }

    #[test]
    fn a_call_whose_turn_it_is_does_not_wait_for_a_timer() {
        let now = Instant::now();
        let mut beat = beat(now);
        let turns = [(); 5].map(|()| beat.turn(now, TEMPO));
        assert_eq!(turns, [None, None, None, None, Some(now + TEMPO)]);
    }

    #[test]
    fn after_a_while_without_calls_a_burst_is_allowed_again_and_no_more_than_one() {
        let now = Instant::now();
        let mut beat = beat(now);
        turns(&mut beat, now, 4);
        let later = now + TEMPO * 1000;
        assert_eq!(turns(&mut beat, later, 5)[3..], [0, 100]);
    }

    #[test]
    fn a_pace_slows_down_when_it_is_throttled_and_recovers_with_answers() {
        let mut beat = beat(Instant::now());
        beat.learn(true, TEMPO);
        assert_eq!(beat.interval, TEMPO * 2);
        for _ in 0..10 {
            beat.learn(true, TEMPO);
        }
        assert_eq!(beat.interval, TEMPO * SLOWEST);
        for _ in 0..20 {
            beat.learn(false, TEMPO);
        }
        assert_eq!(beat.interval, TEMPO);
    }
}
