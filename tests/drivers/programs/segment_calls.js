// Makes the calls that standard input lists with Segment's SDK for Node, and prints what it reports of them.
const { readFileSync } = require('fs');
const { setTimeout: pause } = require('timers/promises');
const { modules, key, host, calls, every_ms: everyMs, settings } = JSON.parse(readFileSync(0, 'utf8'));
const { Analytics } = require(modules + '/node_modules/@segment/analytics-node');

async function main() {
    const analytics = new Analytics({ writeKey: key, host, flushInterval: 200, ...settings });
    const delivered = [], failed = [];
    for (const [name, fields] of calls) {
        analytics[name](fields, (error, context) => (error ? failed : delivered).push(context.event.messageId));
        if (everyMs) await pause(everyMs);
    }
    await analytics.closeAndFlush({ timeout: 120_000 });
    process.stdout.write(JSON.stringify({ delivered, failed }));
}

main().catch(error => { console.error(error); process.exit(1); });
