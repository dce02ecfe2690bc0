// Asks the reference implementation, @atproto/lexicon, what it thinks of records.
// stdin: {"documents": [...], "cases": [[nsid, value], ...], "texts": [...]}, argv: the folder node_modules
// stdout: {"answers": [null | message, ...], "graphemes": [count, ...]}
import { pathToFileURL } from 'node:url'
import { readFileSync } from 'node:fs'

const load = (path) => import(pathToFileURL(`${process.argv[2]}/${path}`))
const { Lexicons, jsonToLex, parseLexiconDoc } = await load('@atproto/lexicon/dist/index.js')
const { graphemeLen } = await load('@atproto/common-web/dist/index.js')

const { documents, cases, texts } = JSON.parse(readFileSync(0, 'utf8'))
const lexicons = new Lexicons(documents.map((document) => parseLexiconDoc(document)))

const ask = ([nsid, value]) => {
  try {
    const lex = jsonToLex(value)
    if (nsid.includes('#')) {
      const result = lexicons.validate(nsid, lex)
      return result.success ? null : result.error.message
    }
    lexicons.assertValidRecord(nsid, lex)
    return null
  } catch (error) {
    return String(error.message)
  }
}

process.stdout.write(JSON.stringify({ answers: cases.map(ask), graphemes: texts.map(graphemeLen) }))
