// Stored texts: as they are stored, cut where they are long, to be copied.
"use strict";

module.exports = {
  "a number is shown as it is stored, however long, and members that are repeated are": async (world) => {
    const page = await world.page(world.at("LargeEcho"));
    const input = page.getByRole("group", { name: "Input" });
    await input.waitFor();
    world.assert.equal(
      await input.textContent(),
      '{\n  "big": 79228162514264337593543950335,\n  "cents": 1.10,\n  "again": 1,\n  "again": 2\n}',
    );
  },

  "long texts are cut, shown on request, and stay so through a refresh; they are copied in full": async (world) => {
    const long = "x".repeat(50_000);
    await world.api("instances", {
      method: "POST",
      body: JSON.stringify({ name: "LargeEcho", instanceId: "long text", input: long }),
    });
    await world.until("its end", async () => (await world.status("long text")) === "Completed");
    const page = await world.page(world.at("long text"));
    await page.context().grantPermissions(["clipboard-read", "clipboard-write"]);
    const input = page.getByRole("group", { name: "Input" });
    await input.waitFor();
    world.assert.ok((await input.textContent()).length < 2100);
    await page.getByRole("button", { name: "Show all of Input" }).click();
    world.assert.equal((await input.textContent()).length, 50_000);
    await page.getByRole("button", { name: "Refresh" }).click();
    world.assert.equal((await input.textContent()).length, 50_000);
    await page.getByRole("button", { name: "Copy Input" }).click();
    await world.until("the copy", async () => (await page.evaluate(() => navigator.clipboard.readText())) === long);
  },

  "a failure is told with its causes": async (world) => {
    const page = await world.page(world.at("RetryExhausted"));
    await page.getByRole("heading", { name: "Failure" }).waitFor();
    await page.getByRole("group", { name: "Cause 2" }).waitFor();
    world.assert.match(await page.getByRole("group", { name: "Cause 1" }).textContent(), /activity failed: r/);
  },

  "what an instance waits for is told": async (world) => {
    const page = await world.page(world.at("Approval"));
    await page.getByRole("heading", { name: "Waits for" }).waitFor();
    const waits = await page.locator(".waits li").allTextContents();
    world.assert.match(waits[0], /^a timer, due /);
    world.assert.equal(waits.at(-1), "or an event from outside");
  },
};
