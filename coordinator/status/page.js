'use strict';
// Everything that comes from the coordinator is put in as text, never as HTML: names of jobs and
// errors may hold anything.

const PHASES = ['load', 'calibrate', 'initialize', 'search', 'reform', 'evaluate', 'export'];
const SILENCE_MS = 15000;  // the coordinator says something every 5 s
const RETRY_MS = 3000;
const DETAIL_DISTANCE_MS = 1000;
const SVG = 'http://www.w3.org/2000/svg';

const byId = (id) => document.getElementById(id);
const state = {
  status: null,       // the newest of /api/v1/status
  ahead: 0,           // of this machine's clock: the coordinator's, in ms
  heard: Date.now(),  // when the coordinator was last heard of
  lost: false,
  tried: 0,           // when it was last dialled
  job: null,          // the newest of /api/v1/jobs/ID
  row: '',            // that job's row when it was fetched
  fetched: 0,
  fetching: false,
};

// ---- Small things ----

function make(tag, options = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(options)) {
    if (value !== undefined && value !== null) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child !== null));
  return node;
}

function draw(tag, options = {}, text = null) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(options)) node.setAttribute(name, value);
  if (text !== null) node.textContent = text;
  return node;
}

const now = () => Date.now() + state.ahead;  // as the coordinator's clock has it
const count = (value) => Number(value).toLocaleString('en');
const plural = (value, unit) => `${count(value)} ${unit}${value === 1 ? '' : 's'}`;
const clock = (ms) => new Date(ms).toLocaleTimeString([], {hour12: false});

function figure(value, digits = 4) {
  if (value === null || value === undefined) return '–';
  return value >= 10 ** digits ? count(Math.round(value)) : value.toPrecision(digits);
}

function duration(seconds) {
  const s = Math.max(0, Math.round(seconds));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${s % 60} s`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${Math.floor(s % 3600 / 60)} min`;
  return `${Math.floor(s / 86400)} d ${Math.floor(s % 86400 / 3600)} h`;
}

function bytes(value) {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let i = 0;
  while (value >= 1024 && i + 1 < units.length) { value /= 1024; ++i; }
  return `${value >= 10 || i === 0 ? Math.round(value) : value.toFixed(1)} ${units[i]}`;
}

const pill = (text) => make('span', {class: 'pill', 'data-state': text}, text);

function bar(share, label) {
  const percent = Math.round(1000 * Math.min(1, Math.max(0, share))) / 10;
  const fill = make('div');
  fill.style.width = `${percent}%`;
  return make('div', {class: 'bar', role: 'progressbar', 'aria-label': label, 'aria-valuemin': 0,
                      'aria-valuemax': 100, 'aria-valuenow': percent}, fill);
}

const share = (progress) => progress.total > 0 ? progress.done / progress.total : 0;
const isFinal = (job) => job.finished_unix_ms !== null;

// ---- The list of jobs ----

function chosenId() {
  const jobs = state.status.jobs;
  const wanted = location.hash.slice(1);
  if (jobs.some((job) => job.id === wanted)) return wanted;
  const open = jobs.find((job) => !isFinal(job));
  return open ? open.id : jobs.length > 0 ? jobs[jobs.length - 1].id : null;
}

function jobCard(job, chosen) {
  const progress = job.progress;
  const best = progress.best_perplexity === null ? '' : `best ${figure(progress.best_perplexity)}`;
  const where = isFinal(job) ? duration((job.finished_unix_ms - job.created_unix_ms) / 1000)
                             : progress.waiting_for ? `waits for ${progress.waiting_for}`
                                                    : progress.phase;
  const card = make('button', {class: 'card', type: 'button', 'aria-current': chosen},
      make('div', {class: 'row'}, make('span', {class: 'name grow'}, job.name), pill(job.state)),
      isFinal(job) ? null : bar(share(progress), `${job.id}, ${progress.phase}`),
      make('div', {class: 'row quiet number'}, make('span', {class: 'grow'}, `${job.id} · ${where}`),
           best));
  card.addEventListener('click', () => { location.hash = job.id; });
  return card;
}

