// Numbers and times for people.

const whole = new Intl.NumberFormat("en");
const compact = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
const relative = new Intl.RelativeTimeFormat("en", { numeric: "auto", style: "short" });

export const count = (value) => whole.format(value);
export const counted = (value, noun) => `${whole.format(value)} ${noun}${value === 1 ? "" : "s"}`;
export const short = (value) => (Math.abs(value) < 100000 ? whole.format(value) : compact.format(value));
export const score = (value) => (value === null || value === undefined ? "–" : value.toFixed(3));
export function percent(part, all) {
  const value = (100 * part) / Math.max(1, all);
  if (value > 0 && value < 0.1) return "< 0.1 %";
  return `${value.toFixed(value < 10 ? 1 : 0)} %`;
}

export function rate(value) {
  if (value === null || value === undefined) return null;
  return value >= 10 || value === 0 ? whole.format(Math.round(value)) : value.toFixed(1);
}

export function duration(seconds) {
  if (seconds < 1) return "under 1 s";
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  if (seconds < 129600) return `${Math.round(seconds / 3600)} h`;
  return `${whole.format(Math.round(seconds / 86400))} days`;
}

// A change with its sign.
export const signed = (value) => `${value < 0 ? "−" : value > 0 ? "+" : ""}${Math.abs(value).toFixed(3)}`;

// The time of day of seconds since the epoch.
export const clock = (seconds) => new Date(1000 * seconds).toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit" });

export function bytes(size) {
  if (size === null || size === undefined) return "none";
  return size < 1024 ? `${size} B` : `${whole.format(Math.round(size / 1024))} KiB`;
}

// A time in PostgreSQL's JSON form, or in seconds; it may be "infinity".
export function moment(value) {
  const date = new Date(typeof value === "number" ? value * 1000 : value);
  return Number.isNaN(date.getTime()) ? null : date;
}

export function exact(value) {
  const date = moment(value);
  return date === null ? String(value) : `${date.toISOString().slice(0, 19).replace("T", " ")} UTC`;
}

export function ago(value) {
  const date = moment(value);
  if (date === null) return String(value);
  const seconds = (date.getTime() - Date.now()) / 1000;
  const size = Math.abs(seconds);
  if (size < 60) return relative.format(Math.round(seconds), "second");
  if (size < 3600) return relative.format(Math.round(seconds / 60), "minute");
  if (size < 86400) return relative.format(Math.round(seconds / 3600), "hour");
  if (size < 30 * 86400) return relative.format(Math.round(seconds / 86400), "day");
  return date.toISOString().slice(0, 10);
}
