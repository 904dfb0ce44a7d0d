// A runtime with a journal for one test: opened with the defaults of its file, ended whatever
// happens.
import { join } from "node:path";
import { type Millrace, type MillraceOptions, open } from "millrace";
import { temporaryDirectory } from "./support.ts";

export type JournalOptions = NonNullable<MillraceOptions["journal"]>;

export interface Defaults extends Omit<MillraceOptions, "journal" | "handlers"> {
  readonly handlers: URL;
  readonly journal?: Partial<JournalOptions>;
  /** How it ends: "close" where its handlers come to an end. Default "terminate". */
  readonly ends?: "close" | "terminate";
}

/** Where a test keeps its journal, and the file in which its handlers note their calls. */
export interface Place {
  readonly root: string;
  readonly directory: string;
  readonly file: string;
}

export function newPlace(): Place {
  const root = temporaryDirectory();
  return { root, directory: join(root, "journal"), file: join(root, "notes") };
}

type Body<Handlers> = (mill: Millrace<Handlers>, file: string, root: string) => Promise<void>;

/** As `millsOf`, in a place that the test names, so that it can open it again. */
export function millsIn<Handlers>({
  ends = "terminate",
  ...defaults
}: Defaults): (place: Place, journal: Partial<JournalOptions>, body: Body<Handlers>) => Promise<void> {
  return async ({ root, directory, file }, journal, body) => {
    const mill = await open<Handlers>({
      processors: 1,
      ...defaults,
      journal: { directory, ...defaults.journal, ...journal },
    });
    try {
      await body(mill, file, root);
    } finally {
      await mill[ends]();
    }
  };
}

/** Each call opens a journal of its own. */
export function millsOf<Handlers>(
  defaults: Defaults,
): (journal: Partial<JournalOptions>, body: Body<Handlers>) => Promise<void> {
  const withMill = millsIn<Handlers>(defaults);
  return (journal, body) => withMill(newPlace(), journal, body);
}
