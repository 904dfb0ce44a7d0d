/**
 * The content of `RecordStates`, as the bytes of a checkpoint.
 *
 *   u32 version (2)     u32 number of sections, then of each:
 *   4 letters: its tag  u32 number of its bytes  the bytes
 *
 * `sections.ts` lists the tags. A tag that this build doesn't know is of a newer build, and the
 * snapshot is refused: without that section the others would mean something else. A build that
 * didn't know a section yet has left it out, and then there was nothing of its kind.
 */
import { isMillraceError, messageOf } from "@millrace/base";
import { intakeError } from "../errors.ts";
import { newer, unknownVersion } from "../format/version.ts";
import { WINDOW_DEFAULTS, type WindowLimits } from "../states/dedupe-window.ts";
import { RecordStates } from "../states/record-states.ts";
import { decodeFirst, FIRST_VERSION } from "./first-version.ts";
import type { OlderSection } from "./section.ts";
import { OLDER_SECTIONS, SECTIONS } from "./sections.ts";

/** The version that is written. */
export const SNAPSHOT_VERSION = 2;
const VERSION_BYTES = 4;
const HEAD_BYTES = 8;
const TAG_BYTES = 4;
const SECTION_HEAD_BYTES = 8;
const byTag = new Map<string, OlderSection>([...SECTIONS, ...OLDER_SECTIONS].map((section) => [section.tag, section]));

export function encodeStates(states: RecordStates): Buffer {
  const head = Buffer.alloc(HEAD_BYTES);
  head.writeUInt32LE(SNAPSHOT_VERSION);
  head.writeUInt32LE(SECTIONS.length, VERSION_BYTES);
  const parts: Uint8Array[] = [head];
  for (const section of SECTIONS) {
    const bytes = section.encode(states);
    const sectionHead = Buffer.alloc(SECTION_HEAD_BYTES);
    sectionHead.write(section.tag, "latin1");
    sectionHead.writeUInt32LE(bytes.length, TAG_BYTES);
    parts.push(sectionHead, bytes);
  }
  return Buffer.concat(parts);
}

/** The version that a snapshot says it has. */
export function snapshotVersion(bytes: Buffer): number {
  return bytes.length < VERSION_BYTES ? 0 : bytes.readUInt32LE(0);
}

/**
 * The states in a checkpoint. `entriesAt` reads the WINDOW record at a place. Throws
 * `ERR_JOURNAL_VERSION` for what a newer build has written, `ERR_RECORD_UNREADABLE` for anything
 * else that isn't a snapshot, and what `entriesAt` throws.
 */
export function decodeStates(bytes: Buffer, limits: WindowLimits, entriesAt: (place: number) => Buffer): RecordStates {
  const states = new RecordStates(limits);
  const version = snapshotVersion(bytes);
  if (version === FIRST_VERSION) decodeFirst(bytes, states);
  else if (version !== SNAPSHOT_VERSION) throw unknownVersion("the checkpoint", version, SNAPSHOT_VERSION);
  else for (const [section, own] of sectionsIn(bytes)) decodeSection(section, own, states, entriesAt);
  return states;
}

function decodeSection(section: OlderSection, ...from: Parameters<OlderSection["decode"]>): void {
  try {
    section.decode(...from);
  } catch (thrown) {
    if (isMillraceError(thrown)) throw thrown;
    throw unreadable(`its section ${section.tag} has other bytes`, thrown);
  }
}

/** All of them are looked up before the first one is read. */
function sectionsIn(bytes: Buffer): Map<OlderSection, Buffer> {
  const found = new Map<OlderSection, Buffer>();
  let at = HEAD_BYTES;
  // Ends: every section takes its head at least.
  while (at < bytes.length) {
    if (at + SECTION_HEAD_BYTES > bytes.length) throw unreadable(`it ends within a section at byte ${at}`);
    const tag = bytes.toString("latin1", at, at + TAG_BYTES);
    const start = at + SECTION_HEAD_BYTES;
    const end = start + bytes.readUInt32LE(at + TAG_BYTES);
    if (end > bytes.length) throw unreadable(`it ends within the section ${JSON.stringify(tag)}`);
    const section = byTag.get(tag);
    if (section === undefined) {
      throw newer(`the checkpoint has a section ${JSON.stringify(tag)}, which this build doesn't know`, { tag });
    }
    if (found.has(section)) throw unreadable(`it has the section ${tag} twice`);
    found.set(section, bytes.subarray(start, end));
    at = end;
  }
  const count = bytes.length < HEAD_BYTES ? 0 : bytes.readUInt32LE(VERSION_BYTES);
  if (found.size === 0 || found.size !== count) throw unreadable(`it has ${found.size} sections of ${count}`);
  return found;
}

function unreadable(why: string, cause?: unknown): Error {
  return intakeError("ERR_RECORD_UNREADABLE", `the checkpoint can't be read: ${why}`, { cause });
}

/**
 * Why bytes are no snapshot; undefined when they are one. Throws `ERR_JOURNAL_VERSION` for one of a
 * newer build.
 */
export function foreignSnapshot(bytes: Buffer): string | undefined {
  try {
    decodeStates(bytes, WINDOW_DEFAULTS, () => Buffer.alloc(0));
    return undefined;
  } catch (thrown) {
    if (isMillraceError(thrown, "ERR_JOURNAL_VERSION")) throw thrown;
    return messageOf(thrown);
  }
}
