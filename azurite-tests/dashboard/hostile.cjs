// What users have stored is text, whatever it says; and what would run it is off.
"use strict";

const TABS = ["", "timeline", "history", "tree"];

/** Nothing of the stored texts has become an element. */
async function isClean(world, page) {
  const found = await page.evaluate(() => ({
    harmed: window.harmed,
    images: document.querySelectorAll("img, iframe, object, embed").length,
    scripts: document.scripts.length,
    listeners: document.querySelectorAll("[onload], [onerror]").length,
  }));
  world.assert.deepEqual(found, { harmed: undefined, images: 0, scripts: 1, listeners: 0 });
}

/** The text as the page shows it on one line. */
const visible = (text) => text.replaceAll("\u202e", "\\u{202e}");

module.exports = {
  "in lists, with its id and name": async (world) => {
    const page = await world.page(`#/instances?prefix=${encodeURIComponent("harm/")}`);
    const link = page.locator("table.list tbody .id").first();
    await link.waitFor();
    world.assert.equal(await link.getAttribute("title"), visible(world.facts.hostile));
    world.assert.match(await page.locator("table.list tbody .name").last().textContent(), /^<img src=x onerror=/);
    await isClean(world, page);
    await link.click();
    await page.getByRole("heading", { level: 1, name: visible(world.facts.hostile) }).waitFor();
  },

  "in every view of the instance, with its payloads, status, tags and events": async (world) => {
    const harm = world.facts.hostile.replace(/^harm\//, "");
    const page = await world.page();
    for (const tab of TABS) {
      await world.go(page, world.at(world.facts.hostile, tab));
      await page.locator(".stand .badge", { hasText: "Completed" }).waitFor();
      await page.locator(".tags li", { hasText: "<script>" }).waitFor();
      await world.until(`${tab} shows it`, async () =>
        (await page.locator("article > div").last().textContent()).includes("<img src=x onerror="),
      );
      await isClean(world, page);
    }
    await world.go(page, world.at(world.facts.hostile));
    const status = page.getByRole("group", { name: "Custom status" });
    await status.waitFor();
    world.assert.equal(await status.textContent(), visible(harm));
    world.assert.ok(
      (await page.getByRole("group", { name: "Output" }).textContent()).includes("<script>window.harmed=1</script>"),
    );
    await world.go(page, world.at(world.facts.hostile, "history"));
    for (const type of ["ExecutionStarted", "EventRaised", "ExecutionCompleted"]) {
      await page.getByRole("button", { name: new RegExp(type) }).click();
      await page.getByRole("dialog").getByText("<img src=x").first().waitFor();
      await isClean(world, page);
      await page.keyboard.press("Escape");
    }
  },

  "in failures, dialogs, messages and what is parked": async (world) => {
    const page = await world.page(world.at("harmful end"));
    await page.getByRole("group", { name: "Failure" }).getByText("<script>").waitFor();
    await isClean(world, page);
    await world.go(page, world.at(world.facts.hostile));
    await page.getByRole("button", { name: "Restart…" }).click();
    await page
      .getByRole("dialog")
      .getByRole("heading", { name: /^Restart: “harm\/<img/ })
      .waitFor();
    await page.getByLabel("Id of the new instance").fill("@<img src=x onerror=window.harmed=1>");
    world.allow(/status of 400/);
    await page.getByRole("dialog").getByRole("button", { name: "Restart" }).click();
    await page.getByRole("status").getByText("Restart was refused").waitFor();
    await isClean(world, page);
    await world.go(page, "#/parked");
    await page.getByRole("table").waitFor();
    await isClean(world, page);
    await world.go(page, `#/instances?prefix=${encodeURIComponent("<img src=x onerror=window.harmed=1>")}`);
    await page.getByText("No instance matches").waitFor();
    await isClean(world, page);
  },

  "the policy is in force: no inline script or style, no text as markup, no code from texts, no frame, no request elsewhere":
    async (world) => {
      world.allow(/Content Security Policy|Trusted|frame-ancestors|Refused|Fetch API cannot load|status of 40[14]/i);
      const page = await world.page();
      const tried = await page.evaluate(async () => {
        const threw = (act) => {
          try {
            act();
            return false;
          } catch {
            return true;
          }
        };
        const script = document.createElement("script");
        const scriptThrew = threw(() => {
          script.textContent = "window.harmed=2";
          document.body.append(script);
        });
        script.remove();
        const styled = document.createElement("div");
        styled.setAttribute("style", "position: fixed");
        document.body.append(styled);
        const position = getComputedStyle(styled).position;
        styled.remove();
        const elsewhere = await fetch("http://localhost:1/x").then(
          () => "let",
          () => "refused",
        );
        // In a task of the page itself: what a debugger evaluates may evaluate.
        const evaluated = await new Promise((resolve) => setTimeout(() => resolve(threw(() => window.eval("1")))));
        return {
          scriptThrew,
          position,
          elsewhere,
          html: threw(() => (document.createElement("div").innerHTML = "<b>x</b>")),
          evaluated,
          harmed: window.harmed,
        };
      });
      world.assert.deepEqual(
        { ...tried, scriptThrew: undefined },
        { scriptThrew: undefined, position: "static", elsewhere: "refused", html: true, evaluated: true, harmed: undefined },
      );
      // A refusal of the API, which is no page and has no such policy, is what stands around, and shows that a frame would be filled.
      const outer = await world.page();
      const { keyed } = world.facts;
      await outer.goto(`${keyed}instances`);
      await outer.evaluate(
        (urls) => {
          for (const url of urls) document.body.append(Object.assign(document.createElement("iframe"), { src: url }));
        },
        [`${keyed}instances`, `${keyed}dashboard/`],
      );
      await outer.frameLocator("iframe >> nth=0").getByText("no key that is known here").waitFor();
      await new Promise((resolve) => setTimeout(resolve, 300));
      world.assert.equal(await outer.frameLocator("iframe >> nth=1").locator("header").count(), 0);
    },
};
