// Node's http2: `node http2.mjs BASE "" FILE`: one session in the clear, its first requests at once.
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import http2 from 'node:http2'

const [base, , file] = process.argv.slice(2)
// Node refuses its own streams once ten megabytes wait in a session, and one body here is as long.
const session = http2.connect(base, { maxSessionMemory: 100 })
const sha256 = (bytes) => createHash('sha256').update(bytes).digest('hex')
const body = readFileSync(file)

function ask(method, path, content, fields = {}) {
  return new Promise((resolve, reject) => {
    const own = { ':method': method, ':path': path, authorization: 'Bearer the-clients-own' }
    const stream = session.request({ ...own, ...fields }, { endStream: content === undefined })
    const parts = []
    let head
    stream.on('response', (headers) => { head = headers })
    stream.on('data', (part) => parts.push(part))
    stream.on('error', reject)
    stream.on('end', () => resolve({ head, content: Buffer.concat(parts) }))
    if (content !== undefined) stream.end(content)
  })
}

const [echo, chunked, upload, download] = await Promise.all([
  ask('GET', '/v1/echo?a=%2Fb%20c&d=1+2', undefined, { te: 'trailers' }),
  ask('POST', '/v1/digest', body.subarray(0, 300_000)),
  ask('POST', '/v1/digest', body, { 'content-length': body.length }),
  ask('GET', '/files/big'),
])
const nothing = await ask('DELETE', '/v1/nothing')
const packed = await ask('GET', '/v1/gzip', undefined, { 'accept-encoding': 'gzip' })
const head = await ask('HEAD', '/files/big')
session.close()
console.log(JSON.stringify({
  echo: JSON.parse(echo.content),
  chunked: JSON.parse(chunked.content),
  upload: JSON.parse(upload.content),
  download: sha256(download.content),
  nothing: [nothing.head[':status'], nothing.content.length],
  gzip: [packed.head['content-encoding'], sha256(packed.content)],
  head: [head.head[':status'], head.head['content-length'], head.content.length],
}))
