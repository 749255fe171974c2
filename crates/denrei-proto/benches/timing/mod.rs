//! Times a closure: the best of several rounds, std only.

use std::time::{Duration, Instant};

const ROUNDS: u32 = 100;
const ROUND: Duration = Duration::from_millis(2);

/// The time of one run in nanoseconds.
pub(crate) fn best_of(run: impl FnMut()) -> f64 {
    nanos(best(run))
}

/// The shortest mean of a few rounds; what else the machine does only ever adds.
pub(crate) fn best(mut run: impl FnMut()) -> (Duration, u32) {
    (0..ROUNDS)
        .map(|_| {
            let (start, mut runs) = (Instant::now(), 0);
            while start.elapsed() < ROUND {
                for _ in 0..64 {
                    run();
                }
                runs += 64;
            }
            (start.elapsed(), runs)
        })
        .min_by(|a, b| nanos(*a).total_cmp(&nanos(*b)))
        .expect("there are rounds")
}

/// The time of one run.
pub(crate) fn nanos((taken, runs): (Duration, u32)) -> f64 {
    taken.as_secs_f64() * 1e9 / f64::from(runs)
}
