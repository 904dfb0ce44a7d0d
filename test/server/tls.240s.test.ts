// TLS, and clients that need a certificate. `openssl` makes the certificates.
import { execFileSync, spawnSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { Agent, request } from "node:https";
import { join } from "node:path";
import { connect } from "node:tls";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { createServer } from "@millrace/server";
import { rejectsWith, temporaryDirectory, testIf } from "../support.ts";
import { openMill, recordsIn } from "./support.ts";

const hasOpenssl = spawnSync("openssl", ["version"]).status === 0;
if (!hasOpenssl) console.log("skipped: there is no openssl to make certificates with");

interface Certificates {
  readonly path: (name: string) => string;
}

/** An authority, and certificates of it for a server and a client. */
function certificates(): Certificates {
  const directory = temporaryDirectory();
  const path = (name: string): string => join(directory, name);
  const openssl = (...parameters: string[]): void => void execFileSync("openssl", parameters, { stdio: "pipe" });
  const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
  for (const authority of ["ca", "other"]) {
    openssl(
      "req",
      "-x509",
      ...key,
      "-keyout",
      path(`${authority}.key`),
      "-out",
      path(`${authority}.pem`),
      "-subj",
      `/CN=${authority}`,
      "-days",
      "2",
    );
  }
  writeFileSync(path("names"), "subjectAltName=DNS:localhost,IP:127.0.0.1\n");
  for (const [name, authority] of [
    ["server", "ca"],
    ["client", "ca"],
    ["stranger", "other"],
  ] as const) {
    openssl("req", ...key, "-keyout", path(`${name}.key`), "-out", path(`${name}.csr`), "-subj", `/CN=${name}`);
    const by = ["-CA", path(`${authority}.pem`), "-CAkey", path(`${authority}.key`), "-CAcreateserial"];
    openssl(
      "x509",
      "-req",
      "-in",
      path(`${name}.csr`),
      ...by,
      "-out",
      path(`${name}.pem`),
      "-days",
      "2",
      "-extfile",
      path("names"),
    );
  }
  return { path };
}

/** The status of a publish, or the code of the error that ended the connection. */
function publish(port: number, { path }: Certificates, client: string | undefined): Promise<number | string> {
  return new Promise((resolve) => {
    const own =
      client === undefined
        ? {}
        : { cert: readFileSync(path(`${client}.pem`)), key: readFileSync(path(`${client}.key`)) };
    const agent = new Agent({ ca: readFileSync(path("ca.pem")), ...own });
    const headers = { "content-type": "application/json" };
    const sent = request(
      `https://localhost:${port}/v1/records/settle`,
      { method: "POST", agent, headers, family: 4 },
      (response) => {
        response.resume().once("end", () => {
          agent.destroy();
          resolve(response.statusCode as number);
        });
      },
    );
    sent.once("error", (error: NodeJS.ErrnoException) => resolve(error.code ?? "closed"));
    sent.end("1");
  });
}

const tlsTest = testIf(hasOpenssl);

tlsTest("with TLS records come over HTTPS and framed, and not in clear", async () => {
  const made = certificates();
  const tls = { cert: made.path("server.pem"), key: made.path("server.key") };
  const mill = await openMill();
  const server = await createServer(mill, { tls, framePort: 0 });
  assert.is(await publish(server.port, made, undefined), 202);
  const answer = await new Promise<string>((resolve) => {
    const socket = connect({
      port: server.framePort as number,
      host: "localhost",
      ca: readFileSync(made.path("ca.pem")),
    });
    let text = "";
    socket.on("data", (chunk) => (text += String(chunk)));
    socket.on("close", () => resolve(text));
    socket.end('{"handler":"settle","payload":1}\n');
  });
  assert.is((JSON.parse(answer) as { duplicate: boolean }).duplicate, false);
  await fetch(`http://127.0.0.1:${server.port}/v1/records/settle`, { method: "POST", body: "1" }).then(
    () => assert.unreachable(),
    () => {},
  );
  assert.is(await recordsIn(mill), 2);
  await server.close();
  await mill.close();
});

tlsTest("with an authority only clients with its certificate are let in, also from afar", async () => {
  const made = certificates();
  const tls = { cert: made.path("server.pem"), key: made.path("server.key"), ca: made.path("ca.pem") };
  const mill = await openMill();
  // No token is needed: the certificate says who it is.
  const server = await createServer(mill, { tls, host: "0.0.0.0", framePort: 0 });
  assert.is(await publish(server.port, made, "client"), 202);
  for (const client of [undefined, "stranger"]) assert.type(await publish(server.port, made, client), "string");
  assert.is(await recordsIn(mill), 1);
  await server.close();
  await mill.close();
});

test("TLS files that can't be used are told before anything listens", async () => {
  const mill = await openMill();
  await rejectsWith(createServer(mill, { tls: { cert: "/nowhere", key: "/nowhere" } }), "ERR_SERVER_LISTEN");
  const text = join(temporaryDirectory(), "text");
  writeFileSync(text, "no certificate");
  const error = await rejectsWith(createServer(mill, { tls: { cert: text, key: text } }), "ERR_SERVER_LISTEN");
  assert.match(error.message, text);
  await rejectsWith(createServer(mill, { tls: { cert: "c" } as never }), "ERR_INVALID_OPTION");
  await mill.close();
});

test.run();
