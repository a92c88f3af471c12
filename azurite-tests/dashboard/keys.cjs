// Servers with keys: nothing without one, and no more than it allows.
"use strict";

async function enter(page, key) {
  await page.getByLabel("Key for reading, operating or administration").fill(key);
  await page.getByRole("button", { name: "Use this key" }).click();
}

module.exports = {
  "a page without a key asks for one, keeps it in its tab alone and sends it as a header alone": async (world) => {
    world.allow(/status of 401/);
    const { keyed, keys } = world.facts;
    const page = await world.page(world.at("keys-me"), { server: keyed });
    await page.getByText("This server asks for a key.").waitFor();
    await enter(page, "no key of anybody");
    await page.getByText("The server does not know this key").waitFor();
    const requests = [];
    page.on("request", (request) => requests.push(request));
    await enter(page, keys.read);
    await page.getByRole("heading", { level: 1, name: "keys-me" }).waitFor();
    world.assert.ok(requests.length > 0);
    for (const request of requests) {
      const headers = await request.allHeaders();
      world.assert.ok(!decodeURIComponent(request.url()).includes(keys.read), request.url());
      if (request.url().includes("/api/")) world.assert.equal(headers["x-functions-key"], keys.read);
    }
    world.assert.ok(!decodeURIComponent(page.url()).includes(keys.read));
    world.assert.deepEqual(await page.evaluate(() => [localStorage.length, document.cookie]), [0, ""]);
    await page.reload();
    await page.getByRole("heading", { level: 1, name: "keys-me" }).waitFor();
    const other = await world.tab(page.context(), "", keyed);
    await other.getByText("This server asks for a key.").waitFor();
    await page.getByRole("button", { name: "Forget the key" }).click();
    await page.getByRole("dialog").getByRole("button", { name: "Forget it" }).click();
    await page.getByText("This server asks for a key.").or(page.getByText("does not know this key")).waitFor();
    world.assert.equal(await page.evaluate(() => sessionStorage.length), 0);
  },

  "what the key does not allow is not offered": async (world) => {
    world.allow(/status of 401/);
    const { keyed, keys } = world.facts;
    for (const [scope, offered, canStart] of [
      ["read", [], 0],
      ["operate", ["Raise an event…", "Suspend…", "Terminate…"], 1],
      ["admin", ["Raise an event…", "Suspend…", "Terminate…"], 1],
    ]) {
      const page = await world.page(world.at("keys-me"), { server: keyed });
      await enter(page, keys[scope]);
      await page.locator(".stand .badge").waitFor();
      world.assert.deepEqual(await page.locator(".stand .actions button").allTextContents(), offered, scope);
      world.assert.equal(await page.getByRole("button", { name: "Start…" }).count(), canStart, scope);
      await world.go(page, world.at("HelloSequence"));
      await page.locator(".stand .badge", { hasText: "Completed" }).waitFor();
      const ended = { read: [], operate: ["Restart…"], admin: ["Restart…", "Purge…"] };
      world.assert.deepEqual(await page.locator(".stand .actions button").allTextContents(), ended[scope], scope);
    }
  },
};
