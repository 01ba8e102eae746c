//go:build !purego

#include "textflag.h"

// The instructions that Go's assembler lacks, with the operands in its order: the result last. d.4S and so on are the shapes.
#define SDOT(m, n, d) WORD $(0x4e809400 | (m)<<16 | (n)<<5 | (d))     // d.4S += n.16B · m.16B, by fours
#define SMULL8(m, n, d) WORD $(0x0e20c000 | (m)<<16 | (n)<<5 | (d))   // d.8H = n.8B * m.8B, the lower halves
#define SMLAL8U(m, n, d) WORD $(0x4e208000 | (m)<<16 | (n)<<5 | (d))  // d.8H += n.16B * m.16B, the upper halves
#define SMLAL16(m, n, d) WORD $(0x0e608000 | (m)<<16 | (n)<<5 | (d))  // d.4S += n.4H * m.4H, the lower halves
#define SMLAL16U(m, n, d) WORD $(0x4e608000 | (m)<<16 | (n)<<5 | (d)) // d.4S += n.8H * m.8H, the upper halves
#define SADALP16(n, d) WORD $(0x4e606800 | (n)<<5 | (d))              // d.4S += n.8H, by pairs
#define UADDLP8(n, d) WORD $(0x6e202800 | (n)<<5 | (d))               // d.8H = n.16B, unsigned, by pairs
#define UADALP16(n, d) WORD $(0x6e606800 | (n)<<5 | (d))              // d.4S += n.8H, unsigned, by pairs
#define SXTL8(n, d) WORD $(0x0f08a400 | (n)<<5 | (d))                 // d.8H = n.8B, the lower half
#define SXTL8U(n, d) WORD $(0x4f08a400 | (n)<<5 | (d))                // d.8H = n.16B, the upper half
#define FMUL(m, n, d) WORD $(0x6e20dc00 | (m)<<16 | (n)<<5 | (d))     // d.4S = n.4S * m.4S
#define FADD4(m, n, d) WORD $(0x4e20d400 | (m)<<16 | (n)<<5 | (d))    // d.4S = n.4S + m.4S

// The kernels of a batch take func(query, rows, stride, ids, n, out), with a stride in bytes of a row.
// R0 query, R1 rows, R2 stride, R3 the next id, R4 how many are left, R5 the next result; R7 runs over a row to R8, R9 over the query.
#define BATCH \
	MOVD query+0(FP), R0 \
	MOVD rows+8(FP), R1 \
	MOVD stride+16(FP), R2 \
	MOVD ids+24(FP), R3 \
	MOVD n+32(FP), R4 \
	MOVD out+40(FP), R5

// FETCH brings the row after the next few into the cache, if there is one, and then makes R7, R8 and R9 ready for the next row.
#define FETCH(ahead) \
	CMP $ahead, R4 \
	BLE compute \
	MOVWU (4*ahead)(R3), R6 \
	MADD R2, R1, R6, R7 \
	ADD R2, R7, R8 \
fetch: \
	PRFM (R7), PLDL1KEEP \
	ADD $64, R7 \
	CMP R8, R7 \
	BLO fetch \
compute: \
	MOVWU.P 4(R3), R6 \
	MADD R2, R1, R6, R7 \
	ADD R2, R7, R8 \
	MOVD R0, R9

#define CLEAR(v) VEOR v.B16, v.B16, v.B16

// SUM adds the integers of V16 to V19, stores the sum, and goes to the next row.
#define SUM \
	VADD V17.S4, V16.S4, V16.S4 \
	VADD V19.S4, V18.S4, V18.S4 \
	VADD V18.S4, V16.S4, V16.S4 \
	VADDV V16.S4, V16 \
	FMOVS.P F16, 4(R5) \
	SUB $1, R4

// func dotCodesSDOT(query *int8, rows *byte, stride uint64, ids *uint32, n uint64, out *int32)
TEXT ·dotCodesSDOT(SB), NOSPLIT, $0-48
	BATCH
next:
	CBZ R4, done
	FETCH(4)
	CLEAR(V16)
	CLEAR(V17)
	CLEAR(V18)
	CLEAR(V19)
block:
	VLD1.P 64(R7), [V0.B16, V1.B16, V2.B16, V3.B16]
	VLD1.P 64(R9), [V4.B16, V5.B16, V6.B16, V7.B16]
	SDOT(0, 4, 16)
	SDOT(1, 5, 17)
	SDOT(2, 6, 18)
	SDOT(3, 7, 19)
	CMP R8, R7
	BLO block
	SUM
	B next