function showJobs() {
  const {jobs, jobs_total: total} = state.status;
  const cards = jobs.slice().reverse().map((job) => jobCard(job, job.id === chosenId()));
  if (cards.length === 0) {
    cards.push(make('p', {class: 'card quiet'}, 'No job yet. Submit one: ',
                    make('code', {}, 'espalier submit job.yaml')));
  }
  if (total > jobs.length) {
    cards.push(make('p', {class: 'quiet'}, `and ${count(total - jobs.length)} older ones`));
  }
  const focused = [...byId('jobs').children].indexOf(document.activeElement);
  byId('jobs').replaceChildren(...cards);
  if (focused >= 0 && focused < cards.length) cards[focused].focus();
}

// ---- One job ----

function phaseList(job) {
  const at = PHASES.indexOf(job.progress.phase);
  const mark = (i) => job.state === 'succeeded' || i < at ? 'done'
      : i === at && job.state === 'running' ? 'now' : 'todo';
  return make('ol', {class: 'phases'},
              ...PHASES.map((phase, i) => make('li', {'data-at': mark(i)}, phase)));
}

function progressLine(progress) {
  const parts = [];
  if (progress.total > 0) {
    parts.push(`${count(progress.done)} of ${count(progress.total)} ${progress.unit}`);
  }
  if (progress.sizes > 1) parts.push(`size ${progress.size} of ${progress.sizes}`);
  if (progress.phase === 'search') parts.push(`generation ${progress.generation}`);
  if (progress.units_per_second !== null) parts.push(`${figure(progress.units_per_second, 3)} a second`);
  if (progress.eta_seconds !== null) parts.push(`${duration(progress.eta_seconds)} left in this phase`);
  return make('div', {class: 'quiet number'}, parts.join(' · '));
}

function figures(job) {
  const end = isFinal(job) ? job.finished_unix_ms : now();
  const entries = [
    ['best perplexity, search text', figure(job.progress.best_perplexity)],
    ['its share of parameters', figure(job.progress.ratio)],
    ['share asked for', job.target_ratios.map((ratio) => String(ratio)).join(', ')],
    [isFinal(job) ? 'time taken' : 'time so far', duration((end - job.created_unix_ms) / 1000)],
  ];
  return make('div', {class: 'figures'},
              ...entries.map(([name, value]) => make('div', {}, make('b', {}, value), name)));
}

function resultTable(result) {
  const row = (name, m) => make('tr', {}, make('td', {}, name),
      ...[count(m.parameters), figure(m.ratio), figure(m.perplexity), figure(m.search_perplexity),
          figure(m.tokens_per_second, 3)].map((text) => make('td', {class: 'number'}, text)));
  const names = ['', 'parameters', 'share', result.held_out ? 'perplexity' : 'perplexity (not held out)',
                 'on the search text', 'tokens/s'];
  return make('div', {class: 'scroll'}, make('table', {},
      make('tr', {}, ...names.map((name, i) => make('th', {class: i > 0 ? 'number' : null}, name))),
      ...['dense', 'initial', 'searched', 'reformed'].map((name) => row(name, result[name]))));
}

// Of a job with several sizes: what each of them came to.
function sizesTable(results) {
  const row = (name, m, initial) => make('tr', {}, make('td', {}, name),
      ...[count(m.parameters), figure(m.ratio), initial, figure(m.perplexity),
          figure(m.tokens_per_second, 3)].map((text) => make('td', {class: 'number'}, text)));
  const names = ['', 'parameters', 'share', 'initial', results[0].held_out ? 'perplexity'
      : 'perplexity (not held out)', 'tokens/s'];
  return make('div', {class: 'scroll'}, make('table', {},
      make('tr', {}, ...names.map((name, i) => make('th', {class: i > 0 ? 'number' : null}, name))),
      row('dense', results[0].dense, ''),
      ...results.map((result) => row(result.output.split('/').pop(), result.reformed,
                                     figure(result.initial.perplexity)))));
}

