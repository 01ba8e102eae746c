package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

const floatsDoc = "query · rows[ids[i]] for n ids, in the order that DotFloats fixes."

func dotFloatsAVX512() {
	k := begin("dotFloatsAVX512", "float32", "float32", "float32", floatsDoc)
	k.each(0, 0, func(row reg.Register, result Mem) {
		sums := zeroed(4, ZMM)
		k.quarters(row, func(q int, query, values Mem) {
			v := ZMM()
			VMOVUPS(values, v)
			VMULPS(query, v, v)
			VADDPS(v, sums[q], sums[q])
		})
		VADDPS(sums[2], sums[0], sums[0])
		VADDPS(sums[3], sums[1], sums[1])
		VADDPS(sums[1], sums[0], sums[0])
		high := YMM()
		VEXTRACTF64X4(Imm(1), sums[0], high)
		VADDPS(high, sums[0].AsY(), sums[0].AsY())
		storeFloat(sums[0].AsY(), result)
	})
}

func dotFloatsAVX2() {
	k := begin("dotFloatsAVX2", "float32", "float32", "float32", floatsDoc)
	k.each(2, 0, func(row reg.Register, result Mem) {
		sums := zeroed(8, YMM)
		k.quarters(row, func(q int, query, values Mem) {
			for h := range 2 {
				v := YMM()
				VMOVUPS(values.Offset(h*32), v)
				VMULPS(query.Offset(h*32), v, v)
				VADDPS(v, sums[2*q+h], sums[2*q+h])
			}
		})
		for half := 4; half > 0; half /= 2 {
			for j := range half {
				VADDPS(sums[j+half], sums[j], sums[j])
			}
		}
		storeFloat(sums[0], result)
	})
}

// quarters writes the loop over 64 floats, four times 16, and then the rest of them.
func (k batch) quarters(row reg.Register, body func(q int, query, values Mem)) {
	quarter := func(at reg.Register, q int) {
		body(q, Mem{Base: k.query, Index: at, Scale: 1, Disp: q * 64}, Mem{Base: row, Index: at, Scale: 1, Disp: q * 64})
	}
	at, end := GP64(), GP64()
	XORQ(at, at)
	MOVQ(k.stride, end)
	ANDQ(I32(-256), end)
	JZ(LabelRef("rest"))
	Label("quarters")
	for q := range 4 {
		quarter(at, q)
	}
	ADDQ(U32(256), at)
	CMPQ(at, end)
	JLT(LabelRef("quarters"))
	Label("rest")
	for q := range 3 {
		LEAQ(Mem{Base: at, Disp: q * 64}, end)
		CMPQ(end, k.stride)
		JGE(LabelRef("sum"))
		quarter(at, q)
	}
	Label("sum")
}

// storeFloat adds the eight floats of y and stores the sum.
func storeFloat(y reg.Register, to Mem) {
	x, t := XMM(), XMM()
	VEXTRACTF128(Imm(1), y, x)
	VADDPS(y.(reg.Vec).AsX(), x, x)
	VMOVHLPS(x, x, t)
	VADDPS(t, x, x)
	VMOVSHDUP(x, t)
	VADDSS(t, x, x)
	VMOVSS(x, to)
}
