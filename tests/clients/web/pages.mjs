// A browser before the pages of a hallmark that `quickstart` made: what people do, and how every page looks and reads.
// Environment: SERVER, EMAIL, PASSWORD, SNAP (a snap file), KEEPER (the beginning of the names of two revisions of another
// snap, of which the second one needs a grant), SHOTS (a folder for pictures), CHROMIUM.
import { createRequire } from 'node:module';
import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { chromium } from 'playwright-core';

const { SERVER, EMAIL, PASSWORD, SNAP, KEEPER, SHOTS, CHROMIUM = '/usr/bin/chromium' } = process.env;
const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
mkdirSync(SHOTS, { recursive: true });

let passed = 0;
let failed = 0;
const said = [];

async function check(name, work) {
  try {
    await work();
    passed += 1;
    console.log(`ok   ${name}`);
  } catch (error) {
    failed += 1;
    console.log(`FAIL ${name}\n     | ${String(error.message ?? error).split('\n').slice(0, 12).join('\n     | ')}`);
    if (current) await current.screenshot({ path: join(SHOTS, `failed-${failed}.png`), fullPage: true }).catch(() => {});
  }
}

function expect(what, holds) {
  if (!holds) throw new Error(what);
}

let current;

// A window with nobody signed in. What the browser complains about is noted.
async function open(browser, options = {}) {
  const context = await browser.newContext({ baseURL: SERVER, viewport: { width: 1280, height: 800 }, ...options });
  context.setDefaultTimeout(15_000);
  const page = await context.newPage();
  page.on('console', (message) => {
    // A page about a refusal is reported like any other failed request.
    if (message.type() === 'error' && !message.text().includes('the server responded with a status of 4')) said.push(message.text());
  });
  page.on('pageerror', (error) => said.push(String(error)));
  current = page;
  return page;
}

async function signIn(page, email, password) {
  await page.goto('/login');
  await page.getByLabel('E-mail address').fill(email);
  await page.getByLabel('Password').fill(password);
  await page.getByRole('button', { name: 'Sign in' }).click();
}

const has = (page, text) => page.getByText(text).first().waitFor();
const main = (page) => page.locator('main');

async function readable(page, name) {
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => window.axe.run(document, {
    runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'],
  }));
  const serious = violations.filter((one) => ['serious', 'critical', 'moderate'].includes(one.impact));
  const text = serious.map((one) => `${one.id} (${one.impact}): ${one.nodes.slice(0, 3).map((node) => node.html).join(' ; ')}`);
  expect(`${name}: ${text.join('\n')}`, serious.length === 0);
}

// The page at two widths and in both colours: nothing serious for axe, nothing wider than the window, a picture of each.
async function looksGood(page, path, name) {
  for (const [width, scheme] of [[1280, 'light'], [360, 'light'], [1280, 'dark']]) {
    await page.emulateMedia({ colorScheme: scheme });
    await page.setViewportSize({ width, height: 800 });
    const answer = await page.goto(path);
    expect(`${path} answers ${answer.status()}`, answer.ok() || name.startsWith('refused'));
    await readable(page, `${width} ${scheme}`);
    const wide = await page.evaluate(() => document.scrollingElement.scrollWidth - innerWidth);
    expect(`${name} is ${wide} pixels wider than ${width}`, wide <= 0);
    if (scheme === 'light' || name === 'snap') {
      await page.screenshot({ path: join(SHOTS, `${name}-${width}${scheme === 'dark' ? '-dark' : ''}.png`), fullPage: true });
    }
  }
  await page.emulateMedia({ colorScheme: 'light' });
  await page.setViewportSize({ width: 1280, height: 800 });
}

const browser = await chromium.launch({ executablePath: CHROMIUM, args: ['--no-sandbox', '--disable-dev-shm-usage'] });
let page = await open(browser);

await check('the front door leads to the sign-in page', async () => {
  await page.goto('/');
  expect(page.url(), page.url() === `${SERVER}/login`);
});
await check('the sign-in page is good to look at and to read', () => looksGood(page, '/login', 'sign-in'));
await check('a wrong password is told', async () => {
  await signIn(page, EMAIL, 'not the password at all');
  await has(page, 'the e-mail address or the password is wrong');
  await readable(page, 'refused sign-in');
});
await check('one signs in with the keyboard alone', async () => {
  await page.goto('/login');
  await page.keyboard.press('Tab');
  const first = await page.evaluate(() => document.activeElement.textContent);
  expect(first, first === 'Skip to the content');
  await page.keyboard.press('Enter');
  await page.keyboard.press('Tab');
  await page.keyboard.type(EMAIL);
  await page.keyboard.press('Tab');
  await page.keyboard.type(PASSWORD);
  await page.keyboard.press('Enter');
  await has(page, 'Welcome');
  const cookies = await page.context().cookies();
  const cookie = cookies.find((one) => one.name === 'hallmark');
  expect(JSON.stringify(cookies), cookie && cookie.httpOnly && cookie.sameSite === 'Lax' && cookie.path === '/');
});

