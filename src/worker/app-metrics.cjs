'use strict';

/** @import { AppMetric } from '../protocol/worker.ts' */

/** Limit of the metrics of a process; the runner has the same. */
const mostMetrics = 32;
/** Shortest interval between two reports of metrics to the runner, in ms. */
const reportInterval = 5000;
/** Limits of texts, in characters. A message has one metric, and the runner accepts messages of up to 1024 bytes. */
const longest = { name: 64, value: 64, unit: 16 };

/**
 * Metrics that the app declares with `@pm2/io` or `pmx`. These packages send all values each second with `process.send`, as
 * `{type: 'axm:monitor', data: {NAME: {value, unit}}}`. A metric
 * that the app removes keeps its last value.
 */
class AppMetrics {
  /** @type {Map<string, AppMetric>} by name */
  #metrics = new Map();
  /** @type {Set<string>} names of metrics that have changed since the last report */
  #changed = new Set();

  /** Notes the metrics in a message of the app. @param {any} message @returns {boolean} true if it has metrics */
  hear(message) {
    if (message?.type !== 'axm:monitor') return false;
    const { data } = message;
    if (typeof data !== 'object' || data === null) return false;
    for (const name of Object.keys(data).slice(0, mostMetrics)) this.#note(name, data[name]);
    return this.#metrics.size > 0;
  }

  /** @param {string} name @param {any} metric */
  #note(name, metric) {
    const value = metricValue(metric?.value);
    const known = this.#metrics.get(name);
    if (value === undefined || known?.value === value) return;
    if (known === undefined && this.#metrics.size >= mostMetrics) return;
    const unit = typeof metric.unit === 'string' ? printable(metric.unit, longest.unit) : '';
    this.#metrics.set(name, { name: printable(name, longest.name), value, unit });
    this.#changed.add(name);
  }

  /** Returns the metrics that have changed since the last call, as messages. */
  takeChanged() {
    const changed = [...this.#changed].map((name) => /** @type {AppMetric} */ (this.#metrics.get(name)));
    this.#changed.clear();
    return changed.map((metric) => ({ type: /** @type {const} */ ('metric'), ...metric }));
  }
}

/** @param {unknown} value @returns {string | number | boolean | undefined} undefined for a value that is no metric */
function metricValue(value) {
  if (typeof value === 'string') return printable(value, longest.value);
  if (typeof value === 'boolean' || Number.isFinite(value)) return /** @type {number | boolean} */ (value);
  return undefined;
}

/** Returns the first characters of a text, with a `?` for each control character. @param {string} text @param {number} length */
function printable(text, length) {
  return text.slice(0, length).replaceAll(/\p{Cc}/gu, '?');
}

module.exports = { AppMetrics, reportInterval };
