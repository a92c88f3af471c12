// By hand: a real Prometheus scrapes the example `metrics`; its page passes promtool, and every expression of the dashboard and of the
// alerts in docs/observability.md is answered. Needs prometheus and promtool (Debian: apt-get install prometheus).
//
//     cargo build --example metrics --features metrics,otel && node azurite-tests/prometheus.cjs
'use strict';

const { execFileSync, spawn } = require('node:child_process');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');

const [PAGE, PROMETHEUS] = ['127.0.0.1:39464', '127.0.0.1:39490'];
const root = path.join(__dirname, '..');
const pause = (seconds) => new Promise((done) => setTimeout(done, 1000 * seconds));

/** The expressions of the dashboard, and those of the document. */
function expressions() {
    const dashboard = JSON.parse(fs.readFileSync(path.join(root, 'docs/grafana-dashboard.json'), 'utf8'));
    const panels = dashboard.panels.flatMap((panel) => panel.targets.map((target) => [panel.title, target.expr]));
    const document = fs.readFileSync(path.join(root, 'docs/observability.md'), 'utf8');
    const alerts = [...document.split('### Alerts')[1].matchAll(/^\| ([^|]+) \| `(.+)` \|$/gm)].map(([, what, expr]) => [what, expr]);
    return [...panels, ...alerts].map(([what, expr]) => [what, expr.replaceAll('$hub', '.*').replaceAll('$__rate_interval', '15s')]);
}

async function asked(expr) {
    const response = await fetch(`http://${PROMETHEUS}/api/v1/query?query=${encodeURIComponent(expr)}`);
    const answer = await response.json();
    if (answer.status !== 'success') throw new Error(`${expr}: ${answer.error}`);
    return answer.data.result;
}

async function until(what, holds) {
    for (let tries = 0; tries < 60; tries += 1) {
        if (await holds().catch(() => false)) return;
        await pause(0.5);
    }
    throw new Error(`not in 30 seconds: ${what}`);
}

async function main() {
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'taskhub-prometheus-'));
    const config = path.join(folder, 'prometheus.yml');
    fs.writeFileSync(config, JSON.stringify({ scrape_configs: [{ job_name: 'taskhub', scrape_interval: '1s', static_configs: [{ targets: [PAGE] }] }] }));
    execFileSync('promtool', ['check', 'config', config]);
    const started = [
        spawn(path.join(root, 'target/debug/examples/metrics'), ['--address', PAGE, '--seconds', '60'], { stdio: 'inherit' }),
        spawn('prometheus', [`--config.file=${config}`, `--storage.tsdb.path=${folder}/data`, `--web.listen-address=${PROMETHEUS}`, '--log.level=error'], { stdio: 'inherit' }),
    ];
    try {
        await until('a scrape', async () => (await asked('up == 1')).length === 1);
        await pause(20);
        const page = await (await fetch(`http://${PAGE}/metrics`)).text();
        execFileSync('promtool', ['check', 'metrics'], { input: page, stdio: ['pipe', 'inherit', 'inherit'] });
        let answered = 0;
        for (const [what, expr] of expressions()) {
            const series = await asked(expr);
            answered += series.length > 0 ? 1 : 0;
            console.log(`${String(series.length).padStart(3)} series  ${what}: ${expr}`);
        }
        const [turns] = await asked('sum(rate(taskhub_turns_total{outcome="committed"}[15s]))');
        if (!(Number(turns.value[1]) > 1) || answered < 20) throw new Error('Prometheus has too little of what the example does');
        console.log(`${Number(turns.value[1]).toFixed(1)} turns a second, by Prometheus; ${answered} expressions have series`);
    } finally {
        started.forEach((child) => child.kill());
        await pause(1);
        fs.rmSync(folder, { recursive: true });
    }
}

main().catch((error) => {
    console.error(`error: ${error.message}`);
    process.exitCode = 1;
});
