// Drives Chromium over the servers that `dashboard.rs` has started; what they are comes in the variable TASKHUB_DASHBOARD. By hand, with screenshots:
// TASKHUB_SCREENSHOTS=/tmp/shots cargo test --features cli --test dashboard -- --nocapture
"use strict";

const { World } = require("./dashboard/world.cjs");

const ALL = ["pure", "views", "timelines", "payloads", "hostile", "actions", "keys", "keyboard", "live", "looks"];
/** Some of them for who works on these. */
const GROUPS = process.env.TASKHUB_GROUPS?.split(",") ?? ALL;

async function main() {
  const world = await World.open(JSON.parse(process.env.TASKHUB_DASHBOARD));
  let passed = 0;
  const failures = [];
  for (const group of GROUPS) {
    for (const [name, test] of Object.entries(require(`./dashboard/${group}.cjs`))) {
      const begun = performance.now();
      try {
        await world.run(test);
        passed += 1;
        console.log(`ok   ${group}: ${name} (${Math.round(performance.now() - begun)} ms)`);
      } catch (error) {
        failures.push(`${group}: ${name}`);
        console.log(`FAIL ${group}: ${name}\n${error.stack}`);
      }
    }
  }
  await world.close();
  console.log(`${passed} passed, ${failures.length} failed`);
  if (failures.length > 0) process.exitCode = 1;
}

main().catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
