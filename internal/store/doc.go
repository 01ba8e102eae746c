// Package store is the bytes that survive: papers and their vectors in one directory, over Pebble.
//
//	Open      a directory and the encoder's Identity -> Store
//	Put       papers with their vectors, all or none; synced when it returns
//	Delete    the same, for ids
//	Get       by id; Vector, Records, Sentences and Passage by ordinal; List in the order of ids, Range in that of ordinals; Vectors and Ordinals for all
//	Stored    by id, undecoded: what a paper that comes again is compared with
//	Changes   what each revision changed, for what is derived from the store; Forget, when nobody will ask again
//	Backup    a copy, as of one revision
//	Check     reads everything and proves the facts below
//	Repair    makes a store of what is whole of a damaged one
//	Expire    removes the papers whose time has passed; NextExpiry says when there is one
//	Figures   what was counted since Open, for metrics
//
// A paper is known by its id, which the caller chooses, and by its ordinal, which the store gives. An ordinal stands for
// one vector: who has indexed ordinal 17 never needs to look at it again. A paper that gets another vector gets another
// ordinal and loses the old one; a paper of which only the title's spelling changed keeps its own. Ordinals begin at 1,
// grow, and are never used again, not even after a restart.
//
// # Promises (the numbers are the house's invariants)
//
//  1. What Put or Delete has acknowledged survives kill -9 and power loss, whole: one synced batch for each call. What Get, Records or
//     List have returned does too.
//  4. All vectors of a store are of one encoder's fingerprint, have its dimension and norm 1. Open refuses another
//     encoder with a [MismatchError], Put another vector.
//  5. What Delete has acknowledged is found by no call that begins later.
//
// Writers that wait for the disk at the same time share an fsync.
//
// # Reading
//
// Blocks of files that were read are kept in one cache for all stores of the process, [SharedCacheBytes] large, which fills as it is needed; a store may ask
// for one of its own (Options.CacheBytes). Records are JSON, and read by a reader of our own (read_record.go), which takes a fraction of the time of
// encoding/json. It knows what is written today; what it does not know is left to encoding/json, and a test holds the two against each other.
//
// # Bytes
//
// This is format 3. One of format 1, which had neither the checksums in i/, nor the digest, nor s/ and the mark, and one of format 2, which had no e/, c/ and w/,
// are brought to it when they are opened; a later one is refused.
//
// Keys, and values without their last four bytes. Integers in keys and values are big-endian, so that keys sort as
// numbers do; floats are little-endian, as the machines are that read them.
//
//	c/<ordinal>   { begin(4) end(4) scale(4) code(1) x dimension }   ordinal(8); sentences: their places in the text, their vectors in signed bytes
//	e/<time>      nothing                                    seconds(8) nanoseconds(4) since 1970, ordinal(8): of a paper that expires
//	i/<id>        ordinal(8) record(4) vector(4)             id: 1 to 4096 bytes of UTF-8, as they are; the checksums of p/ and v/
//	m/identity    JSON: format, uuid, model, fingerprint, dimension
//	m/state       next(8) revision(8) count(8) digest(16)    next: the ordinal to give next
//	p/<ordinal>   JSON: paper, content, tokens, truncated    ordinal(8)
//	s/<revision>  { op(1) ordinal(8) }                       revision(8); op: a added, c changed, r removed
//	v/<ordinal>   float(4) x dimension                       ordinal(8)
//	w/<ordinal>   paper(8) index(2) begin(4) end(4)          ordinal(8); a passage: its paper's ordinal, its place among the passages and in the text
//
//	value  +--------------------------+----------------------+
//	       | as above                 | CRC-32C of key+value |
//	       +--------------------------+----------------------+
//
// A text that is longer than the encoder reads may be kept in passages, each with a vector. The first has the paper's ordinal, the others have the
// next ones, and the change log has them as it has papers; the digest does not.
//
// The digest is the sum, modulo 2^128, over all papers, of the first 16 bytes of SHA-256(ordinal(8) record(4) vector(4) id).
//
// The checksum covers the key too, so that a value under another's key is damage. It is checked whenever a value is read,
// above the checksums of Pebble's blocks: it was made before the value left our hands.
//
// The facts that Check proves, and names by number:
//
//  1. Every value ends in its checksum, and decodes.
//  2. i/<id> holds an ordinal if and only if p/<ordinal> holds the paper of that id.
//  3. p/<ordinal> is there if and only if v/<ordinal> is, but for v/ of a passage.
//  4. A vector has the store's dimension, and a norm between 0.999 and 1.001.
//  5. m/state counts the keys of i/ and has their digest, and its next ordinal is above all others.
//  6. m/identity is what Open read, and there are no other keys.
//  7. s/ has all revisions from its first to the state's, or none.
//  8. A paper of p/ that expires has its key of e/. One that is of no such paper does no harm, and goes at its time.
//  9. c/<ordinal> is there only if p/<ordinal> is.
//  10. w/<ordinal> is there only if p/<paper>, v/<ordinal> and the passage before it are; its ordinal is that of the paper and its index.
//     p/<ordinal> is there if and only if the index is 0.
//
// Beside Pebble's files the directory has
//
//	EMBEDD-STORE    says that it is ours. It is EMBEDD-STORE.new until the store is whole: a directory with that was cut short in
//	                its making, and is made again. One with EMBEDD-STORE is never made again: what is missing there is damage. In
//	                one with other files and neither, Open creates nothing.
//	EMBEDD-MARK     the high-water mark: two slots of 4096 bytes, written in turn, at most once a second and at the end
//	EMBEDD-BALLAST  room that is given up when the disk is full, where Options ask for it
//
//	slot  +------------------------------------------------------------------+-----------------------+
//	      | JSON: sequence, revision, next, count, digest, clean, manifest   | CRC-32C of the others |
//	      | (name, size, CRC-32C of what it had), then spaces: 4092 bytes    | 4 bytes               |
//	      +------------------------------------------------------------------+-----------------------+
//
// # Damage
//
// Pebble checks its blocks, and takes its log and its MANIFEST to end at the first record that is damaged, in silence. So Open compares
// what it finds with the mark and with the digest, and refuses with [ErrLoss] what lacks something that was there a second
// before the end, or what the last Close left. Close flushes the log, and a store that rests for a minute does too, which leaves nothing in it to lose.
//
// When the log, the MANIFEST, the mark or the directory cannot be written or synced, nothing that follows could be promised: the process ends,
// with one line on stderr and exit status [ExitStatus]. The sync is not tried again.
//
// When the disk is nearly full, or does not take tables, Put takes nothing more ([ErrFull]) until that is over.
package store
