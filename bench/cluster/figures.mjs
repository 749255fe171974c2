// Waiting, and what is made of times.

export const pause = (ms) => new Promise((resolve) => { setTimeout(resolve, ms); });

/** Waits until something holds, and says whether it did in time. */
export async function holds(condition, ms) {
  const end = performance.now() + ms;
  while (!condition()) {
    if (performance.now() > end) return false;
    await pause(10);
  }
  return true;
}

function percentile(sorted, share) {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))];
}

/** The middle, the slowest hundredth and the slowest of some times, rounded to hundredths of a ms. */
export function quantiles(values) {
  const sorted = Float64Array.from(values).sort();
  const of = (value) => (value === undefined ? null : Math.round(value * 100) / 100);
  return { p50: of(percentile(sorted, 0.5)), p99: of(percentile(sorted, 0.99)), max: of(sorted.at(-1)) };
}
