addEventListener("fetch", (event) => event.respondWith(answer(event.request)));
async function answer(request) {
  const path = new URL(request.url).pathname;
  const text = await request.text();
  console.error(request.method, path, text);
  if (request.method === "POST" && path === "/echo") return new Response(text);
  return new Response("POST to /echo\n");
}
