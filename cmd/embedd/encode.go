package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"

	"embedd/internal/retrieval"
	embeddv1 "embedd/proto/embedd/v1"
)

type encodeCmd struct {
	Texts  []string `arg:"" optional:"" help:"The texts; none: one a line from standard input."`
	Role   string   `help:"Side of a comparison that the texts stand on." enum:"query,document" default:"document"`
	Cut    int32    `help:"Cut vectors to their first N values, at norm 1, where the model was trained for it (embedd info shows to what); 0: all." default:"0" placeholder:"N"`
	Type   string   `help:"What values are given as: float32, float16, int8 or binary; all but float32 as bytes." enum:"float32,float16,int8,binary" default:"float32"`
	Packed bool     `help:"Give float32 as bytes too, little-endian."`
	Stream bool     `help:"Read texts from standard input without end, and print a line of JSON for each as it is done, in their order."`

	outputFlags
	clientFlags
}

func (encodeCmd) Help() string {
	return `Example:
  embedd encode --json "sparse autoencoders for interpretability"
  embedd encode --stream --type int8 < texts.txt > vectors.jsonl`
}

// maxLine is the longest line read from standard input: the server's limit for a text, and the newline.
const maxLine = retrieval.MaxTextBytes + 1

// request is one of these texts.
func (c *encodeCmd) request(texts []string) *embeddv1.EncodeRequest {
	return &embeddv1.EncodeRequest{
		Texts: texts, Role: roleOf(c.Role), Dimension: c.Cut, Packed: c.Packed,
		Type: embeddv1.VectorType(embeddv1.VectorType_value["VECTOR_TYPE_"+strings.ToUpper(c.Type)]),
	}
}

func (c *encodeCmd) Run(e *env) (err error) {
	if c.Stream {
		if len(c.Texts) > 0 {
			return errors.New("--stream: reads texts from standard input, and there are texts on the command line; give one of them")
		}
		return c.stream(e)
	}
	texts := c.Texts
	if len(texts) == 0 {
		if texts, err = textLines(e); err != nil {
			return err
		}
	}
	if len(texts) == 0 {
		return errors.New("there is no text: give texts, or one a line on standard input")
	}
	cl, err := c.open(e, false)
	if err != nil {
		return err
	}
	defer finish(&err, cl.close)
	res := &embeddv1.EncodeResponse{}
	for part := range slices.Chunk(texts, retrieval.MaxTextsPerCall) {
		answer, err := cl.encode.Encode(e.ctx, c.request(part))
		if err != nil {
			return err
		}
		res.Encodings = append(res.Encodings, answer.GetEncodings()...)
		res.Model, res.Fingerprint = answer.GetModel(), answer.GetFingerprint()
	}
	if c.JSON {
		return printMessage(e.stdout, res)
	}
	t := newTable(e.stdout, "TEXT", "TOKENS", "VECTOR")
	for i, enc := range res.GetEncodings() {
		t.row(fmt.Sprint(i+1), fmt.Sprint(enc.GetTextUse().GetTokenCount()), vectorLine(enc))
		warnTruncated(e.stderr, fmt.Sprintf("text %d", i+1), enc.GetTextUse())
	}
	return t.flush()
}

// vectorLine is the beginning of a vector.
func vectorLine(enc *embeddv1.Encoding) string {
	if p := enc.GetPacked(); p != nil {
		b := p.GetValues()
		return fmt.Sprintf("[% x … %d values, %d bytes]", b[:min(8, len(b))], p.GetDimension(), len(b))
	}
	v := enc.GetVector().GetValues()
	var head []string
	for _, x := range v[:min(4, len(v))] {
		head = append(head, fmt.Sprintf("%.5f", x))
	}
	return fmt.Sprintf("[%s … %d values]", strings.Join(head, " "), len(v))
}

// The requests of --stream: so many texts, and about so many bytes.
const (
	streamTexts = 64
	streamBytes = 1 << 20
)

// stream sends lines of standard input as they come, and prints their vectors.
func (c *encodeCmd) stream(e *env) (err error) {
	cl, err := c.open(e, false)
	if err != nil {
		return err
	}
	defer finish(&err, cl.close)
	st, err := cl.encode.EncodeStream(e.ctx)
	if err != nil {
		return err
	}
	sent := make(chan error, 1)
	go func() { sent <- c.send(e.stdin, st) }()
	out := bufio.NewWriter(e.stdout)
	for n := 0; ; {
		res, err := st.Recv()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		if r := res.GetError(); r != nil {
			return status.Error(codes.Code(r.GetCode()), fmt.Sprintf("in the texts after %d: %s", n, r.GetMessage()))
		}
		for _, enc := range res.GetResponse().GetEncodings() {
			n++
			line, err := protojson.MarshalOptions{EmitDefaultValues: true}.Marshal(enc)
			if err != nil {
				return err
			}
			if _, err := out.Write(append(line, '\n')); err != nil {
				return err
			}
			warnTruncated(e.stderr, fmt.Sprintf("text %d", n), enc.GetTextUse())
		}
		if err := out.Flush(); err != nil {
			return err
		}
	}
	return <-sent
}

// send sends texts, and what has come of them whenever no more is there yet.
func (c *encodeCmd) send(in io.Reader, st embeddv1.EncodeService_EncodeStreamClient) error {
	var texts []string
	size, n := 0, 0
	flush := func() error {
		if len(texts) == 0 {
			return nil
		}
		err := st.Send(&embeddv1.EncodeStreamRequest{Request: c.request(texts)})
		texts, size = nil, 0
		return err
	}
	r := bufio.NewReaderSize(in, maxLine+1)
	for {
		line, err := r.ReadSlice('\n')
		if err != nil && err != io.EOF {
			if errors.Is(err, bufio.ErrBufferFull) {
				err = fmt.Errorf("line %d is longer than %d bytes", n+1, maxLine-1)
			}
			return errors.Join(fmt.Errorf("standard input: %w", err), st.CloseSend())
		}
		if len(line) > 0 {
			n++
			text := strings.TrimSuffix(strings.TrimSuffix(string(line), "\n"), "\r")
			texts, size = append(texts, text), size+len(text)
		}
		if len(texts) == streamTexts || size >= streamBytes || r.Buffered() == 0 || err == io.EOF {
			if err := flush(); err != nil {
				return nil // Recv has the reason
			}
		}
		if err == io.EOF {
			return st.CloseSend()
		}
	}
}

// roleOf is a role in the words of the wire.
func roleOf(name string) embeddv1.Role {
	if name == "query" {
		return embeddv1.Role_ROLE_QUERY
	}
	return embeddv1.Role_ROLE_DOCUMENT
}

// textLines reads texts from standard input, one a line.
func textLines(e *env) ([]string, error) {
	var texts []string
	s := bufio.NewScanner(e.stdin)
	s.Buffer(nil, maxLine)
	for s.Scan() {
		texts = append(texts, s.Text())
	}
	if errors.Is(s.Err(), bufio.ErrTooLong) {
		return nil, fmt.Errorf("standard input: line %d is longer than %d bytes", len(texts)+1, maxLine-1)
	}
	if s.Err() != nil {
		return nil, fmt.Errorf("standard input: %w", s.Err())
	}
	return texts, nil
}
