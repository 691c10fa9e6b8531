"""mailauth, a verifier of DKIM in JavaScript: installed from npm when a test first needs it, in its own process."""

import base64
import json
import subprocess
from collections.abc import Mapping, Sequence

from drivers.npm_packages import npm_package

VERSION = "4.9.5"
PROGRAM = """
const { dkimVerify } = require(process.argv[1] + '/node_modules/mailauth/lib/dkim/verify');
const { records, mails } = JSON.parse(require('fs').readFileSync(0, 'utf8'));
const resolver = async (name, type) => {
    if (type === 'TXT' && name in records) return [[records[name]]];
    throw Object.assign(new Error('none'), { code: 'ENOTFOUND' });
};
(async () => {
    const found = [];
    for (const mail of mails) {
        const { results } = await dkimVerify(Buffer.from(mail, 'base64'), { resolver, minBitLength: 1024 });
        found.push(results.map(result => [result.algo, result.selector, result.status.result]));
    }
    process.stdout.write(JSON.stringify(found));
})();
"""


def verdicts(mails: Sequence[bytes], records: Mapping[str, str]) -> list[list[tuple[str, str, str]]]:
    """For each mail, the algorithm, the selector and the result of each signature; `records` are TXT by name."""
    place = npm_package("mailauth", VERSION)
    asked = {"records": dict(records), "mails": [base64.b64encode(mail).decode() for mail in mails]}
    done = subprocess.run(
        ["node", "-e", PROGRAM, str(place)],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return [[(algorithm, selector, result) for algorithm, selector, result in mail] for mail in json.loads(done.stdout)]
