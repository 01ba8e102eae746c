// Package ingest reads papers, one at a time, whatever the size of the corpus: from JSON Lines of our own form and BEIR's, and from the forms in
// which others publish papers.
//
//	Open    a file, a folder or standard input -> Reader
//	Formats the forms that there are, each with a file of its own here
//	Reader  the records of its files, in order -> Paper, or what is wrong with a record
//
// A file goes through three stages: stream.go unpacks it, a reader of its form cuts it into records (lines.go, json.go, xml.go, bibtex.go, ris.go,
// csv.go, parquet.go), and each record is made a Paper, alone (a file for each form; fields.go has what they share). formats.go is the one table
// that knows all forms, and guesses which one a file is of by how it begins.
//
// A line of our own form is a JSON object in one of two forms, told apart by the name of its identifier, line by line:
//
//	own   {"id": "2401.00001", "title": "…", "abstract": "…", "authors": ["…"], "year": 2024, "venue": "…",
//	       "doi": "…", "arxiv_id": "…", "url": "…", "metadata": {…}, "expires": "2030-01-01T00:00:00Z", "vector": [0.1, …]}
//	BEIR  {"_id": "2401.00001", "title": "…", "text": "…", "metadata": {…}}
//
// A field may be absent or null, but for the identifier, and title and abstract may not both be blank: there would be
// nothing to encode, unless there is a vector. An unknown field of the own form is an error, since it is most likely a misspelt one. BEIR's form
// is open: its other fields are passed over, but for "abstract", which belongs to the own form and would be lost.
//
// What of the other forms becomes which field of a paper is in docs/import.md.
//
// # Promises
//
//  1. Of our own form and BEIR's a Paper is what the line says: no string is trimmed, repaired or cut. Invalid UTF-8, half a surrogate pair and NUL
//     are errors, and so is a field given twice; package encoding/json would let them pass, changed. Of the other forms the text is without
//     markup and its white space is single blanks; of a JSON member given twice the last counts, of a BibTeX field the first.
//  2. Every record is a Paper, a [LineError] or passed over, which is counted with the reason ([Reader.Passed]): records that are no papers, as
//     what a repository has deleted. Blank lines are not counted, but for the numbers of lines.
//  3. A bad record costs that record only. The exceptions are a stream that is corrupt, the brackets around the records of a JSON file, a quote of
//     CSV that has no end, and Parquet: what follows cannot be read, and that is said. A record without its end costs what is up to the next one.
//  4. A corpus that was not read to its end never ends in io.EOF: of XML and JSON, the end of what is around the records must be there.
//  5. Memory is that of one record, of at most [MaxRecordBytes] or [MaxLineBytes], and some times that while it is read; of a zstd stream its
//     window too, twice maxWindow at most; of Parquet the pages of a row.
//
// # Own code
//
// BibTeX and RIS are read by own code: there is no library for them that is kept, reads a stream, and survives broken files. LaTeX's accents are a
// table. JSON and XML are cut into records by own code, since the standard library cannot go on behind a broken one; what is in a record is read
// by encoding/json and encoding/xml. XML's document types are not read: entities are those of HTML, as dblp uses them, and none of them leads outside.
//
// # Caveats
//
// Papers of a corrupt gzip or zstd stream that were read before the fault have been returned by then; its checksum is at its end, so
// the last of them may be garbled. Whether two papers have the same identifier is not looked at: that would take memory for
// all of them. Records of XML are found by their tags, also within a comment or CDATA that is in another record.
package ingest
