// Package ingest reads papers from JSON Lines, one paper at a time, whatever the size of the corpus.
//
//	Open   a file, a folder or standard input -> Reader
//	Reader the lines of its files, in order   -> Paper, or what is wrong with a line
//
// A line is a JSON object in one of two forms, told apart by the name of its identifier, line by line:
//
//	own   {"id": "2401.00001", "title": "…", "abstract": "…", "authors": ["…"], "year": 2024, "venue": "…",
//	       "doi": "…", "arxiv_id": "…", "url": "…", "metadata": {…}, "expires": "2030-01-01T00:00:00Z", "vector": [0.1, …]}
//	BEIR  {"_id": "2401.00001", "title": "…", "text": "…", "metadata": {…}}
//
// A field may be absent or null, but for the identifier, and title and abstract may not both be blank: there would be
// nothing to encode, unless there is a vector. An unknown field of the own form is an error, since it is most likely a misspelt one. BEIR's form
// is open: its other fields are passed over, but for "abstract", which belongs to the own form and would be lost.
//
// # Promises
//
//  1. A Paper is what the line says: no string is trimmed, repaired or cut. Invalid UTF-8, half a surrogate pair and NUL
//     are errors, and so is a field given twice; package encoding/json would let them pass, changed.
//  2. Every line is a Paper, a [LineError] or blank. Blank lines are passed over, but counted.
//  3. A bad line costs that line only. The one exception is a gzip stream that is corrupt: what follows cannot be read.
//  4. A corpus that was not read to its end never ends in io.EOF.
//  5. Memory is that of one line, of at most [MaxLineBytes].
//
// # Caveats
//
// Papers of a corrupt gzip stream that were read before the fault have been returned by then; its checksum is at its end, so
// the last of them may be garbled. Whether two papers have the same identifier is not looked at: that would take memory for
// all of them.
package ingest
