// The page: a photo, a mixture of four styles, and what the worker makes of both.

// More pixels than this are not decoded: a browser takes four bytes for each.
const MOST_PIXELS = 2e8;
// No pastiche has more, whatever its shape: WebAssembly has 4 GB at most.
const MOST_COMPUTED = 2 ** 21;
// While the handle is dragged, where a pastiche takes longer than that (in seconds), a draft of this size is computed.
const PATIENCE = 0.4, DRAFT = 160;
const FIRST = ['stained-glass', 'golden-spirals', 'ink-wash', 'lily-pond'];

const $ = (id) => document.getElementById(id);
const pasticheCanvas = $('pastiche'), photoCanvas = $('photo');
const pure = document.createElement('canvas'); // the pastiche without the photo that strength blends in

let names = [], corners = [], x = 0, y = 0, dragging = false;
let source = null; // {blob, name}, the photo as it was given
let loads = 0;
let prepared = false, worker = null, device = '', seconds = 0;
let asked = 0, oldest = 0, busy = false, again = false; // numbers of requests; those before `oldest` are of another photo

// Styles --------------------------------------------------------------------------------------------------

const spoken = (style) => names[style].replaceAll('-', ' ');
const nearest = () => (y > 0.5 ? 2 : 0) + (x > 0.5 ? 1 : 0);

// {style: weight}, bilinear in the place of the handle.
function mixture() {
  const weights = new Map();
  [(1 - x) * (1 - y), x * (1 - y), (1 - x) * y, x * y].forEach((weight, corner) => {
    if (weight > 0) weights.set(corners[corner], (weights.get(corners[corner]) ?? 0) + weight);
  });
  return new Map([...weights].sort((a, b) => b[1] - a[1]));
}

function showMixture() {
  const handle = $('handle');
  const text = [...mixture()].filter(([, weight]) => weight >= 0.005)
    .map(([style, weight]) => `${Math.round(100 * weight)} % ${spoken(style)}`).join(', ');
  handle.style.setProperty('--x', `${100 * x}%`);
  handle.style.setProperty('--y', `${100 * y}%`);
  handle.setAttribute('aria-valuenow', Math.round(100 * x));
  handle.setAttribute('aria-valuetext', text);
  $('mixture').textContent = text;
  $('pad').querySelectorAll('img').forEach((image, corner) => {
    const file = `styles/${names[corners[corner]]}.webp`;
    if (image.getAttribute('src') !== file) image.src = file;
  });
  $('styles').querySelectorAll('input').forEach((input, style) => { input.checked = style === corners[nearest()]; });
}

function moveHandle(toX, toY) {
  const within = (value) => Math.min(1, Math.max(0, Math.round(100 * value) / 100));
  if (within(toX) === x && within(toY) === y) return;
  [x, y] = [within(toX), within(toY)];
  showMixture();
  request();
}

function chooseStyle(style) {
  const corner = nearest();
  corners[corner] = style;
  [x, y] = [corner % 2, corner >> 1];
  showMixture();
  request();
}

function buildStyles() {
  corners = FIRST.map((name, i) => (names.includes(name) ? names.indexOf(name) : i % names.length));
  names.forEach((name, style) => {
    const label = document.createElement('label'), input = document.createElement('input');
    const image = document.createElement('img'), text = document.createElement('span');
    Object.assign(input, { type: 'radio', name: 'style', value: name });
    Object.assign(image, { src: `styles/${name}.webp`, alt: '', width: 144, height: 144, decoding: 'async' });
    text.textContent = spoken(style);
    label.append(input, image, text);
    input.addEventListener('click', () => chooseStyle(style)); // also by arrow keys, and where it is chosen already
    $('styles').append(label);
  });
  showMixture();
}

// Photos --------------------------------------------------------------------------------------------------

