// Package samples holds the sample papers: real papers, their abstracts in our own words.
package samples

import _ "embed"

// Papers is papers.jsonl: a paper a line, as embedd index reads it.
//
//go:embed papers.jsonl
var Papers []byte
