// Package similar compares the papers of a frozen corpus with each other, or those of two: the graph of neighbours, near duplicates, pairs across two
// corpora, clusters with names, a map.
//
//	Corpus  a snapshot of the index and a table of the papers in it: what package jobs has frozen
//	Task    what is to be found, with its parameters
//	Run     Task -> files: the result as a table, and a report of what was found and how well
//
// # Invariants
//
//  1. The same corpus and task give the same files, to the byte, whatever the number of threads and however often the work was cut off: all of it follows
//     from the frozen index by steps that do not depend on time, order of goroutines or chance.
//  2. A file is whole as soon as it has its name; a step whose file is there is not done again.
//  3. A score is a cosine: more is nearer. It comes of the vectors as the index keeps them.
//  4. A paper is one, however many passages it has: it counts by the two passages that are nearest to each other.
//
// Run needs nothing of a server, so that it can be a process of its own, of low priority.
package similar
