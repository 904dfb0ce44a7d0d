// Random but repeatable workloads: records in batches and groups, over one or more lives.
import type { Random } from "@millrace/base";
import type { PendingRecord } from "./history.ts";
import type { Step } from "./rig.ts";

/** A ring holds two steps: bytes of one, with room for what is lost at the ring's end. */
const STEP_BYTES_MAX = 11_000;
const FRAME_BYTES = 24;

/** `count` steps on one or two rings; `name` makes the texts unique. */
export function randomSteps(random: Random, count: number, name: string): Step[] {
  const rings = 1 + random.below(2);
  let number = 0;
  return Array.from({ length: count }, () =>
    Array.from({ length: rings }, (_, ring) => {
      const records: PendingRecord[] = [];
      let room = STEP_BYTES_MAX;
      for (let record = 1 + random.below(4); record > 0; record -= 1) {
        number += 1;
        const size = Math.min(room, random.below(3) === 0 ? 500 + random.below(4500) : random.below(60));
        const head = `${name}.${ring}.${number} `;
        const text = head + fill(random, Math.max(0, size - head.length));
        room -= text.length + FRAME_BYTES;
        records.push({ text, continues: record > 1 && random.below(2) === 0 });
        if (room < 100) break;
      }
      const last = records.at(-1) as PendingRecord;
      return [...records.slice(0, -1), { ...last, continues: false }];
    }),
  );
}

/** Bytes that differ from block to block, so that exchanged blocks are noticed. */
function fill(random: Random, length: number): string {
  const piece = `${random.below(1_000_000)}-`;
  let text = "";
  for (let count = 0; text.length < length; count += 1) text += `${piece}${count};`;
  return text.slice(0, length);
}