// Width and height of a picture, upright, without decoding it.
async function sides(blob) {
  const image = new Image();
  image.src = URL.createObjectURL(blob);
  try {
    await new Promise((resolve, reject) => Object.assign(image, { onload: resolve, onerror: reject }));
    if (!image.naturalWidth || !image.naturalHeight) throw new Error('no size');
    return [image.naturalWidth, image.naturalHeight];
  } finally {
    URL.revokeObjectURL(image.src);
  }
}

// The pixels of a picture at a size, over white.
async function pixels(blob, [width, height], size) {
  const scale = Math.min(1, size / Math.min(width, height), Math.sqrt(MOST_COMPUTED / (width * height)));
  const [w, h] = [width, height].map((side) => Math.max(1, Math.round(side * scale)));
  const resized = scale < 1 ? { resizeWidth: w, resizeHeight: h, resizeQuality: 'high' } : {};
  const bitmap = await createImageBitmap(blob, resized);
  const canvas = document.createElement('canvas');
  Object.assign(canvas, { width: w, height: h });
  const context = canvas.getContext('2d', { willReadFrequently: true });
  context.fillStyle = '#fff';
  context.fillRect(0, 0, w, h);
  context.drawImage(bitmap, 0, 0, w, h);
  bitmap.close();
  return canvas;
}

function small(canvas) {
  const scale = Math.min(1, DRAFT / Math.min(canvas.width, canvas.height));
  const draft = document.createElement('canvas');
  [draft.width, draft.height] = [canvas.width, canvas.height].map((side) => Math.max(1, Math.round(side * scale)));
  const context = draft.getContext('2d', { willReadFrequently: true });
  context.imageSmoothingQuality = 'high';
  context.drawImage(canvas, 0, 0, draft.width, draft.height);
  return draft;
}

// Take a photo, or the same one at another size. What is shown stays if it cannot be read.
async function usePhoto(blob, name) {
  const load = ++loads;
  problem('');
  status('Reading the photo …');
  let canvas;
  try {
    const [width, height] = await sides(blob).catch(() => { throw new Error('unreadable'); });
    if (width * height > MOST_PIXELS) {
      throw new Error(`It has ${Math.round(width * height / 1e6)} megapixels, and this page takes up to ${MOST_PIXELS / 1e6}`);
    }
    canvas = await pixels(blob, [width, height], Number($('size').value)).catch(() => {
      const size = `${width} × ${height} pixels`;
      throw new Error(`This browser cannot decode it (${size}); it may be damaged, or too large for the memory`);
    });
  } catch (error) {
    if (load !== loads) return;
    problem(error.message === 'unreadable'
      ? `${name}: this browser cannot read it as a picture; JPEG, PNG, WebP and GIF are read, unless damaged or huge.`
      : `${name}: ${error.message}.`);
    status('');
    return;
  }
  if (load !== loads) return; // another one has been chosen since
  source = { blob, name };
  for (const shown of [photoCanvas, pasticheCanvas, pure]) Object.assign(shown, { width: canvas.width, height: canvas.height });
  photoCanvas.getContext('2d').drawImage(canvas, 0, 0);
  pure.getContext('2d').drawImage(canvas, 0, 0);
  photoCanvas.setAttribute('aria-label', `The photo: ${name}`);
  $('stage').style.setProperty('--ratio', Math.min(4, Math.max(0.4, canvas.width / canvas.height)));
  $('download').disabled = true;
  draw();
  oldest = asked + 1;
  sendPhoto();
  request();
}

function sendPhoto() {
  const data = (canvas) => {
    const { width, height } = canvas;
    return { width, height, data: canvas.getContext('2d').getImageData(0, 0, width, height).data };
  };
  worker?.postMessage({ photo: data(photoCanvas), draft: data(small(photoCanvas)) });
}

// Pastiches -----------------------------------------------------------------------------------------------

function startWorker() {
  worker = new Worker('worker.js', { type: 'module', name: 'stylize' });
  worker.onmessage = ({ data }) => receive(data);
  worker.onerror = (event) => { event.preventDefault(); receive({ failed: event.message || 'the worker does not start' }); };
  worker.postMessage({ device: new URLSearchParams(location.search).get('device') ?? 'any' });
  if (source) sendPhoto();
}

