package store

import (
	"fmt"
	"testing"
)

func BenchmarkPut(b *testing.B) {
	for _, batch := range []int{1, 500} {
		b.Run(fmt.Sprintf("papers=%d", batch), func(b *testing.B) {
			s := open(b, b.TempDir(), nil)
			writes := make([]Write, batch)
			n := 0
			for b.Loop() {
				for i := range writes {
					writes[i] = testWrite(fmt.Sprint(n), 1)
					n++
				}
				if _, _, err := s.Put(writes); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "papers/s")
		})
	}
}

func BenchmarkGet(b *testing.B) {
	s := open(b, b.TempDir(), nil)
	var ids []string
	for i := range 1000 {
		ids = append(ids, fmt.Sprint(i))
	}
	put(b, s, ids...)
	b.RunParallel(func(pb *testing.PB) {
		for i := 0; pb.Next(); i++ {
			if _, _, err := s.Get(ids[i%len(ids)]); err != nil {
				b.Error(err)
			}
		}
	})
}
