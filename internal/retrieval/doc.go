// Package retrieval is what embedd means: papers go in, hits come out. It joins the encoder, the store, the index
// and the papers' words, works and fields, and is the only package that knows more than one of them.
//
// A [Collection] is one set of papers under one encoder. Doors (gRPC, later HTTP) and the command line call it; it
// decides what a request means, refuses what it cannot do with an [Error] that names the field, and turns distances
// (less is nearer) into scores (more is nearer), once.
//
// # Ways through it
//
//	Upsert   validate -> compare with the store -> encode what changed -> one synced batch in the store -> index -> answer
//	Search   text: encode as a query; paper: its stored vector; vector: as given -> index, or words, or both and a fusion -> papers from the store
//	Related  Search by paper
//	ids      the paper's own id -> store; any other form -> works -> the id it is stored under. Answers leave out what is the same work
//	Which    a filter, the caller's or that of their key -> the fields' set of papers -> index; what is found is held against it once more
//	Open     store -> the latest snapshot of the index that fits and is proved, else empty -> what the change log has since -> canary encode
//	upkeep   after many changes, in the background: take tombstones out of the graph, measure its recall anew, write a snapshot; once an hour, probe its recall
//	Backup   snapshot of the index -> copy of the store -> both proved and sealed
//	Inspect  all of a directory that is not in use, without a model
//
// Commits go side by side: each is in the store, synced, and then in the index, and is answered when those before it are too. What a
// paper was until the index has what it is, searches find by [moves].
//
// # Promises (the numbers are the house's invariants)
//
//  1. What Upsert or Delete has acknowledged is in the store, synced.
//  2. The index, the words, the works and the fields are derived: losing a snapshot costs time, never data.
//  3. Every label of the index, and every paper with words, a work or fields, is the ordinal of a stored paper, or of one being removed.
//  4. All vectors come from one model fingerprint; a data directory made by another is refused.
//  5. An acknowledged delete is in no later answer.
//  6. The same query on the same index version gives the same order at the same ef, or exact; equal scores stand in the order of
//     storing. Upkeep between two queries, which is logged, may change what an approximate one finds.
//  7. Distance: less is nearer; score: more is nearer; turned round here, once.
//  8. A paper never recommends itself, nor another version of the same work unless asked; of each work one paper is in an answer.
package retrieval
