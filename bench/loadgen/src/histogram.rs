//! Latencies, counted without keeping them.

use crate::{clock::Nanos, report::Report};

const STEPS: usize = 32;

/// A log-linear histogram of nanoseconds: 32 buckets to each power of two, so an error of 3 % at most.
pub(crate) struct Histogram {
    buckets: Vec<u64>,
    count: u64,
    max: Nanos,
}

impl Histogram {
    pub(crate) fn new() -> Self {
        Histogram { buckets: vec![0; 64 * STEPS], count: 0, max: 0 }
    }

    #[inline]
    pub(crate) fn add(&mut self, value: Nanos) {
        self.buckets[bucket(value)] += 1;
        self.count += 1;
        self.max = self.max.max(value);
    }

    /// The upper edge of the bucket that holds quantile `q`, never above the largest value seen.
    pub(crate) fn quantile(&self, q: f64) -> Nanos {
        let wanted = ((self.count as f64 * q).ceil() as u64).max(1);
        let mut sum = 0;
        for (index, count) in self.buckets.iter().enumerate() {
            sum += count;
            if sum >= wanted {
                return upper_edge(index).min(self.max);
            }
        }
        0
    }

    pub(crate) fn describe(&self, report: &mut Report) {
        report.number("lat_p50_us", self.quantile(0.5) as f64 / 1e3);
        report.number("lat_p99_us", self.quantile(0.99) as f64 / 1e3);
        report.number("lat_max_us", self.max as f64 / 1e3);
    }
}

fn bucket(value: Nanos) -> usize {
    if value < STEPS as u64 {
        return value as usize;
    }
    let exponent = value.ilog2() as usize;
    (exponent - 4) * STEPS + (value >> (exponent - 5)) as usize - STEPS
}

fn upper_edge(bucket: usize) -> Nanos {
    if bucket < STEPS {
        return bucket as u64;
    }
    (((bucket % STEPS + STEPS + 1) as u64) << (bucket / STEPS - 1)) - 1
}

#[cfg(test)]
mod tests;
