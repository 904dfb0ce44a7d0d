import { crc32 as zlibCrc32 } from "node:zlib";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { crc32 } from "@millrace/codec";
import fc from "../property.ts";

test("short bytes and long ones have the CRC of zlib, whatever came before them", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), fc.nat(0xffff_ffff), (bytes, seed) => {
      assert.is(crc32(bytes, seed), zlibCrc32(bytes, seed));
      assert.is(crc32(bytes), zlibCrc32(bytes));
    }),
  );
});

test("a CRC goes on from piece to piece, at each length and place in a buffer", () => {
  const all = Buffer.from(Array.from({ length: 400 }, (_, index) => (index * 7919) & 255));
  for (let length = 0; length <= 200; length += 1) {
    const cut = length % 7;
    const view = all.subarray(cut, cut + length);
    assert.is(crc32(view), zlibCrc32(view), `${length} bytes`);
    assert.is(crc32(view.subarray(length >> 1), crc32(view.subarray(0, length >> 1))), zlibCrc32(view));
  }
});

test.run();
