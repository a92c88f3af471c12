// Timelines and histories, the longest too.
"use strict";

const LONG = "Sequence";

module.exports = {
  "attempts, failures and waits are lines of the chart, and a table for who does not see it": async (world) => {
    const page = await world.page(world.at("RetryOk", "timeline"));
    const table = page.getByRole("table", { name: "Timeline" });
    await table.getByRole("row", { name: /FlakyTwice attempt 3/ }).waitFor();
    const rows = await table.locator("tbody tr").allTextContents();
    world.assert.equal(rows.length, 5);
    world.assert.deepEqual(
      rows.map((row) => /failed: flaky failure/.test(row)),
      [true, false, true, false, false],
    );
    world.assert.equal(await table.locator("tbody tr.is-failed .cross").count(), 2);
    world.assert.deepEqual(
      await table
        .getByRole("columnheader")
        .allTextContents()
        .then((all) => all.map((head) => head.slice(0, 5))),
      ["What", "Drawn", "Began", "Took", "Outco"],
    );
    world.assert.equal(await table.locator("svg:not([aria-hidden=true]):not(svg svg)").count(), 0);
  },

  "what is open reaches up to now, and goes on": async (world) => {
    const page = await world.page(world.at("Approval", "timeline"));
    const bar = page.locator(".line.is-open rect.kind-timer");
    await bar.waitFor();
    const reaches = async () => {
      const [own, cell] = await Promise.all([bar.boundingBox(), page.locator("td.bar-cell").boundingBox()]);
      return Math.abs(own.x + own.width - cell.x - cell.width) < 3;
    };
    world.assert.ok(await reaches());
    const took = page.locator(".line td.number");
    const before = await took.textContent();
    await page.getByRole("button", { name: "Refresh" }).click();
    await world.until("a longer bar", async () => (await took.textContent()) !== before && (await reaches()));
    await page.locator(".line .outcome", { hasText: "due" }).waitFor();
  },

  "children are lines with links, and an event opens from its line": async (world) => {
    const page = await world.page(world.at("SubParent", "timeline"));
    await page.getByRole("button", { name: "SubChild" }).first().click();
    const dialog = page.getByRole("dialog");
    await dialog.getByRole("heading", { name: /SubOrchestrationInstanceCreated/ }).waitFor();
    await page.keyboard.press("Escape");
    await dialog.waitFor({ state: "detached" });
    await page.locator(".line .id", { hasText: "SubParent-child" }).click();
    await page.getByRole("heading", { level: 1, name: "SubParent-child" }).waitFor();
  },

  "a history of ten thousand events opens, scrolls and is searched": async (world) => {
    await world.until("its end", async () => (await world.status(LONG)) === "Completed", 90_000);
    const begun = performance.now();
    const page = await world.page(world.at(LONG, "history"));
    await page.locator(".history tbody .plain").first().waitFor();
    console.log(`     ${LONG}: history shown after ${Math.round(performance.now() - begun)} ms`);
    await page.getByLabel("Begin and end of turns too").check();
    const table = page.getByRole("table", { name: "History" });
    const count = Number(await table.getAttribute("aria-rowcount")) - 1;
    world.assert.ok(count > 10_000, String(count));
    const drawn = async () => await table.locator("tbody tr:not(.spacer)").count();
    world.assert.ok((await drawn()) < 100, "only what is seen is drawn");
    const scrolled = performance.now();
    await page.locator(".scroller").evaluate((scroller) => (scroller.scrollTop = scroller.scrollHeight));
    await table.locator(`tr[aria-rowindex="${count + 1}"]`).waitFor();
    console.log(`     ${LONG}: scrolled to the end of ${count} events in ${Math.round(performance.now() - scrolled)} ms`);
    world.assert.ok((await drawn()) < 100);
    const searched = performance.now();
    await page.getByLabel("Search the history").fill("ExecutionCompleted");
    await page.getByText(`1 of ${count.toLocaleString("en-GB")} events`).waitFor();
    console.log(`     ${LONG}: searched in ${Math.round(performance.now() - searched)} ms`);
    world.assert.match(page.url(), /\?q=ExecutionCompleted$/);
    const charted = performance.now();
    await page.getByRole("link", { name: "Timeline" }).click();
    await page.locator(".gantt .line").first().waitFor();
    world.assert.ok((await page.locator(".gantt tbody tr").count()) < 100);
    console.log(`     ${LONG}: timeline shown after ${Math.round(performance.now() - charted)} ms`);
    await page.locator(".gantt .scroller").evaluate((scroller) => (scroller.scrollTop = scroller.scrollHeight / 2));
    await world.until(
      "the middle",
      async () => Number(await page.locator(".gantt .line").first().getAttribute("aria-rowindex")) > 1000,
    );
  },
};
