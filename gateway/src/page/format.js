// Numbers, times and sentences as people read them, and protobuf's JSON as numbers.

/** RFC 3339 in milliseconds since 1970, or null. */
export function time(text) {
  const at = Date.parse(text ?? "");
  return Number.isNaN(at) ? null : at;
}

/** 64-bit integers are strings in protobuf's JSON, and zero is left out. */
export const integer = (value) => Number(value ?? 0);

export const clock = (at) => new Date(at).toLocaleTimeString([], { hourCycle: "h23" });

/** A length such as "0.4 s", "12 s", "3 min", "2 h". */
export function length(seconds) {
  if (seconds < 0.95) return `${Math.max(0, seconds).toFixed(1)} s`;
  if (seconds < 99.5) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172800) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86400)} days`;
}

export function milliseconds(value) {
  if (value >= 10000) return `${(value / 1000).toFixed(1)} s`;
  if (value >= 1000) return `${(value / 1000).toFixed(2)} s`;
  return value >= 10 ? `${Math.round(value)} ms` : `${value.toFixed(1)} ms`;
}

export function dollars(value) {
  if (value >= 100) return `$${value.toFixed(0)}`;
  return value >= 1 ? `$${value.toFixed(2)}` : `$${value.toFixed(4)}`;
}

export const rate = (value) => (value >= 100 ? value.toFixed(0) : value.toFixed(1));

export const counted = (count, noun) => `${count} ${noun}${count === 1 ? "" : "s"}`;

/** A clause as a sentence. */
export function sentence(text) {
  if (!text) return "";
  return text[0].toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".");
}
