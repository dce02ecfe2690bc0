// A private ATProto network on loopback for the tests: one PLC directory (in memory) and some PDSes
// (SQLite and blobs in a folder). Nothing of it reaches beyond this machine. The packages are those beside this file,
// or beside a link to it: `old/network.mjs` runs PDSes of before May 2026 (node --preserve-symlinks-main ...).
//
//   node network.mjs --data FOLDER [--pds 2] [--blob-limit BYTES] [--rate-limits]
//
// Once all servers answer, one line of JSON goes to stdout:
//   {"plc": URL, "pds": [{"url": URL, "did": DID, "domain": "pds1.test", "secret": OF_ITS_TOKENS,
//    "admin": PASSWORD}, ...]}
// It ends on SIGTERM, SIGINT, and when stdin closes: so also when the process that started it was killed.

import { once } from 'node:events'
import { mkdir } from 'node:fs/promises'
import { createServer } from 'node:net'
import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { PDS, envToCfg, envToSecrets } from '@atproto/pds'
import plcPackage from '@did-plc/server' // CommonJS

const { PlcServer, Database: PlcDatabase } = plcPackage
const LOOPBACK = '127.0.0.1'

const { values: options } = parseArgs({
  options: {
    data: { type: 'string' },
    pds: { type: 'string', default: '2' },
    'blob-limit': { type: 'string', default: String(200 * 1024 * 1024) },
    'rate-limits': { type: 'boolean', default: false },
  },
})
if (!options.data) throw new Error('--data FOLDER is missing')

/** A port that nobody listens on at this moment. */
async function freePort() {
  const probe = createServer().listen(0, LOOPBACK)
  await once(probe, 'listening')
  const { port } = probe.address()
  probe.close()
  await once(probe, 'close')
  return port
}

/** Both servers call `app.listen(port)`, which means every interface of the machine: keep them on loopback. */
function bindToLoopback(app) {
  const listen = app.listen.bind(app)
  app.listen = (port) => listen(port, LOOPBACK)
}

async function startPlc() {
  const port = await freePort()
  const server = PlcServer.create({ db: PlcDatabase.mock(), port })
  bindToLoopback(server.app)
  await server.start()
  return { server, url: `http://localhost:${port}` }
}

async function startPds(number, plcUrl) {
  const port = await freePort()
  const folder = join(options.data, `pds${number}`)
  await mkdir(join(folder, 'blobs'), { recursive: true })
  const domain = `pds${number}.test`
  const secret = randomBytes(16).toString('hex')
  const admin = randomBytes(16).toString('hex')
  // No crawler, mail, moderation or AppView address is given: the server then has nobody to talk to.
  const environment = {
    port,
    hostname: 'localhost',
    serviceDid: `did:web:localhost%3A${port}`,
    serviceHandleDomains: [`.${domain}`],
    devMode: true,
    disableSsrfProtection: true,
    dataDirectory: folder,
    blobstoreDiskLocation: join(folder, 'blobs'),
    blobstoreDiskTmpLocation: join(folder, 'blobs-unfinished'),
    blobUploadLimit: Number(options['blob-limit']),
    didPlcUrl: plcUrl,
    plcRotationKeyK256PrivateKeyHex: randomBytes(32).toString('hex'),
    jwtSecret: secret,
    adminPassword: admin,
    inviteRequired: false,
    rateLimitsEnabled: options['rate-limits'],
  }
  const server = await PDS.create(envToCfg(environment), envToSecrets(environment))
  bindToLoopback(server.app)
  await server.start()
  return { server, url: `http://localhost:${port}`, did: environment.serviceDid, domain, secret, admin }
}

/** There is no DNS here: each PDS asks the one that owns the handle's domain. */
function connectHandles(all) {
  for (const { server } of all) {
    server.ctx.idResolver.handle.resolve = async (handle) => {
      const owner = all.find(({ domain }) => handle.endsWith(`.${domain}`))
      if (!owner) return undefined
      const query = new URLSearchParams({ handle })
      const answer = await fetch(`${owner.url}/xrpc/com.atproto.identity.resolveHandle?${query}`)
      return answer.ok ? (await answer.json()).did : undefined
    }
  }
}

const plc = await startPlc()
const pdses = []
for (let number = 1; number <= Number(options.pds); number++) pdses.push(await startPds(number, plc.url))
connectHandles(pdses)

let stopping = false
async function stop() {
  if (stopping) return
  stopping = true
  await Promise.allSettled([...pdses.map(({ server }) => server.destroy()), plc.server.destroy()])
  process.exit(0)
}
process.on('SIGTERM', stop)
process.on('SIGINT', stop)
process.stdin.resume().on('end', stop).on('error', stop)

const shown = pdses.map(({ url, did, domain, secret, admin }) => ({ url, did, domain, secret, admin }))
process.stdout.write(JSON.stringify({ plc: plc.url, pds: shown }) + '\n')
