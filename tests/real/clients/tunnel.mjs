// `node tunnel.mjs URL`: asks once through HTTPS_PROXY, with an agent that opens tunnels, which is what
// the packages do; prints the status. NODE_EXTRA_CA_CERTS says whom to believe.
import http from "node:http";
import https from "node:https";
import tls from "node:tls";

const proxy = new URL(process.env.HTTPS_PROXY);

class TunnelAgent extends https.Agent {
  createConnection(options, done) {
    const target = `${options.host}:${options.port}`;
    const headers = { Host: target };
    if (proxy.username) {
      const pair = `${proxy.username}:${proxy.password}`;
      headers["Proxy-Authorization"] = `Basic ${Buffer.from(pair).toString("base64")}`;
    }
    const ask = http.request({ host: proxy.hostname, port: proxy.port, method: "CONNECT", path: target, headers });
    ask.on("connect", (answer, socket) => {
      if (answer.statusCode !== 200) {
        done(new Error(`CONNECT: ${answer.statusCode}`));
        return;
      }
      done(null, tls.connect({ ...options, socket, servername: options.host }));
    });
    ask.on("error", done);
    ask.end();
  }
}

https.get(process.argv[2], { agent: new TunnelAgent() }, (answer) => {
  console.log(answer.statusCode);
  answer.resume();
}).on("error", (error) => {
  console.error(error);
  process.exit(1);
});