const brand = await page.locator('.card h2 a').first().getAttribute('href');

await check('a sub-store is created', async () => {
  await page.goto(`${brand}/stores`);
  await page.getByLabel('Store id').fill('kiosk');
  await page.getByLabel('Name', { exact: true }).fill('Kiosks <b>of</b> the north');
  await page.getByRole('button', { name: 'Create store' }).click();
  await has(page, 'Created.');
  await has(page, 'Kiosks <b>of</b> the north');
});
let invited;
await check('an account is made, its first password shown once', async () => {
  await page.goto('/accounts');
  await page.getByLabel('E-mail address', { exact: true }).fill('jo@acme.example');
  await page.getByLabel('Name for people').fill('Jo Doe');
  await page.getByRole('button', { name: 'Create account' }).click();
  invited = await page.getByLabel('First password').inputValue();
  expect(invited, invited.length >= 12);
});
await check('it becomes a member of the sub-store', async () => {
  await page.goto(`${brand}/stores/kiosk/members`);
  await page.getByLabel('E-mail address', { exact: true }).fill('jo@acme.example');
  await main(page).getByLabel('administrator').last().check();
  await page.getByRole('button', { name: 'Add member' }).click();
  await has(page, 'The member has these roles now.');
  await page.getByRole('row', { name: /jo@acme.example/ }).getByText('administrator').first().waitFor();
});
await check('a revision is uploaded, with its progress', async () => {
  await page.goto(`${brand}/upload`);
  await page.getByLabel('Snap file').setInputFiles(SNAP);
  await page.getByText('For a name that is not registered yet').click();
  await page.getByLabel('Publisher').fill(brand.split('/').at(-1));
  await page.getByRole('button', { name: 'Upload' }).click();
  await page.waitForURL('**/snaps/hello?done=uploaded');
  await has(page, 'The revision is there.');
});
await check('it is released, promoted and closed by clicking', async () => {
  await page.getByLabel('To the channels').fill('edge');
  await page.getByRole('button', { name: 'Release', exact: true }).click();
  await has(page, 'Released.');
  await page.getByRole('button', { name: 'Promote to beta: latest/edge' }).click();
  await has(page, 'Promoted.');
  await page.getByRole('button', { name: 'Close: latest/edge' }).click();
  await has(page, 'The channel is closed');
  expect('edge is still open', (await page.getByRole('button', { name: 'Close: latest/edge' }).count()) === 0);
  await page.getByRole('button', { name: 'Close: latest/beta' }).waitFor();
});
await check('the sub-store takes it in', async () => {
  await page.goto(`${brand}/stores/kiosk`);
  await page.getByLabel('Include a snap').fill('hello');
  await page.getByRole('button', { name: 'Include' }).click();
  await has(page, 'The store shows the snap now.');
  await page.getByRole('button', { name: 'Exclude: hello' }).waitFor();
});
await check('a refused release says what to do', async () => {
  await page.goto(`${brand}/snaps/hello`);
  await page.getByLabel('To the channels').fill('nowhere/edge');
  await page.getByRole('button', { name: 'Release', exact: true }).click();
  await has(page, 'the snap has no track nowhere');
  await readable(page, 'refusal');
  await page.screenshot({ path: join(SHOTS, 'refused-1280.png'), fullPage: true });
});
await check('the device list shows the simulated devices, and one of them', async () => {
  await page.goto(`${brand}/devices`);
  await page.getByRole('link', { name: 'Next page' }).click();
  await page.getByRole('link', { name: 'First page' }).click();
  await page.getByLabel('Serials that begin with').fill('QS0000');
  await page.getByRole('button', { name: 'Search' }).click();
  await page.getByRole('link', { name: 'QS00001' }).click();
  await page.getByRole('table', { name: 'Snaps on the device' }).waitFor();
  await page.getByRole('heading', { name: 'QS00001' }).waitFor();
});

// Somebody new with a role in the base store, in a window of their own.
async function hire(email, name, role) {
  await page.goto('/accounts');
  await page.getByLabel('E-mail address', { exact: true }).fill(email);
  await page.getByLabel('Name for people').fill(name);
  await page.getByRole('button', { name: 'Create account' }).click();
  const password = await page.getByLabel('First password').inputValue();
  await page.goto(`${brand}/stores/${base}/members`);
  await page.getByLabel('E-mail address', { exact: true }).fill(email);
  await main(page).getByLabel(role, { exact: true }).last().check();
  await page.getByRole('button', { name: 'Add member' }).click();
  await has(page, 'The member has these roles now.');
  const window = await open(browser);
  await signIn(window, email, password);
  await has(window, `Welcome, ${name}`);
  return window;
}

