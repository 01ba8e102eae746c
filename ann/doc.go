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
// [Index.Check] proves them, by these numbers.
//
//  1. Vectors have norm 1 (within 1e-3) and finite values.
//
//  2. Each live label has one slot; a slot that lost its label is a tombstone. Tombstones are passed through by searches
//     and never returned.
//
//  3. A list of links holds slots in range that have that level, no slot twice, not the slot itself, at most M of them
//     above level 0 and 2·M on level 0.
//
//  4. The entry point has the top level, and no slot a higher one.
//
//  5. On level 0 the links contain a spanning tree, each edge in both directions: every slot is reachable from every
//     other. (Plain HNSW promises nothing of the kind: pruning can cut a vector off for good.)
//
//  6. The code of each slot is that of its vector.
//
// # Codes
//
// The graph is searched and built on codes of 7 bits a value with a scale for each vector, which one call of package vec compares
// with the query for all links of a slot. What a search has found, as many as ef, is compared again by the float32 vectors, so
// distances and their order are exact, and the order is the same for every k. Codes give the same integers on every kind of
// CPU, and so the same graph.
//
// # How the spanning tree is kept
//
// A new vector is linked from a parent, the nearest slot that was found with fewer than M children, and links back to
// it. Pruning a list on level 0 never drops the link to the parent or to a child; the heuristic has the rest of the 2·M
// places. Tombstones stay in the tree.
//
// # Concurrency
//
// Searches run beside each other. Insert and Delete exclude everything else while they run.
package ann
