// Package models says which sentence encoders there are and how to be sure of one.
//
// A model is a folder with a manifest.json and the files that the manifest lists. The manifest says what the files are
// (sha256, size, where they come from, licence) and how a text becomes a vector (tokens read, prompts, pooling,
// normalisation, the graph's inputs and output). Nothing is guessed from a file's name or content.
//
//	Builtin  the manifests that come with the program
//	Load     a manifest of one's own, for Pull
//	Pull     fetch a model's files from the sources that its manifest names, or write them from fetched ones
//	Import   make a model of a Hugging Face folder
//	Adapt    make a model of another one and a matrix that turns its vectors; Turn turns those that are stored
//	Open     a model that is there
//	ReadFile a file's bytes, given out only if size and sha256 are the manifest's
//	Golden   what a model gave for a few texts, to compare with on another machine
//
// # Promises
//
//  1. A manifest with a field that this program does not know, or a value that it does not support, is refused with the
//     name of the field: a model is never run on half of its instructions.
//  2. A file that is not exactly the one in the manifest is refused with its name. It is hashed each time it is read.
//  3. Two models with the same [Manifest.Fingerprint] give the same vectors; whatever changes a vector changes it.
//  4. Only Pull uses the network. A token of the Hugging Face Hub goes to the Hub's own host and port, never further.
package models
