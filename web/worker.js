// Computes pastiches, so that the page stays responsive: photo and weights of the styles in, pastiche out.
//
// In, first of all {device: 'any', 'gpu' or 'processor'}; {photo, draft}, each {data, width, height}, RGBA, of the photo
// and of a small one; {id, weights, draft: whether of the small one}.
// Out: {loaded, of}, in bytes; {ready: what computes}; {id, draft, data, width, height, seconds}; {failed: why}.

// Sides are mirrored to multiples of what the network's two strides of 2 divide by, and to what its padding needs.
const MULTIPLE = 4, SMALLEST = 16;
const RUNTIMES = {
  webgpu: ['./ort.webgpu.bundle.min.mjs', './ort-wasm-simd-threaded.asyncify.wasm'],
  wasm: ['./ort.wasm.bundle.min.mjs', './ort-wasm-simd-threaded.wasm'],
};

let photos, ready;

self.onmessage = async ({ data: message }) => {
  try {
    if (message.device) ready = start(message.device);
    else if (message.photo) photos = message;
    else await stylize(message);
  } catch (error) {
    postMessage({ failed: String(error?.message ?? error) });
  }
};

// Whether there is a GPU, and not a program that imitates one, unless the visitor insists.
async function hasGpu(device) {
  if (device === 'processor' || !navigator.gpu) return false;
  const adapter = await navigator.gpu.requestAdapter().catch(() => null);
  return Boolean(adapter) && (device === 'gpu' || !(adapter.info?.isFallbackAdapter ?? adapter.isFallbackAdapter));
}

async function start(device) {
  const provider = await hasGpu(device) ? 'webgpu' : 'wasm';
  const [library, binary] = RUNTIMES[provider];
  const { sizes } = await (await fetch('./page.json')).json();
  const fetchShown = progressOf([binary, './network.onnx'], sizes);
  const [ort, wasm, model] = await Promise.all([import(library), fetchShown(binary), fetchShown('./network.onnx')]);
  ort.env.wasm.wasmBinary = wasm;
  ort.env.wasm.numThreads = self.crossOriginIsolated ? Math.min(8, navigator.hardwareConcurrency || 1) : 1;
  ort.env.logLevel = 'error';
  const create = (name) => ort.InferenceSession.create(model.slice(0), { executionProviders: [name] });
  let used = provider;
  let session = await create(provider).catch((error) => {
    if (provider === 'wasm') throw error;
    used = 'wasm';
    return create('wasm');
  });
  const threads = ort.env.wasm.numThreads;
  postMessage({ ready: used === 'webgpu' ? 'the GPU' : threads > 1 ? `${threads} threads` : 'one thread' });
  return { ort, session };
}

// A fetch that tells the page how much of all these files has come.
function progressOf(urls, sizes) {
  const of = urls.reduce((sum, url) => sum + sizes[url.slice(2)], 0);
  let loaded = 0;
  return async (url) => {
    const response = await fetch(url);
    if (!response.ok) throw new Error(`${url.slice(2)}: ${response.status}`);
    const parts = [], reader = response.body.getReader();
    for (let part; !(part = await reader.read()).done;) {
      parts.push(part.value);
      postMessage({ loaded: loaded += part.value.length, of });
    }
    return new Blob(parts).arrayBuffer();
  };
}

// Where each pixel of an extended side comes from: the edge is repeated, and what is mirrored too where that is not enough.
function mirrored(side) {
  const length = Math.max(SMALLEST, Math.ceil(side / MULTIPLE) * MULTIPLE);
  return Int32Array.from({ length }, (_, i) => Math.min(i % (2 * side), 2 * side - 1 - i % (2 * side)));
}

async function stylize({ id, weights, draft }) {
  const { ort, session } = await ready;
  const begin = performance.now();
  const { data, width, height } = draft ? photos.draft : photos.photo;
  const columns = mirrored(width), rows = mirrored(height), plane = columns.length * rows.length;
  const image = new Float32Array(3 * plane);
  for (let y = 0, i = 0; y < rows.length; y++) {
    for (let x = 0; x < columns.length; x++, i++) {
      const from = 4 * (rows[y] * width + columns[x]);
      for (let c = 0; c < 3; c++) image[c * plane + i] = data[from + c] / 255;
    }
  }
  const { pastiche } = await session.run({
    image: new ort.Tensor('float32', image, [1, 3, rows.length, columns.length]),
    style: new ort.Tensor('float32', weights, [1, weights.length]),
  });
  const values = await pastiche.getData();
  const bytes = new Uint8ClampedArray(4 * width * height).fill(255);
  for (let y = 0, to = 0; y < height; y++) {
    for (let x = 0; x < width; x++, to += 4) {
      for (let c = 0; c < 3; c++) bytes[to + c] = 255 * values[c * plane + y * columns.length + x];
    }
  }
  pastiche.dispose();
  if (!values.every(Number.isFinite)) throw new Error('it holds numbers that are not finite');
  postMessage({ id, draft, data: bytes, width, height, seconds: (performance.now() - begin) / 1000 }, [bytes.buffer]);
}