async function upload(window, file, channels) {
  await window.goto(`${brand}/upload`);
  await window.getByLabel('Snap file').setInputFiles(file);
  await window.getByLabel('Release to the channels').fill(channels);
  await window.getByRole('button', { name: 'Upload' }).click();
}

const operator = page;
const base = brand.split('/').at(-1);
const held = `${brand}/snaps/keeper/revisions/2`;
let publisher;
let reviewer;
let chief;
await check('a publisher uploads: what nothing stands against is there, what needs a grant waits', async () => {
  publisher = await hire('pat@acme.example', 'Pat Roe', 'publisher');
  await upload(publisher, `${KEEPER}_1.snap`, 'edge');
  await publisher.waitForURL('**/snaps/keeper?done=uploaded');
  await upload(publisher, `${KEEPER}_2.snap`, 'beta');
  await publisher.waitForURL(`**${held}?done=held`);
  await has(publisher, 'waits for a reviewer');
  expect('the publisher decides', (await publisher.getByRole('button', { name: 'Approve' }).count()) === 0);
});
await check('a reviewer finds it in the queue, with what differs from the revision before', async () => {
  reviewer = await hire('rae@acme.example', 'Rae Poe', 'reviewer');
  await reviewer.getByRole('link', { name: 'Review what publishers uploaded' }).click();
  await reviewer.getByRole('link', { name: 'keeper 2' }).click();
  await has(reviewer, 'Compared with revision 1');
  const diff = reviewer.getByRole('table', { name: 'Plugs and slots' });
  await diff.getByRole('row', { name: /plug snapd-control new/ }).waitFor();
  await diff.getByRole('row', { name: /plug camera gone/ }).waitFor();
  await diff.getByRole('row', { name: /plug network as before/ }).waitFor();
});
await check('the reviewer asks, the publisher answers', async () => {
  await reviewer.getByLabel('Comment').fill('Why does it <b>control</b> the device?');
  await reviewer.getByRole('button', { name: 'Ask for information' }).click();
  await has(reviewer, 'Your decision is recorded.');
  await publisher.reload();
  await has(publisher, 'Why does it <b>control</b> the device?');
  await publisher.getByLabel('Answer').fill('It keeps the machine up to date.');
  await publisher.getByRole('button', { name: 'Answer' }).click();
  await has(publisher, 'Your answer is with the reviewer.');
});
await check('a grant of much power waits for an administrator, who confirms it', async () => {
  await reviewer.goto(`${brand}/snaps/keeper/grants`);
  await reviewer.getByLabel('Interface').fill('snapd-control');
  await reviewer.getByLabel('What', { exact: true }).selectOption('installation');
  await reviewer.getByLabel('Why').fill('keeps the machine up to date');
  await reviewer.getByRole('button', { name: 'Grant', exact: true }).click();
  await has(reviewer, 'waits for a second person');
  chief = await hire('chris@acme.example', 'Chris Loe', 'administrator');
  await looksGood(reviewer, `${brand}/snaps/keeper/grants`, 'grants-waiting');
  await chief.goto(`${brand}/snaps/keeper/grants`);
  await chief.getByRole('button', { name: 'Confirm: snapd-control' }).click();
  // The sub-store shows nothing of it, so its devices are not meant; that is said first.
  await has(chief, 'name kiosk too if their devices need it');
  await chief.getByRole('link', { name: 'To the grants' }).click();
  await chief.getByRole('table', { name: 'Grants' }).getByRole('row', { name: /snapd-control/ }).waitFor();
});
await check('the queue and the revision are good to look at for the reviewer', async () => {
  await looksGood(reviewer, `${brand}/reviews`, 'reviews-reviewer');
  await looksGood(reviewer, held, 'review-waiting');
});
await check('the revision is approved, and released where its upload said', async () => {
  await reviewer.goto(held);
  await reviewer.getByRole('button', { name: 'Approve' }).click();
  await has(reviewer, 'Your decision is recorded.');
  expect('it can be decided again', (await reviewer.getByRole('button', { name: 'Reject' }).count()) === 0);
  await publisher.goto(`${brand}/snaps/keeper`);
  await publisher.getByRole('button', { name: 'Close: latest/beta' }).waitFor();
});
await check('it is released further by its publisher', async () => {
  await publisher.getByLabel('Revision', { exact: true }).selectOption('2');
  await publisher.getByLabel('To the channels').fill('stable');
  await publisher.getByRole('button', { name: 'Release', exact: true }).click();
  await has(publisher, 'Released.');
  await publisher.getByRole('button', { name: 'Close: latest/stable' }).waitFor();
});
await check('nobody else reviews, and what is forbidden is not there', async () => {
  for (const window of [publisher, chief]) {
    await window.goto(held);
    expect('somebody else decides', (await window.getByRole('button', { name: 'Run the checks again' }).count()) === 0);
  }
  for (const window of [publisher, reviewer, chief]) await window.context().close();
  current = operator;
});

