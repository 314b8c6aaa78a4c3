// Runs models in onnxruntime-node, or in onnxruntime-web's WebAssembly within node:
//
//     node run_model.mjs PACKAGE INPUT DIM,DIM... MODEL OUTPUT [MODEL OUTPUT]...
//
// INPUT holds the float32 values of the only input, of the shape DIM,DIM...; each OUTPUT gets
// those of all outputs, one behind the other.
import { readFile, writeFile } from "node:fs/promises";

const [packageName, source, dims, ...paths] = process.argv.slice(2);
const ort = await import(packageName);
const values = new Float32Array((await readFile(source)).buffer);
const input = new ort.Tensor("float32", values, dims.split(",").map(Number));

for (let i = 0; i < paths.length; i += 2) {
  const session = await ort.InferenceSession.create(paths[i]);
  const results = await session.run({ [session.inputNames[0]]: input });
  const outputs = session.outputNames.map((name) => new Uint8Array(results[name].data.slice().buffer));
  await writeFile(paths[i + 1], Buffer.concat(outputs));
}
