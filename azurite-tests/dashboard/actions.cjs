// What can be done, where it can be, and only after a question.
"use strict";

/** Presses a button of the instance, fills the dialog and confirms it. */
async function act(world, page, name, fields = {}, confirm = name) {
  await page.getByRole("button", { name: `${name}…`, exact: true }).click();
  const dialog = page.getByRole("dialog");
  await dialog.waitFor();
  for (const [label, value] of Object.entries(fields)) {
    if (value === true) await dialog.getByLabel(label).check();
    else await dialog.getByLabel(label).fill(value);
  }
  await dialog.getByRole("button", { name: confirm, exact: true }).click();
}

const buttons = async (page) =>
  (await page.locator(".stand .actions button").allTextContents()).map((text) => text.replace("…", ""));

module.exports = {
  "an instance is suspended, resumed, terminated, restarted and purged, and each time only what fits is offered": async (
    world,
  ) => {
    const id = "operate-me";
    const page = await world.page(world.at(id));
    const said = page.getByRole("status").first();
    const stands = async (status) => await world.until(status, async () => (await world.status(id)) === status);
    const offered = async (...names) =>
      await world.until(names.join(), async () => {
        await page.getByRole("button", { name: "Refresh" }).click();
        return JSON.stringify(await buttons(page)) === JSON.stringify(names);
      });
    await offered("Raise an event", "Suspend", "Terminate");
    await page.getByRole("button", { name: "Suspend…" }).click();
    await page.getByRole("dialog").getByRole("heading", { name: "Suspend: “operate-me”" }).waitFor();
    await page.keyboard.press("Escape");
    await page.getByRole("dialog").waitFor({ state: "detached" });
    world.assert.equal(await page.evaluate(() => document.activeElement.textContent), "Suspend…");
    world.assert.equal(await world.status(id), "Running");
    await act(world, page, "Suspend", { Reason: "for a look" });
    await page.locator("#said").getByText("was told to suspend").waitFor();
    await stands("Suspended");
    await offered("Raise an event", "Resume", "Terminate");
    await act(world, page, "Resume");
    await stands("Running");
    await offered("Raise an event", "Suspend", "Terminate");
    await act(world, page, "Terminate", { Reason: "enough", "Its sub-orchestrations too": true });
    await stands("Terminated");
    await offered("Restart", "Purge");
    await page.getByRole("group", { name: "Reason of the termination" }).getByText("enough").waitFor();
    await act(world, page, "Restart", { "Id of the new instance": "operate-me-again" });
    await page.getByRole("heading", { level: 1, name: "operate-me-again" }).waitFor();
    await world.go(page, world.at(id));
    await offered("Restart", "Purge");
    world.allow(/status of 404/);
    await act(world, page, "Purge");
    await page.locator("#said").getByText("was deleted").waitFor();
    await page.locator("table.list").waitFor();
    world.assert.equal(await world.status(id), undefined);
    await said.waitFor();
  },

  "an event is raised with its payload, and JSON that is none is refused before it is sent": async (world) => {
    const page = await world.page(world.at("Approval"));
    await page.getByRole("button", { name: "Raise an event…" }).click();
    const dialog = page.getByRole("dialog");
    await dialog.getByLabel("Name of the event").fill("Approval");
    await dialog.getByLabel("Payload").fill("{yes}");
    await dialog.getByRole("button", { name: "Raise an event" }).click();
    await dialog.getByRole("alert").getByText("This is not JSON").waitFor();
    await dialog.getByLabel("Payload").fill('{"amount":79228162514264337593543950335}');
    await dialog.getByRole("button", { name: "Raise an event" }).click();
    await world.until("its end", async () => (await world.status("Approval")) === "Completed");
    await page.getByRole("button", { name: "Refresh" }).click();
    await page.getByRole("group", { name: "Output" }).getByText("79228162514264337593543950335").waitFor();
  },

  "a failed instance is rewound": async (world) => {
    const page = await world.page(world.at("RewindParent"));
    await act(world, page, "Rewind", { Reason: "it is repaired" });
    await world.until("its end", async () => (await world.status("RewindParent")) === "Completed");
    await page.getByRole("link", { name: "History" }).click();
    await page
      .getByRole("button", { name: /\(taken back\)/ })
      .first()
      .waitFor();
  },

  "an instance is started, with an input as it was written": async (world) => {
    const page = await world.page();
    await act(world, page, "Start", { Orchestrator: "LargeEcho", "Instance id": "started here", Input: '{"n":1.10}' });
    await page.getByRole("heading", { level: 1, name: "started here" }).waitFor();
    await page.getByRole("group", { name: "Input" }).getByText("1.10").waitFor();
    await act(world, page, "Start", { Orchestrator: "WaitForever", "Instance id": "started here twice" });
    await page.getByRole("heading", { level: 1, name: "started here twice" }).waitFor();
    world.allow(/status of 409/);
    await act(world, page, "Start", { Orchestrator: "WaitForever", "Instance id": "started here twice" });
    await page.locator("#said").getByText("The start was refused").waitFor();
  },

  "parked messages are put back, which parks them again, and dropped": async (world) => {
    const page = await world.page("#/parked");
    const rows = page.locator("tbody tr");
    await rows.first().waitFor();
    const first = (await world.api("parked")).messages[0].parkedTime;
    await page
      .getByRole("button", { name: /^Put back/ })
      .first()
      .click();
    await page.getByRole("dialog").getByRole("button", { name: "Put back" }).click();
    await page.locator("#said").getByText("is back in its queue").waitFor();
    await world.until("it comes again", async () => {
      const { messages } = await world.api("parked");
      return messages.length === 2 && !messages.some((message) => message.parkedTime === first);
    });
    await page.getByRole("button", { name: "Refresh" }).click();
    await world.until("two", async () => (await rows.count()) === 2);
    for (const left of [1, 0]) {
      await page.getByRole("button", { name: /^Drop/ }).first().click();
      await page.getByRole("dialog").getByRole("button", { name: "Drop" }).click();
      await world.until(`${left} left`, async () => (await world.api("parked")).messages.length === left);
      await world.until(`${left} shown`, async () => (await rows.count()) === left);
    }
    await page.getByText("No message is parked").waitFor();
  },
};
