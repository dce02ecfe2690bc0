// A private ATProto network on loopback for the tests: one PLC directory (in memory) and some PDSes
// (SQLite and blobs in a folder). Nothing of it reaches beyond this machine. The packages are those beside this file,
// or beside a link to it: `old/network.mjs` runs PDSes of before May 2026 (node --preserve-symlinks-main ...).
//
//   node network.mjs --data FOLDER [--pds 2] [--blob-limit BYTES] [--rate-limits] [--plc URL] [--first NUMBER]
//
// With --plc the PDSes join a directory that is there; --first numbers them, and names their domains. What is started
// again on the same folder is the same PDS, on the same port: its port and secrets are kept there.
// Once all servers answer, one line of JSON goes to stdout:
//   {"plc": URL, "pds": [{"url": URL, "did": DID, "domain": "pds1.test", "secret": OF_ITS_TOKENS,
//    "admin": PASSWORD}, ...]}
// It ends on SIGTERM, SIGINT, and when stdin closes: so also when the process that started it was killed.

import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
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
    plc: { type: 'string' },
    first: { type: 'string', default: '1' },
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

/** What makes a PDS the same when it is started again on its folder. */
async function identityIn(folder) {
  const path = join(folder, 'identity.json')
  if (existsSync(path)) return JSON.parse(await readFile(path))
  const identity = {
    port: await freePort(),
    secret: randomBytes(16).toString('hex'),
    admin: randomBytes(16).toString('hex'),
    rotationKey: randomBytes(32).toString('hex'),
  }
  await writeFile(path, JSON.stringify(identity))
  return identity
}

async function startPds(number, plcUrl) {
  const folder = join(options.data, `pds${number}`)
  await mkdir(join(folder, 'blobs'), { recursive: true })
  const domain = `pds${number}.test`
  const { port, secret, admin, rotationKey } = await identityIn(folder)
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
    plcRotationKeyK256PrivateKeyHex: rotationKey,
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

const plc = options.plc ? { url: options.plc } : await startPlc()
const pdses = []
const first = Number(options.first)
for (let number = first; number < first + Number(options.pds); number++) pdses.push(await startPds(number, plc.url))
connectHandles(pdses)

let stopping = false
async function stop() {
  if (stopping) return
  stopping = true
  await Promise.allSettled([...pdses.map(({ server }) => server.destroy()), plc.server?.destroy()])
  process.exit(0)
}
process.on('SIGTERM', stop)
process.on('SIGINT', stop)
process.stdin.resume().on('end', stop).on('error', stop)

const shown = pdses.map(({ url, did, domain, secret, admin }) => ({ url, did, domain, secret, admin }))
process.stdout.write(JSON.stringify({ plc: plc.url, pds: shown }) + '\n')
