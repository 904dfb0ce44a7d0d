// The size limits of each package: bytes of its tarball and of its files on disk. A limit is a
// third to a half above what the package weighed when it was last set.
export const LIMITS = {
  "@millrace/atomics-sync": { tarball: 130_000, files: 495_000 },
  "@millrace/base": { tarball: 17_000, files: 60_000 },
  "@millrace/channels": { tarball: 39_000, files: 155_000 },
  "@millrace/cli": { tarball: 110_000, files: 375_000 },
  "@millrace/codec": { tarball: 36_000, files: 130_000 },
  "@millrace/context": { tarball: 14_000, files: 55_000 },
  "@millrace/intake": { tarball: 390_000, files: 1_410_000 },
  "@millrace/journal": { tarball: 170_000, files: 630_000 },
  "@millrace/metrics": { tarball: 7_000, files: 22_000 },
  millrace: { tarball: 11_000, files: 35_000 },
  "@millrace/piscina": { tarball: 24_000, files: 80_000 },
  "@millrace/pool": { tarball: 26_000, files: 90_000 },
  "@millrace/runtime": { tarball: 50_000, files: 167_000 },
  "@millrace/scheduler": { tarball: 181_000, files: 665_000 },
  "@millrace/server": { tarball: 80_000, files: 260_000 },
  "@millrace/shared-memory": { tarball: 40_000, files: 145_000 },
  "@millrace/tinypool": { tarball: 26_000, files: 95_000 },
  "@millrace/thread-pool": { tarball: 15_000, files: 45_000 },
};

/** The packages that are too heavy, a line each. */
export function tooHeavy(packages) {
  return packages.flatMap(({ name, size, unpackedSize }) => {
    const limit = LIMITS[name];
    if (limit === undefined) return [`${name} has no limit in scripts/release/sizes.mjs`];
    const heavy = [
      ["tarball", size, limit.tarball],
      ["files", unpackedSize, limit.files],
    ].filter(([, bytes, most]) => bytes > most);
    return heavy.map(([what, bytes, most]) => `${name}: ${what} of ${bytes} bytes, at most ${most}`);
  });
}
