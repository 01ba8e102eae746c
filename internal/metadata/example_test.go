package metadata_test

import (
	"context"
	"fmt"
	"log"
	"slices"

	"embedd/internal/metadata"
)

// Papers go in under the ordinals that the store has given them; a filter selects ordinals.
func ExampleIndex() {
	x := metadata.New()
	for i, p := range []metadata.Paper{
		{ID: "2104.1", Year: 2021, Metadata: []byte(`{"categories": ["cs.CL", "cs.AI"], "submitted": "2021-04-09"}`)},
		{ID: "2106.2", Year: 2021, Metadata: []byte(`{"categories": ["cs.CL"], "submitted": "2021-06-30"}`)},
		{ID: "2203.3", Year: 2022, Metadata: []byte(`{"categories": ["math.CO"], "submitted": "2022-03-01"}`)},
	} {
		fields, err := metadata.NewFields(p)
		if err != nil {
			log.Fatal(err)
		}
		if err := x.Add(uint64(i+1), fields); err != nil {
			log.Fatal(err)
		}
	}

	filter, err := metadata.Parse(`categories:cs.CL AND submitted >= "2021-06"`)
	if err != nil {
		log.Fatal(err)
	}
	set, err := x.Select(filter)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(filter, slices.Collect(set.Ordinals()))

	name, err := x.FieldName("categories", nil)
	if err != nil {
		log.Fatal(err)
	}
	all, err := x.Select(nil)
	if err != nil {
		log.Fatal(err)
	}
	facets, err := x.Facets(context.Background(), name, all, 2, false)
	if err != nil {
		log.Fatal(err)
	}
	for _, f := range facets.Top {
		fmt.Println(f.Value, f.Count)
	}

	filter, err = metadata.Parse(`category = "cs.CL"`)
	if err != nil {
		log.Fatal(err)
	}
	_, err = x.Select(filter)
	fmt.Println(err)

	_, err = metadata.Parse(`year > 2020 AND (submitted < 2022-01)`)
	fmt.Println(err)
	// Output:
	// metadata.categories = "cs.CL" AND metadata.submitted >= "2021-06" [2]
	// "cs.CL" 2
	// "cs.AI" 1
	// column 1: no paper has a field metadata.category; is it metadata.categories?
	// column 34: expected AND, OR or a closing parenthesis (a value with such characters is put into quotes), found "-"
}
