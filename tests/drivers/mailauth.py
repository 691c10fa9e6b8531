"""mailauth, a verifier of DKIM in JavaScript: installed from npm when a test first needs it, in its own process."""

import base64
import json
import shutil
import subprocess
from collections.abc import Mapping, Sequence

import pytest

from infra.local.fetching import installing, is_installed, locked, run
from infra.local.layout import PROJECT_ROOT
from infra.local.problems import SetupProblem

VERSION = "4.9.5"
PLACE = PROJECT_ROOT / ".local" / "mailauth"
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


def install() -> None:
    """Install mailauth unless it is there; skips the test if node, npm or the registry is missing."""
    missing = [name for name in ("node", "npm") if shutil.which(name) is None]
    if missing:
        pytest.skip(f"mailauth needs {' and '.join(missing)}: apt-get install nodejs npm")
    with locked(PLACE.with_suffix(".lock")):
        if is_installed(PLACE, VERSION):
            return
        try:
            with installing(PLACE, VERSION) as new:
                command = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--no-package-lock"]
                command += ["--prefix", str(new), f"mailauth@{VERSION}"]
                run(
                    command,
                    log=PLACE.with_suffix(".log"),
                    failure="npm could not install mailauth",
                    marks=("npm error",),
                )
        except SetupProblem as problem:
            pytest.skip(str(problem))


def verdicts(mails: Sequence[bytes], records: Mapping[str, str]) -> list[list[tuple[str, str, str]]]:
    """For each mail, the algorithm, the selector and the result of each signature; `records` are TXT by name."""
    install()
    asked = {"records": dict(records), "mails": [base64.b64encode(mail).decode() for mail in mails]}
    done = subprocess.run(
        ["node", "-e", PROGRAM, str(PLACE)],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return [[(algorithm, selector, result) for algorithm, selector, result in mail] for mail in json.loads(done.stdout)]