done:
	RET

// func dotCodesSMULL(query *int8, rows *byte, stride uint64, ids *uint32, n uint64, out *int32)
TEXT ·dotCodesSMULL(SB), NOSPLIT, $0-48
	BATCH
next:
	CBZ R4, done
	FETCH(4)
	CLEAR(V16)
	CLEAR(V17)
	CLEAR(V18)
	CLEAR(V19)
block:
	VLD1.P 64(R7), [V0.B16, V1.B16, V2.B16, V3.B16]
	VLD1.P 64(R9), [V4.B16, V5.B16, V6.B16, V7.B16]
	// 16-bit sums of two products: 2 · 127 · 127 is below 32,768.
	SMULL8(0, 4, 20)
	SMULL8(1, 5, 21)
	SMULL8(2, 6, 22)
	SMULL8(3, 7, 23)
	SMLAL8U(0, 4, 20)
	SMLAL8U(1, 5, 21)
	SMLAL8U(2, 6, 22)
	SMLAL8U(3, 7, 23)
	SADALP16(20, 16)
	SADALP16(21, 17)
	SADALP16(22, 18)
	SADALP16(23, 19)
	CMP R8, R7
	BLO block
	SUM
	B next
done:
	RET

// func dotWideNEON(query *int16, rows *byte, stride uint64, ids *uint32, n uint64, out *int32)
TEXT ·dotWideNEON(SB), NOSPLIT, $0-48
	BATCH
next:
	CBZ R4, done
	FETCH(4)
	CLEAR(V16)
	CLEAR(V17)
	CLEAR(V18)
	CLEAR(V19)
block:
	VLD1.P 64(R7), [V0.B16, V1.B16, V2.B16, V3.B16]
	VLD1.P 64(R9), [V4.H8, V5.H8, V6.H8, V7.H8]
	VLD1.P 64(R9), [V20.H8, V21.H8, V22.H8, V23.H8]
	SXTL8(0, 24)
	SXTL8U(0, 25)
	SXTL8(1, 26)
	SXTL8U(1, 27)
	SXTL8(2, 28)
	SXTL8U(2, 29)
	SXTL8(3, 30)
	SXTL8U(3, 31)
	SMLAL16(24, 4, 16)
	SMLAL16U(24, 4, 17)
	SMLAL16(25, 5, 18)
	SMLAL16U(25, 5, 19)
	SMLAL16(26, 6, 16)
	SMLAL16U(26, 6, 17)
	SMLAL16(27, 7, 18)
	SMLAL16U(27, 7, 19)
	SMLAL16(28, 20, 16)
	SMLAL16U(28, 20, 17)
	SMLAL16(29, 21, 18)
	SMLAL16U(29, 21, 19)
	SMLAL16(30, 22, 16)
	SMLAL16U(30, 22, 17)
	SMLAL16(31, 23, 18)
	SMLAL16U(31, 23, 19)
	CMP R8, R7
	BLO block
	SUM
	B next
done:
	RET

// SIXTEEN multiplies 16 floats of the row and the query, and adds the products to four registers.
#define SIXTEEN(a, b, c, d) \
	VLD1.P 64(R7), [V0.S4, V1.S4, V2.S4, V3.S4] \
	VLD1.P 64(R9), [V4.S4, V5.S4, V6.S4, V7.S4] \
	FMUL(0, 4, 0) \
	FMUL(1, 5, 1) \
	FMUL(2, 6, 2) \
	FMUL(3, 7, 3) \
	FADD4(0, a, a) \
	FADD4(1, b, b) \
	FADD4(2, c, c) \
	FADD4(3, d, d) \
	CMP R8, R7

// func dotFloatsNEON(query *float32, rows *float32, stride uint64, ids *uint32, n uint64, out *float32)
TEXT ·dotFloatsNEON(SB), NOSPLIT, $0-48
	BATCH
next:
	CBZ R4, done
	FETCH(2)
	CLEAR(V16)
	CLEAR(V17)
	CLEAR(V18)
	CLEAR(V19)
	CLEAR(V20)
	CLEAR(V21)
	CLEAR(V22)
	CLEAR(V23)
	CLEAR(V24)
	CLEAR(V25)
	CLEAR(V26)
	CLEAR(V27)
	CLEAR(V28)
	CLEAR(V29)
	CLEAR(V30)
	CLEAR(V31)
