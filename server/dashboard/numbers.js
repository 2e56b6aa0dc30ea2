// Arithmetic of the status page: rates, percentiles of histograms, and numbers as people read them.

// The growth of each cumulative bucket between two documents; a new server starts from nothing.
export function bucketGrowth(before, now) {
  const known = new Map(before);
  return now.map(([bound, count]) => [bound, growth(known.get(bound) ?? 0, count)]);
}

// A counter that fell belongs to a server that was started anew.
export function growth(before, now) {
  return now >= before ? now - before : now;
}

// The sum of several cumulative histograms that have the same bounds.
export function summed(histograms) {
  const sums = new Map();
  for (const [bound, count] of histograms.flat()) sums.set(bound, (sums.get(bound) ?? 0) + count);
  return [...sums].sort(([a], [b]) => a - b);
}

// The value below which `share` of all observations lie, linear within a bucket; null when there are none. What lies above
// the last bound counts as the last bound: `total` is how many there are with those.
export function percentile(buckets, total, share) {
  if (!(total > 0)) return null;
  const wanted = share * total;
  let [lower, below] = [0, 0];
  for (const [bound, count] of buckets) {
    if (count >= wanted && count > below) return lower + ((bound - lower) * (wanted - below)) / (count - below);
    [lower, below] = [bound, count];
  }
  return lower;
}

export function seconds(value) {
  if (value === null) return "–";
  if (value === 0) return "0";
  if (value < 0.001) return `${(value * 1e6).toFixed(0)} µs`;
  if (value < 1) return `${(value * 1e3).toFixed(value < 0.01 ? 2 : value < 0.1 ? 1 : 0)} ms`;
  return `${value.toFixed(value < 10 ? 2 : 1)} s`;
}

export function count(value) {
  if (value === null) return "–";
  if (value >= 1e9) return `${(value / 1e9).toFixed(2)} G`;
  if (value >= 1e6) return `${(value / 1e6).toFixed(2)} M`;
  if (value >= 1e5) return `${(value / 1e3).toFixed(0)} k`;
  return value >= 100 || Number.isInteger(value) ? Math.round(value).toLocaleString("en") : value.toFixed(1);
}

export function bytes(value) {
  if (value === null) return "–";
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let place = 0;
  while (value >= 1024 && place < units.length - 1) [value, place] = [value / 1024, place + 1];
  return `${place && value < 100 ? value.toFixed(1) : Math.round(value)} ${units[place]}`;
}

export function age(value) {
  if (value < 120) return `${Math.max(0, Math.round(value))} s`;
  if (value < 7200) return `${Math.round(value / 60)} min`;
  return value < 172800 ? `${Math.round(value / 3600)} h` : `${Math.round(value / 86400)} days`;
}
