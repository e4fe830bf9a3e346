// Opens a page in Chromium that sends numbered records (page.mjs), and repeats what its console says.

import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { chromium } from 'playwright-core';

const script = readFileSync(new URL('page.js', import.meta.url));
const server = createServer((request, response) => {
  const page = '<!doctype html><meta charset="utf-8"><title>matrix</title><p>A page that sends.</p><script src="/page.js"></script>';
  const [type, body] = request.url === '/page.js' ? ['text/javascript', script] : ['text/html', page];
  response.writeHead(200, { 'content-type': type }).end(body);
});
await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
});
// The certificate is of a CA that Chromium does not know.
const context = await browser.newContext({ ignoreHTTPSErrors: true });
const page = await context.newPage();
const ended = new Promise((resolve) => {
  page.on('console', (message) => (message.text() === 'done' ? resolve() : console.log(message.text())));
});
page.on('pageerror', (error) => console.error(error));
const names = Object.keys(process.env).filter((name) => /^(MATRIX|OTEL)_/.test(name));
await page.addInitScript((settings) => (globalThis.settings = settings), Object.fromEntries(names.map((name) => [name, process.env[name]])));
await page.goto(`http://127.0.0.1:${server.address().port}/`);
await ended;
await browser.close();
server.close();
