// Package ann finds the nearest neighbours of a unit vector among many: an HNSW graph (Malkov and Yashunin, "Efficient
// and robust approximate nearest neighbor search using Hierarchical Navigable Small World graphs", 2018,
// arXiv:1603.09320), exact search as its truth, and a snapshot of both.
//
// The unit of everything is the cosine distance, 1 minus the dot product: 0 for the same direction, 2 for the opposite
// one. Less is nearer. A vector is known by a label that the caller chooses; answers are in the order of distance, ties
// in the order of labels.
//
// # Invariants
//
// [Index.Check] proves them, by these numbers. A slot is a place for a vector: live, a tombstone, or free.
//
//  1. Vectors have norm 1 (within 1e-3, and what is kept of them within 2e-3; in the residual mode by as much more as its
//     roundings may add up to, which is next to nothing unless a few values are many times the others) and finite values.
//
//  2. Each live label has one slot; a slot that lost its label is a tombstone until Consolidate, and free after. Tombstones
//     are passed through by searches and never returned.
//
//  3. A list of links holds slots in range that are not free and have that level, no slot twice, not the slot itself, at most M
//     of them above level 0 and 2·M on level 0, and nothing behind its end.
//
//  4. The entry point has the top level, and no slot a higher one.
//
//  5. On level 0 some of the links are marked as edges of a tree that spans all slots, each in both directions: every slot is
//     reachable from every other. (Plain HNSW promises nothing of the kind: pruning can cut a vector off for good.)
//
//  6. The code of each slot is that of its vector.
//
// # Codes
//
// The graph is searched and built on codes of 7 bits a value with one scale for all, which one call of package vec compares with the
// query for all new links of a slot. That is a quarter of the bytes of float32, and bytes are what a search waits for. The best of what a
// search has found, a number that depends on ef alone, is compared again by the vectors as they are kept, so that the answer for k is
// the beginning of the answer for more. Integers are the same on every kind of CPU, and so are the graph and, in the default memory
// mode, the distances to the last bit.
//
// # How the spanning tree is kept
//
// A new vector is tied to the nearest slot that was found with fewer than M+1 edges. Choosing the links of a list anew never drops an
// edge; the heuristic has the rest of the 2·M places. Tombstones stay in the tree; when Consolidate takes them out, the parts into which
// it falls are tied together again.
//
// # Concurrency
//
// All methods may be called at any time, Close too: it waits for what is under way. AllNeighbors and Pairs go on in steps, and end
// with ErrClosed at the next. Searches take no lock and wait for nobody: lists of links are read while they are changed, and whatever
// mixture of old and new links is seen is a list of slots of the graph. Inserts run beside each other. Batches of InsertAll, Consolidate, WriteSnapshot, Verify and Check have inserts wait while they run. A search that
// begins after Insert has returned finds the vector, and one that begins after Delete has returned does not.
//
// Memory lies outside of Go's heap (see region); the purego build has it on the heap and no assembly, so that the race detector sees all.
package ann
