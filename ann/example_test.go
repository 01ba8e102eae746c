package ann_test

import (
	"fmt"

	"embedd/ann"
)

func Example() {
	x, err := ann.New(2, nil)
	if err != nil {
		panic(err)
	}
	for label, v := range [][]float32{{1, 0}, {0, 1}, {0.8, 0.6}, {-1, 0}} {
		if err := x.Insert(uint64(label), v); err != nil {
			panic(err)
		}
	}
	near, err := x.Search([]float32{1, 0}, ann.Query{K: 2})
	if err != nil {
		panic(err)
	}
	for _, n := range near.Neighbors {
		fmt.Printf("%d at %.1f\n", n.Label, n.Distance)
	}
	// Output:
	// 0 at 0.0
	// 2 at 0.2
}
