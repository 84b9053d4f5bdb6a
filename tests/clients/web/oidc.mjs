// A browser that signs in to hallmark with a real OpenID Connect provider.
// Environment: SERVER, ISSUER, PEOPLE (the provider's people), HALLMARK (the program), SHOTS, CHROMIUM.
import { createRequire } from 'node:module';
import { spawn } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { chromium } from 'playwright-core';

const { SERVER, ISSUER, PEOPLE, HALLMARK, SHOTS, CHROMIUM = '/usr/bin/chromium' } = process.env;
const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
mkdirSync(SHOTS, { recursive: true });

let passed = 0;
let failed = 0;
let current;

async function check(name, work) {
  try {
    await work();
    passed += 1;
    console.log(`ok   ${name}`);
  } catch (error) {
    failed += 1;
    console.log(`FAIL ${name}\n     | ${String(error.message ?? error).split('\n').slice(0, 12).join('\n     | ')}`);
    if (current) {
      console.log(`     | at ${current.url()}`);
      await current.screenshot({ path: join(SHOTS, `oidc-failed-${failed}.png`), fullPage: true }).catch(() => {});
    }
  }
}

function expect(what, holds) {
  if (!holds) throw new Error(what);
}

const browser = await chromium.launch({ executablePath: CHROMIUM, args: ['--no-sandbox', '--disable-dev-shm-usage'] });

// A window with nobody signed in, here or at the provider. `back` are the addresses the provider sends it to.
async function open() {
  const context = await browser.newContext({ baseURL: SERVER, viewport: { width: 1280, height: 800 } });
  context.setDefaultTimeout(15_000);
  const page = await context.newPage();
  page.back = [];
  page.on('request', (request) => {
    if (request.url().startsWith(`${SERVER}/login/provider/back`)) page.back.push(request.url());
  });
  current = page;
  return page;
}

// From the sign-in page of hallmark through the pages of the provider.
async function signIn(page, login, next = '') {
  await page.goto(`/login${next}`);
  await page.getByRole('link', { name: 'Sign in with Test SSO' }).click();
  expect(`at the provider, not ${page.url()}`, page.url().startsWith(`${ISSUER}/interaction/`));
  await page.locator('input[name=login]').fill(login);
  await page.locator('input[name=password]').fill('any');
  await page.locator('button[type=submit]').click();
  await page.locator('button[type=submit]').click(); // consent
}

const has = (page, text) => page.getByText(text).first().waitFor();
const people = (change) => {
  const all = JSON.parse(readFileSync(PEOPLE, 'utf8'));
  change(all);
  writeFileSync(PEOPLE, JSON.stringify(all));
};

let page = await open();
await check('the sign-in page offers the provider and is good to read', async () => {
  await page.goto('/login');
  await page.getByRole('link', { name: 'Sign in with Test SSO' }).waitFor();
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => window.axe.run(document));
  const serious = violations.filter((one) => ['serious', 'critical', 'moderate'].includes(one.impact));
  expect(JSON.stringify(serious.map((one) => one.id)), serious.length === 0);
  for (const width of [1280, 360]) {
    await page.setViewportSize({ width, height: 800 });
    await page.screenshot({ path: join(SHOTS, `sign-in-provider-${width}.png`), fullPage: true });
  }
});
await check('a person signs in at the provider and lands where they wanted', async () => {
  page = await open();
  await signIn(page, 'jo', '?next=/account/tokens');
  await page.waitForURL(`${SERVER}/account/tokens`);
  await has(page, 'this log-in');
  const cookies = await page.context().cookies(SERVER);
  const cookie = cookies.find((one) => one.name === 'hallmark');
  expect(JSON.stringify(cookies), cookie && cookie.httpOnly && cookie.sameSite === 'Lax');
  expect('what was bound to the sign-in is forgotten', !cookies.some((one) => one.name === 'hallmark-provider'));
  await page.goto('/account');
  await has(page, 'jo@acme.example');
});
await check('the way back is good once, and in one browser', async () => {
  const [back] = page.back;
  await page.context().clearCookies({ name: 'hallmark' });
  let answer = await page.goto(back);
  expect(`${answer.status()}`, answer.status() === 401);
  await has(page, 'begin again');
  const stranger = await open();
  answer = await stranger.goto(back);
  expect(`${answer.status()}`, answer.status() === 401);
  await has(stranger, 'begin again');
});
await check('a state of one’s own making is refused', async () => {
  page = await open();
  await page.goto('/login/provider');
  const answer = await page.goto(`/login/provider/back?code=x&state=${'x'.repeat(43)}&iss=${ISSUER}`);
  expect(`${answer.status()}`, answer.status() === 401);
});
await check('a code that the provider did not give is refused', async () => {
  page = await open();
  await page.goto('/login/provider');
  const state = new URL(await leaving(page)).searchParams.get('state');
  const answer = await page.goto(`/login/provider/back?code=x&state=${state}&iss=${ISSUER}`);
  expect(`${answer.status()}`, answer.status() === 401);
  await has(page, 'invalid_grant');
});

// Where hallmark sends the browser.
async function leaving(window) {
  const answer = await window.context().request.get(`${SERVER}/login/provider`, { maxRedirects: 0 });
  return answer.headers().location;
}

await check('who gives up at the provider is told so', async () => {
  page = await open();
  await page.goto('/login/provider');
  await page.getByText('Cancel').click();
  await has(page, 'access_denied');
  expect(page.url(), page.url().startsWith(SERVER));
});
await check('who has no account gets none', async () => {
  page = await open();
  await signIn(page, 'nobody');
  await has(page, 'there is no account for you here');
});
await check('an address the provider does not call verified is worth nothing', async () => {
  page = await open();
  await signIn(page, 'liar');
  await has(page, 'there is no account for you here');
});
await check('another address at the provider leads to the same account', async () => {
  people((all) => { all.jo.email = 'sam@acme.example'; });
  page = await open();
  await signIn(page, 'jo', '?next=/account');
  await page.waitForURL(`${SERVER}/account`);
  await has(page, 'jo@acme.example');
});
await check('`hallmark login --web` is let in by who is signed in', async () => {
  const program = spawn(HALLMARK, ['login', '--web', '--server', SERVER]);
  let said = '';
  program.stderr.on('data', (data) => { said += data; });
  const ended = new Promise((resolve) => { program.on('exit', resolve); });
  for (let i = 0; i < 100 && !/waiting until/.test(said); i += 1) await new Promise((resolve) => { setTimeout(resolve, 100); });
  const [, url, code] = /open (\S+) .* code (\S+) /.exec(said) ?? [];
  expect(said, url && code);
  await page.goto(url);
  await has(page, code);
  await page.screenshot({ path: join(SHOTS, 'terminal-1280.png'), fullPage: true });
  await page.getByRole('button', { name: 'Let it in' }).click();
  await has(page, 'The terminal is logged in');
  const status = await ended;
  expect(`${status} ${said}`, status === 0);
});

await browser.close();
console.log(`oidc: ${passed} passed, ${failed} failed`);
process.exit(failed === 0 ? 0 : 1);
