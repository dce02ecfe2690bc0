// A trustless IPFS gateway on loopback for the tests: a real Helia node that keeps its blocks in a folder and has no
// network, behind the paths that https://specs.ipfs.tech/http-gateways/trustless-gateway/ describes.
//
//   node gateway.mjs --blocks FOLDER
//
// Once it answers, one line of JSON goes to stdout: {"url": URL}. It ends on SIGTERM, SIGINT, and when stdin closes: so
// also when the process that started it was killed. Besides GET and HEAD of /ipfs/CID[/path] it takes content:
//
//   POST /file?version=1&chunk=262144&links=174&layout=balanced|trickle   the bytes of a file -> {"cid"}
//   POST /folder?version=1&shard=BYTES   {"folder/name": base64, ...}; sharded from so many bytes on -> {"cid"}
//   PUT  /block/CID   the bytes of one block, unchecked

import { once } from 'node:events'
import { createServer } from 'node:http'
import { Readable } from 'node:stream'
import { buffer, json } from 'node:stream/consumers'
import { parseArgs } from 'node:util'
import { unixfs } from '@helia/unixfs'
import { createVerifiedFetchWithHelia } from '@helia/verified-fetch'
import { FsBlockstore } from 'blockstore-fs'
import { createHeliaLight } from 'helia'
import { fixedSize } from 'ipfs-unixfs-importer/chunker'
import { balanced, trickle } from 'ipfs-unixfs-importer/layout'
import { CID } from 'multiformats/cid'

const CONDITIONAL = ['accept', 'range', 'if-none-match']

const { values: options } = parseArgs({ options: { blocks: { type: 'string' } } })
if (!options.blocks) throw new Error('--blocks FOLDER is missing')

const helia = await createHeliaLight({ blockstore: new FsBlockstore(options.blocks) }).start()
const files = unixfs(helia)
const verifiedFetch = await createVerifiedFetchWithHelia(helia)

/** How content is cut into blocks: version 0 as Kubo did for years, version 1 with raw leaves. */
function importOptions(query) {
  const layout = query.get('layout') === 'trickle' ? trickle : balanced
  const old = query.get('version') === '0'
  return {
    cidVersion: old ? 0 : 1,
    rawLeaves: !old,
    reduceSingleLeafToSelf: true,
    chunker: fixedSize({ chunkSize: Number(query.get('chunk') ?? 262144) }),
    layout: layout({ maxChildrenPerNode: Number(query.get('links') ?? 174) }),
    shardSplitThresholdBytes: Number(query.get('shard') ?? 262144),
  }
}

async function lastCid(results) {
  let found
  for await (const { cid } of results) found = cid
  return found
}

async function take(request, url) {
  const settings = importOptions(url.searchParams)
  if (url.pathname === '/file') return { cid: String(await files.addByteStream(request, settings)) }
  if (url.pathname === '/folder') {
    const entries = Object.entries(await json(request))
    const candidates = entries.map(([path, content]) => ({ path, content: Buffer.from(content, 'base64') }))
    return { cid: String(await lastCid(files.addAll(candidates, { ...settings, wrapWithDirectory: true }))) }
  }
  const cid = CID.parse(url.pathname.replace('/block/', ''))
  await helia.blockstore.put(cid, new Uint8Array(await buffer(request)))
  return { cid: String(cid) }
}

/** Verified-fetch takes the order of a CAR from Accept alone; gateways take it from the query as well. */
function acceptOf(request, query) {
  const order = `order=${query.get('car-order') ?? 'dfs'}; dups=${query.get('car-dups') ?? 'n'}`
  const known = { raw: 'application/vnd.ipld.raw', car: `application/vnd.ipld.car; version=1; ${order}` }
  return known[query.get('format')] ?? request.headers.accept
}

async function answer(request, response, url) {
  const [, root, rest] = url.pathname.match(/^\/ipfs\/([^/]+)(.*)$/) ?? []
  // A node without network says 500 of what it does not have, a gateway 404.
  if (!root || !(await helia.blockstore.has(CID.parse(root)))) return response.writeHead(404).end()
  const headers = Object.fromEntries(CONDITIONAL.filter((name) => request.headers[name]).map((n) => [n, request.headers[n]]))
  const accept = acceptOf(request, url.searchParams)
  if (accept) headers.accept = accept
  url.searchParams.delete('format')
  const stopped = new AbortController()
  response.on('close', () => stopped.abort())
  const fetched = await verifiedFetch(`ipfs://${root}${rest}${url.search}`, {
    headers, method: request.method, redirect: 'manual', session: false, signal: stopped.signal,
  })
  response.writeHead(fetched.status, Object.fromEntries(fetched.headers))
  if (request.method === 'HEAD' || !fetched.body) return response.end()
  Readable.fromWeb(fetched.body).on('error', (error) => response.destroy(error)).pipe(response)
}

const server = createServer(async (request, response) => {
  const url = new URL(request.url, 'http://gateway')
  try {
    if (request.method === 'POST' || request.method === 'PUT') response.end(JSON.stringify(await take(request, url)))
    else await answer(request, response, url)
  } catch (error) {
    if (response.headersSent) return response.destroy(error)
    response.writeHead(500).end(String(error?.stack ?? error))
  }
}).listen(0, '127.0.0.1')
await once(server, 'listening')

const stop = () => process.exit(0)
process.on('SIGTERM', stop)
process.on('SIGINT', stop)
process.stdin.resume().on('end', stop).on('error', stop)

process.stdout.write(JSON.stringify({ url: `http://127.0.0.1:${server.address().port}` }) + '\n')