// Have the pastiche of what is chosen now computed; while one is under way, the last wish counts.
function request() {
  if (!source || !prepared) return;
  again = busy;
  if (busy) return;
  if (!worker) startWorker();
  const weights = new Float32Array(names.length);
  for (const [style, weight] of mixture()) weights[style] = weight;
  worker.postMessage({ id: ++asked, weights, draft: dragging && seconds > PATIENCE });
  busy = true;
  $('stage').classList.add('busy');
  if (device) status('Computing the pastiche …');
}

function receive(message) {
  if ('loaded' in message) {
    $('progress').hidden = false;
    $('progress').value = message.loaded / message.of;
    status(`Loading the network: ${(message.loaded / 1e6).toFixed(0)} of ${(message.of / 1e6).toFixed(0)} MB`, 'quietly');
  } else if ('ready' in message) {
    device = message.ready;
    $('progress').hidden = true;
    status('Computing the pastiche …');
  } else if ('failed' in message) {
    worker.terminate(); // it may have run out of memory; the next wish starts another
    worker = null;
    problem(device
      ? `The pastiche could not be computed (${message.failed}): choose a smaller size.`
      : `The network could not be loaded (${message.failed}): check the connection, then reload the page.`);
    finished('');
  } else {
    if (message.id >= oldest) show(message);
    finished();
    if (again || (message.draft && !dragging)) request();
  }
}

function finished(text) {
  busy = false;
  $('progress').hidden = true;
  $('stage').classList.remove('busy');
  if (text !== undefined) status(text);
}

function show({ data, width, height, seconds: took, draft }) {
  const result = new ImageData(data, width, height), context = pure.getContext('2d');
  if (draft) {
    const canvas = document.createElement('canvas');
    Object.assign(canvas, { width, height });
    canvas.getContext('2d').putImageData(result, 0, 0);
    context.drawImage(canvas, 0, 0, pure.width, pure.height);
  } else {
    context.putImageData(result, 0, 0);
    seconds = took;
    status(`${width} × ${height} pixels in ${took.toFixed(1)} s, on ${device}`);
    $('download').disabled = false;
  }
  pasticheCanvas.setAttribute('aria-label', `The pastiche: ${$('mixture').textContent}`);
  draw();
}

// The photo, and over it the pastiche, as opaque as it is strong.
function draw() {
  const context = pasticheCanvas.getContext('2d'), strength = $('strength').value / 100;
  context.globalAlpha = 1;
  context.drawImage(photoCanvas, 0, 0);
  context.globalAlpha = strength;
  context.drawImage(pure, 0, 0);
  $('strength-value').textContent = `${$('strength').value} %`;
}

async function download() {
  const blob = await new Promise((resolve) => pasticheCanvas.toBlob(resolve, 'image/png'));
  if (!blob) return problem('The browser could not make a PNG of the pastiche: choose a smaller size.');
  const link = document.createElement('a');
  const styles = [...mixture().keys()].map((style) => names[style]).join('+');
  link.href = URL.createObjectURL(blob);
  link.download = `${source.name.replace(/\.[^.]*$/, '')}_${styles}.png`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1e4);
}

// What is said ----------------------------------------------------------------------------------------------

function status(text, quietly) {
  $('status').setAttribute('aria-live', quietly ? 'off' : 'polite');
  $('status').textContent = text;
}

function problem(text) {
  $('problem').textContent = text;
}

// The webcam ------------------------------------------------------------------------------------------------

let stream = null;

async function openWebcam() {
  problem('');
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 1280 }, height: { ideal: 960 } } });
  } catch (error) {
    return problem(error.name === 'NotAllowedError'
      ? 'The webcam is not allowed to this page: allow it in the browser, beside the address.'
      : 'There is no webcam that this page could use.');
  }
  $('camera').showModal();
  $('video').srcObject = stream;
  await $('video').play();
}

