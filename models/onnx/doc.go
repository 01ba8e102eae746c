// Package onnx writes and inspects ONNX model files.
//
//	Builder  a graph, node by node
//	Turn     a file with a matrix behind its output
//	Inspect  what a file that came from outside is made of, before a runtime sees it
//
// The messages are generated from onnx.proto, the part of the format that this program uses. A file is written with a
// fixed order of everything, so that the same calls give the same bytes.
package onnx