await check('a model gets a new API key, and the hook with it', async () => {
  await page.goto(`${brand}/models`);
  await page.getByLabel('Model', { exact: true }).fill('browser-made');
  await page.getByRole('button', { name: 'Create model' }).click();
  const key = await page.getByLabel('API key', { exact: true }).inputValue();
  const hook = await page.locator('#hook').textContent();
  expect(hook, hook.includes(key) && hook.startsWith('#!/bin/sh'));
  await readable(page, 'new API key');
  await page.screenshot({ path: join(SHOTS, 'api-key-1280.png'), fullPage: true });
});
await check('a token is made and revoked', async () => {
  await page.goto('/account/tokens');
  await page.getByLabel('Description').fill('for the tests');
  await page.getByRole('button', { name: 'Create token' }).click();
  const token = await page.getByLabel('Token', { exact: true }).inputValue();
  expect('no token', /^hmk_[0-9A-Za-z]{46}$/.test(token));
  await page.goto('/account/tokens');
  await page.getByRole('button', { name: /Revoke: for the tests/ }).click();
  await has(page, 'The token is revoked');
});

const pages = {
  start: '/start', account: '/account', tokens: '/account/tokens', accounts: '/accounts', brand, stores: `${brand}/stores`,
  store: `${brand}/stores/kiosk`, 'base-store': `${brand}/stores/${brand.split('/').at(-1)}`,
  members: `${brand}/stores/kiosk/members`, snaps: `${brand}/snaps`, snap: `${brand}/snaps/hello`,
  revisions: `${brand}/snaps/hello/revisions`, revision: `${brand}/snaps/keeper/revisions/2`,
  reviews: `${brand}/reviews?status=all`, grants: `${brand}/snaps/keeper/grants`, upload: `${brand}/upload`, models: `${brand}/models`,
  model: `${brand}/models/browser-made`, keys: `${brand}/keys`, devices: `${brand}/devices`, serials: `${brand}/serials`,
  audit: `${brand}/audit`, 'refused-absent': `${brand}/nothing`,
};
const first = await page.goto(`${brand}/devices`).then(() => page.getByRole('link', { name: /^QS/ }).first().getAttribute('href'));
pages.device = first;
for (const [name, path] of Object.entries(pages)) {
  await check(`${name}: good to look at at 1280 and 360, light and dark, and to read`, () => looksGood(page, path, name));
}

await check('whoever was added administers the sub-store and nothing of the operator', async () => {
  const jo = await open(browser);
  await signIn(jo, 'jo@acme.example', invited);
  await has(jo, 'Welcome, Jo Doe');
  expect('accounts are shown', (await jo.getByRole('link', { name: 'Accounts' }).count()) === 0);
  const answer = await jo.goto('/accounts');
  expect(`accounts answer ${answer.status()}`, answer.status() === 404);
  await jo.context().close();
});
await check('without a script everything is there: sign in, upload, watch it, sign out', async () => {
  const plain = await open(browser, { javaScriptEnabled: false });
  await signIn(plain, EMAIL, PASSWORD);
  await has(plain, 'Welcome');
  await plain.goto(`${brand}/upload`);
  const watch = await plain.getByRole('link', { name: 'watch how far it is' }).getAttribute('href');
  await plain.getByLabel('Snap file').setInputFiles(SNAP);
  await plain.getByLabel('Release to the channels').fill('candidate');
  await plain.getByRole('button', { name: 'Upload' }).click();
  await has(plain, 'These files are this revision already');
  await has(plain, 'latest/candidate');
  await plain.goto(watch);
  await has(plain, 'Done: revision 1 of hello');
  await plain.getByRole('button', { name: 'Sign out' }).click();
  await plain.getByRole('button', { name: 'Sign in' }).waitFor();
  await plain.goto('/start');
  expect(plain.url(), plain.url().startsWith(`${SERVER}/login`));
  await plain.context().close();
});
await check('the browser had nothing to complain about', async () => {
  expect(said.join('\n'), said.length === 0);
});

await browser.close();
console.log(`web: ${passed} passed, ${failed} failed`);
process.exit(failed === 0 && passed > 0 ? 0 : 1);
