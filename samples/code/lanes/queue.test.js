import assert from "node:assert/strict";
import test from "node:test";

import { nextDeparture, parseTime } from "./timetable.js";

const weekdays = new Set([1, 2, 3, 4, 5]);

test("a departure in the same minute is still caught", () => {
  const found = nextDeparture([{ line: "14", days: weekdays, minute: 480 }], 1, 480);
  assert.equal(found.waitMinutes, 0);
});

test("on Friday night the next one goes on Monday", () => {
  const found = nextDeparture([{ line: "14", days: weekdays, minute: 480 }], 5, 1200);
  assert.equal(found.waitMinutes, 3 * 1440 + 480 - 1200);
});

test("a time outside of the day is refused", () => {
  assert.throws(() => parseTime("24:10"), RangeError);
});