function closeWebcam() {
  stream?.getTracks().forEach((track) => track.stop());
  stream = null;
  $('video').srcObject = null;
  if ($('camera').open) $('camera').close();
}

async function takePicture() {
  const video = $('video'), canvas = document.createElement('canvas');
  if (!video.videoWidth) return;
  Object.assign(canvas, { width: video.videoWidth, height: video.videoHeight });
  canvas.getContext('2d').drawImage(video, 0, 0);
  closeWebcam();
  await usePhoto(await new Promise((resolve) => canvas.toBlob(resolve, 'image/png')), 'webcam.png');
}

// Listening -------------------------------------------------------------------------------------------------

function useFiles(files, otherwise) {
  if (files.length) usePhoto(files[0], files[0].name);
  else if (otherwise) problem(otherwise);
}

function listenToPad() {
  const pad = $('pad'), handle = $('handle');
  const follow = (event) => {
    const box = pad.getBoundingClientRect();
    moveHandle((event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height);
  };
  pad.addEventListener('pointerdown', (event) => {
    if (event.button) return;
    event.preventDefault();
    pad.setPointerCapture(event.pointerId);
    handle.focus({ preventScroll: true });
    dragging = true;
    follow(event);
  });
  pad.addEventListener('pointermove', (event) => { if (dragging) follow(event); });
  const stop = () => {
    if (!dragging) return;
    dragging = false;
    request();
  };
  pad.addEventListener('pointerup', stop);
  pad.addEventListener('pointercancel', stop);
  handle.addEventListener('keydown', (event) => {
    const step = event.shiftKey ? 0.25 : 0.05;
    const [dx, dy] = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] }[event.key] ?? [];
    if (dx === undefined) return;
    event.preventDefault();
    moveHandle(x + dx, y + dy);
  });
}

function listen() {
  $('choose').addEventListener('click', () => $('file').click());
  $('file').addEventListener('change', () => { useFiles($('file').files); $('file').value = ''; });
  $('download').addEventListener('click', download);
  $('strength').addEventListener('input', draw);
  $('size').addEventListener('change', () => { if (source) usePhoto(source.blob, source.name); });
  $('split').addEventListener('input', () => $('stage').style.setProperty('--split', `${$('split').value}%`));
  $('webcam').addEventListener('click', openWebcam);
  $('take').addEventListener('click', takePicture);
  $('leave').addEventListener('click', closeWebcam);
  $('camera').addEventListener('close', closeWebcam);
  document.addEventListener('paste', (event) => useFiles(event.clipboardData.files));
  document.addEventListener('dragover', (event) => { event.preventDefault(); document.body.classList.add('dropping'); });
  document.addEventListener('dragleave', (event) => { if (!event.relatedTarget) document.body.classList.remove('dropping'); });
  document.addEventListener('drop', (event) => {
    event.preventDefault();
    document.body.classList.remove('dropping');
    useFiles(event.dataTransfer.files, 'What was dropped is no file: save the picture, then drop it here.');
  });
  listenToPad();
}

// The service worker has to answer for what is fetched from here on, so that all is there without a network next time.
async function underServiceWorker() {
  const { serviceWorker } = navigator;
  if (!serviceWorker) return;
  await serviceWorker.register('sw.js');
  if (!serviceWorker.controller) {
    await new Promise((resolve) => serviceWorker.addEventListener('controllerchange', resolve, { once: true }));
  }
}

async function main() {
  names = (await (await fetch('page.json')).json()).styles;
  buildStyles();
  listen();
  const late = new Promise((resolve) => setTimeout(resolve, 1e4));
  // A private window, or a browser that forbids it: the page works all the same, with a network.
  await Promise.race([underServiceWorker().catch(() => {}), late]);
  prepared = true;
  if (source) return request();
  const response = await fetch('pavilion.jpg');
  if (!loads) await usePhoto(await response.blob(), 'pavilion.jpg');
}

main().catch(() => {
  status('');
  problem('The page could not be loaded: check the connection, then reload it.');
});
