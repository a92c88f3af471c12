// Journeys without a mouse.
"use strict";

/** Presses Tab until something has the focus. */
async function tabTo(world, page, what, fits) {
  for (let presses = 0; presses < 120; presses += 1) {
    await page.keyboard.press("Tab");
    if (await page.evaluate(fits)) return;
  }
  world.assert.fail(`Tab never came to ${what}`);
}

module.exports = {
  "from the skip link to an instance, its history, an event and back": async (world) => {
    const page = await world.page("#/instances?prefix=HelloSequence");
    await page.locator("table.list").waitFor();
    await page.keyboard.press("Tab");
    world.assert.equal(await page.evaluate(() => document.activeElement.textContent), "Skip to the content");
    await page.keyboard.press("Enter");
    world.assert.equal(await page.evaluate(() => document.activeElement.id), "main");
    await tabTo(world, page, "the instance", () => document.activeElement.closest("table.list") !== null);
    await page.keyboard.press("Enter");
    await page.getByRole("heading", { level: 1, name: "HelloSequence" }).waitFor();
    world.assert.equal(await page.evaluate(() => document.activeElement.id), "main");
    await tabTo(world, page, "the history", () => document.activeElement.textContent === "History");
    await page.keyboard.press("Enter");
    await page.locator(".history tbody .plain").first().waitFor();
    await world.until("the focus stays", async () => await page.evaluate(() => document.activeElement.textContent === "History"));
    await tabTo(world, page, "an event", () => document.activeElement.matches(".history tbody button"));
    await page.keyboard.press("Enter");
    await page.getByRole("dialog").waitFor();
    world.assert.equal(await page.evaluate(() => document.activeElement.textContent), "Close");
    await page.keyboard.press("Escape");
    await page.getByRole("dialog").waitFor({ state: "detached" });
    world.assert.ok(await page.evaluate(() => document.activeElement.matches(".history tbody button")));
    await tabTo(
      world,
      page,
      "the way back",
      () => document.activeElement.matches("nav a") && document.activeElement.textContent === "Instances",
    );
    await page.keyboard.press("Enter");
    await page.locator("table.list").waitFor();
  },

  "an action is chosen, thought over, and done": async (world) => {
    const page = await world.page(world.at("suspend-me"));
    await page.locator(".stand .actions button").first().waitFor();
    const isSuspend = () => document.activeElement.textContent === "Suspend…";
    await tabTo(world, page, "Suspend", isSuspend);
    await page.keyboard.press("Enter");
    await page.getByRole("dialog").waitFor();
    await page.keyboard.press("Escape");
    await world.until("the focus comes back", async () => await page.evaluate(isSuspend));
    await page.keyboard.press("Enter");
    await page.keyboard.type("by keyboard");
    await page.keyboard.press("Enter");
    await world.until("it is suspended", async () => (await world.status("suspend-me")) === "Suspended");
  },

  "what has the focus keeps it through a refresh": async (world) => {
    const page = await world.page("#/instances?prefix=focus");
    const start = async (id) =>
      await world.api("instances", { method: "POST", body: JSON.stringify({ name: "WaitForever", instanceId: id }) });
    await start("focus-b");
    await page.getByRole("button", { name: "Refresh" }).click();
    await page.getByRole("link", { name: "focus-b" }).focus();
    await start("focus-a");
    // Not by a click, which would take the focus.
    await page.evaluate(() => document.querySelector("[data-key=refresh]").click());
    await page.getByRole("link", { name: "focus-a" }).waitFor();
    world.assert.equal(await page.evaluate(() => document.activeElement.textContent), "focus-b");
  },
};
