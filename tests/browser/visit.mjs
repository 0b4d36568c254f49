// Opens a URL as a person would, in Debian's Chromium: logs in, reads the consent page, allows, and follows the redirect.
//
//   visit.mjs URL        (a BROWSER command: an MCP client calls it with its authorization URL)
//
// VISIT holds a JSON object, or an array of them: the first for the first visit that VISIT_LOG tells of, and so on.
// Every member may be left out:
//   user, password    who logs in
//   client            the name of the client that the consent page must show, beside the host of its redirect
//   scopes            scopes the consent page must name, and withheld: scopes it must not
//   texts             what must be said on the last page before the browser leaves, beside that
//   then              where the client's own redirect leads on to, which the browser must reach
//   end               "allow" (the default), "deny", or "error" where a page must say what is wrong
//   keyboard          true: no mouse, Tab and Enter alone
//   state             a file that keeps cookies from one visit to the next
//   pages             which pages are expected: ["login", "consent"] by default
//   name, out         screenshots are <out>/<name>-<page>-<look>.png
//   audit             false: no screenshots in every look and no accessibility check (a client's tenth visit)
//   insecure          true: TLS certificates are not checked
//
// VISIT_CHROMIUM is a flag for Chromium. Prints one line of JSON: where the browser was sent, which pages it saw and what was wrong, and fails when anything was.

