package main

import (
	"fmt"
	"strconv"

	"github.com/alecthomas/kong"

	embeddv1 "embedd/proto/embedd/v1"
)

// rerankFlags have a search's best ordered anew.
type rerankFlags struct {
	Rerank candidates `help:"Order the best anew by a cross-encoder of the server (embedd serve --reranker ID): 20 of them, or with --rerank=N as many, 1 to 100." group:"Their order:"`
	Model  string     `name:"rerank-model" help:"The cross-encoder, where the server has several; default: its first." placeholder:"ID" group:"Their order:"`
}

// wanted is what the flags ask for; nil for nothing.
func (f *rerankFlags) wanted() *embeddv1.Rerank {
	if !f.Rerank.given && f.Model == "" {
		return nil
	}
	return &embeddv1.Rerank{Candidates: f.Rerank.n, Model: f.Model}
}

// candidates is a flag that has a number, or none: then the server chooses.
type candidates struct {
	given bool
	n     int32
}

// Decode implements kong.MapperValue.
func (c *candidates) Decode(ctx *kong.DecodeContext) error {
	c.given, c.n = true, 0
	if ctx.Scan.Peek().Type != kong.FlagValueToken {
		return nil
	}
	text := fmt.Sprint(ctx.Scan.Pop().Value)
	n, err := strconv.ParseInt(text, 10, 32)
	if err != nil || n < 1 {
		return fmt.Errorf("is %q; must be a number, 1 to 100", text)
	}
	c.n = int32(n)
	return nil
}

// String is the value as it would be given.
func (c candidates) String() string {
	if c.n == 0 {
		return ""
	}
	return fmt.Sprint(c.n)
}

// IsBool implements kong.BoolMapperValue: there need not be a value.
func (*candidates) IsBool() bool { return true }
