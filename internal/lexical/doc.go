// Package lexical finds papers by their words, and scores them by BM25.
//
//	Analyze     a title and an abstract -> Doc, the stems of their words with how often they are there
//	ParseQuery  a text                  -> Query, its stems
//	New         an Index: Add, Remove, Search, SearchWithin a Scope; Weights of stems; Expand a Query by papers; WriteSnapshot, Open and Take; Check
//	Places      a text                  -> where its stems stand
//
// An Index lies in memory and is derived: it is made anew from the papers.
//
// # Words
//
// A text is parted at Unicode's word boundaries, put into lower case, freed of English stop words and stemmed by Porter's algorithm, all by
// bleve's English analyzer. A word of the title counts titleWeight times, one of the abstract once. A word of over 64 bytes is none.
//
// # Scores
//
// The score of a paper is the sum, over the words of the query that it has, of
//
//	n · log(1 + (N - df + ½) / (df + ½)) · f · (k1 + 1) / (f + k1 · (1 - b + b · length / mean length))
//
// n being how often the query has the word, f how often the paper has it, N and df how many papers there are and how many have it (Robertson and
// Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond", 2009). A paper that was removed counts no more: the same papers give the
// same scores, to the last bit, whatever there was before.
//
// Within a [Scope], N, df and the mean length are those of its papers alone. Which papers of the index are in it is kept for the 16 scopes that were searched last.
//
// # How it is kept
//
// Papers are in chunks of up to 65,536. A chunk has a list of postings for each word: a paper's place in the chunk and how often it has
// the word, in four bytes, by place. A search adds up each chunk's postings in an array of one float32 for each place, 256 KiB, which a core
// keeps in its second cache, the rarest word first. What a count is worth in a paper of a length is read from a table.
//
// Most postings are those of few frequent words, which hardly matter to who is among the best. Where a word has an eighth of a chunk's papers, the
// chunk has its counts by place too, four bits each. Once what is left are such words, and few papers could still come among the best by
// them, they are looked up for these papers alone. How many these are is told by the highest sums of blocks of 64 places, by which the best are found
// too: the sum of the k-th highest block is one that k papers have. See BenchmarkSearch.
//
// # Facts
//
// These always hold between calls, and Check proves them, by number:
//
//  1. A paper is in one place of one chunk, and the place is the paper's; places that are nobody's are free.
//  2. A list's places ascend, so that each is there at most once, with a count of at least 1.
//  3. The counts of a place add up to its length.
//  4. Each word of a chunk has a list of its own, and a place knows exactly the lists that it is in.
//  5. The papers of all chunks, and their lengths, add up to the index's.
//  6. A list of countsFrom postings or more has its counts by place, one of less than countsTo has none, and they are those of the list.
package lexical
