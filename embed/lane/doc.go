// Package lane shares a fixed number of slots, each of which runs one batch at a time, between the texts of many callers.
//
//	Begin   a call asks for room in its lane, or is refused with the wait to expect
//	Add     a text of the call: run at once where a slot is free, else queued
//	take    a slot that comes free takes the oldest text, and others of about its length with it
//	End     the call leaves; what it still had in the queue is dropped
//
// # Promises
//
//  1. While a text is queued no slot is free: nothing waits for company. Batches form only out of what queued up meanwhile.
//  2. Interactive texts go before bulk texts, except that after maxStreak interactive batches in a row a waiting bulk text
//     has its turn. So an interactive text waits for at most one bulk batch on each slot, and bulk work never starves.
//  3. A text that nobody waits for any more is not run.
//  4. Texts of the same key in the same lane, queued or running at the same time, are run once.
//  5. A single text that finds a free slot is run by its caller's goroutine, without a hand-over.
//
// The design, and why waiting for a fuller batch does not pay on a CPU, follow the dynamic batcher of Triton Inference
// Server with a delay of zero, and the token budget of text-embeddings-inference, cut down to what a core's cache holds.
package lane