block:
	SIXTEEN(16, 17, 18, 19)
	BHS sum
	SIXTEEN(20, 21, 22, 23)
	BHS sum
	SIXTEEN(24, 25, 26, 27)
	BHS sum
	SIXTEEN(28, 29, 30, 31)
	BLO block
sum:
	FADD4(24, 16, 16)
	FADD4(25, 17, 17)
	FADD4(26, 18, 18)
	FADD4(27, 19, 19)
	FADD4(28, 20, 20)
	FADD4(29, 21, 21)
	FADD4(30, 22, 22)
	FADD4(31, 23, 23)
	FADD4(20, 16, 16)
	FADD4(21, 17, 17)
	FADD4(22, 18, 18)
	FADD4(23, 19, 19)
	FADD4(18, 16, 16)
	FADD4(19, 17, 17)
	FADD4(17, 16, 16)
	VEXT $8, V16.B16, V16.B16, V0.B16
	FADD4(0, 16, 16)
	VEXT $4, V16.B16, V16.B16, V0.B16
	FADD4(0, 16, 16)
	FMOVS.P F16, 4(R5)
	SUB $1, R4
	B next
done:
	RET

// func hammingNEON(query *uint64, rows *uint64, stride uint64, ids *uint32, n uint64, out *int32)
TEXT ·hammingNEON(SB), NOSPLIT, $0-48
	BATCH
next:
	CBZ R4, done
	FETCH(4)
	CLEAR(V16)
	CLEAR(V17)
	CLEAR(V18)
	CLEAR(V19)
block:
	VLD1.P 64(R7), [V0.B16, V1.B16, V2.B16, V3.B16]
	VLD1.P 64(R9), [V4.B16, V5.B16, V6.B16, V7.B16]
	VEOR V4.B16, V0.B16, V0.B16
	VEOR V5.B16, V1.B16, V1.B16
	VEOR V6.B16, V2.B16, V2.B16
	VEOR V7.B16, V3.B16, V3.B16
	VCNT V0.B16, V0.B16
	VCNT V1.B16, V1.B16
	VCNT V2.B16, V2.B16
	VCNT V3.B16, V3.B16
	VADD V1.B16, V0.B16, V0.B16
	VADD V3.B16, V2.B16, V2.B16
	VADD V2.B16, V0.B16, V0.B16 // 32 at most in a byte
	UADDLP8(0, 0)
	UADALP16(0, 16)
	CMP R8, R7
	BLO block
	SUM
	B next
done:
	RET

// func expandScalar(links *uint32, n uint64, visited *uint64, bound uint32, fresh *uint32, rows *byte, stride uint64) uint64
TEXT ·expandScalar(SB), NOSPLIT, $0-64
	MOVD links+0(FP), R0
	MOVD n+8(FP), R1
	MOVD visited+16(FP), R2
	MOVWU bound+24(FP), R3
	MOVD fresh+32(FP), R4
	ADD R1<<2, R0, R1
	MOVD $0, R7
	MOVD $1, R8
link:
	CMP R1, R0
	BHS walked
	MOVWU.P 4(R0), R9
	CMNW $1, R9
	BEQ walked
	AND $0x7fffffff, R9, R9
	CMPW R3, R9
	BHS link
	// An id that is not new is written as well, and the next one over it.
	MOVW R9, (R4)(R7<<2)
	LSR $6, R9, R10
	MOVD (R2)(R10<<3), R11
	LSL R9, R8, R12
	TST R12, R11
	CSET EQ, R13
	ORR R12, R11, R11
	MOVD R11, (R2)(R10<<3)
	ADD R13, R7, R7
	B link
walked:
	MOVD R7, ret+56(FP)
	MOVD rows+40(FP), R5
	MOVD stride+48(FP), R6
	CBZ R6, done
	MOVD $512, R8
	CMP R8, R6
	CSEL LO, R6, R8, R8
fresh:
	CBZ R7, done
	SUB $1, R7
	MOVWU.P 4(R4), R9
	MADD R6, R5, R9, R10
	ADD R8, R10, R11
fetch:
	PRFM (R10), PLDL1KEEP
	ADD $64, R10
	CMP R11, R10
	BLO fetch
	B fresh
done:
	RET

// func fetchLines(links *uint32)
TEXT ·fetchLines(SB), NOSPLIT, $0-8
	MOVD links+0(FP), R0
	PRFM (R0), PLDL1KEEP
	PRFM 64(R0), PLDL1KEEP
	RET
