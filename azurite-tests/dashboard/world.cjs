// A browser, pages in it that tell of everything that goes wrong in them, and the servers they look at.
"use strict";

const assert = require("node:assert/strict");
const { chromium } = require("playwright-core");

/** What a page may take to show something. */
const WITHIN = 10_000;

class World {
  static async open(facts) {
    const world = new World();
    world.facts = facts;
    world.assert = assert;
    world.browser = await chromium.launch({ executablePath: facts.browser, args: ["--no-sandbox", "--disable-dev-shm-usage"] });
    return world;
  }

  async close() {
    await this.browser.close();
  }

  /** Runs a test, closes its pages, and fails if anything went wrong in them that the test has not allowed. */
  async run(test) {
    this.contexts = [];
    this.pages = [];
    this.problems = [];
    this.allowed = [];
    try {
      await test(this);
      for (const page of this.pages) {
        assert.equal(await page.evaluate(() => window.harmed), undefined, "a stored text was run");
      }
    } finally {
      await Promise.all(this.contexts.map((context) => context.close()));
    }
    const problems = this.problems.filter((problem) => !this.allowed.some((allowed) => allowed.test(problem)));
    assert.deepEqual(problems, []);
  }

  /** Lets this go wrong. */
  allow(...patterns) {
    this.allowed.push(...patterns);
  }

  /** A page of its own browser profile, at a place of the dashboard of this server. */
  async page(place = "", { server = this.facts.open, ...options } = {}) {
    const context = await this.browser.newContext({
      viewport: { width: 1280, height: 800 },
      locale: "en-GB",
      timezoneId: "Europe/Berlin",
      ...options,
    });
    this.contexts.push(context);
    return await this.tab(context, place, server);
  }

  /** Another page of the same profile. */
  async tab(context, place, server = this.facts.open) {
    const page = await context.newPage();
    page.setDefaultTimeout(WITHIN);
    page.on(
      "console",
      (message) => ["error", "warning"].includes(message.type()) && this.problems.push(`console: ${message.text()}`),
    );
    page.on("pageerror", (error) => this.problems.push(`error: ${error.message}`));
    page.on("request", (request) => {
      if (!["127.0.0.1", "localhost"].includes(new URL(request.url()).hostname)) this.problems.push(`request: ${request.url()}`);
    });
    this.pages.push(page);
    await page.goto(`${server}dashboard/${place}`);
    return page;
  }

  /** Goes to another place of the same page. */
  async go(page, place) {
    await page.evaluate((to) => (location.hash = to), place);
  }

  /** The place of an instance. */
  at(id, tab = "") {
    return `#/instance/${encodeURIComponent(id)}${tab && `/${tab}`}`;
  }

  /** Waits until something is as it should be. */
  async until(what, check, within = WITHIN) {
    const end = performance.now() + within;
    for (;;) {
      const found = await check();
      if (found) return found;
      assert.ok(performance.now() < end, `it never came: ${what}`);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  /** An answer of the API, past the page. */
  async api(path, { method = "GET", body, server = this.facts.open } = {}) {
    const headers = body === undefined ? {} : { "content-type": "application/json" };
    const answer = await fetch(`${server}api/v1/${path}`, { method, body, headers });
    const text = await answer.text();
    return text === "" ? null : JSON.parse(text);
  }

  async status(id) {
    return (await this.api(`instances/${encodeURIComponent(id)}`)).runtimeStatus;
  }
}

module.exports = { World };
