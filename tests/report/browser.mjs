// What a browser makes of a report: console, network, width, keyboard, sorting, and axe's rules, in light and dark, on a
// desk and on a phone. Not part of CI, which has no browser. From a folder with `npm install playwright-core axe-core`:
//
//   node browser.mjs report.html [folder for screenshots]
//
// CHROMIUM names the browser, /usr/bin/chromium if it does not. Ends with 1 if anything is not as it should be.
import { createRequire } from "node:module";
import { mkdirSync, readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";
import { join } from "node:path";

const [file, shots] = process.argv.slice(2);
const require = createRequire(join(process.cwd(), "here.js"));
const { chromium } = require("playwright-core");
const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");
const url = pathToFileURL(file).href;
const wrong = [];
const expect = (what, found, wanted) => {
  const same = JSON.stringify(found) === JSON.stringify(wanted);
  console.log(same ? "ok   " : "WRONG", what, same ? "" : JSON.stringify(found).slice(0, 400));
  if (!same) wrong.push(what);
};

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking", "--disable-sync"],
});
for (const [device, width, height] of [["desk", 1280, 900], ["phone", 390, 844]]) {
  for (const colorScheme of ["light", "dark"]) {
    const where = `${device}, ${colorScheme}:`;
    const context = await browser.newContext({ viewport: { width, height }, colorScheme, offline: true });
    const page = await context.newPage();
    const said = [];
    const asked = [];
    page.on("console", (message) => said.push(message.text()));
    page.on("pageerror", (error) => said.push(String(error)));
    page.on("request", (request) => asked.push(request.url()));
    await page.goto(url);
    expect(`${where} nothing asked of a network`, asked, [url]);
    expect(`${where} no wider than the screen`, await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), true);

    await page.keyboard.press("Tab");
    expect(`${where} the first stop skips to the results`, await page.evaluate(() => document.activeElement.hash), "#main");
    const heading = page.locator("table.sortable th:nth-child(4) button").first();
    if (await heading.count()) {
      for (const [key, order] of [["Enter", "ascending"], ["Space", "descending"]]) {
        await heading.focus();
        await page.keyboard.press(key);
        const found = await heading.evaluate((button) => {
          const cell = button.parentElement;
          const rows = [...cell.closest("table").tBodies[0].rows];
          const values = rows.map((row) => parseFloat(row.cells[3].dataset.sort ?? "nan")).filter(Number.isFinite);
          return [cell.ariaSort, values, getComputedStyle(button).outlineStyle];
        });
        const sorted = [...found[1]].sort((a, b) => (order === "ascending" ? a - b : b - a));
        expect(`${where} ${key} sorts ${order}, with a visible focus`, found, [order, sorted, "solid"]);
      }
    }
    expect(`${where} nothing on the console`, said, []);
    if (shots) {
      mkdirSync(shots, { recursive: true });
      await page.goto(url);
      const whole = await page.evaluate(() => document.documentElement.scrollHeight);
      await page.setViewportSize({ width, height: 1800 });
      for (let y = 0, k = 0; y < whole; y += 1800, k++) {
        await page.evaluate((top) => scrollTo(0, top), y);
        await page.screenshot({ path: join(shots, `${device}-${colorScheme}-${String(k).padStart(2, "0")}.png`) });
      }
    }
    await context.close();

    // axe is a script of its own, which the page's policy rightly refuses.
    const open = await browser.newContext({ viewport: { width, height }, colorScheme, bypassCSP: true });
    const looked = await open.newPage();
    await looked.goto(url);
    await looked.evaluate(() => document.querySelectorAll("details").forEach((one) => (one.open = true)));
    await looked.evaluate(axe);
    const violations = await looked.evaluate(async () => (await axe.run()).violations.map((one) => [one.id, one.nodes[0].html]));
    expect(`${where} no violation of axe's rules`, violations, []);
    await open.close();
  }
}
await browser.close();
process.exit(wrong.length ? 1 : 0);
