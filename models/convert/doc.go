// Package convert turns a Hugging Face folder of a BERT-like encoder into an ONNX graph, without Python.
//
//	Read       config.json, the sentence-transformers files and model.safetensors -> Network
//	Calibrate  texts through the float32 graph -> Calibration: ranges, smoothing, bias correction
//	Graph      Network -> graph in float32, or with a Calibration in static int8
//
// The graphs take int32 inputs of shape [batch, tokens], use the fused operators of ONNX Runtime, and end in one vector
// for each text, pooled and of L2 norm 1 (output "sentence_embedding"), with the token vectors beside it
// ("last_hidden_state").
//
// # Promises
//
//  1. What a graph cannot express exactly is refused with the name of the field or the tensor: nothing is approximated
//     or passed over.
//  2. The same folder and the same calibration give the same bytes, on every machine.
//  3. In the int8 graph no product of activations and weights can saturate, whatever the text: see quantize.go. The
//     integers are the same with and without VNNI.
//  4. A vector of the int8 graph does not depend on the texts beside it, because ranges are fixed beforehand.
package convert
