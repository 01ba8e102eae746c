package models

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"strings"
)

// Golden is what a model gave for a few texts on the machine where its manifest was written: another machine's answers must
// be as near as it says, since CPUs round differently. It is no instruction, and not in the fingerprint.
type Golden struct {
	// Cosine is the least cosine between a text's vector and the one here that passes, above 0 and at most 1; for an encoder.
	Cosine float64 `json:"cosine,omitempty"`
	// Texts are 1 to 64 texts and their vectors; for an encoder.
	Texts []GoldenText `json:"texts,omitempty"`
	// Difference is the largest difference between a pair's score and the one here that passes; for a cross-encoder.
	Difference float64 `json:"difference,omitempty"`
	// Pairs are 1 to 64 pairs and their scores; for a cross-encoder.
	Pairs []GoldenPair `json:"pairs,omitempty"`
}

// GoldenText is a text and its vector.
type GoldenText struct {
	// Role is the side that the text stands on, which chooses its prompt: query or document.
	Role string `json:"role"`
	Text string `json:"text"`
	// Repeat puts the text so many times one after the other, with spaces between, to make a long one of it; absent for 1.
	Repeat int          `json:"repeat,omitempty"`
	Vector GoldenVector `json:"vector"`
}

// Whole is the text with its repetitions.
func (t *GoldenText) Whole() string { return repeated(t.Text, t.Repeat) }

// GoldenPair is a pair of texts and its score.
type GoldenPair struct {
	Query string `json:"query"`
	Text  string `json:"text"`
	// Repeat does to Text what it does in GoldenText.
	Repeat int     `json:"repeat,omitempty"`
	Score  float32 `json:"score"`
}

// Whole is the second text with its repetitions.
func (p *GoldenPair) Whole() string { return repeated(p.Text, p.Repeat) }

func repeated(text string, times int) string {
	return text + strings.Repeat(" "+text, max(0, times-1))
}

// GoldenVector is a vector that a manifest writes as base64 of little-endian float32.
type GoldenVector []float32

// MarshalText gives the base64.
func (v GoldenVector) MarshalText() ([]byte, error) {
	raw := make([]byte, 0, 4*len(v))
	for _, x := range v {
		raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(x))
	}
	return base64.StdEncoding.AppendEncode(nil, raw), nil
}

// UnmarshalText reads the base64.
func (v *GoldenVector) UnmarshalText(text []byte) error {
	raw, err := base64.StdEncoding.AppendDecode(nil, text)
	if err != nil {
		return err
	}
	if len(raw)%4 != 0 {
		return fmt.Errorf("%d bytes are no vector of float32", len(raw))
	}
	*v = make(GoldenVector, len(raw)/4)
	for i := range *v {
		(*v)[i] = math.Float32frombits(binary.LittleEndian.Uint32(raw[4*i:]))
	}
	return nil
}

// The limits of golden texts.
const (
	maxGolden      = 64
	maxGoldenBytes = 1 << 20 // of a text with its repetitions: what an encoder takes
)

func (g *Golden) validate(m *Manifest) error {
	if m.Task == TaskScore {
		switch {
		case len(g.Pairs) < 1 || len(g.Pairs) > maxGolden || g.Texts != nil || g.Cosine != 0:
			return bad("golden", "has %d pairs and %d texts; for a cross-encoder it must have 1 to %d pairs, a difference, and nothing else", len(g.Pairs), len(g.Texts), maxGolden)
		case !(g.Difference > 0):
			return bad("golden.difference", "is %v, must be above 0", g.Difference)
		}
		for i, p := range g.Pairs {
			at := fmt.Sprintf("golden.pairs[%d]", i)
			if strings.TrimSpace(p.Query) == "" {
				return bad(at+".query", "is blank")
			}
			if err := checkGolden(at, p.Text, p.Repeat); err != nil {
				return err
			}
		}
		return nil
	}
	switch {
	case len(g.Texts) < 1 || len(g.Texts) > maxGolden || g.Pairs != nil || g.Difference != 0:
		return bad("golden", "has %d texts and %d pairs; for an encoder it must have 1 to %d texts, a cosine, and nothing else", len(g.Texts), len(g.Pairs), maxGolden)
	case !(g.Cosine > 0) || g.Cosine > 1:
		return bad("golden.cosine", "is %v, must be above 0 and at most 1", g.Cosine)
	}
	for i, t := range g.Texts {
		at := fmt.Sprintf("golden.texts[%d]", i)
		if t.Role != "query" && t.Role != "document" {
			return bad(at+".role", "is %q, must be query or document", t.Role)
		}
		if err := checkGolden(at, t.Text, t.Repeat); err != nil {
			return err
		}
		if len(t.Vector) != m.Dimension {
			return bad(at+".vector", "has %d values, must have the model's dimension, %d", len(t.Vector), m.Dimension)
		}
		for _, x := range t.Vector {
			if x-x != 0 {
				return bad(at+".vector", "has the value %v", x)
			}
		}
	}
	return nil
}

// checkGolden refuses a text that could not be read again.
func checkGolden(at, text string, repeat int) error {
	switch {
	case strings.TrimSpace(text) == "":
		return bad(at+".text", "is blank")
	case repeat < 0 || repeat > maxGoldenBytes:
		return bad(at+".repeat", "is %d, must be 0 to %d", repeat, maxGoldenBytes)
	case (len(text)+1)*max(1, repeat) > maxGoldenBytes:
		return bad(at, "is longer than %d bytes", maxGoldenBytes)
	}
	return nil
}

// RecordGolden puts golden vectors into the manifest at path and leaves the rest of it as it is.
func RecordGolden(path string, g *Golden) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	m, err := Parse(bytes.NewReader(text))
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	m.Golden = g
	if err := m.Validate(); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if text, err = m.text(); err != nil {
		return err
	}
	return replaceFile(path, bytes.NewReader(text))
}

// text is the manifest as it is written. One that Parse would not read is an error.
func (m *Manifest) text() ([]byte, error) {
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	if err := e.Encode(m); err != nil {
		return nil, err
	}
	if out.Len() > maxManifestBytes {
		return nil, fmt.Errorf("manifest is larger than %d bytes", maxManifestBytes)
	}
	return out.Bytes(), nil
}

// Known gives the manifest that comes with the program and has the same fingerprint, or nil: such a model is known by its
// hashes, whatever it is called, and whatever an older program wrote of it.
func (m *Manifest) Known() *Manifest {
	for _, b := range Builtin() {
		if b.Fingerprint() == m.Fingerprint() {
			return b
		}
	}
	return nil
}
