// Package embed turns texts into unit vectors with a sentence encoder that runs in the process, through ONNX Runtime.
//
//	tokenizer  text -> token ids (the Hugging Face tokenizers library)
//	session    token ids -> unit vector (one ONNX Runtime session, shared by all slots)
//	pool       token vectors -> one unit vector, for graphs that do not pool themselves
//	engine     a loaded model: the two, and the lanes (package lane) that bring texts to slots, one for each core
//	Encoder    texts -> vectors, and which sentences make two texts alike
//	Scorer     pairs of texts -> scores, by a cross-encoder
//	Converter  runs a network that is being imported
//
// # Promises
//
//  1. A vector depends on the text, its role and the model's fingerprint, and on nothing else: not on the other texts of
//     the call, not on the load. Texts are only put together into a Run where warm-up found that it does not change a bit.
//  2. A vector has the model's dimension, finite values and L2 norm 1.
//  3. A text longer than the model reads is cut at the token limit, keeping the final special token, and says so.
//  4. A blank text is an error: a vector of nothing would be a neighbour of everything.
//
// # Caveats
//
// NUL characters are replaced by U+0001 and invalid UTF-8 by U+FFFD before tokenising, which BERT's normaliser drops as
// well. Special tokens written in a text, such as "[SEP]", are read as such, as the reference library does.
package embed
