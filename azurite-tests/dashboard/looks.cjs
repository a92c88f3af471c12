// Light, dark, and on a telephone: contrast, roles, names, and nothing wider than the window.
"use strict";

const fs = require("node:fs");

const AXE = fs.readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");
const RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"];

/** Every view, with what shows that it is there. */
function views(world) {
  return {
    list: ["#/instances", "table.list"],
    filters: ["#/instances?newest=1&status=Failed", "table.list"],
    overview: [world.at("RetryExhausted"), ".block"],
    waits: [world.at("Timer"), ".waits"],
    timeline: [world.at("RetryOk", "timeline"), ".gantt .line"],
    family: [world.at("SubFanOut", "timeline"), ".gantt .line"],
    history: [world.at("SubParent", "history"), ".history tbody .plain"],
    tree: [world.at("SubParent", "tree"), ".tree li li"],
    hostile: [world.at(world.facts.hostile), ".block"],
    hub: ["#/hub", "table"],
    workers: ["#/workers", "table"],
    parked: ["#/parked", ".lead"],
  };
}

/** The views, and a dialog. */
async function each(world, page, look) {
  for (const [name, [place, there]] of Object.entries(views(world))) {
    await world.go(page, place);
    await page.locator(there).first().waitFor();
    await page.locator("[aria-busy]").waitFor({ state: "detached" });
    await look(name);
  }
  await world.go(page, world.at("suspend-me"));
  await page.getByRole("button", { name: "Raise an event…" }).click();
  await page.getByRole("dialog").waitFor();
  await look("dialog");
  await page.keyboard.press("Escape");
}

async function shoot(world, page, name) {
  const folder = world.facts.screenshots;
  if (folder) await page.screenshot({ path: `${folder}/${name}.png` });
}

async function violations(page) {
  const found = await page.evaluate(
    async (rules) => (await window.axe.run(document, { runOnly: { type: "tag", values: rules } })).violations,
    RULES,
  );
  return found.map(
    ({ id, nodes }) =>
      `${id}: ${nodes
        .map((node) => node.html)
        .slice(0, 3)
        .join(" | ")}`,
  );
}

/** A page whose views axe finds nothing wrong with. */
async function isAccessible(world, mode, options) {
  const page = await world.page("", options);
  await page.evaluate(AXE);
  const wrong = [];
  await each(world, page, async (name) => {
    await shoot(world, page, `${name}-${mode}`);
    wrong.push(...(await violations(page)).map((violation) => `${name}: ${violation}`));
  });
  world.assert.deepEqual(wrong, []);
  return await page.evaluate(() => getComputedStyle(document.documentElement).backgroundColor);
}

const light = (colour) =>
  colour
    .match(/\d+/g)
    .slice(0, 3)
    .reduce((sum, part) => sum + Number(part), 0) / 765;

module.exports = {
  "in the light every view has names, roles and contrast": async (world) => {
    world.assert.ok(light(await isAccessible(world, "light", { colorScheme: "light" })) > 0.8);
  },

  "in the dark too": async (world) => {
    world.assert.ok(light(await isAccessible(world, "dark", { colorScheme: "dark" })) < 0.2);
  },

  "on a window of 360 pixels nothing makes the page scroll sideways": async (world) => {
    const page = await world.page("", { viewport: { width: 360, height: 740 }, reducedMotion: "reduce" });
    const wide = [];
    await each(world, page, async (name) => {
      await shoot(world, page, `${name}-phone`);
      const beyond = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
      if (beyond > 0) wide.push(`${name}: ${beyond}`);
    });
    world.assert.deepEqual(wide, []);
  },
};
