// Node's http.request: `node request.mjs BASE PROXY FILE`; with a proxy the target is absolute.
import { createHash } from 'node:crypto'
import { createReadStream, readFileSync, statSync } from 'node:fs'
import http from 'node:http'

const [base, proxy, file] = process.argv.slice(2)
const door = new URL(proxy ? `http://${proxy}` : base)
const agent = new http.Agent({ keepAlive: true, maxSockets: 1 })
const sha256 = (bytes) => createHash('sha256').update(bytes).digest('hex')

function ask(method, path, write = (request) => request.end(), fields = {}) {
  return new Promise((resolve, reject) => {
    const request = http.request({
      agent,
      host: door.hostname,
      port: door.port,
      method,
      path: proxy ? base + path : path,
      headers: { host: new URL(base).host, authorization: 'Bearer the-clients-own', ...fields },
    })
    request.on('error', reject)
    request.on('response', (answer) => {
      const parts = []
      answer.on('data', (part) => parts.push(part))
      answer.on('error', reject)
      answer.on('end', () => resolve({ answer, content: Buffer.concat(parts) }))
    })
    write(request)
  })
}

const body = readFileSync(file)
const echo = await ask('GET', '/v1/echo?a=%2Fb%20c&d=1+2', undefined, {
  'proxy-authorization': 'Basic the-clients-own',
  'proxy-connection': 'keep-alive',
})
const chunked = await ask('POST', '/v1/digest', (request) => {
  request.write(body.subarray(0, 70_000))
  request.end(body.subarray(70_000, 300_000))
})
const upload = await ask('POST', '/v1/digest', (request) => createReadStream(file).pipe(request), {
  'content-length': statSync(file).size,
})
const download = await ask('GET', '/files/big')
const nothing = await ask('DELETE', '/v1/nothing')
const packed = await ask('GET', '/v1/gzip', undefined, { 'accept-encoding': 'gzip' })
const head = await ask('HEAD', '/files/big')
agent.destroy()
console.log(JSON.stringify({
  echo: JSON.parse(echo.content),
  chunked: JSON.parse(chunked.content),
  upload: JSON.parse(upload.content),
  download: sha256(download.content),
  nothing: [nothing.answer.statusCode, nothing.content.length],
  gzip: [packed.answer.headers['content-encoding'], sha256(packed.content)],
  head: [head.answer.statusCode, head.answer.headers['content-length'], head.content.length],
}))