function messageList(messages) {
  return make('ol', {class: 'log'}, ...messages.slice().reverse().map((message) =>
      make('li', {}, make('time', {}, clock(message.unix_ms)), make('span', {}, message.text))));
}

function showJob() {
  const node = byId('job');
  const id = chosenId();
  const row = state.status.jobs.find((job) => job.id === id);
  node.hidden = !row;
  if (!row) return;
  const detail = state.job && state.job.id === id ? state.job : null;
  const old = node.querySelector('.log');
  const scrolled = old ? old.scrollTop : 0;
  const parts = [
    make('div', {class: 'row'}, make('span', {class: 'title grow'}, row.name), pill(row.state)),
    make('div', {class: 'quiet'}, `${row.id} · ${row.model} → ${row.output}`),
    phaseList(row),
  ];
  if (!isFinal(row)) parts.push(bar(share(row.progress), 'this phase'), progressLine(row.progress));
  if (row.progress.waiting_for) {
    parts.push(make('div', {class: 'waiting'}, `Waits for ${row.progress.waiting_for}.`));
  }
  if (row.error) parts.push(make('p', {class: 'error'}, row.error));
  parts.push(figures(row));
  const results = detail ? detail.results : [];
  if (results.length > 0 && row.progress.sizes === 1) {
    parts.push(make('h3', {}, 'Result'), resultTable(results[0]));
  }
  const sizes = make('figure', {class: 'curve'});
  if (row.progress.sizes > 1 && results.length > 0) {
    parts.push(make('h3', {}, 'Results'), sizesTable(results), sizes);
  }
  const curve = make('figure', {class: 'curve'});
  const drawn = detail && detail.history.best_perplexity.length > 1;
  if (drawn) parts.push(make('h3', {}, 'Best perplexity by candidates scored'), curve);
  if (detail && detail.messages.length > 0) {
    parts.push(make('h3', {}, 'Messages'), messageList(detail.messages));
  }
  node.replaceChildren(...parts);
  const log = node.querySelector('.log');
  if (log) log.scrollTop = scrolled;
  if (drawn) drawCurve(curve, detail.history);
  if (sizes.isConnected) drawSizes(sizes, results);
}

// ---- The curve ----

function niceStep(range, most) {
  const rough = range / most;
  const power = 10 ** Math.floor(Math.log10(rough));
  return power * [1, 2, 5, 10].find((factor) => factor * power >= rough);
}

function ticks(low, high, most, least = 0) {
  const step = Math.max(least, niceStep(high - low, most));
  const values = [];
  for (let i = Math.ceil(low / step); i * step <= high * (1 + 1e-12); ++i) values.push(i * step);
  return values;
}

// Scales of a picture: candidates to the right, perplexity upwards (as logarithm if it spans much).
function scales(history, width, height) {
  const left = 52, right = 14, top = 10, bottom = 34;
  const ys = history.best_perplexity;
  let low = Math.min(...ys), high = Math.max(...ys);
  const pad = (high - low || high * 0.01) * 0.06;
  low = Math.max(low - pad, low * 0.9);
  high += pad;
  const log = high / low > 8;
  const f = log ? Math.log : (v) => v;
  const xMax = Math.max(1, history.candidates[history.candidates.length - 1]);
  return {
    left, right: width - right, top, bottom: height - bottom, low, high, xMax,
    x: (v) => left + (width - left - right) * v / xMax,
    y: (v) => top + (height - top - bottom) * (1 - (f(v) - f(low)) / (f(high) - f(low))),
  };
}

