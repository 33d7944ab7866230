// How an SDK client tells what happened to it: a JSON object a step on standard
// output, and everything that it received in the file that SDK_DUMP names.
import { writeFileSync } from 'node:fs';

export class Report {
  #client;
  #failed = false;
  #lines = [];
  #received = [];

  constructor(client) {
    this.#client = client;
    this.fetch = this.fetch.bind(this);
  }

  // The text that the client asks in a step; it differs between clients and
  // steps, and so does its answer.
  prompt(step) {
    return `${this.#client} asks in step ${step}`;
  }

  print(step) {
    this.#failed ||= !step.ok;
    const line = JSON.stringify({ client: this.#client, ...step });
    this.#lines.push(line);
    process.stdout.write(line + '\n');
  }

  #status() {
    return this.#received.at(-1)?.status ?? 0;
  }

  // Runs a step that should succeed and give a text.
  async done(step, run) {
    const line = { step, ok: false };
    if (['chat', 'stream', 'responses', 'responses-stream'].includes(step)) line.prompt = this.prompt(step);
    try {
      line.text = await run();
      line.ok = true;
    } catch (err) {
      line.error = String(err);
    }
    line.status = this.#status();
    this.print(line);
  }

  // Runs a step that should be refused with a status.
  async expect(step, want, run) {
    const line = { step, ok: false };
    try {
      await run();
    } catch (err) {
      line.error = String(err);
      line.ok = err.status === want;
    }
    line.status = this.#status();
    this.print(line);
  }

  // The SDKs' fetch: the platform's, with a copy kept of every answer.
  async fetch(url, init) {
    const response = await fetch(url, init);
    this.#received.push({
      heading: `${init?.method ?? 'GET'} ${url}`,
      status: response.status,
      headers: [...response.headers],
      body: response.clone().arrayBuffer().catch((err) => Buffer.from(String(err))),
    });
    return response;
  }

  // Writes plain text, not JSON: no escaping shall hide a key from a search.
  async exit() {
    const out = [Buffer.from(`== arguments\n${process.argv.join('\n')}\n== environment\n`)];
    for (const [name, value] of Object.entries(process.env)) out.push(Buffer.from(`${name}=${value}\n`));
    for (const r of this.#received) {
      out.push(Buffer.from(`== ${r.heading}\n${r.status}\n${r.headers.map(([k, v]) => `${k}: ${v}\n`).join('')}\n`));
      out.push(Buffer.from(await r.body), Buffer.from('\n'));
    }
    out.push(Buffer.from(`== steps\n${this.#lines.join('\n')}\n`));
    writeFileSync(process.env.SDK_DUMP, Buffer.concat(out), { mode: 0o600 });
    process.exitCode = this.#failed ? 1 : 0;
  }
}
