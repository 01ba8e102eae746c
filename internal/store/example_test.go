package store_test

import (
	"errors"
	"fmt"
	"log"
	"os"

	"embedd/internal/store"
)

func Example() {
	dir, err := os.MkdirTemp("", "store")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)

	s, err := store.Open(dir, store.Identity{Model: "toy", Fingerprint: "f1", Dimension: 2}, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()

	paper := store.Paper{ID: "2401.00001", Title: "On Pebbles"}
	placements, revision, err := s.Put([]store.Write{{Record: store.Record{Paper: paper}, Vector: []float32{1, 0}}})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("ordinal", placements[0].Ordinal, "revision", revision)

	// Another title, the same vector: the ordinal stays.
	paper.Title = "On pebbles"
	placements, revision, err = s.Put([]store.Write{{Record: store.Record{Paper: paper}}})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("ordinal", placements[0].Ordinal, "revision", revision)

	record, ordinal, err := s.Get("2401.00001")
	if err != nil {
		log.Fatal(err)
	}
	vector, err := s.Vector(ordinal)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(record.Paper.Title, vector)

	_, _, err = s.Get("2401.99999")
	fmt.Println(errors.Is(err, store.ErrNotFound), err)
	// Output:
	// ordinal 1 revision 1
	// ordinal 1 revision 2
	// On pebbles [1 0]
	// true paper "2401.99999": not found
}