import { appendFileSync, existsSync, mkdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';

const require = createRequire(join(process.env.LUMOAUTH_TEST_NODE, 'package.json'));
const { chromium } = require('playwright-core');

const url = process.argv[2];
const earlier = process.env.VISIT_LOG && existsSync(process.env.VISIT_LOG) ? readFileSync(process.env.VISIT_LOG, 'utf8').split('\n').length - 1 : 0;
const asked = JSON.parse(process.env.VISIT ?? '{}');
if (Array.isArray(asked) && earlier >= asked.length) throw new Error('a visit more than was expected');
const want = {
    end: 'allow', pages: ['login', 'consent'], name: 'visit', out: '.', scopes: [], withheld: [], texts: [], audit: true,
    ...(Array.isArray(asked) ? asked[earlier] : asked),
};
const LIMIT = 20_000;
const seen = { pages: [], wrong: [], sent: undefined };
const wrong = text => seen.wrong.push(text);
const own = new URL(url).origin;
// Where the browser is sent in the end.
const redirect = new URL(url).searchParams.get('redirect_uri');
const atRedirect = target => Boolean(redirect) && target.startsWith(redirect);

const LOOKS = [
    { look: 'light', colorScheme: 'light', width: 1000 },
    { look: 'dark', colorScheme: 'dark', width: 1000 },
    { look: 'phone', colorScheme: 'light', width: 360 },
];

// Asserts on the page as it is, whatever it is.
async function audit(page, kind) {
    if (!want.audit) return;
    mkdirSync(want.out, { recursive: true });
    for (const { look, colorScheme, width } of LOOKS) {
        await page.emulateMedia({ colorScheme });
        await page.setViewportSize({ width, height: 800 });
        await page.screenshot({ path: join(want.out, `${want.name}-${kind}-${look}.png`), fullPage: true });
        const overflow = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
        if (overflow > 0) wrong(`${kind}: ${overflow} px wider than a screen of ${width}`);
        // `axe.run` through the debugger: the page's policy allows no script, and none of the page's runs.
        await page.evaluate(readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8'));
        const { violations } = await page.evaluate(() => axe.run(document, { resultTypes: ['violations'] }));
        for (const { id, help, nodes } of violations) wrong(`${kind} (${look}): ${id}: ${help}: ${nodes[0].html}`);
    }
    await page.setViewportSize({ width: LOOKS[0].width, height: 800 });
    const page_ = await page.evaluate(() => ({
        lang: document.documentElement.lang, title: document.title, scripts: document.scripts.length,
        headings: document.querySelectorAll('h1').length,
    }));
    if (!page_.lang || !page_.title || page_.headings !== 1) wrong(`${kind}: no lang, title or single h1: ${JSON.stringify(page_)}`);
    if (page_.scripts) wrong(`${kind}: has scripts`);
}

// A form that leads elsewhere must not be sent: form-action names the AS and this client's redirect only. In a page of
// its own, because a driver waits for what a form was to load.
async function foreignForm(context, kind) {
    const page = await context.newPage();
    await page.goto(url, { timeout: LIMIT });
    const blocked = await page.evaluate(() => new Promise(resolve => {
        document.addEventListener('securitypolicyviolation', event => resolve(event.effectiveDirective), { once: true });
        const form = document.createElement('form');
        form.method = 'post';
        form.action = 'https://elsewhere.example/';
        document.body.append(form);
        form.submit();
        setTimeout(() => resolve('nothing'), 2000);
    }));
    if (blocked !== 'form-action') wrong(`${kind}: a form to another site is blocked by ${blocked}`);
    await page.close();
}

// Moves the focus to an element as a keyboard does, and fails when Tab never gets there.
async function focus(page, locator) {
    for (let presses = 0; presses < 40; presses++) {
        if (await locator.evaluate(element => element === document.activeElement)) return;
        await page.keyboard.press('Tab');
    }
    throw new Error('Tab does not lead there');
}

async function fill(page, locator, text) {
    if (!want.keyboard) return locator.fill(text);
    await focus(page, locator);
    await page.keyboard.type(text);
}

async function press(page, locator) {
    if (!want.keyboard) return locator.click({ noWaitAfter: true });
    await focus(page, locator);
    await page.keyboard.press('Enter');
}

// After a while. No reason for the process to stay.
const late = () => new Promise(done => { setTimeout(done, LIMIT).unref(); });

function says(text, part, kind) {
    if (!text.includes(part)) wrong(`${kind}: does not say ${JSON.stringify(part)}`);
}

const roles = page => ({
    name: page.getByRole('textbox', { name: /user ?name|^name/i }),
    password: page.getByLabel(/password/i),
    login: page.getByRole('button', { name: /log in|sign in/i }),
    allow: page.getByRole('button', { name: /^allow/i }),
    deny: page.getByRole('button', { name: /^(deny|cancel|do not allow)/i }),
});

// Some pages only go on to another.
const settled = page => page.waitForFunction(() => !document.querySelector('meta[http-equiv=refresh]'), undefined, { timeout: LIMIT });

async function kindOf(page) {
    const { allow, password } = roles(page);
    if (await allow.count()) return 'consent';
    return (await password.count()) ? 'login' : 'error';
}

async function visit(page, left) {
    await page.goto(url, { waitUntil: 'load', timeout: LIMIT }).catch(error => {
        // An authorization that needs no page is a redirect at once.
        if (!seen.sent) throw error;
    });
    if (!want.pages.length && want.end !== 'error') await Promise.race([left, late()]);
    for (const expected of want.end === 'error' ? [...want.pages, 'error'] : want.pages) {
        if (seen.sent) return wrong(`sent to ${seen.sent} before the ${expected} page`);
        const kind = await kindOf(page);
        seen.pages.push(kind);
        const text = await page.locator('body').innerText();
        if (kind !== expected) return wrong(`${kind} page instead of ${expected}: ${text.slice(0, 500)}`);
        const { name, password, login, allow, deny } = roles(page);
        await audit(page, kind);
        if (kind === 'login') {
            await fill(page, name, want.user);
            await fill(page, password, want.password);
            const loaded = page.waitForEvent('load', { timeout: LIMIT }).catch(() => {});
            await press(page, login);
            await Promise.race([loaded.then(() => settled(page)), left]);
        } else if (kind === 'consent') {
            if (want.client) says(text, want.client, kind);
            if (/^https?:/.test(redirect)) says(text, new URL(redirect).hostname, kind);
            for (const scope of want.scopes) says(text, scope, kind);
            for (const scope of want.withheld) if (text.includes(scope)) wrong(`consent: shows ${scope}`);
            for (const part of want.texts) says(text, part, kind);
            if (want.audit) await foreignForm(page.context(), kind);
            await press(page, want.end === 'deny' ? deny : allow);
            await Promise.race([left, late()]);
            if (want.then) await page.waitForURL(want.then, { timeout: LIMIT });
        } else {
            for (const part of want.texts) says(text, part, kind);
        }
    }
    if (want.end !== 'error' && !seen.sent) wrong('was not sent back to the client');
    if (want.end === 'error' && seen.sent) wrong(`was sent to ${seen.sent}`);
}

const browser = await chromium.launch({
    executablePath: '/usr/bin/chromium',
    timeout: LIMIT,
    args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
        '--disable-component-update', '--disable-sync', ...(process.env.VISIT_CHROMIUM ? [process.env.VISIT_CHROMIUM] : [])],
});
try {
    const context = await browser.newContext({
        ignoreHTTPSErrors: Boolean(want.insecure),
        storageState: want.state && existsSync(want.state) ? want.state : undefined,
    });
    context.setDefaultTimeout(LIMIT);
    const page = await context.newPage();
    // Where the browser is sent. To a scheme of another application it sends no request, but the debugger tells that it
    // would: so the page's policy let it.
    const debug = await context.newCDPSession(page);
    await debug.send('Network.enable');
    await debug.send('Page.enable');
    let leave;
    const left = new Promise(done => { leave = done; });
    const sent = target => {
        if (atRedirect(target) && !seen.sent) {
            seen.sent = target;
            leave();
        }
    };
    debug.on('Network.requestWillBeSent', ({ request }) => {
        sent(request.url);
        if (!seen.sent && !request.url.startsWith(`${own}/`)) wrong(`asked for ${request.url}`);
    });
    page.on('console', message => {
        // What foreignForm provokes is what it looks for, and a page about an error has the status of one.
        const text = message.text();
        const expected = text.includes('elsewhere.example') || (want.end === 'error' && text.includes('status of 4'));
        if (message.type() === 'error' && !expected && !seen.sent) wrong(`console: ${text}`);
    });
    page.on('pageerror', error => wrong(`page error: ${error}`));
    await visit(page, left);
    if (want.state) await context.storageState({ path: want.state });
} catch (error) {
    wrong(String(error));
} finally {
    await browser.close();
}
const line = JSON.stringify({ event: 'visit', url, ...seen });
if (process.env.VISIT_LOG) appendFileSync(process.env.VISIT_LOG, `${line}\n`);
console.log(line);
process.exitCode = seen.wrong.length ? 1 : 0;
