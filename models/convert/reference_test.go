package convert

import "math"

// Reference computes a text's vector, or a pair's score as the only value, from the weights in float64, as the papers describe the networks: the slow truth
// beside the graphs.
func Reference(n *Network, text Text) []float64 {
	dim := n.Dimension
	var rows [][]float64
	for t, id := range text.IDs {
		row := make([]float64, dim)
		kind := 0
		if text.Second > 0 && t >= text.Second {
			kind = 1
		}
		for j := range row {
			row[j] = float64(n.words[int(id)*dim+j]) + float64(n.positions[t*dim+j])
			if n.types != nil {
				row[j] += float64(n.types[kind*dim+j])
			}
		}
		rows = append(rows, normed(row, n.norm, n.epsilon))
	}
	for i := range n.layers {
		l := &n.layers[i]
		attended := attend(n, apply(&l.qkv, rows))
		for t, y := range apply(&l.o, attended) {
			rows[t] = normed(plus(y, rows[t]), l.norm1, n.epsilon)
		}
		h := apply(&l.i, rows)
		for _, row := range h {
			for j, x := range row {
				row[j] = activated(n.activation, x)
			}
		}
		for t, y := range apply(&l.d, h) {
			rows[t] = normed(plus(y, rows[t]), l.norm2, n.epsilon)
		}
	}
	if n.classifier != nil {
		pooled := apply(n.pooler, rows[:1])
		for j, x := range pooled[0] {
			pooled[0][j] = math.Tanh(x)
		}
		return apply(n.classifier, pooled)[0]
	}
	out := make([]float64, dim)
	for j := range out {
		switch n.Pooling {
		case Mean:
			for _, row := range rows {
				out[j] += row[j]
			}
		case CLS:
			out[j] = rows[0][j]
		case Last:
			out[j] = rows[len(rows)-1][j]
		case Max:
			out[j] = math.Inf(-1)
			for _, row := range rows {
				out[j] = max(out[j], row[j])
			}
		}
	}
	var norm float64
	for _, x := range out {
		norm += x * x
	}
	for j := range out {
		out[j] /= math.Sqrt(norm)
	}
	return out
}

func plus(a, b []float64) []float64 {
	y := make([]float64, len(a))
	for i := range a {
		y[i] = a[i] + b[i]
	}
	return y
}

func apply(l *linear, rows [][]float64) [][]float64 {
	var out [][]float64
	for _, x := range rows {
		y := make([]float64, l.out)
		for j := range y {
			y[j] = float64(l.b[j])
			for k, v := range x {
				y[j] += v * float64(l.w[k*l.out+j])
			}
		}
		out = append(out, y)
	}
	return out
}

func normed(x []float64, n layerNorm, epsilon float32) []float64 {
	var mean, variance float64
	for _, v := range x {
		mean += v / float64(len(x))
	}
	for _, v := range x {
		variance += (v - mean) * (v - mean) / float64(len(x))
	}
	y := make([]float64, len(x))
	for j, v := range x {
		y[j] = (v-mean)/math.Sqrt(variance+float64(epsilon))*float64(n.weight[j]) + float64(n.bias[j])
	}
	return y
}

func activated(name string, x float64) float64 {
	switch name {
	case "relu":
		return max(0, x)
	case "gelu":
		return x / 2 * (1 + math.Erf(x/math.Sqrt2))
	}
	return x / 2 * (1 + math.Tanh(math.Sqrt(2/math.Pi)*(x+0.044715*x*x*x)))
}

// attend is scaled dot-product attention over rows of query, key and value.
func attend(n *Network, qkv [][]float64) [][]float64 {
	dim, size := n.Dimension, n.Dimension/n.Heads
	out := make([][]float64, len(qkv))
	for q := range qkv {
		out[q] = make([]float64, dim)
		for h := range n.Heads {
			weights := make([]float64, len(qkv))
			var sum float64
			for k := range qkv {
				for j := range size {
					weights[k] += qkv[q][h*size+j] * qkv[k][dim+h*size+j]
				}
				weights[k] /= math.Sqrt(float64(size))
				if n.relative != nil {
					weights[k] += float64(n.relative[(h*n.MaxTokens+q)*n.MaxTokens+k])
				}
				weights[k] = math.Exp(weights[k])
				sum += weights[k]
			}
			for k := range qkv {
				for j := range size {
					out[q][h*size+j] += weights[k] / sum * qkv[k][2*dim+h*size+j]
				}
			}
		}
	}
	return out
}
