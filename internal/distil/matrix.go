package distil

import (
	"math"

	"github.com/viterin/vek/vek32"
)

// identity is the matrix that changes nothing.
func identity(d int) []float32 {
	m := make([]float32, d*d)
	for i := range d {
		m[i*d+i] = 1
	}
	return m
}

// transpose writes the matrix a, of so many rows, on its side. dst has room for it.
func transpose(dst, a []float32, rows int) []float32 {
	columns := len(a) / rows
	dst = dst[:len(a)]
	// In squares, so that both sides stay in the cache.
	const side = 16
	for i0 := 0; i0 < rows; i0 += side {
		for j0 := 0; j0 < columns; j0 += side {
			for i := i0; i < min(rows, i0+side); i++ {
				for j := j0; j < min(columns, j0+side); j++ {
					dst[j*rows+i] = a[i*columns+j]
				}
			}
		}
	}
	return dst
}

// product is a·b, where a has inner columns and b as many rows. dst has room for it. Each value is added up in the same order, however many cores there are.
func product(dst, a, b []float32, inner int) []float32 {
	return vek32.MatMul_Into(dst[:cap(dst)], a, b, inner)
}

// normalize scales rows of dimension d to norm 1 and gives the norms that they had.
func normalize(rows []float32, d int, norms []float32) {
	for i := range len(rows) / d {
		row := rows[i*d : (i+1)*d]
		n := float32(math.Sqrt(float64(vek32.Dot(row, row))))
		n = max(n, 1e-20)
		vek32.MulNumber_Inplace(row, 1/n)
		if norms != nil {
			norms[i] = n
		}
	}
}

// distance is the Frobenius norm of a - I.
func distance(a []float32, d int) float64 {
	var sum float64
	for i := range d {
		for j := range d {
			x := float64(a[i*d+j])
			if i == j {
				x--
			}
			sum += x * x
		}
	}
	return math.Sqrt(sum)
}
