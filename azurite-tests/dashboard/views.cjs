// Every view shows what there is.
"use strict";

const TABS = ["", "timeline", "history", "tree"];

/** So many pages at once. */
const LANES = 3;

/** What shows that a view of an instance is there. */
const THERE = {
  "": "article > div:last-child :is(.block, .empty, .lead)",
  timeline: ".gantt table[aria-label=Timeline]",
  history: ".history table[aria-label=History]",
  tree: ".tree .root .id",
};

/** Opens every view of these instances, one after the other, on one page. */
async function openAll(world, instances) {
  const page = await world.page();
  for (const { instanceId: id, name } of instances) {
    for (const tab of TABS) {
      await world.go(page, world.at(id, tab));
      await page.getByRole("heading", { level: 1, name: id, exact: true }).waitFor();
      await page.locator(".stand .badge").waitFor();
      await page.locator(THERE[tab]).first().waitFor();
    }
    world.assert.equal(await page.locator(".stand > .name").textContent(), name);
    const badge = page.locator(".stand .badge");
    await world.until(`the status of ${id}`, async () => (await badge.textContent()).includes(await world.status(id)));
  }
}

module.exports = {
  "each instance of each pattern opens in each of its views": async (world) => {
    const { instances } = await world.api("instances?top=500");
    world.assert.ok(instances.length > 60, String(instances.length));
    const patterns = instances.filter(({ instanceId: id }) => !/-c\d+$|:|^Sequence$|^harm/.test(id));
    world.assert.ok(patterns.length >= 25, String(patterns.length));
    const part = (at) => patterns.filter((_, number) => number % LANES === at);
    await Promise.all(Array.from({ length: LANES }, (_, at) => openAll(world, part(at))));
  },

  "instances are filtered by prefix, name and status, and the URL has it all": async (world) => {
    const page = await world.page();
    const ids = async () => await page.locator("table.list tbody .id").allTextContents();
    const become = (what, check) => world.until(what, async () => check(await ids()));
    await become("a page", (all) => all.length === 50);
    await page.getByLabel("Id begins with").fill("SubFanOut-c1");
    await page.keyboard.press("Enter");
    await become("the prefix", (all) => all.length === 11 && all.every((id) => id.startsWith("SubFanOut-c1")));
    world.assert.match(page.url(), /#\/instances\?prefix=SubFanOut-c1$/);
    await page.getByLabel("Id begins with").fill("");
    await page.getByLabel("Orchestrator").fill("SubFanOut");
    await page.getByRole("button", { name: "Filter" }).click();
    await become("the name", (all) => all.length === 1 && all[0] === "SubFanOut");
    await page.getByRole("link", { name: "Clear" }).click();
    await become("all", (all) => all.length === 50);
    await page.getByLabel("Failed").check();
    await become("the failed", (all) => all.includes("RetryExhausted") && all.length < 20);
    await page.reload();
    await become("the failed again", (all) => all.includes("RetryExhausted") && all.length < 20);
    world.assert.ok(await page.getByLabel("Failed").isChecked());
    await page.goBack();
    await become("all again", (all) => all.length === 50);
    world.assert.ok(!(await page.getByLabel("Failed").isChecked()));
    await page.getByLabel("Id begins with").fill("nobody has this");
    await page.keyboard.press("Enter");
    await page.getByText("No instance matches").waitFor();
  },

  "pages follow each other without a gap, and back leads back": async (world) => {
    const page = await world.page();
    const ids = async () =>
      await page.locator("table.list tbody .id").evaluateAll((all) => all.map((one) => decodeURIComponent(one.hash)));
    const first = await world.until("the first page", async () => (await ids()).length === 50 && (await ids()));
    await page.getByRole("link", { name: "Next page" }).click();
    await page.getByText("Page 2,").waitFor();
    const second = await ids();
    const { instances } = await world.api("instances?top=500&excludeEntities=true");
    world.assert.equal(new Set([...first, ...second]).size, Math.min(instances.length, first.length + second.length));
    world.assert.deepEqual(
      [...first, ...second],
      instances.slice(0, first.length + second.length).map(({ instanceId }) => `#/instance/${instanceId}`),
    );
    await page.getByRole("link", { name: "First page" }).click();
    await page.getByText("Page 1,").waitFor();
    await page.goBack();
    await page.getByText("Page 2,").waitFor();
  },

  "the newest come first if that is asked for": async (world) => {
    const page = await world.page("#/instances?newest=1");
    await page.locator("table.list").waitFor();
    const times = await page
      .locator("table.list tbody tr td:nth-child(4) time")
      .evaluateAll((all) => all.map((time) => time.dateTime));
    // Fractions of a second are as long as they have to be.
    const padded = times.map((time) => time.replace(/\.?(\d*)Z$/, (_, fraction) => `.${fraction.padEnd(7, "0")}`));
    world.assert.deepEqual(padded, padded.toSorted().reverse());
    world.assert.equal(times.length, 50);
  },

  "a family is shown upwards and downwards": async (world) => {
    const page = await world.page(world.at("SubParent-child", "tree"));
    await page.locator(".parents").getByRole("link", { name: "SubParent", exact: true }).click();
    await page.getByRole("heading", { level: 1, name: "SubParent" }).waitFor();
    await page.getByRole("link", { name: "Tree" }).click();
    const child = page.locator(".tree li li", { hasText: "SubParent-child" });
    await child.getByRole("button", { name: "Children of SubParent-child" }).click();
    await child.getByText("No children.").waitFor();
    await world.go(page, world.at("SubFanOut", "tree"));
    await page.getByRole("button", { name: "Show more of the 5 children" }).click();
    await world.until("all 25", async () => (await page.locator(".tree .root ul > li .id").count()) === 25);
  },

  "the hub, its workers and what is parked are shown": async (world) => {
    const page = await world.page("#/hub");
    const owners = page.getByRole("table", { name: "Partitions" }).getByText("worker of the browser");
    await owners.first().waitFor();
    world.assert.equal(await owners.count(), 2);
    await page.getByRole("table", { name: "Code that is waited for" }).getByText("NobodyHostsThis").first().waitFor();
    await page.getByRole("link", { name: "Workers and cost" }).click();
    await page.getByRole("table", { name: "Workers" }).getByText("worker of the browser").waitFor();
    await page.getByRole("link", { name: "Parked messages" }).click();
    await page.getByRole("table", { name: "Parked messages" }).waitFor();
    world.assert.equal(await page.locator("tbody tr").count(), 2);
  },

  "a hub that only .NET has written opens, with its entities to be looked at only": async (world) => {
    const page = await world.page("", { server: world.facts.dotnet });
    const id = world.facts.dotnetInstance;
    await page.getByRole("link", { name: id, exact: true }).click();
    await page.getByRole("link", { name: "Timeline" }).click();
    await page.locator(".gantt .line").first().waitFor();
    await page.getByRole("link", { name: "History" }).click();
    await page.getByRole("button", { name: /ExecutionStarted/ }).waitFor();
    await world.go(page, "#/instances?entities=1");
    await page.getByRole("link", { name: "@counter@a", exact: true }).click();
    await page.getByText("Entity of .NET").waitFor();
    world.assert.equal(await page.locator(".actions button").count(), 0);
    for (const tab of TABS.slice(1)) {
      await world.go(page, world.at("@counter@a", tab));
      await page.locator("article > div").last().locator("table, .root").first().waitFor();
    }
    await world.go(page, "#/hub");
    await page.getByText("No worker owns a partition").or(page.getByText("without an owner")).waitFor();
  },

  "an empty hub says what to do": async (world) => {
    const page = await world.page("", { server: world.facts.empty });
    await page.getByText("There is no instance in this hub yet").waitFor();
    await world.go(page, "#/parked");
    await page.getByText("No message is parked").waitFor();
    await world.go(page, "#/hub");
    await page.getByText("No worker owns a partition").waitFor();
    await world.go(page, "#/workers");
    await page.getByText("none has reported yet").waitFor();
  },

  "it is found behind a prefix, and from the root": async (world) => {
    const page = await world.page("", { server: world.facts.prefixed });
    await page.locator("table.list").waitFor();
    await page.goto(world.facts.open);
    await page.locator("table.list").waitFor();
    world.assert.equal(new URL(page.url()).pathname, "/dashboard/");
  },

  "what is not there is told, with a way on": async (world) => {
    world.allow(/status of 404/);
    const page = await world.page(world.at("nobody has this id"));
    await page.getByRole("alert").getByText("Not found.").waitFor();
    await world.go(page, "#/nowhere");
    await page.getByRole("link", { name: "Show the instances" }).click();
    await page.locator("table.list").waitFor();
    for (const id of [".", ".."]) {
      await world.go(page, world.at(id));
      await page.getByRole("alert").getByText("A browser cannot ask for the id").waitFor();
    }
  },
};
