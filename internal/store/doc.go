// Package store is the bytes that survive: papers and their vectors in one directory, over Pebble.
//
//	Open      a directory and the encoder's Identity -> Store
//	Put       papers with their vectors, all or none; synced when it returns
//	Delete    the same, for ids
//	Get       by id; Vector and Records by ordinal; List in the order of ids; Vectors and Ordinals for all
//	Check     reads everything and proves the facts below
//
// A paper is known by its id, which the caller chooses, and by its ordinal, which the store gives. An ordinal stands for
// one vector: who has indexed ordinal 17 never needs to look at it again. A paper that gets another vector gets another
// ordinal and loses the old one; a paper of which only the title's spelling changed keeps its own. Ordinals begin at 1,
// grow, and are never used again, not even after a restart.
//
// # Promises (the numbers are the house's invariants)
//
//  1. What Put or Delete has acknowledged survives kill -9 and power loss, whole: one synced batch for each call.
//  4. All vectors of a store are of one encoder's fingerprint, have its dimension and norm 1. Open refuses another
//     encoder with a [MismatchError], Put another vector.
//  5. What Delete has acknowledged is found by no call that begins later.
//
// # Bytes
//
// Keys, and values without their last four bytes. Integers in keys and values are big-endian, so that keys sort as
// numbers do; floats are little-endian, as the machines are that read them.
//
//	i/<id>        ordinal(8)                                 id: 1 to 4096 bytes of UTF-8, as they are
//	m/identity    JSON: format, uuid, model, fingerprint, dimension
//	m/state       next(8) revision(8) count(8)               next: the ordinal to give next
//	p/<ordinal>   JSON: paper, content, tokens, truncated    ordinal(8)
//	v/<ordinal>   float(4) x dimension                       ordinal(8)
//
//	value  +--------------------------+----------------------+
//	       | as above                 | CRC-32C of key+value |
//	       +--------------------------+----------------------+
//
// The checksum covers the key too, so that a value under another's key is damage. It is checked whenever a value is read,
// above the checksums of Pebble's blocks: it was made before the value left our hands.
//
// The facts that Check proves, and names by number:
//
//  1. Every value ends in its checksum, and decodes.
//  2. i/<id> holds an ordinal if and only if p/<ordinal> holds the paper of that id.
//  3. p/<ordinal> is there if and only if v/<ordinal> is.
//  4. A vector has the store's dimension, and a norm between 0.999 and 1.001.
//  5. m/state counts the keys of i/, and its next ordinal is above all others.
//  6. m/identity is what Open read, and there are no other keys.
//
// Beside Pebble's files the directory has the mark: EMBEDD-STORE.new is written before all
// others, and renamed to EMBEDD-STORE once the store is whole. A directory with the first was cut short in its making,
// and is made again. One with the second is never made again: what is missing there is damage. In one with other files
// and no mark, Open creates nothing.
//
// # Caveats
//
// Damage to the tail of Pebble's log, or to its MANIFEST, may lose records without an error: Pebble takes the log to end
// there. Close flushes the log, which leaves nothing in it to lose.
//
// When the log or the MANIFEST cannot be written or synced, nothing that follows could be promised: the process ends,
// with one line on stderr and exit status [ExitStatus].
//
// A Get may see a Put that is applied and not yet synced, a moment before Put returns.
package store
