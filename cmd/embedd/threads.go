package main

import (
	"os"
	"runtime"
)

// spareThread gives Go one thread more than there are cores, once all that asks for their number has done so. A Run of ONNX Runtime is a call
// into C: its thread counts as one of Go's until the runtime's monitor sees that it takes long. With as many Runs as threads the rest of the
// server stood still for tenths of a second under load. On two cores at ten times the capacity the slowest answer about health took 24 to 28
// ms instead of 430 and more, one of a hundred refusals 40 to 47 ms instead of 470, at the same goodput; with two threads more the encoder
// gets too little of the cores. Who sets GOMAXPROCS has what they set.
func spareThread() {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + 1)
	}
}
