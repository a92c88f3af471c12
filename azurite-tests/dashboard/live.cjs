// Refreshing by itself: while the page is seen and not paused, and no more than it has to.
"use strict";

/** A page whose time is turned by hand, and the requests that it has sent to the API since the last look. */
async function turned(world, place) {
  const page = await world.page("#/nowhere");
  await page.clock.install();
  const paths = [];
  page.on("request", (request) => {
    const { pathname } = new URL(request.url());
    if (pathname.startsWith("/api/v1/")) paths.push(decodeURIComponent(pathname.slice("/api/v1/".length)));
  });
  let open = 0;
  page.on("request", () => (open += 1));
  for (const end of ["requestfinished", "requestfailed"]) page.on(end, () => (open -= 1));
  await page.reload();
  await page.getByRole("heading", { level: 1, name: "There is no such page" }).waitFor();
  const taken = () => paths.splice(0);
  taken();
  await world.go(page, place);
  /** Lets seconds go by, one after the other, so that answers can come meanwhile. */
  const pass = async (seconds) => {
    for (let second = 0; second < seconds; second += 1) {
      await page.clock.runFor(1000);
      // The next look is counted from the answer to the last: on a busy machine that takes its time.
      do await new Promise((resolve) => setTimeout(resolve, 30));
      while (open > 0);
    }
    return taken();
  };
  return { page, taken, pass };
}

const hide = (page, isHidden) =>
  page.evaluate((hidden) => {
    Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
    document.dispatchEvent(new Event("visibilitychange"));
  }, isHidden);

module.exports = {
  "a list shows by itself what is new, not while it is paused or not seen, and at once when it is seen again": async (world) => {
    const { page, taken, pass } = await turned(world, "#/instances?prefix=live-");
    await page.getByText("No instance matches").waitFor();
    taken();
    const start = async (id) =>
      await world.api("instances", { method: "POST", body: JSON.stringify({ name: "WaitForever", instanceId: id }) });
    await start("live-1");
    world.assert.deepEqual(await pass(6), ["instances"]);
    await page.getByRole("link", { name: "live-1" }).waitFor();
    await hide(page, true);
    world.assert.deepEqual(await pass(20), []);
    await start("live-2");
    await hide(page, false);
    await page.getByRole("link", { name: "live-2" }).waitFor();
    await page.getByRole("button", { name: "Pause" }).click();
    taken();
    world.assert.deepEqual(await pass(20), []);
    await page.getByRole("button", { name: "Go live" }).click();
    await world.until("a request", async () => taken().length > 0);
  },

  "an instance that waits costs one look each five seconds, and its history is read once": async (world) => {
    const { page, taken, pass } = await turned(world, world.at("Timer", "timeline"));
    await page.locator(".gantt .line").first().waitFor();
    world.assert.deepEqual(taken(), ["instances/Timer", "instances/Timer/history"]);
    world.assert.deepEqual(await pass(16), ["instances/Timer", "instances/Timer", "instances/Timer"]);
  },

  "a server that is away is told, and found again": async (world) => {
    const { page, pass } = await turned(world, "#/hub");
    await page.getByRole("table", { name: "Partitions" }).waitFor();
    world.allow(/ERR_CONNECTION_REFUSED|Failed to load resource|net::/);
    await page.route("**/api/v1/hub", (route) => route.abort("connectionrefused"));
    await pass(11);
    await page.getByRole("alert").getByText("The server does not answer").waitFor();
    await page.unroute("**/api/v1/hub");
    await pass(11);
    await page.getByRole("alert").getByText("The server does not answer").waitFor({ state: "hidden" });
  },

  "a view that is seldom read is asked for again soon after it could not be": async (world) => {
    const { page, pass } = await turned(world, "#/workers");
    await page.getByRole("table", { name: "Workers" }).waitFor();
    world.allow(/ERR_CONNECTION_REFUSED|Failed to load resource|net::/);
    await page.route("**/api/v1/usage", (route) => route.abort("connectionrefused"));
    await pass(61);
    await page.getByRole("alert").getByText("The server does not answer").waitFor();
    await page.getByText("last read at").waitFor();
    await page.unroute("**/api/v1/usage");
    await pass(11);
    await page.getByRole("alert").getByText("The server does not answer").waitFor({ state: "hidden" });
  },
};
