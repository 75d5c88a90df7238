// `node tls.mjs URL CERTIFICATE KEY`: asks once at a door that speaks TLS; prints the status.
// NODE_EXTRA_CA_CERTS says whom to believe.
import { readFileSync } from "node:fs";
import https from "node:https";

const [url, certificate, key] = process.argv.slice(2);
https.get(url, { cert: readFileSync(certificate), key: readFileSync(key) }, (answer) => {
  console.log(answer.statusCode);
  answer.resume();
}).on("error", (error) => {
  console.error(error);
  process.exit(1);
});
