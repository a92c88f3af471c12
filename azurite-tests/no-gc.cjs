// Preloaded into the Azurite of a test process (node --require).
"use strict";

// 1. No garbage collection. In memory every message is an extent of its own, and the collector looks each dead one up in an
//    unindexed list without yielding: some thousands of dead messages stop all three services for seconds or minutes.
//    A test run is short and its Azurite dies with it, so nothing needs to be collected.
for (const manager of ["queue/gc/QueueGCManager", "blob/gc/BlobGCManager"]) {
  const { prototype } = require(`azurite/dist/src/${manager}`).default;
  if (typeof prototype.markSweep !== "function") {
    throw new Error(`Azurite's ${manager} has no markSweep any more: adapt no-gc.cjs to the pinned version`);
  }
  prototype.markSweep = async () => {};
}

// 2. No orphans. The test process holds the other end of our standard input; it closes when that process ends, however it ends.
const stop = () => process.exit(0);
process.stdin.on("end", stop).on("close", stop).on("error", stop).resume();
