// Package works knows papers by their scholarly ids, and finds which of them are versions of the same work.
//
//	Parse      a string -> the one form of the scholarly id that it is
//	Aliases    a Paper  -> all of its scholarly ids
//	Analyze    a Paper  -> Features, by which it is compared; Alike compares two
//	New        an Index: Add, Remove; ByAlias, Same, SameAs; WriteSnapshot and Open; Check
//
// An Index lies in memory and is derived: it is made anew from the papers.
//
// # The same work
//
// Two papers are alike where
//
//   - they share an alias, or
//   - their titles are equal, by letters and digits alone, and their abstracts have something in common: an estimated Jaccard similarity of
//     their shingles of at least titleSimilarity; or one has no abstract and the title has at least loneTitle letters and digits; or
//   - whatever their titles, their abstracts have a similarity of at least textSimilarity, and minShingles different shingles each.
//
// A shingle is shingleWords words in a row. The similarity is estimated by the smallest of a number of hashes of the shingles (Broder, "On the
// resemblance and containment of documents", 1997), of which 8 bits are kept (Li and König, "b-Bit Minwise Hashing", WWW 2010). The thresholds were
// chosen on pairs of abstracts that are versions of one work and on tens of thousands that are not: TestDetection reports what they give.
//
// Papers that are alike, and those that are alike to them, and so on, are the same work.
//
// # How they are found
//
// A paper is in a bucket for each of its aliases, one for its title, and some for parts of its sketch: papers with similar abstracts share one
// of those with a probability that grows steeply with the similarity (locality-sensitive hashing). In a bucket, which is in the order of the
// ordinals, a paper is compared with the window papers before it and the window after it; those that are alike are linked. So a bucket of n
// papers costs n comparisons, not n², and papers that share a text hang together by a chain. Which papers are linked depends on the
// papers that there are and nothing else: the order of adding, and what was removed, leave no trace.
//
// # Facts
//
// These always hold between calls, and Check proves them, by number:
//
//  1. A paper has one slot, and the slot is the paper's; slots that are nobody's are free and empty.
//  2. A paper is in the buckets of its keys and in no other; a bucket is in the order of the ordinals, and not empty.
//  3. Two papers are linked if and only if they are alike and not further apart than the window in some bucket; the link counts those buckets.
package works
