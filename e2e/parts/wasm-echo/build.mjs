// Makes a component of echo.js. The engine in it knows WASI 0.2.10, of which no package has all interfaces: those of
// 0.2.12 are the same.
import { componentize } from "@bytecodealliance/componentize-js";
import { mkdir, readFile, readdir, writeFile } from "node:fs/promises";

const interfaces = "node_modules/@bytecodealliance/jco/lib/wit/builtin/0.2.12";
for (const name of await readdir(interfaces)) {
  const text = await readFile(`${interfaces}/${name}/package.wit`, "utf8");
  await mkdir(`wit/deps/${name}`, { recursive: true });
  await writeFile(`wit/deps/${name}/package.wit`, text.replaceAll("0.2.12", "0.2.10"));
}
await writeFile("wit/world.wit", "package local:echo;\nworld echo { include wasi:http/proxy@0.2.10; }\n");
const { component } = await componentize({ sourcePath: "echo.js", witPath: "wit", worldName: "echo" });
await writeFile("echo.wasm", component);
