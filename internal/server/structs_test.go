package server

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/structpb"

	"embedd/internal/testkit"
)

// What is written of a Struct is what protojson writes, which is what older stores have, and compares as they do.
func TestAppendStruct(t *testing.T) {
	rng := testkit.Rand(t)
	for range 3000 {
		s := &structpb.Struct{Fields: map[string]*structpb.Value{}}
		for range rng.IntN(5) {
			s.Fields[randomText(rng)] = randomValue(rng, 0)
		}
		slow, slowErr := protojson.Marshal(s)
		var want bytes.Buffer
		if slowErr == nil {
			if err := json.Compact(&want, slow); err != nil {
				t.Fatal(err)
			}
		}
		got, err := appendStruct(nil, s)
		if (err == nil) != (slowErr == nil) || !bytes.Equal(got, want.Bytes()) {
			t.Fatalf("%v\nis written as %s, %v\nwant          %s, %v", s, got, err, &want, slowErr)
		}
	}
}

func randomText(rng *rand.Rand) string {
	b := make([]rune, rng.IntN(6))
	for i := range b {
		b[i] = []rune{'a', 'é', '"', '\\', '<', '&', '/', 0, 1, 0x1f, 0x7f, '\n', '\r', '\t', '\b', '\f', 0x2028, 0xfffd, '😀', rune(rng.IntN(0xd800))}[rng.IntN(20)]
	}
	return string(b)
}

func randomValue(rng *rand.Rand, depth int) *structpb.Value {
	switch rng.IntN(10) {
	case 0:
		return structpb.NewNullValue()
	case 1:
		return structpb.NewBoolValue(rng.IntN(2) == 0)
	case 2:
		return structpb.NewNumberValue(float64(rng.IntN(100_000) - 50_000))
	case 3:
		return structpb.NewNumberValue(math.Float64frombits(rng.Uint64()))
	case 4:
		return structpb.NewNumberValue([]float64{0, math.Copysign(0, -1), 1e-6, 9.9e-7, 1e-7, 1e-9, 1e-10, 1e20, 1e21, 1e22, -1e21, 0.1, math.MaxFloat64}[rng.IntN(13)])
	case 5:
		if depth < 3 {
			list := &structpb.ListValue{}
			for range rng.IntN(4) {
				list.Values = append(list.Values, randomValue(rng, depth+1))
			}
			return structpb.NewListValue(list)
		}
	case 6:
		if depth < 3 {
			s := &structpb.Struct{Fields: map[string]*structpb.Value{}}
			for i := range rng.IntN(4) {
				s.Fields[fmt.Sprint(randomText(rng), i)] = randomValue(rng, depth+1)
			}
			return structpb.NewStructValue(s)
		}
	case 7:
		if rng.IntN(20) == 0 {
			return &structpb.Value{} // of no kind
		}
	}
	return structpb.NewStringValue(randomText(rng))
}