function axes(svg, scale) {
  for (const v of ticks(scale.low, scale.high, 5)) {
    const y = scale.y(v);
    svg.append(draw('line', {class: 'grid', x1: scale.left, x2: scale.right, y1: y, y2: y}),
               draw('text', {x: scale.left - 8, y: y + 4, 'text-anchor': 'end'},
                    String(Number(v.toPrecision(5)))));
  }
  for (const v of ticks(0, scale.xMax, Math.max(2, (scale.right - scale.left) / 90), 1)) {
    svg.append(draw('text', {x: scale.x(v), y: scale.bottom + 18, 'text-anchor': 'middle'}, count(v)));
  }
}

function drawCurve(figureNode, history) {
  const width = Math.max(240, figureNode.clientWidth), height = width < 480 ? 190 : 250;
  const scale = scales(history, width, height);
  const svg = draw('svg', {viewBox: `0 0 ${width} ${height}`, height, role: 'img',
                           'aria-label': 'Best perplexity by candidates scored'});
  axes(svg, scale);
  const n = history.candidates.length;
  let path = '';
  for (let i = 0; i < n; ++i) {
    const x = scale.x(history.candidates[i]), y = scale.y(history.best_perplexity[i]);
    path += i === 0 ? `M${x} ${y}` : `H${x}V${y}`;
  }
  const start = scale.x(history.candidates[0]), end = scale.x(history.candidates[n - 1]);
  svg.append(draw('path', {class: 'area', d: `${path}V${scale.bottom}H${start}Z`}),
             draw('path', {class: 'line', d: path}),
             draw('circle', {class: 'dot', r: 3.5, cx: end,
                             cy: scale.y(history.best_perplexity[n - 1])}));
  const caption = make('figcaption', {class: 'number'});
  figureNode.replaceChildren(svg, caption);
  const read = (i) => `${figure(history.best_perplexity[i], 5)} after ` +
      `${plural(history.candidates[i], 'candidate')}, generation ${history.generation[i]}`;
  caption.textContent = read(n - 1);
  const cursor = draw('line', {class: 'cursor', y1: scale.top, y2: scale.bottom, visibility: 'hidden'});
  svg.append(cursor);
  svg.addEventListener('pointermove', (event) => {
    const at = (event.clientX - svg.getBoundingClientRect().left) * width / svg.clientWidth;
    let i = 0;
    while (i + 1 < n && scale.x(history.candidates[i + 1]) <= at) ++i;
    cursor.setAttribute('x1', scale.x(history.candidates[i]));
    cursor.setAttribute('x2', scale.x(history.candidates[i]));
    cursor.setAttribute('visibility', 'visible');
    caption.textContent = read(i);
  });
  svg.addEventListener('pointerleave', () => {
    cursor.setAttribute('visibility', 'hidden');
    caption.textContent = read(n - 1);
  });
}

// Perplexity by size, the dense model's among them.
function drawSizes(figureNode, results) {
  const points = [results[0].dense, ...results.map((result) => result.reformed)]
      .filter((m) => m.perplexity !== null).sort((a, b) => a.parameters - b.parameters);
  if (points.length < 2) return;
  const width = Math.max(240, figureNode.clientWidth), height = width < 480 ? 190 : 250;
  const scale = scales({best_perplexity: points.map((m) => m.perplexity),
                        candidates: points.map((m) => m.parameters)}, width, height);
  const svg = draw('svg', {viewBox: `0 0 ${width} ${height}`, height, role: 'img',
                           'aria-label': 'Perplexity by parameters'});
  axes(svg, scale);
  const path = points.map((m) => `${scale.x(m.parameters)} ${scale.y(m.perplexity)}`).join('L');
  svg.append(draw('path', {class: 'line', d: `M${path}`}),
             ...points.map((m) => draw('circle', {class: 'dot', r: 3.5, cx: scale.x(m.parameters),
                                                  cy: scale.y(m.perplexity)})));
  figureNode.replaceChildren(svg, make('figcaption', {}, 'Perplexity by parameters'));
}

// ---- Workers ----

