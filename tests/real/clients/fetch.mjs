// Node's fetch: `node fetch.mjs BASE "" FILE`. fetch itself decodes gzip, so what it shows is the
// decoded text; the bytes are looked at by request.mjs.
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { Readable } from 'node:stream'

const [base, , file] = process.argv.slice(2)
const body = readFileSync(file)
const sha256 = (bytes) => createHash('sha256').update(bytes).digest('hex')
const headers = { authorization: 'Bearer the-clients-own' }
const bytes = async (answer) => Buffer.from(await answer.arrayBuffer())

const echo = await (await fetch(`${base}/v1/echo?a=%2Fb%20c&d=1+2`, { headers })).json()
const pieces = Readable.toWeb(Readable.from([body.subarray(0, 70_000), body.subarray(70_000, 300_000)]))
const chunked = await (
  await fetch(`${base}/v1/digest`, { method: 'POST', headers, body: pieces, duplex: 'half' })
).json()
const upload = await (await fetch(`${base}/v1/digest`, { method: 'POST', headers, body })).json()
const download = await bytes(await fetch(`${base}/files/big`, { headers }))
const nothing = await fetch(`${base}/v1/nothing`, { method: 'DELETE', headers })
const nothingBytes = await bytes(nothing)
const packed = await fetch(`${base}/v1/gzip`, { headers })
const unpacked = await bytes(packed)
const head = await fetch(`${base}/files/big`, { method: 'HEAD', headers })
const headBytes = await bytes(head)
console.log(JSON.stringify({
  echo,
  chunked,
  upload,
  download: sha256(download),
  nothing: [nothing.status, nothingBytes.length],
  unpacked: [packed.headers.get('content-encoding'), sha256(unpacked)],
  head: [head.status, head.headers.get('content-length'), headBytes.length],
}))
