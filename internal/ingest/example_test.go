package ingest_test

import (
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"
	"strings"

	"embedd/internal/ingest"
)

// Both forms may be mixed. A bad line is told, and the next one read.
func ExampleReader() {
	const corpus = `{"id": "p1", "title": "Attention", "abstract": "We propose …", "authors": ["A. V."], "year": 2017}
{"_id": "p2", "title": "", "text": "A text in BEIR's form."}
{"id": "p3", "titel": "A misspelt field"}

{"id": "p4", "title": "The last"}
`
	r := ingest.NewReader(strings.NewReader(corpus), "corpus.jsonl")
	defer r.Close()
	for {
		p, err := r.Next()
		if err == io.EOF {
			break
		}
		if bad, ok := errors.AsType[*ingest.LineError](err); ok {
			fmt.Println("bad:", bad)
			continue
		}
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%s: %q %q %d\n", p.ID, p.Title, p.Abstract, p.Year)
	}
	// Output:
	// p1: "Attention" "We propose …" 2017
	// p2: "" "A text in BEIR's form." 0
	// bad: corpus.jsonl:3: titel: unknown field: what is not of the own form goes into metadata
	// p4: "The last" "" 0
}

// A folder's parts are read in the order of their numbers.
func ExampleOpen() {
	dir, err := os.MkdirTemp("", "corpus")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	for _, n := range []int{10, 9} {
		text := fmt.Sprintf(`{"id": "p%d", "title": "Of part %d"}`, n, n)
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("corpus-%d.jsonl", n)), []byte(text), 0o600); err != nil {
			log.Fatal(err)
		}
	}

	r, err := ingest.Open(dir)
	if err != nil {
		log.Fatal(err)
	}
	defer r.Close()
	for {
		p, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(p.Title)
	}
	fmt.Printf("%d %% of %d bytes\n", 100*r.BytesRead()/r.Size(), r.Size())
	// Output:
	// Of part 9
	// Of part 10
	// 100 % of 70 bytes
}
