// The service worker: after the first visit the page works without a network.
//
// files.js, which the build writes, names the files of the page and its version; a new version is fetched as a whole.
// ONNX Runtime's binaries, of which a browser needs one, are kept from when they are first needed.
importScripts('files.js');

const PAGE = `page-${VERSION}`, RUNTIME = `runtime-${RUNTIME_VERSION}`;
const INDEX = new URL('./', self.registration.scope).href;

self.addEventListener('install', (event) => {
  const requests = FILES.map((file) => new Request(file, { cache: 'no-cache' }));
  event.waitUntil(caches.open(PAGE).then((cache) => cache.addAll(requests)).then(() => self.skipWaiting()));
});

self.addEventListener('activate', (event) => {
  event.waitUntil((async () => {
    for (const name of await caches.keys()) if (name !== PAGE && name !== RUNTIME) await caches.delete(name);
    await self.clients.claim();
  })());
});

self.addEventListener('fetch', (event) => {
  if (event.request.method === 'GET' && event.request.url.startsWith(INDEX)) event.respondWith(answer(event));
});

async function answer(event) {
  const { request } = event;
  const url = request.url.split(/[?#]/)[0];
  const kept = await caches.match(url === INDEX ? 'index.html' : url);
  if (kept) return secured(kept);
  const response = await fetch(request);
  if (response.ok && url.endsWith('.wasm')) {
    const copy = response.clone();
    event.waitUntil(caches.open(RUNTIME).then((cache) => cache.put(url, copy)));
  }
  return secured(response);
}

// The headers that threads need, and the page's policy for its workers too, also where the server does not send them.
function secured(response) {
  if (!response.ok || response.redirected) return response;
  const headers = new Headers(response.headers);
  for (const [name, value] of Object.entries(HEADERS)) headers.set(name, value);
  return new Response(response.body, { status: response.status, statusText: response.statusText, headers });
}
