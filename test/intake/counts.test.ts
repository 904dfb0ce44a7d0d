import { test } from "uvu";
import * as assert from "uvu/assert";
import { CELLS, STATS_BYTES } from "@millrace/intake/internal/delivery/control";

test("each count of the delivery thread has a place of its own", () => {
  const places = Object.values(CELLS);
  assert.is(new Set(places).size, places.length);
  assert.is(STATS_BYTES, places.length * Float64Array.BYTES_PER_ELEMENT);
});

test.run();
