// Opens a page in Chromium and runs what comes in on stdin: a line of JSON {code, args} each, the body of an async function
// of page, context, args and seen. A line of JSON {value} or {error} comes out for each.
//
//     node browser.mjs FOLDER_OF_NODE_MODULES CHROMIUM FOLDER_OF_PROFILE ADDRESS
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';

const [modules, executablePath, profile, address] = process.argv.slice(2);
const { chromium } = createRequire(`${modules}/`)('playwright-core');
const flags = '--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking '
  + '--disable-component-update --disable-sync --use-fake-device-for-media-stream --use-fake-ui-for-media-stream';
const context = await chromium.launchPersistentContext(profile, {
  executablePath, headless: true, args: flags.split(' '), acceptDownloads: true, viewport: { width: 1280, height: 900 },
});
const page = context.pages()[0];
const seen = { requests: [], problems: [] };
context.on('request', (request) => seen.requests.push(request.url()));
page.on('console', (message) => { if (message.type() === 'error') seen.problems.push(message.text()); });
page.on('pageerror', (error) => seen.problems.push(String(error)));
page.on('crash', () => seen.problems.push('the tab crashed'));
page.setDefaultTimeout(120000);
await page.goto(address);
console.log(JSON.stringify({ value: 'open' }));

const AsyncFunction = (async () => {}).constructor;
for await (const line of createInterface({ input: process.stdin })) {
  const { code, args } = JSON.parse(line);
  try {
    const value = await new AsyncFunction('page', 'context', 'args', 'seen', code)(page, context, args, seen);
    console.log(JSON.stringify({ value: value ?? null }));
  } catch (error) {
    console.log(JSON.stringify({ error: String(error) }));
  }
}
await context.close();