function workerCard(worker) {
  const machine = [worker.stages > 1 ? `stage ${worker.stage + 1} of ${worker.stages}` : '',
                   worker.device, worker.device_name, plural(worker.threads, 'thread'),
                   worker.memory_bytes > 0 ? bytes(worker.memory_bytes) : ''];
  return make('div', {class: 'card'},
      make('div', {class: 'row'}, make('span', {class: 'name grow'}, worker.name),
           make('span', {class: 'quiet'}, worker.id)),
      make('div', {}, worker.draining ? `draining: ${worker.activity || 'idle'}`
                                      : worker.activity || 'idle'), bar(worker.progress, worker.name),
      make('div', {class: 'quiet number'},
           `${plural(worker.tasks_done, 'task')} done · ${machine.filter((part) => part).join(', ')}`));
}

function showWorkers() {
  const cards = state.status.workers.map(workerCard);
  if (cards.length === 0) {
    cards.push(make('p', {class: 'card quiet'}, 'None attached. Start one: ',
                    make('code', {}, 'espalier-worker --coordinator HOST:PORT')));
  }
  byId('workers').replaceChildren(...cards);
}

// ---- Life ----

function showConnection() {
  const status = state.status;
  const word = state.lost ? 'lost' : !status ? 'connecting' : status.ready ? 'live'
      : status.trouble ? 'stuck' : 'ending';
  const node = byId('connection');
  node.dataset.state = word;
  node.textContent = word === 'lost' ? 'connection lost' : word === 'ending' ? 'shutting down' : word;
  byId('trouble').hidden = word !== 'stuck';
  byId('trouble').textContent = word === 'stuck' ? `Nothing goes on until this can be stored: ${status.trouble}` : '';
  byId('lost').hidden = !state.lost;
  byId('lost-since').textContent = clock(state.heard);
  document.querySelector('main').classList.toggle('stale', state.lost);
  if (status) {
    byId('about').textContent =
        `${status.version} · up ${duration((now() - status.started_unix_ms) / 1000)}`;
  }
}

function show() {
  showConnection();
  if (!state.status) return;
  showJobs();
  showJob();
  showWorkers();
}

async function fetchJob() {
  if (!state.status || state.fetching || Date.now() - state.fetched < DETAIL_DISTANCE_MS) return;
  const row = state.status.jobs.find((job) => job.id === chosenId());
  if (!row || (JSON.stringify(row) === state.row && state.job)) return;
  state.fetching = true;
  state.fetched = Date.now();
  try {
    const answer = await fetch(`/api/v1/jobs/${encodeURIComponent(row.id)}`);
    if (answer.ok) {
      state.job = await answer.json();
      state.row = JSON.stringify(row);
      show();
    }
  } catch (error) {
    // The stream notices as well, and says so.
  } finally {
    state.fetching = false;
  }
}

function heard() {
  state.heard = Date.now();
  state.lost = false;
}

let source = null;

function connect() {
  if (source) source.close();
  state.tried = Date.now();
  source = new EventSource('/api/v1/events');
  source.addEventListener('status', (event) => {
    heard();
    state.status = JSON.parse(event.data);
    const {started_unix_ms: start, uptime_seconds: up} = state.status;
    state.ahead = start + up * 1000 - Date.now();
    show();
    fetchJob();
  });
  source.addEventListener('ping', () => { heard(); showConnection(); });
  source.addEventListener('error', () => { state.lost = true; showConnection(); });
}

// A browser tries again by itself after a broken connection, but neither after a refusal nor when
// the other side fell silent.
function look() {
  if (Date.now() - state.heard > SILENCE_MS || source.readyState === EventSource.CLOSED) {
    state.lost = true;
    if (Date.now() - state.tried > RETRY_MS) connect();
  }
  showConnection();
  fetchJob();
}

window.addEventListener('hashchange', () => { state.fetched = 0; state.row = ''; show(); fetchJob(); });
window.addEventListener('resize', () => show());
connect();
setInterval(look, 1000);
